package sim

import (
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// lopsided are two paths: data is quicker over the first though its round trip is the longer one.
func lopsided() []way {
	const m = time.Millisecond
	link := func(delay time.Duration) Conditions {
		return Conditions{Rate: 20e6, Delay: delay, QueueTime: 100 * m}
	}
	return []way{{up: link(10 * m), down: link(90 * m)}, {up: link(60 * m), down: link(20 * m)}}
}

var (
	pairedOwl  = mptcp.Config{Paired: true, Scheduler: "owl"}
	foreignOwl = mptcp.Config{Timestamps: true, Scheduler: "owl"}
)

// Data takes the path that is quick towards the peer, whatever the peer's clock says; by round trips it would take
// the other one.
func TestOwlTakesTheQuickWay(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  mptcp.Config
		k    skew
		path int
	}{
		{"by round trips", mptcp.Config{Paired: true}, skew{}, 1},
		{"by round trips, timestamps", mptcp.Config{Timestamps: true}, skew{}, 1},
		{"PONG", pairedOwl, skew{}, 0},
		{"PONG, clock far ahead", pairedOwl, skew{ahead: 1000 * time.Hour}, 0},
		{"PONG, clock fast", pairedOwl, skew{ahead: 77 * time.Minute, ppm: 50}, 0},
		{"PONG, clock slow", pairedOwl, skew{ahead: 77 * time.Minute, ppm: -50}, 0},
		{"timestamps", foreignOwl, skew{}, 0},
		{"timestamps, clock far ahead", foreignOwl, skew{ahead: 1000 * time.Hour}, 0},
		{"timestamps that wrap", foreignOwl, skew{ahead: 1<<32*time.Millisecond - 7*time.Second}, 0},
		{"timestamps, clock fast", foreignOwl, skew{ahead: 77 * time.Minute, ppm: 50}, 0},
		{"timestamps, clock slow", foreignOwl, skew{ahead: 77 * time.Minute, ppm: -50}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			least := 0.97
			if c.cfg.Scheduler == "" {
				least = 0.7 // what is a little late is sent over the other path as well
			}
			for _, n := range some(1, []int{1, 8}) {
				g := newGutter(c.cfg, &c.k, n, 4, 20*time.Second, lopsided()...)
				g.run(t, 20*time.Second)
				for from := 2 * time.Second; from < 20*time.Second; from += 2 * time.Second {
					if got := g.share(c.path, from, from+2*time.Second); got < least {
						t.Errorf("%d connections, from %v on: path %d carries %.3f", n, from, c.path, got)
					}
				}
				if g.drip.left() > 0 {
					t.Errorf("%d octets found no room", g.drip.left())
				}
			}
		})
	}
}

// A path that changes is followed within a second: the one in use by what is sent over it, another by PINGs, or by
// probes of its subflows. A window of theirs has to grow again before they carry all.
func TestOwlFollows(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  mptcp.Config
		back float64 // the least share of the first path when it is the quicker one again
	}{
		{"PONG", pairedOwl, 0.97}, {"timestamps", foreignOwl, 0.9},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, n := range some(1, []int{1, 8}) {
				ways := lopsided()
				g := newGutter(c.cfg, nil, n, 4, 30*time.Second, ways...)
				slow := ways[0]
				slow.up.Delay += 100 * time.Millisecond
				g.At(10*s, func(clock.Time) { g.paths[0].Set(slow.up, slow.down) })
				g.At(20*s, func(clock.Time) { g.paths[0].Set(ways[0].up, ways[0].down) })
				g.run(t, 30*time.Second)
				for _, step := range []struct {
					path     int
					from, to time.Duration
					least    float64
				}{{0, 2 * time.Second, 10 * time.Second, 0.97}, {1, 11 * time.Second, 20 * time.Second, 0.97}, {0, 21 * time.Second, 30 * time.Second, c.back}} {
					if got := g.share(step.path, step.from, step.to); got < step.least {
						t.Errorf("%d connections, %v to %v: path %d carries %.3f", n, step.from, step.to, step.path, got)
					}
				}
			}
		})
	}
}
