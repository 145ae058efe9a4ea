package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// inactivity is how long connections may be idle (draft-hoang-mptcp-inactivity-time-00), and what keeps them alive meanwhile.
func inactivity() []seed {
	const delay = 10 * time.Millisecond
	waits := func(near engine.Inactivity, far *engine.Inactivity) func() rigging {
		return func() rigging {
			g := begins(engine.Classic, nil, delay, delay)()
			g.near.Inactivity = near
			if far != nil {
				g.far = &mptcp.Config{Inactivity: *far}
			}
			return g
		}
	}
	known := func(p mptcp.Prototype) func() rigging {
		return begins(engine.Classic, &mptcp.Config{Prototype: p}, delay)
	}
	told := engine.Inactivity{Time: 2 * time.Hour}
	asks := engine.Inactivity{Time: 3 * time.Second, Request: true}
	return []seed{
		{"2 inactivity announced to the kernel", "ExpID 0x10: 7200 s, R=0; all octets", onRig(waits(told, nil), tellsTime)},
		{"2 announced between our ends", "the peer keeps its own 200 s", onRig(waits(told, &engine.Inactivity{Time: 200 * time.Second}), honoured(200*time.Second))},
		{"2 requested between our ends", "the peer takes over 3 s", onRig(waits(asks, &engine.Inactivity{Time: time.Second, Least: time.Second}), honoured(3*time.Second))},
		{"2 the prototypes' 4 octets, forged, to who knows them", "77 s, requested, heard", onRig(known(mptcp.PrototypeInactivity), hearsPrototype(true))},
		{"2 the prototypes' 4 octets, forged, to others", "ignored", onRig(known(mptcp.PrototypeIgnored), hearsPrototype(false))},
		{"2 expiry with subflows", "MP_FASTCLOSE after 3 s, Inactive 1", onRig(waits(asks, nil), expires)},
		{"2 expiry without a subflow", "after 3 s, in silence", onRig(waits(asks, nil), expiresAlone)},
		{"2 keepalive every 2 s, 2 subflows, 8 s idle", "gaps ≤ 2.2 s, ≤ 2 packets per 1.5 s", onRig(func() rigging {
			g := begins(engine.Classic, nil, delay, delay)()
			g.near.Keepalive = 2 * time.Second
			return g
		}, keepsAlive)},
		{"2 idle for 4 s inside the carrier", "no segment", onRig(func() rigging {
			g := begins(engine.Auto, &mptcp.Config{Paired: true}, delay, delay)()
			g.near.Paired = true
			return g
		}, idlesInside)},
	}
}

func tellsTime(ctx context.Context, r *rig) (string, error) {
	e, err := r.talked(ctx, engine.DialOptions{}, 300_000, 300_000)
	if err != nil {
		return "", err
	}
	var w wrong
	all := those(e.packets, func(s sight) bool { return s.experiment(expInactivity) != nil })
	w.unless(len(all) > 0, "no option")
	for _, s := range all {
		o := s.experiment(expInactivity)
		w.unless(len(o) == 6 && o[0] == 0xf0 && number(o[2:4]) == 7200, "option % x", o)
	}
	if w.err() != nil {
		return "", w.err()
	}
	return fmt.Sprintf("option %d times: % x", len(all), all[0].experiment(expInactivity)), nil
}

// honoured: the peer waits for so long.
func honoured(want time.Duration) func(ctx context.Context, r *rig) (string, error) {
	return func(ctx context.Context, r *rig) (string, error) {
		c, _, err := r.dial(ctx, engine.DialOptions{}, 0)
		if err != nil {
			return "", err
		}
		peer, err := r.peer(ctx)
		if err != nil {
			return "", err
		}
		if err := until(ctx, "the option is heard", func() bool { return peer.Info().Inactivity.Peer > 0 }); err != nil {
			return "", err
		}
		here, there, heard := c.Info().Inactivity, peer.Info().Inactivity, r.far.bond.Counters().InactivityTimes
		all, err := r.sights(ctx, "tcp")
		if err != nil {
			return "", err
		}
		said := those(all, func(s sight) bool { return isNear(s.from) && s.experiment(expInactivity) != nil })
		var w wrong
		w.unless(len(said) > 0, "no option")
		for _, s := range said {
			o := s.experiment(expInactivity)
			requests := o[0]&8 != 0
			w.unless(time.Duration(number(o[2:4]))*time.Second == here.Own && requests == here.Request, "option % x", o)
		}
		w.unless(heard > 0, "InactivityTimes is 0")
		w.unless(there.Used == want, "the peer waits for %v", there.Used)
		return fmt.Sprintf("said %v, request %t; the peer uses %v, InactivityTimes %d", here.Own, there.PeerRequests, there.Used, heard), w.err()
	}
}

// hearsPrototype: the far end is sent the option of which both drafts have a prototype, and knows or knows not what it means.
func hearsPrototype(knows bool) func(ctx context.Context, r *rig) (string, error) {
	return func(ctx context.Context, r *rig) (string, error) {
		const seconds = 77
		s := &spy{}
		r.made.tap = s.hear
		c, _, err := r.dial(ctx, engine.DialOptions{}, 0)
		if err != nil {
			return "", err
		}
		peer, err := r.peer(ctx)
		if err == nil {
			err = until(ctx, "all is acknowledged", func() bool { return c.Info().SendQueue == 0 })
		}
		if err != nil {
			return "", err
		}
		forged := s.forge(0, false, func(seg *wire.Segment) {
			seg.Options.Has, seg.Options.Prototype = wire.HasPrototype, seconds
		})
		got := peer.Info().Received
		r.put(0, false, forged)
		if _, err = c.Write(make([]byte, 1000)); err == nil { // what the far end gets behind it
			err = until(ctx, "octets behind it", func() bool { return peer.Info().Received > got })
		}
		if err != nil {
			return "", err
		}
		is := peer.Info().Inactivity
		var w wrong
		w.unless(is.PeerRequests == knows && (is.Peer == seconds*time.Second) == knows && (is.Peer > 0) == knows, "%+v", is)
		return fmt.Sprintf("% x: the peer has %v, requested %t", forged[len(forged)-wire.PrototypeLen:], is.Peer, is.PeerRequests), w.err()
	}
}

// ends waits until a connection has timed out, and says after how long.
func ends(c *engine.Conn) (time.Duration, error) {
	begun := time.Now()
	_, err := c.Read(make([]byte, 1))
	if !errors.Is(err, engine.ErrTimeout) {
		return 0, fmt.Errorf("ended with %v", err)
	}
	return time.Since(begun), nil
}

func expires(ctx context.Context, r *rig) (string, error) {
	c, _, err := r.dial(ctx, engine.DialOptions{}, 0)
	if err == nil {
		_, err = r.counted(ctx, "MPJoinAckRx", 1)
	}
	if err != nil {
		return "", err
	}
	if _, err = ends(c); err != nil {
		return "", err
	}
	n, err := r.counted(ctx, "MPFastcloseRx", 1)
	if err != nil {
		return "", err
	}
	all, err := r.sights(ctx, "tcp")
	if err != nil {
		return "", err
	}
	closing := those(all, func(s sight) bool { return s.has(subFastClose) })
	data := those(all, func(s sight) bool { return s.octets > 0 })
	if len(closing) == 0 || len(data) == 0 {
		return "", errors.New("no MP_FASTCLOSE")
	}
	wait := closing[0].at - data[0].at
	var w wrong
	w.unless(wait > 2900*time.Millisecond && wait < 3500*time.Millisecond, "after %v", wait)
	w.unless(r.near.bond.Counters().Inactive == 1, "Inactive is %d", r.near.bond.Counters().Inactive)
	return fmt.Sprintf("MP_FASTCLOSE after %s, MPFastcloseRx %d", milliseconds(wait), n["MPFastcloseRx"]), w.err()
}

func expiresAlone(ctx context.Context, r *rig) (string, error) {
	c, _, err := r.dial(ctx, engine.DialOptions{}, 0)
	if err != nil {
		return "", err
	}
	if err := sleep(ctx, 500*time.Millisecond); err != nil {
		return "", err
	}
	for i := range r.near.links {
		r.near.links[i].Load().Detach()
	}
	gone := r.now()
	took, err := ends(c)
	ended := r.now()
	if err != nil {
		return "", err
	}
	all, err := r.sights(ctx, "tcp")
	if err != nil {
		return "", err
	}
	said := those(all, func(s sight) bool { return s.at > gone && isNear(s.from) })
	data := those(all, func(s sight) bool { return s.octets > 0 })
	var w wrong
	if w.unless(len(data) > 0, "no data"); len(data) > 0 {
		wait := ended - data[0].at
		w.unless(wait > 2900*time.Millisecond && wait < 3500*time.Millisecond, "after %v", wait)
	}
	w.unless(len(said) == 0, "%d segments after the last subflow", len(said))
	w.unless(r.near.bond.Counters().Inactive == 1, "Inactive is %d", r.near.bond.Counters().Inactive)
	return fmt.Sprintf("ETIMEDOUT %s after the last subflow, then %d segments", milliseconds(took), len(said)), w.err()
}

func keepsAlive(ctx context.Context, r *rig) (string, error) {
	c, _, err := r.dial(ctx, engine.DialOptions{}, 0)
	if err == nil {
		err = until(ctx, "both links are used", func() bool { return ready(c) == 2 })
	}
	if err == nil {
		err = sleep(ctx, time.Second)
	}
	if err != nil {
		return "", err
	}
	from := r.now()
	if err := sleep(ctx, 8*time.Second); err != nil {
		return "", err
	}
	all, err := r.sights(ctx, "tcp")
	if err != nil {
		return "", err
	}
	var w wrong
	figure := ""
	for link := range 2 {
		sent := via(all, link, false)
		idle := those(sent, func(s sight) bool { return s.at > from })
		last := those(sent, func(s sight) bool { return s.at <= from })
		most := gap(append(last[max(0, len(last)-1):], idle...))
		figure += fmt.Sprintf("link %d: %d probes, gaps ≤ %.1f s; ", link, len(idle), most.Seconds())
		w.unless(len(idle) >= 3 && len(idle) <= 6, "%d packets over link %d", len(idle), link)
		w.unless(most < 2200*time.Millisecond, "nothing over link %d for %v", link, most)
		w.unless(len(those(idle, func(s sight) bool { return s.octets > 0 || s.flags.Has(wire.SYN) })) == 0, "not all are probes")
	}
	return figure[:len(figure)-2], errors.Join(w.err(), exchange(c, 1000, 0))
}

func idlesInside(ctx context.Context, r *rig) (string, error) {
	c, _, err := r.dial(ctx, engine.DialOptions{}, 0)
	if err == nil {
		err = sleep(ctx, 1500*time.Millisecond)
	}
	if err != nil {
		return "", err
	}
	from := r.now()
	if err := sleep(ctx, 4*time.Second); err != nil {
		return "", err
	}
	to := r.now()
	if err := exchange(c, 1000, 0); err != nil {
		return "", err
	}
	all, err := r.sights(ctx, "tcp")
	if err != nil {
		return "", err
	}
	idle := those(all, func(s sight) bool { return s.at > from && s.at < to })
	if len(idle) > 0 {
		err = errors.New("an idle connection speaks")
	}
	return fmt.Sprintf("%d of %d segments while idle", len(idle), len(all)), err
}
