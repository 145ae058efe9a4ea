package sim

import (
	"math/bits"
	"math/rand/v2"
	"time"

	"tandem/engine/clock"
)

// heldMax is how many octets a link holds at most, waiting and on their way: 10 Gbit/s for 200 ms.
const heldMax = 256 << 20

// A Link is one direction of an emulated link. It does no I/O: packets and instants go in, packets
// and the next instant come out. Instants must not go back.
//
//	Send ─► queue ─► one packet at a time at Rate ─► on its way for Delay ─► Receive
//	    full, down         lost, altered, doubled
//
// The fate of a packet is drawn when its first bit leaves, so a change of conditions affects what
// still waits. Lost packets take their time on the wire as others do.
type Link struct {
	conditions Conditions
	dice       *rand.Rand
	counts     Counts

	queue   ring           // waits for the wire
	waiting int            // octets in the queue and being sent
	sending int            // octets of the packet being sent
	free    clock.Time     // when its last bit has left
	way     agenda[[]byte] // has left or is leaving
	held    int            // octets in both
	last    clock.Time     // when the last packet that was not reordered arrives

	bad        bool // Gilbert's state
	lose, left int  // packets still to lose, and to come, of this LoseOf

	spare [][]byte
	given []byte // lent by the last Receive
}

// NewLink returns a link whose faults are drawn from source.
func NewLink(source rand.Source, c Conditions) *Link {
	return &Link{conditions: c, dice: rand.New(source)}
}

// Set changes the conditions from now on.
func (l *Link) Set(now clock.Time, c Conditions) {
	l.advance(now)
	if c.LoseOf != l.conditions.LoseOf || c.Lose != l.conditions.Lose {
		l.left = 0
	}
	l.conditions = c
	if c.Down {
		for l.queue.len() > 0 {
			pkt := l.queue.pop()
			l.waiting -= len(pkt)
			l.drop(pkt, &l.counts.Down)
		}
	}
	if l.free < now {
		l.free = now
	}
	l.advance(now)
}

// Conditions returns the present conditions.
func (l *Link) Conditions() Conditions { return l.conditions }

// Counts returns what became of all packets so far.
func (l *Link) Counts() Counts { return l.counts }

// Waiting returns how many octets wait for the wire or are being sent.
func (l *Link) Waiting(now clock.Time) int {
	l.advance(now)
	return l.waiting
}

// Send takes a copy of pkt, or counts why not.
func (l *Link) Send(now clock.Time, pkt []byte) {
	l.advance(now)
	c, n := &l.conditions, len(pkt)
	switch {
	case c.Down:
		l.counts.Down.add(n)
		return
	case c.MTU > 0 && n > c.MTU:
		l.counts.TooLong.add(n)
		return
	case l.waiting > 0 && l.waiting+n > l.limit(), l.held+n > heldMax:
		l.counts.QueueFull.add(n)
		return
	}
	if l.waiting == 0 && l.free < now {
		l.free = now
	}
	own := append(l.buffer(), pkt...)
	if c.MarkBytes > 0 && l.waiting > c.MarkBytes && mark(own) {
		l.counts.Marked.add(n)
	}
	l.queue.push(own)
	l.waiting += n
	l.held += n
	l.advance(now)
}

// limit is how many octets may wait.
func (l *Link) limit() int {
	c, n := &l.conditions, heldMax
	if c.QueueBytes > 0 {
		n = c.QueueBytes
	}
	if c.QueueTime > 0 && c.Rate > 0 {
		n = min(n, int(scale(uint64(c.Rate), uint64(c.QueueTime), 8*uint64(time.Second))))
	}
	return n
}

// Next returns when Receive must next be called: not later than the next packet arrives, and Never
// if none is held or all are stuck.
func (l *Link) Next() clock.Time {
	next := l.way.next()
	if l.queue.len() > 0 && !l.conditions.Clogged {
		first := l.free.Add(l.duration(len(l.queue.front()))).Add(l.conditions.Delay)
		next = min(next, first)
	}
	return next
}

// Receive returns a packet that has arrived by now. It may be used until the next call of Receive.
func (l *Link) Receive(now clock.Time) (pkt []byte, ok bool) {
	l.advance(now)
	if l.given != nil {
		l.spare = append(l.spare, l.given[:0])
		l.given = nil
	}
	if l.way.next() > now {
		return nil, false
	}
	l.given = l.way.pop()
	l.held -= len(l.given)
	l.counts.Forwarded.add(len(l.given))
	return l.given, true
}

// advance puts on the wire what may have left by now.
func (l *Link) advance(now clock.Time) {
	for l.free <= now {
		l.waiting -= l.sending
		l.sending = 0
		if l.queue.len() == 0 || l.conditions.Clogged {
			return
		}
		pkt := l.queue.pop()
		l.sending = len(pkt)
		l.free = l.free.Add(l.duration(len(pkt)))
		l.leave(pkt)
	}
}

// leave draws the fate of a packet whose last bit leaves when the wire is free again.
func (l *Link) leave(pkt []byte) {
	c := &l.conditions
	if l.loses() {
		l.drop(pkt, &l.counts.Lost)
		return
	}
	if l.chance(c.Noise) {
		flip(pkt, l.dice)
		l.counts.Noise.add(len(pkt))
	}
	if l.chance(c.Alter) && alter(pkt, l.dice) {
		l.counts.Altered.add(len(pkt))
	}
	at := l.free.Add(c.Delay)
	if c.Jitter > 0 {
		at = at.Add(time.Duration(l.dice.Int64N(int64(c.Jitter))))
	}
	if c.ReorderBy > 0 && l.chance(c.Reorder) {
		at = at.Add(time.Duration(l.dice.Int64N(int64(c.ReorderBy))))
		l.counts.Reordered.add(len(pkt))
	} else {
		at = max(at, l.last)
		l.last = at
	}
	if l.chance(c.Duplicate) {
		l.counts.Duplicated.add(len(pkt))
		l.held += len(pkt)
		l.way.push(at, append(l.buffer(), pkt...))
	}
	l.way.push(at, pkt)
}

// loses draws whether the next packet is lost.
func (l *Link) loses() bool {
	c := &l.conditions
	lost := l.chance(c.Loss)
	if c.LoseOf > 0 {
		if l.left == 0 {
			l.lose, l.left = c.Lose, c.LoseOf
		}
		if l.dice.IntN(l.left) < l.lose {
			l.lose--
			lost = true
		}
		l.left--
	}
	if g := c.Burst; g.Enter > 0 {
		if turn := g.Enter; !l.bad {
			l.bad = l.chance(turn)
		} else {
			l.bad = !l.chance(g.Leave)
		}
		lost = l.bad && l.chance(g.Loss) || lost
	}
	return lost
}

func (l *Link) chance(p float64) bool { return p > 0 && l.dice.Float64() < p }

func (l *Link) drop(pkt []byte, c *Count) {
	c.add(len(pkt))
	l.held -= len(pkt)
	l.spare = append(l.spare, pkt[:0])
}

// buffer returns an empty buffer, used before if there is one.
func (l *Link) buffer() []byte {
	if n := len(l.spare); n > 0 {
		b := l.spare[n-1]
		l.spare = l.spare[:n-1]
		return b
	}
	return make([]byte, 0, 1536)
}

// duration is how long n octets take at the present rate.
func (l *Link) duration(n int) time.Duration {
	if l.conditions.Rate <= 0 {
		return 0
	}
	return time.Duration(scale(uint64(n), 8*uint64(time.Second), uint64(l.conditions.Rate)))
}

// scale is a*b/c, which must fit.
func scale(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if hi >= c {
		return 1 << 62
	}
	q, _ := bits.Div64(hi, lo, c)
	return min(q, 1<<62)
}
