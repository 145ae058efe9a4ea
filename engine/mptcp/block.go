package mptcp

import (
	"slices"
	"sync/atomic"
)

// blockSize is how many octets of a stream lie together. A busy stream wants few of them, an idle
// one holds none, so that the size costs only streams that move.
const blockSize = 16 << 10

// A block is a piece of a stream's memory.
type block struct {
	next  atomic.Pointer[block] // outbox: the block written after this one
	start uint64                // outbox: position of data[0]
	refs  int                   // outbox: chunks in flight that touch it
	data  [blockSize]byte
}

// pool keeps blocks for the connections of a bond, and counts those that their streams hold. Only the
// bond's owner touches it, but for the shelf.
//
//	streams ──put──► shelf ──take──► applications that write ──► sync ──► streams
//	              └► free ──get──► octets that arrive ─────────────────► streams
type pool struct {
	free  []*block
	used  int // held by streams: handed out by get or noted by note, and not given back
	shelf shelf
}

// poolMax bounds what a pool keeps beside its shelf: 4 MiB.
const poolMax = 256

// get returns a block for octets that arrive.
func (p *pool) get() *block {
	p.used++
	n := len(p.free)
	if n == 0 {
		if b := p.shelf.take(); b != nil {
			return b
		}
		return new(block)
	}
	b := p.free[n-1]
	p.free[n-1] = nil
	p.free = p.free[:n-1]
	return b
}

// put takes back a block that nobody touches any more.
func (p *pool) put(b *block) {
	p.used--
	b.next.Store(nil)
	b.refs = 0
	if !p.shelf.put(b) && len(p.free) < poolMax {
		p.free = append(p.free, b)
	}
}

// trim lets go of blocks that are kept, so that no more are than streams hold.
func (p *pool) trim() {
	if n := len(p.free); n > p.used {
		p.free = slices.Delete(p.free, p.used, n)
	}
	if p.used == 0 {
		p.free = nil
		for p.shelf.take() != nil {
		}
	}
}

// full reports whether the blocks in use hold n octets or more.
func (p *pool) full(n int) bool { return p.used*blockSize >= n }

// shelfSize is how many blocks wait for applications: what may leave in a turn of the bond's owner.
const shelfSize = 32

// A shelf is where applications that write find blocks: a ring into which the owner of the bond puts
// them, and from which any goroutine takes them. Two that meet at one place may both go away with
// nothing, but never with the same block.
type shelf struct {
	places [shelfSize]atomic.Pointer[block]
	in     uint32        // the owner's: how many were put, and so where the next goes
	out    atomic.Uint32 // how many were taken
}

// put lays b on the shelf, unless it is full.
func (s *shelf) put(b *block) bool {
	if !s.places[s.in%shelfSize].CompareAndSwap(nil, b) {
		return false
	}
	s.in++
	return true
}

// take returns the oldest block, or nil.
func (s *shelf) take() *block {
	for {
		at := s.out.Load()
		place := &s.places[at%shelfSize]
		if place.Load() == nil {
			return nil
		}
		if s.out.CompareAndSwap(at, at+1) {
			return place.Swap(nil)
		}
	}
}
