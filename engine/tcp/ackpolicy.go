package tcp

import (
	"time"

	"tandem/engine/clock"
)

// ackPolicy decides when acknowledgements leave (RFC 9293 3.8.6.3, RFC 5681 4.2).
type ackPolicy struct {
	due          bool
	owed         int16 // that leave even if one would do
	asked        int16 // that the owner wants, before anything else leaves
	pending      int   // octets in order since the last one
	quick        uint8
	challenges   uint8
	challengeEnd clock.Time
}

const (
	quickAcks  = 16 // first segments, acknowledged at once so that the peer's window opens quickly
	ackOwedMax = 8
	delayMax   = 40 * time.Millisecond
	delayMin   = time.Millisecond
)

// Ack has n acknowledgements without data leave before anything else, so that options get out that
// need one. Calls do not add up. Compose of the last may ask for another.
func (s *Subflow) Ack(n int) {
	if s.state != Closed {
		s.ack.asked = max(s.ack.asked, int16(min(n, ackOwedMax)))
	}
}

// ackInOrder follows the arrival of n octets in order: every second full segment is acknowledged, and
// every one if it filled or left something.
func (s *Subflow) ackInOrder(now clock.Time, n int, plain bool) {
	a := &s.ack
	a.pending += n
	if a.quick > 0 {
		a.quick--
		a.due = true
	}
	if !plain || s.cfg.NoDelayAck || a.pending >= 2*s.rcv.mss {
		a.due = true
	}
	if !a.due && s.timer.ack == clock.Never {
		s.timer.ack = now.Add(s.ackDelay())
	}
}

// ackDelay is how long an acknowledgement may wait: a fraction of the round trip, for it is part of what the
// peer measures.
func (s *Subflow) ackDelay() time.Duration {
	smooth, _, _ := s.path.RTT()
	if smooth == 0 {
		return delayMax
	}
	return min(delayMax, max(smooth/4, delayMin))
}

// acked notes that a segment with ACK is about to leave. told: it says all that there is to say.
func (s *Subflow) acked(told bool) {
	s.ack.pending = 0
	s.timer.ack = clock.Never
	s.ack.owed = max(s.ack.owed-1, 0)
	s.ack.due = s.ack.due && !told
}
