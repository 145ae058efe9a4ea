package client

import (
	"io"
	"slices"
	"strings"
	"testing"

	"tandem/app/config"
	"tandem/app/control"
	"tandem/engine"
	"tandem/tunnel/upstream"
)

// TestUpstreamStripped: over a link on which something strips Multipath TCP connections begin no more, once that was seen.
// They go over the other, what they have to begin with, and the link is said to be so. New links are tried anew.
func TestUpstreamStripped(t *testing.T) {
	s := newStreet(t)
	s.host(proxyAt, false, socks5(t))
	s.strip["wlan0"] = true
	s.run("socks5://"+proxyAt.String(), func(cfg *Config) {
		cfg.Told.Establish = new(config.Establish("classic"))
	})
	s.connected("wlan0", "wwan0")
	for range 2 {
		echoes(t, s.dial(), 10_000)
	}
	s.wait("the reason", func(st control.State) bool { return strings.Contains(st.Reason, "on one of the links strips") })
	for range 5 {
		c := s.dial()
		echoes(t, c, 10_000)
		all, err := s.client.Connections(s.ctx())
		if err != nil {
			t.Fatal(err)
		}
		if got := s.overLinks(all[len(all)-1].Number); !slices.Equal(got, []string{"wwan0"}) {
			t.Errorf("a connection goes over %q", got)
		}
		c.Close()
	}
	s.mu.Lock()
	s.strip["wlan0"] = false
	s.mu.Unlock()
	s.world.host.SetLinks(s.world.links[1])
	s.connected("wwan0")
	s.world.host.SetLinks(s.world.links...)
	s.connected("wlan0", "wwan0")
	c := s.dial()
	echoes(t, c, 10_000)
	all, err := s.client.Connections(s.ctx())
	if err != nil {
		t.Fatal(err)
	}
	s.until("both links", func() bool { return len(s.overLinks(all[len(all)-1].Number)) == 2 })
	s.wait("no reason", func(st control.State) bool { return st.Reason == "" })
}

// TestImplicitUpstream: targets are asked themselves, and whatever answers in their name serves.
func TestImplicitUpstream(t *testing.T) {
	s := newStreet(t)
	s.host(second, false, func(c *engine.Conn) { io.Copy(c, c); c.CloseWrite() })
	s.run("implicit://"+proxyAt.String(), nil)
	s.connected("wlan0", "wwan0")
	c, err := s.client.Dial(s.ctx(), second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	echoes(t, c, 300_000)
	all, err := s.client.Connections(s.ctx())
	if err != nil || len(all) != 1 || all[0].Target != second || all[0].Via != control.ViaImplicit {
		t.Fatalf("connections %+v: %v", all, err)
	}
	s.until("both links", func() bool { return len(s.overLinks(all[0].Number)) == 2 })
}

// TestRoads: paths of which it is known that something strips Multipath TCP there are left out, unless that leaves none; so are,
// with haste, those where octets of a SYN do not arrive. If they arrive nowhere, who insists on them is told.
func TestRoads(t *testing.T) {
	type ids = []engine.PathID
	speaks, mute, strips, both := road{speaks: true}, road{mute: true}, road{speaks: true, strips: true}, road{mute: true, strips: true}
	for _, c := range []struct {
		known  roads
		haste  upstream.Haste
		want   ids
		with   upstream.Haste
		refuse bool
	}{
		{nil, upstream.Patient, ids{0, 1, 2}, upstream.Patient, false},
		{nil, upstream.HastyOnly, ids{0, 1, 2}, upstream.HastyOnly, false},
		{roads{0: speaks}, upstream.Patient, ids{0, 1, 2}, upstream.Patient, false},
		{roads{0: mute}, upstream.Patient, ids{1, 2}, upstream.Patient, false},
		{roads{0: mute, 1: speaks, 7: mute}, upstream.Hasty, ids{1, 2}, upstream.Hasty, false},
		{roads{0: mute, 1: mute, 2: mute}, upstream.Hasty, ids{0, 1, 2}, upstream.Hasty, false},
		{roads{0: strips, 1: speaks}, upstream.HastyOnly, ids{1, 2}, upstream.HastyOnly, false},
		{roads{0: strips, 1: speaks}, upstream.Patient, ids{0, 1, 2}, upstream.Patient, false},
		{roads{0: strips, 1: mute, 2: strips}, upstream.Hasty, ids{0, 2}, upstream.Patient, false},
		{roads{0: both, 1: both, 2: both}, upstream.HastyOnly, ids{0, 1, 2}, upstream.Patient, true},
	} {
		got, with, ok := c.known.begin(ids{0, 1, 2}, c.haste)
		if !slices.Equal(got, c.want) || with != c.with || ok == c.refuse {
			t.Errorf("%v, haste %d: %v, %d, %v", c.known, c.haste, got, with, ok)
		}
	}
	if got, with, ok := (roads{0: strips}).begin(nil, upstream.HastyOnly); len(got) != 0 || with != upstream.HastyOnly || !ok {
		t.Errorf("without a path: %v, %d, %v", got, with, ok)
	}
	for _, c := range []struct {
		known               roads
		speaks, mute, sound bool
	}{{nil, false, false, true}, {roads{0: speaks}, true, false, true}, {roads{0: speaks, 1: mute}, true, true, false}, {roads{0: strips}, true, false, false}} {
		if speaks, mute := c.known.both(); speaks != c.speaks || mute != c.mute || c.known.sound() != c.sound {
			t.Errorf("%v: %v, %v, %v", c.known, speaks, mute, c.known.sound())
		}
	}
}
