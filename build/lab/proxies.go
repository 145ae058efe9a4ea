package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"tandem/engine"
	"tandem/engine/wire"
)

// proxied is how much a proxy carries to show that it does; the rate is judged where there is time for it: by the suite native.
const proxied = 40e6

// runProxies has other makes' proxies over native links, each from both ends.
func runProxies(ctx context.Context, t *table, only string) error {
	limit := fmt.Sprintf("≥ 50 Mbit/s, digest, links ≥ %.0f %%", 100*nativeLeast)
	shown := []trial{
		{"40 MB down", limit, viaBoth(func(ctx context.Context, h *household) (time.Duration, error) {
			return h.fetch(ctx, webHost, 3, proxied)
		})},
		{"40 MB up", limit, viaBoth(func(ctx context.Context, h *household) (time.Duration, error) { return h.push(ctx, proxied) })},
		{"at the proxy's kernel", "MP_CAPABLE and MP_JOIN", onTheWire},
	}
	var chosen []maker
	for _, m := range makers() {
		if m.name != "microsocks under mptcpize" && m.name != "Convert" {
			continue
		}
		for _, c := range m.trials {
			if c.name == "bypass" || c.name == "what is asked rides in the SYN" {
				shown = append(shown, c)
			}
		}
		m.name, m.trials = "11 "+m.name, shown
		chosen = append(chosen, m)
	}
	return runMakers(ctx, t, chosen, only)
}

func viaBoth(move func(context.Context, *household) (time.Duration, error)) func(context.Context, *household) (string, error) {
	return func(ctx context.Context, h *household) (string, error) {
		before := h.forwarded()
		took, err := move(ctx, h)
		if err != nil {
			return "", err
		}
		after := h.forwarded()
		first, second := float64(after[0]-before[0]), float64(after[1]-before[1])
		rate := proxied * octetBits / took.Seconds() / 1e6
		var w wrong
		w.unless(rate >= 50, "too slow")
		w.unless(min(first, second) >= nativeLeast*(first+second), "one link had too little of it")
		return fmt.Sprintf("%.1f Mbit/s, %.0f %% + %.0f %%", rate, 100*first/(first+second), 100*second/(first+second)), w.err()
	}
}

// passings are what tandem-hub implicit does for the laptop's own kernel.
func passings() (all []trial) {
	for _, c := range passersBy() {
		if strings.HasSuffix(c.name, "on the wire") || strings.HasSuffix(c.name, "who asks") || strings.HasSuffix(c.name, "steps aside") {
			c.name = "11 " + c.name
			all = append(all, c)
		}
	}
	return all
}

// implicits are connections whose target is not the proxy that answers: the destination is in the IP header alone.
func implicits() []seed {
	return []seed{{"11 implicit: the kernel dials through a proxy", "C=1, ADD_ADDR, joins to the proxy alone", onRig(func() rigging {
		g := begins(engine.Classic, nil, 10*time.Millisecond, 15*time.Millisecond)()
		g.near.AnyTarget, g.near.NoJoinsHere, g.near.Announce, g.near.Passive = true, true, true, true
		return g
	}, passesBy)}}
}

// beyond is a server that the proxy is in front of.
var beyond = netip.MustParseAddrPort("203.0.113.9:7701")

func passesBy(ctx context.Context, r *rig) (string, error) {
	err := r.host.ip(
		"mptcp limits set subflows 4 add_addr_accepted 4",
		fmt.Sprintf("mptcp endpoint add %s dev %s subflow", address(1, far, false), device(1)),
		fmt.Sprintf("route add %s dev %s", beyond.Addr(), device(0)))
	if err != nil {
		return "", err
	}
	asks, mine := talk{Seed: 3, Send: 3e6}, talk{Seed: 4, Send: 3e6}
	dialing, err := send(ctx, r.host, errand{Dial: beyond.String(), Talk: asks})
	if err != nil {
		return "", err
	}
	offer, err := r.near.bond.Accept(ctx)
	if err != nil {
		return "", err
	}
	c, err := offer.Accept()
	if err != nil {
		return "", err
	}
	heard := converse(ctx, c, mine, new(atomic.Int64))
	if err := errors.Join(heard.check(asks), (<-dialing.done).check(mine)); err != nil {
		return "", err
	}
	all, err := r.sights(ctx, "tcp")
	if err != nil {
		return "", err
	}
	answers := those(all, func(s sight) bool { return s.flags.Has(wire.SYN|wire.ACK) && s.has(subCapable) })
	added := those(all, func(s sight) bool { return isNear(addedBy(s)) })
	joins := those(all, func(s sight) bool { return s.asks() && s.has(subJoin) })
	past := those(joins, func(s sight) bool { return s.to == beyond.Addr() })
	var w wrong
	w.unless(offer.Target() == beyond, "asked for %v", offer.Target())
	w.unless(len(answers) > 0 && answers[0].from == beyond.Addr() && answers[0].option(subCapable)[1]&byte(wire.NoJoinsHere) != 0, "no C=1 in its name")
	w.unless(len(added) > 0, "no ADD_ADDR")
	w.unless(len(joins) > 0 && len(past) == 0, "%d joins, %d of them to the target", len(joins), len(past))
	return fmt.Sprintf("SYN/ACK from %v, ADD_ADDR %d, MP_JOIN %d, %d of them to it", beyond.Addr(), len(added), len(joins), len(past)), w.err()
}

// addedBy is the address in an ADD_ADDR of IPv4.
func addedBy(s sight) netip.Addr {
	o := s.option(subAdd)
	if len(o) < 6 || o[0]&1 != 0 {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(o[2:6])
	return a
}
