package sim

import (
	"fmt"
	"math"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// priced are a cheap path and a dear one that is faster and nearer.
func priced() []way {
	cheap := Conditions{Rate: 10e6, Delay: 30 * time.Millisecond, QueueTime: 100 * time.Millisecond}
	dear := Conditions{Rate: 50e6, Delay: 10 * time.Millisecond, QueueTime: 100 * time.Millisecond}
	return []way{{up: cheap, down: cheap}, {up: dear, down: dear, price: 5000}}
}

var (
	pairedCost  = mptcp.Config{Paired: true, Scheduler: "cost"}
	foreignCost = mptcp.Config{Scheduler: "cost", Control: "cubic"}
)

// The cheap path carries all of what it can, the dear one what exceeds it.
func TestCostCarriesWhatExceeds(t *testing.T) {
	const span = 20 * time.Second
	for _, cfg := range some(1, []mptcp.Config{pairedCost, foreignCost}) {
		for _, n := range some(1, []int{1, 8}) {
			for _, mbit := range some(2, []float64{2, 8, 15, 30}) {
				t.Run(fmt.Sprintf("paired %v, %d connections, %v Mbit per s", cfg.Paired, n, mbit), func(t *testing.T) {
					t.Parallel()
					g := newGutter(cfg, nil, n, mbit, span, priced()...)
					g.run(t, span)
					cheap, dear := g.carried(0, 2*time.Second, span), g.carried(1, 2*time.Second, span)
					t.Logf("cheap %.2f, dear %.2f Mbit/s, share %.4f", cheap, dear, g.share(1, 0, span))
					if mbit < 9 {
						if got := g.share(1, 0, span); got > 0.01 {
							t.Errorf("the dear path carries %.4f of all", got)
						}
						return
					}
					if want := mbit/share - 10; math.Abs(dear-want) > want/10 {
						t.Errorf("the dear path carries %.2f Mbit/s, want %.2f", dear, want)
					}
				})
			}
		}
	}
}

// The peer's word on a price counts as one's own.
func TestCostOfThePeer(t *testing.T) {
	ways := priced()
	ways[1].price = 0
	g := newGutter(pairedCost, nil, 1, 8, 8*time.Second, ways...)
	g.At(2*s, func(now clock.Time) { g.hub.SetPrice(now, 1, 5000); g.host.Wake() })
	g.At(5*s, func(now clock.Time) { g.hub.SetPrice(now, 1, 0); g.host.Wake() })
	g.run(t, 8*time.Second)
	for from, want := range map[time.Duration]float64{time.Second: 1, 3 * time.Second: 0, 6 * time.Second: 1} {
		if got := g.share(1, from, from+time.Second); math.Abs(got-want) > 0.3 {
			t.Errorf("from %v on the second path carries %.3f", from, got)
		}
	}
}

// Roles come before prices.
func TestCostRolesFirst(t *testing.T) {
	for _, c := range []struct {
		name  string
		cheap mptcp.Role
		dear  mptcp.Role
		share float64 // of the dear one
	}{
		{"as priced", mptcp.Primary, mptcp.Primary, 0},
		{"cheap secondary", mptcp.Secondary, mptcp.Primary, 1},
		{"cheap backup", mptcp.Backup, mptcp.Primary, 1},
		{"dear backup", mptcp.Primary, mptcp.Backup, 0},
	} {
		for _, n := range some(1, []int{1, 8}) {
			ways := priced()
			ways[0].role, ways[1].role = c.cheap, c.dear
			g := newGutter(pairedCost, nil, n, 8, 6*time.Second, ways...)
			g.run(t, 6*time.Second)
			if got := g.share(1, time.Second, 6*time.Second); math.Abs(got-c.share) > 0.03 {
				t.Errorf("%s, %d connections: the dear path carries %.3f", c.name, n, got)
			}
		}
	}
}

// A larger V has the dear path carry less of what comes in bursts.
func TestCostV(t *testing.T) {
	const span = 20 * time.Second
	for _, n := range some(1, []int{1, 8}) {
		last := math.Inf(1)
		var all []float64
		for _, v := range []int{1, 16, 64, 128, 200} {
			cfg := pairedCost
			cfg.CostV = v
			g := newGutter(cfg, nil, n, 0, span, priced()...)
			g.drip.octets, g.drip.every = 900_000/n, time.Second
			g.run(t, span)
			got := g.carried(1, 0, span)
			all = append(all, got)
			if got > last {
				t.Errorf("%d connections, V %d: the dear path carries more", n, v)
			}
			last = got
		}
		t.Logf("%d connections: %.3f Mbit/s", n, all)
		if all[0] < 2*last {
			t.Errorf("%d connections: %.3f Mbit/s", n, all)
		}
	}
}

// All that both paths carry can be had.
func TestCostOfAll(t *testing.T) {
	for _, n := range some(1, []int{1, 8}) {
		g := newGutter(pairedCost, nil, n, 100, 15*time.Second, priced()...)
		g.run(t, 5*time.Second)
		before := g.basin.got
		g.run(t, 15*time.Second)
		got := float64(g.basin.got-before) * 8 / 10
		t.Logf("%d connections: %.2f Mbit/s", n, got/1e6)
		if got < 0.95*share*60e6 {
			t.Errorf("%d connections: %.2f Mbit/s", n, got/1e6)
		}
	}
}

// A limit of the cheap path is its capacity: the dear one carries what exceeds it, and only that.
func TestCostUnderALimit(t *testing.T) {
	const span = 20 * time.Second
	for _, n := range some(1, []int{1, 8}) {
		for mbit, want := range map[float64]float64{1.5: 0, 8: 8/share - 2} {
			g := newGutter(pairedCost, nil, n, mbit, span, priced()...)
			g.bond.SetLimit(0, 0, 0, 2e6/8)
			g.run(t, span)
			if got := g.carried(1, 2*time.Second, span); math.Abs(got-want) > max(want/10, mbit/100) {
				t.Errorf("%d connections, %v Mbit/s: the dear path carries %.3f, want %.3f", n, mbit, got, want)
			}
		}
	}
}

// Little waits where applications may write little: then the rate demanded decides.
func TestCostRate(t *testing.T) {
	const span = 20 * time.Second
	for _, n := range some(1, []int{1, 8}) {
		for _, demand := range some(2, []float64{0, 5, 15, 30}) {
			cfg := pairedCost
			cfg.CostRate = int(demand * 1e6 / 8)
			cfg.Limits.SendBuffer = 240_000 / n
			g := newGutter(cfg, nil, n, 60, span, priced()...)
			g.run(t, span)
			dear := g.carried(1, 5*time.Second, span)
			t.Logf("%d connections, %v Mbit/s demanded: cheap %.2f, dear %.2f", n, demand, g.carried(0, 5*time.Second, span), dear)
			if want := max(demand/share-10, 0); math.Abs(dear-want) > max(want/10, 0.1) {
				t.Errorf("%d connections, %v Mbit/s demanded: the dear path carries %.2f, want %.2f", n, demand, dear, want)
			}
		}
	}
}
