package server

import (
	"sync/atomic"
	"testing"
	"time"

	"tandem/engine"
)

// The device hears which families the hub reaches, when it comes and when they are others.
func TestFamiliesAreTold(t *testing.T) {
	w := newWorld(t, 1)
	w.start()
	var six atomic.Bool
	age := func() {
		r := &w.server.routed
		r.mu.Lock()
		defer r.mu.Unlock()
		r.has = func(network, _ string) bool { return network == "udp4" || six.Load() }
		r.at = time.Time{}
	}
	age()
	d := w.join(w.invite(InviteOptions{}), "laptop", 0)
	tells := func(f engine.Families) func(engine.Event) bool {
		return func(e engine.Event) bool { return e.Families == f }
	}
	d.hears(engine.HelloHeard, tells(engine.IPv4))
	six.Store(true)
	age()
	w.server.survey(time.Now())
	d.hears(engine.HelloHeard, tells(engine.IPv4|engine.IPv6))
}

func TestRouted(t *testing.T) {
	for _, c := range []struct {
		four, six bool
		want      engine.Families
	}{{true, true, engine.IPv4 | engine.IPv6}, {true, false, engine.IPv4}, {false, true, engine.IPv6}, {false, false, 0}} {
		r := &routed{has: func(network, _ string) bool { return network == "udp4" && c.four || network == "udp6" && c.six }}
		if got := r.families(); got != c.want || r.ipv6() != c.six {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
