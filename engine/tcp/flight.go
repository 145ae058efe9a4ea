package tcp

import "tandem/engine/path"

// A flight is the segments that have left and are not cumulatively acknowledged, in the order of
// their octets: a ring of records, each found by its number, which counts on from the first ever.
//
//	head                                tail
//	 │ lost │ inAir │ sacked │ sacked │ inAir │
//
// Records in the air and lost ones also hang in a list each: those in the air by time of sending,
// which is the order in which RACK looks at them, lost ones in the order of retransmission.
type flight struct {
	ring       []record // its length is a power of two
	head, tail uint32
	air, lost  list
	sacked     int // octets
	sackedRecs int
}

// A record is one segment. Its size is that of the IP packet, 0 if the path does not hear of it.
type record struct {
	stamp      path.Stamp
	off, at    uint64
	next, prev uint32
	n          uint32 // octets
	into       uint32 // octets of the chunk before it
	chunk      uint32 // octets of the chunk
	size       uint16
	sent       uint8 // times; stops at 255
	fate       fate
	fin, probe bool
}

// A fate is what is known about a record.
type fate uint8

const (
	held   fate = iota // rode in a SYN: not known before the handshake is over
	inAir              // believed to be under way
	lost               // believed to be lost, and to be sent again
	sacked             // arrived
)

// end is the number after the record's last; FIN counts one.
func (r *record) end() uint64 {
	if r.fin {
		return r.off + uint64(r.n) + 1
	}
	return r.off + uint64(r.n)
}

func (r *record) part() Part {
	return Part{
		Off: r.off, At: r.at, Len: int(r.n), Again: r.sent > 0,
		Chunk: Chunk{Off: r.off - uint64(r.into), At: r.at - uint64(r.into), Len: int(r.chunk)},
	}
}

// A list is a chain of records through next and prev.
type list struct {
	first, last uint32
	n           int
}

func (f *flight) len() int              { return int(f.tail - f.head) }
func (f *flight) get(id uint32) *record { return &f.ring[id&uint32(len(f.ring)-1)] }

// push adds a record at the end and returns its number.
func (f *flight) push(r record) uint32 {
	if f.len() == len(f.ring) {
		f.grow()
	}
	id := f.tail
	f.tail++
	*f.get(id) = r
	return id
}

func (f *flight) grow() {
	old := *f
	f.ring = make([]record, max(8, 2*len(old.ring)))
	for id := old.head; id != old.tail; id++ {
		*f.get(id) = *old.get(id)
	}
}

// find returns the number of the first record that ends after off.
func (f *flight) find(off uint64) uint32 {
	low, high := uint32(0), f.tail-f.head
	for low < high {
		mid := (low + high) / 2
		if f.get(f.head+mid).end() <= off {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return f.head + low
}

// chain returns the list that a fate belongs to.
func (f *flight) chain(x fate) *list {
	switch x {
	case inAir:
		return &f.air
	case lost:
		return &f.lost
	}
	return nil
}

// settle gives a record a fate. A lost one goes before those that are lost with later octets.
func (f *flight) settle(id uint32, x fate) {
	r := f.get(id)
	f.count(r, -1)
	if l := f.chain(r.fate); l != nil {
		f.unlink(l, id)
	}
	r.fate = x
	f.count(r, 1)
	l := f.chain(x)
	switch {
	case l == nil:
	case x == lost && l.n > 0 && r.off < f.get(l.first).off:
		f.linkFirst(l, id)
	default:
		f.linkLast(l, id)
	}
}

func (f *flight) count(r *record, sign int) {
	if r.fate == sacked {
		f.sacked += sign * int(r.n)
		f.sackedRecs += sign
	}
}

func (f *flight) linkFirst(l *list, id uint32) {
	f.get(id).next, f.get(l.first).prev = l.first, id
	l.first = id
	l.n++
}

func (f *flight) linkLast(l *list, id uint32) {
	if l.n == 0 {
		l.first = id
	} else {
		f.get(l.last).next, f.get(id).prev = id, l.last
	}
	l.last = id
	l.n++
}

// sortLost puts the lost records in the order of their octets.
func (f *flight) sortLost() {
	f.lost = list{}
	for id := f.head; id != f.tail; id++ {
		if f.get(id).fate == lost {
			f.linkLast(&f.lost, id)
		}
	}
}

func (f *flight) unlink(l *list, id uint32) {
	r := f.get(id)
	if id == l.first {
		l.first = r.next
	} else {
		f.get(r.prev).next = r.next
	}
	if id == l.last {
		l.last = r.prev
	} else {
		f.get(r.next).prev = r.prev
	}
	l.n--
}

// pop takes the first record out.
func (f *flight) pop() {
	r := f.get(f.head)
	f.count(r, -1)
	if l := f.chain(r.fate); l != nil {
		f.unlink(l, f.head)
	}
	f.head++
}

// split makes two records of a lost one, its first n octets and the rest, and returns the number of
// the first.
func (f *flight) split(id uint32, n int) uint32 {
	if f.len() == len(f.ring) {
		f.grow()
	}
	rest := *f.get(id)
	rest.off, rest.at = rest.off+uint64(n), rest.at+uint64(n)
	rest.n, rest.into = rest.n-uint32(n), rest.into+uint32(n)
	rest.fate, rest.size, rest.probe = held, 0, false
	r := f.get(id)
	r.n, r.size, r.fin, r.probe = uint32(n), 0, false, false
	if id-f.head < f.tail-id {
		f.head--
		for k := f.head; k != id; k++ {
			f.move(k+1, k)
		}
	} else {
		f.tail++
		id++
		for k := f.tail - 1; k != id; k-- {
			f.move(k-1, k)
		}
	}
	*f.get(id) = rest
	f.insertLost(id, id-1)
	return id - 1
}

// insertLost hangs a record into the list of lost ones behind another.
func (f *flight) insertLost(id, behind uint32) {
	f.get(id).fate = lost
	if behind == f.lost.last {
		f.linkLast(&f.lost, id)
		return
	}
	next := f.get(behind).next
	f.get(id).prev, f.get(id).next = behind, next
	f.get(behind).next, f.get(next).prev = id, id
	f.lost.n++
}

// move gives a record another number and has its neighbours know.
func (f *flight) move(from, to uint32) {
	r := f.get(to)
	*r = *f.get(from)
	l := f.chain(r.fate)
	if l == nil {
		return
	}
	if l.first == from {
		l.first = to
	} else {
		f.get(r.prev).next = to
	}
	if l.last == from {
		l.last = to
	} else {
		f.get(r.next).prev = to
	}
}
