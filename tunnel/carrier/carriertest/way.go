package carriertest

import (
	"math/rand/v2"
	"sync"
	"time"

	"tandem/engine/clock"
	"tandem/engine/sim"
)

// A Way is one direction of an emulated link, driven in real time.
//
//	Put ─► sim.Link ─► (deadline) ─► deliver
type Way struct {
	mu      sync.Mutex
	link    *sim.Link
	now     func() clock.Time
	wake    chan struct{} // holds a token after the link's deadline may have come earlier
	quit    chan struct{}
	done    chan struct{}
	nap     func(time.Duration)
	deliver func(pkts [][]byte)
}

// batchMax is how many packets are handed on at once.
const batchMax = 64

// napMax bounds one nap, so that a changed link is noticed.
const napMax = 2 * time.Millisecond

// NewWay starts a way. It waits by nap, which may be more exact than the runtime's timers; nil: time.Sleep.
// deliver is called by one goroutine and must not keep the packets it is given.
func NewWay(c sim.Conditions, now func() clock.Time, nap func(time.Duration), deliver func(pkts [][]byte)) *Way {
	if nap == nil {
		nap = time.Sleep
	}
	w := &Way{
		link: sim.NewLink(rand.NewPCG(rand.Uint64(), rand.Uint64()), c),
		now:  now,
		wake: make(chan struct{}, 1),
		quit: make(chan struct{}),
		done: make(chan struct{}),
		nap:  nap, deliver: deliver,
	}
	go w.drive()
	return w
}

// Put sends packets over the link. It does not keep them. After Close they are lost.
func (w *Way) Put(pkts [][]byte) {
	select {
	case <-w.quit:
		return
	default:
	}
	w.mu.Lock()
	now := w.now()
	before := w.link.Next()
	for _, pkt := range pkts {
		w.link.Send(now, pkt)
	}
	earlier := w.link.Next() < before
	w.mu.Unlock()
	if earlier {
		w.rouse()
	}
}

// Change alters the link while it runs.
func (w *Way) Change(f func(c *sim.Conditions)) {
	w.mu.Lock()
	c := w.link.Conditions()
	f(&c)
	w.link.Set(w.now(), c)
	w.mu.Unlock()
	w.rouse()
}

// Counts returns what became of all packets so far.
func (w *Way) Counts() sim.Counts {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.link.Counts()
}

func (w *Way) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Close ends the way, with all that is on it, when deliver has returned.
func (w *Way) Close() {
	close(w.quit)
	<-w.done
}

// drive hands on what has arrived, then waits for what arrives next: on its channel while the link
// is empty, else in short naps towards the deadline.
func (w *Way) drive() {
	defer close(w.done)
	var octets []byte
	var batch [][]byte
	for {
		octets, batch = octets[:0], batch[:0]
		w.mu.Lock()
		now := w.now()
		for len(batch) < batchMax {
			pkt, ok := w.link.Receive(now)
			if !ok {
				break
			}
			octets = append(octets, pkt...)
			batch = append(batch, octets[len(octets)-len(pkt):])
		}
		next := w.link.Next()
		w.mu.Unlock()
		if len(batch) > 0 {
			w.deliver(batch)
		}
		select {
		case <-w.quit:
			return
		default:
		}
		switch {
		case len(batch) > 0:
		case next == clock.Never:
			select {
			case <-w.wake:
			case <-w.quit:
				return
			}
		default:
			w.nap(min(next.Sub(now), napMax))
		}
	}
}
