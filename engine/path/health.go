package path

import (
	"time"

	"tandem/engine/clock"
)

// quietMin is the least silence beyond a round trip that counts as one: an acknowledgement may be
// delayed that long by a peer that waits for a second segment, or by a busy machine.
const quietMin = 25 * time.Millisecond

// health knows how long the path has been silent while something was outstanding.
type health struct {
	since   clock.Time // when the path was last heard, or had something outstanding first
	suspect bool       // the silence was noticed and has outlived what was outstanding
}

func (h *health) hear(now clock.Time) { h.since, h.suspect = now, false }

// remember keeps a suspicion although what is outstanding is about to be given up.
func (h *health) remember(now clock.Time, silence time.Duration, inflight int) {
	if inflight > 0 && now >= h.since.Add(silence) {
		h.suspect = true
	}
}

// Heard records that anything at all arrived over the path.
func (p *Path) Heard(now clock.Time) { p.health.hear(now) }

// silence is how long a path with something outstanding may be silent without being suspect.
func (p *Path) silence() time.Duration {
	if p.rtt.smooth == 0 {
		return p.rtt.rto()
	}
	return p.rtt.smooth + max(4*p.rtt.variation, quietMin)
}

// SuspectAt returns when the path becomes, or became, suspect unless it is heard: Never while
// nothing is outstanding.
func (p *Path) SuspectAt() clock.Time {
	switch {
	case p.health.suspect:
		return p.health.since
	case p.inflight == 0:
		return clock.Never
	}
	return p.health.since.Add(p.silence())
}

// Suspect reports whether the path has been silent, with something outstanding, for longer than
// its round trip and four variations. It stays suspect until something arrives over it.
func (p *Path) Suspect(now clock.Time) bool { return now >= p.SuspectAt() }
