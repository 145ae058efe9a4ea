package path

import (
	"math"
	"testing"
	"time"
)

// At 1.44 MB/s a packet takes a millisecond: bursts of two leave two milliseconds apart.
func TestPacing(t *testing.T) {
	s := play(t)
	s.pace = testMTU * 1000
	for s.p.Room(s.now) > 0 { // what a path that was silent may send at once
		s.send()
	}
	s.now = s.p.NextSend()
	s.want("a burst", s.p.Room(s.now), 2*testMTU)
	s.send()
	s.want("the rest of it", s.p.Room(s.now), testMTU)
	if s.p.NextSend() > s.now {
		t.Error("the rest must wait")
	}
	s.send()
	s.want("nothing after it", s.p.Room(s.now), 0)
	if got := s.p.NextSend().Sub(s.now); got != 2*time.Millisecond {
		t.Errorf("the next in %v", got)
	}
	s.now = s.p.NextSend()
	s.want("the next burst", s.p.Room(s.now), 2*testMTU)
}

func TestPaceIsKept(t *testing.T) {
	for _, late := range []time.Duration{0, 700 * time.Microsecond, 3 * time.Millisecond} {
		s := play(t)
		s.window = 1 << 30
		s.pace = 6e6
		sent := 0
		for begun := s.now; s.now < begun+second; {
			for s.p.Room(s.now) > 0 {
				s.send()
				sent += testMTU
			}
			s.now = max(s.p.NextSend(), s.now).Add(late)
		}
		if sent < 5.9e6 || sent > 6.1e6 {
			t.Errorf("woken %v late: sent %d in a second, want %d", late, sent, s.pace)
		}
	}
}

func TestSilenceEarnsNoBurst(t *testing.T) {
	s := play(t)
	s.pace = testMTU * 1000
	s.send()
	s.advance(time.Minute)
	n := 0
	for s.p.Room(s.now) > 0 {
		s.send()
		n++
	}
	if n > 8 {
		t.Errorf("%d packets left at once", n)
	}
}

// What no machine could carry is the same on every machine.
func TestRatesAreBounded(t *testing.T) {
	if got := perSecond(windowMax, 1); got != countMax {
		t.Errorf("a gigabyte in a nanosecond is %d a second", got)
	}
	if got := burst(math.MaxInt, testMTU); got != countMax/1000 {
		t.Errorf("a burst of %d", got)
	}
	if got := duration(math.MaxInt, 1); got != time.Hour {
		t.Errorf("%v for anything at an octet a second", got)
	}
	if got := whole(-1); got != 0 {
		t.Errorf("%d", got)
	}
}
