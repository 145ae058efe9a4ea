package lab

import (
	"context"
	"fmt"
	"time"

	"tandem/engine"
	"tandem/engine/mptcp"
)

// latency are those of one direction (draft-song-mptcp-owl-06), which the engine knows from the kernel's timestamps.
func latency() []seed {
	lopsided := func(scheduler string, peer *mptcp.Config) func() rigging {
		return func() rigging {
			g := begins(engine.Classic, peer, 50*time.Millisecond, 40*time.Millisecond)()
			g.near.Scheduler, g.near.Timestamps = scheduler, true
			if peer != nil {
				g.near.Paired = peer.Paired
			}
			return g
		}
	}
	three := func() rigging {
		g := lopsided("owl", nil)()
		g.links = append(g.links, symmetric(40e6, 50*time.Millisecond))
		return g
	}
	const limit = "≥ 90 % over the quicker way"
	own := &mptcp.Config{Paired: true, Scheduler: "owl"}
	return []seed{
		{"9 owl: 10 + 90 against 60 + 20 ms, the kernel", limit, onRig(lopsided("owl", nil), withOneClock(quickerWay(true)))},
		{"9 owl: 10 + 90 against 60 + 20 ms, between our ends", limit, onRig(lopsided("owl", own), quickerWay(true))},
		{"9 minrtt, for comparison", "≥ 90 % over the other", onRig(lopsided("minrtt", nil), withOneClock(quickerWay(false)))},
		{"9 owl: the kernel has a clock for each address", "as by round trips: ≥ 90 % over the other", onRig(lopsided("owl", nil), quickerWay(false))},
		{"9 owl: the way in use gets slow, the kernel", "≥ 90 % over the other within 1 s", onRig(lopsided("owl", nil), withOneClock(quickerWayMoves(func(r *rig) {
			r.lines[0].change(110*time.Millisecond, 20*time.Millisecond)
		})))},
		{"9 owl: the ways change places, between our ends", "≥ 90 % over the other within 1 s", onRig(lopsided("owl", own), quickerWayMoves(func(r *rig) {
			r.asymmetric(1)
		}))},
		{"9 owl: the way in use dies; 60 + 20 or 20 + 90 ms left", "≥ 90 % sent again over the quicker way", onRig(three, withOneClock(sentAgain))},
	}
}

// sentAgain: what was on its way over a link that dies goes again where it arrives first.
func sentAgain(ctx context.Context, r *rig) (string, error) {
	for i, way := range [][2]time.Duration{{10, 10}, {60, 20}, {20, 90}} {
		r.lines[i].change(way[0]*time.Millisecond, way[1]*time.Millisecond)
	}
	c, err := r.dripper(ctx)
	if err != nil {
		return "", err
	}
	died := r.now()
	r.lines[0].silence(true)
	if _, err := r.drip(ctx, c, 2000, 10*time.Millisecond, 3*time.Second); err != nil {
		return "", err
	}
	all, err := r.sights(ctx, "tcp")
	if err != nil {
		return "", err
	}
	from, to := onItsWay(via(all, 0, false), died-10*time.Millisecond)
	var again [3]int
	var first time.Duration
	for _, s := range all {
		dsn, ok := dataOf(s)
		if !ok || linkOf(s.from) == 0 || s.at < died || dsn-from >= to-from {
			continue
		}
		if again[linkOf(s.from)] += s.octets; first == 0 {
			first = s.at - died
		}
	}
	total := again[1] + again[2]
	var w wrong
	w.unless(total > 3000, "next to nothing was on its way")
	w.unless(again[2]*10 >= total*9, "not its share")
	return fmt.Sprintf("again: %d and %d octets, from %s on", again[1], again[2], milliseconds(first)), w.err()
}

// onItsWay is between which DSNs what a link was given from then on stands.
func onItsWay(sent []sight, since time.Duration) (from, to uint32) {
	begun := false
	for _, s := range sent {
		dsn, ok := dataOf(s)
		if !ok || s.at < since {
			continue
		}
		if !begun {
			from, to, begun = dsn, dsn, true
		}
		if end := dsn + uint32(s.octets); end-to < 1<<31 {
			to = end
		}
	}
	return from, to
}

// dataOf is where the octets of a segment from the near end stand in the connection, if the segment maps any.
func dataOf(s sight) (dsn uint32, ok bool) {
	dsn, _, _, ok = mappingOf(s.option(subDSS))
	return dsn, ok && s.octets > 0 && isNear(s.from)
}

// withOneClock has the kernel's timestamps on all subflows tell the same time. Else it adds to them what it draws for each pair
// of addresses (net.ipv4.tcp_timestamps=1), and nobody can compare.
func withOneClock(run func(ctx context.Context, r *rig) (string, error)) func(ctx context.Context, r *rig) (string, error) {
	return func(ctx context.Context, r *rig) (string, error) {
		if err := r.host.sysctl("net.ipv4.tcp_timestamps=2"); err != nil {
			return "", err
		}
		return run(ctx, r)
	}
}

// asymmetric makes one link quick towards the far end and slow back, and the other the other way round.
func (r *rig) asymmetric(quick int) {
	r.lines[quick].change(10*time.Millisecond, 90*time.Millisecond)
	r.lines[1-quick].change(60*time.Millisecond, 20*time.Millisecond)
}

// drip has a connection send a little again and again, and returns when that was.
func (r *rig) drip(ctx context.Context, c *engine.Conn, octets int, every, long time.Duration) (span, error) {
	from := r.now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for sent := 0; r.now() < from+long; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return span{}, ctx.Err()
		}
		due := octets * int((r.now()-from)/every)
		n, err := c.Write(make([]byte, due-sent))
		if sent += n; err != nil {
			return span{}, err
		}
	}
	return span{from, r.now()}, nil
}

// dripper is a connection over both links that has dripped long enough for these to be known.
func (r *rig) dripper(ctx context.Context) (*engine.Conn, error) {
	c, _, err := r.dial(ctx, engine.DialOptions{}, 0)
	if err == nil {
		err = until(ctx, "all links are used", func() bool { return ready(c) == len(r.lines) })
	}
	if err == nil {
		_, err = r.drip(ctx, c, 2000, 10*time.Millisecond, 2*time.Second)
	}
	return c, err
}

func quickerWay(owl bool) func(ctx context.Context, r *rig) (string, error) {
	return func(ctx context.Context, r *rig) (string, error) {
		r.asymmetric(0)
		c, err := r.dripper(ctx)
		if err != nil {
			return "", err
		}
		s, err := r.drip(ctx, c, 2000, 10*time.Millisecond, 3*time.Second)
		if err != nil {
			return "", err
		}
		all, err := r.sights(ctx, "tcp")
		if err != nil {
			return "", err
		}
		parts, _ := sharesOf(all, s, false, 2)
		part := parts[0]
		if !owl {
			part = parts[1]
		}
		if part < 0.9 {
			err = errShare
		}
		return fmt.Sprintf("%.1f + %.1f %% of the data; %s", 100*parts[0], 100*parts[1], latenciesOf(c)), err
	}
}

// latenciesOf says what the engine knows of the ways towards the peer.
func latenciesOf(c *engine.Conn) string {
	var ahead [2]time.Duration
	for _, f := range c.Subflows() {
		if int(f.Path) < len(ahead) {
			ahead[f.Path] = f.Forward
		}
	}
	return fmt.Sprintf("forward %d, %d ms", ahead[0].Milliseconds(), ahead[1].Milliseconds())
}

// quickerWayMoves: what was the quicker way is not any more.
func quickerWayMoves(change func(r *rig)) func(ctx context.Context, r *rig) (string, error) {
	return func(ctx context.Context, r *rig) (string, error) {
		r.asymmetric(0)
		c, err := r.dripper(ctx)
		if err != nil {
			return "", err
		}
		before, err := r.drip(ctx, c, 2000, 10*time.Millisecond, time.Second)
		if err != nil {
			return "", err
		}
		change(r)
		if _, err = r.drip(ctx, c, 2000, 10*time.Millisecond, time.Second); err != nil {
			return "", err
		}
		after, err := r.drip(ctx, c, 2000, 10*time.Millisecond, 2*time.Second)
		if err != nil {
			return "", err
		}
		all, err := r.sights(ctx, "tcp")
		if err != nil {
			return "", err
		}
		first, _ := sharesOf(all, before, false, 2)
		then, _ := sharesOf(all, after, false, 2)
		if first[0] < 0.9 || then[1] < 0.9 {
			err = errShare
		}
		return fmt.Sprintf("%.1f %% over the first, then %.1f %% over the second", 100*first[0], 100*then[1]), err
	}
}
