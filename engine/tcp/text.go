package tcp

import (
	"tandem/engine/clock"
	"tandem/engine/wire"
)

// receiveText takes payload and FIN (RFC 9293 3.10.7.4, seventh and eighth step). left is the
// offset of SEG.SEQ, or of what follows a SYN.
func (s *Subflow) receiveText(now clock.Time, seg *wire.Segment, left int64) {
	r := &s.rcv
	s.ecn.arrived(seg, &s.ack)
	if len(seg.Payload) > 0 {
		r.mss = max(r.mss, len(seg.Payload))
		if !s.takeText(now, seg.Payload, left) {
			return
		}
	}
	if seg.Flags&wire.FIN != 0 && !r.hasFin {
		end := uint64(left + int64(len(seg.Payload)))
		if end > max(r.edge, r.nxt) || len(r.have) > 0 && r.have[len(r.have)-1].right > end {
			return // beyond the window, or before octets that came
		}
		r.fin, r.hasFin = end, true
		s.ack.due = true
	}
	if r.hasFin && !r.ended && r.nxt == r.fin {
		s.receiveFin(now)
	}
}

// takeText delivers what is new of p, and decides about its acknowledgement. It returns false if
// the segment shall be as if it had not come.
func (s *Subflow) takeText(now clock.Time, p []byte, left int64) bool {
	r := &s.rcv
	first := left
	if skip := int64(r.nxt) - left; skip > 0 {
		s.noteDuplicate(span{uint64(max(left, 0)), min(r.nxt, uint64(left+int64(len(p))))})
		if skip >= int64(len(p)) {
			s.ack.due = true
			return true
		}
		p, left = p[skip:], left+skip
	}
	g := span{uint64(left), min(uint64(left)+uint64(len(p)), r.edge)}
	if g.left >= g.right {
		s.ack.due = true // the window is closed
		return false
	}
	whole := g.right == uint64(left)+uint64(len(p))
	if r.hasFin && g.right > r.fin {
		return false
	}
	if g.left == r.nxt && len(r.have) == 0 {
		if !s.deliver(now, g, p) {
			return false
		}
		r.nxt = g.right
		s.ackInOrder(now, int(g.right-g.left), uint64(first) == g.left && whole)
		return whole
	}
	if g.left != r.nxt && len(r.have) >= rangesMax && r.have.grows(g) {
		return false
	}
	return s.takeGaps(now, p, g) && whole
}

// takeGaps delivers what is new of p, which lies at g, where something came out of order before.
func (s *Subflow) takeGaps(now clock.Time, p []byte, g span) bool {
	r := &s.rcv
	s.ack.due = true
	if s.cfg.NoSACK {
		s.ack.owed = min(s.ack.owed+1, ackOwedMax)
	}
	whole := true
	for at := g.left; at < g.right && whole; {
		n := r.have.gap(span{at, g.right})
		if n.left > at {
			s.noteDuplicate(span{at, min(n.left, g.right)})
		}
		if n.left < n.right {
			if whole = s.deliver(now, n, p[n.left-g.left:]); whole {
				r.have.add(n)
				r.remember(n.left)
			}
		}
		at = n.right
	}
	if len(r.have) > 0 && r.have[0].left <= r.nxt {
		r.nxt = r.have[0].right
		r.have.cut(r.nxt)
	}
	return whole && s.state != Closed
}

// deliver hands up the octets g, with which p begins.
func (s *Subflow) deliver(now clock.Time, g span, p []byte) bool {
	if !s.owner.Deliver(now, s, g.left, p[:g.right-g.left]) || s.state == Closed {
		return false
	}
	s.stats.OctetsIn += g.right - g.left
	return true
}

// remember keeps where the newest arrivals out of order were, for the order of the SACK blocks (RFC
// 2018 4).
func (r *receiver) remember(off uint64) {
	last := off
	for i := range r.recent {
		r.recent[i], last = last, r.recent[i]
		if last == off {
			break
		}
	}
}

// noteDuplicate keeps the first octets since the last acknowledgement that came twice (RFC 2883 4).
func (s *Subflow) noteDuplicate(p span) {
	if s.rcv.twice.left == s.rcv.twice.right {
		s.rcv.twice = p
	}
	s.ack.due = true
}

// noteTwice does so for a segment that lies before the window.
func (s *Subflow) noteTwice(seg *wire.Segment, left int64) {
	if n := len(seg.Payload); n > 0 && left >= 0 && uint64(left)+uint64(n) <= s.rcv.nxt {
		s.noteDuplicate(span{uint64(left), uint64(left) + uint64(n)})
	}
}

// receiveFin is the eighth step, when all before the FIN has come.
func (s *Subflow) receiveFin(now clock.Time) {
	s.rcv.nxt++
	s.rcv.ended = true
	s.rcv.edge = max(s.rcv.edge, s.rcv.nxt)
	s.ack.due = true
	switch s.state {
	case Established:
		s.become(now, CloseWait)
	case FinWait1:
		if s.finAcked() {
			s.enterTimeWait(now)
			return
		}
		s.become(now, Closing)
	case FinWait2:
		s.enterTimeWait(now)
	}
}
