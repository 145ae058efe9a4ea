package path

import (
	"time"

	"tandem/engine/clock"
)

// fullPipe notices that startup has found the bandwidth.
type fullPipe struct {
	reached bool
	best    int
	rounds  int // without growth
}

// judge ends startup after three rounds without a quarter of growth, or one in which a queue stood.
func (f *fullPipe) judge(best int, appLimited, queue, congested bool) {
	switch {
	case congested:
		f.reached = true
	case appLimited:
	case best >= f.best+f.best/4:
		f.best, f.rounds = best, 0
	default:
		f.rounds++
		f.reached = f.rounds >= 3 || queue
	}
}

func (b *bbr) enter(p phase, now clock.Time) {
	b.phase, b.phaseAt, b.rounds = p, now, 0
}

// step moves from phase to phase.
func (b *bbr) step(s Sample) {
	if b.staleTrip(s.Now) {
		b.trip.last, b.trip.current = 0, 0
		b.enter(probeRTT, s.Now)
		return
	}
	switch b.phase {
	case startup:
		if b.full.reached || b.crowded(s.Now) {
			b.full.reached, b.fullAt = true, s.Now
			b.enter(drain, s.Now)
		}
	case drain:
		if s.Inflight <= b.bdp(1)+b.mtu || b.drained(s.Now) || b.rounds > 4 {
			b.endProbe(s.Now)
		}
	case down:
		switch {
		case s.Inflight <= b.held(b.trip.empty())+2*b.mtu:
			b.trip.lower()
			b.enter(cruise, s.Now)
		case b.rounds > 4:
			b.trip.raise()
			b.enter(cruise, s.Now)
		}
	case cruise:
		if b.probeDue(s.Now) {
			b.model.refresh()
			b.enter(refill, s.Now)
		}
	case refill:
		if b.rounds > 0 {
			b.pulse.count = 0
			b.beginPulse(s.Now)
		}
	case up:
		b.stepUp(s)
	case probeRTT:
		if b.rounds > 1 && s.Inflight <= b.bdp(0.75)+b.mtu || b.rounds > 4 {
			b.trip.settle(s.Now)
			b.enter(cruise, s.Now)
		}
	}
}

// drained reports whether the longest queue seen must have gone, though what is lost, and is not known
// to be, counts as in flight.
func (b *bbr) drained(now clock.Time) bool {
	return now.Sub(b.phaseAt).Seconds() > b.waited.Seconds()/(1-drainGain)
}

func (b *bbr) probeDue(now clock.Time) bool {
	wait := min(max(probeRounds*b.trip.base, probeTimeMin), probeTimeMax)
	return now.Sub(b.probedAt) >= wait
}

// endProbe lets the queue go that the probe has built.
func (b *bbr) endProbe(now clock.Time) {
	b.model.endCycle()
	b.probedAt = now
	b.enter(down, now)
}

// pulse is a short time at more than the bandwidth, and what came of it.
type pulse struct {
	on      bool
	ended   clock.Time
	count   int           // pulses in a row that found room
	queue   time.Duration // before
	best    int           // bandwidth before
	samples int           // of packets sent when it had ended
	least   time.Duration // smallest round trip of these
}

const pulseSamples = 4

func (b *bbr) beginPulse(now clock.Time) {
	b.pulse = pulse{on: true, count: b.pulse.count, queue: b.trip.queue(), best: b.model.best()}
	b.enter(up, now)
}

func (p *pulse) gain() float64 {
	if !p.on {
		return 1
	}
	return p.peakGain()
}

func (p *pulse) peakGain() float64 { return min(1+float64(upGain*float64(1+p.count)), upGainMax) }

// stepUp ends the pulse, and then waits for the packets behind it: they tell whether it has built a
// queue or loss, which is what happens unless the path can deliver more.
func (b *bbr) stepUp(s Sample) {
	p := &b.pulse
	length := min(b.trip.base, upPulse)
	if p.on && s.Now.Sub(b.phaseAt) >= length {
		p.on, p.ended = false, s.Now
	}
	if b.rounds > 1 && b.congested {
		b.model.bind(max(s.Sent, whole(lossBeta*float64(min(b.bdp(1), b.cwnd)))))
		b.endProbe(s.Now)
		return
	}
	if b.rounds > 4 {
		b.endProbe(s.Now)
		return
	}
	if p.on || s.RTT == 0 || s.SentAt <= p.ended {
		return
	}
	if p.samples++; p.least == 0 || s.RTT < p.least {
		p.least = s.RTT
	}
	if p.samples < pulseSamples {
		return
	}
	b.model.loosen()
	excess := (p.peakGain() - 1) * length.Seconds()
	built := p.least - b.trip.empty() - p.queue
	growth := float64(b.model.best()-p.best) * s.RTT.Seconds()
	if built.Seconds() > excess/2 || growth < excess/4*float64(p.best) || p.count >= upPulses {
		b.endProbe(s.Now)
		return
	}
	p.count++
	b.beginPulse(s.Now)
}

// staleTrip reports whether the base round trip needs measuring: nobody has seen it for long, or a
// queue stands although less is sent than the path delivers.
func (b *bbr) staleTrip(now clock.Time) bool {
	if b.phase == startup || b.phase == drain || b.phase == probeRTT {
		return false
	}
	t := &b.trip
	if t.stood >= tripRounds && now.Sub(t.settledAt) > time.Second {
		return true
	}
	return now.Sub(t.baseAt) > tripSpan && now.Sub(t.settledAt) > tripSpan
}
