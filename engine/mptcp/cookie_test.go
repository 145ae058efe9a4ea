package mptcp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// serving returns an answering end, and the cookie that it gave to the dialling one of path 0.
func serving(t *testing.T, cfg Config, paths int) (s *script, cookie string) {
	t.Helper()
	s = newScript(t, false, cfg, paths)
	s.b.Listen(80)
	return s, s.cookie("0 S 0 <tfo , capable v1 flags 01>")
}

// cookie has a SYN answered, its connection end, and returns the cookie that the answer gave.
func (s *script) cookie(syn string) string {
	s.t.Helper()
	s.offer(syn)
	s.accept()
	s.collect()
	o := &s.last.Options
	cookie := fmt.Sprintf("%x", o.Cookie.Cookie[:o.Cookie.Len])
	s.quit()
	return cookie
}

// offer has a SYN come, and the connection that it asks for.
func (s *script) offer(syn string) {
	s.t.Helper()
	s.b.cfg.Entropy = &fixed{key: keyB, nonce: nonceB}
	for ok := true; ok; {
		_, _, ok = s.b.Next()
	}
	s.recv(syn)
	c, what, ok := s.b.Next()
	if !ok || what&^Readable != Offered {
		s.t.Fatalf("%v %v after the SYN", what, ok)
	}
	s.c = c
}

// hasty is the SYN of a dialling end with a cookie and n octets.
func hasty(cookie string, n int) string {
	return fmt.Sprintf("0 S 0:%d <tfo %s, capable v1 flags 01>", n, cookie)
}

const (
	answerB = "<capable v1 flags 01 key-B>"
	thirdA  = "<capable v1 flags 01 key-A key-B>"
)

// RFC 8684 B, figure 19, at the listener: the octets of the SYN are before the data sequence space. Its own wait for
// the third ACK, which brings the key that a DATA_ACK needs.
func TestFastOpenTakes(t *testing.T) {
	s, cookie := serving(t, fast, 1)
	s.offer(hasty(cookie, 20))
	s.read(string(octets(0, 20)))
	s.want()
	s.accept()
	s.want("0 S. 0 ack 21 " + answerB)
	s.write(string(octets(0, 100)))
	s.want()
	s.advance(100 * ms)
	s.recv("0 . 21 ack 1 " + thirdA)
	s.want("0 . 1:101 ack 21 <dss ack4 1 map4 1 ssn 1 len 100>")
	s.recv("0 . 21:41 ack 101 <dss ack8 101 map8 1 ssn 1 len 20>")
	s.want("0 . 101 ack 41 <dss ack8 21>")
	s.read(string(octets(21, 41)))
	i := s.c.Info(s.now)
	if i.Fallback || i.Sent != 100 || i.Received != 40 || i.FastOpen != 20 || s.b.fast.pending != 0 || s.b.Counters().FastOpens != 1 {
		t.Fatalf("%+v, %d pending\n%s", i, s.b.fast.pending, s.story())
	}
}

// The third ACK is lost, and the first data says what it said.
func TestFastOpenThirdACKLost(t *testing.T) {
	s, cookie := serving(t, fast, 1)
	s.offer(hasty(cookie, 20))
	s.accept()
	s.want("0 S. 0 ack 21 " + answerB)
	s.recv(`0 . 21 ack 1 "again" <capable v1 flags 01 key-A key-B len 5>`)
	s.want("0 . 1 ack 26 <dss ack8 6>")
	s.read(string(octets(0, 20)) + "again")
}

// RFC 8684 B, figure 20, at the listener: without a cookie of its own it takes nothing of the SYN, and says what the
// cookie should have been.
func TestFastOpenTakesNothing(t *testing.T) {
	for _, own := range []bool{true, false} {
		s, good := serving(t, Config{FastOpen: own, Passive: true}, 1)
		s.offer(hasty(cookieA, 1000))
		s.read("")
		s.accept()
		answer := "0 S. 0 ack 1 " + answerB
		if own {
			answer = "0 S. 0 ack 1 <tfo " + good + ", capable v1 flags 01 key-B>"
		}
		s.want(answer)
		s.recv("0 . 1 ack 1 " + thirdA)
		s.recv("0 . 1:1001 ack 1 <capable v1 flags 01 key-A key-B len 1000>")
		s.read(string(octets(1, 1001)))
		s.want("0 . 1 ack 1001 <dss ack8 1001>")
		if n := s.b.Counters(); n.FastOpens != 0 || n.BadCookies != map[bool]uint64{true: 1}[own] {
			t.Errorf("own %v: %+v", own, n)
		}
	}
}

// RFC 8684 B, figure 21, at the listener: it takes what it has room for.
func TestFastOpenTakesPart(t *testing.T) {
	cfg := fast
	cfg.Limits.RecvBuffer = 500
	s, cookie := serving(t, cfg, 1)
	s.offer(hasty(cookie, 1000))
	s.accept()
	s.want("0 S. 0 ack 501 " + answerB)
	s.read(string(octets(0, 500)))
	s.recv("0 . 501 ack 1 " + thirdA)
	s.want("0 . 1 ack 501 <dss ack4 1>")
	s.recv("0 . 501:1001 ack 1 <dss ack8 1 map8 1 ssn 1 len 500>")
	s.read(string(octets(501, 1001)))
	s.skip()
	if i := s.c.Info(s.now); i.Received != 1000 || i.Fallback {
		t.Fatalf("%+v", i)
	}
}

// The octets of the SYN are delivered once, however often it comes, with them or without.
func TestFastOpenTakesOnce(t *testing.T) {
	s, cookie := serving(t, fast, 1)
	s.offer(hasty(cookie, 20))
	s.recv(hasty(cookie, 20), "0 S 0 <capable v1 flags 01>")
	s.accept()
	s.want("0 S. 0 ack 21 " + answerB)
	s.recv(hasty(cookie, 20))
	s.want("0 S. 0 ack 21 " + answerB)
	s.recv("0 . 21 ack 1 " + thirdA)
	s.read(string(octets(0, 20)))
	if c, _, _ := s.b.Next(); c != s.c {
		t.Fatal("another connection")
	}
}

// The checksum of what follows counts from DSN 1 and SSN 1.
func TestFastOpenTakesWithChecksum(t *testing.T) {
	cfg := fast
	s, cookie := serving(t, cfg, 1)
	s.b.cfg.Checksum = true
	s.offer(strings.Replace(hasty(cookie, 20), "flags 01", "flags 81", 1))
	s.accept()
	s.want("0 S. 0 ack 21 <capable v1 flags 81 key-B>")
	var sum wire.Sum
	sum.Add([]byte("hello"))
	s.recv(fmt.Sprintf(`0 . 21 ack 1 "hello" <capable v1 flags 81 key-A key-B len 5 csum %04x>`, wire.ChecksumDSS(idsnA+1, 1, 5, sum)))
	s.read(string(octets(0, 20)) + "hello")
	if n := s.b.Counters().DSSChecksum; n != 0 {
		t.Fatalf("%d checksums wrong", n)
	}
}

// A peer that speaks no MPTCP has its octets taken as well, and is answered before its third ACK.
func TestFastOpenTakesFromPlainPeer(t *testing.T) {
	s, cookie := serving(t, fast, 1)
	s.offer("0 S 0:20 <tfo " + cookie + ">")
	s.accept()
	s.write("hello")
	s.want("0 S. 0 ack 21", `0 . 1 ack 21 "hello"`)
	s.recv(`0 . 21 ack 6 "there"`)
	s.read(string(octets(0, 20)) + "there")
	if i := s.c.Info(s.now); i.Sent != 5 || !i.Fallback {
		t.Fatalf("%+v", i)
	}
}

// One whose third ACK lost the option is served as one of TCP.
func TestFastOpenTakesThenFallsBack(t *testing.T) {
	s, cookie := serving(t, fast, 1)
	s.offer(hasty(cookie, 20))
	s.accept()
	s.write("hello")
	s.skip()
	s.recv(`0 . 21 ack 1 "there"`)
	s.read(string(octets(0, 20)) + "there")
	s.want(`0 . 1 ack 26 "hello"`)
	s.recv("0 . 26 ack 6")
	if i := s.c.Info(s.now); i.Sent != 5 || !i.Fallback {
		t.Fatalf("%+v", i)
	}
}

// Others join as ever.
func TestJoinAfterFastOpenTook(t *testing.T) {
	s, cookie := serving(t, fast, 2)
	s.offer(hasty(cookie, 20))
	s.accept()
	s.skip()
	s.recv("0 . 21 ack 1 " + thirdA)
	s.recv("1 S 0 <join id 1 token token-B nonce nonce-A>")
	if out := s.left(); len(out) != 1 || !strings.HasPrefix(out[0], "1 S. 0 ack 1") {
		t.Fatalf("%q", out)
	}
	s.recv("1 . 1 ack 1 <join mac mac-A>")
	s.skip()
	s.recv("1 . 1:101 ack 1 <dss ack8 1 map8 1 ssn 1 len 100>")
	s.read(string(octets(0, 20)) + string(octets(1, 101)))
	s.living(2)
}

// Octets that a SYN brought belong to its own connection: it does not become part of another.
func TestFastOpenDoesNotMerge(t *testing.T) {
	s, cookie := serving(t, fast, 1)
	s.offer("0 S 0 <capable v1 flags 01, robe>")
	s.accept()
	s.recv("0 . 1 ack 1 " + thirdA)
	s.skip()
	first := s.c
	s.b.Next()
	s.ends[0].remote = netip.AddrPortFrom(s.ends[0].remote.Addr(), 5001)
	s.recv(fmt.Sprintf("0 S 0:20 <tfo %s, capable v1 flags 01, robe>", cookie))
	c, _, _ := s.b.Next()
	s.c = c
	s.accept()
	s.collect()
	j := wire.JoinCap{Length: joinCapLen, AddressID: 1, Key: keyA}
	j.Sign(first.id.localKey, c.id.localKey)
	s.skip()
	s.recv(fmt.Sprintf("0 . 21 ack 1 <join_cap id 1 key key-A mac %x>", j.MAC[:]))
	if out := s.left(); len(out) != 1 || !strings.HasPrefix(out[0], "0 R") || s.b.Counters().BadJoinCap != 1 {
		t.Fatalf("%q, %+v", out, s.b.Counters())
	}
}

// RFC 7413 5.1: beyond the limit of handshakes under way octets are not taken. Those that were reset count on.
func TestFastOpensAreBounded(t *testing.T) {
	cfg := fast
	cfg.Limits.FastOpens = 2
	s, cookie := serving(t, cfg, 1)
	ask := func(port uint16, taken int) {
		t.Helper()
		s.ends[0].remote = netip.AddrPortFrom(s.ends[0].remote.Addr(), port)
		s.offer(hasty(cookie, 20))
		s.accept()
		if out := s.left(); len(out) != 1 || !strings.HasPrefix(out[0], fmt.Sprintf("0 S. 0 ack %d ", 1+taken)) {
			t.Fatalf("%q, want %d octets taken", out, taken)
		}
	}
	ask(6001, 20)
	ask(6002, 20)
	ask(6003, 0)
	s.quit()
	if n := s.b.Counters().LimitFastOpens; n != 1 {
		t.Fatalf("%d refused", n)
	}
	s.ends[0].remote = netip.AddrPortFrom(s.ends[0].remote.Addr(), 6002)
	s.recv("0 R 21")
	if s.b.fast.pending != 1 {
		t.Fatalf("%d pending", s.b.fast.pending)
	}
	ask(6004, 0)
	s.quit()
	s.ends[0].remote = netip.AddrPortFrom(s.ends[0].remote.Addr(), 6001)
	s.recv("0 . 21 ack 1 " + thirdA)
	ask(6005, 20)
	ask(6006, 0)
	s.b.fast.full(s.now.Add(pendingCoolsFor), 2)
	ask(6007, 20)
}

// A cookie is for one address, and of use under the key that made it and the next.
func TestCookieKeys(t *testing.T) {
	b := NewBond(Config{FastOpen: true, Entropy: &fixed{key: 1}})
	k := &b.fast.keys
	one, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	k.turn(0, b)
	first := k.cookie(one, 0)
	for _, x := range []struct {
		addr   netip.Addr
		cookie wire.FastOpen
		want   int
	}{
		{one, first, 0}, {other, first, -1}, {one, wire.FastOpen{}, -1}, {one, wire.FastOpen{Len: 8}, -1},
		{one, wire.FastOpen{Len: 4, Cookie: first.Cookie}, -1}, {other, k.cookie(other, 0), 0},
	} {
		if got := k.age(x.addr, x.cookie); got != x.want {
			t.Errorf("%v %v: %d, want %d", x.addr, x.cookie, got, x.want)
		}
	}
	day := clock.Time(cookieKeyLasts)
	for _, x := range []struct {
		at   clock.Time
		want int
	}{{day - 1, 0}, {day, 1}, {2*day - 1, 1}, {2 * day, -1}} {
		k.turn(x.at, b)
		if got := k.age(one, first); got != x.want {
			t.Errorf("at %v: %d, want %d", time.Duration(x.at), got, x.want)
		}
	}
	last := k.cookie(one, 0)
	k.turn(5*day, b)
	if k.age(one, last) != -1 {
		t.Error("a key outlives its time when no other was needed")
	}
}

// Who comes with a cookie of yesterday is served, and gets one of today.
func TestOldCookieIsReplaced(t *testing.T) {
	s, cookie := serving(t, fast, 1)
	s.advance(cookieKeyLasts)
	s.b.cfg.Entropy = &fixed{key: 77}
	s.b.fast.keys.turn(s.now, s.b)
	s.offer(hasty(cookie, 20))
	s.accept()
	s.collect()
	if o := &s.last.Options; len(s.out) != 1 || !strings.HasPrefix(s.out[0], "0 S. 0 ack 21 ") || o.Cookie != s.b.fast.keys.cookie(s.last.Target.Addr(), 0) {
		t.Fatalf("%q", s.out)
	}
}

// RFC 8684 B.1: beside timestamps there is no room for MP_CAPABLE and a cookie of 8 octets.
func TestAnswerWithCookieShedsTimestamps(t *testing.T) {
	cfg := fast
	cfg.Timestamps = true
	for _, x := range []struct {
		options string
		kept    bool
	}{
		{"<timestamps, wscale 7, tfo , capable v1 flags 01>", false},
		{"<timestamps, wscale 7, tfo >", true},
		{"<timestamps, wscale 7, capable v1 flags 01>", true},
	} {
		s := newScript(t, false, cfg, 1)
		s.b.Listen(80)
		s.offer("0 S 0 " + x.options)
		s.accept()
		s.collect()
		o := &s.last.Options
		asked := strings.Contains(x.options, "tfo")
		if kept := o.Has&wire.HasTimestamps != 0; kept != x.kept || asked != (o.Cookie.Len == 8) ||
			strings.Contains(x.options, "capable") != (o.Has&wire.HasCapable != 0) {
			t.Errorf("%s: %v", x.options, o)
		}
	}
}

// Without FastOpen, and between own ends, nobody hears of cookies.
func TestNoCookies(t *testing.T) {
	for _, cfg := range []Config{{}, {Paired: true, FastOpen: true}} {
		s := newScript(t, false, cfg, 1)
		s.b.Listen(80)
		if got := s.cookie("0 S 0 <tfo , capable v1 flags 01>"); got != "" {
			t.Errorf("%+v: cookie %s", cfg, got)
		}
		a := newScript(t, true, cfg, 1)
		a.dial(DialOptions{})
		a.collect()
		if a.last.Options.Has&wire.HasFastOpen != 0 {
			t.Errorf("%+v: asks", cfg)
		}
	}
}

// Whatever SYNs with cookies and octets, third ACKs and resets come, no more are pending than may be, and each is
// counted.
func FuzzFastOpen(f *testing.F) {
	f.Add([]byte{0x0d, 1, 0x0d, 2, 0x2d, 1, 0x40, 2, 0x80, 200})
	f.Add([]byte{0x0d, 1, 0x1d, 2, 0x05, 3, 0x0d, 4, 0xc0, 1, 0x80, 255, 0x0d, 5})
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg := fast
		cfg.Limits.FastOpens, cfg.Timestamps = 3, len(data)%2 == 0
		s, cookie := serving(t, cfg, 1)
		for ; len(data) > 1; data = data[2:] {
			what, n := data[0], int(data[1])
			s.ends[0].remote = netip.AddrPortFrom(s.ends[0].remote.Addr(), 5000+uint16(n%8))
			switch what >> 6 {
			case 0:
				option := []string{"<tfo " + cookie, "<tfo ", "<tfo " + cookieA, "<mss 1460"}[what&3]
				if what&4 != 0 {
					option += ", capable v1 flags 01"
				}
				if what&8 != 0 {
					option += ", timestamps, wscale 7"
				}
				s.recv(fmt.Sprintf("0 S 0:%d %s>", n, option))
			case 1:
				s.recv(fmt.Sprintf("0 . %d ack 1 ", 1+n/8) + thirdA)
			case 2:
				s.advance(time.Duration(n) * time.Second)
			case 3:
				s.recv(fmt.Sprintf("0 R %d", 1+n/8))
			}
			for c, change, ok := s.b.Next(); ok; c, change, ok = s.b.Next() {
				if change&Offered != 0 && what&16 == 0 {
					c.Accept(s.now)
				} else if change&Offered != 0 {
					c.Refuse(s.now, wire.Prohibited)
				}
			}
			s.skip()
			pending := 0
			for _, f := range s.b.flows {
				if f.hasty {
					pending++
				}
			}
			if o := &s.b.fast; pending != o.pending || pending > 3 || len(o.cooling) > 3 {
				t.Fatalf("%d pending, %d counted, %d cool", pending, o.pending, len(o.cooling))
			}
		}
	})
}
