package schedule

import (
	"math"
	"time"
)

// eligible is what a path must be to be considered among given ones.
type eligible struct {
	backup, sent bool
	price        int // at most
}

// among allows backups only if nothing else is usable, and paths that have carried the octets only
// if all usable ones have.
func among(paths []View) eligible {
	e := eligible{backup: true, sent: true, price: math.MaxInt}
	for i := range paths {
		if v := &paths[i]; v.Usable && !v.Backup {
			e.backup = false
		}
	}
	for i := range paths {
		if v := &paths[i]; v.Usable && (!v.Backup || e.backup) && !v.Sent {
			e.sent = false
		}
	}
	return e
}

func (e eligible) takes(v *View) bool {
	return v.Usable && (e.backup || !v.Backup) && (e.sent || !v.Sent) && v.Price <= e.price
}

// first returns the eligible path with room that none is better than, of equals the first, or -1.
// Secondary paths come after all others.
func (e eligible) first(paths []View, better func(a, b *View) bool) int {
	best := -1
	for i := range paths {
		v := &paths[i]
		if !e.takes(v) || v.Room <= 0 {
			continue
		}
		if best < 0 || before(v, &paths[best], better) {
			best = i
		}
	}
	return best
}

func before(a, b *View, better func(a, b *View) bool) bool {
	if a.Secondary != b.Secondary {
		return b.Secondary
	}
	return better(a, b)
}

// soonest returns the eligible path with room over which the next octets arrive first, or -1 to wait
// for a better one: see waits. arrival is how long a segment sent now takes.
func (e eligible) soonest(paths []View, queued, peerWindow int, arrival func(*View) time.Duration) int {
	best := e.first(paths, func(a, b *View) bool { return arrival(a) < arrival(b) })
	if best >= 0 && e.waits(paths, best, queued, peerWindow, arrival) {
		return -1
	}
	return best
}

// waits reports whether a path without room is better than the best of those with room: if all that is
// queued would arrive over it before the first segment over that one, or if that segment would hold up
// the window (see blocks).
func (e eligible) waits(paths []View, best, queued, peerWindow int, arrival func(*View) time.Duration) bool {
	s := &paths[best]
	arrives := arrival(s)
	for i := range paths {
		f := &paths[i]
		if !e.takes(f) || f.Room > 0 || f.Inflight <= 0 || f.Secondary && !s.Secondary {
			continue
		}
		at := arrival(f)
		if at >= arrives {
			continue
		}
		if at+took(int64(queued)*int64(f.flows()), f.rate()) < arrives || blocks(f, s, arrives, queued, peerWindow) {
			return true
		}
	}
	return false
}
