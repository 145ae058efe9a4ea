package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// fastOpen are octets in SYNs (RFC 7413; RFC 8684 Appendix B): those that are taken there are before the data sequence space,
// and what is not taken comes again with a mapping. The kernel is at the other end, in both roles.
func fastOpen() []seed {
	fast := func(keep int) func() rigging {
		return func() rigging {
			g := begins(engine.Classic, nil, 10*time.Millisecond, 15*time.Millisecond)()
			g.near.FastOpen, g.fast, g.cut = true, true, shortens(keep)
			return g
		}
	}
	return []seed{
		{"6 TFO, tandem dials: all taken (B, fig. 19)", "SSN 1 behind the octets of the SYN", onRig(fast(whole), opensFast(whole))},
		{"6 TFO, tandem dials: none taken (B, fig. 20)", "SSN 1 at the first octet", onRig(fast(whole), opensFastInVain)},
		{"6 TFO, tandem dials: some taken (B, fig. 21)", "SSN 1 behind those", onRig(fast(shortened), opensFast(shortened))},
		{"6 TFO, kernel dials: all taken (B, fig. 19)", "SSN 1 behind the octets of the SYN", onRig(fast(whole), opensFastHere(whole))},
		{"6 TFO, kernel dials: none taken", "all octets; Linux maps none of the SYN's", onRig(fast(0), opensFastHere(0))},
		{"6 TFO, kernel dials: some taken", "all octets; Linux maps none of the SYN's", onRig(fast(shortened), opensFastHere(shortened))},
		{"6 no cookie, octets in the SYN all the same: taken", "no cookie; SSN 1 behind them", onRig(fast(whole), opensBare(true))},
		{"6 no cookie, octets in the SYN all the same: not taken", "no cookie; SSN 1 at the first octet", onRig(fast(whole), opensBare(false))},
		{"6 no TFO: nothing in the SYN", "0 octets", onRig(begins(engine.Classic, nil, 10*time.Millisecond), opensSlowly)},
	}
}

const (
	whole     = 1 << 16 // octets of a SYN that pass
	shortened = 501
)

// shortens is a middlebox that lets so many octets of a SYN pass, as long as what it has said of checksums is true.
func shortens(keep int) func(toNear bool, pkt []byte) []byte {
	if keep == whole {
		return nil
	}
	return func(_ bool, pkt []byte) []byte {
		var s wire.Segment
		if s.Parse(pkt) != nil || s.Flags&(wire.SYN|wire.ACK) != wire.SYN || len(s.Payload) <= keep {
			return pkt
		}
		s.Payload = s.Payload[:keep]
		return s.Append(nil)
	}
}

// opensFast: a cookie is asked for, and used.
func opensFast(keep int) func(ctx context.Context, r *rig) (string, error) {
	return func(ctx context.Context, r *rig) (string, error) {
		if _, err := r.talkEarly(ctx, engine.DialOptions{}, 2000, 0); err != nil {
			return "", err
		}
		if _, err := r.talkEarly(ctx, engine.DialOptions{}, 500_000, 500_000); err != nil {
			return "", err
		}
		n, err := readCounters(ctx, r.host)
		if err == nil && n["TcpExtTCPFastOpenPassive"] == 0 {
			err = errors.New("TCPFastOpenPassive is 0")
		}
		figure, mapped := r.mapsBehind(ctx, true, keep)
		return fmt.Sprintf("%s, TCPFastOpenPassive %d", figure, n["TcpExtTCPFastOpenPassive"]), errors.Join(err, mapped)
	}
}

// opensFastInVain: the kernel has given a cookie and takes it no more.
func opensFastInVain(ctx context.Context, r *rig) (string, error) {
	if _, err := r.talkEarly(ctx, engine.DialOptions{}, 2000, 0); err != nil {
		return "", err
	}
	if err := r.host.sysctl("net.ipv4.tcp_fastopen=0"); err != nil {
		return "", err
	}
	c, err := r.talkEarly(ctx, engine.DialOptions{}, 500_000, 500_000)
	if err == nil && c.Info().FastOpen > 0 {
		err = errors.New("the octets of the SYN were taken")
	}
	figure, mapped := r.mapsBehind(ctx, true, 0)
	return figure, errors.Join(err, mapped)
}

// bareFastOpens is allFastOpens, and has the kernel take octets of SYNs without a cookie, too.
const bareFastOpens = "1539"

// opensBare: octets ride in the SYN for a server that is made for it, or is believed to be.
func opensBare(taken bool) func(ctx context.Context, r *rig) (string, error) {
	return func(ctx context.Context, r *rig) (string, error) {
		keep := 0
		if taken {
			keep = whole
			if err := r.host.sysctl("net.ipv4.tcp_fastopen=" + bareFastOpens); err != nil {
				return "", err
			}
		}
		if _, err := r.talkEarly(ctx, engine.DialOptions{DialOptions: mptcp.DialOptions{Early: true}}, 300_000, 300_000); err != nil {
			return "", err
		}
		figure, err := r.mapsBehind(ctx, true, keep)
		cookies, failed := r.sights(ctx, "tcp.option_kind == 34")
		if failed == nil && len(cookies) > 0 {
			failed = errors.New("a cookie is spoken of")
		}
		return figure, errors.Join(err, failed)
	}
}

// opensFastHere: the kernel asks the engine for a cookie, and uses it.
func opensFastHere(keep int) func(ctx context.Context, r *rig) (string, error) {
	return func(ctx context.Context, r *rig) (string, error) {
		r.near.bond.Listen(port)
		at := netip.AddrPortFrom(address(0, near, false), port)
		for _, t := range []talk{{Seed: 3, Send: 2000}, {Seed: 3, Send: 500_000}} {
			if _, err := r.called(ctx, errand{Dial: at.String(), FastOpen: true, Talk: t}, talk{Seed: 4, Send: 300_000}); err != nil {
				return "", err
			}
		}
		figure, err := r.mapsBehind(ctx, false, keep)
		return fmt.Sprintf("%s, FastOpens %d", figure, r.near.bond.Counters().FastOpens), err
	}
}

// mapsBehind: of the last SYN with octets at most keep are acknowledged with it, and every mapping of that subflow
// counts from behind these.
func (r *rig) mapsBehind(ctx context.Context, fromNear bool, keep int) (string, error) {
	all, err := r.sights(ctx, "tcp", "tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.ack_raw")
	if err != nil {
		return "", err
	}
	var syn, answer *sight
	for i, s := range all {
		switch {
		case s.asks() && s.octets > 0 && isNear(s.from) == fromNear:
			syn, answer = &all[i], nil
		case syn != nil && answer == nil && s.flags.Has(wire.SYN|wire.ACK) && s.extra[1] == syn.extra[0]:
			answer = &all[i]
		}
	}
	if syn == nil || answer == nil {
		return "", errors.New("no SYN has octets")
	}
	isn := decimal(syn.extra[2])
	taken := decimal(answer.extra[3]) - isn - 1
	var w wrong
	w.unless(taken == uint32(min(keep, syn.octets)), "%d octets of the SYN are taken", taken)
	behind := taken
	if !fromNear {
		behind = uint32(syn.octets) // Linux takes what it sends again for octets of the SYN all the same, and maps none of it
	}
	maps := 0
	for _, s := range all {
		_, ssn, length, ok := mappingOf(s.option(subDSS))
		if !ok || s.extra[0] != syn.extra[0] || s.octets == 0 || s.from != syn.from {
			continue
		}
		maps++
		// The kernel repeats a mapping on each segment that it cuts from one buffer.
		if at := decimal(s.extra[2]) - (isn + 1 + behind) - (ssn - 1); at >= length {
			w.unless(false, "SSN %d, %d octets, stands at octet %d behind the SYN", ssn, length, decimal(s.extra[2])-isn-1)
			break
		}
	}
	w.unless(maps > 0, "no mapping")
	return fmt.Sprintf("SYN with %d octets, %d taken, %d mappings", syn.octets, taken, maps), w.err()
}

func decimal(text string) uint32 {
	var n uint32
	fmt.Sscan(text, &n)
	return n
}

// mappingOf is what a DSS option maps, if it does: the DSN, of which the lower half is told, the SSN, and how many octets.
func mappingOf(o []byte) (dsn, ssn, length uint32, ok bool) {
	if len(o) < 2 || o[1]&4 == 0 {
		return 0, 0, 0, false
	}
	at := 2
	switch {
	case o[1]&3 == 3:
		at += 8
	case o[1]&1 != 0:
		at += 4
	}
	if o[1]&8 != 0 {
		at += 4
	}
	if len(o) < at+10 {
		return 0, 0, 0, false
	}
	o = o[at:]
	return uint32(number(o[:4])), uint32(number(o[4:8])), uint32(number(o[8:10])), true
}

func opensSlowly(ctx context.Context, r *rig) (string, error) {
	for range 2 {
		if _, err := r.talkEarly(ctx, engine.DialOptions{}, 2000, 1000); err != nil {
			return "", err
		}
	}
	all, err := r.sights(ctx, "tcp")
	if err != nil {
		return "", err
	}
	syns := those(all, sight.asks)
	early := those(syns, func(s sight) bool { return s.octets > 0 })
	var w wrong
	w.unless(len(syns) == 2 && len(early) == 0, "octets in SYNs")
	return fmt.Sprintf("%d SYNs, %d with octets", len(syns), len(early)), w.err()
}
