package path

import (
	"time"

	"tandem/engine/clock"
)

// Bounds of the retransmission timeout (RFC 6298 2 with the floor that current systems use).
const (
	rtoInitial = time.Second
	rtoMin     = 200 * time.Millisecond
	rtoMax     = 60 * time.Second
)

const rttMinSpan = 10 * time.Second

// rtt estimates the round trip (RFC 6298). Since every acknowledgement gives a sample, variation
// rises at once and falls once per round trip, else a burst of equal samples would wipe it out.
type rtt struct {
	smooth, variation time.Duration
	deviation         time.Duration // smoothed, of every sample
	deviationMax      time.Duration // largest deviation of this round trip
	roundEnd          clock.Time
	max               time.Duration
	least             peak // of negated samples
}

func (r *rtt) sample(now clock.Time, d time.Duration) {
	if d <= 0 {
		return
	}
	d = min(d, rtoMax)
	r.least.update(int64(now), -int64(d), int64(rttMinSpan))
	r.max = max(r.max, d)
	if r.smooth == 0 {
		r.smooth, r.variation, r.deviation = d, d/2, d/2
		r.deviationMax, r.roundEnd = 0, now.Add(d)
		return
	}
	off := (r.smooth - d).Abs()
	r.deviation += (off - r.deviation) / 4
	r.smooth += (d - r.smooth) / 8
	r.deviationMax = max(r.deviationMax, r.deviation)
	r.variation = max(r.variation, r.deviationMax)
	if now >= r.roundEnd {
		r.variation -= (r.variation - r.deviationMax) / 4
		r.deviationMax, r.roundEnd = 0, now.Add(r.smooth)
	}
}

func (r *rtt) min() time.Duration { return time.Duration(-r.least.best()) }

func (r *rtt) rto() time.Duration {
	if r.smooth == 0 {
		return rtoInitial
	}
	return min(max(r.smooth+4*r.variation, rtoMin), rtoMax)
}
