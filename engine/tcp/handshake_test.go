package tcp

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tandem/engine/wire"
)

const usualSyn = "S 0 win 65535 <mss 1400,sackOK,ws 8>"

// RFC 9293 3.5, figure 6.
func TestActiveOpen(t *testing.T) {
	s := newScript(t, nil)
	s.want(usualSyn)
	s.want()
	s.advance(80 * ms)
	s.recv("S. 0 ack 1 win 1000 <mss 1000,sackOK,ws 7>")
	s.wantState(Established, nil)
	s.want(". 1 ack 1 win 4096")
	if smooth, _, _ := s.path.RTT(); smooth != 80*ms {
		t.Errorf("round trip %v, want 80ms", smooth)
	}
	if s.sub.MSS() != 1000 {
		t.Errorf("MSS %d, want 1000", s.sub.MSS())
	}
	if n := s.sub.Room(s.now); n != 1000 {
		t.Errorf("room %d, want 1000: the window of a SYN is not scaled (RFC 7323 2.2)", n)
	}
}

// A listener says nothing before it is answered for, and repeats its SYN/ACK for a repeated SYN.
func TestPassiveOpen(t *testing.T) {
	s := listening(t, "S 0 win 1000 <mss 1200,sackOK,ws 2>", nil)
	s.want()
	s.recv("S 0 win 1000 <mss 1200,sackOK,ws 2>")
	s.recv(". 1:101 ack 1 win 1000")
	s.advance(10 * second)
	s.want()
	s.sub.Answer(s.now)
	s.want("S. 0 ack 1 win 65535 <mss 1400,sackOK,ws 8>")
	s.recv("S 0 win 1000 <mss 1200,sackOK,ws 2>")
	s.want("S. 0 ack 1 win 65535 <mss 1400,sackOK,ws 8>")
	s.recv(". 1:101 ack 1 win 500")
	s.wantState(Established, nil)
	s.wantGot(100)
	if n := s.sub.Room(s.now); n != 2000 {
		t.Errorf("room %d, want 500<<2", n)
	}
}

// RFC 9293 3.5, figure 7.
func TestSimultaneousOpen(t *testing.T) {
	s := newScript(t, nil)
	s.want(usualSyn)
	s.recv("S 0 win 1000 <mss 1400,sackOK,ws 8>")
	s.wantState(SynReceived, nil)
	s.want("S. 0 ack 1 win 65535 <mss 1400,sackOK,ws 8>")
	s.recv("S. 0 ack 1 win 1000 <mss 1400,sackOK,ws 8>")
	s.wantState(Established, nil)
	s.want(". 1 ack 1")
}

// RFC 9293 3.10.7.4: a SYN of a stranger ends no opening. It is contradicted, and the true answer counts.
func TestStrangeSyn(t *testing.T) {
	s := newScript(t, nil)
	s.want(usualSyn)
	s.recv("S 5000 win 1000 <mss 700>")
	s.want("S. 0 ack 5001 win 65535 <mss 1400>")
	for _, line := range []string{". 1 ack 1", ". 1:101 ack 1"} {
		s.recv(line)
		s.want("S. 0 ack 5001 win 65535 <mss 1400>")
	}
	s.recv("S. 0 ack 1 win 1000 <mss 1000,sackOK,ws 7>")
	s.wantState(Established, nil)
	s.want(". 1 ack 1")
	if c := s.sub.Config(); c.NoSACK || c.WindowScale == 0 || s.sub.MSS() != 1000 {
		t.Errorf("%+v", c)
	}
}

// RFC 6298 5: a peer that repeats its SYN for ever does not keep the half-open subflow for ever.
func TestRepeatedSynPutsNothingOff(t *testing.T) {
	s := listening(t, "S 0", func(c *Config) { c.SynRetries = 3 })
	s.sub.Answer(s.now)
	s.transmit()
	for range 40 {
		s.advance(second / 2)
		s.recv("S 0")
		s.transmit()
	}
	s.wantState(Closed, ErrTimeout)
}

// What an answer took away that the owner did not want is offered again.
func TestRefusedAnswerTakesNothing(t *testing.T) {
	for _, line := range []string{"S. 0 ack 1 <mss 500>", "S 0 <mss 500>"} {
		s := newScript(t, func(c *Config) { c.Timestamps, c.ECN = true, true })
		first := s.transmit()[0]
		s.signals = func(*wire.Segment) bool { return false }
		s.recv(line)
		s.wantState(SynSent, nil)
		s.want()
		s.advance(second)
		s.want(first)
	}
}

// RFC 6298 5.5 to 5.7, with 1 s while the path is unknown.
func TestSynIsRepeatedAndGivenUp(t *testing.T) {
	s := newScript(t, func(c *Config) { c.SynRetries = 3; c.Timestamps = true })
	first := s.transmit()[0]
	for _, wait := range []int{1, 2, 4} {
		s.advance(time.Duration(wait)*second - ms)
		s.want()
		s.advance(ms)
		s.want(first)
	}
	s.advance(8 * second)
	s.wantState(Closed, ErrTimeout)
	s.want()
}

// RFC 9293 3.10.7.3.
func TestSynSent(t *testing.T) {
	for _, c := range []struct {
		name, line string
		answer     []string
		state      State
		err        error
	}{
		{"refused", "R. 0 ack 1", nil, Closed, ErrRefused},
		{"reset without ACK", "R 0", nil, SynSent, nil},
		{"reset with a wrong ACK", "R. 0 ack 2", nil, SynSent, nil},
		{"wrong ACK", "S. 0 ack 2", []string{"R 2 win 0"}, SynSent, nil},
		{"ACK of an old connection", ". 300 ack 100", []string{"R 100 win 0"}, SynSent, nil},
		{"nothing", ". 0 ack 1", nil, SynSent, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, nil)
			s.want(usualSyn)
			s.recv(c.line)
			s.want(c.answer...)
			s.wantState(c.state, c.err)
		})
	}
}

func TestResetBeforeAnswer(t *testing.T) {
	s := listening(t, "S 0", nil)
	s.recv("R 5")
	s.wantState(SynReceived, nil)
	s.recv("R 1")
	s.wantState(Closed, ErrReset)
	s.want()
}

// A refused offer looks like a closed port (RFC 9293 3.10.7.1).
func TestRefusal(t *testing.T) {
	s := listening(t, "S 0:30", nil)
	s.sub.Reset(s.now)
	s.wantState(Closed, ErrAborted)
	s.want("R. zero ack 31 win 0")
	s.want()
}

// RFC 9293 3.10.7.4: a wrong ACK in SYN-RECEIVED is answered with an RST.
func TestThirdAckMustFit(t *testing.T) {
	s := listening(t, "S 0", nil)
	s.sub.Answer(s.now)
	s.transmit()
	s.recv(". 1 ack 2")
	s.want("R 2 win 0")
	s.wantState(SynReceived, nil)
	s.recv(". 1 ack 1")
	s.wantState(Established, nil)
}

func TestNegotiation(t *testing.T) {
	for _, c := range []struct {
		name, syn, answer string
		config            func(*Config)
	}{
		{"nothing", "S 0", "S. 0 ack 1 win 65535 <mss 1400>", nil},
		{"all", "S 0 <mss 99,sackOK,ws 3,ts 7:0>", "S. 0 ack 1 win 65535 <mss 1400,sackOK,ws 8,ts 1000:7>", func(c *Config) { c.Timestamps = true }},
		{"no timestamps here", "S 0 <ts 7:0>", "S. 0 ack 1 win 65535 <mss 1400>", nil},
		{"no SACK here", "S 0 <sackOK,ws 1>", "S. 0 ack 1 win 65535 <mss 1400,ws 14>", func(c *Config) { c.NoSACK = true; c.WindowScale = 99 }},
		{"small segments", "S 0", "S. 0 ack 1 win 65535 <mss 500>", func(c *Config) { c.MaxMSS = 500 }},
		{"packets that vanished", "S 0", "S. 0 ack 1 win 65535 <mss 1400>", func(c *Config) { c.Path.Blackhole(0) }},
		{"ECN", "SEW 0", "SE. 0 ack 1 win 65535 <mss 1400>", func(c *Config) { c.ECN = true }},
		{"ECN of a host that reflects", "SE 0", "S. 0 ack 1 win 65535 <mss 1400>", func(c *Config) { c.ECN = true }},
		{"no ECN here", "SEW 0", "S. 0 ack 1 win 65535 <mss 1400>", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := listening(t, c.syn, c.config)
			s.sub.Answer(s.now)
			s.want(c.answer)
		})
	}
}

// A peer that claims to take next to nothing does not make a packet of each octet.
func TestLeastMSS(t *testing.T) {
	for offer, want := range map[string]int{"<mss 1>": 88, "<mss 0>": 88, "<mss 89>": 89} {
		if s := established(t, offer, nil); s.sub.MSS() != want {
			t.Errorf("%s: MSS %d, want %d", offer, s.sub.MSS(), want)
		}
	}
}

// RFC 7413 4.2.1: octets pushed before the SYN ride in it; what was not taken goes again.
func TestEarlyData(t *testing.T) {
	for _, c := range []struct {
		answer string
		early  int
		then   []string
	}{
		{"S. 0 ack 301 <mss 1400,sackOK>", 300, []string{". 301 ack 1"}},
		{"S. 0 ack 1 <mss 1400,sackOK>", 0, []string{". 1:301 ack 1"}},
		{"S. 0 ack 101 <mss 1400,sackOK>", 100, []string{". 101:301 ack 1"}},
	} {
		s := newScript(t, func(c *Config) { c.Early = true })
		s.push(300)
		s.want("S 0:300 win 65535 <mss 1400,sackOK,ws 8>")
		s.advance(second)
		s.want("S 0:300 win 65535 <mss 1400,sackOK,ws 8>")
		s.recv(c.answer)
		s.want(c.then...)
		if s.sub.Early() != c.early || s.acked != uint64(c.early) {
			t.Errorf("early %d, acknowledged %d, want %d", s.sub.Early(), s.acked, c.early)
		}
		s.recv(". 1 ack 301")
		if s.acked != 300 || s.path.Inflight() != 0 {
			t.Errorf("acknowledged %d, %d in flight", s.acked, s.path.Inflight())
		}
	}
}

// RFC 3168 6.1.1: ECE of a SYN/ACK agrees to ECN; it is no echo of a mark, whatever it acknowledges.
func TestECNAgreementIsNoMark(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Early, c.ECN = true, true })
	s.push(300)
	s.transmit()
	s.recv("SE. 0 ack 301 <mss 1400,sackOK>")
	s.push(100)
	s.want("P. 301:401 ack 1 ect0")
	s.recv("E. 1 ack 401")
	s.push(100)
	s.want("PW. 401:501 ack 1 ect0")
}

// Between own ends the SYN waits with the offer until somebody else has answered: no round trip.
func TestOfferIsNoRoundTrip(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Early = true })
	s.transmit()
	s.advance(500 * ms)
	s.recv("S. 0 ack 1 <mss 1400,sackOK>")
	if smooth, _, _ := s.path.RTT(); smooth != 0 {
		t.Errorf("round trip %v", smooth)
	}
}

func TestEarlyDataIsCutToFit(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Early = true })
	s.push(2000)
	s.want("S 0:1388 win 65535 <mss 1400,sackOK,ws 8>")
	s.recv("S. 0 ack 1389 <mss 1400,sackOK>")
	s.want("P. 1389:2001 ack 1")
}

// RFC 7413 4.2.2: what drops SYNs with data may pass one without; the octets follow.
func TestEarlyDataIsGivenUp(t *testing.T) {
	s := newScript(t, func(c *Config) { c.Early = true })
	s.push(300)
	for _, wait := range []time.Duration{0, 1, 2} {
		s.advance(wait * second)
		s.want("S 0:300 win 65535 <mss 1400,sackOK,ws 8>")
	}
	s.advance(4 * second)
	s.want(usualSyn)
	s.recv("S. 0 ack 1 <mss 1400,sackOK>")
	s.want(". 1:301 ack 1")
	s.recv(". 1 ack 301")
	if s.acked != 300 || s.sub.Early() != 0 || s.path.Inflight() != 0 {
		t.Errorf("acknowledged %d, early %d, %d in flight", s.acked, s.sub.Early(), s.path.Inflight())
	}
}

// RFC 7413 4.2.2: the SYN's octets are delivered once, and data may leave before the third ACK.
func TestEarlyDataArrives(t *testing.T) {
	s := listening(t, "S 0:300 <mss 1400,sackOK>", func(c *Config) { c.Early = true })
	s.wantGot(300)
	s.recv("S 0:300 <mss 1400,sackOK>")
	s.sub.Answer(s.now)
	s.want("S. 0 ack 301 win 65535 <mss 1400,sackOK>")
	s.push(100)
	s.want("P. 1:101 ack 301")
	s.recv(". 301:401 ack 101")
	s.wantState(Established, nil)
	s.wantGot(400)
	if s.acked != 100 || s.sub.Early() != 300 {
		t.Errorf("acknowledged %d, early %d", s.acked, s.sub.Early())
	}
}

// RFC 7413 4.1.
func TestCookie(t *testing.T) {
	s := newScript(t, func(c *Config) { c.AskCookie = true })
	s.want("S 0 win 4096 <mss 1400,sackOK,ws 8,tfo >")
	s.recv("S. 0 ack 1 <mss 1400,tfo 0102030405060708>")
	cookie, ok := s.sub.FastOpen()
	if !ok || cookie.Len != 8 || cookie.Cookie[7] != 8 {
		t.Fatalf("cookie %v %v", cookie, ok)
	}
	s = newScript(t, func(c *Config) { c.Early = true; c.Cookie = cookie })
	s.push(10)
	s.want("S 0:10 win 4096 <mss 1400,sackOK,ws 8,tfo 0102030405060708>")
}

// To a stranger octets and cookie go once, and until they go again an acknowledgement stands before them.
func TestEarlyDataToStrangerIsNotRepeated(t *testing.T) {
	cookie := wire.FastOpen{Len: 4, Cookie: [16]byte{1, 2, 3, 4}}
	s := newScript(t, func(c *Config) { c.Early, c.Cookie = true, cookie })
	s.push(300)
	s.want("S 0:300 win 4096 <mss 1400,sackOK,ws 8,tfo 01020304>")
	s.advance(second)
	s.want(usualSyn)
	s.sub.Ack(1)
	s.recv("S. 0 ack 101 <mss 1400,sackOK>")
	s.want(". 101 ack 1", ". 101:301 ack 1")
	s.recv(". 1 ack 301")
	if s.acked != 300 || s.sub.Early() != 100 || s.path.Inflight() != 0 {
		t.Errorf("acknowledged %d, early %d, %d in flight", s.acked, s.sub.Early(), s.path.Inflight())
	}
}

// Linux takes the window of a SYN with which a connection of Multipath TCP begins at once for scaled: there it is true both
// ways, and what comes before the third ACK left is taken according to either.
func TestWindowOfFastSYN(t *testing.T) {
	for _, c := range []struct {
		what    string
		win     int
		offered uint64
		config  func(*Config)
	}{
		{"octets with a cookie", 4096, 1 << 20, func(c *Config) { c.Early, c.Cookie.Len = true, 8 }},
		{"octets without", 4096, 1 << 20, func(c *Config) { c.Early, c.Stranger = true, true }},
		{"a request for a cookie", 4096, 1 << 20, func(c *Config) { c.AskCookie = true }},
		{"octets to one's own end", 65535, 65535, func(c *Config) { c.Early = true }},
		{"nothing", 65535, 65535, func(c *Config) { c.Stranger = true }},
	} {
		s := newScript(t, c.config)
		s.push(100)
		if got := s.transmit(); len(got) != 1 || !strings.Contains(got[0], fmt.Sprintf(" win %d ", c.win)) {
			t.Errorf("%s: %s", c.what, got)
		}
		s.recv("S. 0 ack 1 <mss 1400,sackOK,ws 7>")
		for at := range 20 {
			s.recv(fmt.Sprintf(". %d:%d ack 1", 1+60000*at, 1+60000*(at+1)))
		}
		if s.got != c.offered {
			t.Errorf("%s: %d octets taken, want %d", c.what, s.got, c.offered)
		}
	}
}

// A cookie goes with octets, and with every SYN/ACK.
func TestCookieIsGiven(t *testing.T) {
	cookie := wire.FastOpen{Len: 4, Cookie: [16]byte{1, 2, 3, 4}}
	s := newScript(t, func(c *Config) { c.Early, c.Cookie = true, cookie })
	s.want(usualSyn)
	s = listening(t, "S 0 <mss 1400,sackOK>", func(c *Config) { c.Cookie = cookie })
	s.sub.Answer(s.now)
	s.want("S. 0 ack 1 win 65535 <mss 1400,sackOK,tfo 01020304>")
	s.advance(second)
	s.want("S. 0 ack 1 win 65535 <mss 1400,sackOK,tfo 01020304>")
}

// Signals hears of the SYN/ACK before the state changes, and may end the subflow.
func TestSignalsMayRefuse(t *testing.T) {
	s := newScript(t, nil)
	s.want(usualSyn)
	s.signals = func(seg *wire.Segment) bool {
		s.sub.Reset(s.now)
		return false
	}
	s.recv("S. 0 ack 1 <mss 1400>")
	s.wantState(Closed, ErrAborted)
	s.want("R 1 win 0")
}
