package client

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"tandem/app/apptest"
	"tandem/app/control"
	"tandem/platform/platformtest"
)

// TestNothingIsLeft: every goroutine of this module has ended when Run returns.
func TestNothingIsLeft(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	w.join()
	cfg := w.config()
	cfg.Host, cfg.Routes = tunHost{w.host, make(chan *platformtest.Tun, 1), nil}, "default"
	before := ours()
	w.start(cfg)
	w.connected("wlan0", "wwan0")
	s := w.dial()
	echoes(t, s, 1000)
	w.wait("a connection", func(st control.State) bool { return st.Connections == 1 })
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	// The hub's side of the connections ends a little later.
	var left []string
	defer func() {
		if t.Failed() {
			t.Logf("still running:\n%s", strings.Join(left, "\n\n"))
		}
	}()
	apptest.Until(t, "no more goroutines run than before", func() bool {
		left = ours()
		return len(left) <= len(before)
	})
}

// ours returns the goroutines that run code of a client's daemon.
func ours() (all []string) {
	text := make([]byte, 1<<20)
	text = text[:runtime.Stack(text, true)]
	for _, g := range strings.Split(string(text), "\n\n") {
		if strings.Contains(g, "tandem/app/client.(") || strings.Contains(g, "tandem/tunnel/capture.") || strings.Contains(g, "tandem/app/control.") {
			all = append(all, g)
		}
	}
	return all
}

// TestFlappingLeavesNothing: a link that came and went a hundred times has cost nothing that stays.
func TestFlappingLeavesNothing(t *testing.T) {
	w := newConnected(t)
	s := w.dial()
	defer s.Close()
	echoes(t, s, 1000)
	before := runtime.NumGoroutine()
	for range 100 {
		w.host.SetLinks(w.links[0])
		w.wait("one link", func(st control.State) bool { return len(st.Links) == 1 })
		w.host.SetLinks(w.links...)
		w.wait("two links", func(st control.State) bool { return len(st.Links) == 2 })
	}
	w.connected("wlan0", "wwan0")
	echoes(t, s, 100e3)
	apptest.Until(t, fmt.Sprintf("hardly more than the %d goroutines before", before), func() bool {
		runtime.GC() // wireguard-go ends some of its own by finalizers
		return runtime.NumGoroutine() <= before+4
	})
}
