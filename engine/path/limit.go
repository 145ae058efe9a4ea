package path

import (
	"time"

	"tandem/engine/clock"
)

// limiter is a token bucket: what may leave over the path at most, whatever else the path could carry. It
// keeps the instant at which the bucket is empty instead of how full it is; one later than now is a debt.
//
// What is paced waits for tokens. What is not (acknowledgements, the control lane) leaves at once and takes
// tokens as well, so that all together keeps to the limit; but an eighth of it is left to what is paced.
type limiter struct {
	rate    int        // octets a second
	emptyAt clock.Time // when the bucket was, or will be, empty
	graceAt clock.Time // when a paced packet may leave in spite of debts
}

const (
	// limitBurst: at most what the limit carries in this time leaves at once, or two packets. It makes up for a caller that
	// comes late, as on a machine that has much else to do, and stays within a twentieth of what a second carries.
	limitBurst = 40 * time.Millisecond
	limitDebt  = 100 * time.Millisecond // the most that is owed
	limitShare = 8
)

// SetLimit bounds what leaves over the path from now on, in octets a second of whole IP packets; 0: no bound.
// A limit below one packet in a retransmission timeout is raised to that.
func (p *Path) SetLimit(now clock.Time, rate int) {
	l := p.limit
	switch rate = min(max(rate, 0), countMax); {
	case rate == 0:
		p.limit = nil
	case l == nil:
		p.limit = &limiter{rate: rate, emptyAt: now, graceAt: now}
	case l.rate != rate:
		// What is owed, or was saved, are octets: at another rate they take another time.
		was := p.Limit()
		octets := max(l.emptyAt.Sub(now), -depth(was, p.mtu.size)).Seconds() * float64(was)
		l.rate = rate
		l.emptyAt = now.Add(duration(int(octets), p.Limit()))
		p.bound(now)
	}
}

// bound keeps the debt to the most that is owed.
func (p *Path) bound(now clock.Time) {
	l := p.limit
	l.emptyAt = min(l.emptyAt, now.Add(max(limitDebt, duration(2*p.mtu.size, p.Limit()))))
}

// Limit returns the limit in force, in octets a second; 0: none.
func (p *Path) Limit() int {
	if p.limit == nil {
		return 0
	}
	return max(p.limit.rate, perSecond(p.mtu.size, p.RTO()))
}

// Charge records that a packet of n octets leaves now, whatever it is. Those that Sent or Ride records are
// charged as well.
func (p *Path) Charge(now clock.Time, n int) {
	l, rate := p.limit, p.Limit()
	if l == nil {
		return
	}
	l.emptyAt = max(l.emptyAt, now.Add(-depth(rate, p.mtu.size))).Add(duration(n, rate))
	p.bound(now)
}

// depth is how long the bucket takes to fill: a packet may leave until it is empty, so that the burst is one more.
func depth(rate, mtu int) time.Duration {
	one := duration(mtu, rate)
	return max(one, limitBurst-one)
}

// paid records that a paced packet leaves now, so that the next need not wait long for what is not paced.
func (p *Path) paid(now clock.Time, n int) {
	if p.limit != nil {
		p.limit.graceAt = now.Add(limitShare * duration(n, p.Limit()))
	}
}

// Allows reports whether the limit lets a packet leave now.
func (p *Path) Allows(now clock.Time) bool { return now >= p.limit.next() }

// tokens returns how many octets the limit lets leave now: at least one if it lets any.
func (p *Path) tokens(now clock.Time) int {
	if p.limit == nil {
		return countMax
	}
	if !p.Allows(now) {
		return 0
	}
	rate := p.Limit()
	have := min(now.Sub(p.limit.emptyAt), depth(rate, p.mtu.size))
	return max(1, whole(have.Seconds()*float64(rate)))
}

// next returns when the limit lets the next paced packet leave.
func (l *limiter) next() clock.Time {
	if l == nil {
		return before
	}
	return min(l.emptyAt, l.graceAt)
}

// throttled notes that it is the limit that keeps something back, so that what arrives now says nothing about
// what the path could carry.
func (p *Path) throttled() { p.rate.appLimited = max(1, p.rate.delivered+int64(p.inflight)) }
