package lab

import (
	"context"
	"fmt"
	"time"

	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// lessons are what an end learns of paths before it begins a connection: RobE_IPS and L_RTT_EN of
// draft-amend-tcpm-mptcp-robe-02, and draft-kang-mptcp-initial-path-selection.
func lessons() []seed {
	const quick, slow = 5 * time.Millisecond, 20 * time.Millisecond
	return []seed{
		{"1 RobE_IPS", "first a race, then the quicker alone", onRig(begins(engine.IPS, nil, slow, quick), learns)},
		{"1 RobE_IPS, L_RTT_EN between our ends", "agreed in SYNs, told, heard", onRig(begins(engine.IPS, &mptcp.Config{}, slow, quick), latestRTT)},
	}
}

// pathSelection are how the first path follows what changes.
func pathSelection() []seed {
	const quick, slow = 5 * time.Millisecond, 20 * time.Millisecond
	return []seed{
		{"4 the best link becomes the worse one", "SYNs follow", onRig(begins(engine.IPS, nil, slow, quick), follows)},
		{"4 the default link is the better one", "SYNs over it", onRig(begins(engine.IPS, nil, quick, slow), stays)},
	}
}

const repeated = 8 // connections of which one or two may go elsewhere, to learn

// repeat carries out so many talks over both links, one after the other.
func (r *rig) repeat(ctx context.Context, n int) error {
	for range n {
		c, _, err := r.dial(ctx, engine.DialOptions{}, 0)
		if err == nil {
			// A link is measured by what crosses it.
			err = until(ctx, "both links are used", func() bool { return ready(c) == 2 })
		}
		if err == nil {
			err = exchange(c, 200_000, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// repeated is repeat for the last time: it returns the links over which all SYNs have left.
func (r *rig) repeated(ctx context.Context, n int) ([]int, error) {
	if err := r.repeat(ctx, n); err != nil {
		return nil, err
	}
	return r.begunBy(ctx)
}

// begunBy ends the recording and returns the links over which connections were begun, in order.
func (r *rig) begunBy(ctx context.Context) ([]int, error) {
	all, err := r.sights(ctx, "tcp.flags.syn == 1")
	links, _ := asked(all, subCapable)
	return links, err
}

// ready counts the subflows of a connection that may carry data.
func ready(c *engine.Conn) (n int) {
	for _, f := range c.Subflows() {
		if f.Established {
			n++
		}
	}
	return n
}

func learns(ctx context.Context, r *rig) (string, error) { return r.begunOver(ctx, 1) }
func stays(ctx context.Context, r *rig) (string, error)  { return r.begunOver(ctx, 0) }

func (r *rig) begunOver(ctx context.Context, best int) (string, error) {
	links, err := r.repeated(ctx, 1+repeated)
	if err != nil {
		return "", err
	}
	var w wrong
	w.unless(len(links) == 2+repeated && links[0] != links[1] && count(links[2:], best) >= repeated-2, "SYNs over %v", links)
	return fmt.Sprintf("SYNs over %v", links), w.err()
}

func count(all []int, one int) (n int) {
	for _, x := range all {
		if x == one {
			n++
		}
	}
	return n
}

// follows: delays change, and the SYNs go where it is quicker now.
func follows(ctx context.Context, r *rig) (string, error) {
	if err := r.repeat(ctx, 3); err != nil {
		return "", err
	}
	r.lines[1].change(60 * time.Millisecond)
	links, err := r.repeated(ctx, 6+repeated)
	if err != nil {
		return "", err
	}
	var w wrong
	w.unless(len(links) == 4+6+repeated && count(links[2:4], 1) >= 1 && count(links[len(links)-repeated:], 0) >= repeated-2, "SYNs over %v", links)
	return fmt.Sprintf("SYNs over %v", links), w.err()
}

func latestRTT(ctx context.Context, r *rig) (string, error) {
	e, err := r.talked(ctx, engine.DialOptions{}, 0, 4e6)
	if err != nil {
		return "", err
	}
	begin, told := 0, []time.Duration{}
	for _, s := range e.packets {
		o := s.option(subLatestRTT)
		switch {
		case o != nil && s.flags.Has(wire.SYN):
			begin++
		case len(o) == 6 && linkOf(s.to) < 2 && s.from == target.Addr():
			told = append(told, time.Duration(number(o[2:]))*time.Microsecond)
		}
	}
	heard := r.near.bond.Counters().RTTReports
	var w wrong
	w.unless(begin >= 3, "%d SYNs and SYN/ACKs with subtype 11", begin)
	w.unless(len(told) > 0 && told[0] > 9*time.Millisecond && told[0] < 100*time.Millisecond, "told %v", told)
	w.unless(heard > 0, "RTTReports is 0")
	if w.err() != nil {
		return "", w.err()
	}
	return fmt.Sprintf("%d in SYNs, first told %s, RTTReports %d", begin, milliseconds(told[0]), heard), nil
}
