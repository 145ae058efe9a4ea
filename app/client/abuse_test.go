package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"tandem/app/control"
	"tandem/platform"
	"tandem/platform/platformtest"
	"tandem/tunnel/carrier/carriertest"
)

// TestIdleHubCrash: nobody notices while nothing is asked for; the first request has it noticed.
func TestIdleHubCrash(t *testing.T) {
	w := newConnected(t)
	echoes(t, w.dial(), 1000)
	w.idle()
	w.silence(0, true)
	w.silence(1, true)
	go func() {
		if s, err := w.client.Dial(w.ctx(), somewhere); err == nil {
			s.Close()
		}
	}()
	w.wait("silence", func(st control.State) bool { return st.Phase != control.Connected })
	w.stopHub()
	w.silence(0, false)
	w.silence(1, false)
	w.startHub()
	w.connected("wlan0", "wwan0")
}

// TestStateIsLocked: two daemons with the same keys would take them from each other.
func TestStateIsLocked(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Socket = filepath.Join(t.TempDir(), "one")
	w.start(cfg)
	w.wait("links", func(st control.State) bool { return len(st.Links) == 2 })
	cfg.Socket = filepath.Join(t.TempDir(), "two")
	second, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(w.ctx()); err == nil || !strings.Contains(err.Error(), "another tandem daemon is running") {
		t.Errorf("a second daemon with the same keys: %v", err)
	}
}

// TestMoreLinksThanSlots: of ten links eight are used; one that leaves makes room for another.
func TestMoreLinksThanSlots(t *testing.T) {
	w := newWorld(t)
	l := carriertest.Conditions{Rate: 5e6, Delay: time.Millisecond, QueueBytes: 300e3}
	w.network = carriertest.New(make([]carriertest.Link, 10)...)
	t.Cleanup(w.network.Close)
	for i := range 10 {
		w.network.Change(i, func(up, down *carriertest.Conditions) { *up, *down = l, l })
	}
	w.hub.Bind, w.hub.Endpoints = w.network.Hub(), []string{w.network.Endpoint().String()}
	w.links = nil
	for i := range 10 {
		name := fmt.Sprintf("usb%d", i)
		w.links = append(w.links, platform.Link{Name: name, Kind: "usb", ID: "id" + name, Index: i + 2, MTU: 1500, Usable: true,
			Addrs:    []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i), 2}), 24)},
			Gateway4: netip.AddrFrom4([4]byte{10, 1, byte(i), 1})})
	}
	w.host = platformtest.New(w.links...)
	w.startHub()
	cfg := w.config()
	cfg.Bind = func(link string) conn.Bind {
		var i int
		fmt.Sscanf(link, "usb%d", &i)
		return w.network.Client(i)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Join(w.ctx(), w.invite()); err != nil {
		t.Fatal(err)
	}
	w.start(cfg)
	on := func(st control.State) (n int) {
		for _, l := range st.Links {
			if l.State == control.LinkConnected {
				n++
			}
		}
		return n
	}
	w.wait("eight links", func(st control.State) bool { return on(st) == 8 })
	s := w.dial()
	defer s.Close()
	echoes(t, s, 100e3)
	for leaving := range 4 {
		rest := append(append([]platform.Link{}, w.links[:leaving]...), w.links[leaving+1:]...)
		w.host.SetLinks(rest...)
		w.wait("eight of nine", func(st control.State) bool { return len(st.Links) == 9 && on(st) == 8 })
		echoes(t, s, 100e3)
	}
	if st := w.client.State(); !strings.Contains(fmt.Sprint(st.Links), "all slots of this device are in use") {
		t.Errorf("the ninth link: %+v", st.Links)
	}
}

// TestToggleStorm: links that flap, verbs that contradict each other and connections that come and go, all at once;
// when it is over all is as it was before.
func TestToggleStorm(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	w.join()
	cfg := w.config()
	cfg.Host, cfg.Routes = tunHost{w.host, make(chan *platformtest.Tun, 1000), nil}, "default"
	cfg.Socket = filepath.Join(t.TempDir(), "s")
	w.start(cfg)
	w.connected("wlan0", "wwan0")
	api := control.NewClient(cfg.Socket)
	on := true
	for range 2 {
		w.storm(api)
		w.flap(w.links...)
		for _, name := range names {
			if err := api.SetLink(w.ctx(), name, control.LinkChange{On: &on}); err != nil {
				t.Fatal(err)
			}
		}
		if err := api.Up(w.ctx()); err != nil {
			t.Fatal(err)
		}
		w.connected("wlan0", "wwan0")
		s := w.dial()
		echoes(t, s, 100e3)
		s.Close()
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if r := routes(w.host); len(r) > 0 {
		t.Errorf("left behind: %v", r)
	}
}

// storm has everybody act so many times, each as fast as the daemon answers. Who dials then gives up.
func (w *world) storm(api *control.Client) {
	w.t.Helper()
	ctx, calm := context.WithCancel(w.ctx())
	defer calm()
	var acting, dialing sync.WaitGroup
	each := func(who *sync.WaitGroup, n int, f func(i int)) {
		who.Go(func() {
			for i := range n {
				f(i)
			}
		})
	}
	each(&acting, 60, func(i int) { w.flap(w.links[i%3%2 : 1+i%2]...) })
	each(&acting, 4, func(int) { api.Down(ctx); api.Up(ctx) })
	each(&acting, 60, func(i int) {
		on := i%2 == 0
		api.SetLink(ctx, names[i%2], control.LinkChange{On: &on})
	})
	each(&acting, 60, func(int) { api.Connections(ctx); api.Flows(ctx); api.State(ctx) })
	for range 4 {
		each(&dialing, 60, func(int) {
			s, err := w.client.Dial(ctx, somewhere)
			if err != nil {
				return
			}
			s.Write([]byte("hello"))
			s.Close()
		})
	}
	acting.Wait()
	calm()
	dialing.Wait()
}

// flap has the host report those links alone, and waits until the daemon shows them. Any goroutine may call it.
func (w *world) flap(links ...platform.Link) {
	w.host.SetLinks(links...)
	shown := func(st control.State) bool {
		return slices.EqualFunc(st.Links, links, func(a control.Link, b platform.Link) bool { return a.Name == b.Name })
	}
	if err := w.client.Wait(w.ctx(), shown); err != nil {
		w.t.Errorf("the daemon does not show %d links: %v; state %+v", len(links), err, w.client.State())
	}
}

// TestRoutesThatFail: the state says that nothing is captured, and for how long.
func TestRoutesThatFail(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	w.join()
	cfg := w.config()
	h := &stubborn{tunHost: tunHost{w.host, make(chan *platformtest.Tun, 1), nil}, refuses: true}
	cfg.Host, cfg.Routes = h, "default"
	w.start(cfg)
	w.wait("trouble", func(st control.State) bool {
		return st.Phase == control.Connected && strings.Contains(st.Reason, "does not go through the hub as it should, which is tried again: no room")
	})
	h.set(false)
	w.wait("no trouble", func(st control.State) bool {
		return st.Phase == control.Connected && st.Reason == "" && len(routes(w.host)) > 0
	})
}

// A stubborn host makes no routes while it refuses.
type stubborn struct {
	tunHost
	mu      sync.Mutex
	refuses bool
}

func (h *stubborn) set(refuses bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refuses = refuses
}

func (h *stubborn) Route(r platform.Routing) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuses && r.Tun != "" {
		return errors.New("no room")
	}
	return h.Host.Route(r)
}
