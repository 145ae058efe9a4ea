package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/engine/sim"
	"tandem/engine/wire"
)

// establishment are the ways to begin a connection (draft-amend-tcpm-mptcp-robe-02), most of them with the unmodified kernel.
func establishment() []seed {
	const quick, slow = 5 * time.Millisecond, 20 * time.Millisecond
	own := &mptcp.Config{}
	return []seed{
		{"1 RobE_TIMER, first link dead", "after 1 RTO; then joined", onRig(begins(engine.Timer, nil, quick, slow), timerOfDead)},
		{"1 RobE_TIMER, first link answers after 1.4 s", "late SYN/ACK reset; then joined", onRig(begins(engine.Timer, nil, 700*time.Millisecond, slow), timerOfLate)},
		{"1 RobE_SIM, second link quicker", "first wins, other: RST, MP_JOIN", onRig(begins(engine.SIM, nil, slow, quick), raceWonBy(1))},
		{"1 RobE_SIM, first link quicker", "first wins, other: RST, MP_JOIN", onRig(begins(engine.SIM, nil, quick, slow), raceWonBy(0))},
		{"1 RobE_SIM, the kernel speaks TCP only", "one connection, RST, no MP_JOIN", onRig(plainly(begins(engine.SIM, nil, slow, quick)), raceOfTCP)},
		{"1 RobE_eSIM between our ends", "EN, MP_JOIN_CAP, no MP_JOIN SYN", onRig(begins(engine.ESIM, own, slow, quick), extended)},
		{"1 RobE_eSIM, the kernel knows it not", "EN ignored, MP_JOIN as with SIM", onRig(begins(engine.ESIM, nil, slow, quick), extendedAlone)},
		{"1 implicit RobE_eSIM, the kernel knows it not", "MP_JOIN_CAP; no octet, RST; MP_JOIN", onRig(implicitly(begins(engine.ESIM, nil, slow, quick)), refusesImplicit)},
		{"1 RobE_IPS+SIM, best link dies", "after 1 RTO all others at once", onRig(begins(engine.IPSSIM, nil, quick, slow, slow), switches(true))},
		{"1 RobE_IPS+TIMER, best link dies", "after 1 RTO one other", onRig(begins(engine.IPSTimer, nil, quick, slow, slow), switches(false))},
		{"1 auto: nothing known, heard just now, silent for 1.5 s", "SYNs: 2, 1, 2", onRig(begins(engine.Auto, nil, slow, quick), automatic)},
		{"done 2 auto, default link black-holed before the SYN", "≤ 2 × 60 + 50 ms", blackHoled},
		{"done 2 auto, both links up", "median of 3 ≤ 28 ms: the faster has 20", bothUp},
	}
}

func plainly(g func() rigging) func() rigging {
	return func() rigging {
		plain := g()
		plain.plain = true
		return plain
	}
}

func implicitly(g func() rigging) func() rigging {
	return func() rigging {
		implicit := g()
		implicit.near.ImplicitESIM = true
		return implicit
	}
}

func timerOfDead(ctx context.Context, r *rig) (string, error) {
	r.lines[0].silence(true)
	e, err := r.joined(ctx, func() { r.lines[0].silence(false) })
	if err != nil {
		return "", err
	}
	links, at := asked(e.packets, subCapable)
	second := slices.Index(links, 1)
	joins, _ := asked(e.packets, subJoin)
	var w wrong
	w.unless(second > 0 && links[0] == 0, "SYNs over links %v", links)
	if second > 0 {
		wait := at[second] - at[0]
		w.unless(wait > 900*time.Millisecond && wait < 1300*time.Millisecond, "asked over the second after %v", wait)
	}
	w.unless(slices.Contains(joins, 0), "joins over links %v", joins)
	w.unless(r.accepted() == 1, "%d connections accepted", r.accepted())
	return fmt.Sprintf("SYNs over %v at %s, MPJoinAckRx %d", links, moments(at), e.kernel["MPJoinAckRx"]), w.err()
}

func moments(at []time.Duration) string {
	var all []string
	for _, t := range at {
		all = append(all, fmt.Sprintf("%.0f", t.Seconds()*1000))
	}
	return strings.Join(all, ", ") + " ms"
}

func timerOfLate(ctx context.Context, r *rig) (string, error) {
	e, err := r.joined(ctx, nil)
	if err != nil {
		return "", err
	}
	late := those(via(e.packets, 0, true), func(s sight) bool { return s.flags.Has(wire.SYN|wire.ACK) && s.has(subCapable) })
	resets := those(via(e.packets, 0, false), func(s sight) bool { return s.flags.Has(wire.RST) })
	var w wrong
	w.unless(e.took > time.Second && e.took < 1300*time.Millisecond, "established after %v", e.took)
	w.unless(len(late) > 0 && late[0].at > e.took, "no late SYN/ACK")
	w.unless(len(resets) > 0 && len(late) > 0 && resets[len(resets)-1].at > late[0].at, "no RST over the first link")
	w.unless(r.accepted() == 1, "%d connections accepted", r.accepted())
	return fmt.Sprintf("established %s, %d RST, %d accepted", milliseconds(e.took), len(resets), r.accepted()), w.err()
}

// raceWonBy: of two SYNs the first answer wins, and nothing of the other reaches an application.
func raceWonBy(winner int) func(ctx context.Context, r *rig) (string, error) {
	return func(ctx context.Context, r *rig) (string, error) {
		e, err := r.joined(ctx, nil)
		if err != nil {
			return "", err
		}
		all, n, loser := e.packets, e.kernel, 1-winner
		w := together(all)
		resets := those(via(all, loser, false), func(s sight) bool { return s.flags.Has(wire.RST) })
		w.unless(len(resets) > 0, "no RST over link %d", loser)
		joins := those(via(all, loser, false), func(s sight) bool { return s.asks() && s.has(subJoin) })
		answers := those(via(all, winner, true), func(s sight) bool { return s.flags.Has(wire.SYN) && s.has(subCapable) })
		w.unless(len(joins) > 0 && len(answers) > 0 && tokenAsked(joins[0]) == tokenOf(answers[0]), "no MP_JOIN with the winner's token: %d joins", len(joins))
		w.unless(n["MPCapableSYNRX"] == 2 && n["MPCapableACKRX"] == 1, "MPCapableSYNRX %d, MPCapableACKRX %d", n["MPCapableSYNRX"], n["MPCapableACKRX"])
		w.unless(r.accepted() == 1, "%d connections accepted", r.accepted())
		if w.err() != nil {
			return "", w.err()
		}
		return fmt.Sprintf("%s, RST %d, MP_JOIN with token %08x", milliseconds(e.took), len(resets), tokenAsked(joins[0])), nil
	}
}

// together: SYNs with MP_CAPABLE left over both links at once.
func together(all []sight) (w wrong) {
	links, at := asked(all, subCapable)
	w.unless(len(links) == 2 && links[0] != links[1] && at[1]-at[0] < 10*time.Millisecond, "SYNs over links %v at %s", links, moments(at))
	return w
}

// tokenOf is the token that belongs to the key in a SYN/ACK, tokenAsked the one in the SYN of a join.
func tokenOf(s sight) uint32 {
	o := s.option(subCapable)
	if len(o) < 10 {
		return 0
	}
	token, _ := wire.KeyToken(number(o[2:10]))
	return token
}

func tokenAsked(s sight) uint32 {
	o := s.option(subJoin)
	if len(o) < 6 {
		return 1
	}
	return uint32(number(o[2:6]))
}

func number(octets []byte) (n uint64) {
	for _, b := range octets {
		n = n<<8 | uint64(b)
	}
	return n
}

func raceOfTCP(ctx context.Context, r *rig) (string, error) {
	e, err := r.talked(ctx, engine.DialOptions{}, 100_000, 100_000)
	if err != nil {
		return "", err
	}
	w := together(e.packets)
	resets := those(via(e.packets, 0, false), func(s sight) bool { return s.flags.Has(wire.RST) })
	joins, _ := asked(e.packets, subJoin)
	w.unless(len(resets) > 0, "no RST over the first link")
	w.unless(len(joins) == 0, "MP_JOIN over %v", joins)
	w.unless(!e.conn.Multipath() && r.accepted() == 1, "%d connections accepted", r.accepted())
	return fmt.Sprintf("%s, %d RST, %d accepted", milliseconds(e.took), len(resets), r.accepted()), w.err()
}

func extended(ctx context.Context, r *rig) (string, error) {
	e, err := r.talked(ctx, engine.DialOptions{}, 4e6, 0)
	if err != nil {
		return "", err
	}
	all, w := e.packets, together(e.packets)
	enabled := those(all, func(s sight) bool { return s.flags.Has(wire.SYN) && s.has(subRobE) })
	third := those(via(all, 0, false), func(s sight) bool { return s.has(subJoinCap) })
	joins, _ := asked(all, subJoin)
	w.unless(len(enabled) == 4, "%d SYNs and SYN/ACKs with ROBE_eSIM_EN", len(enabled))
	w.unless(len(third) > 0, "no MP_JOIN_CAP")
	w.unless(len(joins) == 0, "SYNs with MP_JOIN over %v", joins)
	w.unless(r.accepted() == 1, "%d connections accepted", r.accepted())
	for link := range 2 {
		data := those(via(all, link, false), func(s sight) bool { return s.octets > 0 })
		w.unless(len(data) > 50, "link %d carried %d segments of data", link, len(data))
	}
	return fmt.Sprintf("%s, subtype 9: %d, 10: %d, MP_JOIN SYN: %d", milliseconds(e.took), len(enabled), len(third), len(joins)), w.err()
}

func extendedAlone(ctx context.Context, r *rig) (string, error) {
	e, err := r.joined(ctx, nil)
	if err != nil {
		return "", err
	}
	all, w := e.packets, together(e.packets)
	enabled := those(all, func(s sight) bool { return s.asks() && s.has(subRobE) })
	third := those(all, func(s sight) bool { return s.has(subJoinCap) })
	w.unless(len(enabled) == 2, "%d SYNs with ROBE_eSIM_EN", len(enabled))
	w.unless(len(third) == 0, "MP_JOIN_CAP without having been asked for")
	w.unless(r.accepted() == 1, "%d connections accepted", r.accepted())
	return fmt.Sprintf("subtype 9: %d, 10: %d, MPJoinAckRx %d", len(enabled), len(third), e.kernel["MPJoinAckRx"]), w.err()
}

// refusesImplicit: the kernel is not asked whether it knows MP_JOIN_CAP, and takes it for the third ACK of a connection of its own.
func refusesImplicit(ctx context.Context, r *rig) (string, error) {
	e, err := r.joined(ctx, nil)
	if err != nil {
		return "", err
	}
	w := together(e.packets)
	first := via(e.packets, 0, false)
	third := those(first, func(s sight) bool { return s.has(subJoinCap) })
	resets := those(first, func(s sight) bool { return s.flags.Has(wire.RST) })
	joins := those(first, func(s sight) bool { return s.asks() && s.has(subJoin) })
	enabled := those(e.packets, func(s sight) bool { return s.has(subRobE) })
	w.unless(len(enabled) == 0, "%d times ROBE_eSIM_EN", len(enabled))
	w.unless(len(third) == 1 && len(resets) > 0 && len(joins) > 0, "MP_JOIN_CAP %d, RST %d, MP_JOIN %d", len(third), len(resets), len(joins))
	if w.err() != nil {
		return "", w.err()
	}
	data := those(first, func(s sight) bool { return s.octets > 0 && s.at < joins[0].at })
	w.unless(third[0].at < resets[0].at && resets[0].at <= joins[0].at, "MP_JOIN_CAP, RST and MP_JOIN in another order")
	w.unless(len(data) == 0, "%d segments of data on the flow that lost", len(data))
	return fmt.Sprintf("subtype 10: %d, RST %d, data 0, MPJoinAckRx %d", len(third), len(resets), e.kernel["MPJoinAckRx"]), w.err()
}

// switches: the best of three links is known and dies; after a timeout of the SYN all others are asked, or one.
func switches(all bool) func(ctx context.Context, r *rig) (string, error) {
	return func(ctx context.Context, r *rig) (string, error) {
		if _, _, err := r.talkOnce(ctx, engine.DialOptions{}, 1e6, 0); err != nil {
			return "", err
		}
		r.lines[0].silence(true)
		var took time.Duration
		for range 5 { // one connection in twenty goes over another link, to learn
			c, t, err := r.dial(ctx, engine.DialOptions{}, 0)
			if err != nil {
				return "", err
			}
			c.Abort(errAborted)
			if took = t; t > 500*time.Millisecond {
				break
			}
		}
		seen, err := r.sights(ctx, "tcp.flags.syn == 1")
		if err != nil {
			return "", err
		}
		links, at := asked(seen, subCapable)
		first := len(links) - 1 - slices.Index(reversed(links), 0) // the last SYN over the first link is of the last connection
		for first > 0 && links[first-1] == 0 && at[first]-at[first-1] > 500*time.Millisecond {
			first--
		}
		var others []int
		var when []time.Duration
		for i, link := range links[first:] {
			if wait := at[first+i] - at[first]; link != 0 && wait < 1300*time.Millisecond {
				others, when = append(others, link), append(when, at[first+i])
			}
		}
		var w wrong
		want := 1
		if all {
			want = 2
		}
		w.unless(took > 900*time.Millisecond && took < 1400*time.Millisecond, "established after %v", took)
		w.unless(len(others) == want && slices.Max(when)-slices.Min(when) < 10*time.Millisecond, "asked over %v after the timeout", others)
		return fmt.Sprintf("established %s, asked over %v", milliseconds(took), others), w.err()
	}
}

func reversed(all []int) []int {
	back := slices.Clone(all)
	slices.Reverse(back)
	return back
}

// automatic: auto races unless the best link was heard from within a second.
func automatic(ctx context.Context, r *rig) (string, error) {
	for _, rest := range []time.Duration{0, 0, 1500 * time.Millisecond} {
		if err := sleep(ctx, rest); err != nil {
			return "", err
		}
		if _, _, err := r.talkOnce(ctx, engine.DialOptions{}, 200_000, 0); err != nil {
			return "", err
		}
	}
	links, err := r.begunBy(ctx)
	if err != nil {
		return "", err
	}
	var w wrong
	w.unless(len(links) == 5 && links[0] != links[1] && links[2] == 1 && links[3] != links[4], "SYNs over %v", links)
	n := r.near.bond.Counters()
	w.unless(n.Races == 2, "%d races", n.Races)
	return fmt.Sprintf("SYNs over %v, races %d", links, n.Races), w.err()
}

// blackHoled: the default link loses all from the start. The kernel's own Multipath TCP has the same links.
func blackHoled(ctx context.Context, dir string) (string, error) {
	return establishedWithin(ctx, dir, true, 1, 170*time.Millisecond, 10*time.Millisecond, 30*time.Millisecond)
}

func bothUp(ctx context.Context, dir string) (string, error) {
	return establishedWithin(ctx, dir, false, 3, 28*time.Millisecond, 30*time.Millisecond, 10*time.Millisecond)
}

// establishedWithin: the median of so many connections, each the first over its links, is established within limit.
func establishedWithin(ctx context.Context, dir string, dead bool, times int, limit time.Duration, delays ...time.Duration) (string, error) {
	g := begins(engine.Auto, nil, delays...)
	var all []time.Duration
	for range times {
		_, err := onRig(g, func(ctx context.Context, r *rig) (string, error) {
			r.lines[0].silence(dead)
			_, took, err := r.dial(ctx, engine.DialOptions{}, 0)
			all = append(all, took)
			return "", err
		})(ctx, dir)
		if err != nil {
			return "", err
		}
	}
	var w wrong
	w.unless(median(all) <= limit, "too late")
	kernel, err := kernelAlone(ctx, filepath.Join(dir, "kernel.pcap"), g().links, dead)
	return fmt.Sprintf("%s; the kernel's own: %s", moments(all), kernel), errors.Join(w.err(), err)
}

func median(all []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

// kernelPatience is how long the kernel's own Multipath TCP is waited for.
const kernelPatience = 2 * time.Second

// kernelAlone says how long the kernel takes to connect to the kernel over such links.
func kernelAlone(ctx context.Context, file string, links []sim.Conditions, dead bool) (string, error) {
	s, err := interop{links: links, dialer: knobs{Join: true}}.build(kernelDials, file)
	defer s.close()
	if err != nil {
		return "", err
	}
	limited, cancel := context.WithTimeout(ctx, kernelPatience)
	defer cancel()
	accepting, err := s.accepter.listen(ctx, target, talk{})
	if err != nil {
		return "", err
	}
	s.ducts[0].silence(dead)
	dialing, err := s.dialer.dial(limited, target, talk{})
	if err != nil {
		return "", err
	}
	said := <-dialing.done
	if limited.Err() != nil {
		return fmt.Sprintf("none in %v", kernelPatience), nil
	}
	<-accepting.done
	return milliseconds(said.Connected), said.check(talk{})
}
