package sim

// ring is a queue of packets that keeps its memory.
type ring struct {
	slots [][]byte // a power of two of them
	head  int
	count int
}

func (r *ring) len() int { return r.count }

func (r *ring) front() []byte { return r.slots[r.head] }

func (r *ring) push(pkt []byte) {
	if r.count == len(r.slots) {
		grown := make([][]byte, max(64, 2*len(r.slots)))
		n := copy(grown, r.slots[r.head:])
		copy(grown[n:], r.slots[:r.head])
		r.slots, r.head = grown, 0
	}
	r.slots[(r.head+r.count)&(len(r.slots)-1)] = pkt
	r.count++
}

func (r *ring) pop() []byte {
	pkt := r.slots[r.head]
	r.slots[r.head] = nil
	r.head = (r.head + 1) & (len(r.slots) - 1)
	r.count--
	return pkt
}
