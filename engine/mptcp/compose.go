package mptcp

import (
	"tandem/engine/clock"
	"tandem/engine/tcp"
	"tandem/engine/wire"
)

// synOptionsLen is the length of a SYN's options without timestamps: MSS, window scale, SACK
// permitted, MP_CAPABLE, and what RobE adds.
func (c *Conn) synOptionsLen() int {
	n := wire.MSSLen + wire.WindowScaleLen + wire.SACKPermittedLen + 4
	if c.est.explicit {
		n += wire.RobELen
	}
	if c.est.reports {
		n += 4
	}
	return n
}

// Compose is for tcp.Owner.
func (f *subflow) Compose(now clock.Time, t *tcp.Subflow, seg *wire.Segment, part tcp.Part, room int) {
	c := f.c
	o := &seg.Options
	switch {
	case seg.Flags&wire.RST != 0:
		f.composeReset(o, room)
	case seg.Flags&wire.SYN != 0:
		f.composeSYN(now, seg, room)
	case c.plain():
		f.composeInfinite(seg, part, room)
	case f.join && f.active && !f.ready:
		f.composeJoinACK(now, o, room)
	case f.opensWith(part):
		f.composeCapable(o, part, room)
	default:
		before := o.Len()
		if part.Len == 0 {
			if f.composeSignal(now, o, room) {
				return
			}
			f.composeRate(now, o, room-(o.Len()-before))
		} else {
			f.endRow()
		}
		f.composeDSS(now, o, part, room-(o.Len()-before))
		if part.Len == 0 {
			f.composeRTT(o, room-(o.Len()-before))
		}
	}
}

// composeReset adds what a RST may say: MP_FASTCLOSE, MP_FAIL or MP_TCPRST.
func (f *subflow) composeReset(o *wire.Options, room int) {
	c := f.c
	asking := c.client && c.id.initial == nil && !c.b.cfg.Plain && !c.id.plainOnly
	if (!c.id.mptcp || c.id.fallback) && !asking {
		return
	}
	switch {
	case c.fin.fast && f.ready && room >= wire.FastCloseLen: // the key is for nobody who has not proved that he knows it
		o.Has |= wire.HasFastClose
		o.CloseKey = c.id.peerKey
		return
	case f.hasFail && room >= wire.FailLen+wire.ResetLen:
		o.Has |= wire.HasFail
		o.FailDSN = f.failDSN
	}
	if f.hasReset && room >= wire.ResetLen {
		o.Has |= wire.HasReset
		o.Reset = f.resetWhy
	}
}

// composeSYN adds the option that opens or joins a connection.
func (f *subflow) composeSYN(now clock.Time, seg *wire.Segment, room int) {
	c := f.c
	o := &seg.Options
	answer := seg.Flags&wire.ACK != 0
	f.syns++
	f.synAt = now
	switch {
	case f.join:
		o.Has |= wire.HasJoin
		o.Join = wire.Join{Length: 12, Backup: f.backup, AddressID: f.localID, Nonce: f.nonce}
		if answer {
			o.Join.Length = 16
			o.Join.MAC = wire.JoinMAC(c.id.localKey, c.id.peerKey, f.nonce, f.peerNonce)
		} else {
			o.Join.Token = c.id.peerToken
		}
	case c.b.cfg.Plain, c.id.plainOnly, answer && !c.id.mptcp:
	case !answer && !c.b.cfg.Paired && f.syns > plainSYNs:
		// Something on the way may drop what it does not know (RFC 8684 3.1).
	default:
		o.Has |= wire.HasCapable
		o.Capable = wire.Capable{Length: 4, Version: 1, Flags: c.capableFlags()}
		if answer {
			o.Capable.Length = 12
			o.Capable.Sender = c.id.localKey
		}
		f.composeRobE(o, answer, room-o.Capable.Len())
	}
}

// composeRobE adds to MP_CAPABLE in a SYN what it asks for of RobE, or agrees to.
func (f *subflow) composeRobE(o *wire.Options, answer bool, room int) {
	c := f.c
	if (answer && f.robe || !answer && c.est.explicit) && room >= wire.RobELen {
		o.Has |= wire.HasRobE
		room -= wire.RobELen
	}
	if c.est.reports && room >= 4 {
		o.Has |= wire.HasLatestRTT
		o.LatestRTT = wire.LatestRTT{Length: 4}
	}
}

func (c *Conn) capableFlags() wire.CapableFlags {
	flags := wire.HMACSHA256
	if c.id.checksum {
		flags |= wire.ChecksumRequired
	}
	if c.b.cfg.NoJoinsHere {
		flags |= wire.NoJoinsHere
	}
	return flags
}

// opensWith reports whether a segment of the dialling end must still carry MP_CAPABLE: each without
// data, and each with the first octets, until the peer has shown that it received one.
func (f *subflow) opensWith(part tcp.Part) bool {
	id := &f.c.id
	if !f.c.client || f.join || id.confirmed {
		return false
	}
	if part.Len == 0 {
		// DATA_FIN and MP_FASTCLOSE cannot ride with MP_CAPABLE: they go behind it.
		return !f.opened || !f.c.fin.due(f) && !f.c.fin.fast
	}
	return part.Chunk.Off <= id.earlyOut
}

func (f *subflow) composeCapable(o *wire.Options, part tcp.Part, room int) {
	c := f.c
	m := wire.Capable{
		Length: 20, Version: 1, Flags: c.capableFlags(),
		Sender: c.id.localKey, Receiver: c.id.peerKey,
	}
	if part.Len > 0 {
		x := f.chunks.find(part.Chunk.Off)
		m.Length = 22
		m.DataLen = uint16(x.n - int(f.skip(x)))
		if c.id.checksum {
			m.Length = 24
			m.Checksum = f.checksum(x)
		}
	}
	if m.Len() <= room {
		o.Has |= wire.HasCapable
		o.Capable = m
		f.opened = true
	}
	if c.fin.fast {
		f.askSignal()
	}
}

func (f *subflow) composeJoinACK(now clock.Time, o *wire.Options, room int) {
	c := f.c
	if room < 24 {
		return
	}
	if f.cap {
		f.composeJoinCap(o)
	} else {
		o.Has |= wire.HasJoin
		o.Join = wire.Join{Length: 24, MAC: wire.JoinMAC(c.id.localKey, c.id.peerKey, f.nonce, f.peerNonce)}
	}
	f.acks++
	f.ackAt = now
	wait := f.state.RTO()
	if !f.cap {
		wait <<= min(f.acks-1, 6)
	}
	f.retryAt = now.Add(wait)
}

// composeInfinite adds the one infinite mapping that tells the peer of the fallback (RFC 8684 3.7).
// Octets repeat it until the first of them is acknowledged, and so does the FIN. MP_FAIL that has no room beside it
// comes after it.
func (f *subflow) composeInfinite(seg *wire.Segment, part tcp.Part, room int) {
	o, id, s := &seg.Options, &f.c.id, &f.c.fin
	if !id.mptcp {
		return
	}
	if s.infinite && (!s.mapGone || part.Len > 0 || seg.Flags&wire.FIN != 0) {
		d := wire.DSS{HasMap: true, Map64: true, HasChecksum: id.checksum}
		d.DSN = f.c.outDSN(s.mapFrom)
		d.SSN = f.ssnOut(s.mapFrom)
		if room < d.Len() {
			return
		}
		s.mapGone = true
		o.Has |= wire.HasDSS
		o.DSS = d
		room -= d.Len()
	}
	switch {
	case !f.hasFail:
	case room >= wire.FailLen:
		o.Has |= wire.HasFail
		o.FailDSN = f.failDSN
		f.hasFail = false
	default:
		f.tcp.Ack(1)
	}
}

// composeDSS adds DATA_ACK and mapping (RFC 8684 3.3).
func (f *subflow) composeDSS(now clock.Time, o *wire.Options, part tcp.Part, room int) {
	c := f.c
	var d wire.DSS
	var x *chunk
	if part.Len > 0 {
		x = f.chunks.find(part.Chunk.Off)
	}
	switch {
	case x != nil && (part.Off <= part.Chunk.Off+f.skip(x) || part.Again || !f.mapped):
		f.mapChunk(&d, x)
	case part.Len == 0 && c.fin.due(f):
		c.mapEnd(&d)
	}
	// A segment inside a mapping needs no option at all; leaving it out keeps segments full.
	if part.Len == 0 || d.HasMap {
		d.HasAck = true
		d.Ack64 = f.wide || c.b.cfg.Wide
		d.Ack = c.dataAck()
	}
	if d.Len() > room && d.HasMap {
		d.HasAck = false
	}
	if d.Len() > room {
		d.HasMap, d.HasAck = false, true
	}
	if d.Len() > room {
		d.Ack64 = false
	}
	if n := d.Len(); n > room || n <= 4 {
		return
	}
	if d.Fin && d.HasMap {
		c.fin.sent(now, c)
		if x == nil {
			f.ends++
		}
	}
	o.Has |= wire.HasDSS
	o.DSS = d
}

// mapChunk fills in the mapping of x. Octets that rode in the SYN are before the data sequence
// space and have no mapping (RFC 8684 B).
func (f *subflow) mapChunk(d *wire.DSS, x *chunk) {
	c := f.c
	skip := f.skip(x)
	d.HasMap, d.Map64 = true, c.b.cfg.Wide
	d.DSN = c.outDSN(x.at + skip)
	d.SSN = f.ssnOut(x.off + skip)
	d.DataLen = uint16(x.n - int(skip))
	if x.fin {
		d.Fin = true
		d.DataLen++
	}
	if c.id.checksum {
		d.HasChecksum = true
		d.Checksum = f.checksum(x)
	}
}

// skip returns how many octets at the start of x went with the SYN.
func (f *subflow) skip(x *chunk) uint64 {
	if early := f.earlyOut(); x.off < early {
		return min(early-x.off, uint64(x.n))
	}
	return 0
}

// checksum returns the checksum of the mapping of x (RFC 8684 3.3.1), computed once.
func (f *subflow) checksum(x *chunk) uint16 {
	if x.summed {
		return x.sum
	}
	c := f.c
	skip := f.skip(x)
	var sum wire.Sum
	buf := c.b.scratch[:]
	for at, end := x.at+skip, x.at+uint64(x.n); at < end; {
		n := min(end-at, uint64(len(buf)))
		c.out.fetch(at, buf[:n])
		sum.Add(buf[:n])
		at += n
	}
	n := uint16(x.n - int(skip))
	if x.fin {
		n++
	}
	x.sum = wire.ChecksumDSS(c.outDSN(x.at+skip), f.ssnOut(x.off+skip), n, sum)
	x.summed = true
	return x.sum
}

// mapEnd fills in the mapping of DATA_FIN alone (RFC 8684 3.3.3).
func (c *Conn) mapEnd(d *wire.DSS) {
	d.HasMap, d.Map64 = true, c.b.cfg.Wide
	d.Fin = true
	d.DSN = c.outDSN(c.fin.pos)
	d.SSN = 0
	d.DataLen = 1
	if c.id.checksum {
		d.HasChecksum = true
		d.Checksum = wire.ChecksumDSS(d.DSN, 0, 1, wire.Sum{})
	}
}

// mappingLen returns how long the options of the first segment of a chunk are.
func (f *subflow) mappingLen() int {
	if f.opens() {
		return 24
	}
	wide := f.c.b.cfg.Wide
	d := wire.DSS{
		HasAck: true, Ack64: f.wide || wide,
		HasMap: true, Map64: wide,
		HasChecksum: f.c.id.checksum,
	}
	return d.Len()
}

// outDSN returns the data sequence number of a position of the outgoing stream.
func (c *Conn) outDSN(pos uint64) wire.DSN {
	return c.id.localIDSN + 1 + wire.DSN(pos-c.id.earlyOut)
}

// inPos returns the position in the incoming stream of a data sequence number.
func (c *Conn) inPos(dsn wire.DSN) uint64 {
	return c.id.earlyIn + uint64(dsn-c.id.peerIDSN-1)
}

// dataAck returns the DATA_ACK: the next number this end expects.
func (c *Conn) dataAck() wire.DSN {
	ack := c.id.peerIDSN + 1 + wire.DSN(max(c.in.readable.Load(), c.id.earlyIn)-c.id.earlyIn)
	if c.rcv.finished {
		ack++
	}
	return ack
}

// ssnOut returns the subflow sequence number of the octet at off of the outgoing subflow: the first
// after the SYN's own octets is 1 (RFC 8684 3.3.1, B).
func (f *subflow) ssnOut(off uint64) uint32 {
	return uint32(off - f.earlyOut() + 1)
}

// ssnIn is ssnOut for the other direction.
func (f *subflow) ssnIn(off uint64) uint32 {
	return uint32(off - f.earlyIn() + 1)
}

// earlyOut is how many octets went with the subflow's SYN, earlyIn how many came with it.
func (f *subflow) earlyOut() uint64 {
	switch {
	case !f.join:
		return f.c.id.earlyOut
	case f.cap && f.active:
		return uint64(f.tcp.Early())
	}
	return 0
}

func (f *subflow) earlyIn() uint64 {
	switch {
	case !f.join:
		return f.c.id.earlyIn
	case f.cap && !f.active:
		return uint64(f.tcp.Early())
	}
	return 0
}

// offIn returns the place in the incoming subflow of a subflow sequence number near what came last.
func (f *subflow) offIn(ssn uint32) uint64 {
	next := f.tcp.Received()
	return next + uint64(int64(int32(ssn-f.ssnIn(next))))
}
