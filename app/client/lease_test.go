package client

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/app/apptest"
	"tandem/app/config"
	"tandem/app/control"
	"tandem/platform"
)

// leased is a link whose only address has an end; preferred 0: others are to be used at once.
func leased(l platform.Link, preferred, valid time.Duration) platform.Link {
	x := platform.Lease{Addr: l.Addrs[0].Addr(), Valid: time.Now().Add(valid)}
	if preferred > 0 {
		x.Preferred = time.Now().Add(preferred)
	}
	l.Leases = []platform.Lease{x}
	return l
}

// spared reports whether the newest connection has a subflow over a link, and uses it only if no other works.
func (w *world) spared(link string) (there, spared bool) {
	number, _ := w.on()
	one, err := w.client.Connection(w.ctx(), number)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range one.Subflows {
		if f.Link == link && f.Established {
			return true, f.Backup
		}
	}
	return false, false
}

// handedOver lets the address of a link go away, be renewed, end and come again, while a connection goes on.
func (w *world) handedOver() {
	w.t.Helper()
	c := w.dial()
	echoes(w.t, c, 100_000)
	apptest.Until(w.t, "both links", func() bool { _, links := w.on(); return len(links) == 2 })
	is := func(what string, leaving bool, left int, reason string) {
		w.t.Helper()
		w.wait(what, func(s control.State) bool {
			l := s.Links[1]
			return l.Leaving == leaving && l.Left <= left && l.Left >= left-15 && strings.Contains(l.Reason, reason)
		})
	}
	subflow := func(what string, there, spared bool) {
		w.t.Helper()
		apptest.Until(w.t, what, func() bool { t, s := w.spared("wwan0"); return t == there && s == spared })
	}
	w.host.SetLinks(w.links[0], leased(w.links[1], time.Hour, 2*time.Hour))
	is("a lease", false, 7200, "")
	w.host.SetLinks(w.links[0], leased(w.links[1], 0, time.Hour))
	is("going away", true, 3600, "its address goes away in 59m")
	subflow("spared", true, true)
	echoes(w.t, c, 100_000)
	w.host.SetLinks(w.links[0], leased(w.links[1], 2*time.Hour, 2*time.Hour))
	is("renewed", false, 7200, "")
	subflow("used again", true, false)
	w.host.SetLinks(w.links[0], leased(w.links[1], 0, 500*time.Millisecond))
	is("gone", true, 0, "its address is gone")
	subflow("left", false, false)
	echoes(w.t, c, 100_000)
	w.host.SetLinks(w.links...)
	is("no end is known any more", false, 0, "")
	subflow("joined again", true, false)
	echoes(w.t, c, 100_000)
}

// TestHandover: with a hub.
func TestHandover(t *testing.T) { newConnected(t).handedOver() }

// TestNativeHandover: with a proxy of another make.
func TestNativeHandover(t *testing.T) {
	s := newStreet(t)
	s.host(proxyAt, false, socks5(t))
	s.run("socks5://"+proxyAt.String(), nil)
	s.connected("wlan0", "wwan0")
	s.handedOver()
}

// TestLeaseFromTheStart: a link that comes with an address that goes away is used by no connection that has another.
func TestLeaseFromTheStart(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	w.join()
	w.host.SetLinks(w.links[0], leased(w.links[1], 0, time.Hour))
	cfg := w.config()
	cfg.Told.Establish = new(config.Establish("classic"))
	w.start(cfg)
	w.wait("leaving", func(s control.State) bool { return len(s.Links) == 2 && s.Links[1].Leaving })
	w.connected("wlan0", "wwan0")
	echoes(t, w.dial(), 100_000)
	if there, _ := w.spared("wwan0"); there {
		t.Error("a connection has joined over it")
	}
}

// TestLeaseOfAPath: it is that of the addresses that packets leave with, which a native link has one of in each family, and
// of the family that the other end is reached in.
func TestLeaseOfAPath(t *testing.T) {
	end := func(seconds int) time.Time { return time.Unix(1e9, 0).Add(time.Duration(seconds) * time.Second) }
	prefix := netip.MustParsePrefix
	l := platform.Link{
		Addrs: []netip.Prefix{prefix("10.0.0.2/24"), prefix("10.0.0.3/24"), prefix("2001:db8::2/64")},
		Leases: []platform.Lease{
			{Addr: netip.MustParseAddr("10.0.0.2"), Preferred: end(10), Valid: end(10)},
			{Addr: netip.MustParseAddr("10.0.0.3"), Preferred: end(90), Valid: end(90)},
		},
	}
	for _, c := range []struct {
		what   string
		native *nativeMode
		to     netip.AddrPort
		want   time.Time
	}{
		{"a tunnel over IPv4", nil, home4, end(90)}, {"a tunnel over IPv6", nil, home6, time.Time{}},
		{"native over IPv4", &nativeMode{}, home4, end(10)}, {"native over IPv6", &nativeMode{}, home6, time.Time{}},
	} {
		if got := (&live{native: c.native}).lease(&link{is: l, endpoint: c.to}); got.Valid != c.want {
			t.Errorf("%s: until %v, want %v", c.what, got.Valid, c.want)
		}
	}
}
