package tcp

import (
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// receiver is the incoming half. Its numbers are offsets like the sender's; the FIN counts one.
type receiver struct {
	irs    wire.Seq
	scale  uint8  // of our windows
	hasFin bool   // the stream's end is known
	ended  bool   // and reached
	nxt    uint64 // RCV.NXT
	edge   uint64 // what was offered ends here: nothing beyond is taken
	told   uint64 // and as last announced here, which a shared window may have moved left
	wndMax int    // largest window ever offered
	have   spans  // what came beyond nxt
	recent [3]uint64
	twice  span // came again, to be told (RFC 2883)
	fin    uint64
	mss    int // largest payload that came
}

// rangesMax bounds what is remembered of octets out of order: enough for the holes of a bad path, and a
// kilobyte at most.
const rangesMax = 64

func (r *receiver) seq(off uint64) wire.Seq { return r.irs.Add(1) + wire.Seq(off) }

// offset returns the offset of a sequence number near nxt; -1 is the SYN.
func (r *receiver) offset(q wire.Seq) int64 { return int64(r.nxt) + int64(q.Sub(r.seq(r.nxt))) }

// Receive takes a segment for this subflow. It keeps nothing of it.
func (s *Subflow) Receive(now clock.Time, seg *wire.Segment) {
	s.stats.SegmentsIn++
	switch {
	case s.state == Closed:
		return
	case s.state == SynSent:
		s.receiveSynSent(now, seg)
		return
	case s.state == SynReceived && !s.handshake.answered:
		s.receiveUnanswered(now, seg)
		return
	}
	left := s.rcv.offset(seg.Seq)
	if s.state == SynReceived && left == -1 && seg.Flags&(wire.SYN|wire.RST) == wire.SYN {
		s.receiveSynAgain(now, seg)
		return
	}
	if s.supersedes(seg) {
		s.state = SynSent
		s.unmeet()
		s.receiveSynSent(now, seg)
		return
	}
	if !s.acceptable(now, seg, left) {
		s.stats.Dropped++
		return
	}
	s.heardFrom(now)
	s.hearClock(now, seg)
	s.timed(now, seg)
	if s.ts.note(now, seg, left, s); s.state == SynReceived {
		s.receiveThird(now, seg, left)
		return
	}
	if !s.owner.Signals(now, s, seg) || s.state == Closed {
		return
	}
	s.acknowledge(now, seg, s.snd.acked(seg))
	if s.state != Closed {
		s.receiveText(now, seg, left)
	}
}

// heardFrom notes that the peer is there.
func (s *Subflow) heardFrom(now clock.Time) {
	s.heard = now
	s.path.Heard(now)
	s.probe.unanswered = 0
	if s.timer.keepalive != clock.Never {
		s.armKeepalive(now)
	}
}

// receiveUnanswered is SYN-RECEIVED before the owner has decided: only a reset counts.
func (s *Subflow) receiveUnanswered(now clock.Time, seg *wire.Segment) {
	if left := s.rcv.offset(seg.Seq); seg.Flags&wire.RST != 0 && (left == int64(s.rcv.nxt) || left == int64(s.handshake.fitted)) {
		s.finish(now, ErrReset)
	}
}

// receiveSynAgain is a repeated SYN, or the SYN/ACK of a simultaneous open (RFC 9293 3.5).
func (s *Subflow) receiveSynAgain(now clock.Time, seg *wire.Segment) {
	acked := s.snd.offset(seg.Ack)
	if seg.Flags&wire.ACK == 0 {
		s.handshake.due = true
		return
	}
	if acked < 0 || acked > int64(s.snd.nxt) || !s.owner.Signals(now, s, seg) || s.state == Closed {
		return
	}
	s.ack.due = true
	s.establish(now, seg, s.snd.acked(seg))
}

// supersedes reports whether seg answers our SYN, though a SYN that seemed to have crossed it had another
// number: anybody could have sent that one, but only the peer knows ours.
func (s *Subflow) supersedes(seg *wire.Segment) bool {
	acked := s.snd.offset(seg.Ack)
	return s.state == SynReceived && s.handshake.active && seg.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN|wire.ACK &&
		acked >= 0 && acked <= int64(s.snd.nxt)
}

// receiveThird is a segment in SYN-RECEIVED: the ACK that ends the handshake.
func (s *Subflow) receiveThird(now clock.Time, seg *wire.Segment, left int64) {
	if s.handshake.tries == 0 {
		return // acknowledges what did not leave
	}
	if !s.owner.Signals(now, s, seg) || s.state == Closed {
		return
	}
	s.establish(now, seg, s.snd.acked(seg))
	if s.state != Closed {
		s.receiveText(now, seg, left)
	}
}

// acceptable makes the checks of RFC 9293 3.10.7.4 up to the ACK field, with those of RFC 5961 and RFC
// 7323 5. left is the offset of SEG.SEQ.
func (s *Subflow) acceptable(now clock.Time, seg *wire.Segment, left int64) bool {
	if !s.ts.fresh(now, seg, s.cfg.Timestamps) {
		if seg.Options.Has&wire.HasTimestamps != 0 {
			s.ackUnacceptable(now, seg)
		}
		return false
	}
	if !s.rcv.inWindow(left, seg.Len()) {
		if seg.Flags&wire.RST == 0 {
			s.noteTwice(seg, left)
			s.ackUnacceptable(now, seg)
		}
		return false
	}
	switch {
	case seg.Flags&wire.RST != 0:
		s.receiveReset(now, seg, left)
		return false
	case seg.Flags&wire.SYN != 0:
		s.challenge(now)
		return false
	case seg.Flags&wire.ACK == 0:
		return false
	}
	return s.ackAcceptable(now, seg)
}

// inWindow is the first check (RFC 9293 3.10.7.4). An empty segment may lie at the very edge: its
// sender has used the window up. One at nxt is taken though the window be closed, for its ACK.
func (r *receiver) inWindow(left int64, n int) bool {
	nxt, edge := int64(r.nxt), int64(max(r.edge, r.nxt))
	if n == 0 {
		return nxt <= left && left <= edge
	}
	return left <= nxt && left+int64(n) > nxt || nxt < left && left < edge
}

// receiveReset is the second check, as RFC 5961 3.2 has it.
func (s *Subflow) receiveReset(now clock.Time, seg *wire.Segment, left int64) {
	if s.state == TimeWait {
		return // the last segments of both ends are yet to die out (RFC 1337 3)
	}
	if left != int64(s.rcv.nxt) {
		s.challenge(now)
		return
	}
	if !s.owner.Signals(now, s, seg) || s.state == Closed {
		return
	}
	switch {
	case s.state == SynReceived && s.handshake.active:
		s.finish(now, ErrRefused)
	case s.state == LastAck, s.state == Closing:
		s.finish(now, nil)
	default:
		s.finish(now, ErrReset)
	}
}

// ackAcceptable is the fifth check, as RFC 5961 5.2 has it.
func (s *Subflow) ackAcceptable(now clock.Time, seg *wire.Segment) bool {
	acked := s.snd.offset(seg.Ack)
	if s.state == SynReceived {
		if acked < 0 || acked > int64(s.snd.nxt) {
			s.end.answer(seg)
			return false
		}
		return true
	}
	if acked > int64(s.snd.nxt) || acked < int64(s.snd.una)-int64(s.snd.wndMax) {
		s.challenge(now)
		return false
	}
	return true
}

// challengesPerSecond bounds acknowledgements that anybody could provoke (RFC 5961 7).
const challengesPerSecond = 10

// challenge answers a doubtful segment with an acknowledgement: before the handshake is over, with SYN/ACK.
func (s *Subflow) challenge(now clock.Time) {
	a := &s.ack
	if now >= a.challengeEnd {
		a.challengeEnd, a.challenges = now.Add(time.Second), 0
	}
	if a.challenges < challengesPerSecond {
		a.challenges++
		s.ack.due = s.synchronized()
		s.handshake.due = s.state == SynReceived && s.handshake.answered
	}
}

// ackUnacceptable answers a segment outside the window: at once if it has data, which then came twice,
// else within bounds, so that two ends in disagreement do not acknowledge each other for ever.
func (s *Subflow) ackUnacceptable(now clock.Time, seg *wire.Segment) {
	if s.state == TimeWait && seg.Flags&wire.FIN != 0 {
		s.timer.timeWait = now.Add(s.cfg.TimeWait)
	}
	if len(seg.Payload) > 0 && s.synchronized() {
		s.ack.due = true
		return
	}
	s.challenge(now)
}
