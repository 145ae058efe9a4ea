package lab

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"time"

	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// privacy is what others do not learn of addresses (M. Bagnulo at IETF 91).
func privacy() []seed {
	const delay = 10 * time.Millisecond
	strictly := func() rigging {
		g := begins(engine.Auto, nil, delay, delay)()
		g.near.Privacy, g.near.Announce = mptcp.PrivacyStrict, true
		return g
	}
	denied := func() rigging {
		g := begins(engine.SIM, nil, delay, delay)()
		g.path = func(link int, p *engine.PathConfig) { p.Private = link == 1 }
		return g
	}
	// told has an address of another private network on the second link: it is never sent from.
	told := func(second string) func() rigging {
		return func() rigging {
			g := begins(engine.Classic, nil, delay, delay)()
			g.near.Announce, g.near.Passive = true, true
			g.path = func(link int, p *engine.PathConfig) {
				if link == 1 {
					p.Local4 = netip.MustParseAddr(second)
				}
			}
			return g
		}
	}
	return []seed{
		{"5 strict: 6 connections, then an abort", "no ADD_ADDR, FASTCLOSE; all drawn anew", onRig(strictly, tellsNothing)},
		{"5 no join from a denied network", "no packet over it", onRig(denied, avoids(engine.DialOptions{}))},
		{"5 what is bound to a link stays", "no packet over the other", onRig(begins(engine.SIM, nil, delay, delay), avoids(engine.DialOptions{DialOptions: mptcp.DialOptions{Only: []engine.PathID{0}}}))},
		{"5 standard: address of the peer's own network", "ADD_ADDR", onRig(told("10.99.0.1"), announces(true))},
		{"5 standard: address of another private network", "no ADD_ADDR", onRig(told("192.168.7.1"), announces(false))},
	}
}

const discreet = 6 // connections

func tellsNothing(ctx context.Context, r *rig) (string, error) {
	for range discreet {
		if _, _, err := r.talkOnce(ctx, engine.DialOptions{}, 1e6, 100_000); err != nil {
			return "", err
		}
	}
	c, _, err := r.dial(ctx, engine.DialOptions{}, 1<<30)
	if err == nil {
		go io.Copy(io.Discard, onlyReader{c})
		err = until(ctx, "octets come", func() bool { return c.Info().Received > 300_000 })
	}
	if err != nil {
		return "", err
	}
	c.Abort(errAborted)
	if err := sleep(ctx, 300*time.Millisecond); err != nil {
		return "", err
	}
	all, err := r.sights(ctx, "tcp", "tcp.srcport")
	if err != nil {
		return "", err
	}
	keys, ids, ports := map[uint64]bool{}, map[byte]bool{}, map[string]bool{}
	var moved, early int
	for _, s := range all {
		if moved += s.octets; !isNear(s.from) {
			continue
		}
		if o := s.option(subCapable); len(o) >= 18 {
			keys[number(o[2:10])] = true
		}
		switch {
		case s.asks() && s.has(subJoin):
			ids[s.option(subJoin)[1]] = true
			ports[s.extra[0]] = true
			if moved < 64<<10 {
				early++
			}
		case s.asks():
			moved = 0
			ports[s.extra[0]] = true
		}
	}
	out := those(all, func(s sight) bool { return isNear(s.from) })
	links, _ := asked(out, subCapable)
	joins, _ := asked(out, subJoin)
	added := len(those(out, func(s sight) bool { return s.has(subAdd) }))
	closed := len(those(out, func(s sight) bool { return s.has(subFastClose) }))
	resets := len(those(out, func(s sight) bool { return s.flags.Has(wire.RST) }))
	var w wrong
	w.unless(added == 0 && closed == 0, "ADD_ADDR %d, MP_FASTCLOSE %d", added, closed)
	w.unless(resets > 0, "the abort is not told")
	w.unless(len(links) == discreet+1, "%d SYNs", len(links))
	w.unless(len(joins) >= discreet && early == 0, "%d joins, %d of them too early", len(joins), early)
	w.unless(len(keys) == discreet+1, "%d keys", len(keys))
	w.unless(len(ids) >= discreet-2, "Address IDs %v", ids) // of so many draws from 254 two may be the same
	w.unless(len(ports) == len(links)+len(joins), "%d ports of %d SYNs", len(ports), len(links)+len(joins))
	return fmt.Sprintf("ADD_ADDR %d, FASTCLOSE %d, %d keys, %d IDs, %d ports of %d SYNs", added, closed, len(keys), len(ids), len(ports), len(links)+len(joins)), w.err()
}

// avoids: nothing leaves over the second link.
func avoids(opt engine.DialOptions) func(ctx context.Context, r *rig) (string, error) {
	return func(ctx context.Context, r *rig) (string, error) {
		e, err := r.talked(ctx, opt, 1e6, 1e6)
		if err != nil {
			return "", err
		}
		first, second := len(via(e.packets, 0, false)), len(via(e.packets, 1, false))
		var w wrong
		w.unless(first > 100 && second == 0, "packets over it")
		return fmt.Sprintf("packets: %d over one, %d over the other", first, second), w.err()
	}
}

// announces: the peer is told of the second link's address, or not.
func announces(want bool) func(ctx context.Context, r *rig) (string, error) {
	return func(ctx context.Context, r *rig) (string, error) {
		e, err := r.talked(ctx, engine.DialOptions{}, 300_000, 0)
		if err != nil {
			return "", err
		}
		all := those(via(e.packets, 0, false), func(s sight) bool { return s.has(subAdd) })
		var w wrong
		w.unless(len(all) > 0 == want, "told: %t", !want)
		return fmt.Sprintf("subtype 3: %d", len(all)), w.err()
	}
}
