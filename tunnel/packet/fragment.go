package packet

import (
	"bytes"
	"net/netip"
	"slices"
	"time"
)

// AppendFragments appends a whole packet in fragments of mtu octets at most (RFC 791 3.2, RFC 8200 4.5), and
// to ends where in buf each of them ends. p.ID names it; DF does not hold. What fits, or can be no packet,
// is appended as Append does.
func (p *Packet) AppendFragments(buf []byte, ends []int, mtu int) ([]byte, []int) {
	part := *p
	part.DF, part.More = false, true
	room := (mtu - part.HeaderLen()) &^ (fragment - 1)
	if p.HeaderLen()+len(p.Body) <= mtu || room <= 0 || p.Fragment() {
		buf = p.Append(buf)
		return buf, append(ends, len(buf))
	}
	for ; part.Offset < len(p.Body); part.Offset += room {
		end := min(part.Offset+room, len(p.Body))
		part.Body, part.More = p.Body[part.Offset:end], end < len(p.Body)
		buf = part.Append(buf)
		ends = append(ends, len(buf))
	}
	return buf, ends
}

const (
	assemblyMax    = 64      // packets at a time
	assemblyOctets = 1 << 20 // of all their fragments
	assemblyLife   = 30 * time.Second
)

// An Assembly makes whole packets of fragments. It holds 64 packets, 1 MiB and each for 30 s at most; the
// oldest go first. The zero Assembly is empty.
type Assembly struct {
	partials map[assemblyKey]*partial
	octets   int
}

type assemblyKey struct {
	source, target netip.Addr
	protocol       uint8
	id             uint32
}

// A partial is what has come of a packet.
type partial struct {
	began  time.Time
	first  Packet // headers of the first fragment
	pieces []piece
	octets int
	end    int // of the body; 0: not known
}

type piece struct {
	offset int
	octets []byte
}

// Add takes a fragment, which it copies, and returns the whole packet when it was the last that missed.
// Fragments that overlap others, or make no packet, spoil theirs (RFC 5722).
func (a *Assembly) Add(p *Packet, now time.Time) []byte {
	key := assemblyKey{p.Source, p.Target, p.Protocol, p.ID}
	q := a.partials[key]
	if q == nil {
		q = &partial{began: now}
		if a.partials == nil {
			a.partials = map[assemblyKey]*partial{}
		}
		a.partials[key] = q
	}
	before := q.octets
	ok := q.add(p)
	a.octets += q.octets - before
	switch {
	case !ok:
		a.drop(key)
		return nil
	case q.end == 0 || q.octets < q.end:
		a.bound()
		return nil
	}
	a.drop(key)
	whole := q.first
	whole.Body, whole.More = make([]byte, 0, q.end), false
	for _, piece := range q.pieces {
		whole.Body = append(whole.Body, piece.octets...)
	}
	return whole.Append(nil)
}

// add puts a fragment in its place, and reports whether the packet may still come to be.
func (q *partial) add(p *Packet) bool {
	end := p.Offset + len(p.Body)
	switch {
	case len(p.Body) == 0, p.More && len(p.Body)%fragment != 0, end > lenMax-header4,
		q.end > 0 && (end > q.end || !p.More && end != q.end):
		return false
	}
	at, found := slices.BinarySearchFunc(q.pieces, p.Offset, func(a piece, offset int) int { return a.offset - offset })
	switch {
	case found:
		return bytes.Equal(q.pieces[at].octets, p.Body) // a repetition
	case at > 0 && q.pieces[at-1].offset+len(q.pieces[at-1].octets) > p.Offset,
		at < len(q.pieces) && (q.pieces[at].offset < end || !p.More):
		return false
	}
	q.pieces = slices.Insert(q.pieces, at, piece{p.Offset, bytes.Clone(p.Body)})
	q.octets += len(p.Body)
	if p.Offset == 0 {
		q.first = *p
	}
	if !p.More {
		q.end = end
	}
	return true
}

// bound drops the oldest while there is too much.
func (a *Assembly) bound() {
	for len(a.partials) > assemblyMax || a.octets > assemblyOctets {
		var oldest assemblyKey
		var began time.Time
		for key, q := range a.partials {
			if began.IsZero() || q.began.Before(began) {
				oldest, began = key, q.began
			}
		}
		a.drop(oldest)
	}
}

// Expire drops what has waited for too long.
func (a *Assembly) Expire(now time.Time) {
	for key, q := range a.partials {
		if now.Sub(q.began) >= assemblyLife {
			a.drop(key)
		}
	}
}

func (a *Assembly) drop(key assemblyKey) {
	a.octets -= a.partials[key].octets
	delete(a.partials, key)
}
