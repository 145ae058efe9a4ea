package tcp

import (
	"tandem/engine/clock"
	"tandem/engine/path"
	"tandem/engine/wire"
)

// Transmit writes the next packet that may leave now into buf, which holds the path's MTU, and returns it: resets,
// handshake, retransmissions, pushed data, FIN, then a pure acknowledgement if one is due.
func (s *Subflow) Transmit(now clock.Time, buf []byte) (pkt []byte, ok bool) {
	switch {
	case s.end.reset:
		pkt = s.transmitReset(now, buf)
	case s.state == Closed:
	case s.handshake.due:
		pkt = s.transmitSyn(now, buf)
	case s.handshake.tries == 0:
	case s.ack.asked > 0 && s.synchronized():
		s.ack.asked--
		pkt = s.transmitAck(now, buf)
	case s.maySend():
		pkt = s.transmitText(now, buf)
	}
	if pkt == nil && s.synchronized() {
		pkt = s.transmitProbe(now, buf)
	}
	if pkt == nil && (s.ack.due || s.ack.owed > 0) && s.synchronized() {
		pkt = s.transmitAck(now, buf)
	}
	return pkt, pkt != nil
}

func (s *Subflow) transmitText(now clock.Time, buf []byte) []byte {
	if pkt := s.transmitLost(now, buf); pkt != nil {
		return pkt
	}
	if pkt := s.transmitTail(now, buf); pkt != nil {
		return pkt
	}
	return s.transmitNew(now, buf, false)
}

// mayLeave reports whether the path lets a packet go.
func (s *Subflow) mayLeave(now clock.Time) bool { return s.loss.allow > 0 || s.pathRoom(now) > 0 }

// pathRoom is the path's room. With nothing in flight there is room for one packet, whatever the window:
// without one no acknowledgement would ever come.
func (s *Subflow) pathRoom(now clock.Time) int {
	room := s.path.Room(now)
	if room <= 0 && s.path.Inflight() == 0 && s.path.NextSend() <= now {
		return s.packetMax()
	}
	return room
}

func (s *Subflow) transmitLost(now clock.Time, buf []byte) []byte {
	if s.snd.flight.lost.n == 0 || !s.mayLeave(now) {
		return nil
	}
	return s.retransmit(now, buf, s.snd.flight.lost.first)
}

// retransmit writes a record again, or its beginning if packets have become smaller since.
func (s *Subflow) retransmit(now clock.Time, buf []byte, id uint32) []byte {
	f := &s.snd.flight
	p := f.get(id).part()
	seg := s.begin(now, wire.ACK)
	seg.Seq = s.snd.seq(p.Off)
	s.stamp(now, &seg.Options)
	room, limit := s.roomFor(seg), min(s.packetMax(), cap(buf))
	whole := f.get(id).fate != lost // a probe of the tail leaves as it was
	if whole {
		room = min(room, (limit-s.headers()-p.Len)&^3-seg.Options.Len())
	}
	if room < 0 {
		return nil
	}
	if f.get(id).fin {
		seg.Flags |= wire.FIN
	}
	s.owner.Compose(now, s, seg, p, room)
	if n := max(1, limit-seg.HeaderLen()); n < p.Len {
		if whole {
			return nil
		}
		p.Len = n
		id = f.split(id, n)
		seg.Flags &^= wire.FIN
	}
	r := f.get(id)
	s.ecn.mark(seg, false)
	pkt := s.write(seg, buf, p)
	if r.sent < 255 {
		r.sent++
	}
	s.stats.Retransmits++
	if s.loss.active && !whole {
		s.loss.noteResent(span{r.off, r.end()})
	}
	s.depart(now, id, len(pkt))
	return pkt
}

// transmitNew writes the next octets that were pushed. always: though the path has no room.
func (s *Subflow) transmitNew(now clock.Time, buf []byte, always bool) []byte {
	p, ok := s.snd.queue.next(s.snd.nxt)
	if !ok {
		return s.transmitFin(now, buf)
	}
	seg := s.begin(now, wire.ACK)
	seg.Seq = s.snd.seq(p.Off)
	s.stamp(now, &seg.Options)
	limit, usable := min(s.packetMax(), cap(buf)), s.snd.usable()
	if s.windowBlocked(min(p.Len, max(1, limit-seg.HeaderLen())), usable) {
		s.armPersist(now)
		return nil
	}
	if !always && !s.mayLeave(now) {
		return nil
	}
	p.Len = min(p.Len, usable)
	probe := s.probeSize(now, p.Len, cap(buf))
	limit = max(limit, probe)
	rest := p.Len
	p.Len = min(rest, max(1, limit-seg.HeaderLen()))
	s.owner.Compose(now, s, seg, p, s.roomFor(seg))
	p.Len = min(rest, max(1, limit-seg.HeaderLen()))
	s.snd.options = seg.HeaderLen() - s.headers()
	return s.sendNew(now, buf, seg, p, probe)
}

// sendNew writes a segment with new data and takes it into the books.
func (s *Subflow) sendNew(now clock.Time, buf []byte, seg *wire.Segment, p Part, probe int) []byte {
	d := &s.snd
	last := p.Off+uint64(p.Len) == d.queue.end
	fin := last && s.end.closing
	if fin {
		seg.Flags |= wire.FIN
		s.end.finSent = true
	}
	if last {
		seg.Flags |= wire.PSH
	}
	s.ecn.mark(seg, true)
	pkt := s.write(seg, buf, p)
	r := newRecord(p, fin)
	r.probe, r.sent = len(pkt) == probe, 1
	id := d.flight.push(r)
	d.nxt = r.end()
	d.queue.sent(p.Off + uint64(p.Len))
	s.probe.override = false
	s.stats.OctetsOut += uint64(p.Len)
	s.depart(now, id, len(pkt))
	return pkt
}

// transmitFin writes a FIN of its own.
func (s *Subflow) transmitFin(now clock.Time, buf []byte) []byte {
	if !s.end.closing || s.end.finSent || s.state == SynReceived {
		return nil
	}
	p := Part{Off: s.snd.nxt}
	seg := s.begin(now, wire.ACK|wire.FIN)
	seg.Seq = s.snd.seq(p.Off)
	s.stamp(now, &seg.Options)
	s.owner.Compose(now, s, seg, p, s.roomFor(seg))
	pkt := s.write(seg, buf, p)
	p.Chunk.Off = p.Off
	r := newRecord(p, true)
	r.sent = 1
	id := s.snd.flight.push(r)
	s.snd.nxt++
	s.end.finSent = true
	s.depart(now, id, 0)
	return pkt
}

// depart takes a record that has just left into the books: the path's, if it has data, and the timers'.
func (s *Subflow) depart(now clock.Time, id uint32, size int) {
	f, l := &s.snd.flight, &s.loss
	r := f.get(id)
	if r.n == 0 {
		r.stamp, r.size = path.Stamp{SentAt: now}, 0
	} else {
		r.stamp, r.size = s.path.Sent(now, size), uint16(size)
		s.snd.inPath += size
	}
	f.settle(id, inAir)
	if l.allow > 0 {
		l.allow--
	}
	if s.timer.retransmit == clock.Never || id == f.head {
		s.armRetransmit(now) // the time in which a lost one waited for its turn says nothing (RFC 6675 6)
	}
	if r.sent == 1 {
		s.armTail(now)
	}
}

// left is SND.NXT, but that octets of the SYN which were not taken have not left.
func (s *Subflow) left() uint64 {
	if f := &s.snd.flight; f.len() > 0 {
		if r := f.get(f.head); r.fate == lost && r.sent == 0 {
			return r.off
		}
	}
	return s.snd.nxt
}

// transmitAck writes a segment that carries nothing.
func (s *Subflow) transmitAck(now clock.Time, buf []byte) []byte {
	p := Part{Off: s.left()}
	seg := s.begin(now, wire.ACK)
	seg.Seq = s.snd.seq(p.Off)
	s.stamp(now, &seg.Options)
	room := s.roomFor(seg)
	if s.rcv.hasNews() && !s.cfg.NoSACK {
		room -= wire.SACKLen(1)
	}
	s.owner.Compose(now, s, seg, p, room)
	s.sackBlocks(&seg.Options)
	s.ecn.mark(seg, false)
	pkt := s.write(seg, buf, p)
	s.ack.due = false
	return pkt
}
