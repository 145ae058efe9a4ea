package mptcp

import (
	"slices"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// mayFallBack reports whether the connection can go on as plain TCP over f: there never was another
// subflow, and every octet went over this one in order (RFC 8684 3.7).
func (c *Conn) mayFallBack(f *subflow) bool {
	return c.id.alone && !f.join && c.single(f) && len(c.in.late) == 0
}

// fallBack makes the connection plain TCP over f, for good. From here on positions of the stream
// and of the subflow differ by a constant.
func (c *Conn) fallBack(now clock.Time, f *subflow) {
	if c.id.fallback {
		return
	}
	c.trace.add(now, evFallback, f.path.id, 0)
	c.b.counters.Fallbacks++
	c.id.fallback = true
	f.ready = true
	f.report(FellBack)
	for _, g := range c.subflows {
		if g != f && !g.ready {
			g.drop(now)
		}
	}
	c.fin.infinite = c.id.mptcp && c.snd.next > c.snd.una
	c.fin.mapFrom, c.fin.mapUntil = c.snd.una, f.pushed()
	c.snd.edge = unbounded
	c.fin.went, c.fin.wanted = false, false
	c.late.init()
	c.signal.init()
	if c.id.mptcp {
		c.acknowledged(now, min(f.acked, c.snd.next))
	}
	held := f.held
	f.held, f.heldN, f.maps = nil, 0, nil
	for _, h := range held {
		c.place(now, f, h.off+c.id.shiftIn, h.data)
	}
	if f.fin {
		c.endOfStream(now)
	}
	c.fin.check(now, c)
}

// sole reports whether no other subflow is established: those on their way are given up by a fallback.
func (c *Conn) sole(f *subflow) bool {
	return !slices.ContainsFunc(c.subflows, func(g *subflow) bool { return g != f && g.ready })
}

// unheard deals with an acknowledgement of octets by somebody who says nothing of the data sequence
// (RFC 8684 3.7).
func (c *Conn) unheard(now clock.Time, f *subflow) {
	if c.mayFallBack(f) {
		c.fallBack(now, f)
	} else {
		f.reset(now, wire.Middlebox, false)
	}
}

// receiveFail is MP_FAIL on an acknowledgement (RFC 8684 3.7): what this end sent was altered on
// the way, and the only subflow there is cannot be replaced. The octets are mapped once and for all.
func (c *Conn) receiveFail(now clock.Time, f *subflow, dsn wire.DSN) {
	if c.id.fallback {
		return
	}
	if !c.id.alone || !c.sole(f) {
		f.reset(now, wire.Middlebox, true)
		return
	}
	if n := dsn.Sub(c.outDSN(c.snd.una)); n < 0 || n > int(c.snd.next-c.snd.una)+1 {
		c.b.counters.OutOfWindow++ // nothing that was altered can begin there
		return
	}
	f.failDSN, f.hasFail = c.dataAck(), true
	c.fallBack(now, f)
	c.fin.infinite, c.fin.backoff = true, 0
	c.fin.at = now.Add(c.patience())
	f.tcp.Ack(1)
}

// receiveInfinite is the infinite mapping: from its octet on there is no data sequence any more
// (RFC 8684 3.7). Octets held since before belong to it.
func (f *subflow) receiveInfinite(now clock.Time, d *wire.DSS) bool {
	c := f.c
	if !c.id.alone || !c.sole(f) {
		f.reset(now, wire.MPTCPError, false)
		return false
	}
	dsn := d.DSN
	if !d.Map64 {
		dsn = c.dataAck().Extend(uint32(dsn))
	}
	c.id.shiftIn = c.inPos(dsn) - f.offIn(d.SSN)
	c.fallBack(now, f)
	return true
}
