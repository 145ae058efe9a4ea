package mptcp

import (
	"net/netip"
	"slices"
	"time"

	"tandem/engine/clock"
)

// Establish says over which paths a connection is asked for, and when (draft-amend-tcpm-mptcp-robe-02). Where a
// mode speaks of the best path, paths that are silent come last, then the role counts, then what is known of
// each. However many SYNs leave, a Paired peer takes them for one offer.
type Establish uint8

// The ways to establish a connection.
const (
	// Auto asks over the best path alone while that one was heard from within the last second, and over others
	// too when the answer takes longer than a round trip; else it is a race: ESIM when Paired, SIM otherwise.
	Auto     Establish = iota
	Classic            // the best path alone, as RFC 8684 has it
	Timer              // RobE_TIMER: the best path, and with each timeout of a SYN one more
	SIM                // RobE_SIM: all paths at once; the first answer wins, the others join anew
	ESIM               // RobE_eSIM: all at once; the others join with their third ACK, if the peer can
	IPS                // RobE_IPS: the path of which the best is known, the next when that fails; SIM when nothing is
	IPSTimer           // IPS, and with each timeout of a SYN one more path
	IPSSIM             // IPS, and with the timeout of its SYN all others at once
)

var establishNames = [...]string{"auto", "classic", "timer", "sim", "esim", "ips", "ips+timer", "ips+sim"}

// String names the mode.
func (e Establish) String() string { return nameOf(establishNames[:], e, "unknown") }

// ParseEstablish returns the mode of a name that String gives; ok is false for others.
func ParseEstablish(name string) (e Establish, ok bool) {
	return parseName[Establish](establishNames[:], name)
}

const (
	// racersMax bounds the SYNs that leave at once, so that racing costs a server no more than two extra.
	racersMax = 3

	// fresh is for how long a path that was heard from is taken to work.
	fresh = time.Second

	// slack is how much longer than a round trip the answer of the best path may take before Auto asks over
	// others too.
	slack = 50 * time.Millisecond

	// exploreOne in so many connections goes over another path than IPS would take.
	exploreOne = 20
)

// establishment is how a connection gets its first subflow.
type establishment struct {
	mode     Establish // what rules it
	asked    uint8     // SYNs of different paths
	more     uint8     // how many paths a timeout adds
	hedged   bool      // a timeout is little more than a round trip
	explicit bool      // the SYNs carry ROBE_eSIM_EN
	implicit bool      // MP_JOIN_CAP is tried on a peer that was not asked
	merges   bool      // the third ACKs of flows that lost the race carry MP_JOIN_CAP
	reports  bool      // the peer asked for L_RTT_EN; or it is to be asked
	early    bool      // octets ride in the SYN without a cookie
	whole    bool      // and the connection ends if they are not taken
	stripped bool      // they were not
	began    PathID    // of the SYN that was answered first
	spent    []PathID  // paths whose SYN was given up
	address  AddressType
}

// choose decides how a connection to target is established, and returns the paths to ask over at once.
func (b *Bond) choose(now clock.Time, target netip.Addr, opt DialOptions) (establishment, []*bondPath) {
	e, first := b.begin(now, target, opt)
	if e.more > 1 && b.lessons.lull(now, b.place(target)) {
		e.more, e.hedged = 1, false
	}
	if b.strict() && opt.Establish == Auto && len(first) > 0 {
		e.more, e.explicit, e.implicit = min(e.more, 1), false, false
		first = first[:1]
	}
	return e, first
}

// begin is that for who may hear of all paths at once.
func (b *Bond) begin(now clock.Time, target netip.Addr, opt DialOptions) (e establishment, first []*bondPath) {
	if e.mode = opt.Establish; e.mode == Auto {
		e.mode = b.cfg.Establish
	}
	if e.mode == Auto && b.strict() {
		e.mode = Timer
	}
	if e.address = opt.Address; opt.Plain && e.address == UnknownAddress {
		e.address = SessionLasting // nothing else can take its place
	}
	all, known := b.ranked(now, target, opt.first(), &e)
	if len(all) == 0 {
		return e, nil
	}
	switch e.mode {
	case Auto:
		// L_RTT_EN has no number that IANA gave it: strangers are asked for it by who chose IPS alone.
		e.more, e.hedged = racersMax-1, true
		if len(opt.Paths) > 0 || !known || now >= all[0].heardAt.Add(fresh) {
			return b.race(now, target, e, all)
		}
	case Timer:
		e.more = 1
	case SIM, ESIM:
		return b.race(now, target, e, all)
	case IPS, IPSTimer, IPSSIM:
		e.more = map[Establish]uint8{IPSTimer: 1, IPSSIM: racersMax - 1}[e.mode]
		e.reports = !b.cfg.Paired // whose paths know
		if !known {
			return b.race(now, target, e, all)
		}
		if len(all) > 1 && b.random32()%exploreOne == 0 {
			b.explore(all, e.address)
		}
	}
	return e, all[:1]
}

// explore puts another path first, of those as good by all but what was measured: nobody may ask a second one if it
// fails.
func (b *Bond) explore(all []*bondPath, wanted AddressType) {
	n := 1
	for n < len(all) && all[n].like(all[0], wanted) {
		n++
	}
	if n > 1 {
		i := 1 + int(b.random32()%uint32(n-1))
		all[0], all[i] = all[i], all[0]
	}
}

// race has SYNs leave over several paths. Those that nothing can be expected of, or that are to be spared, take
// part only if less than two others do; where nobody answered lately one SYN at a time must do.
func (b *Bond) race(now clock.Time, target netip.Addr, e establishment, all []*bondPath) (establishment, []*bondPath) {
	e.more = max(e.more, 1)
	if b.lessons.lull(now, b.place(target)) {
		return e, all[:1]
	}
	if e.mode == ESIM || e.mode == Auto && b.cfg.Paired {
		e.implicit = b.cfg.ImplicitESIM && !b.cfg.Paired
		e.explicit = !e.implicit
	}
	n := 1
	for n < min(len(all), racersMax) && (n == 1 || !all[n].dead() && all[n].role() == all[0].role()) {
		n++
	}
	return e, all[:n]
}

// ranked returns the paths that lead to target, of those in ids if there are any, the best first, and whether
// anything is known of that one. What other connections have learnt does not count for those that only want the
// best path.
func (b *Bond) ranked(now clock.Time, target netip.Addr, ids []PathID, e *establishment) (all []*bondPath, known bool) {
	learnt := e.mode != Classic && e.mode != Timer
	for _, p := range b.paths {
		if p.reaches(target) && (ids == nil && !p.cfg.Private || slices.Contains(ids, p.id)) {
			all = append(all, p)
		}
	}
	if learnt {
		b.grade(now, target, all, e.mode == Auto)
	}
	slices.SortStableFunc(all, func(p, q *bondPath) int {
		switch {
		case p.before(q, learnt, e.address):
			return -1
		case q.before(p, learnt, e.address):
			return 1
		}
		return 0
	})
	return all, learnt && len(all) > 0 && all[0].grade != ungraded
}

// before reports whether p is to be preferred to q for a new connection.
func (p *bondPath) before(q *bondPath, learnt bool, wanted AddressType) bool {
	if p.dead() != q.dead() {
		return q.dead()
	}
	if p.role() != q.role() {
		return p.role() < q.role()
	}
	if x, y := p.cfg.Address.misfit(wanted), q.cfg.Address.misfit(wanted); x != y {
		return x < y
	}
	if learnt {
		return p.grade < q.grade
	}
	if p.state == nil {
		return false
	}
	rtt, _, _ := p.state.RTT()
	other, _, _ := q.state.RTT()
	return rtt > 0 && (other == 0 || rtt < other)
}

// like reports whether p is as much to be preferred as q for all but what was measured.
func (p *bondPath) like(q *bondPath, wanted AddressType) bool {
	return p.dead() == q.dead() && p.role() == q.role() && p.cfg.Address.misfit(wanted) == q.cfg.Address.misfit(wanted)
}

// synPatience is how long the answer to a SYN may take before another path is asked.
func (c *Conn) synPatience(now clock.Time, f *subflow) time.Duration {
	rto := f.state.RTO()
	hedged := c.est.hedged && c.est.asked < racersMax
	if rtt := c.b.expected(now, c.target.Addr(), f.path); hedged && rtt > 0 {
		return min(rto, rtt+slack)
	}
	return rto
}

// selects reports whether one path at a time is asked, and another when that failed.
func (c *Conn) selects() bool { return c.est.mode == IPS && c.est.more == 0 }

// asksMore reports whether a path that comes is asked too, beside those that were.
func (c *Conn) asksMore() bool {
	return len(c.subflows) == 0 || c.est.more > 0 && len(c.subflows) < racersMax
}

// won notes which path answered first. The others are reset before any octets leave.
func (c *Conn) won(now clock.Time, f *subflow) {
	if c.est.asked > 1 {
		f.path.won++
	}
	c.b.lessons.answered(now, c.b.place(c.target.Addr()), f.path.id)
	c.trace.add(now, evWon, f.path.id, uint64(c.est.asked))
	c.next = 1 + slices.Index(c.subflows, f)
	for _, g := range c.subflows {
		switch {
		case g == f || g.join:
		case c.est.merges:
			g.retryAt = now.Add(g.state.RTO())
		default:
			g.drop(now)
		}
	}
}
