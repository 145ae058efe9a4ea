package datagram

import (
	"errors"
	"testing"
	"time"

	"tandem/engine/clock"
)

func TestPingMeasures(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.skew[1] = 5 * clock.Time(time.Hour)
	w.run(time.Second)
	w.ends[0].Ping(w.now, 1, 0)
	w.ends[0].Ping(w.now, 2, 0)
	w.run(time.Second)
	es := w.got(0, PathRTT)
	if len(es) != 2 || es[0].Path != 1 || es[0].RTT != 20*time.Millisecond || es[1].Path != 2 || es[1].RTT != 40*time.Millisecond {
		t.Fatalf("%+v", es)
	}
	// The clocks tell nothing alone, but how much longer one path is than the other.
	if d := es[1].OneWay - es[0].OneWay; d != 10*time.Millisecond {
		t.Fatalf("one way %v more", d)
	}
}

// What the peer takes to answer is not part of the round trip.
func TestPingOfSlowPeer(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	a, b, buf := w.ends[0], w.ends[1], make([]byte, 1500)
	a.Ping(w.now, 1, 0)
	_, msg, _ := a.Transmit(w.now, buf)
	if err := b.Receive(w.now+4*ms, 1, msg); err != nil {
		t.Fatal(err)
	}
	_, msg, _ = b.Transmit(w.now+34*ms, buf)
	if err := a.Receive(w.now+40*ms, 1, msg); err != nil {
		t.Fatal(err)
	}
	if e, _ := a.Next(); e.Kind != PathRTT || e.RTT != 10*time.Millisecond || e.OneWay != 4*time.Millisecond {
		t.Fatalf("%+v", e)
	}
}

func TestPingFindsMTU(t *testing.T) {
	w := newWorld(t, 1)
	w.mtu = 1300
	w.run(time.Second)
	for _, size := range []int{PingMin, 1300, 1301} {
		w.ends[0].Ping(w.now, 1, size)
	}
	w.run(10 * time.Millisecond)
	for i, size := range []int{PingMin, 1300, 1301} {
		if p := w.sent[0][len(w.sent[0])-3+i]; len(p.msg) != size {
			t.Errorf("%d octets for %d", len(p.msg), size)
		}
	}
	w.run(5 * time.Second)
	es := w.got(0, PathMTU)
	if len(es) != 2 || es[0].Size+es[1].Size != PingMin+1300 {
		t.Fatalf("%+v", es)
	}
	if es := w.got(0, PathTooBig); len(es) != 1 || es[0].Size != 1301 {
		t.Fatalf("%+v", es)
	}
	if len(w.got(0, PathSilent)) != 0 {
		t.Fatal("a lost probe made the path silent")
	}
}

func TestPingRefused(t *testing.T) {
	w := newWorld(t, 1)
	for _, c := range []struct {
		id   PathID
		size int
	}{{2, 0}, {1, PingMin - 1}, {1, 65508}, {1, -1}} {
		if w.ends[0].Ping(w.now, c.id, c.size) {
			t.Errorf("%+v was accepted", c)
		}
	}
	// Larger than the owner's buffer is too big at once.
	w.ends[0].Ping(w.now, 1, 5000)
	w.pump()
	if es := w.got(0, PathTooBig); len(es) != 1 || es[0].Size != 5000 {
		t.Fatalf("%+v", es)
	}
}

func TestPathSilentAndAlive(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.run(time.Second)
	for range 10 {
		w.ends[0].Ping(w.now, 1, 0)
		w.run(100 * time.Millisecond)
	}
	w.dead[1] = true
	died := w.now
	w.ends[0].Ping(w.now, 1, 0)
	if d := w.ends[0].Deadline(); d != clock.Never {
		t.Fatalf("deadline %v for a PING that has not left", d)
	}
	w.pump()
	// The round trip is 20 ms and does not vary.
	if d := w.ends[0].Deadline().Sub(died); d < 30*time.Millisecond || d > 35*time.Millisecond {
		t.Fatalf("late after %v", d)
	}
	w.run(35 * time.Millisecond)
	if es := w.got(0, PathSilent); len(es) != 1 || es[0].Path != 1 {
		t.Fatalf("%+v", es)
	}
	for range 30 {
		w.ends[0].Ping(w.now, 1, 0)
		w.run(100 * time.Millisecond)
	}
	if len(w.got(0, PathSilent)) != 1 || len(w.got(0, PathAlive)) != 0 {
		t.Fatalf("%+v", w.events[0])
	}
	w.dead[1] = false
	w.ends[0].Ping(w.now, 1, 0)
	w.run(20 * time.Millisecond)
	if es := w.got(0, PathAlive); len(es) != 1 || es[0].Path != 1 {
		t.Fatalf("%+v", es)
	}
}

// A PONG that is lost while other packets arrive does not make a path silent.
func TestHeardIsNotSilent(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	w.ends[0].Ping(w.now, 1, 0)
	w.fate = func(int, int) int { return 0 }
	w.pump()
	w.fate = nil
	w.ends[1].Held(w.now, offer(1))
	w.run(time.Second)
	if len(w.got(0, PathSilent)) != 0 {
		t.Fatalf("%+v", w.events[0])
	}
}

// A PONG that comes late still counts.
func TestLatePong(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	w.delay[1] = 1000 * ms
	w.ends[0].Ping(w.now, 1, 0)
	w.run(3 * time.Second)
	k := []EventKind{}
	for _, e := range w.events[0][1:] {
		k = append(k, e.Kind)
	}
	if len(k) != 3 || k[0] != PathSilent || k[1] != PathAlive || k[2] != PathRTT {
		t.Fatalf("%v", k)
	}
}

func TestPingsBounded(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	w.dead[1] = true
	for range 100 {
		w.ends[0].Ping(w.now, 1, 1000)
		w.pump()
	}
	if n := len(w.got(0, PathTooBig)); n != 100-pingsMax {
		t.Fatalf("%d given up", n)
	}
	w.run(10 * time.Second)
	if n := len(w.got(0, PathTooBig)); n != 100 {
		t.Fatalf("%d judged", n)
	}
	if d := w.ends[0].Deadline(); d != clock.Never {
		t.Fatalf("deadline %v", d)
	}
}

// A clock of the peer that no difference could be taken from is none.
func TestImpossibleClock(t *testing.T) {
	for there, want := range map[uint64]error{0: nil, 1 << 61: nil, 1 << 62: ErrMalformed, 1<<64 - 1: ErrMalformed} {
		w := newWorld(t, 1)
		w.run(time.Second)
		c := w.ends[0]
		c.Ping(w.now, 1, 0)
		left := w.now
		if _, _, ok := c.Transmit(w.now, make([]byte, BufferMin)); !ok {
			t.Fatal("no PING")
		}
		b := openMessage(header{from: 0xb, to: 0xa}.append(nil), pong, pongLen)
		b = be.AppendUint64(be.AppendUint32(b, c.pingID), uint64(left))
		b = be.AppendUint64(b, there)
		b = append(b, make([]byte, pongLen-20)...)
		if err := c.Receive(w.now+ms, 1, b); !errors.Is(err, want) {
			t.Errorf("clock %x: %v, want %v", there, err, want)
		}
	}
}
