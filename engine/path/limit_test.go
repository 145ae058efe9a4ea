package path

import (
	"testing"
	"time"
)

// drive sends whenever the path lets it for so long, and returns the octets of packets that were let leave. other is what
// leaves besides, every millisecond.
func (s *script) drive(d time.Duration, other int) (paced int) {
	tick := s.now
	for end := s.now.Add(d); s.now < end; {
		for s.p.Room(s.now) > 0 && s.now < end {
			s.send()
			s.p.Charge(s.now, testMTU)
			paced += testMTU
		}
		next := max(s.p.NextSend(), s.now+1)
		if other > 0 {
			if s.now >= tick {
				s.p.Charge(s.now, other)
				tick = tick.Add(time.Millisecond)
			}
			next = min(next, tick)
		}
		s.now = min(next, end)
	}
	return paced
}

// unbounded is a script whose window and pace let everything leave.
func unbounded(t *testing.T) *script {
	s := play(t)
	s.window = 1 << 30
	s.p.RTTSample(s.now, 20*time.Millisecond)
	return s
}

func TestLimitIsKept(t *testing.T) {
	for _, rate := range []int{20_000, 125_000, 1_000_000, 50_000_000} {
		s := unbounded(t)
		s.p.SetLimit(s.now, rate)
		s.advance(time.Minute) // earns no more than a burst
		for range 3 {
			got := s.drive(time.Second, 0)
			if most := max(2*testMTU, rate/25); got > rate+most || got < rate-2*testMTU {
				t.Errorf("%d octets in a second, want %d", got, rate)
			}
		}
	}
}

// A burst is what the limit carries in forty milliseconds, or two packets.
func TestLimitBurst(t *testing.T) {
	for _, c := range []struct{ rate, packets int }{{20_000, 2}, {36_000, 2}, {360_000, 10}} {
		s := unbounded(t)
		s.p.SetLimit(s.now, c.rate)
		s.advance(time.Minute)
		n := 0
		for s.p.Room(s.now) > 0 {
			s.send()
			s.p.Charge(s.now, testMTU)
			n++
		}
		if n != c.packets {
			t.Errorf("at %d a burst has %d packets, want %d", c.rate, n, c.packets)
		}
	}
}

// Who comes up to a burst late makes up for it, again and again, and gets no more than that.
func TestLimitMakesUpForLateness(t *testing.T) {
	for _, c := range []struct {
		late        time.Duration
		least, most int
	}{{35 * time.Millisecond, 990_000, 1_040_000}, {140 * time.Millisecond, 490_000, 510_000}} {
		s := unbounded(t)
		s.p.SetLimit(s.now, 1_000_000)
		got := 0
		for range 5 {
			s.advance(c.late)
			got += s.drive(200*time.Millisecond-c.late, 0)
		}
		if got < c.least || got > c.most {
			t.Errorf("late by %v: %d octets in a second of 1000000", c.late, got)
		}
	}
}

// What is not paced counts, and yet never takes all.
func TestLimitCountsWhatIsNotPaced(t *testing.T) {
	s := unbounded(t)
	s.p.SetLimit(s.now, 1_000_000)
	if got := s.drive(10*time.Second, 400); got < 5_900_000 || got > 6_050_000 {
		t.Errorf("%d octets beside 400000 a second, want 600000 a second", got)
	}
	if got := s.drive(10*time.Second, 2000); got < 1_200_000 || got > 1_300_000 {
		t.Errorf("%d octets beside too much, want an eighth", got)
	}
	if got := s.drive(time.Second, 0); got < 850_000 {
		t.Errorf("%d octets after it: debts last too long", got)
	}
}

func TestLimitIsAtLeastAPacketInATimeout(t *testing.T) {
	s := unbounded(t)
	s.p.SetLimit(s.now, 1)
	s.want("the limit", s.p.Limit(), perSecond(testMTU, s.p.RTO()))
	if got := s.drive(10*s.p.RTO(), 0); got < 10*testMTU || got > 12*testMTU {
		t.Errorf("%d octets in ten timeouts", got)
	}
}

// A limit that changes all the time bounds as much as one that stays: nothing is saved or forgiven by it.
func TestLimitChanges(t *testing.T) {
	for _, other := range []int{0, 400} { // what is not paced, every millisecond
		s := unbounded(t)
		s.p.SetLimit(s.now, 1_000_000)
		s.drive(time.Second, other)
		got := 0
		for i := range 100 {
			s.p.SetLimit(s.now, 1_000_000+i%2)
			got += s.drive(10*time.Millisecond, other)
		}
		if want := 1_000_000 - 1000*other; got < want-15_000 || got > want+15_000 {
			t.Errorf("%d octets in a second beside %d, want %d", got, 1000*other, want)
		}
	}
}

// What is owed are octets, at whatever rate.
func TestLimitChangesWhatIsOwed(t *testing.T) {
	s := unbounded(t)
	s.p.SetLimit(s.now, 1_000_000)
	s.p.Charge(s.now, 60_000)
	for _, c := range []struct{ rate, want int }{{2_000_000, 30_000}, {500_000, 100_000}, {1_000_000, 50_000}, {100_000_000, 500}} {
		s.p.SetLimit(s.now, c.rate)
		s.want("µs until nothing is owed", int(s.p.limit.emptyAt.Sub(s.now).Microseconds()), c.want)
	}
}

func TestLimitGoes(t *testing.T) {
	s := unbounded(t)
	s.p.SetLimit(s.now, 1000)
	for s.p.Room(s.now) > 0 {
		s.send()
		s.p.Charge(s.now, testMTU)
	}
	if s.p.Room(s.now) > 0 || s.p.Allows(s.now) || s.p.MayRide(s.now) {
		t.Error("has room")
	}
	s.p.SetLimit(s.now, 0)
	if s.p.Room(s.now) <= 0 || !s.p.Allows(s.now) || !s.p.MayRide(s.now) || s.p.Limit() != 0 || s.p.NextSend() > s.now {
		t.Error("has no room")
	}
	s.p.SetLimit(s.now, -5)
	s.want("a negative limit", s.p.Limit(), 0)
}

// What arrives while the limit keeps more back says nothing about the path.
func TestLimitIsNoCapacity(t *testing.T) {
	s := unbounded(t)
	s.p.SetLimit(s.now, 100_000)
	s.drive(100*time.Millisecond, 0)
	if st := s.p.Sent(s.now, testMTU); !st.appLimited {
		t.Error("taken for the path's")
	}
	s = unbounded(t)
	s.p.SetLimit(s.now, 100_000_000)
	s.window = 10 * testMTU
	s.advance(time.Second)
	for s.p.Room(s.now) > 0 {
		s.send()
		s.p.Charge(s.now, testMTU)
	}
	if st := s.p.Sent(s.now, testMTU); st.appLimited {
		t.Error("the window was the limit")
	}
}
