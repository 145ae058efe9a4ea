package mptcp

import (
	"strings"
	"testing"

	"tandem/engine/wire"
)

// Data is acknowledged with as many bits as its number had (RFC 8684 3.3.2).
func TestWidthOfDataACK(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv(`0 P. 1 ack 1 "ab" <dss ack4 1 map4 1 ssn 1 len 2>`)
	s.want("0 . 1 ack 3 <dss ack4 3>")
	s.recv(`0 P. 3 ack 1 "cd" <dss ack4 1 map8 3 ssn 3 len 2>`)
	s.want("0 . 1 ack 5 <dss ack8 5>")
	s.read("abcd")
}

func TestWideNumbers(t *testing.T) {
	s := agreed(t, Config{Wide: true}, 1)
	s.write("hello")
	s.want(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 5>`)
}

// A mapping may span many segments, which need not repeat it (RFC 8684 3.3.1).
func TestMappingOverSegments(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv(`0 . 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 15>`)
	s.read("hello")
	s.recv(`0 . 6 ack 1 "world"`)
	s.recv(`0 P. 11 ack 1 "again" <dss ack8 1 map8 1 ssn 1 len 15>`)
	s.read("worldagain")
}

// A segment in the middle of a mapping overtakes the one that declares it.
func TestDataBeforeItsMapping(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv(`0 P. 1 ack 1 "0" <dss ack8 1 map8 1 ssn 1 len 1>`)
	s.recv(`0 P. 7 ack 1 "world"`)
	s.read("0")
	s.recv(`0 . 2 ack 1 "hello" <dss ack8 1 map8 2 ssn 2 len 10>`)
	s.read("helloworld")
}

// So it may happen to the very first mapping of a connection, which is no reason to fall back.
func TestDataBeforeFirstMapping(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv(`0 P. 6 ack 1 "world"`)
	s.recv(`0 . 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 10>`)
	s.read("helloworld")
}

// One segment may carry octets of two mappings when something on the way joined two.
func TestSegmentsCoalesced(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv(`0 . 1 ack 1 "helloworld" <dss ack8 1 map8 1 ssn 1 len 5>`)
	s.read("hello")
	s.recv(`0 . 11 ack 1 "!" <dss ack8 1 map8 6 ssn 6 len 6>`)
	s.read("world!")
}

// A mapping is fixed once declared (RFC 8684 3.3.1): what contradicts it does not count.
func TestMappingContradicted(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv(`0 . 1 ack 1 "he" <dss ack8 1 map8 1 ssn 1 len 5>`)
	s.recv(`0 . 3 ack 1 "llo" <dss ack8 1 map8 101 ssn 3 len 3>`)
	s.read("hello")
	s.living(1)
}

// Numbers of 32 bits are those nearest to what is expected, on both sides of the wrap.
func TestNumbersWrap(t *testing.T) {
	s := newScript(t, true, Config{}, 1)
	s.peer = wrapIDSN
	s.dial(DialOptions{})
	s.skip()
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 " + wrapKey + ">")
	s.recv("0 . 1 ack 1 <dss ack8 1>")
	s.skip()
	s.recv("0 P. 41:61 ack 1 <dss ack4 1 map4 41 ssn 41 len 20>") // beyond the wrap, first
	s.recv("0 P. 1:21 ack 1 <dss ack4 1 map4 1 ssn 1 len 20>")
	s.recv("0 P. 21:41 ack 1 <dss ack8 1 map8 21 ssn 21 len 20>")
	s.read(string(octets(1, 61)))
	s.skip()
	s.recv("0 P. 1:21 ack 1 <dss ack4 1 map4 1 ssn 1 len 20>") // an old one
	s.want("0 . 1 ack 61 <dss ack8 61>")
	if got := s.last.Options.DSS.Ack; got != wrapIDSN+61 {
		t.Fatalf("DATA_ACK %x", got)
	}
}

// The own numbers wrap too, and so do their acknowledgements.
func TestOwnNumbersWrap(t *testing.T) {
	s := newScript(t, true, Config{}, 1)
	s.own = wrapIDSN
	s.b.cfg.Entropy.(*fixed).key = wrapKeyValue
	s.dial(DialOptions{})
	s.skip()
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>", "0 . 1 ack 1 <dss ack8 1>")
	s.skip()
	for i := 1; i < 60; i += 20 {
		s.write(string(octets(i, i+20)))
		s.collect()
	}
	s.skip()
	s.recv("0 . 1 ack 61 <dss ack4 41>")
	if i := s.c.Info(s.now); i.SendQueue != 20 {
		t.Fatalf("%d octets kept", i.SendQueue)
	}
	s.recv("0 . 1 ack 61 <dss ack4 61>")
	if i := s.c.Info(s.now); i.SendQueue != 0 {
		t.Fatalf("%d octets kept", i.SendQueue)
	}
}

// The same octets over two subflows: the first to come count, and DATA_ACK speaks of both.
func TestDataOverTwoSubflows(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.recv(`1 P. 1 ack 1 "world" <dss ack8 1 map8 6 ssn 1 len 5>`)
	s.want("1 . 1 ack 6 <dss ack8 1>")
	s.read("")
	s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 5>`)
	s.want("0 . 1 ack 6 <dss ack8 11>")
	s.recv(`0 P. 6 ack 1 "WORLD" <dss ack8 1 map8 6 ssn 6 len 5>`)
	s.want("0 . 1 ack 11 <dss ack8 11>")
	s.read("helloworld")
}

// Octets outside the window are dropped, and not acknowledged by DATA_ACK (RFC 8684 3.3.5).
func TestDataOutsideWindow(t *testing.T) {
	s := agreed(t, Config{Limits: Limits{RecvBuffer: 20000}}, 1)
	s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 20001 ssn 1 len 5>`)
	s.recv(`0 P. 6 ack 1 "hello" <dss ack8 1 map8 9000000001 ssn 6 len 5>`)
	s.left()
	s.recv(`0 P. 11 ack 1 "world" <dss ack8 1 map8 1 ssn 11 len 5>`)
	s.read("world")
	if s.b.Counters().OutOfWindow == 0 {
		t.Fatal("not counted")
	}
}

// Each segment repeats its mapping until the peer has acknowledged one with a DATA_ACK (RFC 8684 3.7);
// then one mapping announces several segments.
func TestMappingInEverySegmentAtFirst(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.write(string(octets(0, 3000)))
	first := s.left()
	for _, line := range first {
		if !strings.Contains(line, "map4") {
			t.Fatal(line)
		}
	}
	s.recv("0 . 1 ack 3001 <dss ack8 3001>", "0 . 1 ack 3001 <dss ack8 3001>")
	s.write(string(octets(0, 2800)))
	s.want(
		"0 . 3001:4441 ack 1 <dss ack4 1 map4 3001 ssn 3001 len 2800>",
		"0 . 4441:5801 ack 1",
	)
}

// What is sent again says again what it is.
func TestRetransmissionRepeatsMapping(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.write("0")
	s.skip()
	s.recv("0 . 1 ack 2 <dss ack8 2>", "0 . 1 ack 2 <dss ack8 2>")
	s.write(string(octets(0, 2800)))
	s.want("0 . 2:1442 ack 1 <dss ack4 1 map4 2 ssn 2 len 2800>", "0 . 1442:2802 ack 1")
	s.recv("0 . 1 ack 1442 <dss ack8 1442>")
	s.advance(500 * ms)
	s.expect("0 . 1442:2802 ack 1 <dss ack4 1 map4 2 ssn 2 len 2800>")
}

// The subflow's acknowledgement says nothing about the connection: octets are kept until DATA_ACK,
// and go again, elsewhere if possible, when it does not come (RFC 8684 3.3.2, 3.3.6).
func TestDataACKMissing(t *testing.T) {
	s := joined(t, Config{Scheduler: "backup"}, 2)
	s.write("hello")
	s.skip()
	s.recv("0 . 1 ack 6 <dss ack8 1>")
	s.skip()
	if i := s.c.Info(s.now); i.SendQueue != 5 {
		t.Fatalf("%d octets kept", i.SendQueue)
	}
	s.advance(5 * second)
	sent := strings.Join(s.left(), "\n")
	if !strings.Contains(sent, `"hello" <dss ack4 1 map4 1 `) {
		t.Fatalf("not sent again:\n%s", sent)
	}
	s.recv("0 . 1 ack 6 <dss ack8 6>")
	s.skip()
	if i := s.c.Info(s.now); i.SendQueue != 0 {
		t.Fatalf("%d octets kept", i.SendQueue)
	}
}

// Octets that DATA_ACK covered elsewhere are still retransmitted where they were lost (RFC 8684 3.3.6).
func TestRetransmittedThoughDataACKed(t *testing.T) {
	s := joined(t, Config{Scheduler: "redundant"}, 2)
	s.write("hello")
	s.want(
		`0 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`,
		`1 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`,
	)
	s.recv("1 . 1 ack 6 <dss ack8 6>")
	s.advance(400 * ms)
	for _, line := range s.left() {
		s.compare(line, `0 . 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	}
	s.recv("0 . 1 ack 6 <dss ack8 6>")
	s.advance(10 * second)
	s.want()
}

// DATA_ACKs that acknowledge what was acknowledged, or what was never sent, change nothing.
func TestOddDataACKs(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.write("hello")
	s.skip()
	s.recv("0 . 1 ack 6 <dss ack8 6>")
	s.write("world")
	s.skip()
	for _, ack := range []string{"1", "0", "12", "7000", "9000000000"} {
		s.recv("0 . 1 ack 6 <dss ack8 " + ack + ">")
	}
	if i := s.c.Info(s.now); i.Sent != 5 || i.SendQueue != 5 {
		t.Fatalf("%+v", i)
	}
	if got := s.b.Counters().OutOfWindow; got != 3 {
		t.Fatalf("%d counted", got)
	}
	s.recv("0 . 1 ack 11 <dss ack4 11>")
	if i := s.c.Info(s.now); i.Sent != 10 {
		t.Fatalf("%+v", i)
	}
}

// withWindow returns a dialling end with two subflows whose peer admits some octets.
func withWindow(t *testing.T, window string) *script {
	t.Helper()
	s := dialling(t, Config{Scheduler: "backup"}, 2)
	s.skip()
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 1 win "+window+" <capable v1 flags 01 key-B>", "0 . 1 ack 1 win "+window+" <dss ack8 1>")
	s.skip()
	s.advance(100 * ms)
	s.recv("1 S. 0 ack 1 win "+window+" <join id 0 mac mac-B nonce nonce-B>", "1 . 1 ack 1 win "+window+" <dss ack8 1, prio backup>")
	s.skip()
	return s
}

// The window counts from DATA_ACK, for the whole connection, and its edge never moves left (RFC 8684
// 3.3.1).
func TestWindowEdge(t *testing.T) {
	s := withWindow(t, "10")
	s.recv("1 . 1 ack 1 win 3 <dss ack8 1>")
	s.write("0123456789abcdef")
	s.want(`0 . 1 ack 1 "0123456789" <dss ack4 1 map4 1 ssn 1 len 10>`)
	s.recv("0 . 1 ack 11 win 6 <dss ack8 11>")
	s.want(`0 . 11 ack 1 "abcdef" <dss ack4 1 map4 11 ssn 11 len 6>`)
}

// A window without DATA_ACK says nothing about the connection.
func TestWindowWithoutDataACK(t *testing.T) {
	s := withWindow(t, "5")
	s.recv("0 . 1 ack 1 win 100")
	s.write("0123456789")
	s.want(`0 . 1 ack 1 "01234" <dss ack4 1 map4 1 ssn 1 len 5>`)
}

// The application's reading opens the window, counted from DATA_ACK.
func TestOwnWindow(t *testing.T) {
	s := agreed(t, Config{Limits: Limits{RecvBuffer: 4000}}, 1)
	s.recv("0 . 1:1401 ack 1 <dss ack8 1 map8 1 ssn 1 len 4000>", "0 . 1401:2801 ack 1")
	s.want("0 . 1 ack 2801 win 1200 <dss ack8 2801>")
	s.recv("0 . 2801:4001 ack 1")
	s.want("0 . 1 ack 4001 win 0 <dss ack8 4001>")
	s.read(string(octets(1, 4001)))
	s.want("0 . 1 ack 4001 win 4000 <dss ack8 4001>")
}

// A checksum covers the whole mapping, so nothing of it counts before it is complete (RFC 8684 3.3.1).
func TestChecksumOfWholeMapping(t *testing.T) {
	s := agreed(t, Config{Checksum: true}, 1)
	sum := sumOf(s.peer+1, 1, "helloworld!")
	s.recv(`0 . 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 11 csum ` + sum + ">")
	s.want("0 . 1 ack 6 <dss ack8 1>")
	s.read("")
	s.recv(`0 P. 6 ack 1 "world!"`)
	s.want("0 . 1 ack 12 <dss ack8 12>")
	s.read("helloworld!")
}

// Own mappings carry checksums of their own octets; an odd one is padded.
func TestChecksumSent(t *testing.T) {
	s := agreed(t, Config{Checksum: true}, 1)
	s.write("hello")
	s.want(`0 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5 csum ` + sumOf(idsnA+1, 1, "hello") + ">")
}

// Whether there is a checksum was agreed on: another form is an error (RFC 8684 3.3.1).
func TestChecksumAgainstAgreement(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 5 csum 1234>`)
	s.want("0 R. 1 ack 1 <reset MPTCP error>")

	s = agreed(t, Config{Checksum: true}, 1)
	s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 5>`)
	s.want("0 R. 1 ack 1 <reset MPTCP error>")
}

// sumOf is the checksum of a mapping, as a line writes it.
func sumOf(dsn wire.DSN, ssn uint32, text string) string {
	var sum wire.Sum
	sum.Add([]byte(text))
	d := wire.DSS{HasMap: true, HasChecksum: true, Checksum: wire.ChecksumDSS(dsn, ssn, uint16(len(text)), sum)}
	_, hex, _ := strings.Cut(d.String(), "csum ")
	return hex
}

// A key whose IDSN is 9 before its low half wraps.
const (
	wrapKey               = "000000001202232d"
	wrapKeyValue          = 0x1202232d
	wrapIDSN     wire.DSN = 0x8857344cfffffff7
)

// Subflow numbers that lead before the start of the subflow mean nothing.
func TestMappingBeforeTheStart(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 4294967000 len 5>`)
	s.recv(`0 P. 6 ack 1 "hello" <dss ack8 1 map8 1 ssn 6 len 5>`)
	s.read("hello")
	s.living(1)
}
