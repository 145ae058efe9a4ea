package mptcp

import "sync/atomic"

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

// pool keeps blocks for the connections of a bond. Only the bond's owner touches it.
type pool struct {
	free []*block
	used int // handed out and not given back
}

// poolMax bounds what a pool keeps: 4 MiB.
const poolMax = 256

func (p *pool) get() *block {
	p.used++
	n := len(p.free)
	if n == 0 {
		return new(block)
	}
	b := p.free[n-1]
	p.free[n-1] = nil
	p.free = p.free[:n-1]
	return b
}

func (p *pool) put(b *block) {
	p.used--
	if len(p.free) < poolMax {
		b.next.Store(nil)
		b.refs = 0
		p.free = append(p.free, b)
	}
}

// full reports whether the blocks in use hold n octets or more.
func (p *pool) full(n int) bool { return p.used*blockSize >= n }
