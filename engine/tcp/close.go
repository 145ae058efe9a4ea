package tcp

import (
	"tandem/engine/clock"
	"tandem/engine/wire"
)

// ending is the end of a subflow, orderly or not.
//
//	Established ─Close─► FinWait1 ─ACK of FIN─► FinWait2 ─FIN─► TimeWait ─► Closed
//	     │                  └──FIN──► Closing ──ACK of FIN──────►┘
//	     └─FIN─► CloseWait ─Close─► LastAck ─ACK of FIN─► Closed
type ending struct {
	closing   bool // Close was called
	abandoned bool // Abandon was
	finSent   bool
	reset     bool // an RST is to leave
	seq       wire.Seq
	ack       wire.Seq
	flags     wire.Flags // of the RST
}

// Close sends a FIN after everything pushed. What never began ends at once (RFC 9293 3.10.4).
func (s *Subflow) Close(now clock.Time) {
	if s.end.closing || s.state == Closed {
		return
	}
	s.end.closing = true
	switch s.state {
	case Established:
		s.state = FinWait1
	case CloseWait:
		s.state = LastAck
	case SynSent:
		if s.handshake.tries == 0 && s.snd.queue.end == 0 {
			s.Drop(now)
		}
	}
}

// Abandon is Close by an owner that reads no more: once our FIN is acknowledged the peer's is awaited
// no longer than TIME-WAIT lasts, for it may never come.
func (s *Subflow) Abandon(now clock.Time) {
	s.Close(now)
	if !s.end.abandoned && s.state == FinWait2 {
		s.awaitFin(now)
	}
	s.end.abandoned = true
}

// awaitFin bounds FIN-WAIT-2.
func (s *Subflow) awaitFin(now clock.Time) { s.timer.timeWait = now.Add(s.cfg.TimeWait) }

// Reset ends the subflow at once with an RST, which Compose may adorn.
func (s *Subflow) Reset(now clock.Time) {
	if s.state == Closed {
		return
	}
	e := &s.end
	switch {
	case s.state == SynSent && s.handshake.tries > 0:
		// The peer may hold the SYN for long before it answers; this ends its wait.
		e.reset, e.flags = true, wire.RST
		e.seq, e.ack = s.snd.seq(uint64(s.handshake.fitted)), 0
	case s.state == SynSent, s.state == TimeWait:
		e.reset = false // the peer knows of nothing (RFC 9293 3.10.5)
	case s.state == SynReceived && s.handshake.tries == 0:
		// As a closed port answers (RFC 9293 3.10.7.1).
		e.reset, e.flags = true, wire.RST|wire.ACK
		e.seq, e.ack = 0, s.rcv.seq(max(s.rcv.nxt, uint64(s.handshake.fitted)))
	default:
		e.reset, e.flags = true, wire.RST|wire.ACK
		e.seq, e.ack = s.snd.seq(s.snd.nxt), s.rcv.seq(s.rcv.nxt)
	}
	s.release(ErrAborted)
}

// Drop ends the subflow at once and in silence: its address is gone.
func (s *Subflow) Drop(now clock.Time) {
	if s.state != Closed {
		s.end.reset = false
		s.release(ErrAborted)
	}
}

// answer has an RST leave for a segment that acknowledges what was never sent (RFC 9293 3.10.7.3).
func (e *ending) answer(seg *wire.Segment) {
	e.reset, e.flags, e.seq, e.ack = true, wire.RST, seg.Ack, 0
}

// finish ends the subflow and tells the owner.
func (s *Subflow) finish(now clock.Time, err error) {
	s.release(err)
	s.owner.Changed(now, s)
}

// release gives up everything but the RST that may have to leave.
func (s *Subflow) release(err error) {
	s.state, s.err = Closed, err
	s.timer.stop()
	s.path.Forget(s.snd.inPath)
	s.snd.inPath = 0
	s.rcv.have = nil
	s.handshake.due, s.probe.due, s.tlp.due = false, false, false
}

// finAcked reports whether the peer has acknowledged our FIN.
func (s *Subflow) finAcked() bool { return s.end.finSent && s.snd.una == s.snd.nxt }

// closeStep is what the acknowledgement of our FIN does (RFC 9293 3.10.7.4, fifth step).
func (s *Subflow) closeStep(now clock.Time) {
	if !s.finAcked() {
		return
	}
	switch s.state {
	case FinWait1:
		if s.end.abandoned {
			s.awaitFin(now)
		}
		s.become(now, FinWait2)
	case Closing:
		s.enterTimeWait(now)
	case LastAck:
		s.finish(now, nil)
	}
}

func (s *Subflow) enterTimeWait(now clock.Time) {
	s.timer.stop()
	if s.snd.flight.len() == 0 {
		s.giveBack()
	}
	s.timer.timeWait = now.Add(s.cfg.TimeWait)
	s.become(now, TimeWait)
}

// transmitReset writes the one RST.
func (s *Subflow) transmitReset(now clock.Time, buf []byte) []byte {
	e := &s.end
	e.reset = false
	seg := s.begin(now, e.flags)
	seg.Seq, seg.Ack = e.seq, e.ack
	if e.flags&wire.ACK != 0 && s.handshake.tries > 0 {
		s.stamp(now, &seg.Options) // RFC 7323 3.2
	}
	p := Part{Off: s.snd.nxt}
	s.owner.Compose(now, s, seg, p, s.roomFor(seg))
	return s.write(seg, buf, p)
}
