package tcp

import (
	"fmt"
	"testing"

	"tandem/engine/wire"
)

// RFC 9293 3.10.7.4, first check: what is outside the window is answered with an ACK and dropped.
func TestSequenceCheck(t *testing.T) {
	for _, c := range []struct {
		name, line string
		got        uint64
		answer     []string
	}{
		{"next", ". 1:101 ack 1", 100, nil},
		{"all old", ". -99:1 ack 1", 0, []string{". 1 ack 1"}},
		{"old and new", ". -99:101 ack 1", 100, []string{". 1 ack 101"}},
		{"beyond the window", ". 1001:1101 ack 1", 0, []string{". 1 ack 1"}},
		{"across the edge", ". 901:1101 ack 1", 100, []string{". 1 ack 1 <sack 901:1001>"}},
		{"empty, at the edge", ". 1001 ack 1", 0, nil},
		{"empty, beyond the edge", ". 1002 ack 1", 0, []string{". 1 ack 1"}},
		{"empty, old", ". 0 ack 1", 0, []string{". 1 ack 1"}},
		{"no ACK", "P 1:101", 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := smallWindow(t)
			s.recv(c.line)
			s.wantGot(c.got)
			s.want(c.answer...)
		})
	}
}

// smallWindow returns a subflow that offers 1000 octets.
func smallWindow(t *testing.T) *script {
	s := newScript(t, nil)
	s.window = 1000
	s.transmit()
	s.recv("S. 0 ack 1 win 65535 <mss 1400,sackOK>")
	s.want(". 1 ack 1 win 1000")
	s.sub.ack.quick = 0
	return s
}

// RFC 5961 3.2.
func TestReset(t *testing.T) {
	s := smallWindow(t)
	s.recv("R 2000")
	s.want()
	s.recv("R 2")
	s.want(". 1 ack 1")
	s.wantState(Established, nil)
	s.push(10)
	s.transmit()
	s.recv("R. 1 ack 1")
	s.wantState(Closed, ErrReset)
	s.want()
	if s.path.Inflight() != 0 {
		t.Errorf("%d octets in flight of a dead subflow", s.path.Inflight())
	}
}

// The owner hears of a valid reset, for what it says, and may pass over it.
func TestResetIsSignalled(t *testing.T) {
	for _, goOn := range []bool{true, false} {
		s := smallWindow(t)
		heard := 0
		s.signals = func(seg *wire.Segment) bool { heard++; return goOn }
		s.recv("R 5")
		s.recv("R 1")
		if heard != 1 || (s.sub.State() == Closed) != goOn {
			t.Errorf("heard %d, state %v", heard, s.sub.State())
		}
	}
}

// RFC 5961 4.2 and 5.2, 7.
func TestChallenges(t *testing.T) {
	for _, line := range []string{"S 1", "S. 1 ack 1", ". 1 ack 2", ". 1 ack -70000"} {
		s := established(t, "", nil)
		answered := 0
		for range 15 {
			s.recv(line)
			answered += len(s.transmit())
		}
		if answered != challengesPerSecond {
			t.Errorf("%q: %d answers to 15, want %d", line, answered, challengesPerSecond)
		}
		s.advance(second)
		s.recv(line)
		s.want(". 1 ack 1")
		s.wantState(Established, nil)
	}
}

// RFC 7323 5.3 and 3.2.
func TestPAWS(t *testing.T) {
	s := established(t, "<mss 1400,ts 5000:1>", func(c *Config) { c.Timestamps = true })
	s.recv(". 1:101 ack 1 <ts 4999:1>")
	s.wantGot(0)
	s.want(". 1 ack 1 win 65535 <ts 1100:5000>")
	s.recv(". 1:101 ack 1")
	s.wantGot(0)
	s.want()
	s.recv(". 1:101 ack 1 <ts 5000:1>")
	s.wantGot(100)
	s.advance(25 * 24 * 3600 * second)
	s.transmit()
	s.recv(". 101:201 ack 1 <ts 7:1>")
	s.wantGot(200)
	s.recv("R 201")
	s.wantState(Closed, ErrReset)
}

// RFC 7323 4.3: what is echoed is the timestamp of the segment that the acknowledgement waited for.
func TestEchoIsOfTheOldest(t *testing.T) {
	s := established(t, "<mss 1400,ts 10:1>", func(c *Config) { c.Timestamps = true })
	s.recv(". 1:1001 ack 1 <ts 20:1>")
	s.recv(". 1001:2001 ack 1 <ts 30:1>")
	s.want(". 1 ack 2001 win 65535 <ts 1100:20>")
	s.recv(". 3001:4001 ack 1 <ts 40:1>")
	s.want(". 1 ack 2001 win 65535 <ts 1100:20>")
	s.recv(". 2001:3001 ack 1 <ts 50:1>")
	s.want(". 1 ack 4001 win 65535 <ts 1100:50>")
}

// RFC 2018 4: the newest block first; octets go up once and at once.
func TestOutOfOrder(t *testing.T) {
	s := established(t, "", nil)
	s.recv(". 1001:2001 ack 1")
	s.want(". 1 ack 1 <sack 1001:2001>")
	s.recv(". 3001:4001 ack 1")
	s.want(". 1 ack 1 <sack 3001:4001 1001:2001>")
	s.recv(". 5001:6001 ack 1")
	s.recv(". 7001:8001 ack 1")
	s.want(". 1 ack 1 <sack 7001:8001 5001:6001 3001:4001 1001:2001>")
	s.wantGot(4000)
	s.recv(". 1:1001 ack 1")
	s.want(". 1 ack 2001 <sack 7001:8001 5001:6001 3001:4001>")
	s.recv(". 2001:7001 ack 1")
	s.wantGot(8000)
	s.want(". 1 ack 8001 <sack 3001:4001>") // some of it had come
}

// A full segment of data has no room for SACK: an acknowledgement of its own follows.
func TestSACKBesideData(t *testing.T) {
	s := established(t, "", nil)
	s.recv(". 101:201 ack 1")
	s.push(1400)
	s.want("P. 1:1401 ack 1", ". 1401 ack 1 <sack 101:201>")
}

// RFC 2883 4: a duplicate is told first, with the block that it lies in.
func TestDuplicateSACK(t *testing.T) {
	s := established(t, "", nil)
	s.recv(". 1:1001 ack 1")
	s.recv(". 1:1001 ack 1")
	s.want(". 1 ack 1001 <sack 1:1001>")
	s.recv(". 2001:3001 ack 1")
	s.want(". 1 ack 1001 <sack 2001:3001>")
	s.recv(". 2001:2501 ack 1")
	s.want(". 1 ack 1001 <sack 2001:2501 2001:3001>")
	s.recv(". 501:2001 ack 1")
	s.want(". 1 ack 3001 <sack 501:1001>")
	s.wantGot(3000)
	s.want()
}

// What the owner does not take is as if it had not come.
func TestRefusedOctetsAreNotAcknowledged(t *testing.T) {
	s := established(t, "", nil)
	s.refuse = func(off uint64) bool { return true }
	s.recv(". 1:1001 ack 1")
	s.recv(". 2001:3001 ack 1")
	s.transmit()
	s.refuse = nil
	s.recv(". 1001:2001 ack 1")
	s.want(". 1 ack 1 <sack 1001:2001>")
	s.recv(". 1:1001 ack 1")
	s.want(". 1 ack 2001")
	s.wantGot(2000)
}

func TestRangesAreBounded(t *testing.T) {
	s := established(t, "", nil)
	for i := range 100 {
		s.recv(fmt.Sprintf(". %d:%d ack 1", 11+20*i, 21+20*i))
	}
	s.wantGot(10 * rangesMax)
	s.recv(". 21:31 ack 1") // joins two
	s.wantGot(10*rangesMax + 10)
	s.recv(". 1:11 ack 1")
	s.want(". 1 ack 41 <sack 1271:1281 51:61 71:81 91:101>")
}

// RFC 5681 4.2, RFC 9293 3.8.6.3.
func TestDelayedAcks(t *testing.T) {
	s := established(t, "", nil)
	s.recv(". 1:1001 ack 1")
	s.want()
	s.recv(". 1001:2001 ack 1")
	s.want(". 1 ack 2001")
	s.recv(". 2001:3001 ack 1")
	s.advance(25*ms - 1)
	s.want()
	s.advance(1) // a quarter of the round trip
	s.want(". 1 ack 3001")
	s.recv(". 3001:3101 ack 1")
	s.push(10)
	s.want("P. 1:11 ack 3101")
	s.advance(ms * 100)
	s.want()
}

func TestEarlyAcksAreNotDelayed(t *testing.T) {
	s := established(t, "", nil)
	s.sub.ack.quick = quickAcks
	for i := range quickAcks {
		s.recv(fmt.Sprintf(". %d:%d ack 1", 1+10*i, 11+10*i))
		s.want(fmt.Sprintf(". 1 ack %d", 11+10*i))
	}
	s.recv(". 161:171 ack 1")
	s.want()
}

// An acknowledgement may speak for any number of segments.
func TestOneAckForABatch(t *testing.T) {
	s := established(t, "", nil)
	for i := range 50 {
		s.recv(fmt.Sprintf(". %d:%d ack 1", 1+1000*i, 1001+1000*i))
	}
	s.want(". 1 ack 50001")
}

// Without SACK the peer counts duplicate acknowledgements, so each segment out of order gets its own.
func TestDuplicateAcksWithoutSACK(t *testing.T) {
	s := established(t, "<mss 1400>", nil)
	for i := 1; i < 4; i++ {
		s.recv(fmt.Sprintf(". %d:%d ack 1", 1+1000*i, 1001+1000*i))
	}
	s.want(". 1 ack 1", ". 1 ack 1", ". 1 ack 1")
}

// Ack has the owner's options leave, each time with the room there is.
func TestAckForOptions(t *testing.T) {
	s := established(t, "<mss 1400,sackOK,ts 1:1>", func(c *Config) { c.Timestamps = true })
	var rooms []int
	s.compose = func(seg *wire.Segment, part Part, room int) { rooms = append(rooms, room) }
	s.sub.Ack(2)
	s.want(". 1 ack 1", ". 1 ack 1")
	s.recv(". 101:201 ack 1 <ts 1:1>")
	s.transmit()
	if fmt.Sprint(rooms) != "[30 30 20]" {
		t.Errorf("rooms %v, want two beside timestamps, one beside SACK too", rooms)
	}
}

// RFC 9293 3.8.6: the right edge never moves left, though the owner's window shrinks.
func TestEdgeStays(t *testing.T) {
	s := smallWindow(t)
	s.window = 600
	s.recv(". 1:101 ack 1")
	s.sub.Ack(1)
	s.want(". 1 ack 101 win 900")
	s.recv(". 101:1001 ack 1")
	s.wantGot(1000)
	s.sub.Ack(1)
	s.want(". 1 ack 1001 win 600")
}

// RFC 9293 3.8.6.2.2: the window opens in steps worth sending for, and the peer hears of it.
func TestWindowOpensInSteps(t *testing.T) {
	s := smallWindow(t)
	s.unread = true
	s.recv(". 1:1001 ack 1")
	s.sub.Ack(1)
	s.want(". 1 ack 1001 win 0")
	s.window = 1100
	s.sub.WindowGrew()
	s.want()
	s.sub.Ack(1)
	s.want(". 1 ack 1001 win 0")
	s.window = 1500
	s.sub.WindowGrew()
	s.want(". 1 ack 1001 win 500")
	s.window = 1600
	s.sub.WindowGrew()
	s.want()
}

// RFC 8684 3.3.1: a window shared by subflows is announced as it is.
func TestSharedWindow(t *testing.T) {
	s := established(t, "<mss 1400,sackOK,ws 8>", func(c *Config) { c.SharedWindow = true })
	s.window = 256 * 100
	s.sub.Ack(1)
	s.want(". 1 ack 1 win 100")
	s.recv(". 30001:30101 ack 1")
	s.wantGot(100) // offered once
	s.transmit()
	s.window = 256 * 199
	s.sub.WindowGrew()
	s.want()
	s.window = 256 * 200
	s.sub.WindowGrew()
	s.want(". 1 ack 1 win 200 <sack 30001:30101>")
}
