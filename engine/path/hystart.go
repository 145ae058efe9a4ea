package path

import "time"

// Parameters of RFC 9406 4.3.
const (
	hystartRTTMin  = 4 * time.Millisecond
	hystartRTTMax  = 16 * time.Millisecond
	hystartSamples = 8
	hystartDivisor = 4
	hystartRounds  = 5
)

// hystart ends the first slow start when round trips grow (HyStart++, RFC 9406): at first it only slows down,
// and goes back to full speed if the growth was a passing one.
type hystart struct {
	roundEnd      int64 // path total whose delivery ends the round
	samples       int
	least, before time.Duration // smallest of this round, of the last one; 0: none
	baseline      time.Duration // when it slowed down; 0: it did not
	rounds        int           // since then
}

// increase returns how much acked octets raise the window.
func (h *hystart) increase(s Sample, acked int) int {
	if s.PriorDelivered >= h.roundEnd {
		h.roundEnd = s.Delivered
		h.before, h.least, h.samples = h.least, 0, 0
		if h.baseline > 0 {
			h.rounds++
		}
	}
	if s.RTT > 0 {
		if h.least == 0 || s.RTT < h.least {
			h.least = s.RTT
		}
		h.samples++
	}
	if h.samples >= hystartSamples {
		h.judge()
	}
	if h.baseline > 0 {
		return max(acked/hystartDivisor, 1)
	}
	return acked
}

func (h *hystart) judge() {
	switch {
	case h.baseline > 0 && h.least < h.baseline:
		h.baseline, h.rounds = 0, 0
	case h.baseline == 0 && h.before > 0:
		threshold := min(max(h.before/8, hystartRTTMin), hystartRTTMax)
		if h.least >= h.before+threshold {
			h.baseline = h.least
		}
	}
}

// over reports whether slow start has ended.
func (h *hystart) over() bool { return h.rounds >= hystartRounds }
