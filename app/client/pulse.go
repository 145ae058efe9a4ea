package client

import "time"

const (
	quietTime = 500 * time.Millisecond // without a packet, after which a link that was in use is asked for a sign of life
	usedLeast = 3                      // packets; fewer are answers to such questions
)

// A pulse tells once that a link that was in use has fallen quiet. Who only receives has nothing outstanding by
// which the engine would notice that the link is dead.
type pulse struct {
	came uint64    // packets, when last looked at
	used uint64    // of them, since it last fell quiet
	last time.Time // when one was seen last
}

// ends takes how many packets have come in all, and reports whether to ask.
func (p *pulse) ends(came uint64, now time.Time) bool {
	if came != p.came {
		p.used += came - p.came
		p.came, p.last = came, now
		return false
	}
	if !p.beats() || now.Sub(p.last) < quietTime {
		return false
	}
	p.used = 0
	return true
}

// beats reports whether the link is in use.
func (p *pulse) beats() bool { return p.used >= usedLeast }

// inUse reports whether any link is.
func (v *live) inUse() bool {
	for _, l := range v.carried {
		if l.pulse.beats() {
			return true
		}
	}
	return false
}
