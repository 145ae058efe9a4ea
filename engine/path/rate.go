package path

import (
	"time"

	"tandem/engine/clock"
)

const rateSpan = 10 // round trips

// rate samples the delivery rate (draft-cheng-iccrg-delivery-rate-estimation) on the totals of the
// path, so that it is the path's rate however many subflows share it.
//
// What is delivered lags behind what has arrived by all that waits for a delayed acknowledgement, which may
// be a segment of every subflow: an interval that begins with more of these than it ends with shows more
// than the path carries, and the largest sample is one of those. But a path keeps order: with a packet all
// that left before it has arrived, or is lost. The sample is the smaller one of the two accounts, of which
// the second errs while losses are not known yet.
type rate struct {
	delivered, lost        int64
	deliveredAt, firstSent clock.Time
	passed                 int64 // octets that had left with the newest packet that has arrived
	passedAt               clock.Time
	appLimited             int64 // until that much is delivered samples are limited by what there was to send; 0: not
	round, roundEnd        int64 // round trips counted; the next begins when a packet sent after roundEnd was delivered arrives
	peak                   peak
}

// restart begins a flight after silence, whose length says nothing about the path.
func (r *rate) restart(now clock.Time) {
	r.deliveredAt, r.firstSent = now, now
	r.passed, r.passedAt = r.delivered+r.lost, now
}

func (r *rate) ack(now clock.Time, n int) {
	r.delivered += int64(n)
	r.deliveredAt = now
}

// pass notes that a packet with stamp st, which was sent once, has arrived.
func (r *rate) pass(now clock.Time, st *Stamp) {
	if left := st.delivered + st.lost + int64(st.inflight); left > r.passed {
		r.passed, r.passedAt = left, now
	}
}

// arrived is the octets that have arrived, acknowledged or not.
func (r *rate) arrived() int64 { return r.passed - r.lost }

// sample returns what the newest packet of a report, with stamp st, says about the rate: 0 if
// nothing, for an interval below the smallest round trip means that a packet was acknowledged
// which had arrived earlier. What little was sent says about the rate counts only if it says more than is known.
func (r *rate) sample(now clock.Time, st *Stamp, rttMin time.Duration) int {
	if r.appLimited > 0 && r.delivered > r.appLimited {
		r.appLimited = 0
	}
	r.firstSent = st.SentAt
	if st.delivered >= r.roundEnd {
		r.round++
		r.roundEnd = r.delivered
	}
	sending := st.SentAt.Sub(st.firstSent)
	interval := max(sending, now.Sub(st.deliveredAt))
	if interval <= 0 || interval < rttMin {
		return 0
	}
	rate := perSecond(int(r.delivered-st.delivered), interval)
	if n := int(r.arrived() - st.arrived); n > 0 {
		rate = min(rate, perSecond(n, max(sending, now.Sub(st.passedAt))))
	}
	rate = max(rate, 1)
	if best := r.peak.best(); !st.appLimited || best > 0 && int64(rate) >= best {
		r.peak.update(r.round, int64(rate), rateSpan)
	}
	return rate
}

func (r *rate) best() int { return int(r.peak.best()) }
