package mptcp

import (
	"fmt"
	"net/netip"
	"testing"

	"tandem/engine/wire"
)

// RFC 8684 3.2, with the codes of the examples, and no subflow before a DSS has come.
func TestJoinHandshake(t *testing.T) {
	s := dialled(t, Config{}, 2)
	s.advance(second)
	s.want()
	s.recv("0 . 1 ack 1 <dss ack8 1>")
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A>")
	s.advance(100 * ms)
	s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>")
	s.want("1 . 1 ack 1 <join mac mac-A>")
	s.living(2)
	if s.ends[1].local.Port() != s.ends[0].local.Port() {
		t.Fatal("another source port")
	}
}

// RFC 8684 3.2: no data before the third ACK was answered, and no DATA_FIN.
func TestNoDataBeforeJoinIsAnswered(t *testing.T) {
	s := agreed(t, Config{Scheduler: "redundant"}, 2)
	s.advance(100 * ms)
	s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>")
	s.want("1 . 1 ack 1 <join mac mac-A>")
	s.write("hello")
	s.want(`0 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.recv("1 . 1 ack 1")
	s.want(`1 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
}

func TestThirdACKOfJoinRepeated(t *testing.T) {
	s := agreed(t, Config{Passive: false}, 2)
	s.advance(100 * ms)
	s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>")
	s.want("1 . 1 ack 1 <join mac mac-A>")
	s.advance(299 * ms)
	s.want()
	s.advance(ms)
	s.want("1 . 1 ack 1 <join mac mac-A>")
	s.advance(600 * ms)
	s.want("1 . 1 ack 1 <join mac mac-A>")
	s.recv("1 . 1 ack 1 <dss ack8 1>")
	s.advance(20 * second)
	s.want()
	s.living(2)
}

func TestJoinGivenUpWithoutAnswer(t *testing.T) {
	s := agreed(t, Config{}, 2)
	s.advance(100 * ms)
	s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>")
	s.advance(12 * second)
	for i, line := range s.left() {
		switch {
		case i < 5:
			s.compare(line, "1 . 1 ack 1 <join mac mac-A>")
		case i == 5:
			s.compare(line, "1 R. 1 ack 1 <reset unspecified transient>")
		default:
			s.compare(line, "1 S 0 <join id 3 token token-B nonce nonce-A>")
		}
	}
}

// A SYN that is repeated carries the same numbers.
func TestJoinSYNRepeated(t *testing.T) {
	s := agreed(t, Config{}, 2)
	s.b.cfg.Entropy.(*fixed).nonce = 7
	s.advance(4 * second)
	s.want(
		"1 S 0 <join id 3 token token-B nonce nonce-A>",
		"1 S 0 <join id 3 token token-B nonce nonce-A>",
	)
	s.join(1)
}

// What answers a join at the end that asked, and what comes of it.
func TestAnswersToJoin(t *testing.T) {
	const bad = "0000000000000000"
	for _, x := range []struct {
		name, answer, reaction string
		again                  bool
	}{
		{"good", "1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>", "1 . 1 ack 1 <join mac mac-A>", true},
		{"wrong MAC", "1 S. 0 ack 1 <join id 0 mac " + bad + " nonce nonce-B>", "1 R 1 <reset MPTCP error>", false},
		{"no option", "1 S. 0 ack 1", "1 R 1 <reset MPTCP error>", false},
		{"MP_CAPABLE", "1 S. 0 ack 1 <capable v1 flags 01 key-B>", "1 R 1 <reset MPTCP error>", false},
		{"form of a third ACK", "1 S. 0 ack 1 <join mac mac-A>", "1 R 1 <reset MPTCP error>", false},
		{"refused", "1 R. 0 ack 1 <reset 3>", "", false},
		{"refused for now", "1 R. 0 ack 1 <reset 2 transient>", "", true},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := agreed(t, Config{}, 2)
			s.advance(100 * ms)
			s.recv(x.answer)
			if x.reaction == "" {
				s.want()
			} else {
				s.want(x.reaction)
			}
			s.advance(60 * second)
			if again := len(s.left()) > 0; again != x.again {
				t.Fatalf("tried again: %v", again)
			}
			if s.c.phase != open {
				t.Fatal("the connection ended")
			}
		})
	}
}

// Flag C: no subflow towards the address that was dialled (RFC 8684 3.1).
func TestNoJoinsThere(t *testing.T) {
	s := dialling(t, Config{}, 2)
	s.skip()
	s.recv("0 S. 0 ack 1 <capable v1 flags 21 key-B>")
	s.skip()
	s.recv("0 . 1 ack 1 <dss ack8 1>")
	s.advance(60 * second)
	s.want()
}

func TestPassiveDoesNotJoin(t *testing.T) {
	s := agreed(t, Config{Passive: true}, 3)
	s.advance(10 * second)
	s.want()
	s.living(1)
}

// A path that comes later is joined over, one whose role is backup says so.
func TestJoinOverNewPath(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.b.Attach(s.now, 4, PathConfig{Local4: netip.MustParseAddr("10.0.4.1"), Role: Backup})
	s.want("4 S 0 <join id 3 token token-B nonce nonce-A backup>")
	s.recv("4 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B backup>")
	i := s.c.Info(s.now).Subflows[1]
	if !i.Backup || !i.PeerBackup {
		t.Fatalf("%+v", i)
	}
}

// Few joins are under way at once; the others follow.
func TestOwnJoinsAreLimited(t *testing.T) {
	s := dialled(t, Config{}, 6)
	s.recv("0 . 1 ack 1 <dss ack8 1>")
	s.want(
		"1 S 0 <join id 3 token token-B nonce nonce-A>",
		"2 S 0 <join id 5 token token-B nonce nonce-A>",
		"3 S 0 <join id 7 token token-B nonce nonce-A>",
	)
	for i := 1; i < 4; i++ {
		s.join(i)
	}
	s.advance(200 * ms)
	s.want(
		"4 S 0 <join id 9 token token-B nonce nonce-A>",
		"5 S 0 <join id 11 token token-B nonce nonce-A>",
	)
}

func TestSubflowsAreLimited(t *testing.T) {
	s := dialled(t, Config{Limits: Limits{Subflows: 2}}, 4)
	s.recv("0 . 1 ack 1 <dss ack8 1>")
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A>")
	if s.b.Counters().LimitSubflows == 0 {
		t.Fatal("not counted")
	}
}

// The other end of the handshake.
func TestJoinAnswered(t *testing.T) {
	s := answeredBy(t, Config{}, 2)
	s.recv("1 S 0 <join id 7 token token-B nonce nonce-A backup>")
	s.want("1 S. 0 ack 1 <join id 3 mac mac-B nonce nonce-B>")
	s.write("hello")
	s.want(`0 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.recv("1 . 1 ack 1 <join mac mac-A>")
	s.want("1 . 1 ack 1 <dss ack4 1>")
	if i := s.c.Info(s.now).Subflows[1]; !i.PeerBackup || i.State == "" {
		t.Fatalf("%+v", i)
	}
}

// What a SYN with MP_JOIN meets.
func TestJoinsRefused(t *testing.T) {
	join := "1 S 0 <join id 1 token token-B nonce nonce-A>"
	for _, x := range []struct {
		name, syn, answer string
		cfg               Config
		prepare           func(*script)
	}{
		{"unknown token", "1 S 0 <join id 1 token token-A nonce nonce-A>", "1 R. zero ack 1 <reset MPTCP error>", Config{}, nil},
		{"no joins wanted", join, "1 R. zero ack 1 <reset prohibited>", Config{RefuseJoins: true}, nil},
		{"after the end", join, "1 R. zero ack 1 <reset MPTCP error>", Config{}, func(s *script) { s.c.Abort(s.now); s.skip() }},
		{"too many subflows", join, "1 R. zero ack 1 <reset lack of resources transient>", Config{Limits: Limits{Subflows: 1}}, nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := answeredBy(t, x.cfg, 2)
			if x.prepare != nil {
				x.prepare(s)
			}
			s.recv(x.syn)
			s.want(x.answer)
		})
	}
	t.Run("address not to be joined", func(t *testing.T) {
		s := answeredBy(t, Config{NoJoinsHere: true}, 2)
		s.ends[1].local = s.ends[0].local
		s.recv(join)
		s.want("1 R. zero ack 1 <reset prohibited>")
	})
	t.Run("after a fallback", func(t *testing.T) {
		s := answering(t, Config{}, 2)
		s.recv("0 . 1 ack 1", join)
		s.want("1 R. zero ack 1 <reset MPTCP error>")
	})
}

// What follows the SYN/ACK of a join at the end that was asked.
func TestThirdACKsOfJoin(t *testing.T) {
	for _, x := range []struct{ name, third, reaction string }{
		{"good", "1 . 1 ack 1 <join mac mac-A>", "1 . 1 ack 1 <dss ack4 1>"},
		{"wrong MAC", "1 . 1 ack 1 <join mac 5a9926baa64667a915ecb36829022bf5ebc0c2fc>", "1 R. 1 ack 1 <reset MPTCP error>"},
		{"no option", "1 . 1 ack 1", "1 R. 1 ack 1 <reset MPTCP error>"},
		{"another option", "1 . 1 ack 1 <dss ack8 1>", "1 R. 1 ack 1 <reset MPTCP error>"},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := answeredBy(t, Config{}, 2)
			s.recv("1 S 0 <join id 1 token token-B nonce nonce-A>")
			s.want("1 S. 0 ack 1 <join id 3 mac mac-B nonce nonce-B>")
			s.recv(x.third)
			s.want(x.reaction)
			s.write("hello")
			if s.c.phase != open {
				t.Fatal("the connection ended")
			}
		})
	}
}

// The third ACK of a join is answered every time it comes: an answer may be lost.
func TestThirdACKOfJoinTwice(t *testing.T) {
	s := askedToJoin(t, Config{}, 2)
	s.recv("1 . 1 ack 1 <join mac mac-A>")
	s.want("1 . 1 ack 1 <dss ack4 1>")
	s.living(2)
}

// A SYN/ACK goes again while the third ACK is missing, and the half-open subflow is forgotten in the end.
func TestHalfOpenJoinEnds(t *testing.T) {
	s := answeredBy(t, Config{}, 2)
	s.recv("1 S 0 <join id 1 token token-B nonce nonce-A>")
	s.want("1 S. 0 ack 1 <join id 3 mac mac-B nonce nonce-B>")
	s.advance(100 * second)
	for _, line := range s.left() {
		s.compare(line, "1 S. 0 ack 1 <join id 3 mac mac-B nonce nonce-B>")
	}
	s.living(1)
}

// RFC 7430 4: whatever the number of joins from forged sources, few are kept half open.
func TestHalfOpenJoinsAreLimited(t *testing.T) {
	s := answeredBy(t, Config{}, 2)
	answers := 0
	for i := range 5000 {
		s.ends[1].remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 4000)
		s.recv("1 S 0 <join id 1 token token-B nonce nonce-A>")
		for _, line := range s.left() {
			if line[2:4] == "S." {
				answers++
			}
		}
	}
	if len(s.c.subflows) != 4 || answers != 3 || len(s.b.flows) != 4 {
		t.Fatalf("%d subflows, %d answers, %d flows", len(s.c.subflows), answers, len(s.b.flows))
	}
	if got := s.b.Counters().LimitHalfOpen; got != 4997 {
		t.Fatalf("%d counted", got)
	}
}

// The rule of the codes holds for a join that the answering end begins: own key first.
func TestJoinByTheServer(t *testing.T) {
	b := answeredBy(t, Config{JoinAnnounced: true}, 2)
	mac := wire.AddAddrMAC(keyA, keyB, 3, netip.MustParseAddr("192.0.2.7"), 0)
	b.recv(fmt.Sprintf("0 . 1 ack 1 <add_addr id 3 192.0.2.7 mac %016x>", mac))
	b.want(
		"1 S 0 <join id 3 token token-A nonce nonce-B>",
		"0 . 1 ack 1 <add_addr id 3 192.0.2.7 echo>",
	)
	if got := b.ends[1].remote.String(); got != "192.0.2.7:5000" {
		t.Fatalf("joins %s", got)
	}
	b.recv("1 S. 0 ack 1 <join id 3 mac 5a9926baa64667a9 nonce nonce-A>")
	b.want("1 . 1 ack 1 <join mac dcac2119689b29a88bb23119cd9475e07b8a5790>")
	b.recv("1 . 1 ack 1 <dss ack8 1>")
	b.want()
	b.living(2)

	a := agreed(t, Config{Passive: true}, 2)
	a.ends[1] = &tuple{netip.AddrPortFrom(netip.MustParseAddr("10.0.1.1"), a.c.source.Port()), netip.MustParseAddrPort("10.9.1.1:80")}
	a.recv("1 S 0 <join id 1 token token-A nonce nonce-B>")
	a.want("1 S. 0 ack 1 <join id 3 mac 5a9926baa64667a9 nonce nonce-A>")
	a.recv("1 . 1 ack 1 <join mac dcac2119689b29a88bb23119cd9475e07b8a5790>")
	a.want("1 . 1 ack 1 <dss ack4 1>")
	a.living(2)
}

// Without leave the answering end joins nothing (RFC 8041 3.3).
func TestServerDoesNotJoin(t *testing.T) {
	s := answeredBy(t, Config{}, 2)
	mac := wire.AddAddrMAC(keyA, keyB, 3, netip.MustParseAddr("192.0.2.7"), 0)
	s.recv(fmt.Sprintf("0 . 1 ack 1 <add_addr id 3 192.0.2.7 mac %016x>", mac))
	s.want("0 . 1 ack 1 <add_addr id 3 192.0.2.7 echo>")
	s.advance(60 * second)
	s.want()
}

// A join of a Paired bond goes on after data rode in the first SYN: its numbers begin at 1.
func TestJoinAfterDataInSYN(t *testing.T) {
	s := newScript(t, true, Config{Paired: true, Control: "cubic", Scheduler: "redundant"}, 2)
	s.dial(DialOptions{})
	s.write("early")
	s.want(`0 S 0 "early" <capable v1 flags 01>`)
	s.recv("0 S. 0 ack 6 <capable v1 flags 01 key-B>", "0 . 1 ack 6 <dss ack8 1>")
	s.skip()
	s.join(1)
	s.write("late")
	s.want(
		`0 P. 6 ack 1 "late" <dss ack4 1 map4 1 ssn 1 len 4>`,
		`1 P. 1 ack 1 "late" <dss ack4 1 map4 1 ssn 1 len 4>`,
	)
}
