package tcp

import (
	"time"

	"tandem/engine/clock"
)

// rack judges by time: what was sent long enough before something that arrived is lost (RFC 8985 6).
type rack struct {
	at        clock.Time // RACK.xmit_ts
	end       uint64     // RACK.end_seq
	rtt       time.Duration
	fack      uint64 // highest that arrived
	known     bool
	reordered bool
	mult      uint8 // RACK.reo_wnd_mult
	persist   uint8 // RACK.reo_wnd_persist
	round     uint64
	inRound   bool // RACK.dsack_round is set
}

// reoPersist is for how many recoveries a widened reordering window lasts.
const reoPersist = 16

// update takes note of a record that arrived (6.2, steps 1 to 3).
func (k *rack) update(now clock.Time, r *record, rttMin time.Duration) {
	end := r.end()
	if end > k.fack {
		k.fack = end
	} else if r.sent == 1 && end < k.fack {
		k.reordered = true
	}
	rtt := now.Sub(r.stamp.SentAt)
	if r.sent > 1 && rtt < rttMin {
		return // rather the first copy than the last
	}
	k.rtt = rtt
	if !k.known || sentAfter(r.stamp.SentAt, end, k.at, k.end) {
		k.known, k.at, k.end = true, r.stamp.SentAt, end
	}
}

func sentAfter(at clock.Time, end uint64, thanAt clock.Time, thanEnd uint64) bool {
	return at > thanAt || at == thanAt && end > thanEnd
}

// duplicates widens the window once a round trip in which duplicates were reported (6.2, step 4).
func (k *rack) duplicates(reported bool, una, nxt uint64) {
	if k.inRound && una >= k.round {
		k.inRound = false
	}
	if reported && !k.inRound {
		k.inRound, k.round = true, nxt
		k.mult = min(k.mult+1, 100)
		k.persist = reoPersist
	}
}

// recovered narrows the window when it has not been needed for long.
func (k *rack) recovered() {
	if k.persist > 0 {
		if k.persist--; k.persist == 0 {
			k.mult = 1
		}
	}
}

// reorderWindow is RACK.reo_wnd.
func (s *Subflow) reorderWindow() time.Duration {
	if !s.rack.reordered && (s.loss.active || s.snd.flight.sackedRecs >= dupThresh) {
		return 0
	}
	smooth, _, least := s.path.RTT()
	return min(time.Duration(s.rack.mult)*least/4, smooth)
}

func (s *Subflow) rttMin() time.Duration {
	_, _, least := s.path.RTT()
	return least
}

// detect judges lost what was sent a round trip and a reordering window before what arrived (6.2,
// step 5).
func (s *Subflow) detect(now clock.Time) {
	s.timer.reorder = clock.Never
	if !s.rack.known || s.loss.frto != 0 {
		return
	}
	f, wait := &s.snd.flight, s.rack.rtt+s.reorderWindow()
	for f.air.n > 0 {
		r := f.get(f.air.first)
		if !sentAfter(s.rack.at, s.rack.end, r.stamp.SentAt, r.end()) {
			return
		}
		if at := r.stamp.SentAt.Add(wait); at > now {
			s.timer.reorder = at
			return
		}
		s.lose(now, f.air.first)
	}
}

func (s *Subflow) onReorderTimer(now clock.Time) {
	s.detect(now)
	s.told(now)
}
