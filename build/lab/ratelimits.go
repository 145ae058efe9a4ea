package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// rateLimits are the limits of a link's rate (draft-hoang-mptcp-sub-rate-limit-00).
func rateLimits() []seed {
	paired := func() rigging {
		g := begins(engine.Auto, &mptcp.Config{Paired: true}, 10*time.Millisecond)()
		g.near.Paired = true
		return g
	}
	foreign := begins(engine.Classic, &mptcp.Config{}, 10*time.Millisecond)
	kernel := begins(engine.Classic, nil, 10*time.Millisecond)
	return []seed{
		{"3 limit of what comes over a link, 1 connection", "± 5 % in any second; then lifted", onRig(paired, keepsLimit(1, false))},
		{"3 limit of what comes over a link, 20 connections", "± 5 % in any second; then lifted", onRig(paired, keepsLimit(20, false))},
		{"3 limit of what leaves over a link, 1 connection", "± 5 % in any second; then lifted", onRig(paired, keepsLimit(1, true))},
		{"3 limit of what leaves over a link, 20 connections", "± 5 % in any second; then lifted", onRig(paired, keepsLimit(20, true))},
		{"3 the option, honoured by a foreign peer", "6000 kbit/s to 1, ≤ 2000 to each of 3", onRig(foreign, asksFor)},
		{"3 the option, the first two carriers without it", "told again each second, kept after 3 s", onRig(losing(foreign, 2), asksAgain)},
		{"3 limit of what leaves towards the kernel, 1 connection", "± 5 % in any second; then lifted", onRig(kernel, keepsLimit(1, true))},
		{"3 limit of what leaves towards the kernel, 20 connections", "± 5 % in any second; then lifted", onRig(kernel, keepsLimit(20, true))},
		{"3 the option, which the kernel does not know", "ExpID 0x11, all octets, nothing refused", onRig(kernel, asksInVain)},
	}
}

// flood has connections move octets without end over a rig: up, or down.
func (r *rig) flood(ctx context.Context, n int, up bool) ([]*engine.Conn, error) {
	var all []*engine.Conn
	for range n {
		wanted := int64(1) << 40
		if up {
			wanted = 0
		}
		c, _, err := r.dial(ctx, engine.DialOptions{}, wanted)
		if err != nil {
			return all, err
		}
		if up {
			go io.Copy(onlyWriter{c}, octets(1))
		} else {
			go io.Copy(io.Discard, onlyReader{c})
		}
		all = append(all, c)
	}
	return all, nil
}

// undisturbed waits for so long, and a few times again while this machine stands still: where every host shares its cores, a rate is
// nobody's then. It returns when the last wait was.
func undisturbed(ctx context.Context, long time.Duration, nap func(context.Context, time.Duration) error) (from, to time.Time, err error) {
	const beat, late = 5 * time.Millisecond, 20 * time.Millisecond
	for range 4 {
		still := false
		from = time.Now()
		for to = from; to.Sub(from) < long; {
			if err := nap(ctx, beat); err != nil {
				return from, to, err
			}
			now := time.Now()
			still = still || now.Sub(to) > beat+late
			to = now
		}
		if !still {
			break
		}
	}
	return from, to, nil
}

// settling is how long a limit may take until it is kept: what was on its way before arrives meanwhile.
const settling = 700 * time.Millisecond

// keepsLimit: a limit is set while connections fill the link, changed, and lifted.
func keepsLimit(n int, up bool) func(ctx context.Context, r *rig) (string, error) {
	return func(ctx context.Context, r *rig) (string, error) {
		if _, err := r.flood(ctx, n, up); err != nil {
			return "", err
		}
		if err := sleep(ctx, time.Second); err != nil {
			return "", err
		}
		wait := settling
		if !r.made.near.Paired {
			wait += time.Second // shares are reckoned anew each second
		}
		limits := []int{625_000, 1_500_000, 0}
		var spans []span
		for _, limit := range limits {
			down, out := limit, 0
			if up {
				down, out = 0, limit
			}
			r.near.links[0].Load().SetLimit(down, out)
			if err := sleep(ctx, wait); err != nil {
				return "", err
			}
			from, to, err := undisturbed(ctx, 2*time.Second, sleep)
			if err != nil {
				return "", err
			}
			spans = append(spans, span{r.since(from), r.since(to)})
		}
		all, err := r.sights(ctx, "ip", "tcp.srcport")
		if err != nil {
			return "", err
		}
		said := via(all, 0, false)
		all = via(all, 0, !up)
		var w wrong
		figure := ""
		for i, limit := range limits {
			low, high := rates(all, spans[i])
			if limit == 0 {
				figure += fmt.Sprintf("lifted %.1f Mbit/s", low*octetBits/1e6)
				w.unless(low > 2*float64(limits[1]), "%.0f octets a second without a limit", low)
				continue
			}
			figure += fmt.Sprintf("%.3f–%.3f of %d M, ", low/float64(limit), high/float64(limit), limit*octetBits/1e6)
			w.unless(low >= 0.95*float64(limit) && high <= 1.05*float64(limit), "%.0f to %.0f octets in a second, not %d", low, high, limit)
			if !up {
				told := tellers(said, uint64(limit*octetBits/1000))
				w.unless(told == n, "%d subflows of %d carried the option with %d octets a second", told, n, limit)
			}
		}
		return figure, w.err()
	}
}

// tellers is how many subflows have carried the option with so many kbit/s.
func tellers(said []sight, kilobits uint64) int {
	ports := map[string]bool{}
	for _, s := range said {
		if o := s.experiment(expRateLimit); o != nil && number(o[2:]) == kilobits {
			ports[s.extra[0]] = true
		}
	}
	return len(ports)
}

// asksFor: a peer that is none of ours is asked by the option, on each subflow for its share, and keeps to it.
func asksFor(ctx context.Context, r *rig) (string, error) {
	const limit = 750_000
	r.near.links[0].Load().SetLimit(limit, 0)
	all, err := r.flood(ctx, 1, false)
	if err == nil {
		err = sleep(ctx, 3*time.Second)
	}
	if err != nil {
		return "", err
	}
	alone := span{r.now() - 1500*time.Millisecond, r.now()}
	if _, err := r.flood(ctx, 2, false); err != nil {
		return "", err
	}
	if err := sleep(ctx, 5*time.Second); err != nil {
		return "", err
	}
	three := span{r.now() - 2*time.Second, r.now()}
	muted := all[0].Subflows()
	seen, err := r.sights(ctx, "tcp", "tcp.srcport")
	if err != nil {
		return "", err
	}
	asked, last, told := map[string]uint64{}, map[string]uint64{}, map[string]int{}
	for _, s := range via(seen, 0, false) {
		if o := s.experiment(expRateLimit); o != nil {
			if s.at < alone.to {
				asked[s.extra[0]] = number(o[2:])
			}
			if s.at >= three.to-3*time.Second {
				told[s.extra[0]]++
			}
			last[s.extra[0]] = number(o[2:])
		}
	}
	var w wrong
	w.unless(len(asked) == 1 && slices.Contains(values(asked), 6000), "one was asked for %v kbit/s", values(asked))
	w.unless(len(last) == 3 && sum(values(last)) <= 6000 && sum(values(last)) >= 5000, "three were asked for %v kbit/s", values(last))
	for port := range last {
		w.unless(told[port] >= 2, "told %d times in the last 3 s to port %s", told[port], port) // again each second
	}
	w.unless(len(muted) > 0 && muted[0].LimitDown > 0, "the connection knows of no limit")
	figure := fmt.Sprintf("asked %v, then %v kbit/s; ", values(asked), values(last))
	for _, s := range []span{alone, three} {
		low, high := rates(via(seen, 0, true), s)
		figure += fmt.Sprintf("%.2f–%.2f, ", low/limit, high/limit)
		w.unless(low > 0.85*limit && high < 1.1*limit, "%.0f to %.0f octets in a second", low, high)
	}
	heard := r.far.bond.Counters().RateLimits
	w.unless(heard >= 3, "RateLimits is %d", heard)
	return figure + fmt.Sprintf("RateLimits %d", heard), w.err()
}

// losing has a middlebox take the option out of the first segments that carry it.
func losing(g func() rigging, few int) func() rigging {
	return func() rigging {
		made, left := g(), few
		made.cut = func(toNear bool, pkt []byte) []byte {
			option := []byte{30, 8, subExperiment << 4, expRateLimit}
			if toNear || left == 0 || !bytes.Contains(pkt[40:], option) {
				return pkt
			}
			left--
			return replace(slices.Clone(pkt), option, bytes.Repeat([]byte{1}, 8))
		}
		return made
	}
}

// asksAgain: what first told the limit has not arrived.
func asksAgain(ctx context.Context, r *rig) (string, error) {
	const limit = 750_000
	r.near.links[0].Load().SetLimit(limit, 0)
	_, err := r.flood(ctx, 1, false)
	if err == nil {
		err = until(ctx, "the limit is heard", func() bool { return r.far.bond.Counters().RateLimits > 0 })
	}
	if err != nil {
		return "", err
	}
	heard := r.now()
	if err := sleep(ctx, 3*time.Second); err != nil {
		return "", err
	}
	kept := span{r.now() - 2*time.Second, r.now()}
	all, err := r.sights(ctx, "tcp")
	if err != nil {
		return "", err
	}
	said := those(via(all, 0, false), func(s sight) bool { return s.experiment(expRateLimit) != nil })
	before := those(said, func(s sight) bool { return s.at < heard })
	if len(before) < 3 {
		return "", fmt.Errorf("heard after %d times", len(before))
	}
	low, high := rates(via(all, 0, true), kept)
	wait := heard - before[0].at
	var w wrong
	w.unless(wait < 2500*time.Millisecond, "told again after %v", wait)
	w.unless(low > 0.85*limit && high < 1.1*limit, "%.0f to %.0f octets in a second", low, high)
	return fmt.Sprintf("heard after %s; %.2f–%.2f, told %d times", milliseconds(wait), low/limit, high/limit, len(said)), w.err()
}

// asksInVain: the kernel is asked for a limit, too.
func asksInVain(ctx context.Context, r *rig) (string, error) {
	r.near.links[0].Load().SetLimit(250_000, 0)
	e, err := r.talked(ctx, engine.DialOptions{}, 0, 4e6)
	if err != nil {
		return "", err
	}
	said := those(via(e.packets, 0, false), func(s sight) bool { return s.experiment(expRateLimit) != nil })
	resets := those(e.packets, func(s sight) bool { return s.flags.Has(wire.RST) })
	var w wrong
	w.unless(len(said) > 0 && len(said[0].experiment(expRateLimit)) == 6 && number(said[0].experiment(expRateLimit)[2:]) == 2000, "the kernel is not asked for 2000 kbit/s")
	w.unless(len(resets) == 0, "%d RST", len(resets))
	return fmt.Sprintf("told %d times, all octets, RST %d", len(said), len(resets)), errors.Join(w.err(), e.kernel.check(nil, nil))
}

func values(of map[string]uint64) (all []uint64) {
	for _, v := range of {
		all = append(all, v)
	}
	slices.Sort(all)
	return all
}

func sum(all []uint64) (n uint64) {
	for _, x := range all {
		n += x
	}
	return n
}
