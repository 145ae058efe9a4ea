package mptcp

import (
	"slices"
	"strings"
	"testing"
)

const (
	earlyJoin  = "1 S 0 <join id 1 token token-B nonce nonce-A>"
	joinAnswer = "1 S. 0 ack 1 <join id 3 mac mac-B nonce nonce-B>"
)

// A join that overtakes the third ACK of its connection, or what comes in that one's place, waits for it.
func TestJoinOvertakesTheThirdACK(t *testing.T) {
	for _, third := range []string{
		"0 . 1 ack 1 <capable v1 flags 01 key-A key-B>",
		`0 P. 1 ack 1 "GET /" <capable v1 flags 01 key-A key-B len 5>`,
	} {
		s := answering(t, Config{}, 2)
		s.recv(earlyJoin, earlyJoin)
		s.want()
		s.recv(third)
		if out := s.left(); !slices.ContainsFunc(out, func(line string) bool { return strings.HasPrefix(line, "1 S. 0 ack 1") }) {
			t.Fatalf("no answer: %q", out)
		}
		s.recv("1 . 1 ack 1 <join mac mac-A>")
		if out := s.left(); len(out) != 1 || !strings.HasPrefix(out[0], "1 . 1 ack 1") {
			t.Fatalf("the third ACK of the join is answered with %q", out)
		}
		s.living(2)
	}
}

// If the third ACK shows that there is no MPTCP, the join is refused.
func TestJoinOvertakesPlainTCP(t *testing.T) {
	s := answering(t, Config{}, 2)
	s.recv(earlyJoin, "0 . 1 ack 1")
	s.want("1 R. zero ack 1 <reset MPTCP error>")
	s.living(1)
}

// Before there was a SYN/ACK nobody can know the token.
func TestJoinOvertakesNothing(t *testing.T) {
	s := offeredTo(t, Config{}, 2, "0 S 0 <capable v1 flags 01>")
	s.recv(earlyJoin)
	s.want("1 R. zero ack 1 <reset MPTCP error>")
	if n := s.b.Counters().BadJoinToken; n != 1 {
		t.Errorf("%d counted", n)
	}
}

// Between our ends a join that is repeated again tells that the third ACK was lost, and is answered so.
func TestJoinOvertakesPaired(t *testing.T) {
	s := pairedOffer(t, Config{}, `0 S 0 "GET /" <capable v1 flags 01>`)
	s.accept()
	s.skip()
	s.recv(earlyJoin)
	s.want()
	s.recv(earlyJoin)
	s.want() // the ACK may be in a long queue
	s.recv(earlyJoin)
	s.want("1 R. zero ack 1 <reset MPTCP error>")
	s.recv(earlyJoin)
	s.want()
	s.recv("0 . 6 ack 1 <capable v1 flags 01 key-A key-B>")
	s.expect("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>")
}

// No more wait than may be half open afterwards, and none when the connection, or the path, is gone.
func TestOvertakersAreBounded(t *testing.T) {
	s := answering(t, Config{}, 6)
	for i := range 5 {
		s.recv(string(rune('1'+i)) + earlyJoin[1:])
	}
	s.want("4 R. zero ack 1 <reset lack of resources transient>", "5 R. zero ack 1 <reset lack of resources transient>")
	if n := s.b.Counters().LimitHalfOpen; n != 2 || len(s.c.overtakers) != 3 {
		t.Errorf("%d counted, %d wait", n, len(s.c.overtakers))
	}
	s.b.Detach(s.now, 2)
	s.recv("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
	s.want(joinAnswer, "3 S. 0 ack 1 <join id 5 mac mac-B nonce nonce-B>")

	s = answering(t, Config{}, 2)
	s.recv(earlyJoin, "0 R 1")
	s.want("1 R. zero ack 1 <reset MPTCP error>")
	if len(s.c.overtakers) > 0 || len(s.b.flows) > 0 {
		t.Error("something is left")
	}
}

// What Linux says to a join whose proof is right, but which came too early, ends nothing: it is repeated, once.
func TestRejectedJoinIsRepeated(t *testing.T) {
	reject := func(s *script) {
		s.advance(100 * ms)
		s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>")
		s.want("1 . 1 ack 1 <join mac mac-A>")
		s.recv("1 R. 1 ack 1 <reset 3>")
	}
	s := agreed(t, Config{}, 2)
	reject(s)
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A>")
	reject(s)
	s.advance(60 * second)
	s.want()

	s = agreed(t, Config{}, 2)
	reject(s)
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A>")
	s.advance(100 * ms)
	s.join(1)
	s.living(2)
}

// Who has no more to say is not joined: Linux says the same then.
func TestRejectedJoinAtTheEnd(t *testing.T) {
	s := agreed(t, Config{}, 2)
	s.c.CloseWrite(s.now)
	s.skip()
	s.advance(100 * ms)
	s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>")
	s.skip()
	s.recv("0 . 1 ack 1 <dss ack8 2>", "1 R. 1 ack 1 <reset 3>")
	s.advance(60 * second)
	s.want()
}
