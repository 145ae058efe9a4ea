package path

import (
	"time"

	"tandem/engine/clock"
)

// trip is the round trip of the empty path, and of this round.
type trip struct {
	base    time.Duration
	baseAt  clock.Time // when it was last confirmed
	current time.Duration
	last    time.Duration // smallest of the last round
	floor   time.Duration // typical smallest of a round without a queue: above base where delay varies
	stood   int           // rounds in a row with a queue

	settledAt clock.Time // when the base was last measured on purpose
}

const (
	tripSpan   = 5 * time.Second        // a base that was not confirmed for so long is measured anew
	tripNear   = 500 * time.Microsecond // what counts as confirmed
	tripRounds = 5                      // a queue that stands for so many rounds may be none
)

func (t *trip) add(s Sample) {
	if s.RTT <= 0 {
		return
	}
	if t.base == 0 || s.RTT < t.base {
		t.base = s.RTT
	}
	if s.RTT <= t.base+t.base/16+tripNear {
		t.baseAt = s.Now
	}
	if t.current == 0 || s.RTT < t.current {
		t.current = s.RTT
	}
}

func (t *trip) endRound() {
	if t.current > 0 {
		t.last, t.current = t.current, 0
	}
}

func (t *trip) note(standing bool) {
	if t.stood++; !standing {
		t.stood = 0
	}
}

// settle takes what was seen while the path was kept empty for the base.
func (t *trip) settle(now clock.Time) {
	if t.current > 0 && (t.last == 0 || t.current < t.last) {
		t.last = t.current
	}
	if t.last > 0 {
		t.base = t.last
	}
	t.floor = t.base
	t.baseAt, t.settledAt, t.stood = now, now, 0
}

// empty is the round trip without a queue.
func (t *trip) empty() time.Duration { return max(t.base, t.floor) }

// raise takes the shortest of rounds in which a queue would have gone for the floor.
func (t *trip) raise() { t.floor = max(t.last, t.base) }

// lower lets go of a floor that may have been a queue after all.
func (t *trip) lower() { t.floor -= max(t.floor-t.base, 0) / 4 }

// shortest is the smallest round trip of this round and the last.
func (t *trip) shortest() time.Duration {
	if t.current > 0 {
		return min(t.last, t.current)
	}
	return t.last
}

// queue is how long the shortest queue of the last round was.
func (t *trip) queue() time.Duration { return max(t.last-t.empty(), 0) }

// losses tells losses that congestion caused from those that the path has anyway.
type losses struct {
	total, lost int64   // path totals when the round began
	seen        int64   // path total of losses now
	delivered   int64   // and of octets delivered
	background  float64 // share lost while cruising
	marked      bool
}

const (
	lossShare    = 0.02 // above the background
	lossAlways   = 0.15 // congestion whatever the queue
	backgroundOf = 0.1  // at most
)

func (l *losses) add(s Sample) { l.seen, l.delivered = s.LostTotal, s.Delivered }

// share is the share of octets lost in this round.
func (l *losses) share() (share float64, lost int64) {
	lost = max(l.seen-l.lost, 0)
	return float64(lost) / float64(max(l.delivered-l.total+lost, 1)), lost
}

// endRound reports whether the round was congested.
func (l *losses) endRound(cruising, queue bool) bool {
	share, _ := l.share()
	congested := l.marked || l.excessive(share, queue)
	if cruising && !congested {
		l.background += (min(share, backgroundOf) - l.background) / 8
	}
	l.total, l.lost, l.marked = l.delivered, l.seen, false
	return congested
}

func (l *losses) excessive(share float64, queue bool) bool {
	return share > l.background+lossShare && queue || share > l.background+lossAlways
}
