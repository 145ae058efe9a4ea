package mptcp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// The attacks of RFC 6181 and RFC 7430 by those who want an end to spend memory or packets, its own or a third
// party's.

// forged is the address that the i-th forged MP_JOIN comes from.
func forged(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}), uint16(1024+i%50000))
}

const forgedJoin = "1 S 0 <join id 1 token token-B nonce nonce-A>"

// RFC 7430 3 and 4: who knows the token of a connection floods it with joins from 10^5 forged addresses. A few states
// are kept, an attempt costs one packet beside few repeats, and an honest join gets its place within seconds.
func TestJoinFlood(t *testing.T) {
	const joins = 100_000
	s := answeredBy(t, Config{}, 2)
	honest := *s.ends[1]
	packets, most := 0, 0
	for i := range joins {
		s.ends[1].remote = forged(i)
		s.recv(forgedJoin)
		if i%1000 == 999 {
			s.advance(100 * ms)
		}
		packets += len(s.left())
		most = max(most, len(s.c.subflows), len(s.b.flows))
	}
	if limit := 1 + s.b.cfg.Limits.HalfOpen; most > limit {
		t.Errorf("%d subflows or flows, %d are allowed", most, limit)
	}
	if packets > joins+200 {
		t.Errorf("%d packets for %d", packets, joins)
	}
	n := s.b.Counters()
	if n.LimitHalfOpen+n.Recycled+3 != joins || n.Recycled == 0 {
		t.Errorf("of %d joins %d were refused, %d given up", joins, n.LimitHalfOpen, n.Recycled)
	}
	*s.ends[1] = honest
	began := s.now
	for {
		s.recv(forgedJoin)
		if strings.Contains(strings.Join(s.left(), "\n"), "1 S. 0 ack 1") {
			break
		}
		if s.advance(250 * ms); s.now.Sub(began) > 2*second {
			t.Fatal("the honest join finds no place")
		}
		s.skip()
	}
	s.recv("1 . 1 ack 1 <join mac mac-A>")
	s.want("1 . 1 ack 1 <dss ack4 1>")
	s.advance(30 * second)
	s.skip()
	s.living(2)
}

// Joins that are young are not given up for others.
func TestYoungJoinsStay(t *testing.T) {
	s := answeredBy(t, Config{}, 2)
	honest := *s.ends[1]
	s.recv(forgedJoin)
	s.skip()
	for i := range 5000 {
		s.ends[1].remote = forged(i)
		s.recv(forgedJoin)
		s.skip()
	}
	s.advance(900 * ms)
	*s.ends[1] = honest
	s.recv("1 . 1 ack 1 <join mac mac-A>")
	s.want("1 . 1 ack 1 <dss ack4 1>")
}

// A token that is guessed costs nothing but an answer.
func TestJoinsWithGuessedTokens(t *testing.T) {
	s := answeredBy(t, Config{}, 2)
	for i := range 10000 {
		s.ends[1].remote = forged(i)
		s.recv(fmt.Sprintf("1 S 0 <join id 1 token %08x nonce nonce-A>", uint32(i)*0x9e3779b1))
		s.want("1 R. zero ack 1 <reset MPTCP error>")
	}
	s.living(1)
	if n := s.b.Counters().BadJoinToken; n != 10000 || len(s.b.flows) != 1 {
		t.Fatalf("%d counted, %d flows", n, len(s.b.flows))
	}
}

// RFC 6181 5: a peer that asked for much and then joins in a victim's name has not one octet sent there: whoever
// does not see the SYN/ACK knows neither its sequence number nor its nonce.
func TestBombingByJoin(t *testing.T) {
	for name, third := range map[string]string{
		"silence":                       "",
		"another sequence number":       "1 . 1 ack 2 <join mac mac-A>",
		"one of another join":           "1 . 1 ack 100000 <join mac mac-A>",
		"code for a nonce that it made": "1 . 1 ack 1 <join mac 5a9926baa64667a915ecb36829022bf5ebc0c2fc>",
		"no code":                       "1 . 1 ack 1 <dss ack8 1>",
		"acknowledgement":               "1 . 1 ack 1",
	} {
		t.Run(name, func(t *testing.T) {
			s := answeredBy(t, Config{Scheduler: "redundant"}, 2)
			s.ends[1].remote = forged(7)
			s.recv(forgedJoin)
			s.c.Write(octets(0, 60000))
			s.c.Poke(s.now)
			for range 40 {
				if third != "" {
					s.recv(third)
				}
				s.advance(second)
			}
			toVictim := 0
			for _, line := range s.left() {
				if line[0] != '1' {
					continue
				}
				if toVictim++; !strings.HasPrefix(line[2:], "S. 0 ack 1 ") && !strings.HasPrefix(line[2:], "R") {
					t.Errorf("to the victim: %s", line)
				}
			}
			if most := 4 + 40; toVictim == 0 || toVictim > most || third == "" && toVictim > 4 {
				t.Errorf("%d packets to the victim", toVictim)
			}
		})
	}
}

// RFC 6181 5: addresses that a peer announces get SYNs and nothing more: few addresses, few at once, ever more seldom,
// and none in the end; one that refuses is left alone.
func TestBombingByAddresses(t *testing.T) {
	for _, refuses := range []bool{false, true} {
		s := agreed(t, Config{Passive: true, Scheduler: "redundant"}, 6)
		s.b.cfg.Passive, s.c.id.noJoins = false, true
		s.write("hello")
		targets := map[netip.AddrPort]int{}
		count := 0
		look := func() {
			for range 1000 {
				id, pkt, ok := s.b.Transmit(s.now, s.buf)
				if !ok {
					return
				}
				if s.last.Parse(pkt); id == 0 {
					continue
				}
				if s.last.Flags != wire.SYN || len(s.last.Payload) > 0 {
					t.Fatalf("to a third party: %v", &s.last)
				}
				count++
				targets[s.last.Target]++
				if refuses {
					no := wire.Segment{Source: s.last.Target, Target: s.last.Source, Flags: wire.RST | wire.ACK, Ack: s.last.Seq + 1}
					s.b.Receive(s.now, id, no.Append(nil))
				}
			}
		}
		for i := range 250 {
			s.recv("0 . 1 ack 1 <" + addAddr(uint8(i+1), fmt.Sprintf("203.0.113.%d", i), 0) + ">")
			look()
		}
		first, limits := count, s.b.cfg.Limits
		for end := s.now.Add(600 * second); s.now < end; look() {
			s.now = min(end, max(s.b.Deadline(), s.now))
			s.b.Advance(s.now)
			if s.c.snd.una == 0 && s.now > end-590*clock.Time(second) {
				s.recv("0 . 1 ack 6 <dss ack8 6>")
			}
		}
		t.Logf("refuses %v: %d SYNs at first, %d in ten minutes, to %d addresses", refuses, first, count, len(targets))
		if len(targets) == 0 || len(targets) > limits.Addresses || s.b.Counters().LimitAddresses != uint64(250-limits.Addresses) {
			t.Errorf("%d targets, %d counted", len(targets), s.b.Counters().LimitAddresses)
		}
		if !refuses && first > limits.HalfOpen {
			t.Errorf("%d SYNs at once", first)
		}
		if refuses && count > 5*limits.Addresses || count > 5*limits.Addresses*4*silentMax {
			t.Errorf("%d SYNs in ten minutes", count)
		}
		asked := count
		s.advance(600 * second)
		if look(); count != asked {
			t.Errorf("%d SYNs after ten minutes", count-asked)
		}
	}
}

// A peer that announces and withdraws addresses without end gets no more SYNs out of it than a few at once make.
func TestBombingByChangingAddresses(t *testing.T) {
	s := agreed(t, Config{Passive: true}, 6)
	s.b.cfg.Passive = false
	syns, spent := 0, 0
	for i := range 2000 {
		id := i%250 + 1
		s.recv("0 . 1 ack 1 <"+addAddr(uint8(id), fmt.Sprintf("203.0.%d.%d", i/250, i%250), 0)+">", fmt.Sprintf("0 . 1 ack 1 <remove_addr %d>", id))
		spent += 2
		s.advance(50 * ms)
		for _, line := range s.left() {
			if line[2:4] == "S " {
				syns++
			}
		}
	}
	t.Logf("%d SYNs for %d segments in 100 s", syns, spent)
	if n := len(s.c.signal.attempts); syns > 100 || n > attemptsMax || len(s.c.signal.theirs) > s.b.cfg.Limits.Addresses {
		t.Errorf("%d SYNs for %d segments, %d attempts, %d addresses", syns, spent, n, len(s.c.signal.theirs))
	}
}

// A peer declares mappings for octets that it never sends, and sends every other octet: what is kept is bounded.
func TestMappingsFlood(t *testing.T) {
	for _, checksum := range []bool{false, true} {
		s := answeredBy(t, Config{Checksum: checksum}, 1)
		sum := ""
		if checksum {
			sum = " csum 1234"
		}
		for i := range 20000 {
			at := 1000 + 3*i
			s.recv(fmt.Sprintf(`0 . %d ack 1 "x" <dss ack8 1 map8 %d ssn %d len 2%s>`, at, at, at, sum))
			if i%100 == 0 {
				s.skip()
			}
		}
		s.skip()
		f := s.c.subflows[0]
		if len(f.maps) > mappingsMax || len(s.c.in.late) > spansMax || f.heldN > heldMax || len(f.held) > heldRunsMax {
			t.Errorf("%d mappings, %d spans, %d octets held in %d runs", len(f.maps), len(s.c.in.late), f.heldN, len(f.held))
		}
		if s.b.Counters().Unmapped == 0 {
			t.Error("not counted")
		}
	}
}

// An end that gives up tells its peer's key to the peer alone: not to who has been sent a SYN, or has sent one.
func TestKeyIsNotToldToStrangers(t *testing.T) {
	s := agreed(t, Config{}, 2)
	s.c.Abort(s.now)
	s.want("1 R 1 <reset unspecified>", "0 . 1 ack 1 <fastclose key-B>")
	s = answeredBy(t, Config{}, 2)
	s.ends[1].remote = forged(7)
	s.recv(forgedJoin)
	s.skip()
	s.c.Abort(s.now)
	s.want("1 R. 1 ack 1 <reset unspecified>", "0 . 1 ack 1 <fastclose key-A>")
}

// What is kept of octets out of order is within the window, however they are strewn over it; so are those without a
// mapping, whatever the number of subflows.
func TestReassemblyFlood(t *testing.T) {
	const window = 64 << 10
	for name, mapped := range map[string]bool{"mapped": true, "not mapped": false} {
		t.Run(name, func(t *testing.T) {
			s := askedToJoin(t, Config{Limits: Limits{RecvBuffer: window}}, 8)
			s.skip()
			lines, kept := 0, 0
			for at := 2; at < 200_000; at += 700 {
				for p := range 8 {
					option := ""
					if mapped {
						option = fmt.Sprintf(" map8 %d ssn %d len 600", at, at)
					}
					s.recv(fmt.Sprintf("%d . %d:%d ack 1 <dss ack8 1%s>", p, at, at+600, option))
					lines++
				}
				s.skip()
				held := 0
				for _, f := range s.c.subflows {
					held += f.heldN
				}
				kept = max(kept, held+s.c.in.queued())
			}
			t.Logf("%d octets kept of %d", kept, lines*600)
			if kept > 3*window {
				t.Errorf("%d octets kept with a window of %d", kept, window)
			}
			if n := s.b.Counters(); !mapped && n.LimitBuffer == 0 {
				t.Errorf("not counted: %+v", n)
			}
			if s.c.phase != open {
				t.Error("the connection has ended")
			}
		})
	}
}

// RFC 3465, RFC 5961 5.2: who acknowledges each octet for itself, or what was not sent, gets no larger window for it.
func TestAcknowledgementsThatLie(t *testing.T) {
	for _, control := range []string{"reno", "cubic", "lia", "bbr"} {
		t.Run(control, func(t *testing.T) {
			window := func(spoil func(s *script)) (int, *script) {
				s := agreed(t, Config{Control: control}, 1)
				s.c.Write(octets(0, 60000))
				s.c.Poke(s.now)
				s.advance(100 * ms)
				s.skip()
				if spoil != nil {
					spoil(s)
				}
				s.recv("0 . 1 ack 7201 <dss ack8 7201>")
				return s.c.subflows[0].state.Window(), s
			}
			honest, _ := window(nil)
			divided, _ := window(func(s *script) {
				for at := 2; at < 7201; at++ {
					s.recv(fmt.Sprintf("0 . 1 ack %d <dss ack8 %d>", at, at))
				}
			})
			early, s := window(func(s *script) {
				for i := range 100 {
					s.recv(fmt.Sprintf("0 . 1 ack %d <dss ack8 7201>", 70000+i*1460), fmt.Sprintf("0 . 1 ack 1 <dss ack8 %d>", 70000+i*1460))
				}
			})
			t.Logf("window %d; %d when each octet is acknowledged, %d when too many are", honest, divided, early)
			if divided > honest+1500 || early > honest {
				t.Errorf("window %d; %d when each octet is acknowledged, %d when too many are", honest, divided, early)
			}
			if s.c.snd.una != 7200 || s.b.Counters().OutOfWindow != 100 {
				t.Errorf("acknowledged up to %d, %d counted", s.c.snd.una, s.b.Counters().OutOfWindow)
			}
		})
	}
}
