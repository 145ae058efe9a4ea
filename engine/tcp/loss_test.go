package tcp

import (
	"fmt"
	"testing"
	"time"
)

// flying returns a subflow with n full segments in the air, which left a round trip ago.
func flying(t *testing.T, n int, offer string, config func(*Config)) *script {
	t.Helper()
	s := established(t, offer, config)
	s.push(1400 * n)
	if got := len(s.transmit()); got != n {
		t.Fatalf("%d segments left, want %d", got, n)
	}
	s.advance(100 * ms)
	return s
}

// segments names full segments, from the k-th to before the l-th.
func segments(k, l int) string { return fmt.Sprintf("%d:%d", 1+1400*k, 1+1400*l) }

func segment(k int) string { return ". " + segments(k, k+1) + " ack 1" }

// RFC 8985 6.2 step 4, 3: three segments that arrived later make up for time.
func TestFastRetransmit(t *testing.T) {
	s := flying(t, 10, "", nil)
	s.recv(". 1 ack 1 <sack " + segments(1, 2) + ">")
	s.want()
	s.recv(". 1 ack 1 <sack " + segments(1, 3) + ">")
	s.want()
	s.recv(". 1 ack 1 <sack " + segments(1, 4) + ">")
	s.want(segment(0))
	if s.path.Inflight() != 7*1440 {
		t.Errorf("in flight %d, want 7 packets", s.path.Inflight())
	}
	s.advance(100 * ms)
	s.recv(". 1 ack 14001")
	s.want()
	if s.sub.loss.active || s.sub.Outstanding() != 0 {
		t.Error("the recovery goes on")
	}
}

// RFC 8985 6.2 step 5: with fewer, a quarter of the round trip does.
func TestReorderTimer(t *testing.T) {
	s := flying(t, 3, "", nil)
	s.recv(". 1 ack 1 <sack " + segments(1, 3) + ">")
	s.advance(25*ms - 1)
	s.want()
	s.advance(1)
	s.want(segment(0))
}

// RFC 8985 6.2 steps 3 and 4: after reordering was seen, three segments prove nothing any more.
func TestReorderingIsLearned(t *testing.T) {
	s := flying(t, 10, "", nil)
	s.recv(". 1 ack 1 <sack " + segments(1, 3) + ">")
	s.recv(". 1 ack " + fmt.Sprint(1+3*1400))
	s.recv(". 1 ack " + fmt.Sprint(1+3*1400) + " <sack " + segments(4, 9) + ">")
	s.want()
	s.advance(24 * ms)
	s.want()
	s.advance(ms)
	s.want(segment(3))
}

// RFC 8985 6.2 step 4: each round trip with a reported duplicate widens the window.
func TestDuplicatesWidenTheWindow(t *testing.T) {
	s := flying(t, 10, "", nil)
	s.recv(". 1 ack 1 <sack " + segments(1, 4) + ">")
	s.want(segment(0))
	s.advance(ms)
	s.recv(". 1 ack " + fmt.Sprint(1+4*1400))
	s.recv(". 1 ack " + fmt.Sprint(1+4*1400) + " <sack " + segments(0, 1) + ">")
	if s.sub.rack.mult != 2 {
		t.Errorf("multiplier %d, want 2", s.sub.rack.mult)
	}
	s.recv(". 1 ack 14001")
	if _, lost := s.path.Totals(); lost != 0 || s.sub.stats.Spurious != 1 {
		t.Errorf("lost %d, spurious %d: the needless retransmission was not noticed", lost, s.sub.stats.Spurious)
	}
}

// RFC 8985 6.2 step 3: the order of blocks within a segment is not that of arrival.
func TestBlocksAreNoReordering(t *testing.T) {
	s := flying(t, 10, "", nil)
	s.recv(". 1 ack 1 <sack " + segments(5, 6) + " " + segments(3, 4) + " " + segments(1, 2) + ">")
	if s.sub.rack.reordered {
		t.Error("taken for reordering")
	}
	s.want(segment(0), segment(2), segment(4))
}

// RFC 3708 3: a duplicate that the network made says nothing about what was sent again.
func TestForeignDuplicate(t *testing.T) {
	s := flying(t, 10, "", nil)
	s.recv(". 1 ack 1 <sack " + segments(1, 4) + ">")
	s.want(segment(0))
	s.advance(ms)
	s.recv(". 1 ack " + fmt.Sprint(1+4*1400) + " <sack " + segments(2, 3) + ">")
	if _, lost := s.path.Totals(); lost != 1440 || s.sub.stats.Spurious != 0 {
		t.Errorf("lost %d, spurious %d", lost, s.sub.stats.Spurious)
	}
	s.recv(". 1 ack " + fmt.Sprint(1+4*1400) + " <sack " + segments(0, 1) + ">")
	if _, lost := s.path.Totals(); lost != 0 || s.sub.stats.Spurious != 1 || !s.sub.rack.reordered {
		t.Errorf("lost %d, spurious %d: the needless retransmission was not noticed", lost, s.sub.stats.Spurious)
	}
}

// What was judged lost and arrives before it goes again was delivered.
func TestLateArrival(t *testing.T) {
	s := flying(t, 5, "", nil)
	s.recv(". 1 ack 1 <sack " + segments(1, 4) + ">")
	s.recv(". 1 ack 7001")
	s.want()
	if delivered, lost := s.path.Totals(); delivered != 5*1440 || lost != 0 || s.path.Inflight() != 0 {
		t.Errorf("delivered %d, lost %d, in flight %d", delivered, lost, s.path.Inflight())
	}
}

// RFC 6675 5: retransmissions follow the path's window, but for the first.
func TestRecoveryObeysThePath(t *testing.T) {
	s := flying(t, 10, "", nil)
	s.control.window = 4 * 1440
	s.recv(". 1 ack 1 <sack " + segments(4, 8) + ">")
	s.want(segment(0), segment(1))
	s.want()
	s.recv(". 1 ack 1 <sack " + segments(4, 9) + ">")
	s.want(segment(2))
}

// RFC 6675 6: the timeout counts from when the first segment went again, however long it had waited for room.
func TestWaitingIsNoTimeout(t *testing.T) {
	s := flying(t, 10, "", nil)
	s.path.Sent(s.now, 1440) // another subflow's
	s.control.window = 1440
	s.recv(". 1 ack 1 <sack " + segments(4, 10) + ">")
	s.want(segment(0))
	s.advance(100 * ms)
	s.recv(". 1 ack 1401 <sack " + segments(4, 10) + ">")
	s.want()
	wait := s.path.RTO()
	s.advance(wait - 1)
	s.control.window = 1 << 20
	s.want(segment(1), segment(2), segment(3))
	s.advance(wait - 1)
	s.want()
	s.advance(1)
	s.want(segment(1), segment(2), segment(3))
}

// RFC 8985 7.3: with nothing new to send the last segment goes again after two round trips.
func TestTailLossProbe(t *testing.T) {
	s := flying(t, 4, "", nil)
	s.advance(100*ms - 1)
	s.want()
	s.advance(1)
	s.want(segment(3))
	s.advance(100 * ms)
	s.recv(". 1 ack 1401 <sack " + segments(3, 4) + ">")
	s.want(segment(1), segment(2))
	if s.sub.stats.Timeouts != 0 {
		t.Error("timeout")
	}
	s.recv(". 1 ack 5601")
	if s.path.Inflight() != 0 {
		t.Errorf("in flight %d", s.path.Inflight())
	}
}

// RFC 8985 7.3: new data probes better.
func TestTailLossProbeOfNewData(t *testing.T) {
	s := established(t, "", nil)
	s.control.window = 2 * 1440
	s.push(3 * 1400)
	s.want(segment(0), segment(1))
	s.advance(200*ms - 1)
	s.want()
	s.advance(1)
	s.want("P. 2801:4201 ack 1")
	s.advance(100 * ms)
	s.recv(". 1 ack 4201")
	if s.path.Inflight() != 0 || s.sub.stats.Retransmits != 0 {
		t.Errorf("in flight %d", s.path.Inflight())
	}
}

// RFC 8985 7.4: a probe that repaired a loss counts as one; one that was needless does not.
func TestTailLossProbeTellsLosses(t *testing.T) {
	for _, c := range []struct {
		name string
		wait time.Duration
		line string
		lost int64
	}{
		{"repaired", 100 * ms, ". 1 ack 1401", 1440},
		{"both arrived", 100 * ms, ". 1 ack 1401 <sack 1:1401>", 0},
		{"the first was late", 5 * ms, ". 1 ack 1401", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := flying(t, 1, "", nil)
			s.advance(140 * ms)
			s.want(segment(0))
			if s.path.Inflight() != 2*1440 {
				t.Errorf("in flight %d, want both copies", s.path.Inflight())
			}
			s.advance(c.wait)
			s.recv(c.line)
			if _, lost := s.path.Totals(); lost != c.lost || s.path.Inflight() != 0 {
				t.Errorf("lost %d, want %d; in flight %d", lost, c.lost, s.path.Inflight())
			}
		})
	}
}

// RFC 6298 5.4 to 5.6.
func TestTimeoutsBackOff(t *testing.T) {
	s := established(t, "<mss 1400>", func(c *Config) { c.Retries = 6 })
	s.push(100)
	s.want("P. 1:101 ack 1")
	wait := s.path.RTO()
	for range 6 {
		s.advance(wait - 1)
		s.want()
		s.advance(1)
		s.want(". 1:101 ack 1")
		wait *= 2
	}
	s.advance(wait)
	s.wantState(Closed, ErrTimeout)
	if s.path.Inflight() != 0 {
		t.Errorf("in flight %d", s.path.Inflight())
	}
}

// RFC 5682 3, with SACK, and RFC 3522 3.2: the first acknowledgement after a timeout may speak of first copies.
func TestSpuriousTimeout(t *testing.T) {
	for _, c := range []struct {
		name, offer, line string
		config            func(*Config)
		again             bool // the rest goes again
	}{
		{"another arrived", "", ". 1 ack 2801", nil, false},
		{"behind a hole, perhaps", "<mss 1400>", ". 1 ack 2801", nil, true},
		{"timestamp of the first copy", "<mss 1400,ts 1:1>", ". 1 ack 1389 <ts 2:1100>", (*Config).stamped, false},
		{"timestamp of the second", "<mss 1400,ts 1:1>", ". 1 ack 1389 <ts 2:1600>", (*Config).stamped, true},
		{"no echo", "<mss 1400,ts 1:1>", ". 1 ack 1389 <ts 2:0>", (*Config).stamped, true},
		{"all of it, by timestamp", "<mss 1400,ts 1:1>", ". 1 ack 5553 <ts 2:1100>", (*Config).stamped, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := established(t, c.offer, c.config)
			s.push(4 * s.sub.MSS())
			s.transmit()
			for s.sub.stats.Timeouts == 0 {
				s.advance(s.sub.Deadline().Sub(s.now))
				s.transmit()
			}
			s.advance(50 * ms)
			s.recv(c.line)
			if (s.sub.stats.Spurious == 1) == c.again {
				t.Errorf("spurious %d", s.sub.stats.Spurious)
			}
			if again := len(s.transmit()) > 0; again != c.again {
				t.Errorf("again %v", again)
			}
			s.recv(fmt.Sprintf(". 1 ack %d <ts 3:1700>", 1+s.pushed))
			if s.path.Inflight() != 0 {
				t.Errorf("in flight %d", s.path.Inflight())
			}
		})
	}
}

func (c *Config) stamped() { c.Timestamps = true }

// RFC 5682 3, step 2b: an owner that follows Room can have something to ask with.
func TestRoomForAQuestion(t *testing.T) {
	s := flying(t, 5, "<mss 1400>", nil)
	s.control.window = 1440
	s.advance(s.path.RTO())
	if n := s.sub.Room(s.now); n != 0 {
		t.Errorf("room %d before the retransmission", n)
	}
	s.want(segment(0))
	if n := s.sub.Room(s.now); n != 1400 {
		t.Fatalf("room %d, want a segment", n)
	}
	s.push(1400)
	s.want()
	if n := s.sub.Room(s.now); n != 0 {
		t.Errorf("room %d beside the question", n)
	}
	s.recv(". 1 ack 1401")
	s.want("P. 7001:8401 ack 1")
	s.recv(". 1 ack 2801")
	if s.sub.stats.Spurious != 1 || s.sub.stats.Retransmits != 1 {
		t.Errorf("%+v", s.sub.stats)
	}
}

// Where the peer's window keeps the question from leaving, none is asked.
func TestNoQuestionBeyondTheWindow(t *testing.T) {
	s := flying(t, 5, "<mss 1400>", nil)
	s.control.window = 1440
	s.advance(s.path.RTO())
	s.push(1400)
	s.want(segment(0))
	s.control.window = 1 << 20
	s.recv(". 1 ack 1401 win 5600")
	s.want(segment(1), segment(2), segment(3), segment(4))
}

// RFC 5682 3, step 2b: if only the first is acknowledged, new data asks.
func TestTimeoutInDoubt(t *testing.T) {
	for _, spurious := range []bool{true, false} {
		s := flying(t, 5, "", func(c *Config) { c.NoSACK = true })
		s.advance(s.path.RTO())
		s.want(segment(0))
		s.push(2800)
		s.control.window = 1440
		s.recv(". 1 ack 1401")
		s.want(". 7001:8401 ack 1", "P. 8401:9801 ack 1")
		s.recv(". 1:11 ack 1401") // data of the peer tells nothing
		s.want()
		s.control.window = 1 << 20
		if spurious {
			s.recv(". 11 ack 2801")
			if s.sub.stats.Spurious != 1 || s.sub.loss.active {
				t.Error("the timeout was spurious")
			}
		} else {
			s.recv(". 11 ack 1401")
			s.want(". 1401:2801 ack 11", ". 2801:4201 ack 11", ". 4201:5601 ack 11", ". 5601:7001 ack 11", ". 7001:8401 ack 11", ". 8401:9801 ack 11")
		}
	}
}

// A timeout that was none: everything goes again, in order.
func TestTimeoutLosesAll(t *testing.T) {
	s := flying(t, 4, "<mss 1400>", nil)
	s.advance(s.path.RTO())
	s.want(segment(0))
	s.advance(2 * s.path.RTO())
	s.want(segment(0), segment(1), segment(2), segment(3))
}

// RFC 2018 8: a peer may throw away what it has acknowledged selectively.
func TestReneging(t *testing.T) {
	s := flying(t, 3, "", nil)
	s.recv(". 1 ack 1 <sack " + segments(1, 3) + ">")
	s.recv(". 1 ack 1401")
	s.advance(25 * ms)
	s.want()
	s.advance(second)
	s.want(segment(1), segment(2))
	s.recv(". 1 ack 4201")
	if s.path.Inflight() != 0 || s.sub.Outstanding() != 0 {
		t.Errorf("in flight %d, outstanding %d", s.path.Inflight(), s.sub.Outstanding())
	}
}

// RFC 6582 3.2: without SACK, three duplicates and then every partial acknowledgement tell one loss.
func TestNewReno(t *testing.T) {
	s := flying(t, 8, "<mss 1400>", nil)
	s.recv(". 1 ack 1")
	s.recv(". 1 ack 1")
	s.want()
	s.recv(". 1 ack 1")
	s.want(segment(0))
	s.recv(". 1 ack 1")
	s.want()
	s.recv(". 1 ack 4201")
	s.want(segment(3))
	s.recv(". 1 ack 11201")
	s.want()
	if s.sub.stats.Retransmits != 2 || s.path.Inflight() != 0 {
		t.Errorf("retransmits %d, in flight %d", s.sub.stats.Retransmits, s.path.Inflight())
	}
}

// Segments with data or another window are no duplicate acknowledgements (RFC 5681 2).
func TestNoDuplicates(t *testing.T) {
	s := flying(t, 8, "<mss 1400>", nil)
	for i := range 5 {
		s.recv(fmt.Sprintf(". %d:%d ack 1", 1+10*i, 11+10*i))
		s.recv(fmt.Sprintf(". %d ack 1 win %d", 11+10*i, 5000+i))
	}
	if s.sub.stats.DupAcks != 0 {
		t.Errorf("%d duplicates counted", s.sub.stats.DupAcks)
	}
}

// An acknowledgement that was overtaken changes nothing, nor does one of the SYN.
func TestOldAcks(t *testing.T) {
	s := flying(t, 4, "", nil)
	s.recv(". 1 ack 0 win 10")
	s.recv(". 1 ack -5")
	if s.acked != 0 || s.sub.Outstanding() != 5600 {
		t.Fatalf("acknowledged %d, outstanding %d", s.acked, s.sub.Outstanding())
	}
	s.recv(". 1 ack 2801")
	s.recv(". 2 ack 1401 win 10")
	if s.acked != 2800 || s.sub.Room(s.now) < 50000 {
		t.Errorf("acknowledged %d, room %d", s.acked, s.sub.Room(s.now))
	}
	s.want()
}

// Blocks that say what cannot be are passed over.
func TestBadBlocks(t *testing.T) {
	s := flying(t, 4, "", nil)
	for _, block := range []string{"5601:5602", "2801:1401", "1401:1401", "-5000:5000", "1401:99999", "-90:-80"} {
		s.recv(". 1 ack 1 <sack " + block + ">")
	}
	s.recv(". 1 ack 1 <sack 1402:2800>") // part of a segment
	if s.sub.Outstanding() != 5600 {
		t.Errorf("outstanding %d, want 5600", s.sub.Outstanding())
	}
	s.recv(". 1 ack 1 <sack 1401:2900>")
	if s.sub.Outstanding() != 4200 {
		t.Errorf("outstanding %d, want 4200", s.sub.Outstanding())
	}
	s.recv(". 1 ack 1401")
	s.recv(". 1 ack 2801 <sack 2701:4201>")
	if s.sub.Outstanding() != 2800 {
		t.Errorf("outstanding %d, want 2800", s.sub.Outstanding())
	}
}

// RFC 6298 3, RFC 7323 4: a segment sent twice tells the round trip only by its timestamp.
func TestKarn(t *testing.T) {
	for _, c := range []struct {
		offer, line string
		least       time.Duration
	}{
		{"<mss 1400>", ". 1 ack 101", 100 * ms},
		{"<mss 1400,ts 1:1>", ". 1 ack 101 <ts 2:1300>", 50 * ms},
	} {
		s := established(t, c.offer, func(c *Config) { c.Timestamps = true })
		s.push(100)
		s.transmit()
		s.advance(s.path.RTO()) // 300 ms
		s.transmit()
		s.advance(50 * ms)
		s.recv(c.line)
		if _, _, least := s.path.RTT(); least != c.least && least != 100*ms {
			t.Errorf("%s: least round trip %v, want %v", c.offer, least, c.least)
		}
	}
}
