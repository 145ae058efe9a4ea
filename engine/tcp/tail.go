package tcp

import (
	"time"

	"tandem/engine/clock"
)

// tlp is the tail loss probe: when acknowledgements cease, one segment asks for another, so that RACK
// learns of a loss at the end of a flight without a timeout (RFC 8985 7).
type tlp struct {
	due      bool
	end      uint64 // TLP.end_seq; 0: no probe is out
	again    bool   // TLP.is_retrans
	needless bool   // the peer got both copies
	at       clock.Time
	size     int // of the first copy, while the path counts it
}

// tailDelayAck is TLP.max_ack_delay.
const tailDelayAck = 40 * time.Millisecond

// armTail schedules a probe (7.2).
func (s *Subflow) armTail(now clock.Time) {
	f := &s.snd.flight
	s.timer.tail = clock.Never
	if s.cfg.NoSACK || s.state < Established || f.air.n == 0 || f.lost.n > 0 || f.sackedRecs > 0 ||
		s.loss.active || s.loss.frto != 0 || s.tlp.end != 0 || s.tlp.due {
		return
	}
	wait := time.Second
	if smooth, _, _ := s.path.RTT(); smooth > 0 {
		wait = max(2*smooth, minTail)
		if f.len() == 1 {
			wait += tailDelayAck
		}
	}
	s.timer.tail = min(now.Add(wait), s.timer.retransmit)
}

// minTail keeps probes from leaving before a peer that wakes up late can have answered.
const minTail = 2 * time.Millisecond

func (s *Subflow) onTailTimer(now clock.Time) {
	if s.snd.flight.air.n > 0 {
		s.tlp.due = true
		s.armRetransmit(now)
	}
}

// TailAsked reports whether a tail loss probe is to leave, or has left and is not answered.
func (s *Subflow) TailAsked() bool { return s.tlp.due || s.tlp.end != 0 }

// transmitTail sends the probe: new data if there is some, else the last segment again (7.3).
func (s *Subflow) transmitTail(now clock.Time, buf []byte) []byte {
	if !s.tlp.due {
		return nil
	}
	s.tlp.due = false
	f := &s.snd.flight
	if f.len() == 0 {
		return nil
	}
	if pkt := s.transmitNew(now, buf, true); pkt != nil {
		s.tlp.end, s.tlp.again = s.snd.nxt, false
		return pkt
	}
	id := f.tail - 1
	r := f.get(id)
	if r.fate != inAir || r.probe || int(r.size) > min(s.packetMax(), cap(buf)) {
		return nil
	}
	stamp, size := r.stamp, int(r.size)
	pkt := s.retransmit(now, buf, id)
	if pkt != nil {
		s.tlp = tlp{end: s.snd.nxt, again: true, at: now, size: size}
		s.desk.first = stamp
	}
	return pkt
}

// judgeTail ends the episode of a probe (7.4). It does not wait for a report of a duplicate that may
// never come: the path would count the first copy for as long.
func (s *Subflow) judgeTail(now clock.Time, d *delivery) {
	t := &s.tlp
	switch {
	case t.end == 0 || s.snd.una < t.end && !t.needless:
		return
	case t.size == 0:
	case t.needless, now.Sub(t.at) < s.rttMin(): // what is acknowledged is the first copy
		s.path.Forget(t.size)
		s.snd.inPath -= t.size
	default:
		s.tailLost(now)
	}
	*t = tlp{}
}

// tailLost tells the path that the first copy of what the probe repeated was lost.
func (s *Subflow) tailLost(now clock.Time) {
	if s.tlp.size > 0 {
		s.path.Lost(now, s.desk.first, s.tlp.size)
		s.snd.inPath -= s.tlp.size
		s.loss.telling = true
	}
	s.tlp = tlp{}
}
