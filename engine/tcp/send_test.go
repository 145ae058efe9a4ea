package tcp

import (
	"fmt"
	"testing"
	"time"

	"tandem/engine/wire"
)

// Chunks are cut into full segments; no segment holds pieces of two.
func TestSegmentation(t *testing.T) {
	s := established(t, "", nil)
	var parts []Part
	s.compose = func(_ *wire.Segment, p Part, _ int) { parts = append(parts, p) }
	s.push(3000)
	s.push(100)
	s.want(". 1:1401 ack 1", ". 1401:2801 ack 1", ". 2801:3001 ack 1", "P. 3001:3101 ack 1")
	first := Chunk{0, base, 3000}
	want := []Part{{0, base, 1400, first, false}, {1400, base + 1400, 1400, first, false},
		{2800, base + 2800, 200, first, false}, {3000, base + 3000, 100, Chunk{3000, base + 3000, 100}, false}}
	if fmt.Sprint(parts) != fmt.Sprint(want) {
		t.Errorf("parts\n got %v\nwant %v", parts, want)
	}
	if s.sub.Outstanding() != 3100 || s.sub.Queued() != 0 {
		t.Errorf("outstanding %d, queued %d", s.sub.Outstanding(), s.sub.Queued())
	}
}

// RFC 9293 3.7.1: options, the owner's too, take their room from the payload.
func TestOptionsShortenSegments(t *testing.T) {
	s := established(t, "<mss 1400,sackOK,ts 1:1>", func(c *Config) { c.Timestamps = true })
	if s.sub.MSS() != 1388 {
		t.Errorf("MSS %d, want 1388", s.sub.MSS())
	}
	s.compose = func(seg *wire.Segment, p Part, room int) {
		if room != 30 {
			t.Errorf("room %d, want 30", room)
		}
		if p.Len == 1388 && p.Off == 0 {
			seg.Options.Has |= wire.HasDSS
			seg.Options.DSS = wire.DSS{HasMap: true, HasAck: true, Map64: true}
		}
	}
	s.push(2800)
	s.want(". 1:1369 ack 1", ". 1369:2757 ack 1", "P. 2757:2801 ack 1")
}

// Segments may be of any size, if that is this side's choice.
func TestTinySegments(t *testing.T) {
	s := established(t, "<mss 1400,ts 1:1>", func(c *Config) { c.Timestamps, c.MaxMSS = true, 1 })
	s.push(3)
	s.want(". 1:2 ack 1", ". 2:3 ack 1", "P. 3:4 ack 1")
}

// RFC 9293 3.8.6.2.1: a small part of more waits for the window, except after the override timeout.
func TestSillyWindow(t *testing.T) {
	s := established(t, "", nil)
	s.recv(". 1 ack 1 win 3000")
	s.push(5000)
	s.want(". 1:1401 ack 1", ". 1401:2801 ack 1")
	s.advance(100 * ms)
	s.recv(". 1 ack 2801 win 200")
	s.want()
	s.advance(s.path.RTO() - 1)
	s.want()
	s.advance(1)
	s.want(". 2801:3001 ack 1")
	s.recv(". 1 ack 3001 win 1400")
	s.want(". 3001:4401 ack 1")
}

// RFC 9293 3.8.6.1: a closed window is probed at growing intervals for as long as the peer answers.
func TestZeroWindow(t *testing.T) {
	s := established(t, "", func(c *Config) { c.Retries = 5 })
	s.recv(". 1 ack 1 win 0")
	s.push(100)
	s.want()
	wait := s.path.RTO()
	for range 10 {
		s.advance(wait - 1)
		s.want()
		s.advance(1)
		s.want(". 0 ack 1")
		s.recv(". 1 ack 1 win 0")
		s.want()
		wait = min(2*wait, time.Minute)
	}
	s.recv(". 1 ack 1 win 50000")
	s.want("P. 1:101 ack 1")
	s.recv(". 1 ack 101 win 0")
	s.push(100)
	s.want()
	for range 5 {
		s.advance(time.Minute)
		s.want(". 100 ack 1")
	}
	s.advance(time.Minute)
	s.wantState(Closed, ErrTimeout)
}

// RFC 9293 3.8.6.1: a peer that shrank its window and answers is not given up.
func TestShrunkWindowIsNoTimeout(t *testing.T) {
	s := established(t, "", func(c *Config) { c.Retries = 3 })
	s.push(100)
	s.transmit()
	for range 10 {
		s.advance(time.Minute)
		s.want(". 1:101 ack 1")
		s.recv(". 1 ack 1 win 0")
	}
	s.wantState(Established, nil)
}

// RFC 9293 3.10.7.4: only newer segments change the window (SND.WL1, SND.WL2).
func TestOldSegmentsDoNotChangeTheWindow(t *testing.T) {
	s := established(t, "", nil)
	s.recv(". 101:201 ack 1 win 5000")
	s.recv(". 1:101 ack 1 win 10")
	if n := s.sub.Room(s.now); n != 5000 {
		t.Errorf("room %d, want 5000", n)
	}
}

// The path's window bounds what leaves, in packets.
func TestPathRoom(t *testing.T) {
	s := established(t, "", nil)
	s.control.window = 2 * 1440
	if n := s.sub.Room(s.now); n != 2800 {
		t.Errorf("room %d, want 2800", n)
	}
	s.push(7000)
	s.want(". 1:1401 ack 1", ". 1401:2801 ack 1")
	s.want()
	s.recv(". 1 ack 1401")
	s.want(". 2801:4201 ack 1")
	if s.path.Inflight() != 2880 || s.sub.Queued() != 2800 {
		t.Errorf("in flight %d, queued %d", s.path.Inflight(), s.sub.Queued())
	}
}

// With nothing in flight a packet may leave, or none would ever be acknowledged.
func TestClosedPathLetsOneLeave(t *testing.T) {
	s := established(t, "", nil)
	s.control.window = 0
	s.push(2000)
	s.want(". 1:1401 ack 1")
}

// RFC 9293 3.8.4.
func TestKeepalive(t *testing.T) {
	s := established(t, "", func(c *Config) { c.Keepalive = 100 * second })
	s.advance(100*second - 1)
	s.want()
	s.advance(1)
	s.want(". 0 ack 1")
	s.recv(". 1 ack 1")
	s.advance(100*second - 1)
	s.want()
	s.advance(1)
	for range keepaliveProbes - 1 {
		s.want(". 0 ack 1")
		s.advance(keepaliveInterval)
	}
	s.want(". 0 ack 1")
	s.advance(keepaliveInterval)
	s.wantState(Closed, ErrTimeout)
}

// A keepalive of the peer is answered.
func TestKeepaliveIsAnswered(t *testing.T) {
	s := established(t, "", nil)
	s.recv(". 0 ack 1")
	s.want(". 1 ack 1")
	s.sub.Probe()
	s.want(". 0 ack 1")
}

func TestOutstanding(t *testing.T) {
	s := established(t, "", nil)
	s.push(4200)
	sentAt := s.now
	s.transmit()
	s.advance(ms)
	s.recv(". 1 ack 701 <sack 1401:2801>")
	if s.sub.Outstanding() != 2100 || s.sub.OldestSentAt() != sentAt {
		t.Errorf("outstanding %d, since %v", s.sub.Outstanding(), s.sub.OldestSentAt())
	}
}

// RFC 3168 6.1.2, 6.1.3: CE is echoed until CWR comes; an echo counts once a window and is answered with CWR.
func TestECN(t *testing.T) {
	s := newScript(t, func(c *Config) { c.ECN = true })
	s.want("SEW 0 win 65535 <mss 1400,sackOK,ws 8>")
	s.recv("SE. 0 ack 1 <mss 1400,sackOK>")
	s.want(". 1 ack 1")
	s.sub.ack.quick = 0
	s.recv(". 1:101 ack 1 ce")
	s.want("E. 1 ack 101")
	s.push(2800)
	s.want("E. 1:1401 ack 101 ect0", "PE. 1401:2801 ack 101 ect0")
	s.recv("W. 101:301 ack 1")
	s.push(1400)
	s.want("P. 2801:4201 ack 301 ect0")
	s.recv("E. 301 ack 1401")
	s.push(100)
	s.want("PW. 4201:4301 ack 301 ect0")
	s.recv("E. 301 ack 2801")
	s.push(100)
	s.want("P. 4301:4401 ack 301 ect0")
	s.recv(". 301 ack 2801 <sack 4201:4401>")
	s.advance(second)
	s.transmit()
}

// A probe on an idle subflow tells the round trip. Octets under way would, and what they bring is not taken for its answer.
func TestMeasure(t *testing.T) {
	rtt := func(s *script) time.Duration {
		smooth, _, _ := s.path.RTT()
		return smooth
	}
	s := established(t, "", nil)
	s.advance(second)
	s.sub.Measure(s.now)
	s.want(". 0 ack 1")
	s.advance(180 * ms)
	if s.sub.Measure(s.now); rtt(s) != 100*ms {
		t.Fatalf("round trip %v before the answer", rtt(s))
	}
	s.want() // one probe at a time
	s.recv(". 1 ack 1")
	if rtt(s) != 110*ms {
		t.Errorf("round trip %v, want an eighth of 180 ms more", rtt(s))
	}
	s.recv(". 1 ack 1")
	if rtt(s) != 110*ms {
		t.Error("measured twice")
	}

	s.sub.Measure(s.now)
	s.want(". 0 ack 1")
	s.advance(10 * second)
	s.sub.Measure(s.now)
	s.want(". 0 ack 1") // the other was lost
	s.push(100)
	s.want("P. 1:101 ack 1")
	s.advance(ms)
	s.recv(". 1 ack 1")
	if s.sub.Measure(s.now); rtt(s) != 110*ms {
		t.Errorf("round trip %v though octets are under way", rtt(s))
	}
	s.want()
}

// RFC 4821 7.2, RFC 8899: a probe is data; its loss is no congestion and goes again in pieces that pass.
func TestProbeOfMTU(t *testing.T) {
	s := established(t, "<mss 1460,sackOK>", nil)
	s.buf = make([]byte, 1500)
	s.path.SearchMTU(1500)
	s.push(100)
	s.want("P. 1:101 ack 1") // too little for a probe
	s.recv(". 1 ack 101")
	s.push(4380)
	s.want(". 101:1561 ack 1", ". 1561:2961 ack 1", ". 2961:4361 ack 1", "P. 4361:4481 ack 1")
	s.advance(100 * ms)
	s.recv(". 1 ack 101 <sack 1561:4481>")
	s.want(". 101:1501 ack 1", ". 1501:1561 ack 1")
	if _, lost := s.path.Totals(); lost != 0 || s.sub.loss.active {
		t.Error("a lost probe began a recovery")
	}
	s.recv(". 1 ack 4481")
	if s.path.MTU() != 1440 || s.path.Inflight() != 0 {
		t.Errorf("MTU %d, in flight %d", s.path.MTU(), s.path.Inflight())
	}
	s.push(4380)
	s.want(". 4481:5941 ack 1", ". 5941:7341 ack 1", ". 7341:8741 ack 1", "P. 8741:8861 ack 1")
	s.recv(". 1 ack 8861")
	if s.path.MTU() != 1500 {
		t.Errorf("MTU %d, want 1500", s.path.MTU())
	}
}

// A probe that was judged lost and arrives was never counted as a loss.
func TestLateProbeOfMTU(t *testing.T) {
	s := established(t, "<mss 1460,sackOK>", nil)
	s.path.SearchMTU(1500)
	s.push(4380)
	s.transmit()
	s.advance(100 * ms)
	s.recv(". 1 ack 1 <sack 1461:4381>")
	s.recv(". 1 ack 4381")
	if _, lost := s.path.Totals(); lost != 0 || s.sub.stats.Spurious != 0 || s.path.Inflight() != 0 {
		t.Errorf("lost %d, spurious %d, in flight %d", lost, s.sub.stats.Spurious, s.path.Inflight())
	}
}

// What one peer does not take says nothing of the path: what it takes is tried.
func TestPeerBelowTheProbe(t *testing.T) {
	s := established(t, "<mss 1450,sackOK>", nil)
	s.path.SearchMTU(1500)
	for range 5 {
		s.push(4350)
		s.transmit()
		s.advance(10 * ms)
		s.recv(fmt.Sprintf(". 1 ack %d", 1+s.pushed))
	}
	if s.path.MTU() != 1490 || s.sub.MSS() != 1450 {
		t.Errorf("MTU %d, MSS %d", s.path.MTU(), s.sub.MSS())
	}
	if n := s.path.Probe(s.now, 1500); n != 1500 {
		t.Errorf("probe of %d, want 1500", n)
	}
}

// RFC 8201 4, RFC 5927 7.2: a router is believed about what is under way and was longer than it says.
func TestTooBig(t *testing.T) {
	for _, c := range []struct {
		name     string
		off, mtu int
		want     int
	}{
		{"believed", 1400, 1340, 1340},
		{"not told", 1400, 0, 1280},
		{"acknowledged", 0, 1340, 1440},
		{"not sent", 4200, 1340, 1440},
		{"before the SYN", -70000, 1340, 1440},
		{"not so long", 2800, 1340, 1440},
		{"not too big", 1400, 1440, 1440},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := established(t, "", nil)
			s.push(3800)
			s.want(segment(0), segment(1), "P. 2801:3801 ack 1")
			s.recv(". 1 ack 1401")
			s.sub.TooBig(s.now, ownISS.Add(1+c.off), c.mtu)
			if s.path.MTU() != c.want {
				t.Fatalf("MTU %d, want %d", s.path.MTU(), c.want)
			}
			if c.want == 1440 {
				s.want()
				return
			}
			s.want(fmt.Sprintf(". 1401:%d ack 1", 1401+c.want-40), fmt.Sprintf(". %d:2801 ack 1", 1401+c.want-40))
			if _, lost := s.path.Totals(); lost != 0 || s.sub.loss.active {
				t.Error("taken for congestion")
			}
			s.recv(". 1 ack 3801")
			if s.path.Inflight() != 0 {
				t.Errorf("in flight %d", s.path.Inflight())
			}
		})
	}
}

// RFC 8899 4.3: when full segments time out again and again, smaller ones are tried.
func TestBlackHole(t *testing.T) {
	s := established(t, "", nil)
	s.push(1400)
	s.want("P. 1:1401 ack 1")
	for range 3 { // the tail loss probe and two timeouts
		s.advance(10 * second)
		s.want(". 1:1401 ack 1")
	}
	s.advance(10 * second)
	s.want(". 1:1241 ack 1", ". 1241:1401 ack 1")
	s.recv(". 1 ack 1401")
	if s.path.Inflight() != 0 {
		t.Errorf("in flight %d", s.path.Inflight())
	}
}
