package lab

import (
	"context"
	"fmt"
	"time"

	"tandem/engine"
	"tandem/engine/mptcp"
)

// prices are what links cost (draft-xu-mptcp-sosmp-01): the cheap one has 10 Mbit/s here, and the dear one, which is quicker, 50.
func prices() []seed {
	priced := func(scheduler string, paired bool) func() rigging {
		return func() rigging {
			g := begins(engine.Classic, nil, 30*time.Millisecond, 10*time.Millisecond)()
			g.links[0].Rate, g.links[1].Rate = 10e6, 50e6
			g.near.Scheduler = scheduler
			if paired {
				g.near.Paired, g.far = true, &mptcp.Config{Paired: true, Scheduler: scheduler}
			}
			g.path = func(link int, p *engine.PathConfig) { p.Price = 5000 * link }
			return g
		}
	}
	return []seed{
		{"10 cost: 4 Mbit/s wanted, the cheap link has 10", "≤ 1 % over the dear one", onRig(priced("cost", false), costs(4))},
		{"10 cost: 4 Mbit/s wanted, between our ends", "≤ 1 % over the dear one", onRig(priced("cost", true), costs(4))},
		{"10 cost: 20 Mbit/s wanted", "cheap ≥ 8.5, dear what exceeds it", onRig(priced("cost", false), costs(20))},
		{"10 cost: 20 Mbit/s wanted, between our ends", "cheap ≥ 8.5, dear what exceeds it", onRig(priced("cost", true), costs(20))},
		{"10 minrtt, for comparison: 4 Mbit/s wanted", "≥ 90 % over the dear one", onRig(priced("minrtt", false), costsMore)},
	}
}

// thirst is a connection that wants so many Mbit/s, and what each link carries of it after a while, in Mbit/s.
func (r *rig) thirst(ctx context.Context, wanted float64) (carried [2]float64, err error) {
	c, _, err := r.dial(ctx, engine.DialOptions{}, 0)
	if err == nil {
		err = until(ctx, "both links are used", func() bool { return ready(c) == 2 })
	}
	if err != nil {
		return carried, err
	}
	const every = 10 * time.Millisecond
	octets := int(wanted * 1e6 / octetBits * every.Seconds())
	if _, err := r.drip(ctx, c, octets, every, 2*time.Second); err != nil {
		return carried, err
	}
	s, err := r.drip(ctx, c, octets, every, 4*time.Second)
	if err != nil {
		return carried, err
	}
	all, err := r.sights(ctx, "tcp")
	if err != nil {
		return carried, err
	}
	parts, total := sharesOf(all, s, false, 2)
	for i, part := range parts {
		carried[i] = part * total * octetBits / 1e6 / (s.to - s.from).Seconds()
	}
	return carried, nil
}

func costs(wanted float64) func(ctx context.Context, r *rig) (string, error) {
	return func(ctx context.Context, r *rig) (string, error) {
		carried, err := r.thirst(ctx, wanted)
		if err != nil {
			return "", err
		}
		var w wrong
		cheap, dear := carried[0], carried[1]
		w.unless(cheap+dear > 0.9*wanted, "less than wanted")
		if wanted < 9 {
			w.unless(dear <= 0.01*wanted, "the dear link carries what the cheap one could")
		} else {
			w.unless(cheap >= 8.5, "the cheap link is not full")
			w.unless(dear < 1.15*(wanted-cheap) && dear > 0.85*(wanted-cheap), "the dear link does not carry the excess")
		}
		return fmt.Sprintf("cheap %.2f, dear %.2f Mbit/s", cheap, dear), w.err()
	}
}

func costsMore(ctx context.Context, r *rig) (string, error) {
	carried, err := r.thirst(ctx, 4)
	if err == nil && carried[1] < 0.9*(carried[0]+carried[1]) {
		err = errShare
	}
	return fmt.Sprintf("cheap %.2f, dear %.2f Mbit/s", carried[0], carried[1]), err
}
