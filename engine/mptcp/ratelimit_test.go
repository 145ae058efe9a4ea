package mptcp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/engine/datagram"
	"tandem/engine/wire"
)

// comes has n octets come from the peer, of which the first is at, and returns what left.
func (s *script) comes(path, at, n int) []string {
	s.t.Helper()
	s.recv(fmt.Sprintf("%d . %d:%d ack 1 <dss ack8 1 map4 %d ssn %d len %d>", path, at, at+n, at, at, n))
	return s.left()
}

// wantRate fails unless what left is one acknowledgement with that limit; "" for none.
func (s *script) wantRate(left []string, rate string) {
	s.t.Helper()
	_, got, _ := strings.Cut(strings.TrimSuffix(strings.Join(left, "; "), ">"), "rate_limit ")
	if got != rate || len(left) != 1 {
		s.t.Fatalf("left %q, want the limit %q\n%s", left, rate, s.story())
	}
}

// wantLimit fails unless the subflow keeps to that limit.
func (s *script) wantLimit(i, want int) {
	s.t.Helper()
	if got := s.c.Info(s.now).Subflows[i]; got.Limit != want {
		s.t.Fatalf("limit %d, want %d: %+v", got.Limit, want, got)
	}
}

// A limit rides on the next two acknowledgements, beside DATA_ACK, and again every ten seconds while octets come: so
// the loss of one does no lasting harm. Taken back it is told in the same way, three times again, and then no more.
func TestRateIsAsked(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.b.SetLimit(s.now, 0, 125_000, 0)
	s.want()
	at := 1
	next := func() []string { at += 100; return s.comes(0, at-100, 100) }
	if left := next(); left[0] == "" || !strings.Contains(left[0], "<dss ack4 101, rate_limit 1000 kbit/s>") {
		t.Fatal(left)
	}
	s.wantRate(next(), "1000 kbit/s")
	s.wantRate(next(), "")
	s.advance(9 * second)
	s.wantRate(next(), "")
	s.advance(2 * second)
	s.wantRate(next(), "1000 kbit/s")
	s.wantRate(next(), "")
	s.advance(60 * second)
	s.want() // nothing comes that could be limited
	s.c.SetInactivity(s.now, 200*second, false)
	s.want("0 . 1 ack 601 <dss ack4 601, inactivity_time 200 s, rate_limit 1000 kbit/s>") // some had come since
	s.advance(60 * second)
	s.c.SetInactivity(s.now, 300*second, false)
	s.want("0 . 1 ack 601 <dss ack4 601, inactivity_time 300 s>")
	s.b.SetLimit(s.now, 0, 0, 0)
	s.wantRate(next(), "none")
	s.wantRate(next(), "none")
	s.wantRate(next(), "")
	for range liftRepeat {
		s.advance(11 * second)
		s.wantRate(next(), "none")
		s.wantRate(next(), "")
	}
	s.advance(60 * second)
	s.wantRate(next(), "")
}

// A subflow that uses its limit is told it again each second, also when no other does.
func TestRateIsRefreshedInUse(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.b.SetLimit(s.now, 0, 125_000, 0)
	at := 1
	for i := range 5 {
		told := 0
		for range 20 {
			told += strings.Count(strings.Join(s.comes(0, at, 1000), "; "), "rate_limit 1000 kbit/s")
			at += 1000
		}
		s.advance(second)
		if want := 1 + one(i == 0); told != want {
			t.Errorf("second %d: told %d times, want %d", i, told, want)
		}
	}
}

// While octets come a change is told at once.
func TestRateIsAskedAtOnce(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.comes(0, 1, 100)
	s.b.SetLimit(s.now, 0, 125_000, 0)
	s.want("0 . 1 ack 101 <dss ack4 101, rate_limit 1000 kbit/s>", "0 . 1 ack 101 <dss ack4 101, rate_limit 1000 kbit/s>")
}

// A subflow that comes later is told too.
func TestRateOfALaterSubflow(t *testing.T) {
	s := joined(t, Config{}, 1)
	s.attach(1, true)
	s.b.SetLimit(s.now, 1, 125_000, 0)
	s.skip()
	s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>")
	s.skip()
	s.recv("1 . 1 ack 1 <dss ack8 1>")
	s.want()
	s.wantRate(s.comes(1, 1, 100), "1000 kbit/s")
	s.wantRate(s.comes(0, 101, 0), "")
}

// What the peer asks of a subflow is kept there and nowhere else, changed, taken back, and ends with it.
func TestRateIsKept(t *testing.T) {
	s := joined(t, Config{}, 2)
	for _, c := range []struct {
		option string
		want   int
	}{
		{"rate_limit 1000 kbit/s", 125_000}, {"rate_limit 2000 kbit/s", 250_000}, {"rate_limit none", 0},
		{"rate_limit 1 kbit/s", 5000}, // raised to one packet in a timeout, which is 300 ms
		{"prototype 100", 5000},       // nobody expects one
	} {
		s.recv("1 . 1 ack 1 <dss ack8 1, " + c.option + ">")
		s.wantLimit(1, c.want)
		s.wantLimit(0, 0)
	}
	if n := s.b.Counters().RateLimits; n != 4 {
		t.Fatal(n)
	}
	s.recv("1 R 1")
	s.skip()
	s.advance(10 * second)
	s.skip()
	s.join(1)
	s.wantLimit(1, 0)
}

func TestRateOfPrototype(t *testing.T) {
	s := agreed(t, Config{Prototype: PrototypeRateLimit}, 1)
	s.recv("0 . 1 ack 1 <dss ack8 1, prototype 100>")
	s.wantLimit(0, 100_000)
}

// A limit of 0 leaves the subflow to retransmissions and to what has no data, the end of the stream included.
func TestRateOfNothing(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.write("one")
	s.skip()
	s.recv("0 . 1 ack 1 <dss ack8 1, rate_limit 0 kbit/s>")
	s.write("two")
	s.advance(5 * second)
	left := strings.Join(s.left(), "\n")
	if !strings.Contains(left, `"one"`) || strings.Contains(left, `"two"`) || !s.c.Info(s.now).Subflows[0].Muted {
		t.Fatal(left)
	}
	s.recv("0 . 1 ack 4 <dss ack8 4>")
	s.advance(3600 * second)
	s.skip()
	s.living(1)
	s.recv("0 . 1 ack 4 <dss ack8 4, rate_limit none>")
	s.want(`0 P. 4 ack 1 "two" <dss ack4 1 map4 4 ssn 4 len 3>`)
	s.recv("0 . 1 ack 7 <dss ack8 7, rate_limit 0 kbit/s>")
	s.c.CloseWrite(s.now)
	s.want("0 . 7 ack 1 <dss ack4 1 map4 7 ssn 0 len 1 fin>")
}

// With another subflow to carry them the octets leave there.
func TestRateOfNothingOnOne(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.recv("0 . 1 ack 1 <dss ack8 1, rate_limit 0 kbit/s>")
	s.write("hello")
	s.want(`1 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
}

// Between our ends PATH carries the limits of a path: asked, changed and removed while it runs, told again until
// acknowledged, and kept with the lower of both wishes. The option shows them on the subflows, and bounds nothing.
func TestLimitsByPath(t *testing.T) {
	s := openLane(t)
	shown := func() PathInfo { return s.b.Paths(s.now)[0] }
	s.dead[0], s.dead[1] = true, true
	s.b.SetLimit(s.now, 0, 700_000, 300_000)
	s.talk()
	if i := shown(); i.Granted || i.Limit != 300_000 {
		t.Fatalf("%+v", i)
	}
	s.dead[0], s.dead[1] = false, false
	s.advance(30 * second)
	s.talk()
	e := s.heard(datagram.PeerPath)
	if e.State.LimitDown != 700_000 || e.State.LimitUp != 300_000 || !shown().Granted {
		t.Fatalf("%+v %+v", e, shown())
	}
	for _, c := range []struct {
		peer uint64
		want int
	}{{200_000, 200_000}, {400_000, 300_000}, {1 << 60, 300_000}, {0, 300_000}} {
		s.peer.SetPath(s.now, datagram.PathState{ID: 0, LimitDown: c.peer})
		s.talk()
		if i := shown(); i.Limit != c.want || i.Granted != true {
			t.Fatalf("the peer asks for %d: %+v", c.peer, i)
		}
	}
	s.skip()
	s.recv("0 . 1 ack 1 <dss ack8 1, rate_limit 8 kbit/s>")
	if i := shown(); i.Limit != 300_000 || s.c.Info(s.now).Subflows[0].PeerLimit != 1000 {
		t.Fatalf("%+v", i)
	}
	s.wantRate(s.comes(0, 1, 100), "5600 kbit/s")
	s.b.SetLimit(s.now, 0, 0, 0)
	s.talk()
	if e := s.heard(datagram.PeerPath); e.State.LimitDown != 0 || shown().Limit != 0 {
		t.Fatalf("%+v %+v", e, shown())
	}
}

// What the peer asked for before the path was attached here counts; of another process in its place nothing does,
// and it is told anew what this end asks for.
func TestLimitsOutliveThePath(t *testing.T) {
	s := newLane(t, true, Config{}, 2)
	cfg := s.b.path(1).cfg
	s.peer.SetPath(s.now, datagram.PathState{ID: 1, LimitDown: 200_000})
	s.talk()
	s.b.Detach(s.now, 1)
	cfg.LimitDown = 500_000
	s.b.Attach(s.now, 1, cfg)
	s.talk()
	if i := s.b.Paths(s.now)[1]; i.Limit != 200_000 || i.PeerDown != 200_000 {
		t.Fatalf("%+v", i)
	}
	s.news = nil
	s.restart(2)
	s.talk()
	if i := s.b.Paths(s.now)[1]; i.Limit != 0 || i.PeerDown != 0 {
		t.Fatalf("%+v", i)
	}
	s.advance(30 * second)
	s.talk()
	for _, e := range s.news {
		if e.Kind == datagram.PeerPath && e.State.ID == 1 && e.State.LimitDown == 500_000 {
			return
		}
	}
	t.Fatalf("%+v", s.news)
}

// Shares are of those that use the path, told anew each second; who hardly does takes nothing from them.
func TestSharesOfWhoUsesThePath(t *testing.T) {
	d := newTraffic(t, 3, 1)
	small := d.conns[1][2]
	d.conns[1] = d.conns[1][:2] // the server's application writes into the third only now and then
	told := map[uint32]int{}
	counting := d.lose
	d.lose = func(n int, from int, path PathID, pkt []byte) bool {
		var seg wire.Segment
		if from == 0 && seg.Parse(pkt) == nil && seg.Options.Has&wire.HasRateLimit != 0 {
			told[seg.Options.RateLimit]++
		}
		return counting(n, from, path, pkt)
	}
	d.pump(time.Second)
	d.ends[0].SetLimit(d.now, 0, 300_000, 0)
	for range 5 {
		d.pump(time.Second)
		small.Write(make([]byte, 200))
		small.Poke(d.now)
	}
	clear(told)
	for range 3 {
		d.pump(time.Second)
		small.Write(make([]byte, 200))
		small.Poke(d.now)
	}
	var got []int
	for _, c := range d.conns[0] {
		got = append(got, c.Info(d.now).Subflows[0].LimitDown)
	}
	if slices.Sort(got); !slices.Equal(got, []int{100_000, 150_000, 150_000}) {
		t.Errorf("shares %v", got)
	}
	if told[1200] != 6 || len(told) > 2 {
		t.Errorf("told: %v", told)
	}
}

// A limit is no reason to use a subflow that is to be spared.
func TestRateSparesBackups(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.recv("1 . 1 ack 1 <dss ack8 1, prio backup>", "0 . 1 ack 1 <dss ack8 1, rate_limit 80 kbit/s>")
	s.c.Write(octets(0, 20_000))
	s.c.Poke(s.now)
	s.advance(250 * ms)
	out := s.left()
	if len(out) < 2 {
		t.Fatalf("%d segments", len(out))
	}
	for _, line := range out {
		if line[0] != '0' {
			t.Fatal(line)
		}
	}
}

// A limit, however small or large, is said as one: neither as nothing at all nor as none.
func TestRateAsTheOptionSaysIt(t *testing.T) {
	for limit, want := range map[int]uint32{0: unlimited, 1: 1, 249: 1, 250: 2, 1 << 62: unlimited - 1} {
		if got := toKilobits(limit); got != want {
			t.Errorf("%d octets a second: %d kbit/s, want %d", limit, got, want)
		}
	}
}

// Between our ends PATH counts, and what the option says stops nothing.
func TestRateOfNothingPaired(t *testing.T) {
	s := agreed(t, Config{Paired: true}, 1)
	s.recv("0 . 1 ack 1 <dss ack8 1, rate_limit 0 kbit/s>")
	s.skip()
	s.write("hello")
	s.want(`0 . 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
}

// The option rides on the subflows of a Paired bond as well, from their beginning on.
func TestRateOfANewSubflowPaired(t *testing.T) {
	s := newScript(t, true, Config{Paired: true}, 1)
	s.lane = func(PathID, []byte) {}
	s.b.SetLimit(s.now, 0, 125_000, 0)
	s.dial(DialOptions{})
	s.skip()
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>", "0 . 1 ack 1 <dss ack8 1>")
	s.skip()
	s.wantRate(s.comes(0, 1, 100), "1000 kbit/s")
}
