package client

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"tandem/app/apptest"
	"tandem/app/config"
	"tandem/app/control"
	"tandem/engine"
	"tandem/platform"
)

// on are the links that the newest connection uses.
func (w *world) on() (number int, links []string) {
	w.t.Helper()
	all, err := w.client.Connections(w.ctx())
	if err != nil || len(all) == 0 {
		w.t.Fatalf("connections %v, %v", all, err)
	}
	newest := all[len(all)-1]
	for _, f := range newest.Subflows {
		if f.Established && !slices.Contains(links, f.Link) {
			links = append(links, f.Link)
		}
	}
	slices.Sort(links)
	return newest.Number, links
}

// keepsTo makes sure that the newest connection uses that link and can use no other.
func (w *world) keepsTo(link, other string) {
	w.t.Helper()
	number, links := w.on()
	if !slices.Equal(links, []string{link}) {
		w.t.Errorf("the connection is on %q, not on %s alone", links, link)
	}
	if _, err := w.client.OpenSubflow(w.ctx(), number, control.SubflowOpen{Link: other}); err == nil {
		w.t.Errorf("it opens a subflow over %s", other)
	}
}

func (w *world) set(link string, c control.LinkChange) {
	w.t.Helper()
	if err := w.client.SetLink(w.ctx(), link, c); err != nil {
		w.t.Fatal(err)
	}
}

// alone waits until a link is private, or is not.
func (w *world) alone(link int, want bool) {
	w.t.Helper()
	w.wait("private", func(s control.State) bool {
		return s.Links[link].Alone == want && s.Links[link].State == control.LinkConnected
	})
}

// TestPrivateLink: no packet of what began elsewhere leaves a private link, and what begins there, while there is no
// other, keeps to it.
func TestPrivateLink(t *testing.T) {
	s := newStreet(t)
	s.host(proxyAt, false, socks5(t))
	s.run("socks5://"+proxyAt.String(), nil)
	s.connected("wlan0", "wwan0")
	s.set("wwan0", control.LinkChange{Private: new(true)})
	s.alone(1, true)
	if l := s.client.State().Links[1]; !strings.HasPrefix(l.Reason, "private: ") {
		t.Errorf("%+v", l)
	}
	before := s.used("wwan0")
	echoes(t, s.dial(), 300_000)
	s.keepsTo("wlan0", "wwan0")
	if now := s.used("wwan0"); now != before {
		t.Errorf("packets left the private link from %d ports more", now-before)
	}
	s.silence("wlan0", true)
	s.sendPings()
	s.connected("wwan0")
	c := s.dial()
	echoes(t, c, 10_000)
	s.silence("wlan0", false)
	s.connected("wlan0", "wwan0")
	echoes(t, c, 300_000)
	s.keepsTo("wwan0", "wlan0")
	s.set("wwan0", control.LinkChange{Private: new(false)})
	s.alone(1, false)
	echoes(t, s.dial(), 10_000)
	apptest.Until(t, "both links", func() bool { _, links := s.on(); return len(links) == 2 })
}

// TestDeniedNetwork: a link is private in the networks that somebody has denied, and in no other; with a hub, too.
func TestDeniedNetwork(t *testing.T) {
	w := newConnected(t)
	w.set("wwan0", control.LinkChange{Deny: new(config.Networks("192.0.2.0/24,10.0.1.0/24"))})
	w.alone(1, true)
	echoes(t, w.dial(), 100_000)
	w.keepsTo("wlan0", "wwan0")
	moved := w.links[1]
	moved.Addrs = []netip.Prefix{netip.MustParsePrefix("10.0.9.2/24")}
	w.host.SetLinks(w.links[0], moved)
	w.alone(1, false)
	apptest.Until(t, "both links", func() bool { _, links := w.on(); return len(links) == 2 })
	w.host.SetLinks(w.links...)
	w.alone(1, true)
	apptest.Until(t, "one link", func() bool { _, links := w.on(); return slices.Equal(links, []string{"wlan0"}) })
}

// TestBoundPrograms: who has bound itself to a link's address uses that link alone, whatever others do, and nothing if it
// is switched off.
func TestBoundPrograms(t *testing.T) {
	w := newConnected(t)
	d := w.client.now().dialer
	from := func(address string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(address), 5000) }
	for address, link := range map[string]string{"10.0.0.2": "wlan0", "10.0.1.2": "wwan0"} {
		c, err := d.DialFrom(w.ctx(), from(address), somewhere)
		if err != nil {
			t.Fatal(err)
		}
		echoes(t, c, 100_000)
		w.keepsTo(link, map[string]string{"wlan0": "wwan0", "wwan0": "wlan0"}[link])
		c.Close()
	}
	c, err := d.DialFrom(w.ctx(), from("198.18.0.1"), somewhere)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, c, 100_000)
	apptest.Until(t, "both links", func() bool { _, links := w.on(); return len(links) == 2 })
	w.set("wwan0", control.LinkChange{On: new(false)})
	w.connected("wlan0")
	if _, err := d.DialFrom(w.ctx(), from("10.0.1.2"), somewhere); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("from a link that is off: %v", err)
	}
}

// TestConfinement: who may take which links.
func TestConfinement(t *testing.T) {
	alive := func(slot int, name string, role config.Role, apart bool) *link {
		return &link{slot: slot, seen: platform.Link{Name: name}, settings: config.Link{Role: role}, private: apart, alive: true}
	}
	for _, c := range []struct {
		what         string
		links        []*link
		alone, apart []engine.PathID
	}{
		{"no link", nil, nil, nil},
		{"an open one", []*link{alive(0, "a", config.Primary, false)}, nil, nil},
		{"a private one beside", []*link{alive(0, "a", config.Backup, false), alive(1, "b", config.Primary, true)}, nil, []engine.PathID{1}},
		{"a private one alone", []*link{alive(1, "b", config.Primary, true)}, []engine.PathID{1}, []engine.PathID{1}},
		{"private ones", []*link{alive(1, "a", config.Backup, true), alive(2, "b", config.Primary, true)}, []engine.PathID{2}, []engine.PathID{1, 2}},
		{"alike", []*link{alive(2, "b", config.Primary, true), alive(1, "a", config.Primary, true)}, []engine.PathID{1}, []engine.PathID{1, 2}},
	} {
		v := &live{Client: &Client{}, carried: map[string]*link{}, dialer: dialer{confiner: newConfiner()}}
		for _, l := range c.links {
			v.carried[l.seen.Name] = l
		}
		v.confine()
		is := v.dialer.confiner
		if got := is.only(netip.MustParseAddr("198.18.0.1")); !slices.Equal(got, c.alone) {
			t.Errorf("%s: only %v, want %v", c.what, got, c.alone)
		}
		apart := is.is.Load().apart
		if slices.Sort(apart); !slices.Equal(apart, c.apart) {
			t.Errorf("%s: %v are private, want %v", c.what, apart, c.apart)
		}
		if got, want := is.begin([]engine.PathID{7, 1}, nil), slices.Contains(c.apart, 1); slices.Contains(got, 1) == want || got[0] != 7 {
			t.Errorf("%s: begins with %v", c.what, got)
		}
		if is.begin(nil, nil) != nil || is.begin([]engine.PathID{7}, []engine.PathID{1}) != nil {
			t.Errorf("%s: begins with paths that it may not take, or that nobody chose", c.what)
		}
	}
}

// TestWhatIsPrivate: a switch, or the network that any of a link's addresses is in.
func TestWhatIsPrivate(t *testing.T) {
	l := platform.Link{Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24"), netip.MustParsePrefix("2001:db8::7/64")}}
	for _, c := range []struct {
		set  config.Link
		want bool
	}{
		{config.Link{}, false}, {config.Link{Private: true}, true}, {config.Link{Deny: "10.0.0.0/8"}, false},
		{config.Link{Deny: "192.0.2.0/28"}, true}, {config.Link{Deny: "2001:db8::/32,10.0.0.0/8"}, true},
	} {
		if got := private(l, c.set); got != c.want {
			t.Errorf("%+v: %v", c.set, got)
		}
	}
}

// TestAddressType: what the network of a link promises is what its path promises, now and when somebody says so later.
func TestAddressType(t *testing.T) {
	w := newConnected(t)
	promised := func() (types []string) {
		for _, p := range w.client.now().bond.Paths() {
			types = append(types, p.Address.String())
		}
		slices.Sort(types)
		return types
	}
	if got := promised(); !reflect.DeepEqual(got, []string{"unknown", "unknown"}) {
		t.Errorf("by default %q", got)
	}
	w.set("wwan0", control.LinkChange{Address: new(config.Address("fixed"))})
	w.connected("wlan0", "wwan0")
	if got := promised(); !reflect.DeepEqual(got, []string{"fixed", "unknown"}) {
		t.Errorf("then %q", got)
	}
	echoes(t, w.dial(), 10_000)
	apptest.Until(t, "both links", func() bool { _, links := w.on(); return len(links) == 2 })
	fixed := config.Address("fixed")
	if err := w.client.Set(w.ctx(), control.Change{Address: &fixed, Establish: new(config.Establish("classic"))}); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{"wwan0", "wlan0", "wwan0"} {
		for _, l := range names {
			promise := config.Address("unknown")
			if l == link {
				promise = fixed
			}
			w.set(l, control.LinkChange{Address: &promise})
		}
		w.connected("wlan0", "wwan0")
		for range 2 {
			echoes(t, w.dial(), 1000)
			all, err := w.client.Connections(w.ctx())
			if err != nil || all[len(all)-1].Subflows[0].Link != link {
				t.Errorf("a connection that wants a fixed address, as %s has, begins at %+v, %v", link, all[len(all)-1].Subflows, err)
			}
		}
	}
}
