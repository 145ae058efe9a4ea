package client

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/app/apptest"
	"tandem/app/config"
	"tandem/app/control"
	"tandem/engine"
)

func TestStreamSurvivesTheCutOfALink(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	if j := w.join(); j.Device != "laptop" {
		t.Errorf("joined as %+v, want the invite's name", j)
	}
	w.start(w.config())
	w.connected("wlan0", "wwan0")
	if _, err := w.client.Dial(w.ctx(), netip.AddrPortFrom(somewhere.Addr(), apptest.RefusedPort)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a target that refuses: %v", err)
	}
	s := w.dial()
	defer s.Close()
	echoes(t, s, 100e3)
	if n := w.client.State().Connections; n > 1 {
		t.Errorf("%d connections, want at most 1", n)
	}
	w.silence(0, true)
	echoes(t, s, 300e3)
	w.wait("wlan0 is silent", func(st control.State) bool { return st.Links[0].State == control.LinkSilent })
	w.silence(0, false)
	w.connected("wlan0", "wwan0")
	w.silence(1, true)
	echoes(t, s, 300e3)
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(s); err != nil || len(rest) != 0 {
		t.Errorf("after the end came %d octets and %v", len(rest), err)
	}
}

func TestLinksComeAndGo(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	w.join()
	w.host.SetLinks(w.links[0])
	w.start(w.config())
	w.connected("wlan0")
	s := w.dial()
	defer s.Close()
	echoes(t, s, 1000)
	w.host.SetLinks(w.links...)
	w.connected("wlan0", "wwan0")
	w.host.SetLinks(w.links[1])
	w.connected("wwan0")
	echoes(t, s, 100e3)
	moved := w.links[0]
	w.host.SetLinks(moved, w.links[1])
	w.connected("wlan0", "wwan0")
	slot := func() int {
		m, _ := w.state.Membership()
		return slices.IndexFunc(m.Slots[:], func(s config.Slot) bool { return s.Link == moved.ID })
	}
	before := slot()
	w.network.Move(0)
	moved.Addrs = nil
	moved.Gateway4 = w.links[1].Gateway4
	w.host.SetLinks(moved, w.links[1])
	w.silence(1, true)
	echoes(t, s, 100e3)
	if after := slot(); after != before {
		t.Errorf("the same link with another address has slot %d, had %d", after, before)
	}
	unfit := w.links[1]
	unfit.Usable, unfit.Reason = false, "it has no address"
	w.host.SetLinks(unfit)
	w.wait("no link", func(st control.State) bool { return st.Phase == control.NoLink })
	if r := w.client.State().Reason; !strings.Contains(r, "wwan0: it has no address") {
		t.Errorf("reason %q", r)
	}
}

func TestTogglesAreAtOnceAndKept(t *testing.T) {
	w := newConnected(t)
	off, never, backup := false, config.Never, config.Backup
	if err := w.client.SetLink(w.ctx(), "wlan0", control.LinkChange{On: &off}); err != nil {
		t.Fatal(err)
	}
	if st := w.client.State(); st.Links[0].State != control.LinkOff || st.Links[0].Reason != "switched off with tandem link" {
		t.Errorf("wlan0 is %q right after it was switched off", st.Links[0].State)
	}
	if err := w.client.SetLink(w.ctx(), "wwan0", control.LinkChange{Role: &never}); err != nil {
		t.Fatal(err)
	}
	if st := w.client.State(); st.Links[1].State != control.LinkOff || st.Phase != control.NoLink {
		t.Errorf("with the role never: %+v", st)
	}
	before, _ := w.network.Counts(1)
	if err := w.client.SetLink(w.ctx(), "wwan0", control.LinkChange{Role: &backup}); err != nil {
		t.Fatal(err)
	}
	w.connected("wwan0")
	if after, _ := w.network.Counts(1); after == before {
		t.Error("connected without a packet")
	}
	bad := config.Role("first")
	if err := w.client.SetLink(w.ctx(), "wwan0", control.LinkChange{Role: &bad}); err == nil || !strings.Contains(err.Error(), "not a role") {
		t.Errorf("a role that is none: %v", err)
	}
	if err := w.client.SetLink(w.ctx(), "eth9", control.LinkChange{}); err == nil || !strings.Contains(err.Error(), `link "eth9": not found`) {
		t.Errorf("a link that is none: %v", err)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	w.start(w.config())
	w.connected("wwan0")
	if st := w.client.State(); st.Links[0].State != control.LinkOff || st.Links[1].Role != config.Backup {
		t.Errorf("after a restart: %+v", st.Links)
	}
}

func TestCapIsKept(t *testing.T) {
	w := newConnected(t)
	limit := config.Size(20e3)
	if err := w.client.SetLink(w.ctx(), "wwan0", control.LinkChange{Cap: &limit}); err != nil {
		t.Fatal(err)
	}
	s := w.dial()
	for range 20 {
		echoes(t, s, 100e3)
	}
	w.wait("the cap is used up", func(st control.State) bool {
		return st.Links[1].State == control.LinkUnusable && strings.Contains(st.Links[1].Reason, "its cap of 20kB is used up until ")
	})
	echoes(t, s, 100e3)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	w.start(w.config())
	w.connected("wlan0")
}

func TestDownAndUp(t *testing.T) {
	w := newConnected(t)
	if err := w.client.Down(w.ctx()); err != nil {
		t.Fatal(err)
	}
	if st := w.client.State(); st.Phase != control.Off || st.Links[0].State != control.LinkOff {
		t.Errorf("down: %+v", st)
	}
	if _, err := w.client.Dial(w.ctx(), somewhere); err == nil {
		t.Error("dialled while down")
	}
	w.stop()
	w.start(w.config())
	w.wait("down after a restart", func(st control.State) bool { return len(st.Links) == 2 && st.Phase == control.Off })
	if err := w.client.Up(w.ctx()); err != nil {
		t.Fatal(err)
	}
	w.connected("wlan0", "wwan0")
	echoes(t, w.dial(), 1000)
}

func TestHubRestarts(t *testing.T) {
	w := newConnected(t)
	echoes(t, w.dial(), 1000)
	w.stopHub()
	w.wait("unreachable", func(st control.State) bool { return st.Phase == control.Unreachable })
	if r := w.client.State().Reason; !strings.Contains(r, "hub unreachable since ") || !strings.Contains(r, "wlan0, wwan0") {
		t.Errorf("reason %q", r)
	}
	w.startHub()
	w.connected("wlan0", "wwan0")
	echoes(t, w.dial(), 1000)
}

// TestHubCrashes: nobody says BYE, and who comes back knows no connection.
func TestHubCrashes(t *testing.T) {
	w := newConnected(t)
	s := w.dial()
	echoes(t, s, 1000)
	w.silence(0, true)
	w.silence(1, true)
	go s.Write(make([]byte, 1000))
	w.wait("silence", func(st control.State) bool {
		return st.Links[0].State == control.LinkSilent && st.Links[1].State == control.LinkSilent
	})
	w.stopHub()
	w.silence(0, false)
	w.silence(1, false)
	w.startHub()
	w.connected("wlan0", "wwan0")
	echoes(t, w.dial(), 1000)
	s.SetReadDeadline(time.Now().Add(soon))
	if _, err := io.ReadAll(s); !errors.Is(err, engine.ErrReset) {
		t.Errorf("the old connection ends with %v, want a reset", err)
	}
}

func TestJoinThroughTheDaemon(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	cfg := w.config()
	cfg.Socket = filepath.Join(t.TempDir(), "s")
	w.start(cfg)
	w.wait("not joined", func(st control.State) bool { return st.Phase == control.NotJoined && len(st.Links) == 2 })
	api := control.NewClient(cfg.Socket)
	if err := api.Up(w.ctx()); err == nil || !strings.Contains(err.Error(), "belongs to no hub") {
		t.Errorf("up before joining: %v", err)
	}
	code := w.invite()
	if j, err := api.Join(w.ctx(), code); err != nil || j.Device != "laptop" {
		t.Fatalf("joined %+v, %v", j, err)
	}
	w.connected("wlan0", "wwan0")
	if _, err := api.Join(w.ctx(), code); err == nil || !strings.Contains(err.Error(), "already: run tandem leave first") {
		t.Errorf("a second join: %v", err)
	}
	s := w.dial()
	echoes(t, s, 1000)
	all, err := api.Connections(w.ctx())
	if err != nil || len(all) != 1 || all[0].Target != somewhere || all[0].State != "open" || len(all[0].Subflows) == 0 {
		t.Errorf("connections %+v, %v", all, err)
	}
	if one, err := api.Connection(w.ctx(), all[0].Number); err != nil || one.Trace == "" || one.Subflows[0].Link == "" {
		t.Errorf("connection %+v, %v", one, err)
	}
	if _, err := api.Connection(w.ctx(), 99); err == nil || err.Error() != "connection 99: not found: tandem connections lists them" {
		t.Errorf("connection 99: %v", err)
	}
	if err := api.Leave(w.ctx()); err != nil {
		t.Fatal(err)
	}
	if st, err := api.State(w.ctx()); err != nil || st.Phase != control.NotJoined {
		t.Errorf("after leaving: %+v, %v", st, err)
	}
	if _, err := w.state.Membership(); !errors.Is(err, config.ErrNotJoined) {
		t.Errorf("membership after leaving: %v", err)
	}
	second, _ := New(cfg)
	if err := second.Run(w.ctx()); err == nil || !strings.Contains(err.Error(), "another tandem daemon is running") {
		t.Errorf("a second daemon: %v", err)
	}
}

func TestRevoked(t *testing.T) {
	w := newConnected(t)
	if err := w.server.Revoke("laptop"); err != nil {
		t.Fatal(err)
	}
	w.wait("revoked", func(st control.State) bool {
		return st.Phase == control.Revoked && st.Reason == revokedSentence
	})
	asking, cancel := context.WithTimeout(w.ctx(), 3*time.Second)
	defer cancel()
	ping := time.AfterFunc(time.Second, func() { w.client.now().bond.Ping() })
	defer ping.Stop()
	if err := w.client.Wait(asking, func(st control.State) bool { return st.Phase != control.Revoked }); err == nil {
		t.Errorf("not revoked any more: %+v", w.client.State())
	}
	if _, err := w.client.Dial(w.ctx(), somewhere); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("dialled while revoked: %v", err)
	}
}

func TestBadCodes(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	good := w.invite()
	c, err := New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct{ code, want string }{
		{"hello", "not an invite code of tandem"},
		{"", "not an invite code of tandem"},
		{strings.Replace(good, "tandem1", "tandem2", 1), "another version"},
		{good[:len(good)-9] + "aaaaaaaaa", "mistyped"},
	} {
		if _, err := c.Join(w.ctx(), bad.code); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%q: %v, want %q", bad.code, err, bad.want)
		}
	}
	if _, err := os.Stat(string(w.state)); !os.IsNotExist(err) {
		t.Errorf("bad codes left something: %v", err)
	}
	if _, err := c.Join(w.ctx(), good); err != nil {
		t.Fatal(err)
	}
	thief, err := New(Config{State: config.Folder(filepath.Join(t.TempDir(), "other")), Host: w.host, Bind: w.bind, Log: w.log("thief")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := thief.Join(w.ctx(), good); err == nil {
		t.Error("a code was good for two devices")
	} else {
		t.Log(err)
	}
}

func TestCorruptStateStopsTheDaemon(t *testing.T) {
	w := newWorld(t)
	if err := w.state.SaveSettings(config.NewSettings()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(string(w.state), "settings.json")
	os.WriteFile(name, []byte("{\n\"down\": maybe\n}"), 0o600)
	c, err := New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(w.ctx()); err == nil || !strings.Contains(err.Error(), name+":2: ") {
		t.Errorf("corrupt settings: %v", err)
	}
	if text := mustRead(t, name); !strings.Contains(text, "maybe") {
		t.Errorf("the file is now %q", text)
	}
}
