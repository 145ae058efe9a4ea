package tcp

import (
	"time"

	"tandem/engine/clock"
)

// timers are the instants at which something falls due; Never if nothing will.
type timers struct {
	retransmit clock.Time // RFC 6298, and of SYN and SYN/ACK
	tail       clock.Time // tail loss probe, RFC 8985 7.2
	reorder    clock.Time // RFC 8985 6.2 step 5
	persist    clock.Time // RFC 9293 3.8.6.1
	ack        clock.Time // delayed acknowledgement
	keepalive  clock.Time
	timeWait   clock.Time // also of FIN-WAIT-2 that was abandoned
	idle       clock.Time // storage is given back unless it is in use
}

// idleAfter is how long an idle subflow keeps its storage.
const idleAfter = time.Second

// stop disarms all.
func (t *timers) stop() {
	*t = timers{
		retransmit: clock.Never, tail: clock.Never, reorder: clock.Never, persist: clock.Never,
		ack: clock.Never, keepalive: clock.Never, timeWait: clock.Never, idle: clock.Never,
	}
}

// Deadline returns when Advance must next be called. Waiting for pacing or window is not part of
// it: who drives Transmit asks the path.
func (s *Subflow) Deadline() clock.Time {
	t := &s.timer
	return min(t.retransmit, t.tail, t.reorder, t.persist, t.ack, t.keepalive, t.timeWait, t.idle)
}

// Advance does what has fallen due at or before now.
func (s *Subflow) Advance(now clock.Time) {
	if s.Deadline() > now {
		return
	}
	due := func(at *clock.Time) bool {
		if *at > now {
			return false
		}
		*at = clock.Never
		return true
	}
	t := &s.timer
	if due(&t.timeWait) {
		s.finish(now, nil)
		return
	}
	if due(&t.reorder) {
		s.onReorderTimer(now)
	}
	if due(&t.tail) {
		s.onTailTimer(now)
	}
	if due(&t.retransmit) {
		s.onRetransmitTimer(now)
	}
	if due(&t.persist) {
		s.onPersistTimer(now)
	}
	if due(&t.ack) {
		s.ack.due = true
	}
	if due(&t.keepalive) {
		s.onKeepaliveTimer(now)
	}
	if due(&t.idle) {
		s.onIdleTimer(now)
	}
}

// onIdleTimer looks whether the subflow is idle.
func (s *Subflow) onIdleTimer(now clock.Time) {
	if s.snd.flight.len() > 0 || s.Queued() > 0 || len(s.rcv.have) > 0 || s.tlp.end != 0 || now < s.heard.Add(idleAfter) {
		s.timer.idle = now.Add(idleAfter)
		return
	}
	s.giveBack()
}

// Idle reports whether the subflow has given back what only a busy one needs: nothing left for a second.
func (s *Subflow) Idle() bool { return s.desk == nil }

// giveBack frees what only a busy subflow needs.
func (s *Subflow) giveBack() {
	s.desk = nil
	s.snd.flight.ring, s.snd.sacks, s.rcv.have, s.loss.resent = nil, nil, nil, nil
	s.snd.queue.chunks, s.snd.queue.head = nil, 0
}
