package mptcp

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"tandem/engine/wire"
)

// DATA_FIN alone has SSN 0 and length 1 (RFC 8684 3.3.3).
func TestDataFinAlone(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.write("hello")
	s.skip()
	s.recv("0 . 1 ack 6 <dss ack8 6>")
	s.want()
	s.c.CloseWrite(s.now)
	s.want("0 . 6 ack 1 <dss ack4 1 map4 6 ssn 0 len 1 fin>")
}

func TestDataFinAloneWithChecksum(t *testing.T) {
	s := agreed(t, Config{Checksum: true}, 1)
	s.c.CloseWrite(s.now)
	s.want("0 . 1 ack 1 <dss ack4 1 map4 1 ssn 0 len 1 fin csum " + sumOfFin(idsnA+1) + ">")
	s.recv("0 . 1 ack 1 <dss ack8 2 map8 1 ssn 0 len 1 fin csum 1234>") // not right
	s.want("0 . 1 ack 1 <dss ack8 1>")
	s.recv("0 . 1 ack 1 <dss ack8 2 map8 1 ssn 0 len 1 fin csum " + sumOfFin(idsnB+1) + ">")
	s.readEnd(io.EOF)
}

func sumOfFin(dsn wire.DSN) string {
	d := wire.DSS{HasMap: true, HasChecksum: true, Checksum: wire.ChecksumDSS(dsn, 0, 1, wire.Sum{})}
	_, hex, _ := strings.Cut(d.String(), "csum ")
	return hex
}

// With data it counts in the length of the mapping, and in no subflow's numbers.
func TestDataFinWithData(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.write("hello")
	s.c.CloseWrite(s.now)
	s.want(`0 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 6 fin>`)
	s.recv("0 . 1 ack 6 <dss ack8 6>")
	if s.c.fin.acked {
		t.Fatal("acknowledged by the octets before it")
	}
	s.recv("0 . 1 ack 6 <dss ack8 7>")
	if !s.c.fin.acked {
		t.Fatal("not acknowledged")
	}
	s.advance(10 * second)
	s.want()
}

// It is repeated until it is acknowledged.
func TestDataFinLost(t *testing.T) {
	s := agreed(t, Config{}, 1)
	fin := "0 . 1 ack 1 <dss ack4 1 map4 1 ssn 0 len 1 fin>"
	s.c.CloseWrite(s.now)
	s.want(fin)
	s.advance(300 * ms)
	s.want(fin)
	s.advance(600 * ms)
	s.want(fin)
	s.recv("0 . 1 ack 1 <dss ack8 2>")
	s.advance(20 * second)
	s.want()
	s.living(1)
}

// A path that has nothing outstanding may have died unnoticed: it goes over each in turn.
func TestDataFinLostOnASilentPath(t *testing.T) {
	s := joined(t, Config{}, 2)
	fin := "ack 1 <dss ack4 1 map4 1 ssn 0 len 1 fin>"
	s.c.CloseWrite(s.now)
	s.want("0 . 1 " + fin)
	s.advance(300 * ms)
	s.want("1 . 1 " + fin)
	s.advance(600 * ms)
	s.want("0 . 1 " + fin)
}

func TestDataFinNeverAcknowledged(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.c.CloseWrite(s.now)
	s.advance(1000 * second)
	s.over(ErrTimeout)
}

// With data that is lost it is repeated with the data.
func TestDataFinWithDataLost(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.write("hello")
	s.c.CloseWrite(s.now)
	s.skip()
	s.advance(650 * ms)
	got := strings.Join(s.left(), "\n")
	if !strings.Contains(got, `0 . 1 ack 1 win 65535 "hello" <dss ack4 1 map4 1 ssn 1 len 6 fin>`) {
		t.Fatal(got)
	}
}

// When the path that carried it dies, it goes over another.
func TestDataFinOverAnotherPath(t *testing.T) {
	s := joined(t, Config{Scheduler: "backup"}, 2)
	s.recv("1 . 1 ack 1 <prio backup>")
	s.write("hello")
	s.c.CloseWrite(s.now)
	s.want(`0 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 6 fin>`)
	s.b.Detach(s.now, 0)
	s.want("1 . 1 ack 1 <remove_addr [0]>", `1 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 6 fin>`)
}

// The peer's end counts when everything before it has come (RFC 8684 3.3.3).
func TestPeersEndBehindHole(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv(`0 . 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 5>`)
	s.recv("0 . 11 ack 1 <dss ack8 1 map8 11 ssn 0 len 1 fin>")
	s.want("0 . 1 ack 6 <dss ack8 6>")
	s.read("hello")
	s.recv(`0 P. 6 ack 1 "world" <dss ack8 1 map8 6 ssn 6 len 5>`)
	s.want("0 . 1 ack 11 <dss ack8 12>")
	s.read("world")
	s.readEnd(io.EOF)
}

func TestPeersEndWithData(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 6 fin>`)
	s.want("0 . 1 ack 6 <dss ack8 7>")
	s.read("hello")
	s.readEnd(io.EOF)
}

// Every copy of the peer's end is acknowledged: an acknowledgement may be lost.
func TestPeersEndTwice(t *testing.T) {
	s := agreed(t, Config{}, 1)
	fin := "0 . 1 ack 1 <dss ack8 1 map8 1 ssn 0 len 1 fin>"
	s.recv(fin)
	s.want("0 . 1 ack 1 <dss ack8 2>")
	s.recv(fin)
	s.want("0 . 1 ack 1 <dss ack8 2>")
}

// Octets behind the peer's end do not exist.
func TestDataBehindPeersEnd(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 6 fin>`)
	s.recv(`0 P. 6 ack 1 "world" <dss ack8 1 map8 6 ssn 6 len 5>`)
	s.read("hello")
	s.readEnd(io.EOF)
}

// One direction may end long before the other.
func TestHalfClose(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.write("request")
	s.c.CloseWrite(s.now)
	s.want(`0 P. 1 ack 1 "request" <dss ack4 1 map4 1 ssn 1 len 8 fin>`)
	s.recv("0 . 1 ack 8 <dss ack8 9>")
	s.advance(600 * second)
	s.want()
	s.recv(`0 P. 1 ack 8 "answer" <dss ack8 9 map8 1 ssn 1 len 6>`)
	s.read("answer")
	s.want("0 . 8 ack 7 <dss ack8 7>")
}

func TestHalfCloseByThePeer(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv(`0 P. 1 ack 1 "request" <dss ack8 1 map8 1 ssn 1 len 8 fin>`)
	s.read("request")
	s.readEnd(io.EOF)
	s.skip()
	s.advance(600 * second)
	s.write("answer")
	s.want(`0 P. 1 ack 8 "answer" <dss ack8 9 map4 1 ssn 1 len 6>`)
}

// When both ends are acknowledged all subflows end with FIN, and the connection is over.
func TestBothEnds(t *testing.T) {
	s := joined(t, Config{Scheduler: "backup"}, 2)
	s.c.CloseWrite(s.now)
	s.want("0 . 1 ack 1 <dss ack4 1 map4 1 ssn 0 len 1 fin>")
	s.recv("0 . 1 ack 1 <dss ack8 2 map8 1 ssn 0 len 1 fin>")
	s.want(
		"0 . 1 ack 1 <dss ack8 2>",
		"0 F. 1 ack 1 <dss ack8 2>",
		"1 F. 1 ack 1 <dss ack4 2>",
	)
	s.over(nil)
	s.readEnd(io.EOF)
	s.recv("0 F. 1 ack 2 <dss ack8 2>", "1 F. 1 ack 2 <dss ack8 2>")
	s.want("1 . 2 ack 2 <dss ack4 2>", "0 . 2 ack 2 <dss ack8 2>")
	s.advance(70 * second)
	if len(s.b.flows) != 0 || len(s.b.tokens) != 0 || s.b.conns != 0 || s.b.windows.used+s.b.rooms.used != 0 {
		t.Fatalf("%d flows, %d tokens, %d connections, %d octets promised",
			len(s.b.flows), len(s.b.tokens), s.b.conns, s.b.windows.used+s.b.rooms.used)
	}
}

// secondEnd returns the end that answers last, with two subflows: its end has been acknowledged.
func secondEnd(t *testing.T) *script {
	t.Helper()
	s := joined(t, Config{}, 2)
	s.recv("0 . 1 ack 1 <dss ack8 1 map8 1 ssn 0 len 1 fin>")
	s.want("0 . 1 ack 1 <dss ack8 2>")
	s.c.CloseWrite(s.now)
	s.want("0 . 1 ack 1 <dss ack8 2 map4 1 ssn 0 len 1 fin>")
	s.recv("0 . 1 ack 1 <dss ack8 2>")
	s.over(nil)
	return s
}

// RFC 8041 3.6: the end that answers last leaves TIME-WAIT to the other, whose FINs it awaits.
func TestPeerEndsFirst(t *testing.T) {
	s := secondEnd(t)
	s.want()
	for path := range 2 {
		s.recv(fmt.Sprintf("%d F. 1 ack 1 <dss ack8 2>", path))
		s.want(fmt.Sprintf("%d F. 1 ack 2 <dss ack%d 2>", path, 8-4*path))
		s.recv(fmt.Sprintf("%d . 2 ack 2 <dss ack8 2>", path))
		if n := len(s.b.flows); n != 1-path {
			t.Fatalf("%d subflows are remembered", n)
		}
	}
}

// A peer that sends none is not waited for long.
func TestPeerEndsFirstAndNoSubflow(t *testing.T) {
	s := secondEnd(t)
	s.advance(2*s.c.rto() - 1)
	s.want()
	s.advance(1)
	s.want("0 F. 1 ack 1 <dss ack8 2>", "1 F. 1 ack 1 <dss ack4 2>")
	s.recv("0 . 1 ack 2 <dss ack8 2>", "1 . 1 ack 2 <dss ack8 2>")
	s.advance(100 * second)
	if n := len(s.b.flows); n != 0 {
		t.Fatalf("%d subflows are remembered", n)
	}
}

// What came before is not waited for.
func TestPeerEndsSubflowBeforeItsEndIsAnswered(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv("0 F. 1 ack 1 <dss ack8 1 map8 1 ssn 0 len 1 fin>")
	s.c.CloseWrite(s.now)
	s.skip()
	s.recv("0 . 2 ack 1 <dss ack8 2>")
	s.want("0 F. 1 ack 2 <dss ack8 2>")
	s.over(nil)
}

// The FINs of subflows wait for what other subflows still carry.
func TestNoFinWhileDataIsOutstandingElsewhere(t *testing.T) {
	s := joined(t, Config{Scheduler: "backup"}, 2)
	s.recv("1 . 1 ack 1 <prio backup>", "0 . 1 ack 1 <dss ack8 1 map8 1 ssn 0 len 1 fin>")
	s.skip()
	s.write("hello")
	s.c.CloseWrite(s.now)
	for _, line := range s.left() {
		if strings.Contains(line, "F.") {
			t.Fatal(line)
		}
	}
	s.recv("0 . 1 ack 6 <dss ack8 7>", "0 F. 1 ack 6 <dss ack8 7>", "1 F. 1 ack 1 <dss ack8 7>")
	s.want("0 F. 6 ack 2 <dss ack8 2>", "1 F. 1 ack 2 <dss ack4 2>")
}

// A late octet or end after the connection is over is answered by TCP alone.
func TestPeersEndAgainAfterTheEnd(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.c.CloseWrite(s.now)
	s.skip()
	s.recv("0 . 1 ack 1 <dss ack8 2 map8 1 ssn 0 len 1 fin>")
	s.skip()
	s.recv("0 . 1 ack 1 <dss ack8 2 map8 1 ssn 0 len 1 fin>")
	s.want("0 . 2 ack 1 <dss ack8 2>")
}

// Close reads and forgets what still comes; a peer that never ends is given Linger.
func TestCloseDoesNotWaitForEver(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.c.Close(s.now)
	s.want("0 . 1 ack 1 <dss ack4 1 map4 1 ssn 0 len 1 fin>")
	s.recv(`0 P. 1 ack 1 "hello" <dss ack8 2 map8 1 ssn 1 len 5>`)
	s.want("0 . 1 ack 6 win 65535 <dss ack8 6>")
	s.advance(59 * second)
	s.want()
	s.advance(2 * second)
	s.over(ErrTimeout)
	s.expect("0 . 1 ack 6 <fastclose key-B>")
}

// A FIN of the only subflow is not the end of the connection, nor of the other direction (RFC 8684
// 3.3.3).
func TestFinOfOnlySubflow(t *testing.T) {
	s := answeredBy(t, Config{}, 1)
	s.recv("0 F. 1 ack 1 <dss ack8 1>")
	s.want("0 . 1 ack 2 <dss ack4 1>")
	s.readEnd(nil)
	s.write("hello")
	s.want(`0 P. 1 ack 2 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.recv("0 . 2 ack 6 <dss ack8 6>")
	s.advance(60 * second)
	s.living(1)
}

// A FIN of one of several is answered by one.
func TestFinOfOneSubflow(t *testing.T) {
	s := askedToJoin(t, Config{}, 2)
	s.recv("1 F. 1 ack 1 <dss ack8 1>")
	s.want("1 F. 1 ack 2 <dss ack4 1>")
	s.recv("1 . 2 ack 2 <dss ack8 1>")
	s.living(1)
	s.readEnd(nil)
}

// Break before make: the connection waits for a subflow, and goes on over it.
func TestBreakBeforeMake(t *testing.T) {
	s := answeredBy(t, Config{}, 2)
	s.write("hello")
	s.want(`0 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.recv("0 R. 1 ack 1 <reset 6 transient>")
	s.living(0)
	s.advance(30 * second)
	s.recv("1 S 0 <join id 1 token token-B nonce nonce-A>")
	s.want("1 S. 0 ack 1 <join id 3 mac mac-B nonce nonce-B>")
	s.recv("1 . 1 ack 1 <join mac mac-A>")
	s.want("1 . 1 ack 1 <dss ack4 1>", `1 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.recv("1 . 1 ack 6 <dss ack8 6>")
	s.advance(90 * second)
	s.living(1)
}

// A connection without subflows whose joins are refused at once asks again after 1 s, 2 s, 4 s: not as fast as it is answered.
func TestRefusedOrphanIsPatient(t *testing.T) {
	for _, refusal := range []string{"0 R. 0 ack 1", "0 R. 0 ack 1 <reset 3>", "0 R. 0 ack 1 <reset 2 transient>"} {
		t.Run(refusal, func(t *testing.T) {
			s := agreed(t, Config{}, 1)
			s.recv("0 R 1")
			s.want("0 S 0 <join id 0 token token-B nonce nonce-A>")
			for _, wait := range []time.Duration{second, 2 * second, 4 * second, 8 * second} {
				s.recv(refusal)
				s.advance(wait - ms)
				s.want()
				s.advance(ms)
				s.want("0 S 0 <join id 0 token token-B nonce nonce-A>")
			}
		})
	}
}

// Nobody comes: the connection ends after Linger.
func TestLinger(t *testing.T) {
	s := answeredBy(t, Config{Linger: 10 * second}, 1)
	s.recv("0 R. 1 ack 1 <reset 6 transient>")
	s.living(0)
	s.advance(9 * second)
	s.living(0)
	s.advance(2 * second)
	s.over(ErrTimeout)
	s.readEnd(ErrTimeout)
}

// RFC 8684 3.5, option A: MP_FASTCLOSE on one subflow, resets on the others, and again until the peer
// answers with a reset.
func TestAbort(t *testing.T) {
	s := joined(t, Config{Scheduler: "backup"}, 2)
	s.c.Abort(s.now)
	s.over(ErrAborted)
	s.want("1 R. 1 ack 1 <fastclose key-B>", "0 . 1 ack 1 <fastclose key-B>")
	s.recv("0 R. 1 ack 1")
	s.advance(10 * second)
	s.want()
	if len(s.b.flows) != 0 {
		t.Fatal("subflows left")
	}
}

// It is told at once also before the peer has shown that it knows of the connection, behind what tells it.
func TestAbortUnconfirmed(t *testing.T) {
	s := dialled(t, Config{}, 1)
	s.c.Abort(s.now)
	for range 2 {
		s.want("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>", "0 . 1 ack 1 <fastclose key-B>")
		s.advance(300 * ms)
	}
	s.recv("0 R. 1 ack 1")
	s.advance(10 * second)
	s.want()
}

func TestAbortRepeated(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.c.Abort(s.now)
	s.want("0 . 1 ack 1 <fastclose key-B>")
	s.advance(300 * ms)
	s.want("0 . 1 ack 1 <fastclose key-B>")
	s.advance(600 * ms)
	s.want("0 . 1 ack 1 <fastclose key-B>")
	s.advance(1200 * ms)
	s.want("0 R. 1 ack 1 <fastclose key-B>")
	s.advance(100 * second)
	s.want()
	if len(s.b.flows) != 0 {
		t.Fatal("subflows left")
	}
}

// Data that still comes does not revive an aborted connection.
func TestDataAfterAbort(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.c.Abort(s.now)
	s.skip()
	s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 5>`)
	s.skip()
	s.readEnd(ErrAborted)
	s.recv("0 R. 6 ack 1")
	s.want()
}

// Nor does an acknowledgement of what was sent before.
func TestDataACKAfterAbort(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.write("hello")
	s.skip()
	s.write("world")
	s.skip()
	s.c.Abort(s.now)
	s.skip()
	s.recv("0 . 1 ack 6 <dss ack8 6>")
	s.advance(100 * second)
	got := s.left()
	s.compare(got[len(got)-1], "0 R. 11 ack 1 <fastclose key-B>")
	if s.b.rooms.used != 0 {
		t.Fatalf("%d octets promised", s.b.rooms.used)
	}
}

func TestFastCloseOfThePeer(t *testing.T) {
	for _, option := range []string{"0 . 1 ack 1 <fastclose key-A>", "0 R. 1 ack 1 <fastclose key-A>"} {
		s := joined(t, Config{}, 2)
		s.recv(option)
		s.over(ErrReset)
		s.readEnd(ErrReset)
		s.expect("1 R. 1 ack 1 <reset unspecified>")
		if strings.HasPrefix(option, "0 .") {
			s.expect("0 R. 1 ack 1 <reset unspecified>")
		}
		s.want()
	}
}

// RFC 8684 3.5: the key is the proof.
func TestFastCloseWithWrongKey(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv("0 . 1 ack 1 <fastclose key-B>")
	s.want()
	s.living(1)
}

func TestFastCloseCrosses(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.c.Abort(s.now)
	s.want("0 . 1 ack 1 <fastclose key-B>")
	s.recv("0 . 1 ack 1 <fastclose key-A>")
	got := s.left()
	if len(got) != 1 || !strings.HasPrefix(got[0], "0 R. 1 ack 1") {
		t.Fatal(got)
	}
	s.over(ErrAborted)
	s.advance(10 * second)
	s.want()
}

// What was received before the end can still be read.
func TestReadAfterReset(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 5>`)
	s.recv("0 . 6 ack 1 <fastclose key-A>")
	got, err := s.take()
	if got != "hello" || err != ErrReset {
		t.Fatal(got, err)
	}
}

// When both ends have told that they are done, a peer that never closes its subflow is not waited for.
func TestSubflowThatNeverEnds(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.c.CloseWrite(s.now)
	s.skip()
	s.recv("0 . 1 ack 1 <dss ack8 2 map8 1 ssn 0 len 1 fin>")
	s.skip()
	s.recv("0 . 1 ack 2")
	for _, want := range []int{1, 0} { // after half a minute, after one
		s.advance(30 * second)
		if n := len(s.c.subflows); n != want {
			t.Fatalf("%d subflows, want %d\n%s", n, want, s.story())
		}
	}
}

// What is written behind the end goes nowhere.
func TestWriteBehindTheEnd(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.write("first")
	s.c.CloseWrite(s.now)
	s.write("second")
	s.want(`0 P. 1 ack 1 "first" <dss ack4 1 map4 1 ssn 1 len 6 fin>`)
}
