package sim

import (
	"fmt"
	"math/rand/v2"

	"tandem/engine/clock"
)

// A World runs hosts and the paths between them on one clock of its own.
//
//	agenda ─► host: receive, advance, application, transmit ─► middleboxes ─► link ─► agenda
type World struct {
	Dice *rand.Rand // for whoever sets the world up or acts in it; each link has dice of its own

	now    clock.Time
	agenda agenda[func(now clock.Time)]
	taps   []Tap
	source *rand.ChaCha8
	faults []error
}

// A Sight is a packet somebody saw.
type Sight struct {
	At     clock.Time
	Host   *Host // who sent or received it
	Path   *Path
	Sent   bool // as Host sent it; else as Host received it
	Forged bool // no host sent it
	Packet []byte
}

// A Tap sees every packet where it leaves a host and where it arrives at one. It keeps no packet.
type Tap interface{ See(s *Sight) error }

// NewWorld returns an empty world; all its chance follows from seed.
func NewWorld(seed uint64) *World {
	source := rand.NewChaCha8(expand(seed))
	return &World{Dice: rand.New(source), source: source}
}

// expand makes a seed of one number.
func expand(seed uint64) (long [32]byte) {
	for i := range long {
		long[i] = byte(mix(seed+uint64(i/8)) >> (i % 8 * 8))
	}
	return long
}

// Now returns the world's time.
func (w *World) Now() clock.Time { return w.now }

// Tap has t see all packets from now on.
func (w *World) Tap(t Tap) { w.taps = append(w.taps, t) }

// At has act called at that instant, or now if it is over.
func (w *World) At(at clock.Time, act func(now clock.Time)) { w.agenda.push(max(at, w.now), act) }

// Fail records that something did not hold; the run ends.
func (w *World) Fail(format string, args ...any) {
	w.faults = append(w.faults, fmt.Errorf("%v: %w", w.now, fmt.Errorf(format, args...)))
}

// Err returns the first thing that did not hold.
func (w *World) Err() error {
	if len(w.faults) == 0 {
		return nil
	}
	return w.faults[0]
}

// Run has everything happen that is due at or before until, unless something fails.
func (w *World) Run(until clock.Time) error {
	return w.RunUntil(until, func() bool { return false })
}

// RunUntil is Run that ends as soon as done says so.
func (w *World) RunUntil(until clock.Time, done func() bool) error {
	const actsMax = 1 << 20 // at one instant
	for acts := 0; len(w.faults) == 0 && !done() && w.agenda.next() <= until; acts++ {
		if at := w.agenda.next(); at > w.now {
			w.now, acts = at, 0
		}
		if acts > actsMax {
			w.Fail("the world stands still")
			break
		}
		w.agenda.pop()(w.now)
	}
	if len(w.faults) == 0 && w.now < until && w.agenda.next() > until {
		w.now = until
	}
	return w.Err()
}

func (w *World) see(s Sight) {
	s.At = w.now
	for _, t := range w.taps {
		if err := t.See(&s); err != nil {
			w.Fail("%s: %w", s.Host.Name, err)
		}
	}
}

// An alarm calls act at an instant that may be moved; only the last one set counts.
type alarm struct {
	world *World
	at    clock.Time // of the earliest entry in the agenda; Never: none
	act   func(now clock.Time)
	ring  func(now clock.Time)
}

func (w *World) alarm(act func(now clock.Time)) *alarm {
	a := &alarm{world: w, at: clock.Never, act: act}
	a.ring = func(now clock.Time) {
		if a.at <= now {
			a.at = clock.Never
			a.act(now)
		}
	}
	return a
}

// set has the alarm go off at that instant or before: who is called must ask again what is due.
func (a *alarm) set(at clock.Time) {
	if at < a.at {
		a.at = max(at, a.world.now)
		a.world.agenda.push(a.at, a.ring)
	}
}
