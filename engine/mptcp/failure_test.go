package mptcp

import "testing"

// hurt is octets whose checksum is that of others.
func hurt(s *script, path, at, text, was string, dsn int) string {
	return path + " P. " + at + ` ack 1 "` + text + `" <dss ack8 1 map8 ` + at + " ssn " + at + " len 5 csum " +
		sumOf(s.peer.Add(dsn), uint32(dsn), was) + ">"
}

// Octets that come after altered ones, altered or not, wait with them for the infinite mapping.
func TestChecksumWrongTwice(t *testing.T) {
	s := agreed(t, Config{Checksum: true}, 1)
	s.recv(hurt(s, "0", "1", "hellO", "hello", 1))
	s.want("0 . 1 ack 6 <dss ack8 1, fail 1>")
	s.recv(hurt(s, "0", "6", "world", "world", 6))
	s.skip()
	s.recv(hurt(s, "0", "11", "agaiN", "again", 11))
	s.want("0 . 1 ack 16 <dss ack8 1, fail 11>")
	s.recv("0 . 16 ack 1 <dss map8 1 ssn 1 len 0 csum 0000>")
	s.read("hellOworldagaiN")
	if i := s.c.Info(s.now); !i.Fallback || len(i.Subflows) != 1 {
		t.Fatalf("%+v", i)
	}
}

// Octets that were sent again in the stream are elsewhere in the subflow: what they are after a fallback nobody knows.
func TestChecksumWrongAfterOctetsWentAgain(t *testing.T) {
	s := agreed(t, Config{Checksum: true}, 1)
	s.recv(hurt(s, "0", "1", "hellO", "hello", 1))
	s.want("0 . 1 ack 6 <dss ack8 1, fail 1>")
	s.recv(`0 P. 6 ack 1 "hello" <dss ack8 1 map8 1 ssn 6 len 5 csum ` + sumOf(s.peer+1, 6, "hello") + ">")
	s.read("hello")
	s.skip()
	s.recv(`0 P. 11 ack 1 "worlD" <dss ack8 1 map8 6 ssn 11 len 5 csum ` + sumOf(s.peer+6, 11, "world") + ">")
	s.expect("0 R. 1 ack 11 <fail 6, reset middlebox>")
}

// A join that is not answered is nothing that a fallback would lose: neither for who finds octets altered ...
func TestChecksumWrongWhileJoining(t *testing.T) {
	s := agreed(t, Config{Checksum: true}, 2)
	s.recv(hurt(s, "0", "1", "hellO", "hello", 1))
	s.want("0 . 1 ack 6 <dss ack8 1, fail 1>")
	s.recv("0 . 6 ack 1 <dss map8 1 ssn 1 len 0 csum 0000>")
	s.read("hellO")
	s.skip()
	s.living(1)
}

// ... nor for whose octets were.
func TestFailOfThePeerWhileJoining(t *testing.T) {
	s := agreed(t, Config{Checksum: true}, 2)
	s.write("hello")
	s.skip()
	s.recv("0 . 1 ack 6 <dss ack8 1, fail 1>")
	s.expect("0 . 6 ack 1 <dss map8 1 ssn 1 len 0 csum 0000, fail 1>")
	s.skip()
	s.living(1)
	if i := s.c.Info(s.now); !i.Fallback {
		t.Fatalf("%+v", i)
	}
}

// Who has said MP_FAIL takes no joins: the other end is about to fall back.
func TestJoinAfterFail(t *testing.T) {
	s := answeredBy(t, Config{Checksum: true}, 2)
	s.recv(hurt(s, "0", "1", "hellO", "hello", 1))
	s.want("0 . 1 ack 6 <dss ack8 1, fail 1>")
	s.recv("1 S 0 <join id 1 token token-B nonce nonce-A>")
	s.want("1 R. zero ack 1 <reset unspecified transient>")
}

// The infinite mapping rides on the FIN too, which may be all that is left to be sent, and on its repeats.
func TestFailBehindTheEnd(t *testing.T) {
	s := agreed(t, Config{Checksum: true}, 1)
	s.write("hello")
	s.c.CloseWrite(s.now)
	s.skip()
	s.recv("0 . 1 ack 6 <dss ack8 1 map8 1 ssn 0 len 1 fin csum " + sumOfFin(idsnB+1) + ">")
	s.skip()
	s.recv("0 . 1 ack 6 <dss ack8 1, fail 1>")
	s.want(
		"0 . 6 ack 1 <dss map8 1 ssn 1 len 0 csum 0000, fail 2>",
		"0 F. 6 ack 1 <dss map8 1 ssn 1 len 0 csum 0000>",
	)
	s.advance(second)
	s.expect("0 F. 6 ack 1 <dss map8 1 ssn 1 len 0 csum 0000>")
}

// Without a FIN and without octets the infinite mapping is repeated some times: the peer may wait for it.
func TestInfiniteMappingLost(t *testing.T) {
	s := agreed(t, Config{Checksum: true}, 1)
	s.write("hello")
	s.skip()
	s.recv("0 . 1 ack 6 <dss ack8 1, fail 1>")
	s.want("0 . 6 ack 1 <dss map8 1 ssn 1 len 0 csum 0000, fail 1>")
	s.advance(60 * second)
	for range announcements {
		s.expect("0 . 6 ack 1 <dss map8 1 ssn 1 len 0 csum 0000>")
	}
	s.want()
}

// Beside timestamps the infinite mapping leaves no room for MP_FAIL, which comes after it.
func TestFailBesideTimestamps(t *testing.T) {
	s := newScript(t, true, Config{Checksum: true, Timestamps: true}, 1)
	s.dial(DialOptions{})
	s.skip()
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 1 <timestamps, capable v1 flags 81 key-B>", "0 . 1 ack 1 <timestamps, dss ack8 1>")
	s.write("hello")
	s.skip()
	s.recv("0 . 1 ack 6 <timestamps, dss ack8 1, fail 1>")
	s.want("0 . 6 ack 1 <dss map8 1 ssn 1 len 0 csum 0000>", "0 . 6 ack 1 <fail 1>")
}

// What the peer may send by the subflow's window is more than there is room for, by what was held until the fallback:
// it is not taken, and comes again.
func TestWindowAfterFallback(t *testing.T) {
	s := agreed(t, Config{Checksum: true, Limits: Limits{RecvBuffer: 4000}}, 1)
	s.recv("0 . 1:1401 ack 1 <dss ack8 1 map8 1 ssn 1 len 1400 csum 1234>")
	s.want("0 . 1 ack 1401 win 4000 <dss ack8 1, fail 1>")
	s.recv("0 . 1401:2801 ack 1 <dss map8 1 ssn 1 len 0 csum 0000>")
	s.want("0 . 1 ack 2801 win 1200")
	s.recv("0 . 2801:4001 ack 1", "0 . 4001:5401 ack 1")
	s.want("0 . 1 ack 4001 win 0")
	s.read(string(octets(1, 4001)))
	s.want("0 . 1 ack 4001 win 4000")
	s.recv("0 F. 4001:5401 ack 1")
	s.read(string(octets(4001, 5401)))
}
