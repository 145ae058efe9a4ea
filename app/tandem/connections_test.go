package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/app/control"
)

// A pretender answers for a daemon with one connection, and notes what it is told to do with it.
type pretender struct {
	control.Backend
	mu    sync.Mutex
	calls []string
}

func (p *pretender) note(n int, format string, args ...any) error {
	if n != 7 {
		return fmt.Errorf("connection %d: %w", n, control.ErrUnknown)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, fmt.Sprintf(format, args...))
	return nil
}

func (p *pretender) Connections(ctx context.Context) ([]control.Connection, error) {
	one, err := p.Connection(ctx, 7)
	one.Trace = ""
	return []control.Connection{one}, err
}

func (p *pretender) Connection(_ context.Context, n int) (control.Connection, error) {
	return control.Connection{
		Number: 7, Target: netip.MustParseAddrPort("192.0.2.1:443"), State: "open", Opened: time.Now(), Multipath: true, FastOpen: 26, Establish: "timer", Via: control.ViaBypass, Scheduler: "owl", Token: 0xabc, Trace: "1s open\n",
		Subflows: []control.Subflow{
			{ID: 1, Link: "wlan0", State: "ESTABLISHED", Established: true, RTT: 21.5, Forward: 12.5, Backward: 9, Window: 14000},
			{ID: 2, Link: "wwan0", State: "ESTABLISHED", Established: true, Backup: true},
			{ID: 3, Link: "eth0", State: "SYN-SENT"},
		},
	}, p.note(n, "show")
}
func (p *pretender) CloseConnection(_ context.Context, n int) error { return p.note(n, "close") }
func (p *pretender) OpenSubflow(_ context.Context, n int, o control.SubflowOpen) (int, error) {
	return 4, p.note(n, "open %s %v", o.Link, o.Backup)
}
func (p *pretender) UseLink(_ context.Context, n int, link string, use bool) error {
	return p.note(n, "use %s %v", link, use)
}
func (p *pretender) Events(_ context.Context, n int, tell func(control.Event) error) error {
	err := p.note(n, "watch")
	for _, kind := range []string{"added", "removed"} {
		if err == nil {
			err = tell(control.Event{Kind: kind, Subflow: 2, Link: "wwan0"})
		}
	}
	return err
}
func (p *pretender) ChangeSubflow(_ context.Context, n, id int, change control.SubflowChange) error {
	text, _ := json.Marshal(change)
	return p.note(n, "subflow %d %s", id, text)
}

// pretend runs a pretender where the terminal's commands find it.
func pretend(t *testing.T, m *terminal) *pretender {
	p := new(pretender)
	standIn(t, m, p)
	return p
}

// standIn has a backend answer for a daemon where the terminal's commands find it.
func standIn(t *testing.T, m *terminal, b control.Backend) {
	l, err := control.Listen(control.Socket(optionsOf(m).folder()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := control.Serve(ctx, l, b); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
}

func optionsOf(m *terminal) *options { return &options{state: m.state} }

func TestVerbsOfConnections(t *testing.T) {
	m := newTerminal(t)
	p := pretend(t, m)
	for _, c := range []struct{ line, said, asked string }{
		{"connections", "wlan0, wwan0, eth0", "show"},
		{"connections 7", "ESTABLISHED  backup here", "show"},
		{"connections 7", "begun by timer with 26 octets in the SYN, past the proxy, since the target speaks Multipath TCP itself, scheduler owl, may be idle for ever\n", "show"},
		{"connections 7", "21.5 ms (12.5 there, 9.0 back)", "show"},
		{"connections 7 --trace", "1s open", "show"},
		{"connections 7 --watch", "subflow 2 over wwan0: removed\nConnection 7 is over.\n", "watch"},
		{"connections 7 --watch --json", `"kind":"removed","subflow":2,"link":"wwan0"`, "watch"},
		{"connections 7 add wwan0", "Connection 7 uses wwan0 from now on.\n", "use wwan0 true"},
		{"connections 7 remove wwan0", "Connection 7 uses wwan0 no more", "use wwan0 false"},
		{"connections 7 close", "Connection 7 is closed.\n", "close"},
		{"connections 7 subflow open eth1", "Connection 7 opens subflow 4 over eth1", "open eth1 false"},
		{"connections 7 subflow open eth1 --backup", "subflow 4 over eth1", "open eth1 true"},
		{"connections 7 subflow 2 close", "Subflow 2 of connection 7 ends as soon as", `subflow 2 {"close":"fin"}`},
		{"connections 7 subflow 2 close --reset", "Subflow 2 of connection 7 ends", `subflow 2 {"close":"reset"}`},
		{"connections 7 subflow 2 backup", "only when no other works", `subflow 2 {"backup":true}`},
		{"connections 7 subflow 2 primary", "what the others do", `subflow 2 {"backup":false}`},
	} {
		p.calls = nil
		m.types(0, c.said, strings.Fields(c.line)...)
		if want := []string{c.asked}; !reflect.DeepEqual(p.calls, want) {
			t.Errorf("%s: asked %q, want %q", c.line, p.calls, want)
		}
	}
	for _, line := range []string{"8", "8 --watch", "8 add eth1", "8 remove eth1", "8 close", "8 subflow open eth1", "8 subflow 2 close"} {
		m.types(1, "connection 8: not found", append([]string{"connections"}, strings.Fields(line)...)...)
	}
}

// The trace is shown to those who ask for it; JSON is what the API says.
func TestShowConnection(t *testing.T) {
	m := newTerminal(t)
	pretend(t, m)
	if said := m.types(0, "token 00000abc", "connections", "7"); strings.Contains(said, "1s open") {
		t.Errorf("a trace that nobody asked for: %s", said)
	}
	for _, trace := range []bool{false, true} {
		args := []string{"connections", "7", "--json"}
		if trace {
			args = append(args, "--trace")
		}
		var one control.Connection
		if err := json.Unmarshal([]byte(m.types(0, "", args...)), &one); err != nil || one.Token != 0xabc || len(one.Subflows) != 3 || (one.Trace != "") != trace {
			t.Errorf("%+v, %v", one, err)
		}
	}
	var all []control.Connection
	if err := json.Unmarshal([]byte(m.types(0, "", "connections", "--json")), &all); err != nil || len(all) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
	m.types(0, "subflow ID backup", "connections", "--help")
	m.types(0, "what\nit downloads the hub sends, by its own (tandem-hub run --cost-v, --cost-rate)", "set", "--help")
}

func TestMisuseOfConnections(t *testing.T) {
	m := newTerminal(t)
	for line, want := range map[string]string{
		"0":                          `"0" is not the number of a connection`,
		"7 open":                     `"open" is none of close, add, remove and subflow`,
		"7 close now":                `"close now" is none of close, add, remove and subflow`,
		"7 remove":                   "remove wants the name of a link",
		"7 add a b":                  "add wants the name of a link",
		"--watch":                    "--watch means nothing here",
		"7 close --watch":            "--watch means nothing here",
		"7 --watch --trace":          "--trace means nothing here",
		"7 subflow":                  "subflow wants two words",
		"7 subflow 2":                "subflow wants two words",
		"7 subflow two close":        `"two" is neither open nor the number of a subflow: tandem connections 7 lists them`,
		"7 subflow 2 first":          `"first" is none of close, backup and primary`,
		"7 subflow open a b":         "that is too much",
		"7 close --json":             "--json means nothing here",
		"--trace":                    "--trace means nothing here",
		"7 --reset":                  "--reset means nothing here",
		"7 subflow 2 close --backup": "--backup means nothing here",
		"7 subflow open a --reset":   "--reset means nothing here",
	} {
		m.types(2, want, append([]string{"connections"}, strings.Fields(line)...)...)
	}
}

// TestEventLine: what happened to a subflow is said in a line, with why and with what was lost.
func TestEventLine(t *testing.T) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for want, e := range map[string]control.Event{
		"added, 10.0.0.2:4000 > 192.0.2.1:443":   {Kind: "added", Local: netip.MustParseAddrPort("10.0.0.2:4000"), Remote: netip.MustParseAddrPort("192.0.2.1:443")},
		"established":                            {Kind: "established", Backup: true},
		"backup there":                           {Kind: "priority", PeerBackup: true},
		"primary":                                {Kind: "priority"},
		"the connection is one of TCP":           {Kind: "fallback"},
		"removed: no answer":                     {Kind: "removed", Reason: "no answer"},
		"removed (3 events before it were lost)": {Kind: "removed", Missed: 3},
	} {
		e.Time, e.Subflow, e.Link = at, 2, "wwan0"
		if got := eventLine(e); got != "15:04:05 subflow 2 over wwan0: "+want {
			t.Errorf("%+v: %q, want %q", e, got, want)
		}
	}
}

// TestLatency: either direction's is said where it is known, be it less than the reference.
func TestLatency(t *testing.T) {
	for want, f := range map[string]control.Subflow{
		"-": {}, "21.5 ms": {RTT: 21.5}, "21.5 ms (12.5 there, 9.0 back)": {RTT: 21.5, Forward: 12.5, Backward: 9}, "20.0 ms (-2.0 there, 22.0 back)": {RTT: 20, Forward: -2, Backward: 22},
	} {
		if got := latency(f); got != want {
			t.Errorf("%+v: %q, want %q", f, got, want)
		}
	}
}

// TestWayOf: that a connection does not go through the hub is said.
func TestWayOf(t *testing.T) {
	for via, want := range map[control.Via]string{
		control.ViaHub: "", control.ViaProxy: "through the proxy", control.ViaBypass: "speaks Multipath TCP itself",
		control.ViaDirect: "which is of no use now", control.ViaImplicit: "or a proxy on the way",
	} {
		if got := wayOf(via); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", via, got, want)
		}
	}
}

// How fast a subflow may be is said for both ways, as far as there is a limit.
func TestLimitsOfSubflows(t *testing.T) {
	for want, f := range map[string]control.Subflow{
		"-": {}, "up 1.0 Mbit/s": {Limit: 1e6}, "down 5.0 Mbit/s": {AskedLimit: 5e6}, "up 1.0 Mbit/s, down 5.0 Mbit/s": {Limit: 1e6, PeerLimit: 1e6, AskedLimit: 5e6},
	} {
		if got := limitOf(f); got != want {
			t.Errorf("%+v: %q, want %q", f, got, want)
		}
	}
}

// What a subflow is used for is said in a word.
func TestUseOfSubflows(t *testing.T) {
	for _, c := range []struct {
		f    control.Subflow
		want string
	}{
		{control.Subflow{}, "-"},
		{control.Subflow{Established: true}, "primary"},
		{control.Subflow{Established: true, Backup: true}, "backup here"},
		{control.Subflow{Established: true, PeerBackup: true}, "backup there"},
		{control.Subflow{Established: true, Backup: true, PeerBackup: true}, "backup"},
		{control.Subflow{Established: true, Backup: true, Silent: true}, "silent"},
		{control.Subflow{Established: true, Muted: true, Backup: true}, "unwanted there"},
		{control.Subflow{Established: true, Leaving: true, Silent: true}, "leaving"},
	} {
		if got := useOf(c.f); got != c.want {
			t.Errorf("%+v: %q, want %q", c.f, got, c.want)
		}
	}
	if got := stateOf(control.Connection{State: "open"}); got != "open, TCP only" {
		t.Errorf("after a fallback: %q", got)
	}
}
