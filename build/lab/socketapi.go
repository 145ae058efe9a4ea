package lab

import (
	"context"
	"fmt"
	"time"

	"tandem/engine"
	"tandem/engine/wire"
)

// socketAPI are the socket API's (RFC 6897, draft-hesmans-mptcp-socket, draft-samar-mptcp-socketapi), as Conn has it.
func socketAPI() []seed {
	return []seed{
		{"8 Conn: list, open, info, priority, close, events", "MP_JOIN, MP_PRIO, FIN at the kernel", onRig(func() rigging {
			g := begins(engine.Classic, nil, 10*time.Millisecond, 15*time.Millisecond)()
			g.near.Passive = true
			return g
		}, operates)},
	}
}

func operates(ctx context.Context, r *rig) (string, error) {
	c, _, err := r.dial(ctx, engine.DialOptions{}, 1000)
	if err != nil {
		return "", err
	}
	events := make(chan engine.SubflowEvent, 64)
	go func() {
		for {
			e, err := c.NextEvent(ctx)
			if err != nil {
				close(events)
				return
			}
			events <- e
		}
	}()
	if err := until(ctx, "octets come", func() bool { return c.Info().Received > 0 }); err != nil {
		return "", err
	}
	var w wrong
	w.unless(len(c.Subflows()) == 1, "%d subflows at first", len(c.Subflows()))
	id, err := c.OpenSubflow(engine.SubflowOptions{Path: 1})
	if err == nil {
		_, err = r.counted(ctx, "MPJoinAckRx", 1)
	}
	if err == nil {
		err = until(ctx, "the second subflow", func() bool { return ready(c) == 2 })
	}
	if err != nil {
		return "", err
	}
	info, err := c.Subflow(id)
	w.unless(err == nil && info.Path == 1 && info.Local.Addr() == address(1, near, false) && info.RTT > 0, "the picture of it: %+v", info)
	if err = c.SetSubflowPriority(id, true); err == nil {
		_, err = r.counted(ctx, "MPPrioRx", 1)
	}
	if err != nil {
		return "", err
	}
	local, _, _ := c.SubflowPriority(id)
	w.unless(local, "its priority is not told")
	if err := c.CloseSubflow(id, engine.ByFIN); err != nil {
		return "", err
	}
	if err := until(ctx, "one subflow less", func() bool { return ready(c) == 1 }); err != nil {
		return "", err
	}
	if err := exchange(c, 1000, 1000); err != nil {
		return "", err
	}
	said := map[engine.SubflowEventKind]int{}
	for e := range events {
		said[e.Kind]++
	}
	w.unless(said[engine.SubflowAdded] == 2 && said[engine.SubflowEstablished] == 2 && said[engine.SubflowPriority] > 0 && said[engine.SubflowRemoved] > 0, "events: %v", said)
	all, err := r.sights(ctx, "tcp")
	if err != nil {
		return "", err
	}
	here := via(all, 1, false)
	joins := those(here, func(s sight) bool { return s.asks() && s.has(subJoin) })
	spared := those(all, func(s sight) bool { return s.has(subPrio) })
	ended := those(here, func(s sight) bool { return s.flags.Has(wire.FIN) })
	w.unless(len(joins) == 1 && len(spared) > 0 && len(ended) > 0, "MP_JOIN %d, MP_PRIO %d, FIN %d", len(joins), len(spared), len(ended))
	return fmt.Sprintf("MP_JOIN %d, MP_PRIO %d, FIN %d; events %v", len(joins), len(spared), len(ended), said), w.err()
}
