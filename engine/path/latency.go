package path

import (
	"slices"
	"time"

	"tandem/engine/clock"
)

// A Latency splits the round trips of the paths between two hosts into their directions
// (draft-song-mptcp-owl). What our clock says when something arrives, less what the peer's said when it
// left, is the backward latency plus an offset that nobody knows, but which is the same on every path: so
// differences between paths mean something. What is left of the round trip is the forward latency.
//
// Since no latency is negative, each path confines the offset. It is taken from the middle of what all
// agree on, so that a single path is split in halves:
//
//	least round trip ≥ backward ≥ 0     least difference − least round trip ≤ offset ≤ least difference
//
// If they do not agree, then the peer's timestamps are of a different clock on every path (Linux adds a
// secret to each pair of addresses unless net.ipv4.tcp_timestamps is 2). What a path has at the least is
// then halved, and only what goes beyond it has a direction.
type Latency struct {
	tick    time.Duration // of the peer's timestamps
	settled bool          // tick is not estimated any more
	unclear bool          // what was seen of it fits no known clock
	ponged  bool          // the peer's clock is known from PONGs, timestamps do not count
	paths   []*Path
}

const (
	tickUsual = time.Millisecond
	tickLeast = time.Microsecond
	tickMost  = time.Second // RFC 7323 5.4
)

// ticks are what clocks behind timestamps are known to count.
var ticks = [...]time.Duration{
	tickLeast, 10 * time.Microsecond, 100 * time.Microsecond, tickUsual, 2 * time.Millisecond, 4 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, tickMost,
}

// NewLatency returns a Latency without paths. tick is what the peer's timestamps count, from 1 µs to 1 s.
// With 0 it is taken for 1 ms, which the timestamps of the first seconds confirm or correct.
func NewLatency(tick time.Duration) *Latency {
	if tick == 0 {
		return &Latency{tick: tickUsual}
	}
	return &Latency{tick: min(max(tick, tickLeast), tickMost), settled: true}
}

// Tick returns what the peer's timestamps count, as far as is known.
func (l *Latency) Tick() time.Duration { return l.tick }

// Add has p measured with the others, until Remove. Its round trips count from now on.
func (l *Latency) Add(p *Path) {
	if p.oneWay == nil {
		p.oneWay = &oneWay{latency: l}
		l.paths = append(l.paths, p)
	}
}

// Remove takes p out again, if it was in.
func (l *Latency) Remove(p *Path) {
	if i := slices.Index(l.paths, p); i >= 0 {
		l.paths = slices.Delete(l.paths, i, i+1)
		p.oneWay = nil
	}
}

// A judgement by ticks is made when a path has seen timestamps grow for so long and so much, and is
// final after settleSpan. Beyond wrapSpan the fastest of them has wrapped.
const (
	judgeSpan  = time.Second
	judgeTicks = 8
	settleSpan = 16 * time.Second
	wrapSpan   = time.Hour
)

// judge estimates the tick from what the timestamp on a path grew by in span. It reports whether it can.
func (l *Latency) judge(span time.Duration, grown uint32) bool {
	if span < judgeSpan || grown < judgeTicks {
		return true
	}
	seen := span / time.Duration(grown)
	for _, tick := range ticks {
		if seen < tick*4/5 || seen > tick*5/4 {
			continue
		}
		l.settled, l.unclear = span >= settleSpan, false
		if tick != l.tick {
			l.tick = tick
			l.restart()
		}
		return true
	}
	l.unclear = true
	return false
}

// restart forgets all that was measured by a clock that was mistaken.
func (l *Latency) restart() {
	for _, p := range l.paths {
		p.oneWay.back, p.oneWay.counted = trend{}, false
	}
}

// unwrap returns how many ticks lie between the peer's origin and its timestamp val, by the newest
// timestamp on the path w, or on another if w has none.
func (l *Latency) unwrap(now clock.Time, w *oneWay, val uint32) int64 {
	near := w
	for i := 0; !near.counted; i++ {
		if i == len(l.paths) {
			return int64(val)
		}
		near = l.paths[i].oneWay
	}
	expected := near.count + int64(now.Sub(near.countAt)/l.tick)
	return expected + int64(int32(val-uint32(expected)))
}

const (
	latencySpan = time.Minute           // what is older says nothing: 50 ppm of it are 3 ms
	offsetSlack = 10 * time.Millisecond // by which paths may disagree, for clocks drift and count in ticks
)

// offset returns what arrival less departure exceeds the backward latency by, and whether the paths
// agree on it.
func (l *Latency) offset(now clock.Time) (d time.Duration, ok bool) {
	low, high := -2*strange, 2*strange
	for _, p := range l.paths {
		if w := p.oneWay; w.known(now) {
			low = max(low, w.back.min()-w.trip.min())
			high = min(high, w.back.min())
		}
	}
	return low + (high-low)/2, low <= high+offsetSlack+l.tick
}
