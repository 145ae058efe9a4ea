package mptcp

import (
	"fmt"
	"net/netip"
	"testing"
)

// elsewhere is an address that is none of the bond's.
var elsewhere = netip.MustParseAddrPort("192.0.2.80:8080")

// passing returns a proxy that packets pass, after a SYN for somebody else: its own address is 10.9.0.1.
func passing(t *testing.T, cfg Config) *script {
	t.Helper()
	cfg.AnyTarget, cfg.NoJoinsHere, cfg.Announce = true, true, true
	s := newScript(t, false, cfg, 1)
	s.ends[0].local = elsewhere
	s.recv("0 S 0 <capable v1 flags 01>")
	c, what, ok := s.b.Next()
	if !ok || what != Offered || c.Target() != elsewhere {
		t.Fatalf("%v %v after the SYN", what, ok)
	}
	s.c = c
	return s
}

// RFC 8684 3.1: who answers in another's name asks not to be joined there (C), and says where it can be.
func TestImplicitProxy(t *testing.T) {
	s := passing(t, Config{})
	s.want()
	s.accept()
	s.want("0 S. 0 ack 1 <capable v1 flags 21 key-B>")
	s.recv("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>", "0 . 1 ack 1 \"hello\" <dss ack8 1 map8 1 ssn 1 len 5>")
	s.skip()
	s.advance(second)
	if len(s.out) == 0 {
		t.Fatal("nothing is announced")
	}
	s.compare(s.out[len(s.out)-1], "0 . 1 ack 6 <"+addAddr(3, "10.9.0.1", 0)+">")
	s.out = nil
	s.ends[0] = &tuple{netip.AddrPortFrom(elsewhere.Addr(), 8080), netip.MustParseAddrPort("10.8.0.7:6000")}
	s.recv("0 S 0 <join id 1 token token-B nonce nonce-A>")
	s.want("0 R. zero ack 1 <reset prohibited>")
	s.ends[0].local = netip.MustParseAddrPort("10.9.0.1:8080")
	s.recv("0 S 0 <join id 1 token token-B nonce nonce-A>")
	s.want("0 S. 0 ack 1 <join id 3 mac mac-B nonce nonce-B>")
	s.recv("0 . 1 ack 1 <join mac mac-A>")
	s.living(2)
}

// Without AnyTarget what is for others is none of ours: nothing leaves in their name.
func TestNotForOthers(t *testing.T) {
	s := newScript(t, false, Config{}, 1)
	s.b.Listen(0)
	s.ends[0].local = elsewhere
	for _, seg := range []string{"S 0 <capable v1 flags 01>", "S 0 <join id 1 token token-B nonce nonce-A>", "S. 0 ack 1", ". 1 ack 1"} {
		s.recv("0 " + seg)
		s.want()
	}
	if n := s.b.Counters(); n.NoConnection != 3 || n.BadJoinToken != 1 {
		t.Errorf("%+v", n)
	}
}

// An offer that somebody else answers is forgotten: nothing leaves, and there may be another.
func TestIgnore(t *testing.T) {
	s := passing(t, Config{})
	if err := s.c.Ignore(s.now); err != nil {
		t.Fatal(err)
	}
	s.over(ErrAborted)
	s.advance(100 * second)
	s.want()
	if len(s.b.flows) != 0 || len(s.b.tokens) != 0 || s.b.offers.waiting != 0 {
		t.Errorf("left: %d flows, %d tokens, %d offers", len(s.b.flows), len(s.b.tokens), s.b.offers.waiting)
	}
	if err := s.c.Ignore(s.now); err != ErrNotOffer {
		t.Error(err)
	}
	s.b.cfg.Entropy = &fixed{key: keyB, nonce: nonceB}
	s.recv("0 S 0 <capable v1 flags 01>")
	for ok := true; ok && s.c.phase == over; {
		s.c, _, ok = s.b.Next()
	}
	s.accept()
	s.want("0 S. 0 ack 1 <capable v1 flags 21 key-B>")
	if err := s.c.Ignore(s.now); err != ErrNotOffer {
		t.Error(err)
	}
}

// early returns a dialling end whose first octets wait for the SYN.
func early(t *testing.T, paths int, opt DialOptions) *script {
	t.Helper()
	s := newScript(t, true, Config{Passive: true}, paths)
	opt.Early = true
	s.dial(opt)
	s.write(string(octets(0, 28)))
	return s
}

// RFC 8803 4.2: what a converter is asked rides in the SYN, without a cookie.
func TestEarlyWithoutCookie(t *testing.T) {
	s := early(t, 1, DialOptions{EarlyOnly: true})
	s.want(fmt.Sprintf("0 S 0 %q <capable v1 flags 01>", octets(0, 28)))
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 29 <capable v1 flags 01 key-B>")
	s.want("0 . 29 ack 1 <capable v1 flags 01 key-A key-B>")
	if i := s.c.Info(s.now); i.FastOpen != 28 || i.Stripped || s.b.Counters().FastOpens != 1 {
		t.Errorf("%+v", i)
	}
}

// RFC 8803 8: a SYN/ACK that does not cover it shows that it was taken away. Who can do without sends it again.
func TestEarlyStripped(t *testing.T) {
	for _, ack := range []int{1, 20} {
		s := early(t, 1, DialOptions{EarlyOnly: true})
		s.skip()
		s.advance(100 * ms)
		s.recv(fmt.Sprintf("0 S. 0 ack %d <capable v1 flags 01 key-B>", ack))
		s.want("0 R 29 <reset unspecified>")
		s.over(ErrStripped)
		if n := s.b.Counters().FastOpensRefused; n != 1 {
			t.Errorf("counted %d", n)
		}
	}
	s := early(t, 1, DialOptions{})
	s.skip()
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>")
	s.want("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>", fmt.Sprintf("0 . 1 ack 1 %q <capable v1 flags 01 key-A key-B len 28>", octets(0, 28)))
	if i := s.c.Info(s.now); i.FastOpen != 0 || !i.Stripped {
		t.Errorf("%+v", i)
	}
}

// A repeated SYN has nothing with it, and its answer shows nothing.
func TestEarlyRepeated(t *testing.T) {
	s := early(t, 1, DialOptions{EarlyOnly: true})
	s.skip()
	s.advance(1100 * ms)
	s.want("0 S 0 <capable v1 flags 01>")
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>")
	s.want("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>", fmt.Sprintf("0 . 1 ack 1 %q <capable v1 flags 01 key-A key-B len 28>", octets(0, 28)))
	if s.c.Info(s.now).Stripped {
		t.Error("stripped")
	}
}

// A SYN with octets takes part in no race: who loses it has heard them all the same. Another path is asked when it is late.
func TestEarlyOverOnePath(t *testing.T) {
	s := early(t, 2, DialOptions{Establish: SIM})
	s.want(fmt.Sprintf("0 S 0 %q <capable v1 flags 01>", octets(0, 28)))
	s.advance(1100 * ms)
	s.want("1 S 0 <capable v1 flags 01>", "0 S 0 <capable v1 flags 01>")
	if n := s.b.Counters().Races; n != 0 {
		t.Errorf("%d races", n)
	}
	s.recv("1 S. 0 ack 1 <capable v1 flags 01 key-B>")
	s.want("0 R 29 <reset unspecified transient>", "1 . 1 ack 1 <capable v1 flags 01 key-A key-B>",
		fmt.Sprintf("1 . 1 ack 1 %q <capable v1 flags 01 key-A key-B len 28>", octets(0, 28)))
	if s.c.Info(s.now).Stripped {
		t.Error("stripped")
	}
}
