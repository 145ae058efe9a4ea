package datagram

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"tandem/engine/wire"
)

func TestMeet(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	w.settled()
	for i := range w.ends {
		if es := w.got(i, PeerHello); len(es) != 1 || es[0].Changed {
			t.Errorf("end %d: %+v", i, es)
		}
		if n := len(w.sent[i]); n > 3 {
			t.Errorf("end %d sent %d packets", i, n)
		}
	}
}

func TestIdleSendsNothing(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.run(time.Second)
	n := len(w.sent[0]) + len(w.sent[1])
	w.run(24 * time.Hour)
	if m := len(w.sent[0]) + len(w.sent[1]); m != n {
		t.Fatalf("%d packets while idle", m-n)
	}
	c := w.ends[0]
	buf := make([]byte, 1500)
	if n := testing.AllocsPerRun(100, func() { c.Advance(w.now); c.Transmit(w.now, buf); c.Deadline(); c.Next() }); n != 0 {
		t.Fatalf("%v allocations while idle", n)
	}
}

func TestPingAllocatesNothing(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	a, b := w.ends[0], w.ends[1]
	buf, o := make([]byte, 1500), offer(1)
	round := func() {
		a.Ping(w.now, 1, 0)
		a.Held(w.now, o)
		for _, c := range []*Control{a, b, a} {
			for id, msg, ok := c.Transmit(w.now, buf); ok; id, msg, ok = c.Transmit(w.now, buf) {
				other := a
				if c == a {
					other = b
				}
				if err := other.Receive(w.now, id, msg); err != nil {
					t.Fatal(err)
				}
			}
			for _, ok := c.Next(); ok; _, ok = c.Next() {
			}
		}
	}
	for range 100 {
		round()
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// A peer that does not answer costs a packet in twenty seconds, however much it has not heard.
func TestSilentPeerIsCheap(t *testing.T) {
	w := newWorld(t, 1)
	w.dead[1] = true
	for i := range 20 {
		w.ends[0].SetPath(w.now, PathState{ID: PathID(i)})
		w.run(time.Second)
	}
	w.run(5 * time.Minute)
	before := len(w.sent[0])
	w.run(time.Hour)
	if n := len(w.sent[0]) - before; n < 150 || n > 400 {
		t.Fatalf("%d packets an hour", n)
	}
	w.dead[1] = false
	w.run(30 * time.Second)
	w.settled()
	if n := len(w.got(1, PeerPath)); n != 20 {
		t.Fatalf("%d paths told", n)
	}
}

func TestOfferAnswered(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	w.ends[1].Held(w.now, offer(1))
	w.ends[1].Held(w.now, offer(1))
	w.now += 3 * ms // the owner was slow to ask for packets
	w.run(50 * time.Millisecond)
	es := w.got(0, PeerHeld)
	if len(es) != 1 || es[0].Offer != offer(1) || es[0].Path != 1 || es[0].Age != 3*time.Millisecond {
		t.Fatalf("%+v", es)
	}
	w.ends[1].Refused(w.now, offer(1), wire.Prohibited)
	w.run(50 * time.Millisecond)
	if es := w.got(0, PeerRefused); len(es) != 1 || es[0].Offer != offer(1) || es[0].Reason != wire.Prohibited {
		t.Fatalf("%+v", es)
	}
	w.settled()
}

func TestRefusedReplacesHeld(t *testing.T) {
	w := newWorld(t, 1)
	w.ends[1].Held(w.now, offer(1))
	w.ends[1].Refused(w.now, offer(1), wire.Unacceptable)
	w.ends[1].Held(w.now, offer(1))
	w.run(time.Second)
	if len(w.got(0, PeerHeld)) != 0 || len(w.got(0, PeerRefused)) != 1 {
		t.Fatalf("%+v", w.events[0])
	}
}

// What is told before the peer is met reaches it in the same packet as HELLO.
func TestNewsBeforeMeeting(t *testing.T) {
	w := newWorld(t, 1)
	w.ends[1].Held(w.now, offer(9))
	w.run(10 * time.Millisecond)
	if len(w.got(0, PeerHeld)) != 1 || len(w.errors) != 0 {
		t.Fatalf("%+v, errors %v", w.events[0], w.errors)
	}
}

func TestOffersBounded(t *testing.T) {
	w := newWorld(t)
	for i := range 600 {
		w.ends[1].Held(w.now, OfferID{uint16(i), offer(1).Target})
	}
	if n := w.ends[1].Counters().Offers; n != 88 || w.ends[1].Unacknowledged() != 513 {
		t.Fatalf("%d dropped, %d kept", n, w.ends[1].Unacknowledged())
	}
	w.delay[1] = 10 * ms
	w.attach(1)
	w.run(time.Second)
	w.settled()
	es := w.got(0, PeerHeld)
	if len(es) != 512 || es[0].Offer.Source < 88 {
		t.Fatalf("%d told, first %+v", len(es), es[0])
	}
}

func TestOffersExpire(t *testing.T) {
	w := newWorld(t, 1)
	w.dead[1] = true
	w.ends[1].Held(w.now, offer(1))
	w.run(2 * time.Minute)
	if n := w.ends[1].Counters().Expired; n != 1 || w.ends[1].Unacknowledged() != 1 {
		t.Fatalf("%d expired, %d left", n, w.ends[1].Unacknowledged())
	}
}

// HELD takes the other path after two tries, and at once when its path is found silent or removed.
func TestNewsTakeAnotherPath(t *testing.T) {
	cases := []struct {
		name   string
		event  func(w *world)
		within time.Duration
	}{
		{"after two tries", func(w *world) {}, 120 * time.Millisecond},
		{"silent", func(w *world) { w.ends[1].Ping(w.now, 1, 0) }, 70 * time.Millisecond},
		{"detached", func(w *world) { w.run(5 * time.Millisecond); w.ends[1].Detach(w.now, 1) }, 25 * time.Millisecond},
		{"switched off", func(w *world) {
			w.run(5 * time.Millisecond)
			w.ends[1].SetPath(w.now, PathState{ID: 1, State: Off})
		}, 25 * time.Millisecond},
		{"switched off by the peer", func(w *world) {
			w.run(5 * time.Millisecond)
			w.ends[0].SetPath(w.now, PathState{ID: 1, State: Off})
		}, 41 * time.Millisecond},
		{"never from the start", func(w *world) { w.ends[1].SetPath(w.now, PathState{ID: 1, Role: Never}) }, 21 * time.Millisecond},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, 2)
			w.run(time.Second)
			for i := range 20 {
				w.ends[1].Ping(w.now, PathID(1+i%2), 0)
				w.run(100 * time.Millisecond)
			}
			w.dead[1] = true
			w.ends[1].Held(w.now, offer(1))
			c.event(w)
			w.run(c.within)
			if es := w.got(0, PeerHeld); len(es) != 1 || es[0].Path != 2 {
				t.Fatalf("%+v", es)
			}
		})
	}
}

// News that left just before their path is found silent do not wait for their own time.
func TestSilenceMovesNews(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.run(time.Second)
	for i := range 40 {
		w.ends[1].Ping(w.now, PathID(1+i%2), 0)
		w.run(100 * time.Millisecond)
	}
	w.dead[1] = true
	w.ends[1].Ping(w.now, 1, 0)
	w.run(25 * time.Millisecond)
	w.ends[1].Held(w.now, offer(1))
	w.run(28 * time.Millisecond)
	if es := w.got(0, PeerHeld); len(es) != 1 || es[0].Path != 2 {
		t.Fatalf("%+v", es)
	}
}

// While acknowledgements are under way nothing is sent twice.
func TestNewsLeaveOnce(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	w.sent = [2][]packet{}
	for i := range 10 {
		w.ends[1].Held(w.now, offer(i))
		w.run(8 * time.Millisecond)
	}
	w.run(time.Second)
	for i, p := range w.sent[1] {
		if n := headerLen + messageLen + offerLen + 4; len(p.msg) != n || i >= 10 {
			t.Errorf("packet %d: %d octets, not %d", i, len(p.msg), n)
		}
	}
}

// A sign of life after a long time, or a path that opens, ends the waiting of what was not heard.
func TestNewsHurry(t *testing.T) {
	cases := []struct {
		name   string
		relief func(w *world)
		within time.Duration
	}{
		{"peer speaks", func(w *world) { w.dead[1] = false; w.ends[0].Ping(w.now, 1, 0) }, 20 * time.Millisecond},
		{"path opens", func(w *world) { w.ends[1].SetPath(w.now, PathState{ID: 2}) }, 20 * time.Millisecond},
		{"path is attached", func(w *world) { w.delay[3] = 5 * ms; w.attach(3) }, 5 * time.Millisecond},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, 2)
			w.ends[1].SetPath(w.now, PathState{ID: 2, State: Off})
			w.run(time.Second)
			w.dead[1] = true
			w.ends[1].SetPath(w.now, PathState{ID: 9})
			w.run(5 * time.Minute)
			// Just repeated, so that it is not about to be anyway.
			for n := len(w.sent[1]); len(w.sent[1]) == n; {
				w.run(10 * time.Millisecond)
			}
			c.relief(w)
			w.run(c.within)
			es := w.got(0, PeerPath)
			told := false
			for _, e := range es {
				told = told || e.State.ID == 9
			}
			if !told {
				t.Fatalf("%+v", es)
			}
		})
	}
}

// HELLO precedes each PING until it is acknowledged, and yet waits no longer for that.
func TestHelloRides(t *testing.T) {
	w := newWorld(t, 1)
	w.dead[1] = true
	w.ends[0].Ping(w.now, 1, 0)
	w.run(time.Second)
	for range 20 {
		w.ends[0].Ping(w.now, 1, 0)
		w.run(10 * time.Millisecond)
	}
	w.dead[1] = false
	w.restart(1, ControlConfig{Epoch: 5})
	w.ends[1].SetPath(w.now, PathState{ID: 1, State: Off})
	w.run(5 * time.Second)
	if len(w.got(1, PeerHello)) != 1 {
		t.Fatal("HELLO came late")
	}
}

// A path that may never be used carries no packet, not even an answer, and opens again.
func TestNeverMeansNever(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.run(time.Second)
	w.ends[0].SetPath(w.now, PathState{ID: 1, Role: Never})
	w.run(time.Second)
	w.sent = [2][]packet{}
	if w.ends[0].Ping(w.now, 1, 0) || w.ends[1].Ping(w.now, 1, 0) {
		t.Fatal("a PING was accepted")
	}
	for i := range 10 {
		w.ends[i%2].Held(w.now, offer(i))
		w.run(time.Second)
	}
	for i := range w.ends {
		for _, p := range w.sent[i] {
			if p.path == 1 {
				t.Fatalf("end %d sent %x", i, p.msg)
			}
		}
	}
	w.ends[0].SetPath(w.now, PathState{ID: 1, Price: 5})
	w.run(time.Second)
	w.settled()
	if !w.ends[0].Ping(w.now, 1, 0) || !w.ends[1].Ping(w.now, 1, 0) {
		t.Fatal("still closed")
	}
}

func TestSetPathTellsTheLatest(t *testing.T) {
	w := newWorld(t, 1)
	want := PathState{ID: 1, State: Down, Role: Backup, LimitUp: 1, LimitDown: 1 << 40, Price: 7}
	w.ends[0].SetPath(w.now, PathState{ID: 1})
	w.ends[0].SetPath(w.now, want)
	w.ends[0].SetPath(w.now, want)
	if w.ends[0].PathTold(1) {
		t.Error("told before anything left")
	}
	w.run(time.Second)
	if !w.ends[0].PathTold(1) || w.ends[0].PathTold(2) || w.ends[1].PathTold(1) {
		t.Error("told, and only that")
	}
	if es := w.got(1, PeerPath); len(es) != 1 || es[0].State != want {
		t.Fatalf("%+v", es)
	}
	w.settled()
}

func TestFamiliesChange(t *testing.T) {
	w := newWorld(t, 1)
	w.run(time.Second)
	w.ends[1].SetFamilies(w.now, IPv4|IPv6)
	w.run(time.Second)
	n, _ := w.ends[0].Negotiated()
	if es := w.got(0, PeerHello); n.Families != IPv4|IPv6 || len(es) != 2 || es[1].Changed {
		t.Fatalf("%+v %+v", n, es)
	}
}

func TestBye(t *testing.T) {
	w := newWorld(t, 1)
	w.loss = 50
	w.run(20 * time.Second)
	w.ends[1].Held(w.now, offer(1))
	w.ends[1].Bye(w.now, Revoked)
	w.run(30 * time.Second)
	if es := w.got(0, PeerBye); len(es) != 1 || es[0].Bye != Revoked || w.ends[1].Unacknowledged() != 0 {
		t.Fatalf("%+v", es)
	}
	if len(w.got(0, PeerHeld)) != 0 {
		t.Fatal("an offer was answered after the end")
	}
	w.sent = [2][]packet{}
	w.ends[0].Held(w.now, offer(2))
	w.run(time.Hour)
	if len(w.sent[0]) != 0 {
		t.Fatal("told to one who is gone")
	}
}

// story is a bit of everything; it must come out the same whatever the network does.
func story(w *world) {
	for i := range 10 {
		a, b := w.ends[0], w.ends[1]
		a.SetPath(w.now, PathState{ID: PathID(i % 3), Price: uint32(i + 1)})
		b.Held(w.now, offer(i))
		w.run(20 * time.Millisecond)
		b.Refused(w.now, offer(i+100), wire.Reason(i))
		a.Held(w.now, offer(i))
		w.run(20 * time.Millisecond)
	}
}

func verify(w *world) {
	w.t.Helper()
	w.settled()
	last := map[PathID]uint32{}
	for _, e := range w.got(1, PeerPath) {
		if e.State.Price <= last[e.State.ID] {
			w.t.Errorf("path %d went back to price %d", e.State.ID, e.State.Price)
		}
		last[e.State.ID] = e.State.Price
	}
	if fmt.Sprint(last) != "map[0:10 1:8 2:9]" {
		w.t.Errorf("paths %v", last)
	}
	for end, want := range [2][2]int{{10, 10}, {10, 0}} {
		if h, r := len(w.got(end, PeerHeld)), len(w.got(end, PeerRefused)); h != want[0] || r != want[1] {
			w.t.Errorf("end %d: %d held, %d refused", end, h, r)
		}
		if n := len(w.got(end, PeerHello)); n != 1 {
			w.t.Errorf("end %d: met %d times", end, n)
		}
	}
}

func TestWeather(t *testing.T) {
	for seed := range uint64(200) {
		w := newWorld(t, 1, 2, 3)
		w.rand = rand.New(rand.NewPCG(seed, 0))
		w.loss, w.twice, w.jitter = w.rand.IntN(40), w.rand.IntN(50), 200*ms
		story(w)
		w.run(5 * time.Minute)
		if verify(w); t.Failed() {
			t.Fatalf("seed %d: loss %d, twice %d", seed, w.loss, w.twice)
		}
	}
}

func TestNthPacket(t *testing.T) {
	for _, copies := range []int{0, 2} {
		for nth := 1; ; nth++ {
			w := newWorld(t, 1, 2)
			reached := false
			w.fate = func(n, _ int) int {
				if n == nth {
					reached = true
					return copies
				}
				return 1
			}
			story(w)
			w.run(10 * time.Second)
			if verify(w); t.Failed() {
				t.Fatalf("packet %d arrived %d times", nth, copies)
			}
			if !reached {
				break
			}
		}
	}
}
