package datagram

import (
	"net/netip"
	"slices"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// Bounds of what a Reassembler keeps.
const (
	partsMax   = 64              // datagrams of which fragments wait for others
	partsBytes = 1 << 20         // octets in all of them
	partLife   = 2 * time.Second // fragments of one datagram leave one after the other
)

// A Reassembler makes whole packets of fragments (RFC 791 3.2, RFC 8200 4.5). The zero Reassembler is ready.
type Reassembler struct {
	parts  []*part // oldest first
	octets int     // of all buffers
	lost   uint64
}

// A part is a datagram of which fragments are missing.
type part struct {
	key   partKey
	since clock.Time
	first wire.Packet // the fragment with which the datagram begins
	head  int         // octets of headers in front of all
	buf   []byte      // room for these, and then the datagram's octets
	came  [1 << 13 / 64]uint64
	got   int // octets
	end   int // of the datagram; 0: not known
}

type partKey struct {
	source, target netip.Addr
	protocol       uint8 // 0 over IPv6, where a fragment need not tell it
	id             uint32
}

// Lost returns how many datagrams were given up: for want of a fragment, of room, or of sense.
func (r *Reassembler) Lost() uint64 { return r.lost }

// Add takes a fragment, and returns the whole packet if nothing is missing any more. It may be used until
// the next Add. A datagram of which fragments overlap is given up (RFC 5722).
func (r *Reassembler) Add(now clock.Time, p *wire.Packet, pkt []byte) (whole []byte, ok bool) {
	r.expire(now)
	x := r.part(now, p)
	fresh, sane := x.take(p, pkt)
	r.octets += fresh
	switch {
	case !sane || r.octets > partsBytes:
		r.lost++
		r.drop(x)
	case x.end > 0 && x.got == x.end:
		r.drop(x)
		return x.first.Join(x.buf), true
	}
	return nil, false
}

// expire gives up what has waited too long.
func (r *Reassembler) expire(now clock.Time) {
	for len(r.parts) > 0 && now > r.parts[0].since.Add(partLife) {
		r.lost++
		r.drop(r.parts[0])
	}
}

func (r *Reassembler) drop(x *part) {
	i := slices.Index(r.parts, x)
	r.parts = slices.Delete(r.parts, i, i+1)
	r.octets -= len(x.buf)
}

// part returns the datagram that a fragment is of.
func (r *Reassembler) part(now clock.Time, p *wire.Packet) *part {
	key := partKey{p.Source, p.Target, p.Protocol, p.ID}
	if p.Source.Is6() {
		key.protocol = 0
	}
	for _, x := range r.parts {
		if x.key == key {
			return x
		}
	}
	if len(r.parts) == partsMax {
		r.lost++
		r.drop(r.parts[0])
	}
	x := &part{key: key, since: now, head: p.Part()}
	r.parts = append(r.parts, x)
	return x
}

// take copies a fragment to its place. It returns by how much the buffer grew, and whether the fragment
// fits to those before.
func (x *part) take(p *wire.Packet, pkt []byte) (grown int, sane bool) {
	data := pkt[p.Part():p.Length()]
	end := p.Offset + len(data)
	switch {
	case p.Part() != x.head, x.head+end > 0xffff, x.end > 0 && end > x.end, !p.More && (x.end > 0 && end != x.end || end < x.most()):
		return 0, false
	}
	have := x.count(p.Offset, end)
	if have > 0 {
		return 0, have == units(p.Offset, end) // all of it: it came twice
	}
	before := len(x.buf)
	if need := x.head + end; need > before {
		x.buf = slices.Grow(x.buf, need-before)[:need]
	}
	copy(x.buf[x.head+p.Offset:], data)
	if p.Offset == 0 {
		copy(x.buf, pkt[:x.head])
		x.first = *p
	}
	x.mark(p.Offset, end)
	x.got += len(data)
	if !p.More {
		x.end = end
	}
	return len(x.buf) - before, true
}

// units is how many units of eight octets a fragment has.
func units(from, to int) int { return (to+7)/8 - from/8 }

func (x *part) count(from, to int) (n int) {
	for u := from / 8; u < (to+7)/8; u++ {
		n += int(x.came[u/64] >> (u % 64) & 1)
	}
	return n
}

func (x *part) mark(from, to int) {
	for u := from / 8; u < (to+7)/8; u++ {
		x.came[u/64] |= 1 << (u % 64)
	}
}

// most is up to where octets of the datagram came.
func (x *part) most() int { return max(len(x.buf)-x.head, 0) }
