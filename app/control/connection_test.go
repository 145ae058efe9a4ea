package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http/httptest"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"tandem/app/apptest"
)

func TestVerbsOfConnections(t *testing.T) {
	f := &fake{}
	c, _ := serveFake(t, f)
	ctx := context.Background()
	backup := true
	if id, err := c.OpenSubflow(ctx, 7, SubflowOpen{Link: "wwan0", Backup: true}); err != nil || id != 3 {
		t.Errorf("opened %d, %v", id, err)
	}
	_, err := c.OpenSubflow(ctx, 7, SubflowOpen{Local: netip.MustParseAddrPort("192.0.2.1:0"), Remote: netip.MustParseAddrPort("[2001:db8::1]:443")})
	err = errors.Join(err, c.ChangeSubflow(ctx, 7, 2, SubflowChange{Backup: &backup}), c.ChangeSubflow(ctx, 7, 2, SubflowChange{Close: CloseReset}), c.CloseConnection(ctx, 7),
		c.UseLink(ctx, 7, "wwan 0/ü", true), c.UseLink(ctx, 7, "wlan0", false))
	if err != nil {
		t.Error(err)
	}
	want := []string{
		`open 7 {"link":"wwan0","backup":true}`, `open 7 {"local":"192.0.2.1:0","remote":"[2001:db8::1]:443"}`,
		`subflow 7 2 {"backup":true}`, `subflow 7 2 {"close":"reset"}`, "close 7",
		"use 7 wwan 0/ü true", "use 7 wlan0 false",
	}
	if !reflect.DeepEqual(f.calls, want) {
		t.Errorf("asked %q, want %q", f.calls, want)
	}
}

// TestEvents: they come as they happen, until the connection is over; what is wrong with the question is said.
func TestEvents(t *testing.T) {
	f := &fake{}
	c, _ := serveFake(t, f)
	var seen []string
	see := func(e Event) { seen = append(seen, e.Kind+" "+e.Link+e.Reason) }
	if err := c.Events(t.Context(), 7, see); err != nil || !reflect.DeepEqual(seen, []string{"added wlan0", "removed no answer"}) {
		t.Errorf("saw %q, %v", seen, err)
	}
	if err := c.Events(t.Context(), 10, func(Event) {}); err == nil {
		t.Error("what was cut off looks like an end")
	}
	f.err = ErrUnknown
	if err := c.Events(t.Context(), 8, see); err == nil || err.Error() != "not found" || len(seen) != 2 {
		t.Errorf("saw %q, %v", seen, err)
	}
}

// TestEventsOfNobody: who goes is not told any more, although nothing happens that could not be sent.
func TestEventsOfNobody(t *testing.T) {
	f := &fake{}
	c, _ := serveFake(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Events(ctx, 9, func(e Event) {
		if e.Kind == "removed" {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	apptest.Until(t, "the caller is missed", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.calls) == 2
	})
}

// TestEventIsAPromise: others read these fields.
func TestEventIsAPromise(t *testing.T) {
	text, err := json.Marshal(Event{
		Time: time.Unix(1e9, 0).UTC(), Kind: "removed", Subflow: 2, Link: "wwan0", Local: netip.MustParseAddrPort("10.0.0.2:4000"),
		Remote: netip.MustParseAddrPort("192.0.2.1:443"), Backup: true, Reason: "no answer", Missed: 3,
	})
	const want = `{"time":"2001-09-09T01:46:40Z","kind":"removed","subflow":2,"link":"wwan0","local":"10.0.0.2:4000","remote":"192.0.2.1:443",` +
		`"backup":true,"peer_backup":false,"reason":"no answer","missed":3}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v\nwant %s", text, err, want)
	}
}

// What cannot be meant is refused before the daemon is asked.
func TestBadChangeOfASubflow(t *testing.T) {
	f := &fake{}
	h := handler(f)
	for _, c := range []struct{ path, body, want string }{
		{"/connections/7/subflows/2", `{"close":"gently"}`, `a subflow is closed by fin or reset, not \"gently\"`},
		{"/connections/7/subflows/2", `{"shut":"fin"}`, "not understood"},
		{"/connections/7/subflows", `{"local":"nowhere"}`, "not understood"},
		{"/connections/7/links/wlan0", `"yes"`, "not understood"},
		{"/connections/7/subflows/x", `{}`, `subflow \"x\": not found`},
	} {
		r := httptest.NewRequest("POST", c.path, strings.NewReader(c.body))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), rightKey{}, own)))
		if text, _ := io.ReadAll(w.Body); w.Code == 200 || !strings.Contains(string(text), c.want) {
			t.Errorf("%s %s: %d %s, want %q", c.path, c.body, w.Code, text, c.want)
		}
	}
	if len(f.calls) != 0 {
		t.Errorf("asked %q", f.calls)
	}
}

// TestConnectionIsAPromise: others read these fields; they may become more, never other.
func TestConnectionIsAPromise(t *testing.T) {
	text, err := json.MarshalIndent(Connection{
		Number: 7, Target: netip.MustParseAddrPort("192.0.2.1:443"), State: "open", Opened: time.Unix(1e9, 0).UTC(), Sent: 1000, Received: 2000,
		Multipath: true, Via: ViaProxy, Token: 1, Resent: 10, SendQueue: 5, RecvQueue: 6, FastOpen: 26, Trace: "syn",
		Establish: "sim", Scheduler: "owl", Inactivity: Inactivity{Own: 7200, Peer: 100, Request: true, Used: 7200, Left: 7199.5},
		Subflows: []Subflow{{
			ID: 1, Link: "wlan0", Local: netip.MustParseAddrPort("10.0.0.2:4000"), Remote: netip.MustParseAddrPort("192.0.2.1:443"),
			State: "ESTABLISHED", RTT: 21.5, Sent: 600, Received: 1500, Established: true, PeerBackup: true, RTTVar: 2, RTTMin: 20, RTO: 200,
			Window: 14000, Threshold: 7000, Outstanding: 1400, MSS: 1360, Retransmits: 2, Timeouts: 1, Rate: 8e6, Pace: 9e6,
			AskedLimit: 5e6, PeerLimit: 1e6, Limit: 1e6, Muted: true, Forward: 12.5, Backward: 9,
		}},
	}, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/connection.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(text)+"\n" != string(want) {
		t.Errorf("%s\nwant\n%s", text, want)
	}
}
