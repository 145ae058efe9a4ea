package mptcp

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestDialAnswersWithBothKeys(t *testing.T) {
	s := dialling(t, Config{}, 1)
	s.want("0 S 0 <capable v1 flags 01>")
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>")
	s.want("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
	s.changed(Established)
	if got := fmt.Sprintf("%08x", s.c.Info(s.now).Token); got != tokenA {
		t.Fatalf("token %s", got)
	}
}

// RFC 8684 3.1: the first data repeats MP_CAPABLE, whose data sequence number is implicit; the next
// has a DSS.
func TestFirstDataRepeatsCapable(t *testing.T) {
	s := dialled(t, Config{}, 1)
	s.write("GET /")
	s.want(`0 P. 1 ack 1 "GET /" <capable v1 flags 01 key-A key-B len 5>`)
	s.write("index")
	s.want(`0 P. 6 ack 1 "index" <dss ack4 1 map4 6 ssn 6 len 5>`)
	s.recv("0 . 1 ack 11 <dss ack8 11>")
	s.write("!")
	s.want(`0 P. 11 ack 1 "!" <dss ack4 1 map4 11 ssn 11 len 1>`)
}

func TestFirstDataWithChecksum(t *testing.T) {
	s := dialled(t, Config{Checksum: true}, 1)
	s.write("GET /")
	s.want(`0 P. 1 ack 1 "GET /" <capable v1 flags 81 key-A key-B len 5 csum fc0d>`)
}

func TestFirstDataLost(t *testing.T) {
	s := dialled(t, Config{}, 1)
	s.write("GET /")
	s.skip()
	s.advance(400 * ms)
	for _, line := range s.left() {
		s.compare(line, `0 . 1 ack 1 "GET /" <capable v1 flags 01 key-A key-B len 5>`)
	}
	s.recv("0 . 1 ack 6 <dss ack8 6>")
	s.advance(second)
	s.want()
	if s.c.Info(s.now).Fallback {
		t.Fatal("fell back")
	}
}

// The peer repeats its SYN/ACK when the third ACK was lost.
func TestThirdACKIsRepeated(t *testing.T) {
	s := dialled(t, Config{}, 1)
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>")
	s.want("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
}

// What the SYN/ACK may say, and what it makes of the connection.
func TestAnswersToDial(t *testing.T) {
	for _, x := range []struct {
		name, option, third string
		cfg                 Config
	}{
		{"v1", "<capable v1 flags 01 key-B>", " <capable v1 flags 01 key-A key-B>", Config{}},
		{"checksum wanted there", "<capable v1 flags 81 key-B>", " <capable v1 flags 81 key-A key-B>", Config{}},
		{"checksum wanted here", "<capable v1 flags 01 key-B>", " <capable v1 flags 81 key-A key-B>", Config{Checksum: true}},
		{"no joins", "<capable v1 flags 21 key-B>", " <capable v1 flags 01 key-A key-B>", Config{}},
		{"unassigned flags", "<capable v1 flags 1f key-B>", " <capable v1 flags 01 key-A key-B>", Config{}},
		{"no option", "", "", Config{}},
		{"version 0", "<capable v0 flags 01 key-B>", "", Config{}},
		{"version 2", "<capable v2 flags 01 key-B>", "", Config{}},
		{"B set", "<capable v1 flags 41 key-B>", "", Config{}},
		{"no algorithm", "<capable v1 flags 00 key-B>", "", Config{}},
		{"no key", "<capable v1 flags 01>", "", Config{}},
		{"two keys", "<capable v1 flags 01 key-B key-A>", "", Config{}},
		{"MPTCP not asked for", "<capable v1 flags 01 key-B>", "", Config{Plain: true}},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := dialling(t, x.cfg, 2)
			s.skip()
			s.recv("0 S. 0 ack 1 " + x.option)
			s.want("0 . 1 ack 1" + x.third)
			if plain := s.c.Info(s.now).Fallback; plain != (x.third == "") {
				t.Fatalf("fallback %v", plain)
			}
			if x.third != "" {
				return
			}
			s.write("hello")
			s.want(`0 P. 1 ack 1 "hello"`)
			s.recv(`0 P. 1 ack 6 "world"`)
			s.read("world")
			s.want("0 . 6 ack 6")
		})
	}
}

// RFC 8684 3.1: a host that gets no answer asks for plain TCP in the end.
func TestSYNWithoutOptionInTheEnd(t *testing.T) {
	s := dialling(t, Config{}, 1)
	s.advance(20 * second)
	s.want(
		"0 S 0 <capable v1 flags 01>",
		"0 S 0 <capable v1 flags 01>",
		"0 S 0 <capable v1 flags 01>",
		"0 S 0",
		"0 S 0",
	)
	s.recv("0 S. 0 ack 1")
	s.want("0 . 1 ack 1")
	s.changed(Established)
}

// SYNs with and without the option may be answered in any order: the answer decides.
func TestLateAnswerToFirstSYN(t *testing.T) {
	s := dialling(t, Config{}, 1)
	s.advance(10 * second)
	s.skip()
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>")
	s.want("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
}

func TestDialRefused(t *testing.T) {
	s := dialling(t, Config{}, 1)
	s.skip()
	s.recv("0 R. 0 ack 1")
	s.over(ErrRefused)
	s.changed(Ended | Readable | Writable)
	s.readEnd(ErrRefused)
}

func TestDialTimesOut(t *testing.T) {
	s := dialling(t, Config{}, 1)
	s.advance(300 * second)
	s.over(ErrTimeout)
}

// What the SYN may say, and what the SYN/ACK says then.
func TestAnswersToSYN(t *testing.T) {
	for _, x := range []struct {
		name, option, answer string
		cfg                  Config
	}{
		{"v1", "<capable v1 flags 01>", " <capable v1 flags 01 key-B>", Config{}},
		{"checksum wanted there", "<capable v1 flags 81>", " <capable v1 flags 81 key-B>", Config{}},
		{"checksum wanted here", "<capable v1 flags 01>", " <capable v1 flags 81 key-B>", Config{Checksum: true}},
		{"no joins here", "<capable v1 flags 01>", " <capable v1 flags 21 key-B>", Config{NoJoinsHere: true}},
		{"several algorithms", "<capable v1 flags 1f>", " <capable v1 flags 01 key-B>", Config{}},
		{"a later version", "<capable v2 flags 01>", " <capable v1 flags 01 key-B>", Config{}},
		{"version 0", "<capable v0 flags 01>", "", Config{}},
		{"B set", "<capable v1 flags 41>", "", Config{}},
		{"no algorithm", "<capable v1 flags 00>", "", Config{}},
		{"another algorithm", "<capable v1 flags 02>", "", Config{}},
		{"with a key, as in version 0", "<capable v1 flags 01 key-A>", "", Config{}},
		{"no option", "", "", Config{}},
		{"not wanted", "<capable v1 flags 01>", "", Config{Plain: true}},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := offeredTo(t, x.cfg, 1, "0 S 0 "+x.option)
			s.want()
			s.accept()
			s.want("0 S. 0 ack 1" + x.answer)
		})
	}
}

// RFC 8684 3.1: without a good MP_CAPABLE in the third ACK the connection is plain TCP.
func TestThirdACKs(t *testing.T) {
	for _, x := range []struct {
		name, third string
		checksum    bool
		plain       bool
	}{
		{"good", "<capable v1 flags 01 key-A key-B>", false, false},
		{"none", "", false, true},
		{"version 0", "<capable v0 flags 01 key-A key-B>", false, true},
		{"wrong key", "<capable v1 flags 01 key-A key-A>", false, true},
		{"one key", "<capable v1 flags 01 key-A>", false, true},
		{"no algorithm", "<capable v1 flags 00 key-A key-B>", false, true},
		{"data, no checksum", `"GET /" <capable v1 flags 01 key-A key-B len 5>`, false, false},
		{"data, a checksum that was not agreed on", `"GET /" <capable v1 flags 01 key-A key-B len 5 csum fc0d>`, false, true},
		{"data, the checksum", `"GET /" <capable v1 flags 81 key-A key-B len 5 csum fc0d>`, true, false},
		{"data, not the checksum that was agreed on", `"GET /" <capable v1 flags 81 key-A key-B len 5>`, true, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := answering(t, Config{Checksum: x.checksum}, 1)
			s.recv("0 . 1 ack 1 " + x.third)
			if _, what, _ := s.b.Next(); what&Established == 0 {
				t.Fatal("not established")
			}
			if strings.HasPrefix(x.third, `"`) {
				s.read("GET /")
			}
			s.skip()
			s.write("hello")
			left := s.left()
			if s.c.plain() != x.plain || len(left) != 1 || strings.Contains(left[0], "<dss") == x.plain {
				t.Fatal(left)
			}
		})
	}
}

// RFC 8684 3.3.1: a checksum where none was agreed on, or none where one was, ends the subflow.
func TestFirstDataAgainstTheAgreement(t *testing.T) {
	for checksum, first := range map[bool]string{true: "flags 81 key-A key-B len 5", false: "flags 01 key-A key-B len 5 csum fc0d"} {
		s := answeredBy(t, Config{Checksum: checksum}, 1)
		s.recv(`0 P. 1 ack 1 "GET /" <capable v1 ` + first + ">")
		s.want("0 R. 1 ack 1 <reset MPTCP error>")
		s.readEnd(nil)
	}
}

// Where they have no business options of MPTCP say nothing: signals and mappings in the SYN or in its answer, signals in
// a reset.
func TestOptionsOutOfPlace(t *testing.T) {
	address := addAddr(7, "10.0.0.7", 0)
	for _, option := range []string{address, "prio backup", "dss ack8 100 map8 50 ssn 9 len 3", "fastclose key-A", "fastclose key-B", "fail 1"} {
		dials := dialling(t, Config{}, 1)
		dials.skip()
		dials.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B, " + option + ">")
		dials.want("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
		dials.recv("0 . 1 ack 1 <dss ack8 1>")
		dials.want()
		answers := offeredTo(t, Config{}, 1, "0 S 0 <capable v1 flags 01, "+option+">")
		answers.accept()
		answers.want("0 S. 0 ack 1 <capable v1 flags 01 key-B>")
		answers.recv("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
		answers.want()
		for _, s := range []*script{dials, answers} {
			s.living(1)
			if f := s.c.subflows[0]; !s.c.Multipath() || len(s.c.signal.theirs) > 0 || f.peerBackup || len(f.maps) > 0 {
				t.Errorf("%s in a SYN was heard:\n%s", option, s.story())
			}
		}
	}
	for _, option := range []string{address, "prio backup"} {
		s := joined(t, Config{}, 2)
		f := s.c.subflows[1]
		s.recv("1 R. 1 ack 1 <reset 2 transient, " + option + ">")
		s.want()
		if s.living(1); len(s.c.signal.theirs) > 0 || f.peerBackup {
			t.Errorf("%s in a reset was heard", option)
		}
	}
}

// RFC 8684 3.1: the first data takes the place of a third ACK that was lost, and is acknowledged
// with 64 bits like its number.
func TestFirstDataInPlaceOfThirdACK(t *testing.T) {
	s := answering(t, Config{}, 1)
	s.recv(`0 P. 1 ack 1 "GET /" <capable v1 flags 01 key-A key-B len 5>`)
	s.changed(Established | Readable)
	s.want("0 . 1 ack 6 <dss ack8 6>")
	s.read("GET /")
}

func TestFirstDataWithChecksumArrives(t *testing.T) {
	s := answering(t, Config{Checksum: true}, 1)
	s.recv(`0 P. 1 ack 1 "GET /" <capable v1 flags 81 key-A key-B len 5 csum fc0d>`)
	s.want("0 . 1 ack 6 <dss ack8 6>")
	s.read("GET /")
}

// RFC 8684 3.1: copies of MP_CAPABLE with data are a mapping like any other.
func TestFirstDataTwice(t *testing.T) {
	s := answeredBy(t, Config{}, 1)
	first := `0 P. 1 ack 1 "GET /" <capable v1 flags 01 key-A key-B len 5>`
	s.recv(first)
	s.want("0 . 1 ack 6 <dss ack8 6>")
	s.recv(first)
	s.want("0 . 1 ack 6 <dss ack8 6>")
	s.recv(`0 P. 1 ack 1 "GET /" <dss ack8 1 map8 1 ssn 1 len 5>`)
	s.want("0 . 1 ack 6 <dss ack8 6>")
	s.read("GET /")
	s.living(1)
}

// Segmentation on the way copies the option to each piece.
func TestFirstDataCutInPieces(t *testing.T) {
	s := answering(t, Config{}, 1)
	s.recv(`0 . 1 ack 1 "GE" <capable v1 flags 01 key-A key-B len 5>`)
	s.recv(`0 P. 3 ack 1 "T /" <capable v1 flags 01 key-A key-B len 5>`)
	s.read("GET /")
}

// Data behind the first may overtake it: without the peer's key it means nothing.
func TestSecondDataOvertakesTheFirst(t *testing.T) {
	s := answering(t, Config{}, 1)
	s.recv(`0 P. 6 ack 1 "index" <dss ack8 1 map4 6 ssn 6 len 5>`)
	s.recv(`0 P. 1 ack 1 "GET /" <capable v1 flags 01 key-A key-B len 5>`)
	s.recv(`0 P. 6 ack 1 "index" <dss ack8 1 map4 6 ssn 6 len 5>`)
	s.read("GET /index")
	if s.c.Info(s.now).Fallback {
		t.Fatal("fell back")
	}
}

// RFC 8684 3.1: both may send first data at once.
func TestBothSendFirstDataAtOnce(t *testing.T) {
	a := dialled(t, Config{}, 1)
	a.write("ping")
	a.want(`0 P. 1 ack 1 "ping" <capable v1 flags 01 key-A key-B len 4>`)
	a.recv(`0 P. 1 ack 1 "pong" <dss ack4 1 map4 1 ssn 1 len 4>`)
	a.read("pong")
	a.want("0 . 5 ack 5 <dss ack4 5>")

	b := answeredBy(t, Config{}, 1)
	b.write("pong")
	b.want(`0 P. 1 ack 1 "pong" <dss ack4 1 map4 1 ssn 1 len 4>`)
	b.recv(`0 P. 1 ack 1 "ping" <capable v1 flags 01 key-A key-B len 4>`)
	b.read("ping")
	b.want("0 . 5 ack 5 <dss ack8 5>")
}

// A server that speaks first confirms the third ACK with its DSS.
func TestServerSpeaksFirst(t *testing.T) {
	s := dialled(t, Config{}, 1)
	s.recv(`0 P. 1 ack 1 "220" <dss ack4 1 map4 1 ssn 1 len 3>`)
	s.read("220")
	s.want("0 . 1 ack 4 <dss ack4 4>")
	s.write("HELO")
	s.want(`0 P. 1 ack 4 "HELO" <dss ack4 4 map4 1 ssn 1 len 4>`)
}

// A key whose token is taken is not used (RFC 8684 3.1).
func TestTokensAreUnique(t *testing.T) {
	s := newScript(t, true, Config{}, 1)
	s.dial(DialOptions{})
	first := s.c
	s.b.cfg.Entropy.(*fixed).key = keyA
	s.dial(DialOptions{})
	if first.id.localToken == s.c.id.localToken {
		t.Fatal("one token for two connections")
	}
}

func TestWindowOfTheAnswerCounts(t *testing.T) {
	s := dialling(t, Config{}, 1)
	s.skip()
	s.recv("0 S. 0 ack 1 win 3 <capable v1 flags 01 key-B>")
	s.want("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
	s.write("hello")
	s.want(`0 P. 1 ack 1 "hel" <capable v1 flags 01 key-A key-B len 3>`)
	s.recv("0 . 1 ack 4 <dss ack8 4>")
	s.want(`0 P. 4 ack 1 "lo" <dss ack4 1 map4 4 ssn 4 len 2>`)
}

// RFC 8684 B: octets of the SYN are before the data sequence space, so the first after them has data
// and subflow sequence number 1 although the segment's own is further.
func TestDataInSYN(t *testing.T) {
	a := newScript(t, true, Config{Paired: true}, 1)
	a.dial(DialOptions{})
	a.write("01234567890123456789")
	a.want(`0 S 0 "01234567890123456789" <capable v1 flags 01>`)
	a.recv("0 S. 0 ack 21 <capable v1 flags 01 key-B>")
	a.want("0 . 21 ack 1 <capable v1 flags 01 key-A key-B>")
	a.recv("0 P. 1:101 ack 21 <dss ack8 1 map4 1 ssn 1 len 100>")
	a.want("0 . 21 ack 101 <dss ack4 101>")
	a.write("abcdefghijabcdefghij")
	a.want(`0 P. 21 ack 101 "abcdefghijabcdefghij" <dss ack4 101 map4 1 ssn 1 len 20>`)
	a.recv("0 . 101 ack 41 <dss ack8 21>")
	if i := a.c.Info(a.now); i.SendQueue != 0 {
		t.Fatalf("%d octets kept", i.SendQueue)
	}

	b := offeredTo(t, Config{Paired: true}, 1, `0 S 0 "01234567890123456789" <capable v1 flags 01>`)
	b.read("01234567890123456789")
	b.accept()
	b.want("0 S. 0 ack 21 <capable v1 flags 01 key-B>")
	b.recv("0 . 21 ack 1 <capable v1 flags 01 key-A key-B>")
	b.want("0 . 1 ack 21 <dss ack4 1>")
	b.write("hello")
	b.want(`0 P. 1 ack 21 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	b.recv(`0 P. 21 ack 6 "abcdefghij" <dss ack4 6 map4 1 ssn 1 len 10>`)
	b.read("abcdefghij")
	b.want("0 . 6 ack 31 <dss ack4 11>")
}

// What rides in SYNs that nobody has answered does not exceed the path's window, however many there are.
// One more takes part when one of them is known to have arrived, or is given up.
func TestDataInManySYNs(t *testing.T) {
	for name, settle := range map[string]func(s *laneScript){
		"answered": func(s *laneScript) { s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>") },
		"held":     func(s *laneScript) { s.peer.Held(s.now, s.offer()); s.talk() },
		"given up": func(s *laneScript) { s.c.Abort(s.now) },
	} {
		s := newLane(t, true, Config{}, 1)
		rides := func(source uint16) bool {
			s.dial(DialOptions{Source: source})
			s.write(strings.Repeat("x", 3000))
			s.skip()
			return len(s.last.Payload) > 0
		}
		for i := range uint16(10) {
			if !rides(1000 + i) {
				t.Fatalf("SYN %d: nothing rides", i)
			}
		}
		tenth, end := s.c, *s.ends[0]
		if rides(1010) {
			t.Error("the window is exceeded")
		}
		s.c, *s.ends[0] = tenth, end
		settle(s)
		s.skip()
		if !rides(2000) || rides(2001) {
			t.Errorf("%s: want octets in one more SYN", name)
		}
	}
}

// The peer took nothing, or part, of what rode in the SYN: the rest goes again, inside the data
// sequence space (RFC 8684 B, figures 20 and 21).
func TestDataInSYNNotTaken(t *testing.T) {
	for _, x := range []struct{ ack, again string }{
		{"1", `0 . 1 ack 1 "0123456789" <capable v1 flags 01 key-A key-B len 10>`},
		{"6", `0 . 6 ack 1 "56789" <capable v1 flags 01 key-A key-B len 5>`},
	} {
		s := newScript(t, true, Config{Paired: true}, 1)
		s.dial(DialOptions{})
		s.write("0123456789")
		s.skip()
		s.recv("0 S. 0 ack " + x.ack + " <capable v1 flags 01 key-B>")
		s.want(x.again)
	}
}

// Octets of the SYN had no mapping: that they are acknowledged shows nothing, and every segment after
// them carries its mapping until one of those is.
func TestMappingsAfterDataInSYN(t *testing.T) {
	s := newScript(t, true, Config{Paired: true}, 1)
	s.dial(DialOptions{})
	s.write("0123456789")
	s.skip()
	s.recv("0 S. 0 ack 11 <capable v1 flags 01 key-B>")
	s.skip()
	s.recv("0 . 1 ack 11 <dss ack8 1>")
	s.write(string(octets(0, 2000)))
	s.want(
		"0 . 11:1451 ack 1 <dss ack4 1 map4 1 ssn 1 len 1440>",
		"0 P. 1451:2011 ack 1 <dss ack4 1 map4 1441 ssn 1441 len 560>",
	)
}

// First data may be the last: MP_CAPABLE has no room for DATA_FIN, which goes behind it.
func TestFirstDataAndEnd(t *testing.T) {
	s := dialled(t, Config{}, 1)
	s.write("GET /")
	s.c.CloseWrite(s.now)
	s.want(
		`0 P. 1 ack 1 "GET /" <capable v1 flags 01 key-A key-B len 5>`,
		"0 . 6 ack 1 <capable v1 flags 01 key-A key-B>",
		"0 . 6 ack 1 <dss ack4 1 map4 6 ssn 0 len 1 fin>",
	)
}

// A connection with an end and no data: MP_CAPABLE is repeated before DATA_FIN.
func TestEndWithoutData(t *testing.T) {
	s := dialled(t, Config{}, 1)
	s.c.CloseWrite(s.now)
	s.want(
		"0 . 1 ack 1 <capable v1 flags 01 key-A key-B>",
		"0 . 1 ack 1 <dss ack4 1 map4 1 ssn 0 len 1 fin>",
	)
}

// A peer that never said anything of the data sequence and leaves DATA_FIN unanswered knows only TCP's
// own end: whatever took the options away from the first segments on, the stream still ends.
func TestEndThatNobodyAnswers(t *testing.T) {
	s := dialled(t, Config{}, 1)
	s.c.CloseWrite(s.now)
	s.skip()
	s.advance(time.Second)
	if s.c.Info(s.now).Fallback {
		t.Fatal("given up too early")
	}
	s.skip()
	s.advance(60 * time.Second)
	out := s.left()
	if n := len(out); n == 0 || !strings.HasPrefix(out[n-1], "0 F. 1 ack 1") {
		t.Fatalf("no end of TCP's own: %q\n%s", out, s.story())
	}
	s.recv("0 F. 1 ack 2")
	s.want("0 . 2 ack 2")
	if err := s.c.Err(); err != nil {
		t.Fatal(err)
	}
}
