package mptcp

import (
	"strconv"
	"strings"
	"testing"
)

// A SYN that meets TIME-WAIT begins a new connection (RFC 9293 3.6.1).
func TestSYNInTimeWait(t *testing.T) {
	s := answeredBy(t, Config{}, 1)
	s.c.CloseWrite(s.now)
	s.skip()
	s.recv("0 . 1 ack 1 <dss ack8 2 map8 1 ssn 0 len 1 fin>")
	s.skip()
	s.recv("0 . 1 ack 1 <dss ack8 2 map8 1 ssn 0 len 1 fin>")
	s.skip()
	s.recv("0 F. 1 ack 2 <dss ack8 2>")
	s.skip()
	for _, _, ok := s.b.Next(); ok; {
		_, _, ok = s.b.Next()
	}
	s.recv("0 S 1000000 <capable v1 flags 01>")
	c, what, ok := s.b.Next()
	if !ok || what != Offered || c == s.c {
		t.Fatalf("%v %v\n%s", what, ok, s.story())
	}
}

// RFC 1122 4.2.3.4: a small segment waits while one is outstanding.
func TestNagle(t *testing.T) {
	s := agreed(t, Config{Nagle: true}, 1)
	s.write("a")
	s.want(`0 . 1 ack 1 "a" <dss ack4 1 map4 1 ssn 1 len 1>`)
	s.write("b")
	s.write("c")
	s.want()
	s.recv("0 . 1 ack 2 <dss ack8 2>")
	s.want(`0 . 2 ack 1 "bc" <dss ack4 1 map4 2 ssn 2 len 2>`)
	s.write("d")
	s.want()
	s.c.CloseWrite(s.now)
	s.want(`0 . 4 ack 1 "d" <dss ack4 1 map4 4 ssn 4 len 2 fin>`)
}

// A broken invariant costs the connection concerned, and no other.
func TestBrokenInvariant(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.b.cfg.Strict = false
	broken := s.c
	s.dial(DialOptions{})
	s.skip()
	s.b.current = broken
	func() {
		defer s.b.contain(s.now)
		assert(false, "two and two are five")
	}()
	s.want("0 . 1 ack 1 <fastclose key-B>")
	if broken.Err() != ErrBroken || s.b.Counters().Broken != 1 || s.c.phase != opening {
		t.Fatal(broken.Err(), s.b.Counters().Broken)
	}
	if !strings.Contains(broken.Trace(), "two and two are five") {
		t.Fatal(broken.Trace())
	}
	s.b.cfg.Strict = true
	defer func() {
		if recover() == nil {
			t.Fatal("Strict does not panic")
		}
	}()
	defer s.b.contain(s.now)
	assert(false, "two and two are five")
}

// The application's room to write is bounded; Writable tells when there is some again.
func TestWritable(t *testing.T) {
	s := agreed(t, Config{Limits: Limits{SendBuffer: 5000}}, 1)
	for _, _, ok := s.b.Next(); ok; {
		_, _, ok = s.b.Next()
	}
	if n, err := s.c.Write(octets(0, 8000)); n != 5000 || err != nil {
		t.Fatal(n, err)
	}
	s.c.Poke(s.now)
	s.skip()
	if n, _ := s.c.Write(octets(0, 10)); n != 0 {
		t.Fatal("took more than there is room for")
	}
	if _, _, ok := s.b.Next(); ok {
		t.Fatal("told before there is room")
	}
	s.recv("0 . 1 ack 1441 <dss ack8 1441>")
	s.changed(Writable)
	if n, _ := s.c.Write(octets(0, 8000)); n != 1440 {
		t.Fatalf("took %d", n)
	}
}

// A peer that acknowledges octets on the subflow and never on the connection is asked again and again,
// more and more slowly (RFC 8684 3.3.6).
func TestDataACKNeverComes(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.write("hello")
	s.skip()
	at := 6
	copies := 0
	for range 60 {
		s.recv("0 . 1 ack " + strconv.Itoa(at) + " <dss ack8 1>")
		s.advance(second)
		for _, line := range s.left() {
			if strings.Contains(line, `"hello"`) {
				copies++
				at += 5
			}
		}
	}
	if copies < 4 || copies > 12 {
		t.Fatalf("%d copies in a minute", copies)
	}
}

// Keepalive asks an idle subflow, and ends one that does not answer.
func TestKeepalive(t *testing.T) {
	s := agreed(t, Config{Keepalive: 30 * second, Passive: true}, 1)
	s.advance(22 * second) // a quarter less at most
	s.want()
	s.advance(9 * second)
	s.want("0 . 0 ack 1 <dss ack4 1>")
	s.recv("0 . 1 ack 1 <dss ack8 1>")
	s.advance(1200 * second)
	s.left()
	s.over(ErrTimeout)
}
