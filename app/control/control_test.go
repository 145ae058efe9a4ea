package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/app/config"
	"tandem/app/tally"
	"tandem/platform/caller"
)

// A fake is a Backend that notes what was asked of it.
type fake struct {
	mu    sync.Mutex
	state State
	calls []string
	err   error
}

func (f *fake) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fake) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

func (f *fake) set(p Phase) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.Phase = p
}

func (f *fake) Up(context.Context) error   { return f.note("up") }
func (f *fake) Down(context.Context) error { return f.note("down") }
func (f *fake) Set(_ context.Context, change Change) error {
	text, _ := json.Marshal(change)
	return f.note("set %s", text)
}
func (f *fake) SetLink(_ context.Context, name string, change LinkChange) error {
	text, _ := json.Marshal(change)
	return f.note("link %s %s", name, text)
}
func (f *fake) Join(_ context.Context, code string) (Joined, error) {
	return Joined{"home", "laptop"}, f.note("join %s", code)
}
func (f *fake) Leave(context.Context) error { return f.note("leave") }
func (f *fake) Connections(context.Context) ([]Connection, error) {
	return []Connection{{Number: 7, Target: netip.MustParseAddrPort("192.0.2.1:443")}}, f.note("connections")
}
func (f *fake) Connection(_ context.Context, n int) (Connection, error) {
	return Connection{Number: n, Trace: "syn"}, f.note("connection %d", n)
}
func (f *fake) CloseConnection(_ context.Context, n int) error { return f.note("close %d", n) }
func (f *fake) OpenSubflow(_ context.Context, n int, o SubflowOpen) (int, error) {
	text, _ := json.Marshal(o)
	return 3, f.note("open %d %s", n, text)
}
func (f *fake) ChangeSubflow(_ context.Context, n, id int, change SubflowChange) error {
	text, _ := json.Marshal(change)
	return f.note("subflow %d %d %s", n, id, text)
}
func (f *fake) UseLink(_ context.Context, n int, link string, use bool) error {
	return f.note("use %d %s %v", n, link, use)
}
func (f *fake) Events(ctx context.Context, n int, tell func(Event) error) error {
	err := f.note("watch %d", n)
	if err == nil {
		err = errors.Join(tell(Event{Kind: "added", Subflow: 1, Link: "wlan0"}), tell(Event{Kind: "removed", Subflow: 1, Reason: "no answer"}))
	}
	switch n {
	case 9: // which never ends
		<-ctx.Done()
		f.note("unwatch %d", n)
	case 10: // of which no more can be told
		err = errors.New("lost")
	}
	return err
}
func (f *fake) Flows(context.Context) ([]Flow, error) {
	return []Flow{{Protocol: "udp", Sent: 9}}, f.note("flows")
}

// serveFake runs the API over a socket and returns a client of it.
func serveFake(t *testing.T, b Backend) (*Client, string) {
	path := filepath.Join(t.TempDir(), "run", "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, b) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return NewClient(path), path
}

func TestVerbs(t *testing.T) {
	f := &fake{state: State{Phase: Connected, Hub: Hub{"home", "home.example:51820"}, Links: []Link{{Name: "wlan0", Role: config.Primary}}}}
	c, _ := serveFake(t, f)
	ctx := context.Background()
	if s, err := c.State(ctx); err != nil || !reflect.DeepEqual(s, f.state) {
		t.Errorf("state %+v, %v, want %+v", s, err, f.state)
	}
	off, role, limit := false, config.Backup, config.Rate(10e6)
	err := errors.Join(c.Up(ctx), c.Down(ctx), c.SetLink(ctx, "wlan 0/ü", LinkChange{On: &off, Role: &role, LimitUp: &limit}), c.Leave(ctx))
	if err != nil {
		t.Error(err)
	}
	if j, err := c.Join(ctx, "tandem1-abc"); err != nil || j != (Joined{"home", "laptop"}) {
		t.Errorf("joined %+v, %v", j, err)
	}
	if all, err := c.Connections(ctx); err != nil || len(all) != 1 || all[0].Number != 7 {
		t.Errorf("connections %+v, %v", all, err)
	}
	if one, err := c.Connection(ctx, 7); err != nil || one.Trace != "syn" {
		t.Errorf("connection %+v, %v", one, err)
	}
	if all, err := c.Flows(ctx); err != nil || len(all) != 1 || all[0].Sent != 9 {
		t.Errorf("flows %+v, %v", all, err)
	}
	want := []string{"up", "down", `link wlan 0/ü {"on":false,"role":"backup","limit_up":"10Mbit"}`, "leave", "join tandem1-abc",
		"connections", "connection 7", "flows"}
	if !reflect.DeepEqual(f.calls, want) {
		t.Errorf("asked %q, want %q", f.calls, want)
	}
}

func TestErrorsAreSentences(t *testing.T) {
	f := &fake{err: errors.New("The code has expired.")}
	c, path := serveFake(t, f)
	ctx := context.Background()
	if _, err := c.Join(ctx, "x"); err == nil || err.Error() != "The code has expired." {
		t.Errorf("%v, want the backend's own words", err)
	}
	f.err = fmt.Errorf("link %q: %w", "x", ErrUnknown)
	if err := c.SetLink(ctx, "x", LinkChange{}); err == nil || err.Error() != `link "x": not found` {
		t.Errorf("%v, want the backend's own words", err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another tandem daemon is running") {
		t.Errorf("a second daemon: %v", err)
	}
	nobody := filepath.Join(t.TempDir(), "s")
	if _, err := NewClient(nobody).State(ctx); !errors.Is(err, ErrNoDaemon) || !strings.Contains(err.Error(), nobody) {
		t.Errorf("no daemon: %v", err)
	}
	os.WriteFile(nobody, nil, 0o600)
	if _, err := Listen(nobody); err == nil || !strings.Contains(err.Error(), "is in the way") {
		t.Errorf("a file in the way: %v", err)
	}
}

func TestListenTakesOverWhatADeadDaemonLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	again, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestWatch(t *testing.T) {
	f := &fake{state: State{Phase: Connecting}}
	c, _ := serveFake(t, f)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var seen []Phase
	err := c.Watch(ctx, func(s State) {
		seen = append(seen, s.Phase)
		if f.set(Connected); len(seen) == 2 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || !reflect.DeepEqual(seen, []Phase{Connecting, Connected}) {
		t.Errorf("saw %q, %v", seen, err)
	}
}

func TestRights(t *testing.T) {
	const daemon = 1000
	for _, c := range []struct {
		who    caller.Caller
		member bool
		want   right
	}{
		{caller.Caller{UID: 0}, false, own},
		{caller.Caller{UID: daemon}, false, own},
		{caller.Caller{UID: 1001}, true, toggle},
		{caller.Caller{UID: 1001}, false, nothing},
	} {
		if got := rightOfCaller(c.who, daemon, c.member); got != c.want {
			t.Errorf("%+v, member %v: %v, want %v", c.who, c.member, got, c.want)
		}
	}
}

func TestGuard(t *testing.T) {
	h := handler(&fake{})
	for _, c := range []struct {
		has          right
		method, path string
		want         int
	}{
		{nothing, "GET", "/state", 403}, {nothing, "POST", "/up", 403}, {nothing, "GET", "/watch", 403},
		{toggle, "GET", "/state", 200}, {toggle, "POST", "/up", 200}, {toggle, "POST", "/down", 200}, {toggle, "POST", "/links/a", 200},
		{toggle, "POST", "/join", 403}, {toggle, "POST", "/leave", 403}, {toggle, "GET", "/connections", 403},
		{toggle, "POST", "/settings", 403}, {own, "POST", "/settings", 200},
		{toggle, "GET", "/connections/1", 403}, {toggle, "GET", "/flows", 403}, {toggle, "POST", "/connections/1/close", 403},
		{toggle, "POST", "/connections/1/subflows", 403}, {toggle, "POST", "/connections/1/subflows/2", 403},
		{own, "POST", "/connections/1/close", 200}, {own, "POST", "/connections/one/close", 404}, {own, "GET", "/connections/1/close", 405},
		{own, "POST", "/connections/1/subflows", 200}, {own, "POST", "/connections/1/subflows/2", 200},
		{own, "POST", "/connections/1/subflows/two", 404},
		{toggle, "GET", "/connections/1/events", 403}, {own, "GET", "/connections/1/events", 200}, {own, "GET", "/connections/one/events", 404},
		{toggle, "POST", "/connections/1/links/wlan0", 403}, {own, "POST", "/connections/one/links/wlan0", 404},
		{own, "POST", "/leave", 200}, {own, "GET", "/connections/1", 200}, {own, "GET", "/connections/one", 404}, {own, "GET", "/nowhere", 404},
	} {
		r := httptest.NewRequest(c.method, c.path, strings.NewReader("{}"))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), rightKey{}, c.has)))
		if w.Code != c.want {
			t.Errorf("%s %s with right %d: %d, want %d", c.method, c.path, c.has, w.Code, c.want)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/state", nil))
	if text, _ := io.ReadAll(w.Body); w.Code != http.StatusForbidden || !strings.Contains(string(text), "members of the group tandem") {
		t.Errorf("who has no right at all: %d %s", w.Code, text)
	}
}

// TestStateIsAPromise: others read these fields; they may become more, never other.
func TestStateIsAPromise(t *testing.T) {
	text, err := json.MarshalIndent(State{
		Phase: Connected, Hub: Hub{"home", "home.example:51820"}, Connections: 3,
		Links: []Link{{
			Name: "wlan0", Kind: "wifi", Role: config.Primary, State: LinkConnected, RTT: 21.5, Loss: 0.01, Rx: 1000, Tx: 2000,
			RxRate: 8e6, TxRate: 1e5, PublicAddr: "192.0.2.7", LimitUp: 5e6, Cap: 20e9, ResetDay: 1,
			Granted: true, PeerUp: 1e6, PeerDown: 2e6, LimitUsed: 1e6, Won: 4, Price: 5, Forward: 12.5, Backward: 9,
			Private: true, Deny: "10.0.0.0/8", Alone: true, Address: "fixed", Leaving: true, Left: 42,
		}},
		Scheduler: "cost", Establish: "auto", Races: 5, Switches: 6, Inactivity: config.Inactivity{Time: 2 * time.Hour, Request: true},
		CostV: 64, CostRate: 1e6, Address: "unknown", Privacy: "strict", FastOpen: true, FastOpens: 7, FastOpensRefused: 8,
		Bounds: config.Bounds{Fixed: true}, ImplicitESIM: true, Prototype: "inactivity", Counters: tally.Tally{"bad_join_mac": 9},
	}, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/state.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(text)+"\n" != string(want) {
		t.Errorf("%s\nwant\n%s", text, want)
	}
}
