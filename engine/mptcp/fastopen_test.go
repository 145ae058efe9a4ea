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

const (
	cookieA = "0102030405060708"
	fastSYN = "<tfo " + cookieA + ", capable v1 flags 01>"
)

var fast = Config{FastOpen: true, Passive: true}

// acquainted returns a dialling end that has a cookie of its target, from a connection that is over.
func acquainted(t *testing.T, cfg Config, paths int) *script {
	t.Helper()
	s := dialling(t, cfg, paths)
	s.meet("")
	return s
}

// meet has the connection ask for a cookie, get one, and end.
func (s *script) meet(more string) {
	s.t.Helper()
	flags := "01"
	if s.b.cfg.Checksum {
		flags = "81"
	}
	s.want("0 S 0 <tfo , capable v1 flags " + flags + ">")
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 1 <tfo " + cookieA + more + ", capable v1 flags " + flags + " key-B>")
	s.quit()
}

// quit ends the connection at once and waits for nothing of it. The next one has the same key.
func (s *script) quit() {
	s.t.Helper()
	s.c.Abort(s.now)
	s.skip()
	for len(s.c.subflows) > 0 {
		s.b.retire(s.now, s.c.subflows[0])
	}
	for ok := true; ok; {
		_, _, ok = s.b.Next()
	}
	s.b.cfg.Entropy = &fixed{key: keyA, nonce: nonceA}
}

// again dials the target with octets written at once.
func (s *script) again(n int) {
	s.t.Helper()
	s.dial(DialOptions{})
	s.write(string(octets(0, n)))
}

// RFC 8684 B, figure 19: the octets of the SYN are before the data sequence space, and before SSN 1.
func TestFastOpenTaken(t *testing.T) {
	s := acquainted(t, fast, 1)
	s.again(20)
	s.want(fmt.Sprintf("0 S 0 %q %s", octets(0, 20), fastSYN))
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 21 <capable v1 flags 01 key-B>")
	s.want("0 . 21 ack 1 <capable v1 flags 01 key-A key-B>")
	s.recv("0 . 1:101 ack 21 <dss ack8 1 map8 1 ssn 1 len 100>")
	s.want("0 . 21 ack 101 <dss ack8 101>")
	s.write(string(octets(20, 40)))
	s.want(fmt.Sprintf("0 . 21 ack 101 %q <dss ack8 101 map4 1 ssn 1 len 20>", octets(20, 40)))
	s.recv("0 . 101 ack 41 <dss ack8 21>")
	s.read(string(octets(1, 101)))
	i := s.c.Info(s.now)
	if i.Sent != 40 || i.FastOpen != 20 || i.Fallback || s.b.Counters().FastOpens != 1 || !strings.Contains(s.c.Trace(), "20 octets rode in the SYN") {
		t.Fatalf("%+v\n%s", i, s.story())
	}
}

// The listener cannot know the key before the third ACK, so that its data comes without a DATA_ACK; MP_CAPABLE goes on
// until there is one.
func TestFastOpenAnsweredBeforeThirdACK(t *testing.T) {
	s := acquainted(t, fast, 1)
	s.again(20)
	s.skip()
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 21 <capable v1 flags 01 key-B>")
	s.want("0 . 21 ack 1 <capable v1 flags 01 key-A key-B>")
	s.recv("0 . 1:101 ack 21 <dss map8 1 ssn 1 len 100>")
	s.want("0 . 21 ack 101 <capable v1 flags 01 key-A key-B>")
	s.read(string(octets(1, 101)))
	s.write(string(octets(20, 40)))
	s.want(fmt.Sprintf("0 . 21 ack 101 %q <capable v1 flags 01 key-A key-B len 20>", octets(20, 40)))
	s.recv("0 . 101 ack 41 <dss ack8 21>")
	s.write("more")
	s.want(`0 . 41 ack 101 "more" <dss ack8 101 map4 21 ssn 21 len 4>`)
}

// Linux takes the window of the SYN for scaled, and what it sends accordingly is all taken: what it had to send again would go
// by one piece at each of its timeouts.
func TestFastOpenWindowIsTrueBothWays(t *testing.T) {
	s := acquainted(t, fast, 1)
	s.again(20)
	s.skip()
	window := int(s.last.Window) << s.last.Options.WindowScale
	if window != recvStart {
		t.Errorf("offered %d octets of %d", window, recvStart)
	}
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 21 <capable v1 flags 01 key-B>")
	s.skip()
	for at := 0; at < window; at += 1024 {
		s.recv(fmt.Sprintf("0 . %d:%d ack 21 <dss ack8 1 map8 %d ssn %d len 1024>", 1+at, 1025+at, 1+at, 1+at))
		s.skip()
	}
	if n := s.b.Counters().OutOfWindow; n != 0 {
		t.Errorf("%d times out of the window", n)
	}
	s.read(string(octets(1, 1+window)))
}

// RFC 8684 B, figure 20: nothing was taken, and all goes again within the data sequence space.
func TestFastOpenNotTaken(t *testing.T) {
	s := acquainted(t, fast, 1)
	s.again(1000)
	s.want("0 S 0:1000 " + fastSYN)
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>")
	s.want("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>", "0 . 1:1001 ack 1 <capable v1 flags 01 key-A key-B len 1000>")
	s.recv("0 . 1 ack 1001 <dss ack8 1001>")
	s.advance(10 * second)
	s.want()
	if i := s.c.Info(s.now); i.Sent != 1000 || i.Fallback {
		t.Fatalf("%+v", i)
	}
}

// RFC 8684 B, figure 21: what was not taken goes again, and only that is in the data sequence space.
func TestFastOpenPartlyTaken(t *testing.T) {
	s := acquainted(t, fast, 1)
	s.again(1000)
	s.want("0 S 0:1000 " + fastSYN)
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 501 <capable v1 flags 01 key-B>")
	s.want("0 . 501 ack 1 <capable v1 flags 01 key-A key-B>", "0 . 501:1001 ack 1 <capable v1 flags 01 key-A key-B len 500>")
	s.recv("0 . 1 ack 1001 <dss ack8 501>")
	s.write("more")
	s.want(`0 . 1001 ack 1 "more" <dss ack4 1 map4 501 ssn 501 len 4>`)
	s.recv("0 . 1 ack 1005 <dss ack8 505>")
	if i := s.c.Info(s.now); i.Sent != 1004 || i.Fallback {
		t.Fatalf("%+v", i)
	}
}

// A DATA_ACK of 1 acknowledges MP_CAPABLE and nothing else.
func TestDataAckOfOneIsForCapable(t *testing.T) {
	s := acquainted(t, fast, 1)
	s.again(20)
	s.skip()
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 21 <capable v1 flags 01 key-B>")
	s.write("more")
	s.skip()
	s.recv("0 . 1 ack 25 <dss ack8 1>")
	if i := s.c.Info(s.now); i.Sent != 20 || i.SendQueue != 4 {
		t.Fatalf("%+v", i)
	}
}

// The checksum is of what has a mapping.
func TestFastOpenWithChecksum(t *testing.T) {
	cfg := fast
	cfg.Checksum = true
	s := acquainted(t, cfg, 1)
	s.again(1000)
	s.skip()
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 501 <capable v1 flags 81 key-B>")
	s.skip()
	sum := wire.Sum{}
	sum.Add(octets(500, 1000))
	want := wire.ChecksumDSS(idsnA+1, 1, 500, sum)
	if m := s.last.Options.Capable; m.Length != 24 || m.Checksum != want || m.DataLen != 500 {
		t.Fatalf("%+v, want checksum %04x", m, want)
	}
}

// To a peer that speaks no MPTCP the octets go all the same.
func TestFastOpenWithPlainPeer(t *testing.T) {
	for _, taken := range []int{0, 500, 1000} {
		s := acquainted(t, fast, 1)
		s.again(1000)
		s.skip()
		s.advance(100 * ms)
		s.recv(fmt.Sprintf("0 S. 0 ack %d", 1+taken))
		s.skip()
		s.recv(`0 . 1 ack 1001 "hello"`)
		s.read("hello")
		s.write("more")
		s.skip()
		s.recv("0 . 6 ack 1005")
		if i := s.c.Info(s.now); i.Sent != 1004 || !i.Fallback {
			t.Fatalf("%d taken: %+v", taken, i)
		}
	}
}

// Other paths join as ever.
func TestJoinAfterFastOpen(t *testing.T) {
	s := newScript(t, true, Config{FastOpen: true, Establish: Classic}, 2)
	s.dial(DialOptions{Only: []PathID{0}})
	s.meet("")
	s.again(20)
	s.skip()
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 21 <capable v1 flags 01 key-B>")
	s.skip()
	s.recv("0 . 1 ack 21 <dss ack8 1>")
	if o := s.left(); len(o) != 1 || !strings.HasPrefix(o[0], "1 S 0") || !strings.Contains(o[0], "<join ") {
		t.Fatalf("%q", o)
	}
	s.join(1)
	s.living(2)
	s.recv("1 . 1:101 ack 1 <dss ack8 1 map8 1 ssn 1 len 100>")
	s.read(string(octets(1, 101)))
}

// A SYN that goes again carries neither octets nor cookie (RFC 7413 4.2.1); what dropped the first is remembered for a
// minute, the next time for two.
func TestFastOpenIsShunnedAfterLoss(t *testing.T) {
	s := acquainted(t, fast, 1)
	for _, pause := range []time.Duration{time.Minute, 2 * time.Minute} {
		s.again(20)
		s.expect(fmt.Sprintf("0 S 0 %q %s", octets(0, 20), fastSYN))
		s.advance(1100 * ms)
		s.want("0 S 0 <capable v1 flags 01>")
		s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>")
		s.want("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>",
			fmt.Sprintf("0 . 1 ack 1 %q <capable v1 flags 01 key-A key-B len 20>", octets(0, 20)))
		s.quit()
		s.advance(pause - second)
		s.again(20)
		s.want("0 S 0 <capable v1 flags 01>")
		s.quit()
		s.advance(second)
		s.dial(DialOptions{})
		s.meet("")
	}
	if n := s.b.Counters(); n.FastOpensRefused != 2 || n.FastOpens != 0 {
		t.Fatalf("%+v", n)
	}
	s.again(20)
	s.skip()
	s.recv("0 S. 0 ack 21 <capable v1 flags 01 key-B>")
	s.quit()
	if x := s.b.fast.services[service{s.ends[0].local.Addr(), target}]; x == nil || x.wait != 0 {
		t.Fatalf("after success: %+v", x)
	}
}

// What the answer to a cookie teaches for the next SYN.
func TestFastOpenLearns(t *testing.T) {
	const other = "1112131415161718"
	for _, x := range []struct{ name, answer, next string }{
		{"taken", "S. 0 ack 21 <capable v1 flags 01 key-B>", "<tfo " + cookieA + ", "},
		{"taken, with a new cookie", "S. 0 ack 21 <tfo " + other + ", capable v1 flags 01 key-B>", "<tfo " + other + ", "},
		{"out of date", "S. 0 ack 1 <tfo " + other + ", capable v1 flags 01 key-B>", "<tfo " + other + ", "},
		{"no more", "S. 0 ack 1 <capable v1 flags 01 key-B>", "<"},
		{"reset", "R. 0 ack 1", "<"},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := acquainted(t, fast, 1)
			s.again(20)
			s.skip()
			s.advance(100 * ms)
			s.recv("0 " + x.answer)
			s.skip()
			s.quit()
			s.again(20)
			text := fmt.Sprintf("%q ", octets(0, 20))
			if x.next == "<" {
				text = ""
			}
			s.want("0 S 0 " + text + x.next + "capable v1 flags 01>")
		})
	}
}

// A server that has no cookie to give is not asked with each SYN.
func TestFastOpenAsksSeldom(t *testing.T) {
	s := dialling(t, fast, 1)
	s.want("0 S 0 <tfo , capable v1 flags 01>")
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>")
	s.skip()
	s.quit()
	s.dial(DialOptions{})
	s.want("0 S 0 <capable v1 flags 01>")
	s.quit()
	s.advance(time.Minute)
	s.dial(DialOptions{})
	s.want("0 S 0 <tfo , capable v1 flags 01>")
}

// A cookie is of use for a day, and goes with octets only.
func TestCookieExpires(t *testing.T) {
	s := acquainted(t, fast, 1)
	s.dial(DialOptions{})
	s.want("0 S 0 <capable v1 flags 01>")
	s.quit()
	s.advance(cookieLasts - second)
	s.again(20)
	s.want(fmt.Sprintf("0 S 0 %q %s", octets(0, 20), fastSYN))
	s.quit()
	s.advance(second)
	s.again(20)
	s.want("0 S 0 <tfo , capable v1 flags 01>")
}

// The octets of a SYN fit what the server takes in a segment, as it said when it gave the cookie.
func TestFastOpenKeepsToMSS(t *testing.T) {
	s := dialling(t, fast, 1)
	s.meet(", mss 600")
	s.again(1000)
	s.want("0 S 0:560 " + fastSYN)
}

// A SYN with octets takes part in no race. When it is late another path is asked without them; where that one wins they go
// over it.
func TestFastOpenInRace(t *testing.T) {
	for _, mode := range []Establish{SIM, ESIM} {
		cfg := fast
		cfg.Establish = mode
		s := newScript(t, true, cfg, 2)
		s.dial(DialOptions{Only: []PathID{0}})
		s.skip()
		s.recv("0 S. 0 ack 1 <tfo " + cookieA + ", capable v1 flags 01 key-B>")
		s.quit()
		s.dial(DialOptions{Only: []PathID{1}})
		s.skip()
		s.recv("1 S. 0 ack 1 <tfo " + cookieA + ", capable v1 flags 01 key-B>")
		s.quit()
		s.again(20)
		out := s.left()
		s.advance(1100 * ms)
		if out = append(out, s.left()...); len(out) != 3 || !strings.HasPrefix(out[1], "1 S") || !strings.Contains(out[0], "tfo "+cookieA) || strings.Contains(out[1], "tfo") || strings.Contains(out[1], `"`) {
			t.Fatalf("%q", out)
		}
		robe := ""
		if mode == ESIM {
			robe = ", robe"
		}
		s.advance(50 * ms)
		s.recv("1 S. 0 ack 1 <capable v1 flags 01 key-B" + robe + ">")
		s.recv("0 S. 0 ack 21 <capable v1 flags 01 1112131415161719" + robe + ">")
		for _, line := range s.left() {
			if strings.HasPrefix(line, "0 ") && !strings.HasPrefix(line, "0 R") {
				t.Errorf("%v: what lost says %s", mode, line)
			}
		}
		s.recv("1 . 1 ack 21 <dss ack8 21>")
		if i := s.c.Info(s.now); i.Sent != 20 || len(i.Subflows) != 1 {
			t.Errorf("%v: %+v", mode, i)
		}
	}
}

// Nor do octets ride in a further SYN of a race, though a cookie is known there.
func TestFastOpenInFirstSYN(t *testing.T) {
	cfg := fast
	cfg.Establish = SIM
	s := newScript(t, true, cfg, 2)
	s.dial(DialOptions{Only: []PathID{1}})
	s.skip()
	s.recv("1 S. 0 ack 1 <tfo " + cookieA + ", capable v1 flags 01 key-B>")
	s.quit()
	s.again(20)
	s.want("0 S 0 <tfo , capable v1 flags 01>", "1 S 0 <capable v1 flags 01>")
}

// A cookie that does not fit beside timestamps and MP_CAPABLE takes the place of the timestamps.
func TestCookieShedsTimestamps(t *testing.T) {
	for cookie, kept := range map[string]bool{cookieA: true, strings.Repeat(cookieA, 2): false} {
		cfg := fast
		cfg.Timestamps = true
		s := dialling(t, cfg, 1)
		s.skip()
		s.recv("0 S. 0 ack 1 <tfo " + cookie + ", capable v1 flags 01 key-B>")
		s.quit()
		s.again(20)
		s.want(fmt.Sprintf("0 S 0 %q <tfo %s, capable v1 flags 01>", octets(0, 20), cookie))
		if has := s.last.Options.Has&wire.HasTimestamps != 0; has != kept {
			t.Errorf("cookie %s: timestamps %v", cookie, has)
		}
	}
}

// The services that are remembered are bounded, and the one met longest ago is forgotten.
func TestServicesAreBounded(t *testing.T) {
	s := newScript(t, true, fast, 1)
	who := func(n int) service {
		return service{netip.AddrFrom4([4]byte{10, 0, 0, 1}), netip.AddrPortFrom(target.Addr(), uint16(n+1))}
	}
	for n := range servicesMax + 3 {
		s.b.fast.at(clock.Time(n/2), s.b, who(n))
	}
	if len(s.b.fast.services) != servicesMax || s.b.Counters().LimitCookies != 3 {
		t.Fatalf("%d services, %d forgotten", len(s.b.fast.services), s.b.Counters().LimitCookies)
	}
	for n := range 4 {
		if known := s.b.fast.services[who(n)] != nil; known != (n == 3) {
			t.Errorf("service %d known: %v", n, known)
		}
	}
}
