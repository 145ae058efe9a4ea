package mptcp

import (
	"bytes"
	"slices"
	"sync/atomic"
)

// An inbox is the received half of a stream. Octets are written where they belong, in any order, by
// the bond's owner; the application reads what is complete from the start on.
//
//	         consumed        readable             edge
//	────────────┼───────────────┼────── ▒▒▒ ─────────┤
//	  freed     │ may be read   │   out of order     │ not offered
//
// The application touches only octets between consumed and readable, and says consumed after it
// copied them: so the owner may free every block below, and all of them when the two are equal.
type inbox struct {
	readable atomic.Uint64
	consumed atomic.Uint64
	table    atomic.Pointer[blockTable]

	pool  *pool
	freed uint64 // first position whose block is kept
	late  spans  // received beyond readable
}

// A blockTable finds the block of a position: block k lies in slot k modulo the table's length.
type blockTable struct{ slots []atomic.Pointer[block] }

func (t *blockTable) slot(k uint64) *atomic.Pointer[block] {
	return &t.slots[k&uint64(len(t.slots)-1)]
}

// read copies readable octets to p: the application's side.
func (in *inbox) read(p []byte) int {
	end, pos := in.readable.Load(), in.consumed.Load()
	n := 0
	for n < len(p) && pos < end {
		b := in.table.Load().slot(pos / blockSize).Load()
		i := pos % blockSize
		m := copy(p[n:], b.data[i:min(blockSize, i+end-pos)])
		n += m
		pos += uint64(m)
	}
	if n > 0 {
		in.consumed.Store(pos)
	}
	return n
}

// queued returns the octets that wait to be read or completed, as memory sees them.
func (in *inbox) queued() int {
	return int(in.readable.Load()-in.consumed.Load()) + in.late.size()
}

// write places octets at position pos, which the caller checked against the window, and returns how
// many became readable, and false if it had no room to note them.
func (in *inbox) write(pos uint64, p []byte) (int, bool) {
	next := in.readable.Load()
	if pos < next {
		skip := min(next-pos, uint64(len(p)))
		pos, p = pos+skip, p[skip:]
	}
	if len(p) == 0 {
		return 0, true
	}
	end := pos + uint64(len(p))
	if pos > next {
		if !in.late.add(pos, end) {
			return 0, false
		}
		in.copyIn(pos, p)
		return 0, true
	}
	in.copyIn(pos, p)
	for len(in.late) > 0 && in.late[0].from <= end {
		end = max(end, in.late.pop())
	}
	in.readable.Store(end)
	return int(end - next), true
}

// deviates reports whether p has another octet at its place of the stream than came before, as far as that is kept.
func (in *inbox) deviates(pos uint64, p []byte) bool {
	end := pos + uint64(len(p))
	if in.differ(max(pos, in.freed), min(end, in.readable.Load()), pos, p) {
		return true
	}
	return slices.ContainsFunc(in.late, func(s span) bool { return in.differ(max(pos, s.from), min(end, s.to), pos, p) })
}

// differ compares the octets from position from to before to with those of p, which begin at pos.
func (in *inbox) differ(from, to, pos uint64, p []byte) bool {
	for from < to {
		n := min(to-from, blockSize-from%blockSize)
		b := in.table.Load().slot(from / blockSize).Load()
		if b != nil && !bytes.Equal(b.data[from%blockSize:from%blockSize+n], p[from-pos:from-pos+n]) {
			return true
		}
		from += n
	}
	return false
}

func (in *inbox) copyIn(pos uint64, p []byte) {
	for len(p) > 0 {
		b := in.block(pos / blockSize)
		n := copy(b.data[pos%blockSize:], p)
		p = p[n:]
		pos += uint64(n)
	}
}

// block returns block k, making it if need be.
func (in *inbox) block(k uint64) *block {
	t := in.table.Load()
	first := in.freed / blockSize
	if t == nil || k-first >= uint64(len(t.slots)) {
		t = in.grow(first, k)
	}
	slot := t.slot(k)
	b := slot.Load()
	if b == nil {
		b = in.pool.get()
		slot.Store(b)
	}
	return b
}

// grow replaces the table by one that has room for blocks first to k. Readers of the old one find
// in it all they may touch.
func (in *inbox) grow(first, k uint64) *blockTable {
	size := uint64(2)
	for size <= k-first {
		size *= 2
	}
	t := &blockTable{slots: make([]atomic.Pointer[block], size)}
	if old := in.table.Load(); old != nil {
		for i := first; i < first+uint64(len(old.slots)); i++ {
			t.slot(i).Store(old.slot(i).Load())
		}
	}
	in.table.Store(t)
	return t
}

// release gives back the blocks that the application has done with.
func (in *inbox) release() {
	pos := in.consumed.Load()
	t := in.table.Load()
	if t == nil {
		in.freed = pos
		return
	}
	idle := pos == in.readable.Load() && len(in.late) == 0
	end := pos / blockSize
	if idle {
		end = (pos + blockSize - 1) / blockSize
	}
	for k := in.freed / blockSize; k < end; k++ {
		if b := t.slot(k).Swap(nil); b != nil {
			in.pool.put(b)
		}
	}
	in.freed = pos
}

// rest lets an idle stream hold no memory at all.
func (in *inbox) rest() {
	if in.freed == in.readable.Load() && len(in.late) == 0 {
		in.table.Store(nil)
		in.late = nil
	}
}

// seal gives back what lies beyond readable: what is missing before it will not come.
func (in *inbox) seal() {
	if t := in.table.Load(); t != nil {
		end := in.freed/blockSize + uint64(len(t.slots))
		for k := (in.readable.Load() + blockSize - 1) / blockSize; k < end; k++ {
			if b := t.slot(k).Swap(nil); b != nil {
				in.pool.put(b)
			}
		}
	}
	in.late = nil
	in.release()
}
