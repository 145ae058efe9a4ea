package path

import (
	"time"

	"tandem/engine/clock"
)

// oneWay is what is known of a path's two directions.
type oneWay struct {
	latency *Latency
	trip    trend // round trip
	back    trend // arrival less departure

	count   int64 // the peer's newest timestamp, unwrapped
	countAt clock.Time
	counted bool

	first   uint32 // an early timestamp, to estimate the tick
	firstAt clock.Time
	began   bool
}

// Stamped records that a segment with the timestamp tsval (RFC 7323) arrives over a path that was added to a
// Latency. Segments that repeat a timestamp, as SYNs do, are not to be told. Nothing is recorded once
// Ponged was: the clocks differ.
func (p *Path) Stamped(now clock.Time, tsval uint32) {
	w := p.oneWay
	if w == nil || w.latency.ponged {
		return
	}
	l := w.latency
	if !l.settled {
		if span := now.Sub(w.firstAt); !w.began || span > wrapSpan || !l.judge(span, tsval-w.first) {
			w.first, w.firstAt, w.began = tsval, now, true
		}
	}
	w.count = l.unwrap(now, w, tsval)
	w.countAt, w.counted = now, true
	w.back.sample(now, now.Sub(clock.Time(w.count*int64(l.tick))))
}

// Ponged records a round trip over a path that was added to a Latency, and how much of it the way
// towards the peer took plus what the peer's clock is ahead. The round trip is to be told to RTTSample
// as well.
func (p *Path) Ponged(now clock.Time, rtt, oneWay time.Duration) {
	w := p.oneWay
	if w == nil {
		return
	}
	if !w.latency.ponged {
		w.latency.ponged = true
		w.latency.restart()
	}
	w.back.sample(now, rtt-oneWay)
}

// Forward returns the smoothed latency towards the peer: 0 if it is not known, which is so without a
// Latency, before the first round trip and the first sign of the peer's clock, a minute after the last,
// and while the peer's timestamps count nothing that is known. It is wrong by an error that all paths of
// a Latency share, unless their clocks differ.
func (p *Path) Forward(now clock.Time) time.Duration {
	if p.oneWay == nil {
		return 0
	}
	forward, _ := p.oneWay.split(now)
	return forward
}

// Backward returns the smoothed latency from the peer, as Forward does that towards it.
func (p *Path) Backward(now clock.Time) time.Duration {
	if p.oneWay == nil {
		return 0
	}
	_, backward := p.oneWay.split(now)
	return backward
}

func (w *oneWay) known(now clock.Time) bool {
	l := w.latency
	return (l.ponged || !l.unclear) && w.trip.fresh(now) && w.back.fresh(now)
}

// split divides the round trip. Neither part is nothing.
func (w *oneWay) split(now clock.Time) (forward, backward time.Duration) {
	if !w.known(now) {
		return 0, 0
	}
	offset, ok := w.latency.offset(now)
	if !ok {
		offset = w.back.min() - w.trip.min()/2
	}
	trip := max(w.trip.mean, 2)
	backward = min(max(w.back.mean-offset, 1), trip-1)
	return trip - backward, backward
}

// trend is a duration's minimum of the last ten seconds and its average, in which what is older than
// trendSpan counts little.
type trend struct {
	least peak // of negated samples
	mean  time.Duration
	at    clock.Time // of the last sample that counted for mean
	known bool
}

const (
	trendSpan = 200 * time.Millisecond
	trendStep = time.Millisecond       // between samples that count for mean
	trendJump = time.Minute            // further than a latency can go: another clock
	strange   = time.Duration(1) << 60 // beyond what is reckoned with
)

func (t *trend) sample(now clock.Time, d time.Duration) {
	if d = min(max(d, -strange), strange); d == 0 {
		d = 1 // peak takes 0 for nothing
	}
	if !t.fresh(now) || (d-t.mean).Abs() > trendJump {
		*t = trend{mean: d, at: now, known: true}
	}
	t.least.update(int64(now), -int64(d), int64(rttMinSpan))
	if gap := now.Sub(t.at); gap >= trendStep {
		t.mean += (d - t.mean) * (gap << 16 / (gap + trendSpan)) >> 16
		t.at = now
	}
}

func (t *trend) fresh(now clock.Time) bool { return t.known && now.Sub(t.at) <= latencySpan }

func (t *trend) min() time.Duration { return time.Duration(-t.least.best()) }
