package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// continuity are what 5G sessions do to addresses (draft-defoy-mptcp-considerations-for-5g-01).
func continuity() []seed {
	const delay = 15 * time.Millisecond
	one := func(cfg mptcp.Config) func() rigging {
		return func() rigging {
			cfg.Establish = engine.Classic
			g := rigging{later: true, near: cfg}
			for range 2 {
				g.links = append(g.links, symmetric(20e6, delay))
			}
			return g
		}
	}
	return []seed{
		{"7 make before break (SSC mode 3)", "no stall > 200 ms, MP_PRIO, REMOVE_ADDR", onRig(one(mptcp.Config{}), makesBefore)},
		{"7 break before make, 4 s (SSC mode 2)", "all octets, nothing from it, REMOVE_ADDR", onRig(one(mptcp.Config{}), breaksBefore)},
		{"7 break before make for longer than it lingers", "ETIMEDOUT after 2 s", onRig(one(mptcp.Config{Linger: 2 * time.Second}), breaksForLong)},
		{"7 break before make, 4 s, with Linger of 2 s and an inactivity time", "all octets, nothing from it, REMOVE_ADDR", onRig(one(mptcp.Config{
			Linger: 2 * time.Second, Inactivity: engine.Inactivity{Time: time.Minute}}), breaksBefore)},
		{"7 break before make beyond the inactivity time", "ETIMEDOUT after 2 s", onRig(one(mptcp.Config{Inactivity: engine.Inactivity{Time: 2 * time.Second}}), breaksForLong)},
	}
}

const (
	moved      = 12e6 // octets, some five seconds of the link
	beforeMove = 1500 * time.Millisecond
)

// begin starts a download that ends well or with the error that done brings.
func (r *rig) begin(ctx context.Context) (c *engine.Conn, done <-chan error, err error) {
	c, _, err = r.dial(ctx, engine.DialOptions{}, moved)
	if err != nil {
		return nil, nil, err
	}
	end := make(chan error, 1)
	go func() { end <- exchange(c, 0, moved) }()
	return c, end, sleep(ctx, beforeMove)
}

// makesBefore: the network gives an address, and says that the other one goes in 3 s.
func makesBefore(ctx context.Context, r *rig) (string, error) {
	c, done, err := r.begin(ctx)
	if err != nil {
		return "", err
	}
	said := r.now()
	r.attach(1)
	r.near.links[0].Load().SetLifetime(engine.Lifetime{Valid: 3 * time.Second})
	if err := sleep(ctx, 3*time.Second); err != nil {
		return "", err
	}
	gone := r.now()
	subflows := ready(c)
	if err := <-done; err != nil {
		return "", err
	}
	all, err := r.sights(ctx, "tcp")
	if err != nil {
		return "", err
	}
	data := those(all, func(s sight) bool { return isNear(s.to) && s.octets > 0 })
	stall := gap(those(data, func(s sight) bool { return s.at > said-time.Second }))
	spared := those(via(all, 0, false), func(s sight) bool { return s.has(subPrio) })
	removed := those(via(all, 1, false), func(s sight) bool { return s.has(subRemove) })
	ended := those(via(all, 0, false), func(s sight) bool { return s.flags&(wire.FIN|wire.RST) != 0 })
	late := those(via(all, 0, false), func(s sight) bool { return s.at > gone+50*time.Millisecond })
	var w wrong
	w.unless(stall < 200*time.Millisecond, "no octet for %v", stall)
	w.unless(len(spared) > 0, "no MP_PRIO over the old link")
	w.unless(len(removed) > 0, "no REMOVE_ADDR over the new link")
	w.unless(len(ended) > 0 && ended[0].at > said && ended[0].at < gone, "the old subflow does not end in time")
	w.unless(len(late) == 0, "%d segments from an address that is gone", len(late))
	w.unless(subflows == 1, "%d subflows in the end", subflows)
	return fmt.Sprintf("stall %s; MP_PRIO %d, REMOVE_ADDR %d, FIN %d", milliseconds(stall), len(spared), len(removed), len(ended)), w.err()
}

// breaksBefore: the only address is lost, and another one comes 4 s later.
func breaksBefore(ctx context.Context, r *rig) (string, error) {
	c, done, err := r.begin(ctx)
	if err != nil {
		return "", err
	}
	r.lines[0].silence(true)
	r.near.links[0].Load().Detach()
	lost := r.now()
	before := c.Info().Received
	if err := sleep(ctx, 4*time.Second); err != nil {
		return "", err
	}
	got := c.Info().Received
	back := r.now()
	r.attach(1)
	if err := <-done; err != nil {
		return "", err
	}
	n, err := r.counted(ctx, "RmAddr", 1)
	if err != nil {
		return "", err
	}
	all, err := r.sights(ctx, "tcp")
	if err != nil {
		return "", err
	}
	removed := those(via(all, 1, false), func(s sight) bool { return s.has(subRemove) })
	said := those(via(all, 0, false), func(s sight) bool { return s.at > lost })
	joins := those(via(all, 1, false), func(s sight) bool { return s.asks() && s.has(subJoin) })
	data := those(via(all, 1, true), func(s sight) bool { return s.octets > 0 })
	var w wrong
	w.unless(len(said) == 0, "%d segments from the lost address", len(said))
	w.unless(got < moved && got < before+1e6, "octets came without a link")
	w.unless(len(joins) > 0 && len(data) > 0, "%d joins", len(joins))
	w.unless(len(removed) > 0, "no REMOVE_ADDR over the new link")
	if w.err() != nil {
		return "", w.err()
	}
	return fmt.Sprintf("0 segments from it; MP_JOIN %s, data %s after the new one; RmAddr %d",
		milliseconds(joins[0].at-back), milliseconds(data[0].at-back), n["RmAddr"]), nil
}

func breaksForLong(ctx context.Context, r *rig) (string, error) {
	c, done, err := r.begin(ctx)
	if err != nil {
		return "", err
	}
	r.lines[0].silence(true)
	r.near.links[0].Load().Detach()
	begun := time.Now()
	err = <-done
	took := time.Since(begun)
	if errors.Is(err, io.EOF) || !errors.Is(err, engine.ErrTimeout) {
		return "", fmt.Errorf("%v with %d octets", err, c.Info().Received)
	}
	if took < 1500*time.Millisecond || took > 3*time.Second {
		return "", fmt.Errorf("after %v", took)
	}
	return fmt.Sprintf("ETIMEDOUT after %s", milliseconds(took)), nil
}
