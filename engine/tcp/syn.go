package tcp

import (
	"tandem/engine/clock"
	"tandem/engine/wire"
)

// transmitSyn writes the SYN or SYN/ACK. Repeats are equal to the first, but that late ones carry no data.
func (s *Subflow) transmitSyn(now clock.Time, buf []byte) []byte {
	h := &s.handshake
	h.due = false
	if h.tries == 0 {
		h.sentAt, h.tsVal = now, millis(now)
	}
	if h.tries < 255 {
		h.tries++
	}
	seg := s.begin(now, wire.SYN)
	seg.Seq = s.snd.iss
	if s.state == SynReceived {
		seg.Flags |= wire.ACK
		seg.Ack = s.rcv.seq(s.rcv.nxt)
	}
	s.synECN(seg)
	s.synOptions(seg)
	part := s.synPart(seg)
	s.owner.Compose(now, s, seg, part, s.roomFor(seg))
	part.Len = min(part.Len, s.packetMax()-seg.HeaderLen())
	s.holdEarly(part)
	if s.mayBegin(seg, part) {
		seg.Window = s.rcv.fastWindow(s)
	} else {
		seg.Window = s.rcv.synWindow(s)
	}
	if s.timer.retransmit == clock.Never { // a repeat that the peer provoked puts nothing off
		s.timer.retransmit = now.Add(s.synTimeout())
	}
	return s.write(seg, buf, part)
}

func (s *Subflow) synECN(seg *wire.Segment) {
	switch {
	case s.state == SynSent && s.cfg.ECN:
		seg.Flags |= wire.ECE | wire.CWR
	case s.ecn.on:
		seg.Flags |= wire.ECE
	}
}

func (s *Subflow) synOptions(seg *wire.Segment) {
	o := &seg.Options
	o.Has = wire.HasMSS
	o.MSS = s.announcedMSS()
	if s.state == SynSent || s.cfg.WindowScale > 0 {
		o.Has |= wire.HasWindowScale
		o.WindowScale = s.cfg.WindowScale
	}
	if !s.cfg.NoSACK {
		o.Has |= wire.HasSACKPermitted
	}
	if s.cfg.Timestamps {
		o.Has |= wire.HasTimestamps
		o.TSVal, o.TSEcr = s.handshake.tsVal, s.ts.recent
	}
	if s.fastOpens() {
		o.Has |= wire.HasFastOpen
		o.Cookie = s.cfg.Cookie
	}
}

// fastOpens reports whether the SYN or SYN/ACK has the option of RFC 7413: a cookie goes with data only, and only
// the first SYN has any, for something on the way may drop what it does not know.
func (s *Subflow) fastOpens() bool {
	switch h := &s.handshake; {
	case !h.active:
		return s.cfg.Cookie.Len > 0
	case s.state != SynSent || h.tries > 1:
		return false
	}
	return s.cfg.AskCookie || s.cfg.Cookie.Len > 0 && s.snd.queue.end > 0
}

// foreign reports whether the other end may be a stranger: one's own answers when somebody else has answered it, and
// knows every SYN of an offer.
func (s *Subflow) foreign() bool {
	return s.cfg.Stranger || !s.cfg.Early || s.cfg.AskCookie || s.cfg.Cookie.Len > 0
}

// mayBegin reports whether a stranger may begin the connection with this SYN, before the third ACK (RFC 7413 3). Who wants no
// cookies does so for a request for one, too.
func (s *Subflow) mayBegin(seg *wire.Segment, part Part) bool {
	return s.state == SynSent && s.foreign() && (part.Len > 0 || seg.Options.Has&wire.HasFastOpen != 0)
}

// synFullTries is how many SYNs carry data, of those to strangers one: a path or a peer that drops them may pass one
// without (RFC 7413 4.2.2). The octets then go when the handshake is over.
const synFullTries = 3

// synPart returns the octets that may ride in the SYN: those that did, else the first chunk's.
func (s *Subflow) synPart(seg *wire.Segment) Part {
	f := &s.snd.flight
	switch {
	case s.state != SynSent || !s.cfg.Early:
		return Part{Off: s.snd.nxt}
	case s.handshake.tries > synFullTries, s.handshake.tries > 1 && s.foreign():
		return Part{}
	case f.len() > 0:
		p := f.get(f.head).part()
		p.Again = true
		return p
	case s.handshake.tries > 1:
		return Part{}
	}
	p, _ := s.snd.queue.next(0)
	p.Len = min(p.Len, s.packetMax()-seg.HeaderLen())
	return p
}

// holdEarly keeps the record of the octets in the first SYN.
func (s *Subflow) holdEarly(p Part) {
	if p.Len <= 0 || p.Again || s.state != SynSent {
		return
	}
	s.snd.flight.push(newRecord(p, false))
	s.snd.nxt = uint64(p.Len)
	s.snd.queue.sent(s.snd.nxt)
	s.handshake.fitted = uint32(p.Len)
	s.stats.OctetsOut += uint64(p.Len)
}
