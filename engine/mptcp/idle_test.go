package mptcp

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// patient is a bond whose connections may be idle for so long, as it tells or asks.
func patient(d time.Duration, request bool) Config {
	return Config{Inactivity: Inactivity{Time: d, Request: request}}
}

// wantIdle fails unless the connection may be idle for used, and is for left more.
func (s *script) wantIdle(used, left time.Duration) {
	s.t.Helper()
	if i := s.c.Info(s.now).Inactivity; i.Used != used || i.Left != left {
		s.t.Fatalf("may be idle for %v, %v left; want %v, %v\n%s", i.Used, i.Left, used, left, s.story())
	}
}

// The time is told once when the peer is known to speak MPTCP, on an acknowledgement, and once more on the next
// subflow.
func TestInactivityIsTold(t *testing.T) {
	s := dialled(t, patient(240*second, false), 3)
	s.recv("0 . 1 ack 1 <dss ack8 1>")
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A>", "2 S 0 <join id 5 token token-B nonce nonce-A>",
		"0 . 1 ack 1 <dss ack4 1, inactivity_time 240 s>")
	s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>")
	s.want("1 . 1 ack 1 <join mac mac-A>")
	s.recv("1 . 1 ack 1 <dss ack8 1>")
	s.want("1 . 1 ack 1 <dss ack4 1, inactivity_time 240 s>")
	s.join(2)
	s.advance(60 * second)
	s.want()
}

// A change is told at once, and again on the subflow that comes next; what 16 bits of seconds do not hold is told
// in minutes.
func TestInactivityChanges(t *testing.T) {
	s := agreed(t, Config{}, 2)
	s.c.SetInactivity(s.now, 20*time.Hour, true)
	s.want("0 . 1 ack 1 <dss ack4 1, inactivity_time 1200 min request>")
	s.c.SetInactivity(s.now, 20*time.Hour, true)
	s.want()
	s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>")
	s.skip()
	s.recv("1 . 1 ack 1 <dss ack8 1>")
	s.want("1 . 1 ack 1 <dss ack4 1, inactivity_time 1200 min request>")
	s.wantIdle(20*time.Hour, 20*time.Hour)
	s.c.SetInactivity(s.now, 48*time.Hour, false)
	s.want("0 . 1 ack 1 <dss ack4 1, inactivity_time 1440 min>")
	s.c.SetInactivity(s.now, 0, false)
	s.want()
	s.wantIdle(0, 0)
}

// What both ends say combines as RFC 5482 3.1 says, but only if the peer asks, and unless this end is fixed.
func TestInactivityCombines(t *testing.T) {
	fixed := patient(200*second, true)
	fixed.Inactivity.Fixed = true
	bounds := patient(200*second, false)
	bounds.Inactivity.Least, bounds.Inactivity.Most = 150*second, 300*second
	for name, c := range map[string]struct {
		cfg    Config
		option string
		want   time.Duration
	}{
		"told":                     {patient(200*second, false), "inactivity_time 500 s", 200 * second},
		"asked for more":           {patient(200*second, false), "inactivity_time 500 s request", 500 * second},
		"asked for less":           {patient(200*second, true), "inactivity_time 120 s request", 200 * second},
		"asked for too little":     {patient(0, false), "inactivity_time 5 s request", 100 * second},
		"asked for too much":       {patient(0, false), "inactivity_time 65535 min request", 24 * time.Hour},
		"asked for minutes":        {patient(0, false), "inactivity_time 3 min request", 180 * second},
		"own is little":            {patient(70*second, false), "inactivity_time 5 s", 70 * second},
		"fixed":                    {fixed, "inactivity_time 500 s request", 200 * second},
		"own bounds, too much":     {bounds, "inactivity_time 500 s request", 300 * second},
		"own bounds, too little":   {Config{Inactivity: Inactivity{Least: 150 * second}}, "inactivity_time 1 s request", 150 * second},
		"zero":                     {patient(200*second, false), "inactivity_time 0 s request", 200 * second},
		"prototype, not expected":  {patient(0, false), "prototype 240", 0},
		"prototype":                {Config{Prototype: PrototypeInactivity}, "prototype 240", 240 * second},
		"prototype of 0":           {Config{Prototype: PrototypeInactivity}, "prototype 0", 0},
		"prototype of the limit":   {Config{Prototype: PrototypeRateLimit}, "prototype 240", 0},
		"told of nothing in order": {patient(0, false), "inactivity_time 500 s", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := dialled(t, c.cfg, 1)
			s.recv("0 . 1 ack 1 <dss ack8 1>")
			s.skip()
			s.advance(50 * second)
			s.skip()
			s.recv("0 . 1 ack 1 <dss ack8 1, " + c.option + ">")
			left := c.want
			if c.want == c.cfg.Inactivity.Time && left > 0 {
				left -= 50 * second // nothing changed, so that the clock goes on
			}
			s.wantIdle(c.want, left)
		})
	}
}

// What the option cannot say is rounded up: a peer that gave the connection up before this end would be too early.
func TestInactivityIsRoundedUp(t *testing.T) {
	s := agreed(t, Config{}, 1)
	for d, want := range map[time.Duration]string{
		70*second + ms: "71 s", 0xffff * second: "65535 s", 0x10000 * second: "1093 min", 1093 * time.Minute: "1093 min",
	} {
		s.advance(second)
		s.c.SetInactivity(s.now, d, false)
		s.want("0 . 1 ack 1 <dss ack4 1, inactivity_time " + want + ">")
	}
}

// What is asked for is never less than a retransmission takes.
func TestInactivityExceedsTheTimeout(t *testing.T) {
	s := dialling(t, Config{Inactivity: Inactivity{Least: ms}}, 1)
	s.skip()
	s.advance(900 * ms)
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>", "0 . 1 ack 1 <dss ack8 1, inactivity_time 1 s request>")
	s.wantIdle(2700*ms, 2700*ms)
	s.recv("0 . 1 ack 1 <dss ack8 1, inactivity_time 3 s request>")
	s.wantIdle(3*second, 3*second)
}

// The latest word counts: who only tells does not ask any more.
func TestInactivityIsTakenBack(t *testing.T) {
	s := agreed(t, patient(0, false), 1)
	s.recv("0 . 1 ack 1 <dss ack8 1, inactivity_time 300 s request>")
	s.wantIdle(300*second, 300*second)
	s.recv("0 . 1 ack 1 <dss ack8 1, inactivity_time 300 s>")
	s.wantIdle(0, 0)
	i := s.c.Info(s.now).Inactivity
	if i.Peer != 300*second || i.PeerRequests || s.b.Counters().InactivityTimes != 2 {
		t.Fatalf("%+v %+v", i, s.b.Counters())
	}
}

// While a connection is half open its peer may be anybody: what it asks for is not heard.
func TestInactivityOfAStranger(t *testing.T) {
	s := answering(t, Config{}, 1)
	s.recv("0 . 1 ack 1 <inactivity_time 300 s request>")
	if n := s.b.Counters().InactivityTimes; n != 0 || s.c.idle.peer != 0 {
		t.Fatal("heard")
	}
	s = dialled(t, Config{}, 1)
	s.recv("0 . 1 ack 1 <inactivity_time 300 s request>")
	if n := s.b.Counters().InactivityTimes; n != 0 || s.c.idle.peer != 0 {
		t.Fatal("heard before the peer has shown that it knows MPTCP")
	}
}

// Neither end takes over what the other one uses: each has a clock of its own.
func TestInactivityOfTwoEnds(t *testing.T) {
	d := newDuo(t, patient(300*second, false), patient(120*second, false), 1)
	d.ends[1].Listen(80)
	c, err := d.ends[0].Dial(0, target2, DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var far *Conn
	d.run(second, func() bool {
		if far == nil {
			if far = d.offer(d.ends[1]); far != nil {
				if err := far.Accept(d.now); err != nil {
					t.Fatal(err)
				}
				d.flush()
			}
		}
		return false
	})
	near, other := c.Info(d.now).Inactivity, far.Info(d.now).Inactivity
	if near.Used != 300*second || near.Peer != 120*second || other.Used != 120*second || other.Peer != 300*second {
		t.Fatalf("%+v %+v", near, other)
	}
	d.run(118*second, nil)
	if far.Err() != nil {
		t.Fatalf("ended early: %s", far.Trace())
	}
	d.run(3*second, nil)
	if far.Err() != ErrTimeout || c.Err() != ErrReset {
		t.Fatalf("%v, and %v\n%s", far.Err(), c.Err(), far.Trace())
	}
}

// An idle connection ends on all its subflows at once, with MP_FASTCLOSE.
func TestInactivityEnds(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.c.SetInactivity(s.now, 150*second, false)
	s.skip()
	s.advance(150*second - 1)
	s.want()
	s.advance(1)
	s.want("0 R. 1 ack 1 <fastclose key-B>", "1 R. 1 ack 1 <fastclose key-B>")
	s.over(ErrTimeout)
	s.readEnd(ErrTimeout)
	if n := s.b.Counters().Inactive; n != 1 {
		t.Fatal(n)
	}
	if !strings.Contains(s.story(), "idle for 150 s") {
		t.Fatal(s.story())
	}
}

// Whatever moves on whatever subflow starts the clock anew, in either direction; a sign of life does not.
func TestInactivityStartsAnew(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.c.SetInactivity(s.now, 150*second, false)
	s.skip()
	for _, c := range []struct {
		what string
		do   func()
		anew bool
	}{
		{"data comes", func() { s.recv(`1 P. 1 ack 1 "hello" <dss ack8 1 map4 1 ssn 1 len 5>`) }, true},
		{"it comes again", func() { s.recv(`1 P. 1 ack 1 "hello" <dss ack8 1 map4 1 ssn 1 len 5>`) }, false},
		{"data leaves", func() { s.write("hi") }, true},
		{"the subflow acknowledges it", func() { s.recv("0 . 1 ack 3 <dss ack8 1>") }, false},
		{"DATA_ACK", func() { s.recv("1 . 6 ack 1 <dss ack8 3>") }, true},
		{"DATA_ACK again", func() { s.recv("1 . 6 ack 1 <dss ack8 3>") }, false},
		{"a probe", func() { s.recv("0 . 0 ack 3 <dss ack8 3>") }, false},
		{"DATA_FIN leaves and is acknowledged", func() { s.c.CloseWrite(s.now); s.skip(); s.recv("0 . 1 ack 3 <dss ack8 4>") }, true},
	} {
		s.advance(10 * ms)
		s.skip()
		before := s.c.idle.since
		c.do()
		s.skip()
		if anew := s.c.idle.since == s.now; anew != c.anew || !anew && s.c.idle.since != before {
			t.Fatalf("%s: anew %v\n%s", c.what, anew, s.story())
		}
	}
}

// Without a subflow a connection lives on for as long as it may be idle, and then ends in silence.
func TestInactivityWithoutSubflows(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.c.SetInactivity(s.now, 300*second, false)
	s.skip()
	begun := s.now
	s.advance(100 * second)
	s.b.Detach(s.now, 0)
	s.skip()
	s.advance(begun.Add(300*second).Sub(s.now) - 1)
	s.living(0)
	s.wantIdle(300*second, 1)
	s.advance(1)
	s.over(ErrTimeout)
	s.want()
}

// Break before make: a path that comes within the time carries the connection on, though Linger is over.
func TestInactivityOutlivesLinger(t *testing.T) {
	s := agreed(t, Config{Linger: 10 * second}, 1)
	s.c.SetInactivity(s.now, 3600*second, false)
	s.skip()
	s.b.Detach(s.now, 0)
	s.advance(3000 * second)
	s.living(0)
	s.attach(1, true)
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A>")
	s.join1()
	s.living(1)
}

// What was sent before waits as long, and is sent again when a path comes.
func TestInactivityOutlivesPatience(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.c.SetInactivity(s.now, 3600*second, false)
	s.skip()
	s.write("hello")
	s.skip()
	s.b.Detach(s.now, 0)
	s.advance(3000 * second)
	s.living(0)
	s.attach(1, true)
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A>")
	s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>")
	s.want("1 . 1 ack 1 <join mac mac-A>")
	s.recv("1 . 1 ack 1 <dss ack8 1>")
	s.want("1 . 1 ack 1 <dss ack4 1, inactivity_time 3600 s>", "1 . 1 ack 1 <remove_addr [0]>", `1 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
}

// join1 answers the MP_JOIN of path 1 and forgets what leaves.
func (s *script) join1() {
	s.t.Helper()
	s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>")
	s.want("1 . 1 ack 1 <join mac mac-A>")
	s.recv("1 . 1 ack 1 <dss ack8 1>")
	s.skip()
}

// The time takes the place of Linger when it is set while no subflow is left, and Linger its place when it is not.
func TestInactivityAndLinger(t *testing.T) {
	s := agreed(t, Config{Linger: 50 * second}, 1)
	s.b.Detach(s.now, 0)
	s.skip()
	s.advance(40 * second)
	s.c.SetInactivity(s.now, 200*second, false)
	s.advance(199 * second)
	s.living(0)
	s.c.SetInactivity(s.now, 0, false)
	s.advance(49 * second)
	s.living(0)
	s.advance(second)
	s.over(ErrTimeout)
}

// A peer that speaks plain TCP hears nothing, and the time still ends the connection here.
func TestInactivityAfterFallback(t *testing.T) {
	s := dialling(t, patient(120*second, true), 1)
	s.skip()
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 1")
	s.want("0 . 1 ack 1")
	s.advance(120*second - 1)
	s.want()
	s.advance(1)
	s.want("0 R. 1 ack 1")
	s.over(ErrTimeout)
}

// Idle subflows to a foreign peer keep their NATs open, each by itself and not all at once, until the connection's time
// is over. In a Paired bond the carrier does that.
func TestKeepaliveWhileIdle(t *testing.T) {
	s := joined(t, Config{Keepalive: 30 * second}, 2)
	s.c.SetInactivity(s.now, 101*second, false)
	s.skip()
	var left []string
	for range 110 {
		s.advance(second)
		for _, line := range s.left() {
			left = append(left, line)
			if !strings.Contains(line, "R") {
				s.recv(line[:1] + " . 1 ack 1 <dss ack8 1>")
			}
		}
	}
	probes := 0
	for i, line := range left {
		if strings.Contains(line, " . 0 ack 1") {
			probes++
		} else if i < len(left)-2 {
			t.Errorf("%s", line)
		}
	}
	if probes < 6 || probes > 10 {
		t.Errorf("%d probes: %v", probes, left)
	}
	s.over(ErrTimeout)
	if paired := (&subflow{c: &Conn{b: NewBond(Config{Paired: true, Keepalive: second, Entropy: &fixed{}})}}).keepalive(target); paired != 0 {
		t.Error("a Paired bond probes")
	}
	intervals := map[time.Duration]bool{}
	for port := range 16 {
		local := netipPort(uint16(40000 + port))
		intervals[(&subflow{c: s.c}).keepalive(local)] = true
	}
	if len(intervals) != 16 {
		t.Errorf("%d intervals", len(intervals))
	}
}

var target2 = netip.MustParseAddrPort("10.0.0.2:80")

func netipPort(port uint16) netip.AddrPort { return netip.AddrPortFrom(target.Addr(), port) }
