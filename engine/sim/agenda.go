package sim

import "tandem/engine/clock"

// An agenda holds things until their time comes: a heap by instant, then by order of entry.
type agenda[T any] struct {
	heap  []entry[T]
	count uint64
}

type entry[T any] struct {
	at    clock.Time
	order uint64
	what  T
}

func (e *entry[T]) before(f *entry[T]) bool {
	return e.at < f.at || e.at == f.at && e.order < f.order
}

// next is when the first thing is due, or Never.
func (a *agenda[T]) next() clock.Time {
	if len(a.heap) == 0 {
		return clock.Never
	}
	return a.heap[0].at
}

func (a *agenda[T]) push(at clock.Time, what T) {
	a.count++
	a.heap = append(a.heap, entry[T]{at, a.count, what})
	h := a.heap
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if h[up].before(&h[i]) {
			return
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

// pop takes the first thing out of an agenda that is not empty.
func (a *agenda[T]) pop() T {
	h := a.heap
	first, last := h[0].what, len(h)-1
	h[0] = h[last]
	h[last] = entry[T]{}
	h = h[:last]
	a.heap = h
	for i := 0; ; {
		down := 2*i + 1
		if down >= last {
			return first
		}
		if down+1 < last && h[down+1].before(&h[down]) {
			down++
		}
		if h[i].before(&h[down]) {
			return first
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
}
