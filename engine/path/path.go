// Package path is what all subflows and datagrams over one path share: its round trip, its
// congestion window and pacing, its loss and its health (RFC 9040, RFC 3124). Facts go in, numbers
// come out; nothing here sends, arms a timer or asks the time.
package path

import (
	"time"

	"tandem/engine/clock"
)

// Sizes in this package are octets of whole IP packets, so that window and rate speak of the same
// octets as the link does.

// A Stamp is what the sender of a packet keeps until its fate is known.
type Stamp struct {
	SentAt                 clock.Time
	deliveredAt, firstSent clock.Time
	delivered, lost        int64
	arrived                int64
	passedAt               clock.Time
	inflight               int32
	appLimited             bool
}

// Path is the shared state of one path. The zero Path is not usable: see New.
type Path struct {
	control  Control
	inflight int
	rides    *rides // nil: never any
	rtt      rtt
	oneWay   *oneWay // nil: not part of a Latency
	pacer    pacer
	limit    *limiter // nil: none
	rate     rate
	mtu      mtu
	health   health
	recovery recovery
	report   report
	fates    fates
}

// New returns a path of the given IP MTU governed by c.
func New(c Control, mtu int) *Path {
	p := &Path{control: c}
	p.mtu.size, p.mtu.ceiling = mtu, mtu
	p.recovery.reducedAt, p.recovery.timedOutAt = before, before
	p.recovery.newestAcked = before
	return p
}

// before is earlier than any instant at which something was sent.
const before = clock.Time(-1 << 63)

// Sent records that a packet of n octets leaves now; the stamp goes back in with its fate.
// Packets without data (pure acknowledgements) are not recorded.
func (p *Path) Sent(now clock.Time, n int) Stamp {
	if p.inflight == 0 {
		p.renew(now)
		p.rate.restart(now)
		p.health.since = max(p.health.since, now)
	}
	p.inflight += n
	limited := p.rate.appLimited > 0
	p.pacer.spend(now, n, p.control.Pace(), p.mtu.size)
	p.paid(now, n)
	p.control.OnSent(now, n, p.Inflight(), limited)
	return Stamp{
		SentAt:      now,
		deliveredAt: p.rate.deliveredAt,
		firstSent:   p.rate.firstSent,
		delivered:   p.rate.delivered,
		lost:        p.rate.lost,
		arrived:     p.rate.arrived(),
		passedAt:    p.rate.passedAt,
		inflight:    int32(min(p.Inflight(), 1<<31-1)),
		appLimited:  limited,
	}
}

// Acked records that a packet arrived at the peer. again: it was sent more than once, so that its
// round trip is unknown (Karn). Call Done when all packets that one segment acknowledged were told.
func (p *Path) Acked(now clock.Time, st Stamp, n int, again bool) {
	p.begin()
	p.takeOut(n)
	p.arrived(now, st, n, again)
}

// Late records that a packet judged lost had arrived after all, before it was sent again. Like Acked it ends
// with Done.
func (p *Path) Late(now clock.Time, st Stamp, n int, again bool) {
	p.begin()
	p.Spurious(now, n)
	p.arrived(now, st, n, again)
}

func (p *Path) arrived(now clock.Time, st Stamp, n int, again bool) {
	p.report.acked += n
	p.fates.count(now, n, 0)
	p.health.hear(now)
	p.rate.ack(now, n)
	if !again {
		p.rate.pass(now, &st)
	}
	if st.SentAt >= p.report.newestAcked.SentAt {
		p.report.newestAcked = st
		p.report.rtt = now.Sub(st.SentAt)
		p.report.delayed = st.SentAt < p.recovery.newestAcked
		if again {
			p.report.rtt = 0
		}
	}
	p.recovery.newestAcked = max(p.recovery.newestAcked, st.SentAt)
}

// Lost records that a packet is judged lost. Like Acked it ends with Done.
func (p *Path) Lost(now clock.Time, st Stamp, n int) {
	p.begin()
	p.health.remember(now, p.silence(), p.inflight)
	if st.SentAt >= p.report.newestLost.SentAt {
		p.report.newestLost = st
	}
	p.report.lost += n
	p.rate.lost += int64(n)
	p.fates.count(now, 0, n)
	p.takeOut(n)
	p.recovery.count(st.SentAt, n)
}

// Marked records that the peer echoed a congestion mark for packets sent at or after sentAt (RFC 3168).
func (p *Path) Marked(now, sentAt clock.Time) {
	p.begin()
	p.report.marked = true
	p.report.markedAt = max(p.report.markedAt, sentAt)
}

// Forget takes n octets out of flight whose fate nobody will report: their subflow ended. It needs
// no Done.
func (p *Path) Forget(n int) { p.takeOut(n) }

func (p *Path) takeOut(n int) { p.inflight = max(0, p.inflight-n) }

// Starved tells that there was nothing to send. If the window had room, rate samples of what is in
// flight now say nothing about the path's capacity.
func (p *Path) Starved() {
	if p.Inflight() < p.Window() {
		p.rate.appLimited = max(1, p.rate.delivered+int64(p.inflight))
	}
}

// Room returns how many octets may leave now, by window, pacing and limit; 0 or less means none. What
// is left of them is rounded up to one packet, so that no packet is cut for them.
func (p *Path) Room(now clock.Time) int {
	p.expire(now)
	room := p.Window() - p.Inflight()
	if room <= 0 {
		return 0
	}
	paced := p.pacer.room(now, p.control.Pace(), p.mtu.size)
	if paced <= 0 {
		return 0
	}
	tokens := p.tokens(now)
	if tokens <= 0 {
		p.throttled()
		return 0
	}
	return max(min(room, paced, tokens), p.mtu.size)
}

// NextSend returns when pacing and limit next let a packet leave: now or earlier if they do already.
func (p *Path) NextSend() clock.Time { return max(p.pacer.nextSend(), p.limit.next()) }

// RTT returns the smoothed round trip, its variation and the minimum of the last ten seconds; all 0
// before the first sample (RFC 6298).
func (p *Path) RTT() (smooth, variation, least time.Duration) {
	return p.rtt.smooth, p.rtt.variation, p.rtt.min()
}

// RTTMax returns the largest round trip ever seen, 0 before the first sample.
func (p *Path) RTTMax() time.Duration { return p.rtt.max }

// RTTSample records a round trip measured otherwise than by Acked (timestamps, handshake, PING).
func (p *Path) RTTSample(now clock.Time, rtt time.Duration) {
	p.rtt.sample(now, rtt)
	if p.oneWay != nil && rtt > 0 {
		p.oneWay.trip.sample(now, rtt)
	}
}

// RTO returns the retransmission timeout without backoff: 1 s before the first sample, at least
// 200 ms after it (RFC 6298 with the floor that current systems use), at most 60 s.
func (p *Path) RTO() time.Duration { return p.rtt.rto() }

// Inflight returns the octets in flight.
func (p *Path) Inflight() int { return p.inflight + p.riding() }

// Window returns the congestion window in octets. With nothing in flight it takes a packet whatever
// the controller says: no acknowledgement would ever raise it.
func (p *Path) Window() int {
	if p.inflight == 0 {
		return max(p.control.Window(), p.mtu.size)
	}
	return p.control.Window()
}

// Threshold returns the slow start threshold in octets; 0: infinite, or the controller has none.
func (p *Path) Threshold() int {
	if c, ok := p.control.(interface{ Threshold() int }); ok {
		return c.Threshold()
	}
	return 0
}

// Rate returns the path's estimated delivery rate in octets a second: the largest sample of the last ten round trips,
// else, or if that is low and old, window over round trip, else 0.
func (p *Path) Rate(now clock.Time) int {
	if r := p.rate.best(); r > 0 && !p.outdated(now) {
		return r
	}
	if p.rtt.smooth > 0 {
		return perSecond(p.control.Window(), p.rtt.smooth)
	}
	return 0
}

// rateHolds is how long a low rate holds without a sample. Nothing would be sent over a path that was bad once,
// and nobody would learn that it is no more.
const rateHolds = 5 * time.Second

// outdated reports whether the rate is an old one, lower than what a path is given of which nothing is known.
func (p *Path) outdated(now clock.Time) bool {
	return p.inflight == 0 && now.Sub(p.rate.deliveredAt) > rateHolds &&
		float64(float64(p.rate.best())*p.rtt.smooth.Seconds()) < float64(initialWindow(p.mtu.size))
}

// renew has the path be explored as a new one if what is known of it is outdated.
func (p *Path) renew(now clock.Time) {
	if !p.outdated(now) {
		return
	}
	p.rate.peak = peak{}
	if c, ok := p.control.(interface{ Renew(now clock.Time) }); ok {
		c.Renew(now)
	}
}

// Totals returns the octets delivered and lost since the path began.
func (p *Path) Totals() (delivered, lost int64) { return p.rate.delivered, p.rate.lost }

// perSecond returns n octets in d as octets a second.
func perSecond(n int, d time.Duration) int {
	return whole(float64(n) * float64(time.Second) / float64(max(d, 1)))
}

// countMax is more than any number of octets, or of octets a second, that is reckoned with.
const countMax = 1<<31 - 1

// whole returns x without its fraction, from 0 to countMax: what a larger one becomes depends on the machine.
func whole(x float64) int { return int(min(max(x, 0), countMax)) }
