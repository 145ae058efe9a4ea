package carrier

import (
	"bytes"
	"errors"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// What nobody reads fills the queue, and no more than the queue; what is read is what came first.
func TestInnerDropsWhenFull(t *testing.T) {
	d := newInner(100, 3, nil)
	for i, want := range []int{0, 0, 2} {
		dropped, err := d.send([][]byte{{byte(i), 1}, {byte(i), 2}}[:1+i%2], nil)
		if i == 2 {
			dropped, err = d.send([][]byte{{9}, {10}}, nil)
		}
		if dropped != want || err != nil {
			t.Fatalf("send %d: dropped %d, %v", i, dropped, err)
		}
	}
	bufs, sizes := [][]byte{make([]byte, 8), make([]byte, 8)}, make([]int, 2)
	for _, want := range [][][]byte{{{0, 1}, {1, 1}}, {{1, 2}, {2, 1}}} {
		if want[1][0] == 2 {
			d.send([][]byte{{2, 1}}, nil)
		}
		n, err := d.Read(bufs, sizes, 4)
		if n != 2 || err != nil {
			t.Fatalf("read %d, %v", n, err)
		}
		for i, pkt := range want {
			if got := bufs[i][4 : 4+sizes[i]]; !bytes.Equal(got, pkt) {
				t.Errorf("packet %d is %v, want %v", i, got, pkt)
			}
		}
	}
}

// Who floods the queue leaves room for others, who flood it too, and for one who does not.
func TestInnerIsShared(t *testing.T) {
	d := newInner(100, 64, nil)
	flood := make([][]byte, 100)
	for i := range flood {
		flood[i] = []byte{1}
	}
	var first, second, modest share
	for _, c := range []struct {
		of   *share
		pkts [][]byte
		want int // queued
	}{{&first, flood, 32}, {&second, flood, 16}, {&modest, flood[:4], 4}, {&first, flood, 0}} {
		if dropped, err := d.send(c.pkts, c.of); len(c.pkts)-dropped != c.want || err != nil {
			t.Errorf("%d queued, want %d, %v", len(c.pkts)-dropped, c.want, err)
		}
	}
	bufs, sizes := make([][]byte, 64), make([]int, 64)
	for i := range bufs {
		bufs[i] = make([]byte, 8)
	}
	if n, _ := d.Read(bufs, sizes, 0); n != 52 || first.waits+second.waits+modest.waits != 0 {
		t.Errorf("read %d; then wait %d, %d and %d", n, first.waits, second.waits, modest.waits)
	}
}

// The caller's packets are its own again when send returns.
func TestInnerKeepsNothing(t *testing.T) {
	d := newInner(100, 3, nil)
	pkt := []byte{1, 2, 3}
	d.send([][]byte{pkt, make([]byte, 101)}, nil)
	pkt[0] = 9
	bufs, sizes := [][]byte{make([]byte, 8)}, make([]int, 1)
	if n, _ := d.Read(bufs, sizes, 0); n != 1 || !slices.Equal(bufs[0][:sizes[0]], []byte{1, 2, 3}) {
		t.Errorf("read %d, %v", n, bufs[0])
	}
	if len(d.slots) != 3 || d.waits != 0 {
		t.Errorf("%d wait", d.waits)
	}
}

func TestInnerReaderWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newInner(100, 3, nil)
		bufs, sizes := [][]byte{make([]byte, 8)}, make([]int, 1)
		start := time.Now()
		time.AfterFunc(time.Second, func() { d.send([][]byte{{1}}, nil) })
		time.AfterFunc(3*time.Second, func() { d.Close() })
		if n, err := d.Read(bufs, sizes, 0); n != 1 || err != nil || time.Since(start) != time.Second {
			t.Errorf("read %d, %v after %v", n, err, time.Since(start))
		}
		if n, err := d.Read(bufs, sizes, 0); n != 0 || !errors.Is(err, os.ErrClosed) || time.Since(start) != 3*time.Second {
			t.Errorf("read %d, %v after %v", n, err, time.Since(start))
		}
		if n, err := d.send([][]byte{{1}, {2}}, nil); n != 2 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("send after Close: %d, %v", n, err)
		}
	})
}

func TestInnerAllocatesNothing(t *testing.T) {
	received := 0
	d := newInner(1500, queueMax, func(pkts [][]byte) { received += len(pkts) })
	pkts := make([][]byte, 64)
	bufs, sizes := make([][]byte, 64), make([]int, 64)
	for i := range pkts {
		pkts[i], bufs[i] = make([]byte, 1400), make([]byte, 2000)
	}
	pass := func() {
		d.send(pkts, nil)
		n, _ := d.Read(bufs, sizes, 16)
		d.outbound.leave(n, 0)
		d.Write(bufs[:1], 0)
	}
	for range 2 * queueMax / len(pkts) {
		pass()
	}
	if n := testing.AllocsPerRun(100, pass); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
