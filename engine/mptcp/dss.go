package mptcp

import (
	"tandem/engine/clock"
	"tandem/engine/wire"
)

// receiveDSS acts on DATA_ACK and mapping (RFC 8684 3.3).
func (f *subflow) receiveDSS(now clock.Time, seg *wire.Segment) bool {
	c := f.c
	d := &seg.Options.DSS
	f.sawDSS = true
	if d.HasAck || !c.client {
		c.confirm(now) // who sends before the third ACK came has no DATA_ACK
	}
	if d.HasAck {
		f.receiveDataAck(now, seg, d)
	}
	if !d.HasMap {
		if f.repeatsSYN(seg); f.repeated {
			f.takeSYN(now)
		}
		return f.live()
	}
	if c.phase == over {
		if d.Fin {
			f.tcp.Ack(1) // the acknowledgement was lost
		}
		return true
	}
	if d.DataLen == 0 {
		return f.receiveInfinite(now, d)
	}
	if d.HasChecksum != c.id.checksum {
		f.reset(now, wire.MPTCPError, false)
		return false
	}
	if f.skipSYN(now, seg, d.SSN, int(d.DataLen)-one(d.Fin)); f.live() {
		f.receiveMap(now, d)
	}
	return f.live()
}

// receiveDataAck takes the peer's DATA_ACK and, with it, its window (RFC 8684 3.3.1, 3.3.5).
func (f *subflow) receiveDataAck(now clock.Time, seg *wire.Segment, d *wire.DSS) {
	c := f.c
	if f.acked > f.earlyOut() {
		f.mapped = true // octets of the SYN had no mapping
	}
	una := c.outDSN(c.snd.una)
	ack := d.Ack
	if !d.Ack64 {
		ack = una.Extend(uint32(ack))
	}
	n := ack.Sub(una)
	most := int(c.snd.next - c.snd.una)
	finAcked := false
	if c.fin.queued && n == int(c.fin.pos-c.snd.una)+1 && c.snd.next == c.fin.pos && c.fin.left {
		n--
		finAcked = true
	}
	if n > most || n < -(1<<31) {
		c.b.counters.OutOfWindow++
		return
	}
	pos := c.snd.una + uint64(n) // n may be negative: an old acknowledgement
	if edge := pos + uint64(f.tcp.PeerWindow(seg)); int64(edge-c.snd.edge) > 0 {
		c.snd.edge = edge
		c.askWindows(now, f)
	}
	if n > 0 {
		c.acknowledged(now, pos)
	}
	if finAcked {
		c.fin.acknowledged(now, c)
	}
}

// receiveMap takes a mapping of octets, of DATA_FIN, or of both.
func (f *subflow) receiveMap(now clock.Time, d *wire.DSS) {
	c := f.c
	dsn := d.DSN
	next := c.dataAck()
	if d.Map64 {
		f.wide = true
	} else {
		dsn = next.Extend(uint32(dsn))
	}
	n := int(d.DataLen)
	if d.Fin {
		n--
		f.tcp.Ack(1)
	}
	pos := c.inPos(dsn)
	if int64(pos+uint64(n)-c.id.earlyIn) < 0 || int64(pos-c.in.readable.Load()) > int64(c.b.cfg.Limits.RecvBuffer) {
		c.b.counters.OutOfWindow++
		return
	}
	m := mapping{
		pos: pos, n: n, fin: d.Fin,
		checked: d.HasChecksum, sum: d.Checksum, dsn: dsn,
	}
	if n > 0 {
		m.off = f.offIn(d.SSN)
		if int64(m.off) < 0 {
			c.b.counters.OutOfWindow++
			return
		}
		c.id.strayed = c.id.strayed || !f.join && m.off != pos
	} else if m.checked && wire.ChecksumDSS(dsn, d.SSN, d.DataLen, wire.Sum{}) != d.Checksum {
		c.b.counters.DSSChecksum++
		return
	}
	f.learn(now, m)
}
