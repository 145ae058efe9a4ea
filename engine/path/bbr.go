package path

import (
	"time"

	"tandem/engine/clock"
)

// bbr follows BBRv3 (draft-ietf-ccwg-bbr): it models the path by its bandwidth and its empty round
// trip, paces at the one and bounds what is in flight by the product.
//
//	startup ──► drain ──► down ──► cruise ──► refill ──► up ─┐
//	                       ▲          │                      │
//	                       ├─ probeRTT ◄ stale round trip    │
//	                       └─────────────────────────────────┘
//
// It differs in what a bond needs of the links it owns: cruise holds a small queue instead of leaving
// headroom, up is a pulse instead of a plateau and comes every few round trips, losses that come
// without a queue, or that come while cruising as well, are not taken for congestion, and nothing is
// random.
type bbr struct {
	mtu, cwnd int
	model     bandwidth
	trip      trip
	losses    losses
	phase     phase
	phaseAt   clock.Time
	rounds    int   // of this phase
	roundEnd  int64 // path total whose delivery ends the round
	pulse     pulse
	full      fullPipe
	probedAt  clock.Time // when the last probe ended
	resume    int        // window before the timeout that has not been followed by an acknowledgement
	timeoutAt clock.Time
	before    int // window before the last timeout, for OnSpurious
	congested bool
	srtt      time.Duration
	slack     float64 // share of the target that the path's buffer has room for
	inflight  int
	usual     time.Duration // longest round trip of the first flight
	crowdedAt clock.Time    // since when every packet has waited long in a queue; Never: the last has not
	fullAt    clock.Time    // when startup ended
	waited    time.Duration // longest that one has waited, of startup and drain
}

type phase uint8

const (
	startup phase = iota
	drain
	down
	cruise
	refill
	up
	probeRTT
)

// Gains are paces relative to the bandwidth.
const (
	startupGain  = 2.77
	startupPace  = 2 // windows a round trip
	drainGain    = 0.35
	downGain     = 0.75
	fillGain     = 0.25 // above 1, at most, while too little is in flight
	upGain       = 0.25 // above 1, and as much again for each pulse that found room
	upGainMax    = 2
	upPulse      = 40 * time.Millisecond // the first builds a queue of a quarter of it
	upPulses     = 12
	queueTarget  = 4 * time.Millisecond
	probeRounds  = 10 // between probes for bandwidth
	probeTimeMin = 400 * time.Millisecond
	probeTimeMax = 2 * time.Second
	crowdedMin   = 10 * time.Millisecond
	inflightMin  = 4 // packets
)

func newBBR(mtu int) *bbr {
	return &bbr{mtu: mtu, cwnd: initialWindow(mtu), slack: 1, crowdedAt: clock.Never}
}

// OnSent is part of Control.
func (b *bbr) OnSent(_ clock.Time, _, inflight int, _ bool) { b.inflight = inflight }

// OnAck is part of Control.
func (b *bbr) OnAck(s Sample) {
	b.srtt, b.inflight = s.RTTSmooth, s.Inflight
	b.losses.add(s)
	if s.Acked == 0 {
		return
	}
	if b.resume > 0 && s.SentAt >= b.timeoutAt {
		b.cwnd, b.resume = max(b.cwnd, b.resume), 0
	}
	b.trip.add(s)
	if b.phase > drain && b.settling(s.Now) && s.LostTotal > s.PriorLost {
		s.Rate = 0 // how much arrived is not known before all that was lost is
	}
	b.model.add(s)
	if s.PriorDelivered >= b.roundEnd {
		b.roundEnd = s.Delivered
		b.rounds++
		b.endRound(s)
	}
	b.watch(s)
	b.step(s)
	b.setWindow(s)
}

// watch notes what the packet has waited in a queue. What round trips of the first flight vary by is
// the path's way.
func (b *bbr) watch(s Sample) {
	if s.RTT == 0 {
		return
	}
	if b.phase == startup && b.rounds < 2 {
		b.usual = max(b.usual, s.RTT)
	}
	b.waited = max(b.waited, s.RTT-b.trip.base)
	switch {
	case s.RTT <= b.usual+b.long():
		b.crowdedAt = clock.Never
	case b.crowdedAt == clock.Never:
		b.crowdedAt = s.Now
	}
}

// endRound judges what the round trip that has ended says.
func (b *bbr) endRound(s Sample) {
	b.trip.endRound()
	b.trip.note(b.standing())
	if b.phase == cruise {
		b.tighten()
	}
	b.congested = b.losses.endRound(b.phase == cruise, b.standing())
	if b.phase == startup {
		b.full.judge(b.model.best(), s.AppLimited, b.standing(), b.congested)
	} else if b.congested && !s.AppLimited && b.phase != up && b.phase != probeRTT && !b.settling(s.Now) {
		b.model.shorten(b.cwnd)
	}
	b.model.endRound()
}

// settling reports whether losses may be told of packets that startup sent: what they say is known.
func (b *bbr) settling(now clock.Time) bool { return now.Sub(b.fullAt) < 2*b.srtt }

// tighten holds less of a queue on a path that loses while cruising: its buffer may be that short.
func (b *bbr) tighten() {
	if share, lost := b.losses.share(); share > lossShare && lost > int64(2*b.mtu) {
		b.slack /= 2
	} else {
		b.slack = min(b.slack+1./16, 1)
	}
}

// target is the queue that cruise holds: it keeps the link busy between two acknowledgements.
func (b *bbr) target() time.Duration {
	if bw := b.model.best(); bw > 0 {
		return max(queueTarget, duration(2*b.mtu, bw))
	}
	return queueTarget
}

// long is what a packet waits in a queue that is longer than any that is wanted.
func (b *bbr) long() time.Duration { return 2*b.target() + b.trip.base/8 }

// standing reports whether a queue stood through all of the last round trip.
func (b *bbr) standing() bool { return b.trip.queue() > b.long() }

// crowded reports whether a queue stands, a part of a round trip after it began to. One packet that comes
// late says nothing: its acknowledgement may have been delayed.
func (b *bbr) crowded(now clock.Time) bool {
	return now.Sub(b.crowdedAt) > max(b.trip.base/8, crowdedMin)
}

// missing is the share of what fills the empty path that is not in flight: it would be missing from
// every round trip to come. It is 0 if packets wait in a queue, and if most is missing: that was a pause.
func (b *bbr) missing() float64 {
	full := b.bdp(1)
	if b.inflight >= full || b.inflight < full/2 || b.trip.shortest() > b.trip.empty()+b.target() {
		return 0
	}
	return 1 - float64(b.inflight)/float64(full)
}

func (b *bbr) bdp(gain float64) int {
	return whole(gain * float64(b.held(b.trip.base)))
}

// held is what is in flight at the bandwidth when a round trip takes d.
func (b *bbr) held(d time.Duration) int { return whole(float64(b.model.bandwidth()) * d.Seconds()) }

// setWindow moves the window towards what the model allows: by no more than has arrived, or in startup
// twice as much while what arrives has not waited.
func (b *bbr) setWindow(s Sample) {
	limit := b.bdp(2) + b.held(b.target()) + int(b.model.extra.best()) + 3*b.mtu
	if b.phase == up {
		limit += b.bdp(0.5)
	}
	if b.phase != startup {
		limit = min(limit, b.model.bound())
	}
	if b.phase == startup && b.resume == 0 {
		limit = max(b.cwnd, limit, initialWindow(b.mtu))
	}
	if b.phase == startup && b.crowdedAt == clock.Never {
		limit = min(limit, b.cwnd+2*s.Acked)
	} else {
		limit = min(limit, b.cwnd+s.Acked)
	}
	if b.phase == probeRTT {
		limit = min(limit, b.bdp(0.75))
	}
	b.cwnd = min(max(limit, inflightMin*b.mtu), windowMax)
}

// Window is part of Control.
func (b *bbr) Window() int { return b.cwnd }

// Pace is part of Control. In startup it is not below two windows a round trip: the bandwidth known
// then is that of a round trip ago.
func (b *bbr) Pace() int {
	pace := whole(b.gain() * float64(b.model.bandwidth()))
	if b.srtt > 0 && (b.phase == startup || pace == 0) {
		pace = max(pace, perSecond(startupPace*b.cwnd, b.srtt))
	}
	if pace == 0 {
		return 0
	}
	return max(pace, b.mtu)
}

// gain is the pace relative to the bandwidth.
func (b *bbr) gain() float64 {
	switch b.phase {
	case startup:
		return startupGain
	case drain:
		return drainGain
	case down:
		return downGain
	case cruise:
		off := (float64(b.slack*b.target().Seconds()) - b.trip.queue().Seconds()) / (2 * max(b.trip.base, 10*time.Millisecond).Seconds())
		off = min(max(off, -0.25), 0.05)
		if m := b.missing(); m > 0 {
			off = max(off, min(m, fillGain))
		}
		return 1 + off
	case up:
		return b.pulse.gain()
	}
	return 1
}

// OnLoss is part of Control. Losses count by octets: see OnAck.
func (b *bbr) OnLoss(Sample) {}

// OnECN is part of Control.
func (b *bbr) OnECN(Sample) { b.losses.marked = true }

// OnTimeout is part of Control. Nothing is known until something arrives again: then the model holds.
func (b *bbr) OnTimeout(now clock.Time) {
	if b.resume == 0 {
		b.resume = b.cwnd
	}
	b.before = b.resume
	b.timeoutAt = now
	b.cwnd = inflightMin * b.mtu
}

// OnSpurious is part of Control.
func (b *bbr) OnSpurious() {
	b.cwnd = max(b.cwnd, b.before)
	b.before, b.resume = 0, 0
	b.model.unbound()
}

// Renew begins startup anew, with the window that there is: nobody knows any more what the path can deliver.
func (b *bbr) Renew(now clock.Time) {
	b.full, b.usual, b.waited, b.crowdedAt = fullPipe{}, 0, 0, clock.Never
	b.model.unbound()
	b.enter(startup, now)
}
