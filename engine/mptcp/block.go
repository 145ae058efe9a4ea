package mptcp

import "sync/atomic"

// blockSize is how many octets of a stream lie together. A busy stream wants few of them, an idle
// one holds none, so that the size costs only streams that move.
const blockSize = 16 << 10

// A block is a piece of a stream's memory. Its octets lie apart, where the garbage collector need not look.
type block struct {
	data  *[blockSize]byte
	next  atomic.Pointer[block] // outbox: the block written after this one
	start uint64                // outbox: position of data[0]
	refs  int                   // outbox: chunks in flight that touch it
}

func newBlock() *block { return &block{data: new([blockSize]byte)} }

// pool is the blocks that no stream holds, and a count of those that streams do: a ring into which the
// bond's owner puts blocks, and from which it and the applications that write take them.
//
//	streams ──put──► places ──take──► applications ──► outboxes
//	                        ──get───► inboxes
type pool struct {
	places [poolSize]atomic.Pointer[block]
	in     uint32        // how many were put, and so where the next goes
	out    atomic.Uint32 // how many were taken
	used   int           // held by streams, whoever took them
}

// poolSize bounds what a pool keeps: 4 MiB, as much as one stream may hold.
const poolSize = 256

// take returns a block: any goroutine may call it. It is counted when the owner learns of it.
func (p *pool) take() *block {
	for {
		out := p.out.Load()
		place := &p.places[out%poolSize]
		if place.Load() == nil {
			return newBlock()
		}
		if p.out.CompareAndSwap(out, out+1) {
			if b := place.Swap(nil); b != nil {
				return b
			}
		}
	}
}

// get returns a block to the owner, and counts it.
func (p *pool) get() *block {
	p.used++
	return p.take()
}

// put takes back a block that nobody touches any more.
func (p *pool) put(b *block) {
	p.used--
	b.next.Store(nil)
	b.refs = 0
	if p.places[p.in%poolSize].CompareAndSwap(nil, b) {
		p.in++
	}
}

// trim keeps no memory while no stream holds any.
func (p *pool) trim() {
	if p.used > 0 || p.in == p.out.Load() {
		return
	}
	for i := range p.places {
		p.places[i].Store(nil)
	}
	p.out.Store(p.in)
}
