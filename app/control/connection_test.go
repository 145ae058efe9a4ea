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
	err = errors.Join(err, c.ChangeSubflow(ctx, 7, 2, SubflowChange{Backup: &backup}), c.ChangeSubflow(ctx, 7, 2, SubflowChange{Close: CloseReset}), c.CloseConnection(ctx, 7))
	if err != nil {
		t.Error(err)
	}
	want := []string{
		`open 7 {"link":"wwan0","backup":true}`, `open 7 {"local":"192.0.2.1:0","remote":"[2001:db8::1]:443"}`,
		`subflow 7 2 {"backup":true}`, `subflow 7 2 {"close":"reset"}`, "close 7",
	}
	if !reflect.DeepEqual(f.calls, want) {
		t.Errorf("asked %q, want %q", f.calls, want)
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
		Multipath: true, Token: 1, Resent: 10, SendQueue: 5, RecvQueue: 6, FastOpen: 26, Trace: "syn",
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
