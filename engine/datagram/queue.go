package datagram

import "tandem/engine/clock"

// A Queue is packets in the order in which they came, copied into a ring of octets that grows with what
// it holds. The zero Queue is empty and holds no memory.
type Queue struct {
	ring  []byte
	items []item
	first int // of items: those before are gone
}

type item struct {
	came  clock.Time
	at, n int // in the ring, in one piece
}

const (
	ringLeast = 8 << 10
	ringKept  = 64 << 10 // a larger ring is given back when it is empty
	itemsKept = 1 << 10  // likewise
)

// Cost is what a packet of n octets counts against a bound on what queues hold.
func Cost(n int) int { return n + 64 }

// Push appends a copy of a packet that came at that instant, and returns the copy, which may be altered.
func (q *Queue) Push(came clock.Time, pkt []byte) []byte {
	n := len(pkt)
	at := q.place(n)
	if q.first > 0 && len(q.items) == cap(q.items) {
		q.items = q.items[:copy(q.items, q.items[q.first:])]
		q.first = 0
	}
	q.items = append(q.items, item{came, at, n})
	copy(q.ring[at:], pkt)
	return q.ring[at : at+n]
}

// Len returns how many packets wait.
func (q *Queue) Len() int { return len(q.items) - q.first }

// Front returns the packet that waits longest, and when it came. It may be used until the next Push.
func (q *Queue) Front() (pkt []byte, came clock.Time, ok bool) {
	if q.Len() == 0 {
		return nil, 0, false
	}
	x := &q.items[q.first]
	return q.ring[x.at : x.at+x.n], x.came, true
}

// Pop removes the packet that waits longest. What Front returned may still be used until the next Push.
func (q *Queue) Pop() {
	q.first++
	if q.Len() > 0 {
		return
	}
	q.items, q.first = q.items[:0], 0
	if len(q.ring) > ringKept {
		q.ring = nil
	}
	if cap(q.items) > itemsKept {
		q.items = nil
	}
}

// place returns where n octets find room in one piece.
func (q *Queue) place(n int) int {
	if q.Len() == 0 {
		if n > len(q.ring) {
			q.ring = make([]byte, ringFor(n))
		}
		return 0
	}
	head, last := q.items[q.first].at, &q.items[len(q.items)-1]
	tail := last.at + last.n
	switch {
	case tail > head && tail+n <= len(q.ring):
		return tail
	case tail > head && n < head:
		return 0
	case tail <= head && tail+n < head:
		return tail
	}
	return q.grow(n)
}

// grow moves all to the beginning of a larger ring, and returns where n more octets go.
func (q *Queue) grow(n int) int {
	used := 0
	for _, x := range q.items[q.first:] {
		used += x.n
	}
	ring := make([]byte, ringFor(2*used+n))
	to := 0
	for i := q.first; i < len(q.items); i++ {
		x := &q.items[i]
		copy(ring[to:], q.ring[x.at:x.at+x.n])
		x.at = to
		to += x.n
	}
	q.ring = ring
	return to
}

func ringFor(n int) int {
	size := ringLeast
	for size < n {
		size *= 2
	}
	return size
}
