package datagram

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"tandem/engine/clock"
)

// Whatever is pushed and popped, packets come out whole and in order, and memory keeps to what is held.
func TestQueueKeepsOrder(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 1))
	var q Queue
	var want [][]byte
	in, out := 0, 0
	for step := range 20000 {
		if grow := step/4000%2 == 0; dice.IntN(10) < 4 || grow && dice.IntN(2) == 0 {
			pkt := bytes.Repeat([]byte{byte(in)}, 1+dice.IntN(1500))
			want = append(want, pkt)
			if got := q.Push(clock.Time(in), pkt); !bytes.Equal(got, pkt) {
				t.Fatal("Push returns another packet")
			}
			in++
		} else if pkt, came, ok := q.Front(); ok {
			q.Pop()
			if came != clock.Time(out) || !bytes.Equal(pkt, want[out]) {
				t.Fatalf("packet %d: came %v", out, came)
			}
			out++
		}
		if q.Len() != in-out {
			t.Fatalf("%d wait, want %d", q.Len(), in-out)
		}
	}
	if in < 1000 || len(q.ring) > 16<<20 {
		t.Fatalf("%d packets, a ring of %d octets", in, len(q.ring))
	}
}

func TestQueueGivesMemoryBack(t *testing.T) {
	var q Queue
	pkt := make([]byte, 1400)
	for range 200 {
		q.Push(0, pkt)
	}
	for range 200 {
		q.Pop()
	}
	if q.ring != nil {
		t.Errorf("a ring of %d octets for nothing", len(q.ring))
	}
	if n := testing.AllocsPerRun(1000, func() { q.Push(0, pkt); q.Push(0, pkt); q.Pop(); q.Pop() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
