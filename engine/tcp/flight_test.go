package tcp

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// listed returns the offsets in a list, in its order.
func (f *flight) listed(l list) (offs []uint64) {
	id := l.first
	for range l.n {
		offs = append(offs, f.get(id).off)
		id = f.get(id).next
	}
	return offs
}

func threeLost() *flight {
	f := &flight{}
	for i := range uint64(3) {
		id := f.push(record{off: 100 * i, at: 1000 + 100*i, n: 100, chunk: 300, into: uint32(100 * i)})
		f.settle(id, lost)
	}
	return f
}

// A split keeps the order of octets and of retransmission, whichever side of the ring moves.
func TestSplit(t *testing.T) {
	for _, c := range []struct {
		index uint32
		want  string
	}{
		{0, "[0 40 100 200]"},
		{1, "[0 100 140 200]"},
		{2, "[0 100 200 240]"},
	} {
		f := threeLost()
		first := f.split(f.head+c.index, 40)
		if got := fmt.Sprint(f.listed(f.lost)); got != c.want {
			t.Errorf("split of %d: list %s, want %s", c.index, got, c.want)
		}
		var offs []uint64
		for id := f.head; id != f.tail; id++ {
			offs = append(offs, f.get(id).off)
		}
		if got := fmt.Sprint(offs); got != c.want {
			t.Errorf("split of %d: ring %s, want %s", c.index, got, c.want)
		}
		rest := f.get(first + 1).part()
		if f.get(first).n != 40 || rest.Len != 60 || rest.At != 1000+rest.Off || rest.Chunk != (Chunk{0, 1000, 300}) {
			t.Errorf("split of %d: %+v", c.index, rest)
		}
	}
}

// Many splits, settlings and pops keep ring and lists in agreement.
func TestFlightKeepsItsLists(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	f := &flight{head: 1<<32 - 5, tail: 1<<32 - 5} // numbers wrap
	var end uint64
	for range 20000 {
		switch rng.IntN(5) {
		case 0, 1:
			n := 1 + rng.IntN(50)
			f.settle(f.push(record{off: end, n: uint32(n)}), inAir)
			end += uint64(n)
		case 2:
			if f.len() > 0 {
				f.settle(f.head+uint32(rng.IntN(f.len())), fate(1+rng.IntN(3)))
			}
		case 3:
			if f.len() > 0 {
				if id := f.head + uint32(rng.IntN(f.len())); f.get(id).fate == lost && f.get(id).n > 1 {
					f.split(id, 1+rng.IntN(int(f.get(id).n)-1))
				}
			}
		case 4:
			if f.len() > 20 {
				f.pop()
			}
		}
		s := &Subflow{}
		s.snd.flight = *f
		s.snd.nxt, s.snd.queue.end = end, end
		s.snd.una = end
		if f.len() > 0 {
			s.snd.una = f.get(f.head).off
		}
		s.timer.stop()
		if err := broken(s); err != nil {
			t.Fatal(err)
		}
	}
}
