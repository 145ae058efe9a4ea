package client

import (
	"io"
	"slices"
	"strings"
	"testing"

	"tandem/app/config"
	"tandem/app/control"
	"tandem/engine"
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
	if err != nil || len(all) != 1 || all[0].Target != second {
		t.Fatalf("connections %+v: %v", all, err)
	}
	s.until("both links", func() bool { return len(s.overLinks(all[0].Number)) == 2 })
}

// TestSpoken: paths of which it is known that something strips Multipath TCP there are left out, unless that leaves none.
func TestSpoken(t *testing.T) {
	paths := make([]engine.PathInfo, 3)
	for i := range paths {
		paths[i].ID = engine.PathID(i)
	}
	for _, c := range []struct {
		known        spoken
		want         []engine.PathID
		speaks, mute bool
	}{
		{nil, []engine.PathID{0, 1, 2}, false, false},
		{spoken{0: true}, []engine.PathID{0, 1, 2}, true, false},
		{spoken{0: false}, []engine.PathID{1, 2}, false, true},
		{spoken{0: false, 1: true, 7: false}, []engine.PathID{1, 2}, true, true},
		{spoken{0: false, 1: false, 2: false}, nil, false, true},
	} {
		if got := c.known.choose(paths); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.known, got, c.want)
		}
		if speaks, mute := c.known.both(); speaks != c.speaks || mute != c.mute {
			t.Errorf("%v: %v, %v", c.known, speaks, mute)
		}
	}
}
