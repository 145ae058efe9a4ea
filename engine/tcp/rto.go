package tcp

import (
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// recovery is what is going on about lost segments.
type recovery struct {
	active  bool
	telling bool   // the path waits for Done
	recover uint64 // nxt when it began
	resent  spans  // what was sent again since then
	again   int    // retransmissions that no duplicate was reported for
	octets  int    // told lost
	allow   uint8  // segments that may leave whatever the path's room is
	backoff uint8
	fired   uint8 // timeouts in a row
	dupAcks int
	frto    uint8  // RFC 5682: 0 no doubt, 1 and 2 its steps
	doubted uint32 // timestamp when the doubt began
}

// rtoMax is the longest wait (RFC 6298 2.5).
const rtoMax = time.Minute

// enterRecovery begins a recovery unless one is under way (RFC 6675 5).
func (s *Subflow) enterRecovery() {
	l := &s.loss
	if l.active {
		return
	}
	l.active, l.recover = true, s.snd.nxt
	l.again, l.octets, l.resent = 0, 0, l.resent[:0]
	l.allow = 1
	s.timer.tail = clock.Never
}

// noteResent keeps what was sent again in a recovery: duplicates of nothing else tell anything about it.
func (l *recovery) noteResent(p span) {
	l.again++
	if len(l.resent) < rangesMax || !l.resent.grows(p) {
		l.resent.add(p)
	}
}

// rto is the retransmission timeout with its backoff (RFC 6298 5.5).
func (s *Subflow) rto() time.Duration {
	return min(s.path.RTO()<<min(s.loss.backoff, 10), rtoMax)
}

// armRetransmit restarts the timer while something is outstanding (RFC 6298 5.1 to 5.3).
func (s *Subflow) armRetransmit(now clock.Time) {
	if s.state == SynSent || s.state == SynReceived {
		return
	}
	s.timer.retransmit = clock.Never
	if s.snd.flight.len() > 0 {
		s.timer.retransmit = now.Add(s.rto())
		if s.cfg.UserTimeout > 0 && s.loss.fired > 0 {
			s.timer.retransmit = min(s.timer.retransmit, s.desk.silent.Add(s.cfg.UserTimeout))
		}
	}
}

// exhausted reports whether the peer has been silent for too long.
func (s *Subflow) exhausted(now clock.Time) bool {
	if s.cfg.UserTimeout > 0 {
		return now >= s.desk.silent.Add(s.cfg.UserTimeout)
	}
	return int(s.loss.fired) >= s.cfg.Retries
}

// onRetransmitTimer is RFC 6298 5.4 to 5.6.
func (s *Subflow) onRetransmitTimer(now clock.Time) {
	if s.state == SynSent || s.state == SynReceived {
		s.onSynTimer(now)
		return
	}
	f, l := &s.snd.flight, &s.loss
	if f.len() == 0 {
		return
	}
	if l.fired == 0 {
		s.desk.silent = f.get(f.head).stamp.SentAt
	}
	if s.exhausted(now) {
		s.finish(now, ErrTimeout)
		return
	}
	if l.fired < 255 {
		l.fired++
	}
	l.backoff = min(l.backoff+1, 16)
	s.stats.Timeouts++
	if f.get(f.head).fate == sacked {
		s.renege()
	}
	s.tailLost(now)
	if r := f.get(f.head); r.fate == inAir && r.size > 0 {
		s.path.Timeout(now, r.stamp)
	}
	s.suspectMTU(now)
	doubt := l.fired == 1 && !l.active && f.lost.n == 0
	l.active = false
	s.enterRecovery()
	if l.frto = 0; doubt {
		s.lose(now, f.head)
		l.frto, l.doubted = 1, millis(now)
	} else {
		s.loseAll(now)
	}
	l.allow = 1
	s.timer.reorder, s.timer.tail = clock.Never, clock.Never
	s.told(now)
	s.armRetransmit(now)
}

// loseAll judges lost whatever is in the air, and has all be sent again in order.
func (s *Subflow) loseAll(now clock.Time) {
	f := &s.snd.flight
	for id := f.head; id != f.tail; id++ {
		if f.get(id).fate == inAir {
			s.lose(now, id)
		}
	}
	f.sortLost()
}

// judgeTimeout finds out whether the timeout was spurious (RFC 5682 3): after it only the first segment was
// sent again, so the acknowledgement of another is of its first copy. Without SACK the first
// acknowledgement may speak of what had arrived behind a hole, and proves nothing.
//
//	timeout ─► 1 ──all acknowledged──► 0
//	           ├──others arrived─────► 0, spurious
//	           ├──only the first─────► 2 ──others arrived──► 0, spurious
//	           └──nothing new────────► 0  ◄──else── 2      (0: the rest is lost)
func (s *Subflow) judgeTimeout(now clock.Time, seg *wire.Segment, d *delivery, advanced bool) {
	l := &s.loss
	switch {
	case l.frto == 0 || !advanced && !d.any && !d.nothing:
	case advanced && l.frto == 1 && s.echoesBefore(seg, l.doubted):
		s.timeoutSpurious(now)
	case advanced && s.snd.una >= l.recover:
		l.frto = 0
	case d.original && !(s.cfg.NoSACK && l.frto == 1):
		s.timeoutSpurious(now)
	case l.frto == 1 && advanced && s.Queued() > 0 && s.snd.usable() > 0:
		l.frto, l.allow = 2, 2
	default:
		l.frto = 0
		s.loseAll(now)
	}
}

// timeoutSpurious takes the timeout back.
func (s *Subflow) timeoutSpurious(now clock.Time) {
	l := &s.loss
	l.frto, l.active = 0, false
	s.stats.Spurious++
	s.path.Spurious(now, l.octets)
	l.octets = 0
}
