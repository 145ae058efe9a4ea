package mptcp

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// The attacks by who is on no path and knows the addresses and ports, but not the numbers; and numbers of the data
// sequence that no honest end says.

// RFC 5961 3.2: a reset in the window that is not for the next octet is asked back, and a flood of them seldom.
func TestBlindReset(t *testing.T) {
	s := joined(t, Config{}, 2)
	for at := 2; at < 200_000; at += 100 {
		for _, options := range []string{"", " <reset 1>", " <fastclose key-A>"} {
			s.recv(fmt.Sprintf("0 R %d", at))
			s.collect()
			s.recv(fmt.Sprintf("0 R. %d ack 1%s", at, options))
			s.collect()
		}
	}
	out := s.left()
	if len(out) == 0 || len(out) > 10 {
		t.Fatalf("%d challenges", len(out))
	}
	for _, line := range out {
		s.compare(line, "0 . 1 ack 1 <dss ack4 1>")
	}
	s.living(2)
	s.recv("0 R. 1 ack 1") // the exact one: the subflow ends, the connection does not
	s.living(1)
	s.write("hello")
	s.want(`1 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
}

// RFC 5961 4.2: a SYN on an established subflow is asked back, whatever it says; nothing new begins.
func TestBlindSYN(t *testing.T) {
	for _, options := range []string{"", " <capable v1 flags 01>", " <join id 1 token token-B nonce nonce-A>", " <join id 0 mac mac-B nonce nonce-B>"} {
		s := askedToJoin(t, Config{}, 2)
		for _, at := range []int{0, 1, 2, 30000, 1 << 30} {
			for range 5 {
				s.recv(fmt.Sprintf("0 S %d%s", at, options), fmt.Sprintf("0 S. %d ack 1%s", at, options))
				s.collect()
			}
		}
		out := s.left()
		if len(out) == 0 || len(out) > 10 {
			t.Fatalf("%s: %d challenges", options, len(out))
		}
		for _, line := range out {
			s.compare(line, "0 . 1 ack 1 <dss ack4 1>")
		}
		if s.living(2); len(s.b.flows) != 2 || s.b.conns != 1 {
			t.Fatalf("%s: %d flows, %d connections", options, len(s.b.flows), s.b.conns)
		}
	}
}

// RFC 5961 5.2: octets in the window are not taken if the acknowledgement beside them is out of range: neither into
// the stream, nor by the subflow, where they would be in the way of honest ones.
func TestBlindData(t *testing.T) {
	for name, ack := range map[string]int{"not sent": 1000, "long ago": -(1 << 30), "half of all numbers away": 1 << 30} {
		t.Run(name, func(t *testing.T) {
			s := joined(t, Config{}, 2)
			for _, option := range []string{"", " <dss ack8 1 map8 1 ssn 1 len 5>", " <dss ack8 1 map8 6 ssn 6 len 5 fin>", " <remove_addr 0>", " <prio backup>", " <fail 1>"} {
				s.recv(fmt.Sprintf(`1 . 1 ack %d "EVIL!"%s`, ack, option), fmt.Sprintf(`1 . 6 ack %d "EVIL!"%s`, ack, option), fmt.Sprintf("1 F. 1 ack %d%s", ack, option))
			}
			if n := len(s.left()); n == 0 || n > 10 {
				t.Errorf("%d challenges", n)
			}
			s.read("")
			s.recv(`1 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 5>`, `1 P. 6 ack 1 "world" <dss ack8 1 map8 6 ssn 6 len 5>`)
			s.read("helloworld")
			s.living(2)
			if s.c.rcv.finKnown || s.c.subflows[1].peerBackup {
				t.Error("an option was taken")
			}
		})
	}
}

// Whoever guesses sequence and acknowledgement numbers at random 10^5 times neither ends nor alters anything.
func TestBlindGuesses(t *testing.T) {
	s := joined(t, Config{}, 2)
	r := rand.New(rand.NewPCG(12, 12))
	options := []string{"", " <fastclose key-B>", " <reset 1>", " <dss ack8 1 map8 1 ssn 1 len 5>", " <remove_addr 0 3>", " <fail 1>", " <" + addAddr(9, "203.0.113.9", 0) + ">"}
	flags := []string{"R", "R.", ".", "F.", "S", "S."}
	for range 100_000 {
		seq, ack := int32(r.Uint32()), int32(r.Uint32())
		s.recv(fmt.Sprintf(`%d %s %d ack %d "EVIL!"%s`, r.IntN(2), flags[r.IntN(len(flags))], seq, ack, options[r.IntN(len(options))]))
		if r.IntN(100) == 0 {
			s.skip()
		}
	}
	s.skip()
	s.living(2)
	s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 5>`)
	s.read("hello")
	if len(s.c.signal.theirs) > 0 || len(s.b.flows) != 2 {
		t.Fatalf("%+v, %d flows", s.c.signal, len(s.b.flows))
	}
}

// The third ACK that came once says nothing when it comes again: during the connection, after its end, and behind
// another SYN, whose answer has another key.
func TestThirdACKReplayed(t *testing.T) {
	const third = "0 . 1 ack 1 <capable v1 flags 01 key-A key-B>"
	const first = `0 P. 1 ack 1 "hello" <capable v1 flags 01 key-A key-B len 5>`
	s := answeredBy(t, Config{}, 1)
	s.recv(first)
	s.read("hello")
	s.skip()
	for range 20 {
		s.recv(third, first)
	}
	s.read("")
	s.skip()
	if s.b.conns != 1 || len(s.b.flows) != 1 || s.c.plain() {
		t.Fatalf("%d connections, %d flows", s.b.conns, len(s.b.flows))
	}
	s.recv("0 R. 6 ack 1", "0 R. 6 ack 1 <fastclose key-B>")
	s.skip()
	for range 20 {
		s.recv(third, first)
		s.want("0 R 1 <reset MPTCP error>", "0 R 1 <reset MPTCP error>")
	}
	for ok := true; ok; {
		_, _, ok = s.b.Next()
	}
	s.ends[0].remote = forged(5)
	s.recv("0 S 0 <capable v1 flags 01>")
	s.c, _, _ = s.b.Next()
	s.accept()
	s.want(fmt.Sprintf("0 S. 0 ack 1 <capable v1 flags 01 %016x>", uint64(keyB+1)))
	s.recv(third)
	if s.changed(Established); !s.c.plain() || s.c.id.peerKey != 0 {
		t.Fatal("an old third ACK made a connection of MPTCP")
	}
}

// A mapping beyond the window, or before the stream, is no mapping; the same for acknowledgements of what was not sent.
func TestNumbersOutOfWindow(t *testing.T) {
	const window = 100_000
	for name, dss := range map[string]string{
		"just beyond":    fmt.Sprintf("ack8 1 map8 %d ssn 1 len 5", window+2),
		"far beyond":     "ack8 1 map8 1000000000000 ssn 1 len 5",
		"half of all":    "ack8 1 map8 9223372036854775806 ssn 1 len 5",
		"before":         "ack8 1 map8 -1000 ssn 1 len 5",
		"short, beyond":  "ack8 1 map4 2000000000 ssn 1 len 5",
		"short, before":  "ack8 1 map4 -2000000000 ssn 1 len 5",
		"ack, not sent":  "ack8 7",
		"ack, far":       "ack8 1000000000000",
		"ack, long ago":  "ack8 -3000000000",
		"ack4, not sent": "ack4 1000000",
	} {
		t.Run(name, func(t *testing.T) {
			s := askedToJoin(t, Config{Limits: Limits{RecvBuffer: window}}, 2)
			s.write("hello")
			s.skip()
			s.recv("1 . 1 ack 1 <dss " + dss + ">")
			if n := s.b.Counters().OutOfWindow; n != 1 {
				t.Errorf("%d counted", n)
			}
			if s.c.snd.una != 0 || len(s.c.in.late) > 0 || len(s.c.subflows[1].maps) > 0 {
				t.Errorf("%+v", s.c.in.late)
			}
			s.recv(`0 P. 1 ack 6 "world" <dss ack8 6 map8 1 ssn 1 len 5>`)
			s.read("world")
			s.living(2)
		})
	}
}

// An end of the stream that cannot be yet is none: the honest one counts.
func TestEndOutOfWindow(t *testing.T) {
	for _, dsn := range []string{"300002", "5000000", "1000000000000", "9223372036854775806", "-5"} {
		for _, form := range []string{"map8 " + dsn + " ssn 0 len 1 fin", "map8 " + dsn + " ssn 0 len 6 fin"} {
			s := askedToJoin(t, Config{}, 2)
			s.recv("1 . 1 ack 1 <dss ack8 1 " + form + ">")
			if s.skip(); s.c.rcv.finKnown {
				t.Fatalf("%s: the end is at %d", form, s.c.rcv.finPos)
			}
			if s.b.Counters().OutOfWindow == 0 {
				t.Errorf("%s: not counted", form)
			}
			s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 6 fin>`)
			s.read("hello")
			if !s.c.finRead.Load() {
				t.Errorf("%s: the honest end does not count", form)
			}
		}
	}
}

// Octets behind the end do not count, and an end that contradicts the first, or octets that came, is none.
func TestEndContradicted(t *testing.T) {
	s := askedToJoin(t, Config{}, 2)
	s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 5>`)
	s.recv("1 . 1 ack 1 <dss ack8 1 map8 3 ssn 0 len 1 fin>")
	if s.c.rcv.finKnown {
		t.Fatal("an end amid what came")
	}
	s.recv("0 . 6 ack 1 <dss ack8 1 map8 9 ssn 0 len 1 fin>", "1 . 1 ack 1 <dss ack8 1 map8 7 ssn 0 len 1 fin>", "1 . 1 ack 1 <dss ack8 1 map8 12 ssn 0 len 1 fin>")
	s.recv(`1 P. 1 ack 1 "worldly" <dss ack8 1 map8 6 ssn 1 len 7>`)
	s.read("hellowor")
	if !s.c.finRead.Load() || s.c.rcv.finPos != 8 {
		t.Fatalf("%+v", s.c.rcv)
	}
}

// RFC 8684 3.7: what is said to be altered must be under way, or else anybody who hits the window could have the only
// subflow fall back.
func TestFailOutOfWindow(t *testing.T) {
	for _, dsn := range []int{-1000, 0, 8, 1 << 40} {
		s := agreed(t, Config{}, 1)
		s.write("hello")
		s.skip()
		s.recv(fmt.Sprintf("0 . 1 ack 1 <fail %d>", dsn))
		if s.c.plain() || s.b.Counters().OutOfWindow != 1 {
			t.Errorf("%d: fallback %v, %+v", dsn, s.c.plain(), s.b.Counters())
		}
	}
	s := agreed(t, Config{}, 1)
	s.write("hello")
	s.skip()
	if s.recv("0 . 1 ack 1 <fail 1>"); !s.c.plain() {
		t.Error("an honest one is not heard")
	}
}

// A path works if a peer is heard over it, not if anybody sends something there: connections are asked for over several
// paths at once although a dead one is filled with forged segments.
func TestForgedSignsOfLife(t *testing.T) {
	asks := func(wait time.Duration, lines ...string) (paths int) {
		s := agreed(t, Config{Passive: true}, 2)
		s.write("hello")
		s.advance(100 * ms)
		s.recv("0 . 1 ack 6 <dss ack8 6>")
		s.write("world")
		s.advance(100 * ms)
		s.recv("0 . 1 ack 11 <dss ack8 11>")
		s.advance(wait)
		s.skip()
		s.recv(lines...)
		s.skip()
		s.b.cfg.Establish = Auto
		s.dial(DialOptions{})
		for _, line := range s.left() {
			if line[2:4] == "S " {
				paths++
			}
		}
		return paths
	}
	if n := asks(100 * ms); n != 1 {
		t.Fatalf("%d SYNs over paths of which one was heard", n)
	}
	for _, line := range []string{"0 . 77777777 ack 1", "0 . 1 ack 77777777", "0 R 5000", "0 S. 0 ack 9999", "1 . 5 ack 5", "1 S 0"} {
		if n := asks(2*second, line); n != 2 {
			t.Errorf("%d SYNs after %s", n, line)
		}
	}
	if n := asks(2*second, "0 . 1 ack 11 <dss ack8 11>"); n != 1 {
		t.Errorf("%d SYNs after the peer was heard", n)
	}
}
