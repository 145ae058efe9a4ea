package tcp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/path"
)

func TestPairTransfers(t *testing.T) {
	for _, remote := range []string{"10.0.0.2:443", "[fd00::2]:443"} {
		w := newWorld(t, 1, func(c *Config) {
			c.Remote = netip.MustParseAddrPort(remote)
			if c.Remote.Addr().Is6() {
				c.Local = netip.MustParseAddrPort("[fd00::1]:40000")
			}
		})
		w.hosts[0].want, w.hosts[1].want = 1<<20, 300000
		w.hosts[0].closes, w.hosts[1].closes = true, true
		w.mustFinish(time.Second)
		if n := w.hosts[0].sub.Stats(); n.Retransmits != 0 || n.OctetsIn != 300000 || n.OctetsOut != 1<<20 {
			t.Errorf("%+v", n)
		}
	}
}

// Each loss costs one retransmission and no timeout, however many segments are in flight; reordering
// costs next to nothing once it is known.
func TestPairRetransmitsWhatWasLost(t *testing.T) {
	for _, c := range []struct {
		name       string
		loss, swap float64
		more       int // retransmissions beyond the losses
	}{
		{"loss", 0.02, 0, 2},
		{"reordering", 0, 0.05, 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 3, func(cfg *Config) { cfg.Path = path.New(&fixed{200 * 1440}, 1440) })
			a := w.hosts[0]
			a.path = a.sub.Config().Path
			a.want, w.swap = 5<<20, c.swap
			drops := 0
			w.fault = func(from int, pkt []byte) bool {
				if from == 0 && len(pkt) > 1000 && w.rng.Float64() < c.loss {
					drops++
					return true
				}
				return false
			}
			w.mustFinish(5 * time.Second)
			if n := a.sub.Stats(); n.Timeouts > 0 || int(n.Retransmits) > drops+c.more || int(n.Retransmits) < drops {
				t.Errorf("%d drops, %+v", drops, n)
			}
			if limit := 1.2 * (5 << 20) / float64(w.rate); time.Duration(w.now).Seconds() > limit {
				t.Errorf("took %v, want less than %.2f s", time.Duration(w.now), limit)
			}
		})
	}
}

func TestPairSurvivesBadLinks(t *testing.T) {
	for seed := range uint64(1000 / slowness) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			w := newWorld(t, seed, func(c *Config) {
				c.Timestamps = rng.IntN(2) == 0
				c.NoSACK = rng.IntN(4) == 0
				c.ECN = rng.IntN(2) == 0
				c.NoDelayAck = rng.IntN(4) == 0
				c.WindowScale = uint8(rng.IntN(15))
				if rng.IntN(4) == 0 {
					c.MaxMSS = 1 + rng.IntN(100)
				}
			})
			w.loss, w.dup, w.swap = 0.1*rng.Float64(), 0.05*rng.Float64(), 0.1*rng.Float64()
			a, b := w.hosts[0], w.hosts[1]
			a.want, b.want = 1+uint64(rng.IntN(300000)), uint64(rng.IntN(100000))
			if m := w.hosts[0].sub.Config().MaxMSS; m > 0 {
				a.want, b.want = 1+uint64(rng.IntN(100*m)), uint64(rng.IntN(100*m))
			}
			a.chunk, b.chunk = 1+rng.IntN(5000), 1+rng.IntN(100000)
			if rng.IntN(3) == 0 {
				b.window = (1 + rng.IntN(5000)) << w.hosts[0].sub.Config().WindowScale
			}
			a.closes, b.closes = true, true
			w.mustFinish(1000 * time.Second)
		})
	}
}

// Whichever packet is lost, doubled or late, everything arrives and both ends close.
func TestPairSurvivesTheNthPacket(t *testing.T) {
	faults := map[string]func(w *world, from int, pkt []byte) bool{
		"lost":     func(*world, int, []byte) bool { return true },
		"doubled":  func(w *world, from int, pkt []byte) bool { w.enqueue(from, pkt); return false },
		"late":     func(w *world, from int, pkt []byte) bool { w.later(from, pkt, 35*time.Millisecond); return true },
		"too late": func(w *world, from int, pkt []byte) bool { w.later(from, pkt, 3*time.Second); return true },
	}
	for name, fault := range faults {
		for _, config := range []func(*Config){nil, func(c *Config) { c.Early, c.Timestamps = true, true }, func(c *Config) { c.NoSACK = true }} {
			for n := 1; ; n++ {
				w := newWorld(t, 1, config)
				a, b := w.hosts[0], w.hosts[1]
				a.want, b.want, a.closes, b.closes = 30000, 20000, true, true
				if config != nil {
					a.sub.Push(base, 500)
					a.pushed = 500
				}
				count := 0
				w.fault = func(from int, pkt []byte) bool {
					count++
					return count == n && fault(w, from, pkt)
				}
				w.mustFinish(30 * time.Second)
				if count < n {
					break
				}
				if t.Failed() {
					t.Fatalf("packet %d %s", n, name)
				}
			}
		}
	}
}

// A reader that takes its time closes the window; nothing is lost and nothing is sent beyond it.
func TestPairWithSlowReader(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, func(c *Config) { c.WindowScale = 2 })
		w.loss = 0.02
		a, b := w.hosts[0], w.hosts[1]
		a.want, a.closes, b.closes = 200000, true, true
		b.window, b.unread = 10000, true
		for !w.finished() && w.now < clock.Time(200*time.Second) {
			w.run(w.now.Add(50*time.Millisecond), w.finished)
			if b.sub != nil {
				b.window = max(b.window, int(b.got)+w.rng.IntN(10000))
				b.sub.WindowGrew()
			}
		}
		if !w.finished() {
			t.Fatalf("seed %d: %d of %d octets", seed, b.got, a.want)
		}
	}
}
