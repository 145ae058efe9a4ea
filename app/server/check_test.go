package server

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/app/apptest"
)

// finding looks for one finding of a check, and makes sure that the check made nothing.
func finding(t *testing.T, cfg Config, what string) Finding {
	t.Helper()
	_, before := os.Stat(cfg.State)
	var f Finding
	for _, one := range Check(cfg) {
		if one.What == what {
			f = one
		}
	}
	if f.Text == "" {
		t.Errorf("%s: nothing is said", what)
	}
	if _, after := os.Stat(cfg.State); (before == nil) != (after == nil) {
		t.Errorf("%s was made", cfg.State)
	}
	return f
}

func TestCheckState(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	os.WriteFile(file, nil, 0o600)
	wide := filepath.Join(dir, "wide")
	os.Mkdir(wide, 0o755)
	narrow := filepath.Join(dir, "narrow")
	os.Mkdir(narrow, 0o700)
	store := filepath.Join(dir, "store")
	newRegistry(t, store)
	open := filepath.Join(dir, "open")
	os.Mkdir(open, 0o700)
	os.WriteFile(filepath.Join(open, StoreName), nil, 0o644)
	for _, c := range []struct {
		what, state string
		ok          bool
		says        string
	}{
		{"none", filepath.Join(dir, "some", "where"), true, "to be made"},
		{"empty", narrow, true, "empty"},
		{"a store", store, true, "store"},
		{"open to others", wide, false, "chmod 700"},
		{"a store open to others", open, false, "chmod 600"},
		{"a file", file, false, "no directory"},
		{"below a file", filepath.Join(file, "state"), false, "no directory"},
	} {
		f := finding(t, Config{State: c.state}, "state directory")
		if f.OK != c.ok || !f.Essential || !strings.Contains(f.Text, c.says) {
			t.Errorf("%s: %+v", c.what, f)
		}
	}
}

func TestCheckRoutes(t *testing.T) {
	for _, c := range []struct{ has, other, ok, essential bool }{
		{true, true, true, false}, {true, false, true, false}, {false, true, false, false}, {false, false, false, true},
	} {
		if f := checkRoute("IPv6", c.has, c.other, "a pity"); f.OK != c.ok || f.Essential != c.essential || !f.OK && !strings.Contains(f.Text, "pity") {
			t.Errorf("%+v: %+v", c, f)
		}
	}
}

func TestCheckPort(t *testing.T) {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(c.LocalAddr().String())
	cfg := Config{State: t.TempDir() + "/none", Listen: at}
	if f := finding(t, cfg, "UDP port"); f.OK || !f.Essential || !strings.Contains(f.Text, "taken") {
		t.Errorf("taken: %+v", f)
	}
	c.Close()
	if f := finding(t, cfg, "UDP port"); !f.OK {
		t.Errorf("free: %+v", f)
	}
	w := newWorld(t, 1).start()
	apptest.Until(t, "it is seen that a hub is running", func() bool {
		return strings.Contains(finding(t, Config{State: w.state, Listen: at}, "UDP port").Text, "running")
	})
}
