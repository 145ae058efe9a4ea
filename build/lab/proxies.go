package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"tandem/engine"
	"tandem/engine/wire"
)

// proxied is how much a proxy carries to show that it does; the rate is judged where there is time for it: by the suite native.
const proxied = 40e6

// foreignProxies are other makes' over native links, seen from both ends.
func foreignProxies() (all []stage) {
	const least = 50e6
	shown := []trial{
		overBoth("40 MB down", proxied, least, fetches),
		overBoth("40 MB up", proxied, least, pushes),
		{"at the proxy's kernel", "MP_CAPABLE and MP_JOIN", onTheWire},
	}
	for _, s := range natives() {
		switch s.name {
		case "microsocks under mptcpize":
			s.trials = shown
		case "Convert":
			s.trials = append(shown, chosen(s.trials, "what is asked rides in the SYN", "round trips to a connection", "a SYN that comes twice", "bypass", "teardown")...)
		default:
			continue
		}
		all = append(all, s)
	}
	last := implicit()
	last.trials = chosen(last.trials, "who asks", "on the wire", "steps aside")
	all = append(all, last)
	for i := range all {
		all[i].name = "11 " + all[i].name
	}
	return all
}

// chosen are the trials of those names.
func chosen(all []trial, names ...string) (some []trial) {
	for _, c := range all {
		if slices.Contains(names, c.name) {
			some = append(some, c)
		}
	}
	return some
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
	wanted, err := r.called(ctx, errand{Dial: beyond.String(), Talk: talk{Seed: 3, Send: 3e6}}, talk{Seed: 4, Send: 3e6})
	if err != nil {
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
	w.unless(wanted == beyond, "asked for %v", wanted)
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
