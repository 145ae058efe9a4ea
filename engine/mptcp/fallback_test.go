package mptcp

import (
	"io"
	"strings"
	"testing"
)

// RFC 8684 3.7: octets are acknowledged without DATA_ACK before any DSS came: one infinite mapping,
// then plain TCP for good.
func TestAcknowledgedWithoutDataACK(t *testing.T) {
	s := dialled(t, Config{}, 2)
	s.write("hello")
	s.want(`0 P. 1 ack 1 "hello" <capable v1 flags 01 key-A key-B len 5>`)
	s.recv("0 . 1 ack 1") // of the SYN only: says nothing
	s.write("!")
	s.want(`0 P. 6 ack 1 "!" <dss ack4 1 map4 6 ssn 6 len 1>`)
	s.recv("0 . 1 ack 7")
	if !s.c.Info(s.now).Fallback {
		t.Fatal("no fallback")
	}
	s.write("world")
	s.want(`0 P. 7 ack 1 "world" <dss map8 1 ssn 1 len 0>`)
	s.write("again")
	s.want(`0 P. 12 ack 1 "again" <dss map8 1 ssn 1 len 0>`) // the first may be lost
	s.recv(`0 P. 1 ack 17 "answer" <dss ack8 17 map8 1 ssn 1 len 6>`)
	s.read("answer")
	s.want("0 . 17 ack 7")
	if n := s.b.Counters().Fallbacks; n != 1 {
		t.Fatalf("%d fallbacks counted", n)
	}
}

// The same on a subflow that joined is an error of something between (RFC 8684 3.7).
func TestAcknowledgedWithoutDataACKAfterJoin(t *testing.T) {
	s := agreed(t, Config{Scheduler: "redundant"}, 2)
	s.advance(100 * ms)
	s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>", "1 . 1 ack 1")
	s.skip()
	s.write("hello")
	s.skip()
	s.recv("1 . 1 ack 6", "1 . 1 ack 6")
	s.want("1 R. 6 ack 1 <reset middlebox>")
	s.living(1)
}

// Data without mapping before any DSS: the sender has fallen back (RFC 8684 3.7).
func TestDataWithoutMapping(t *testing.T) {
	s := answeredBy(t, Config{}, 1)
	s.recv(`0 P. 1 ack 1 "hello"`)
	s.read("hello")
	s.want("0 . 1 ack 6")
	s.write("world")
	s.want(`0 P. 1 ack 6 "world"`)
	if !s.c.Info(s.now).Fallback {
		t.Fatal("no fallback")
	}
}

// Options that vanish later leave octets without a mapping; a window's worth of them ends the subflow.
func TestOptionsVanish(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 5>`)
	s.read("hello")
	s.skip()
	at := 6
	for ; at < 600000; at += 1400 {
		_, seg := s.parse("0 . 1 ack 1")
		seg.Seq = peerISS.Add(at)
		seg.Payload = octets(at, at+1400)
		s.b.Receive(s.now, 0, seg.Append(nil))
		if out := s.left(); len(out) > 0 && strings.HasPrefix(out[len(out)-1], "0 R") {
			break
		}
	}
	if at < 60000 || at > 400000 || s.b.Counters().Unmapped != 1 {
		t.Fatalf("after %d octets, %+v", at, s.b.Counters())
	}
	if why := s.last.Options.Reset; why.Reason != 6 {
		t.Fatalf("reason %v", why)
	}
	s.living(1) // which joins anew
}

// Infinite mapping of the peer: octets from there on are what TCP says, and its FIN is the end.
func TestInfiniteMappingOfThePeer(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 5>`)
	s.recv(`0 P. 6 ack 1 "world" <dss ack8 1 map8 6 ssn 6 len 0>`)
	s.read("helloworld")
	s.want("0 . 1 ack 11")
	s.recv(`0 P. 11 ack 1 "again"`)
	s.read("again")
	s.recv("0 F. 16 ack 1")
	s.readEnd(io.EOF)
	s.c.CloseWrite(s.now)
	s.want("0 F. 1 ack 17")
	s.over(nil)
}

// There is no infinite mapping where there are several subflows.
func TestInfiniteMappingAmongSeveral(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.recv(`1 P. 1 ack 1 "world" <dss ack8 1 map8 1 ssn 1 len 0>`)
	s.want("1 R. 1 ack 1 <reset MPTCP error>")
	s.living(1)
}

// RFC 8684 3.7: altered octets on one of several subflows: reset with MP_FAIL; they come again elsewhere.
func TestChecksumWrongOnOneOfSeveral(t *testing.T) {
	s := joinedWithChecksum(t)
	s.recv(`1 P. 1 ack 1 "hellO" <dss ack8 1 map8 1 ssn 1 len 5 csum ` + sumOf(s.peer+1, 1, "hello") + ">")
	s.want("1 R. 1 ack 1 <fail 1, reset middlebox>")
	s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 5 csum ` + sumOf(s.peer+1, 1, "hello") + ">")
	s.read("hello")
	s.living(1)
	if s.b.Counters().DSSChecksum != 1 {
		t.Fatal("not counted")
	}
}

func joinedWithChecksum(t *testing.T) *script {
	t.Helper()
	s := agreed(t, Config{Checksum: true}, 2)
	s.join(1)
	return s
}

// With one subflow MP_FAIL goes on an acknowledgement; the peer's infinite mapping says what the
// octets are, altered or not.
func TestChecksumWrongOnTheOnlySubflow(t *testing.T) {
	s := agreed(t, Config{Checksum: true}, 1)
	s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 5 csum ` + sumOf(s.peer+1, 1, "hello") + ">")
	s.recv(`0 P. 6 ack 1 "worlD" <dss ack8 1 map8 6 ssn 6 len 5 csum ` + sumOf(s.peer+6, 6, "world") + ">")
	s.want("0 . 1 ack 11 <dss ack8 6, fail 6>")
	s.read("hello")
	s.recv(`0 P. 11 ack 1 "!" <dss map8 6 ssn 6 len 0 csum 0000, fail 1>`)
	s.read("worlD!")
	s.want("0 . 1 ack 12")
	if !s.c.Info(s.now).Fallback {
		t.Fatal("no fallback")
	}
}

// The only subflow, but not all octets in order: it cannot go on.
func TestChecksumWrongBehindAHole(t *testing.T) {
	s := agreed(t, Config{Checksum: true}, 1)
	s.recv(`0 P. 6 ack 1 "again" <dss ack8 1 map8 11 ssn 6 len 5 csum ` + sumOf(s.peer+11, 6, "again") + ">")
	s.recv(`0 P. 1 ack 1 "hellO" <dss ack8 1 map8 1 ssn 1 len 5 csum ` + sumOf(s.peer+1, 1, "hello") + ">")
	s.expect("0 R. 1 ack 1 <fail 1, reset middlebox>")
}

// MP_FAIL of the peer: it gets MP_FAIL and an infinite mapping that reaches back to the last octet it
// acknowledged (RFC 8684 3.7).
func TestFailOfThePeer(t *testing.T) {
	s := agreed(t, Config{Checksum: true}, 1)
	s.write("hello")
	s.skip()
	s.recv("0 . 1 ack 6 <dss ack8 6>")
	s.write("world")
	s.skip()
	s.recv("0 . 1 ack 11 <dss ack8 6, fail 6>")
	s.want("0 . 11 ack 1 <dss map8 6 ssn 6 len 0 csum 0000, fail 1>")
	s.write("again")
	s.want(`0 P. 11 ack 1 "again" <dss map8 6 ssn 6 len 0 csum 0000>`) // the first may be lost
	s.recv("0 . 1 ack 16")
	if i := s.c.Info(s.now); i.SendQueue != 0 || !i.Fallback {
		t.Fatalf("%+v", i)
	}
}

// MP_FAIL with a reset: what the subflow carried goes out elsewhere.
func TestFailWithReset(t *testing.T) {
	s := joinedWithChecksum(t)
	s.recv("1 . 1 ack 1 <prio backup>")
	s.write("hello")
	s.want(`0 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5 csum ` + sumOf(idsnA+1, 1, "hello") + ">")
	s.recv("0 R. 1 ack 6 <fail 1, reset 0 transient>")
	s.want(`1 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5 csum ` + sumOf(idsnA+1, 1, "hello") + ">")
}

// After a fallback nothing of MPTCP counts any more.
func TestOptionsAfterFallback(t *testing.T) {
	s := answeredBy(t, Config{JoinAnnounced: true}, 2)
	s.recv(`0 P. 1 ack 1 "hello"`)
	s.skip()
	s.recv(
		"0 . 6 ack 1 <add_addr id 3 192.0.2.7 mac 0000000000000000>",
		"0 . 6 ack 1 <prio backup>",
		"0 . 6 ack 1 <remove_addr 0>",
		"0 . 6 ack 1 <fastclose key-B>",
		"0 . 6 ack 1 <fail 1>",
		"0 . 6 ack 1 <dss ack8 77 map8 99 ssn 0 len 1 fin>",
	)
	s.want()
	s.living(1)
	s.recv(`0 P. 6 ack 1 "world" <dss ack8 1 map8 1 ssn 1 len 5>`)
	s.read("helloworld")
	s.advance(10 * second)
	s.c.Abort(s.now)
	s.left()
	s.over(ErrAborted)
}

// A connection that was plain from the start: its whole life.
func TestPlainTCP(t *testing.T) {
	s := offeredTo(t, Config{}, 1, "0 S 0")
	s.accept()
	s.want("0 S. 0 ack 1")
	s.recv(`0 P. 1 ack 1 "request"`)
	s.read("request")
	s.want("0 . 1 ack 8")
	s.write("answer")
	s.c.CloseWrite(s.now)
	s.want(`0 P. 1 ack 8 "answer"`, "0 F. 7 ack 8")
	s.recv("0 . 8 ack 8")
	s.living(1)
	s.recv(`0 F. 8 ack 8 "more"`)
	s.want("0 . 8 ack 13")
	s.over(nil)
	if got, err := s.take(); got != "more" || err != io.EOF {
		t.Fatal(got, err)
	}
}

// A reset of a plain connection ends it; there is nothing to wait for.
func TestPlainReset(t *testing.T) {
	s := offeredTo(t, Config{}, 1, "0 S 0")
	s.accept()
	s.recv("0 . 1 ack 1", "0 R. 1 ack 1")
	s.over(ErrReset)
}

// A plain connection that is aborted sends a bare reset.
func TestPlainAbort(t *testing.T) {
	s := offeredTo(t, Config{}, 1, "0 S 0")
	s.accept()
	s.skip()
	s.recv("0 . 1 ack 1")
	s.c.Abort(s.now)
	s.want("0 R. 1 ack 1")
}
