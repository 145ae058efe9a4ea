package datagram

import (
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"tandem/engine/wire"
)

func TestNegotiation(t *testing.T) {
	cases := []struct {
		name   string
		a, b   ControlConfig
		want   uint8
		common uint32
	}{
		{"equal", ControlConfig{Features: 3}, ControlConfig{Features: 6}, 1, 2},
		{"old client, new hub", ControlConfig{}, ControlConfig{VersionMax: 9, Features: 1}, 1, 0},
		{"new client, old hub", ControlConfig{VersionMax: 4}, ControlConfig{VersionMax: 2}, 2, 0},
		{"nothing in common", ControlConfig{VersionMax: 2}, ControlConfig{VersionMin: 3, VersionMax: 4}, 0, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.a.Epoch, c.b.Epoch = 1, 2
			c.b.Families, c.b.Limits = IPv6, Limits{1, 2, 3, 4}
			w.ends = [2]*Control{NewControl(c.a), NewControl(c.b)}
			w.delay[1] = 10 * ms
			w.attach(1)
			if _, ok := w.ends[0].Negotiated(); ok {
				t.Fatal("negotiated before HELLO")
			}
			w.run(time.Second)
			n, ok := w.ends[0].Negotiated()
			if want := (Negotiation{c.want, c.common, IPv6, Limits{1, 2, 3, 4}, 2}); !ok || n != want {
				t.Fatalf("got %+v, want %+v", n, want)
			}
			m, _ := w.ends[1].Negotiated()
			if m.Version != n.Version || m.Features != n.Features {
				t.Fatalf("the ends differ: %+v %+v", n, m)
			}
			// Without a common version nothing is told, but that the other is there can be seen.
			w.ends[1].Held(w.now, offer(1))
			w.ends[1].Ping(w.now, 1, 0)
			w.run(time.Second)
			if held := len(w.got(0, PeerHeld)) == 1; held != (c.want != 0) || len(w.got(1, PathRTT)) != 1 {
				t.Fatalf("%+v", w.events)
			}
		})
	}
}

// A newer peer sends types, versions and lengths that are not known here: what is known counts.
func TestNewerPeer(t *testing.T) {
	c := NewControl(ControlConfig{Epoch: 1})
	c.Attach(0, 1)
	b := header{from: 2}.append(nil)
	b = append(b, 99, 1, 0, 3, 'n', 'e', 'w')
	at := len(b)
	b = appendHello(b, 1, &ControlConfig{VersionMin: 1, VersionMax: 3, Features: 8})
	b[at+1], b[at+3] = 3, b[at+3]+2
	b = append(b, 'x', 'x')
	b = append(b, byte(held), 2, 0, 1, 0)
	at = len(b)
	b = appendPath(b, 2, PathState{ID: 5})
	b[at+3] += 4
	b = append(b, "more"...)
	b = append(b, 98, 1, 0, 0)
	err := c.Receive(0, 1, b)
	e1, _ := c.Next()
	e2, _ := c.Next()
	if e1.Kind != PeerHello || e2.Kind != PeerPath || e2.State.ID != 5 {
		t.Fatalf("%+v %+v", e1, e2)
	}
	if !errors.Is(err, ErrStranger) || c.Counters().Skipped != 2 { // the first came before HELLO
		t.Fatalf("%v, %+v", err, c.Counters())
	}
}

func TestPeerRestarts(t *testing.T) {
	for seed := range 50 {
		w := newWorld(t, 1, 2)
		w.loss, w.twice, w.jitter = seed%3*10, seed%2*30, 300*ms
		w.ends[0].SetPath(w.now, PathState{ID: 1, Price: 3})
		w.run(30 * time.Second)
		w.ends[0].Held(w.now, offer(1))
		w.restart(1, ControlConfig{Epoch: 77, Features: 2})
		w.run(2 * time.Minute)
		w.settled()
		es := w.got(0, PeerHello)
		if n, _ := w.ends[0].Negotiated(); len(es) != 2 || !es[1].Changed || n.Epoch != 77 || n.Features != 2 {
			t.Fatalf("%+v %+v", n, es)
		}
		if es := w.got(1, PeerPath); len(es) != 1 || es[0].State.Price != 3 {
			t.Fatalf("paths are told to the new process: %+v", es)
		}
		if len(w.got(1, PeerHeld)) != 0 {
			t.Fatal("told of an offer that another process made")
		}
	}
}

// What the former process sent, and the network kept, changes nothing any more.
func TestStraggler(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	old := w.sent[1][0].msg
	w.restart(1, ControlConfig{Epoch: 77})
	w.run(time.Second)
	if err := w.ends[0].Receive(w.now, 1, old); !errors.Is(err, ErrStale) {
		t.Fatal(err)
	}
	w.run(time.Second)
	if n := len(w.got(0, PeerHello)); n != 2 {
		t.Fatalf("met %d times", n)
	}
}

// Nor does what the processes before that one sent.
func TestStragglersOfManyRestarts(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	old := [][]byte{w.sent[1][0].msg}
	for i := range uint64(7) {
		from := len(w.sent[1])
		w.restart(1, ControlConfig{Epoch: 77 + i})
		w.run(time.Second)
		old = append(old, w.sent[1][from].msg)
	}
	last := old[len(old)-1]
	for _, msg := range old[:len(old)-1] {
		if err := w.ends[0].Receive(w.now, 1, msg); !errors.Is(err, ErrStale) {
			t.Fatal(err)
		}
	}
	if err := w.ends[0].Receive(w.now, 1, last); err != nil {
		t.Fatal(err)
	}
}

func TestBothRestart(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	w.restart(0, ControlConfig{Epoch: 70})
	w.restart(1, ControlConfig{Epoch: 71})
	w.run(5 * time.Second)
	w.settled()
}

// A straggler of a process that nobody here knew is taken for news, but the peer sees that and says who it is.
func TestForeignHello(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	b := appendHello(header{from: 0xdead}.append(nil), 1, &ControlConfig{VersionMin: 1, VersionMax: 1})
	if err := w.ends[0].Receive(w.now, 1, b); err != nil {
		t.Fatal(err)
	}
	w.run(2 * formerLife)
	w.settled()
	if n, _ := w.ends[0].Negotiated(); n.Epoch != 0xb {
		t.Fatalf("%+v", n)
	}
}

func TestReceiveRefuses(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	c := w.ends[0]
	known := header{from: 0xb, to: 0xa}.append(nil)
	msg := func(k kind, body string) []byte {
		raw, err := hex.DecodeString(body)
		if err != nil {
			t.Fatal(err)
		}
		return append(openMessage(append([]byte{}, known...), k, len(raw)), raw...)
	}
	offer := func(tail string) []byte { return msg(held, "00000009"+"00000000"+"00010002"+tail) }
	cases := []struct {
		name string
		pkt  []byte
		want error
	}{
		{"empty", nil, ErrNotControl},
		{"short", known[:19], ErrNotControl},
		{"other lane", append([]byte("TL\x02\x00"), known[4:]...), ErrNotControl},
		{"no epoch", header{to: 0xa}.append(nil), ErrMalformed},
		{"half a message", append(known[:20:20], 1, 1, 0), ErrMalformed},
		{"length beyond the packet", append(known[:20:20], 3, 1, 0, 1), ErrMalformed},
		{"own", header{from: 0xa, to: 0xb}.append(nil), ErrReflected},
		{"stranger", append(header{from: 0xc, to: 0xa}.append(nil), byte(ack), 1, 0, 0), ErrStranger},
		{"for our former self", append(header{from: 0xb, to: 0x9}.append(nil), byte(ack), 1, 0, 0), ErrStale},
		{"HELLO cut", msg(hello, "00000009"), ErrMalformed},
		{"HELLO without versions", msg(hello, "00000009"+"00000000"+"000000000000000000000000000000000000000000000000"), ErrMalformed},
		{"PING shorter than its PONG", msg(ping, "00000001"+"0000000000000000"), ErrMalformed},
		{"PONG cut", msg(pong, "00000001"), ErrMalformed},
		{"PONG for no PING", msg(pong, "0000000100000000000000000000000000000000000000000000"), ErrStray},
		{"PATH cut", msg(pathNews, "0000000901"), ErrMalformed},
		{"PATH of unknown role", msg(pathNews, "0000000901000400"+"0000000000000000"+"0000000000000000"+"00000000"), ErrMalformed},
		{"PATH of unknown state", msg(pathNews, "0000000901030000"+"0000000000000000"+"0000000000000000"+"00000000"), ErrMalformed},
		{"HELD cut", offer("00040000c00002"), ErrMalformed},
		{"HELD of no family", offer("00050000c0000201"), ErrMalformed},
		{"HELD of half an address", offer("00060000c0000201"), ErrMalformed},
		{"HELD of a mapped address", offer("00060000" + "00000000000000000000ffffc0000201"), ErrMalformed},
		{"BYE cut", msg(bye, "00000009"), ErrMalformed},
	}
	for _, k := range cases {
		if err := c.Receive(w.now, 1, k.pkt); !errors.Is(err, k.want) {
			t.Errorf("%s: %v, want %v", k.name, err, k.want)
		}
		if e, ok := c.Next(); ok {
			t.Errorf("%s: %+v", k.name, e)
		}
	}
	if err := c.Receive(w.now, 9, known); !errors.Is(err, ErrNoPath) {
		t.Errorf("%v", err)
	}
	w.run(time.Second)
	w.settled()
}

// A bad message does not take its neighbours with it.
func TestBadNeighbour(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	b := append(header{from: 0xb, to: 0xa}.append(nil), byte(bye), 1, 0, 0)
	b = appendOffer(b, &news{kind: refused, seq: 50, offer: offer(1), reason: 3}, 0)
	if err := w.ends[0].Receive(w.now, 1, b); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	if e, _ := w.ends[0].Next(); e.Kind != PeerRefused || e.Reason != wire.Prohibited {
		t.Fatalf("%+v", e)
	}
}

// Whatever comes, answers are not longer. The lane's own news leave by their own timer.
func TestNoAmplification(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	w.ends[1].SetPath(w.now, PathState{ID: 3})
	for i := range 30 {
		w.ends[1].Held(w.now, offer(i))
		w.ends[1].Ping(w.now, 1, 0)
	}
	w.ends[1].Ping(w.now, 1, PingMin)
	w.ends[1].Bye(w.now, Shutdown)
	w.run(9 * time.Millisecond)
	buf := make([]byte, 1500)
	for _, p := range w.flight {
		for range 2 {
			if err := w.ends[0].Receive(w.now, 1, p.msg); err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, msg, ok := w.ends[0].Transmit(w.now, buf); ok; _, msg, ok = w.ends[0].Transmit(w.now, buf) {
				n += len(msg)
			}
			if n == 0 || n > len(p.msg) {
				t.Errorf("%d octets for %d", n, len(p.msg))
			}
		}
	}
}

// News that find no room for their event are not acknowledged, so that they come again.
func TestEventsBounded(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	c, h := w.ends[0], header{from: 0xb, to: 0xa}
	for i := range 2 * eventsMax {
		b := appendOffer(h.append(nil), &news{kind: held, seq: uint32(1000 + i), offer: offer(i)}, 0)
		if err := c.Receive(w.now, 1, b); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.Counters(); n.Events != eventsMax || len(c.paths[0].acks) > acksMax {
		t.Fatalf("%+v, %d to acknowledge", n, len(c.paths[0].acks))
	}
	for range 10 {
		c.Next()
	}
	b := appendOffer(h.append(nil), &news{kind: held, seq: 1000 + eventsMax, offer: offer(0)}, 0)
	if err := c.Receive(w.now, 1, b); err != nil || cap(c.events) > 2*eventsMax {
		t.Fatal(err)
	}
	n := 0
	for _, ok := c.Next(); ok; _, ok = c.Next() {
		n++
	}
	if n != eventsMax-9 {
		t.Fatalf("%d events", n)
	}
}

func TestPongsBounded(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	b := header{from: 0xb, to: 0xa}.append(nil)
	for range 100 {
		b = append(openMessage(b, ping, pingLen), make([]byte, pingLen)...)
	}
	if err := w.ends[0].Receive(w.now, 1, b); err != nil || w.ends[0].Counters().Answers != 100-pongsMax {
		t.Fatalf("%v %+v", err, w.ends[0].Counters())
	}
}

func TestWindow(t *testing.T) {
	var w window
	for _, seq := range []uint32{1, 5, 3, 1023, 1024, 1028, 9000} {
		if w.has(seq) {
			t.Errorf("%d before it came", seq)
		}
		if w.add(seq); !w.has(seq) {
			t.Errorf("%d after it came", seq)
		}
	}
	for _, seq := range []uint32{5, 1028, 8999, 9001, 9000 - windowSize, 9000 + windowSize, 0xffffffff} {
		if w.has(seq) {
			t.Errorf("%d never came, or long ago", seq)
		}
	}
	w.add(5)
	w.add(9000 + 1<<31)
	if !w.has(9000) || w.has(5) {
		t.Error("what is far behind moved the window")
	}
}
