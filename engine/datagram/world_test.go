package datagram

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tandem/engine/clock"
)

const ms = clock.Time(time.Millisecond)

// packet is one under way.
type packet struct {
	at   clock.Time
	to   int
	path PathID
	msg  []byte
}

// world joins two lanes with paths whose delays, losses and duplicates the test chooses.
type world struct {
	t      *testing.T
	now    clock.Time
	ends   [2]*Control
	skew   [2]clock.Time // how much the clock of each end is ahead
	delay  map[PathID]clock.Time
	dead   map[PathID]bool
	mtu    int
	rand   *rand.Rand
	loss   int // in 100
	jitter clock.Time
	twice  int                                // in 100
	fate   func(n int, from int) (copies int) // of the nth packet; nil: by loss and twice
	flight []packet
	sent   [2][]packet
	events [2][]Event
	errors []error
}

func newWorld(t *testing.T, paths ...PathID) *world {
	w := &world{t: t, mtu: 1400, delay: map[PathID]clock.Time{}, dead: map[PathID]bool{}, rand: rand.New(rand.NewPCG(1, 2))}
	w.now = 1000 * ms
	for i := range w.ends {
		w.ends[i] = NewControl(ControlConfig{Epoch: uint64(0xa + i), Features: 7, Families: IPv4})
	}
	for _, id := range paths {
		w.delay[id] = clock.Time(id) * 10 * ms
		w.attach(id)
	}
	return w
}

func (w *world) attach(id PathID) {
	for i, c := range w.ends {
		c.Attach(w.at(i), id)
	}
}

// at is the time at that end.
func (w *world) at(end int) clock.Time { return w.now + w.skew[end] }

// pump takes what the ends have to send and to say.
func (w *world) pump() {
	for i, c := range w.ends {
		buf := make([]byte, 2000)
		for n := 0; ; n++ {
			if n > 10000 {
				w.t.Fatal("Transmit does not end")
			}
			id, msg, ok := c.Transmit(w.at(i), buf)
			if !ok {
				break
			}
			p := packet{w.now + w.delay[id], 1 - i, id, bytes.Clone(msg)}
			w.sent[i] = append(w.sent[i], packet{w.now, 1 - i, id, p.msg})
			for range w.copies(len(w.sent[0])+len(w.sent[1]), i, p) {
				p.at = w.now + w.delay[id]
				if w.jitter > 0 {
					p.at += clock.Time(w.rand.Int64N(int64(w.jitter)))
				}
				w.flight = append(w.flight, p)
			}
		}
		for e, ok := c.Next(); ok; e, ok = c.Next() {
			w.events[i] = append(w.events[i], e)
		}
	}
}

func (w *world) copies(n, from int, p packet) int {
	switch {
	case w.dead[p.path] || len(p.msg) > w.mtu:
		return 0
	case w.fate != nil:
		return w.fate(n, from)
	case w.rand.IntN(100) < w.loss:
		return 0
	case w.rand.IntN(100) < w.twice:
		return 2
	}
	return 1
}

// run lets d pass.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for w.pump(); ; w.pump() {
		next := clock.Never
		for _, p := range w.flight {
			next = min(next, p.at)
		}
		for i, c := range w.ends {
			if at := c.Deadline(); at != clock.Never {
				next = min(next, at-w.skew[i])
			}
		}
		if next > end {
			w.now = end
			return
		}
		w.now = max(w.now, next)
		w.arrive()
		for i, c := range w.ends {
			c.Advance(w.at(i))
		}
	}
}

// arrive delivers, of the packets that are due, the one sent last first.
func (w *world) arrive() {
	for i := len(w.flight) - 1; i >= 0; i-- {
		if p := w.flight[i]; p.at <= w.now {
			w.flight = slices.Delete(w.flight, i, i+1)
			if err := w.ends[p.to].Receive(w.at(p.to), p.path, p.msg); err != nil {
				w.errors = append(w.errors, err)
			}
		}
	}
}

// restart puts another process in the place of an end.
func (w *world) restart(end int, cfg ControlConfig) {
	w.ends[end] = NewControl(cfg)
	w.events[end] = nil
	for id := range PathID(255) {
		if _, ok := w.delay[id]; ok {
			w.ends[end].Attach(w.at(end), id)
		}
	}
}

// got returns the events of that kind at an end.
func (w *world) got(end int, k EventKind) (es []Event) {
	for _, e := range w.events[end] {
		if e.Kind == k {
			es = append(es, e)
		}
	}
	return es
}

// settled fails the test unless both ends met and have nothing left to say.
func (w *world) settled() {
	w.t.Helper()
	for i, c := range w.ends {
		if n, ok := c.Negotiated(); !ok || c.Unacknowledged() > 0 {
			w.t.Fatalf("end %d: %+v met=%v, %d not acknowledged at %v", i, n, ok, c.Unacknowledged(), w.now)
		}
	}
}

func offer(n int) OfferID {
	return OfferID{Source: uint16(n), Target: netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:443", n%250))}
}
