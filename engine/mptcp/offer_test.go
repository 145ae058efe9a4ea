package mptcp

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"tandem/engine/wire"
)

// pairedOffer returns the answering end of a Paired bond that was asked, by one SYN or several.
func pairedOffer(t *testing.T, cfg Config, syns ...string) *script {
	t.Helper()
	cfg.Paired = true
	s := newScript(t, false, cfg, max(2, len(syns)))
	for _, end := range s.ends {
		end.local = netip.MustParseAddrPort("198.51.100.9:443") // anybody's
	}
	s.recv(syns...)
	c, what, ok := s.b.Next()
	if !ok || what&^Readable != Offered {
		t.Fatalf("%v %v after the SYN", what, ok)
	}
	s.c = c
	return s
}

// SYNs of one port and target are one offer, whatever path they come over, and their data is taken
// once (D2).
func TestOneOfferOverTwoPaths(t *testing.T) {
	s := pairedOffer(t, Config{}, `0 S 0 "GET /" <capable v1 flags 01>`)
	s.recv(`1 S 0 "GET /" <capable v1 flags 01>`)
	if c, _, ok := s.b.Next(); ok && c != s.c {
		t.Fatal("two offers")
	}
	if s.b.counters.CopiedOffers != 1 {
		t.Errorf("CopiedOffers is %d", s.b.counters.CopiedOffers)
	}
	s.want()
	s.read("GET /")
	s.accept()
	s.want("0 S. 0 ack 6 <capable v1 flags 01 key-B>", "1 S. 0 ack 6 <capable v1 flags 01 key-B>")
	s.recv("1 . 6 ack 1 <capable v1 flags 01 key-A key-B>")
	s.skip()
	if s.c.phase != open || s.c.id.initial.path.id != 1 {
		t.Fatal("not open over path 1")
	}
	s.write("200")
	s.want(`1 . 1 ack 6 "200" <dss ack4 1 map4 1 ssn 1 len 3>`)
	s.recv(`1 . 6 ack 4 "more" <dss ack8 4 map8 1 ssn 1 len 4>`)
	s.read("more")
}

// A SYN whose octets are not those that the offer had before is reset, and the offer stays what it was (D2).
func TestCopyThatDeviates(t *testing.T) {
	for copied, reset := range map[string]bool{"GET /": false, "GET": false, "GET /index": false, "GET *": true, "**": true, "GET *index": true} {
		s := pairedOffer(t, Config{}, `0 S 0 "GET /" <capable v1 flags 01>`)
		s.recv(fmt.Sprintf("1 S 0 %q <capable v1 flags 01>", copied))
		if reset {
			s.want(fmt.Sprintf("1 R. zero ack %d <reset MPTCP error>", 1+len(copied)))
		}
		s.want()
		if n := s.b.Counters().Deviations; (n == 1) != reset || len(s.c.subflows) != 2-int(n) {
			t.Errorf("%q: %d subflows, %d counted", copied, len(s.c.subflows), n)
		}
		if got, _ := s.take(); !strings.HasPrefix(got, "GET /") {
			t.Errorf("%q: read %q", copied, got)
		}
	}
}

// What was read is not there to be compared with, in whole blocks and in parts.
func TestDeviations(t *testing.T) {
	in := &inbox{pool: new(pool)}
	all := octets(0, 3*blockSize)
	in.write(0, all[:2*blockSize])
	in.write(2*blockSize+10, all[2*blockSize+10:2*blockSize+20])
	other := bytes.Repeat([]byte("*"), 3*blockSize)
	wrong := func(from, to int) {
		t.Helper()
		p := bytes.Clone(all)
		copy(p[from:to], other)
		lo, hi := max(0, from-5), min(len(p), to+5)
		got := in.deviates(uint64(lo), p[lo:hi])
		if want := uint64(to) > in.freed && from < 2*blockSize || from < 2*blockSize+20 && to > 2*blockSize+10; got != want {
			t.Errorf("octets %d to %d of which %d are freed: %v", from, to, in.freed, got)
		}
	}
	for _, read := range []int{0, 100, blockSize, 100} {
		in.read(make([]byte, read))
		in.release()
		for _, at := range []int{0, 99, 100, blockSize - 1, blockSize, blockSize + 99, blockSize + 100, 2*blockSize - 1, 2 * blockSize, 2*blockSize + 9, 2*blockSize + 10, 2*blockSize + 19, 2*blockSize + 20} {
			wrong(at, at+1)
		}
		wrong(blockSize-3, blockSize+200)
	}
	if in.deviates(0, all) || new(inbox).deviates(0, all) {
		t.Error("equal octets deviate")
	}
}

// An offer is silent until it is answered, however often it is repeated.
func TestOfferIsSilent(t *testing.T) {
	s := pairedOffer(t, Config{}, "0 S 0 <capable v1 flags 01>")
	s.recv("0 S 0 <capable v1 flags 01>", "0 S 0 <capable v1 flags 01>")
	s.advance(30 * second)
	s.want()
	if _, _, ok := s.b.Next(); ok {
		t.Fatal("offered again")
	}
}

func TestRefuse(t *testing.T) {
	s := pairedOffer(t, Config{}, `0 S 0 "GET /" <capable v1 flags 01>`)
	if err := s.c.Refuse(s.now, wire.Prohibited); err != nil {
		t.Fatal(err)
	}
	s.want("0 R. zero ack 6 <reset prohibited>")
	s.over(ErrAborted)
	if s.c.Accept(s.now) != ErrNotOffer || s.c.Refuse(s.now, wire.Prohibited) != ErrNotOffer {
		t.Fatal("answered twice")
	}
}

// A repeat of an offer that was answered lately is reset, and a new one later (D2).
func TestRepeatOfAnsweredOffer(t *testing.T) {
	s := pairedOffer(t, Config{}, "0 S 0 <capable v1 flags 01>")
	s.c.Refuse(s.now, wire.Unspecified)
	s.skip()
	for _, syn := range []string{"0 S 0 <capable v1 flags 01>", "1 S 0 <capable v1 flags 01>"} {
		s.recv(syn)
		s.want(syn[:2] + "R. zero ack 1 <reset unspecified>")
	}
	if s.b.counters.LateOffers != 2 {
		t.Errorf("LateOffers is %d", s.b.counters.LateOffers)
	}
	for s.advance(61 * second); ; {
		if _, _, ok := s.b.Next(); !ok {
			break
		}
	}
	s.recv("0 S 0 <capable v1 flags 01>")
	if _, what, ok := s.b.Next(); !ok || what != Offered {
		t.Fatal("no new offer")
	}
}

// The asker gives up before it is answered.
func TestOfferWithdrawn(t *testing.T) {
	s := pairedOffer(t, Config{}, "0 S 0 <capable v1 flags 01>")
	s.recv("0 R 1 <reset 0>")
	s.over(ErrReset)
	if s.c.Accept(s.now) != ErrNotOffer {
		t.Fatal("answered")
	}
	if s.b.offers.waiting != 0 || len(s.b.flows) != 0 {
		t.Fatal("kept")
	}
}

// Offers that nobody answers are bounded, and so are connections.
func TestOffersAreLimited(t *testing.T) {
	for _, limits := range []Limits{{Offers: 2}, {Connections: 2}} {
		s := newScript(t, false, Config{Limits: limits}, 1)
		s.b.Listen(0)
		for i := range 5 {
			s.ends[0].remote = netip.AddrPortFrom(s.ends[0].remote.Addr(), uint16(6000+i))
			s.recv("0 S 0 <capable v1 flags 01>")
			if i < 2 {
				s.want()
			} else {
				s.want("0 R. zero ack 1 <reset lack of resources transient>")
			}
		}
		if n := s.b.Counters().LimitOffers + s.b.Counters().LimitConnections; n != 3 {
			t.Fatalf("%d counted", n)
		}
		if _, err := s.b.Dial(s.now, target, DialOptions{}); limits.Connections > 0 && err != ErrLimit {
			t.Fatal(err)
		}
	}
}

// Ends that are not Paired take offers for their own addresses and ports only.
func TestOffersNotWanted(t *testing.T) {
	s := newScript(t, false, Config{}, 1)
	s.b.Listen(443)
	s.recv("0 S 0 <capable v1 flags 01>")
	s.want("0 R. zero ack 1 <reset unspecified>")
	s.ends[0].local = netip.MustParseAddrPort("10.9.0.7:443")
	s.recv("0 S 0")
	s.want()
	s.ends[0].local = netip.MustParseAddrPort("10.9.0.1:443")
	s.recv("0 S 0")
	s.want()
	if _, what, _ := s.b.Next(); what != Offered {
		t.Fatal("no offer")
	}
}

// To an end that is not Paired the same port of two hosts is two offers.
func TestTwoHostsAreTwoOffers(t *testing.T) {
	s := newScript(t, false, Config{}, 2)
	s.b.Listen(80)
	s.ends[1].local = s.ends[0].local
	s.recv("0 S 0", "1 S 0")
	first, _, _ := s.b.Next()
	second, what, ok := s.b.Next()
	if !ok || first == second || what != Offered {
		t.Fatal("one offer")
	}
}

// Dialling over several paths at once: the first answer wins, the others are taken back (RobE_SIM).
func TestDialOverTwoPaths(t *testing.T) {
	s := newScript(t, true, Config{Paired: true, Establish: SIM}, 2)
	s.dial(DialOptions{Paths: []PathID{0, 1}})
	s.write("GET /")
	s.want(`0 S 0 "GET /" <capable v1 flags 01>`, `1 S 0 "GET /" <capable v1 flags 01>`)
	s.recv("1 S. 0 ack 6 <capable v1 flags 01 key-B>")
	s.expect("0 R 6 <reset unspecified transient>")
	s.expect("1 . 6 ack 1 <capable v1 flags 01 key-A key-B>")
	s.left()
	if s.c.id.initial.path.id != 1 || s.c.phase != open {
		t.Fatal("not open over path 1")
	}
	s.write("more")
	s.want(`1 . 6 ack 1 "more" <capable v1 flags 01 key-A key-B len 4>`)
}

// Segments that belong to nothing are answered by a reset, resets are not (RFC 9293 3.10.7.1).
func TestStrays(t *testing.T) {
	s := newScript(t, false, Config{}, 1)
	s.recv(`0 . 7 ack 9 "hello" <dss ack8 1>`)
	s.want("0 R 9 <reset MPTCP error>")
	s.recv("0 R. 7 ack 9")
	s.want()
	if s.b.Counters().NoConnection != 2 {
		t.Fatalf("%+v", s.b.Counters())
	}
}

func TestDialWithoutPath(t *testing.T) {
	s := newScript(t, true, Config{}, 1)
	if _, err := s.b.Dial(s.now, netip.MustParseAddrPort("[2001:db8::1]:80"), DialOptions{}); err != ErrNoPath {
		t.Fatal(err)
	}
	s.b.Attach(s.now, 0, PathConfig{Local4: netip.MustParseAddr("10.0.0.1"), Reaches: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}})
	if _, err := s.b.Dial(s.now, target, DialOptions{}); err != ErrNoPath {
		t.Fatal(err)
	}
}

// A connection that ended leaves nothing behind, however it ended.
func TestNothingIsLeft(t *testing.T) {
	for _, end := range []func(*script){
		func(s *script) { s.c.Abort(s.now); s.skip(); s.recv("0 R. 1 ack 1") },
		func(s *script) { s.recv("0 . 1 ack 1 <fastclose key-A>") },
		func(s *script) { s.b.Detach(s.now, 0); s.b.Detach(s.now, 1) },
		func(s *script) { s.c.Close(s.now) },
	} {
		s := joined(t, Config{}, 2)
		s.write(string(octets(0, 20000)))
		s.recv("0 P. 5:9 ack 1 <dss ack8 1 map8 5 ssn 5 len 4>", "1 P. 1:9 ack 1")
		end(s)
		s.skip()
		s.advance(4000 * second)
		s.left()
		s.take()
		if len(s.b.flows) != 0 || len(s.b.tokens) != 0 || s.b.conns != 0 || s.b.windows.used+s.b.rooms.used != 0 || len(s.b.timers.heap) != 0 {
			t.Fatalf("%d flows, %d tokens, %d connections, %d octets promised, %d timers\n%s",
				len(s.b.flows), len(s.b.tokens), s.b.conns, s.b.windows.used+s.b.rooms.used, len(s.b.timers.heap), s.story())
		}
	}
}

// The path goes away with the third ACK on it: the peer knows no connection to join, so the same offer is
// made again over another path, with the octets that rode in the SYN.
func TestOfferAskedAgain(t *testing.T) {
	s := newScript(t, true, Config{Paired: true}, 2)
	s.dial(DialOptions{})
	s.write("GET /")
	s.want(`0 S 0 "GET /" <capable v1 flags 01>`)
	s.recv("0 S. 0 ack 6 <capable v1 flags 01 key-B>")
	s.want("0 . 6 ack 1 <capable v1 flags 01 key-A key-B>")
	s.b.Detach(s.now, 0)
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A>")
	s.recv("1 R. 0 ack 1 <reset 1>")
	s.want(`1 S 0 "GET /" <capable v1 flags 01>`)
	s.recv("1 S. 0 ack 6 <capable v1 flags 01 key-B>")
	s.want("1 . 6 ack 1 <capable v1 flags 01 key-A key-B>")
	s.write("more")
	s.want(`1 . 6 ack 1 "more" <capable v1 flags 01 key-A key-B len 4>`)
}
