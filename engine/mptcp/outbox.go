package mptcp

import (
	"slices"
	"sort"
	"sync/atomic"
)

// An outbox is the sent half of a stream. The application appends; the bond's owner copies out of
// it whenever a segment is built, and frees what nobody needs any more: what the peer has
// acknowledged on the connection level and every subflow that carried it has seen acknowledged too.
//
//	            una             next           written       limit
//	─── ▒▒ ──────┼────────────────┼───────────────┼─────────────┤
//	 in flight   │ in flight or   │ not sent yet  │ room        │ Write waits
//	 elsewhere   │ delivered late │               │
//
// Blocks pass from the application to the owner through next of the block before, or through first
// when there is none before. While a Write runs it holds the last block; between Writes the block
// lies in tail, where the owner may take it to let an idle stream hold no memory.
type outbox struct {
	written atomic.Uint64
	limit   atomic.Uint64
	tail    atomic.Pointer[block]
	first   atomic.Pointer[block]

	pool   *pool
	blocks []*block // in order of start, from the first that is still needed
	last   *block   // the newest of them, unless the application lost it
	swept  uint64   // una when sweep last ran
}

// write appends as much of p as there is room for: the application's side.
func (o *outbox) write(p []byte) int {
	pos := o.written.Load()
	room := o.limit.Load() - pos
	if int64(room) <= 0 {
		return 0
	}
	p = p[:min(uint64(len(p)), room)]
	b := o.tail.Swap(nil)
	n := 0
	for n < len(p) {
		if b == nil || pos-b.start == blockSize {
			fresh := o.pool.take()
			fresh.start = pos
			if b == nil {
				o.first.Store(fresh)
			} else {
				b.next.Store(fresh)
			}
			b = fresh
		}
		m := copy(b.data[pos-b.start:], p[n:])
		n += m
		pos += uint64(m)
	}
	o.written.Store(pos)
	o.tail.Store(b)
	return n
}

// sync takes note of what was written and returns where it ends. Blocks are published before the
// octets in them are, so that none is missed.
func (o *outbox) sync() uint64 {
	end := o.written.Load()
	for {
		var b *block
		if o.last != nil {
			b = o.last.next.Load()
		}
		if b == nil {
			b = o.first.Swap(nil)
		}
		if b == nil {
			return end
		}
		o.pool.used++
		o.blocks = append(o.blocks, b)
		o.last = b
	}
}

// find returns the index of the block that holds position pos.
func (o *outbox) find(pos uint64) int {
	if n := len(o.blocks); n > 0 && o.blocks[n-1].start <= pos {
		return n - 1
	}
	return sort.Search(len(o.blocks), func(i int) bool { return o.blocks[i].start > pos }) - 1
}

// ends returns where block i ends: where the next begins, or where a full one would end.
func (o *outbox) ends(i int) uint64 {
	full := o.blocks[i].start + blockSize
	if i+1 < len(o.blocks) {
		return min(full, o.blocks[i+1].start)
	}
	return full
}

// fetch copies octets from position pos on to p.
func (o *outbox) fetch(pos uint64, p []byte) {
	for i := o.find(pos); len(p) > 0; i++ {
		n := copy(p, o.blocks[i].data[pos-o.blocks[i].start:o.ends(i)-o.blocks[i].start])
		p = p[n:]
		pos += uint64(n)
	}
}

// hold marks the n octets from pos on as in flight on one more subflow, or one fewer.
func (o *outbox) hold(pos uint64, n, by int) {
	for i := o.find(pos); i < len(o.blocks) && o.blocks[i].start < pos+uint64(n); i++ {
		o.blocks[i].refs += by
	}
}

// release frees every block before una that is not in flight.
func (o *outbox) release(una uint64) {
	n := 0
	for n < len(o.blocks)-1 && o.ends(n) <= una && o.blocks[n].refs == 0 {
		o.free(o.blocks[n])
		n++
	}
	if n > 0 {
		o.blocks = slices.Delete(o.blocks, 0, n)
	}
	switch {
	case len(o.blocks) == 1:
		o.rest(una)
	case len(o.blocks) > 1 && o.ends(0) <= una && una >= o.swept+blockSize:
		o.swept = una
		o.sweep(una)
	}
}

// free gives back a block that is not the last. rest may have left it in tail while a Write ran; no
// Write may find it there any more.
func (o *outbox) free(b *block) {
	o.tail.CompareAndSwap(b, nil)
	o.pool.put(b)
}

// sweep frees what release cannot, because a subflow that makes no progress holds a block before it.
func (o *outbox) sweep(una uint64) {
	kept := o.blocks[:0]
	for i, b := range o.blocks {
		if i+1 < len(o.blocks) && b.start+blockSize <= una && b.refs == 0 {
			o.free(b)
		} else {
			kept = append(kept, b)
		}
	}
	clear(o.blocks[len(kept):])
	o.blocks = kept
}

// rest frees the last block too, if all was delivered and no Write is running.
func (o *outbox) rest(una uint64) {
	last := o.blocks[0]
	if last.refs > 0 || o.written.Load() != una {
		return
	}
	b := o.tail.Swap(nil)
	if b == nil {
		return
	}
	if o.written.Load() != una || b != last {
		// A Write came in between; if another is running, it goes on with a block of its own.
		o.tail.CompareAndSwap(nil, b)
		return
	}
	o.blocks[0] = nil
	o.blocks, o.last = o.blocks[:0], nil
	o.pool.put(b)
}

// leave gives up every block: the connection is forgotten. The last is not used again, because a Write
// may still be running.
func (o *outbox) leave() {
	for _, b := range o.blocks {
		if b == o.last {
			o.pool.used--
		} else {
			o.pool.put(b)
		}
	}
	o.blocks, o.last = nil, nil
}
