package mptcp

import (
	"net/netip"
	"slices"

	"tandem/engine/clock"
	"tandem/engine/datagram"
	"tandem/engine/tcp"
	"tandem/engine/wire"
)

// offers are the connections that somebody asked for: one offer, one answer, however many paths
// the SYNs came over and however often they are repeated (D2).
type offers struct {
	waiting int // not answered
	byAsker map[asker]standing
	done    []answeredOffer // oldest first
}

// standing is how an offer stands.
type standing struct {
	conn *Conn       // nil: it was answered, and what came of it is forgotten
	why  wire.Reason // it was refused
}

// An asker is what SYNs of one offer have in common. Unless the bond is Paired the address is the
// asker's own, so that each SYN of another address is another offer.
type asker struct {
	addr   netip.Addr
	port   uint16
	target netip.AddrPort
}

type answeredOffer struct {
	from  asker
	until clock.Time
}

// answeredMax bounds how many answered offers are remembered.
const answeredMax = 65536

// init forgets every offer.
func (o *offers) init() { *o = offers{byAsker: make(map[asker]standing)} }

func (b *Bond) askerOf(seg *wire.Segment) asker {
	a := asker{port: seg.Source.Port(), target: seg.Target}
	if !b.cfg.Paired {
		a.addr = seg.Source.Addr()
	}
	return a
}

// expire forgets the offers that were answered long ago.
func (o *offers) expire(now clock.Time) {
	n := 0
	for n < len(o.done) && (o.done[n].until <= now || len(o.done)-n > answeredMax) {
		delete(o.byAsker, o.done[n].from)
		n++
	}
	o.done = o.done[n:]
}

// answer notes that the handshake of an offer has ended, one way or the other.
func (o *offers) answer(now clock.Time, c *Conn) {
	if c.client && c.b.asked != nil {
		delete(c.b.asked, c.offerID())
	}
	if !c.offer.listed {
		return
	}
	c.offer.listed = false
	o.waiting--
	if c.b.cfg.Paired {
		o.done = append(o.done, answeredOffer{c.offer.from, now.Add(answered)})
	} else {
		delete(o.byAsker, c.offer.from)
	}
}

// offerState ties a connection to its offer.
type offerState struct {
	from   asker
	listed bool
}

// receiveSYN is a SYN that belongs to no subflow and joins no connection.
func (b *Bond) receiveSYN(now clock.Time, p *bondPath, seg *wire.Segment) {
	if !b.wanted(seg.Target) {
		b.counters.NoConnection++
		b.strays.refuse(b, p, seg, wire.Reset{})
		return
	}
	b.offers.expire(now)
	from := b.askerOf(seg)
	if is, again := b.offers.byAsker[from]; again {
		c := is.conn
		if c == nil || c.phase >= open && !c.mayMerge(seg) {
			b.counters.LateOffers++
			b.strays.refuse(b, p, seg, wire.Reset{Reason: is.why})
			return
		}
		b.counters.CopiedOffers++
		b.current = c
		c.candidate(now, p, seg)
		return
	}
	if b.conns >= b.cfg.Limits.Connections || b.offers.waiting >= b.cfg.Limits.Offers {
		if b.offers.waiting >= b.cfg.Limits.Offers {
			b.counters.LimitOffers++
		} else {
			b.counters.LimitConnections++
		}
		b.strays.refuse(b, p, seg, wire.Reset{Reason: wire.LackOfResources, Transient: true})
		return
	}
	c := b.newConn(seg.Source, seg.Target, false)
	b.current = c
	c.phase = offered
	c.offer = offerState{from, true}
	b.offers.byAsker[from] = standing{conn: c}
	b.offers.waiting++
	c.candidate(now, p, seg)
	c.tell(Offered)
	if b.lane != nil {
		b.measure(now, p)
		b.hear(now)
	}
}

// measure asks for the round trip of a path whose connections have not told it. An end that has only answered so far
// would repeat its first SYN/ACK after a second.
func (b *Bond) measure(now clock.Time, p *bondPath) {
	if b.lane == nil || p.measured {
		return
	}
	if rtt, _, _ := p.state.RTT(); rtt == 0 {
		p.measured = b.lane.control.Ping(now, datagram.PathID(p.id), 0)
	}
}

// wanted reports whether the bond takes offers for target.
func (b *Bond) wanted(target netip.AddrPort) bool {
	if b.cfg.Paired || b.cfg.AnyTarget {
		return true
	}
	return (b.ports[0] || b.ports[target.Port()]) && b.answersFor(target.Addr())
}

// answersFor reports whether what is for an address is for this bond.
func (b *Bond) answersFor(addr netip.Addr) bool {
	return b.cfg.Paired || b.cfg.AnyTarget || slices.ContainsFunc(b.paths, func(p *bondPath) bool {
		return p.cfg.Local4 == addr || p.cfg.Local6 == addr
	})
}

// candidate adds a subflow that may become the connection's first.
func (c *Conn) candidate(now clock.Time, p *bondPath, seg *wire.Segment) {
	b := c.b
	if len(c.subflows) >= b.cfg.Limits.Subflows {
		b.counters.LimitSubflows++
		return
	}
	if c.in.deviates(0, seg.Payload) {
		b.counters.Deviations++
		b.strays.refuse(b, p, seg, wire.Reset{Reason: wire.MPTCPError})
		return
	}
	o := &seg.Options
	if len(c.subflows) == 0 {
		c.id.mptcp = !b.cfg.Plain && o.Has&wire.HasCapable != 0 && o.Capable.Length == 4 && c.agrees(&o.Capable)
	}
	f := c.newSubflow(p, seg.Target, seg.Source)
	f.robe = c.id.mptcp && o.Has&wire.HasRobE != 0 && b.joinsByCap()
	if f.robe {
		b.counters.RobeOffers++
	}
	c.est.reports = c.est.reports || c.id.mptcp && o.Has&wire.HasLatestRTT != 0 && !b.cfg.NoRobE
	cfg := f.config(seg.Target, seg.Source)
	cfg.SynRetries = answerRetries
	f.offerFast(now, seg, &cfg)
	f.tcp = tcp.Listen(now, cfg, f, seg)
	f.took(now, seg)
	c.add(f)
	if c.phase != offered {
		f.tcp.Answer(now)
	}
	c.hold(now)
	b.touch(now, c)
}

// hold tells a Paired asker that its offer is here, whenever it asks: it may have lost the path over which it asked, or
// heard, before.
func (c *Conn) hold(now clock.Time) {
	if c.phase == offered && c.b.lane != nil {
		c.b.lane.control.Held(now, c.offerID())
	}
}

// replaced reports whether a SYN shows that the asker has begun anew over the same path: its address
// went and came again.
func (f *subflow) replaced(seg *wire.Segment) bool {
	return !f.join && f.tcp.State() == tcp.SynReceived && seg.Seq != f.tcp.IRS()
}

// replace forgets a candidate whose asker has begun anew; the new SYN follows.
func (c *Conn) replace(now clock.Time, f *subflow) {
	delete(c.b.flows, f.key)
	c.subflows = slices.DeleteFunc(c.subflows, func(g *subflow) bool { return g == f })
}

// Accept answers an offer.
func (c *Conn) Accept(now clock.Time) error {
	if c.phase != offered {
		return ErrNotOffer
	}
	c.phase = opening
	c.list()
	for _, f := range c.subflows {
		f.tcp.Answer(now)
	}
	c.b.touch(now, c)
	return nil
}

// Refuse rejects an offer with a reset. Between Paired ends the control lane says so too, ahead of it, and
// both say why in full, so that the asker knows with the first of them; so does the reset of a SYN that comes
// after. Another peer is told what RFC 8684 has words for.
func (c *Conn) Refuse(now clock.Time, why wire.Reason) error {
	if c.phase != offered {
		return ErrNotOffer
	}
	if !c.b.cfg.Paired {
		why = datagram.Standard(why)
	}
	for _, f := range c.subflows {
		f.reset(now, why, false)
	}
	if c.b.lane != nil {
		c.b.lane.control.Refused(now, c.offerID(), why)
		c.b.offers.byAsker[c.offer.from] = standing{c, why}
	}
	c.finish(now, ErrAborted)
	c.b.touch(now, c)
	return nil
}
