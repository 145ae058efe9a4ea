package path

import (
	"time"

	"tandem/engine/clock"
)

const rateSpan = 10 // round trips

// rate samples the delivery rate (draft-cheng-iccrg-delivery-rate-estimation) on the totals of the
// path, so that it is the path's rate however many subflows share it.
type rate struct {
	delivered, lost        int64
	deliveredAt, firstSent clock.Time
	appLimited             int64 // until that much is delivered samples are limited by what there was to send; 0: not
	round, roundEnd        int64 // round trips counted; the next begins when a packet sent after roundEnd was delivered arrives
	peak                   peak
}

// restart begins a flight after silence, whose length says nothing about the path.
func (r *rate) restart(now clock.Time) { r.deliveredAt, r.firstSent = now, now }

func (r *rate) ack(now clock.Time, n int) {
	r.delivered += int64(n)
	r.deliveredAt = now
}

// sample returns what the newest packet of a report, with stamp st, says about the rate: 0 if
// nothing, for an interval below the smallest round trip means that a packet was acknowledged
// which had arrived earlier.
func (r *rate) sample(now clock.Time, st *Stamp, rttMin time.Duration) int {
	if r.appLimited > 0 && r.delivered > r.appLimited {
		r.appLimited = 0
	}
	r.firstSent = st.SentAt
	if st.delivered >= r.roundEnd {
		r.round++
		r.roundEnd = r.delivered
	}
	interval := max(st.SentAt.Sub(st.firstSent), now.Sub(st.deliveredAt))
	if interval <= 0 || interval < rttMin {
		return 0
	}
	rate := max(perSecond(int(r.delivered-st.delivered), interval), 1)
	if !st.appLimited || int64(rate) >= r.peak.best() {
		r.peak.update(r.round, int64(rate), rateSpan)
	}
	return rate
}

func (r *rate) best() int { return int(r.peak.best()) }
