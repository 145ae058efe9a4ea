package tcp

import (
	"time"

	"tandem/engine/clock"
)

// ackPolicy decides when acknowledgements leave (RFC 9293 3.8.6.3, RFC 5681 4.2).
type ackPolicy struct {
	due          bool
	owed         int // that leave even if one would do
	pending      int // octets in order since the last one
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

// Ack has an acknowledgement leave, so that options get out, even if none is due. n counts how many (each goes through Compose).
func (s *Subflow) Ack(n int) {
	if s.state != Closed {
		s.ack.owed = min(max(s.ack.owed, n), ackOwedMax)
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
