package lab

import (
	"math/rand/v2"
	"sync"
	"time"

	"tandem/engine/clock"
	"tandem/engine/sim"
)

// A way is one direction of an emulated link, driven in real time.
//
//	put ─► capture ─► sim.Link ─► (deadline) ─► capture ─► deliver
type way struct {
	mu      sync.Mutex
	link    *sim.Link
	now     func() clock.Time
	wake    chan struct{} // holds a token after the link's deadline may have come earlier
	quit    chan struct{}
	deliver func(pkts [][]byte)
	nap     func(time.Duration)
}

// batchMax is how many packets are handed on at once.
const batchMax = 64

// napMax bounds one nap, so that a changed link is noticed.
const napMax = 2 * time.Millisecond

// newWay starts a way. deliver must not keep the packets it is given.
func newWay(c sim.Conditions, now func() clock.Time, deliver func(pkts [][]byte)) *way {
	l := sim.NewLink(rand.NewPCG(rand.Uint64(), rand.Uint64()), c)
	w := &way{link: l, now: now, wake: make(chan struct{}, 1), quit: make(chan struct{}), deliver: deliver, nap: nap}
	go w.drive()
	return w
}

// put sends packets over the link. It does not keep them.
func (w *way) put(pkts [][]byte) {
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

// change alters the link while it runs.
func (w *way) change(f func(c *sim.Conditions)) {
	w.mu.Lock()
	c := w.link.Conditions()
	f(&c)
	w.link.Set(w.now(), c)
	w.mu.Unlock()
	w.rouse()
}

func (w *way) counts() sim.Counts {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.link.Counts()
}

func (w *way) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *way) close() { close(w.quit) }

// drive hands on what has arrived, then waits for what arrives next: on its channel while the link
// is empty, else in short naps towards the deadline, which are more exact than the runtime's timers.
func (w *way) drive() {
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
			continue
		}
		if next == clock.Never {
			select {
			case <-w.wake:
			case <-w.quit:
				return
			}
			continue
		}
		select {
		case <-w.quit:
			return
		default:
			w.nap(min(next.Sub(now), napMax))
		}
	}
}
