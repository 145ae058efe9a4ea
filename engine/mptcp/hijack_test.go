package mptcp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"tandem/engine/wire"
)

// The attacks of RFC 6181 and RFC 7430 by those who want to get between the ends, or to take a path's place. What
// the attacker knows stands in each test: an attacker who knows numbers of a subflow can have heard them on it.

// forge has the bond receive the segment of a line with options that no honest end writes.
func (s *script) forge(line string, options ...byte) {
	s.t.Helper()
	id, seg := s.parse(line)
	pkt := seg.Append(nil)
	for len(options)%4 > 0 {
		options = append(options, 1)
	}
	end := 20 + int(pkt[32]>>4)*4
	pkt = bytes.Join([][]byte{pkt[:end], options, pkt[end:]}, nil)
	pkt[32] += byte(len(options)/4) << 4
	binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
	clear(pkt[10:12])
	seal(pkt[:20], pkt[10:])
	clear(pkt[36:38])
	var sum wire.Sum
	sum.Add(pkt[12:20])
	sum.Add([]byte{0, wire.TCP, byte((len(pkt) - 20) >> 8), byte(len(pkt) - 20)})
	sum.Add(pkt[20:])
	binary.BigEndian.PutUint16(pkt[36:], sum.Checksum())
	before := s.b.Counters()
	s.b.Receive(s.now, id, pkt)
	if after := s.b.Counters(); after.Checksum != before.Checksum || after.Malformed != before.Malformed {
		s.t.Fatal("the forged segment is not whole")
	}
}

// RFC 7430 2: who knows all numbers of a subflow, but no key, cannot have an end join an address. Without that
// there is no handshake to relay.
func TestAddAddrHijack(t *testing.T) {
	const mallory = "203.0.113.9"
	of := netip.MustParseAddr(mallory)
	mac := func(a, b uint64, id uint8, port uint16) string {
		return fmt.Sprintf("add_addr id %d %s mac %016x", id, mallory, wire.AddAddrMAC(a, b, id, of, port))
	}
	for _, x := range []struct {
		name, option string
		raw          []byte
		badMAC       uint64
	}{
		{"guessed code", "add_addr id 9 " + mallory + " mac 0123456789abcdef", nil, 1},
		{"code of zeros", "add_addr id 9 " + mallory + " mac 0000000000000000", nil, 1},
		{"code of another connection", mac(keyB+1, keyA+1, 9, 0), nil, 1},
		{"code of the other end", mac(keyA, keyB, 9, 0), nil, 1},
		{"code for another number", mac(keyB, keyA, 8, 0)[:len("add_addr id ")] + "9" + mac(keyB, keyA, 8, 0)[len("add_addr id 8"):], nil, 1},
		{"code for another port", mac(keyB, keyA, 9, 8080), nil, 1},
		{"version 0, no code", "", []byte{30, 8, 0x34, 9, 203, 0, 113, 9}, 0},
		{"version 0, no code, port", "", []byte{30, 10, 0x34, 9, 203, 0, 113, 9, 0, 80}, 0},
		{"no code", "", []byte{30, 8, 0x30, 9, 203, 0, 113, 9}, 0},
		{"half a code", "", []byte{30, 12, 0x30, 9, 203, 0, 113, 9, 1, 2, 3, 4}, 0},
		{"echo", "add_addr id 9 " + mallory + " echo", nil, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := agreed(t, Config{Passive: true}, 2)
			s.b.cfg.Passive = false
			if x.raw == nil {
				s.recv("0 . 1 ack 1 <" + x.option + ">")
			} else {
				s.forge("0 . 1 ack 1", x.raw...)
			}
			s.advance(60 * second)
			s.want()
			if len(s.c.signal.theirs) > 0 || s.b.Counters().BadAddAddrMAC != x.badMAC {
				t.Fatalf("%+v, %+v", s.c.signal, s.b.Counters())
			}
		})
	}
	// The test would see it: with the right code the address is joined.
	s := agreed(t, Config{Passive: true}, 2)
	s.b.cfg.Passive = false
	s.recv("0 . 1 ack 1 <" + mac(keyB, keyA, 9, 0) + ">")
	s.expect("1 S 0 <join id 3 token token-B nonce nonce-A>")
	if s.ends[1].remote.Addr() != of {
		t.Fatal("joins", s.ends[1].remote)
	}
}

// RFC 6181 6.1, RFC 8684 3.2: who has heard a join, so knows the token and every number on the wire, but no key,
// opens no subflow: neither with codes of its own nor with those it heard, because nonces are fresh.
func TestJoinHijack(t *testing.T) {
	for _, x := range []struct{ name, mac string }{
		{"heard at an earlier join", macA},
		{"that of the other end", macB + "000000000000000000000000"},
		{"guessed", "0123456789abcdef0123456789abcdef01234567"},
		{"none", ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := askedToJoin(t, Config{}, 2)
			s.recv("1 R. 1 ack 1")
			s.living(1)
			const later = 0x89abcdef
			s.b.cfg.Entropy.(*fixed).nonce, s.iss = later, later
			s.ends[1].remote = netip.MustParseAddrPort("203.0.113.9:4000")
			s.recv("1 S 0 <join id 1 token token-B nonce nonce-A>")
			s.collect()
			if len(s.out) != 1 || !strings.Contains(s.out[0], "nonce 89abcdef") || strings.Contains(s.out[0], "mac "+macB) {
				t.Fatal(s.out)
			}
			s.skip()
			option := " <join mac " + x.mac + ">"
			if x.mac == "" {
				option = " <dss ack8 1>"
			}
			s.recv("1 . 1 ack 1" + option)
			s.want("1 R. 1 ack 1 <reset MPTCP error>")
			s.iss = nonceB
			s.write("hello")
			s.want(`0 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
			s.living(1)
			if n := s.b.Counters().BadJoinMAC; n != 1 && x.mac != "" {
				t.Fatalf("%d counted", n)
			}
		})
	}
}

// RFC 6181 6.1: who answers a join in the peer's place does not know the code, nor does who passes the peer's answer
// on with another nonce.
func TestJoinAnsweredByAnother(t *testing.T) {
	for _, answer := range []string{"mac 0123456789abcdef nonce nonce-B", "mac mac-B nonce 01234568"} {
		s := agreed(t, Config{}, 2)
		s.advance(100 * ms)
		s.recv("1 S. 0 ack 1 <join id 0 " + answer + ">")
		s.want("1 R 1 <reset MPTCP error>")
		s.write("hello")
		s.want(`0 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
		s.living(1)
		if s.b.Counters().BadJoinMAC != 1 {
			t.Fatal("not counted")
		}
	}
}

// RFC 7430 6 by design: a join may come from any address, because of NATs, so that who is on the path at that moment can
// turn it to its own. What proves the keys is still needed, and goes for the nonces of this join only.
func TestJoinFromAnotherSource(t *testing.T) {
	s := answeredBy(t, Config{}, 2)
	s.ends[1].remote = netip.MustParseAddrPort("203.0.113.9:4000")
	s.recv("1 S 0 <join id 1 token token-B nonce nonce-A>")
	s.want("1 S. 0 ack 1 <join id 3 mac mac-B nonce nonce-B>")
	if s.last.Target.Addr().String() != "203.0.113.9" {
		t.Fatal("answered at", s.last.Target)
	}
	s.recv("1 . 1 ack 1 <join mac mac-A>")
	s.want("1 . 1 ack 1 <dss ack4 1>")
	s.living(2)
	s.ends[1].remote = netip.MustParseAddrPort("203.0.113.10:4000") // the same words from elsewhere
	s.recv("1 . 1 ack 1 <join mac mac-A>", "1 . 1 ack 1 <dss ack8 1>")
	s.want("1 R 1 <reset MPTCP error>", "1 R 1 <reset MPTCP error>")
	s.living(2)
}

// RFC 9293 3.5: while a join waits for its answer, a SYN that anybody could send neither opens the subflow without a
// proof nor ends it.
func TestSYNAgainstJoin(t *testing.T) {
	for _, option := range []string{"", " <join id 0 token token-A nonce nonce-B>", " <join id 0 mac mac-B nonce nonce-B>", " <capable v1 flags 01>"} {
		s := agreed(t, Config{}, 2)
		s.advance(100 * ms)
		s.recv("1 S 77777" + option)
		s.want()
		s.join(1)
		s.living(2)
	}
}

// RFC 7430 5 by design: the keys cross the first handshake in clear, so that who hears it can join at any time. They
// are seen nowhere else, every connection has others, and codes take their place from then on.
func TestKeysAreInClearOnlyInTheHandshake(t *testing.T) {
	seen := map[uint64]bool{}
	for _, paired := range []bool{false, true} {
		cfg := Config{Paired: paired}
		var told []wire.Capable
		var packets [][]byte
		c, s := transfer(t, cfg, cfg, 2, 100000, func(d *duo) {
			d.lose = func(_, _ int, _ PathID, pkt []byte) bool {
				var seg wire.Segment
				if seg.Parse(pkt) != nil {
					return false
				}
				if seg.Options.Has&wire.HasCapable != 0 {
					told = append(told, seg.Options.Capable)
				} else if seg.Options.Has&wire.HasJoinCap == 0 { // a third ACK too
					packets = append(packets, bytes.Clone(pkt))
				}
				return false
			}
		})
		for _, key := range []uint64{c.id.localKey, s.id.localKey} {
			if told[0].Length != 4 || seen[key] && !paired || key == 0 {
				t.Fatalf("%v: key %016x, first told %+v", paired, key, told[0])
			}
			seen[key] = true
			for _, pkt := range packets {
				if bytes.Contains(pkt, binary.BigEndian.AppendUint64(nil, key)) {
					t.Fatalf("key %016x in a later packet: %x", key, pkt)
				}
			}
		}
		if len(packets) < 100 {
			t.Fatalf("%d packets seen", len(packets))
		}
	}
}

func TestKeysAreFresh(t *testing.T) {
	d := newDuo(t, Config{}, Config{}, 1)
	keys, tokens := map[uint64]bool{}, map[uint32]bool{}
	for range 1000 {
		c, err := d.ends[0].Dial(d.now, netip.MustParseAddrPort("10.0.0.2:80"), DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		keys[c.id.localKey], tokens[c.id.localToken] = true, true
	}
	if len(keys) != 1000 || len(tokens) != 1000 {
		t.Fatalf("%d keys, %d tokens of 1000 connections", len(keys), len(tokens))
	}
}

// RFC 8684 5: who is on one path takes itself into use, or out of it, and no other path. MP_PRIO of version 0 named
// any address; such an option is none.
func TestBackupOfAnotherPath(t *testing.T) {
	s := joined(t, Config{Scheduler: "backup"}, 2)
	s.recv("0 . 1 ack 1 <prio>", "1 . 1 ack 1 <prio backup>") // honest: the second path is the backup
	for id := range byte(4) {
		s.forge("1 . 1 ack 1", 30, 4, 0x51, id)
		s.forge("1 . 1 ack 1", 30, 4, 0x50, id)
	}
	s.write("hello")
	s.want(`0 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	if i := s.c.Info(s.now).Subflows; i[0].PeerBackup || !i[1].PeerBackup {
		t.Fatalf("%+v", i)
	}
}

// Who changes version or algorithm of a handshake, or takes the option out, has the ends fall back to TCP: never is
// anything less than version 1 with HMAC-SHA256 spoken, and nobody asks again with less.
func TestBidDown(t *testing.T) {
	for name, syn := range map[string]string{
		"version 0": "capable v0 flags 01", "no algorithm": "capable v1 flags 00", "another algorithm": "capable v1 flags 02",
		"extended": "capable v1 flags 41", "taken out": "",
	} {
		t.Run("SYN, "+name, func(t *testing.T) {
			s := offeredTo(t, Config{}, 2, "0 S 0 <"+syn+">")
			s.accept()
			s.want("0 S. 0 ack 1")
			s.recv("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
			s.plainly()
			s.recv("1 S 0 <join id 1 token token-B nonce nonce-A>")
			s.want("1 R. zero ack 1 <reset MPTCP error>")
		})
	}
	for name, answer := range map[string]string{
		"version 0": "capable v0 flags 01 key-B", "version 2": "capable v2 flags 01 key-B", "no algorithm": "capable v1 flags 00 key-B",
		"another algorithm": "capable v1 flags 02 key-B", "extended": "capable v1 flags 41 key-B", "taken out": "",
	} {
		t.Run("SYN/ACK, "+name, func(t *testing.T) {
			s := dialling(t, Config{}, 2)
			s.want("0 S 0 <capable v1 flags 01>")
			s.recv("0 S. 0 ack 1 <" + answer + ">")
			s.want("0 . 1 ack 1")
			s.plainly()
		})
	}
	for name, third := range map[string]string{
		"version 0": "capable v0 flags 01 key-A key-B", "no algorithm": "capable v1 flags 00 key-A key-B",
		"another key": "capable v1 flags 01 key-A key-A", "taken out": "",
	} {
		t.Run("third ACK, "+name, func(t *testing.T) {
			s := answering(t, Config{}, 2)
			s.recv("0 . 1 ack 1 <" + third + ">")
			s.plainly()
		})
	}
	t.Run("SYNs swallowed", func(t *testing.T) {
		s := dialling(t, Config{}, 1)
		s.advance(200 * second)
		for i, line := range s.left() {
			if i < plainSYNs && !strings.Contains(line, "<capable v1 flags 01>") || i >= plainSYNs && strings.Contains(line, "<") {
				t.Errorf("SYN %d: %s", i, line)
			}
		}
	})
}

// plainly fails unless the connection is TCP and says nothing of MPTCP.
func (s *script) plainly() {
	s.t.Helper()
	s.write("hello")
	s.want(`0 P. 1 ack 1 "hello"`)
	s.recv(`0 P. 1 ack 6 "world" <dss ack8 6 map8 1 ssn 1 len 5>`)
	s.read("world")
	s.advance(second)
	s.want("0 . 6 ack 6")
	if !s.c.Info(s.now).Fallback {
		s.t.Fatal("no fallback")
	}
}

// RFC 8684 3.4.2: REMOVE_ADDR has no proof. However often it is forged, for whatever numbers, a path that answers stays
// and one question each is all it costs.
func TestRemoveAddrForged(t *testing.T) {
	s := joined(t, Config{Scheduler: "redundant"}, 2)
	probes := 0
	for round := range 50 {
		for id := 0; id < 256; id += 8 {
			s.recv(fmt.Sprintf("1 . 1 ack 1 <remove_addr %d %d %d %d %d %d %d %d>", id, id+1, id+2, id+3, id+4, id+5, id+6, id+7))
		}
		probes += len(s.left())
		s.advance(20 * ms)
		s.recv("0 . 1 ack 1 <dss ack8 1>", "1 . 1 ack 1 <dss ack8 1>")
		if s.living(2); round == 0 && probes == 0 {
			t.Fatal("nobody is asked")
		}
	}
	s.advance(10 * second)
	s.skip()
	s.living(2)
	if probes > 50*3 {
		t.Errorf("%d segments leave for 50 times 32", probes)
	}
	s.write("hello")
	s.want(`0 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`, `1 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
}

// RFC 8684 3.5: only who knows the key ends the connection, on an acknowledgement or a reset. A reset with the wrong
// one is a reset: it ends its subflow.
func TestFastCloseForged(t *testing.T) {
	for _, key := range []string{"key-B", "0000000000000000", "0102030405060709", "66840dda00000000"} {
		s := joined(t, Config{}, 2)
		s.recv("0 . 1 ack 1 <fastclose "+key+">", "1 . 1 ack 1 <fastclose "+key+">")
		s.want()
		s.living(2)
		s.recv("1 R. 2 ack 1 <fastclose "+key+">", "1 R. 2 ack 1 <fastclose key-A>") // not the next octet
		s.want("1 . 1 ack 1 <dss ack4 1>")
		s.living(2)
		s.recv("1 R. 1 ack 1 <fastclose " + key + ">")
		s.living(1)
		s.write("hello")
		s.want(`0 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	}
	for _, line := range []string{"1 . 1 ack 1 <fastclose key-A>", "1 R. 1 ack 1 <fastclose key-A>"} {
		s := joined(t, Config{}, 2)
		s.recv(line)
		s.over(ErrReset)
	}
}
