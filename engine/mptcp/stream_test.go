package mptcp

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"testing"
)

func TestSpans(t *testing.T) {
	var s spans
	for _, x := range []struct {
		from, to uint64
		want     spans
	}{
		{10, 20, spans{{10, 20}}},
		{30, 40, spans{{10, 20}, {30, 40}}},
		{5, 5, spans{{10, 20}, {30, 40}}},
		{20, 25, spans{{10, 25}, {30, 40}}},
		{1, 2, spans{{1, 2}, {10, 25}, {30, 40}}},
		{12, 13, spans{{1, 2}, {10, 25}, {30, 40}}},
		{24, 31, spans{{1, 2}, {10, 40}}},
		{0, 100, spans{{0, 100}}},
	} {
		if !s.add(x.from, x.to) || len(s) != len(x.want) {
			t.Fatalf("add %d, %d: %v", x.from, x.to, s)
		}
		for i := range s {
			if s[i] != x.want[i] {
				t.Fatalf("add %d, %d: %v", x.from, x.to, s)
			}
		}
	}
	s.add(200, 300)
	if s.size() != 200 {
		t.Fatalf("size %d", s.size())
	}
	if s.end() != 300 {
		t.Fatalf("ends at %d", s.end())
	}
	if first := s[0].to; s.pop() != first || s.pop() != 300 || len(s) != 0 {
		t.Fatal(s)
	}
}

// Whoever sends every other octet finds an end to it.
func TestSpansAreBounded(t *testing.T) {
	var s spans
	for i := range uint64(5000) {
		s.add(2*i+1, 2*i+2)
	}
	if len(s) != spansMax {
		t.Fatalf("%d spans", len(s))
	}
	if !s.add(0, 10) {
		t.Fatal("what joins spans needs no room")
	}
}

// Octets written in any order, more than once, are read in theirs.
func TestInboxInAnyOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 300000)
	rand.NewChaCha8([32]byte{1}).Read(data)
	in := inbox{pool: new(pool)}
	var got []byte
	for len(got) < len(data) {
		next := int(in.readable.Load())
		from := min(next+r.IntN(60000), len(data)-1)
		if r.IntN(3) == 0 {
			from = max(next-r.IntN(2000), 0)
		}
		n := min(r.IntN(5000)+1, len(data)-from)
		made, ok := in.write(uint64(from), data[from:from+n])
		if now := int(in.readable.Load()); !ok || now-next != made {
			t.Fatalf("%d became readable, told %d, %v", now-next, made, ok)
		}
		p := make([]byte, r.IntN(9000))
		got = append(got, p[:in.read(p)]...)
		if r.IntN(4) == 0 {
			in.release()
		}
	}
	if !bytes.Equal(got, data) {
		t.Fatal("other octets")
	}
	in.release()
	if in.pool.used != 0 || in.queued() != 0 {
		t.Fatalf("%d blocks kept, %d octets queued", in.pool.used, in.queued())
	}
}

// The first octets to come count: a copy that differs changes nothing that may have been read.
func TestInboxKeepsWhatIsReadable(t *testing.T) {
	in := inbox{pool: new(pool)}
	in.write(0, []byte("hello"))
	in.write(0, []byte("HELLO!"))
	p := make([]byte, 10)
	if n := in.read(p); string(p[:n]) != "hello!" {
		t.Fatalf("%q", p[:n])
	}
}

// Octets are kept while a subflow carries them or the peer has not acknowledged them, and no longer.
func TestOutbox(t *testing.T) {
	data := make([]byte, 5*blockSize)
	rand.NewChaCha8([32]byte{2}).Read(data)
	o := outbox{pool: new(pool)}
	o.limit.Store(4 * blockSize)
	if n := o.write(data); n != 4*blockSize {
		t.Fatalf("took %d", n)
	}
	if end := o.sync(); end != 4*blockSize || o.pool.used != 4 {
		t.Fatalf("ends at %d, %d blocks", end, o.pool.used)
	}
	p := make([]byte, 3*blockSize)
	if o.fetch(100, p); !bytes.Equal(p, data[100:100+len(p)]) {
		t.Fatal("other octets")
	}
	o.hold(100, blockSize, 1) // touches the first two
	o.release(3 * blockSize)
	if o.fetch(100, p[:blockSize]); !bytes.Equal(p[:blockSize], data[100:100+blockSize]) {
		t.Fatal("freed while a subflow carries it")
	}
	o.hold(100, blockSize, -1)
	o.release(3 * blockSize)
	if len(o.blocks) != 1 || o.pool.used != 1 {
		t.Fatalf("%d blocks", o.pool.used)
	}
	o.limit.Store(5 * blockSize)
	if n := o.write(data[4*blockSize:]); n != blockSize {
		t.Fatalf("took %d", n)
	}
	o.sync()
	if o.fetch(4*blockSize, p[:blockSize]); !bytes.Equal(p[:blockSize], data[4*blockSize:]) {
		t.Fatal("other octets")
	}
}

// An idle stream holds nothing, and goes on from there.
func TestOutboxAtRest(t *testing.T) {
	o := outbox{pool: new(pool)}
	o.limit.Store(1 << 20)
	var p [5]byte
	for i := range uint64(100) {
		o.write([]byte("hello"))
		if end := o.sync(); end != 5*i+5 {
			t.Fatalf("ends at %d", end)
		}
		o.hold(5*i, 5, 1)
		if o.fetch(5*i, p[:]); string(p[:]) != "hello" {
			t.Fatalf("%q", p)
		}
		o.hold(5*i, 5, -1)
		o.release(5*i + 5)
		if o.pool.used != 0 || len(o.blocks) != 0 {
			t.Fatalf("%d blocks", o.pool.used)
		}
	}
}

// One goroutine writes, one reads, and the owner of the bond moves octets between them.
func TestStreamsBesideTheOwner(t *testing.T) {
	const size = 4 << 20
	var shared pool
	o, in := outbox{pool: &shared}, inbox{pool: &shared}
	o.limit.Store(100000)
	go func() {
		r := rand.New(rand.NewPCG(3, 4))
		for at := 0; at < size; {
			p := make([]byte, min(r.IntN(40000)+1, size-at))
			for i := range p {
				p[i] = byte((at + i) % 251)
			}
			n := o.write(p)
			if at += n; n < len(p) {
				runtime.Gosched()
			}
		}
	}()
	read := make(chan int)
	go func() {
		at, p := 0, make([]byte, 7000)
		for at < size {
			n := in.read(p)
			for i := range p[:n] {
				if p[i] != byte((at+i)%251) {
					t.Errorf("octet %d is wrong", at+i)
					read <- at
					return
				}
			}
			if at += n; n == 0 {
				runtime.Gosched()
			}
		}
		read <- at
	}()
	moved, buf := uint64(0), make([]byte, 1400)
	for moved < size && !t.Failed() {
		end := o.sync()
		n := min(end-moved, uint64(len(buf)))
		if n == 0 || in.readable.Load()-in.consumed.Load() > 1<<20 {
			in.release()
			runtime.Gosched()
			continue
		}
		o.hold(moved, int(n), 1)
		o.fetch(moved, buf[:n])
		in.write(moved, buf[:n])
		o.hold(moved, int(n), -1)
		moved += n
		o.release(moved)
		o.limit.Store(moved + 100000)
	}
	if at := <-read; at != size {
		t.Fatalf("%d octets read", at)
	}
	o.sync()
	o.release(moved)
	in.release()
	if shared.used > 1 {
		t.Fatalf("%d blocks kept", shared.used)
	}
}
