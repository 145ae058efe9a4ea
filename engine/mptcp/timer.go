package mptcp

import (
	"container/heap"
	"slices"

	"tandem/engine/clock"
)

// timers is every connection of a bond, the one that must be advanced first in front. A connection
// stands where it was last armed; one whose deadline moved later stays there and is put right when
// its turn comes, because deadlines move later with almost every segment.
type timers struct {
	heap timerHeap
	born uint64
}

func (t *timers) add(c *Conn) {
	t.born++
	c.born = t.born
	c.armed = clock.Never
	heap.Push(&t.heap, c)
}

func (t *timers) remove(c *Conn) { heap.Remove(&t.heap, c.slot) }

// arm notes that c must be advanced at at.
func (t *timers) arm(c *Conn, at clock.Time) {
	if at < c.armed {
		c.armed = at
		heap.Fix(&t.heap, c.slot)
	}
}

// due returns a connection armed for now or earlier, if there is one.
func (t *timers) due(now clock.Time) *Conn {
	if len(t.heap) == 0 || t.heap[0].armed > now {
		return nil
	}
	return t.heap[0]
}

// rearm puts c where its deadline says.
func (t *timers) rearm(c *Conn, at clock.Time) {
	c.armed = at
	heap.Fix(&t.heap, c.slot)
}

func (t *timers) deadline() clock.Time {
	if len(t.heap) == 0 {
		return clock.Never
	}
	return t.heap[0].armed
}

// all returns the connections in the order of their creation.
func (t *timers) all() []*Conn {
	all := slices.Clone(t.heap)
	slices.SortFunc(all, func(a, b *Conn) int { return int(int64(a.born - b.born)) })
	return all
}

// timerHeap orders connections for container/heap.
type timerHeap []*Conn

func (h timerHeap) Len() int { return len(h) }

// Less breaks ties by age, so that equal deadlines are served in an order that repeats.
func (h timerHeap) Less(i, j int) bool {
	if h[i].armed != h[j].armed {
		return h[i].armed < h[j].armed
	}
	return h[i].born < h[j].born
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i, j
}

// Push is for container/heap.
func (h *timerHeap) Push(x any) {
	c := x.(*Conn)
	c.slot = len(*h)
	*h = append(*h, c)
}

// Pop is for container/heap.
func (h *timerHeap) Pop() any {
	old := *h
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return c
}
