package path

import (
	"testing"
	"time"
)

// search runs a search on a link that passes packets up to fits, and returns how many probes it took.
func (s *script) search(fits int) (probes int) {
	for range 100 {
		n := s.p.Probe(s.now)
		if n == 0 {
			return probes
		}
		probes++
		if again := s.p.Probe(s.now); again != 0 {
			s.Errorf("a second probe of %d while the first is out", again)
		}
		s.advance(50 * time.Millisecond)
		s.p.Probed(s.now, n, n <= fits)
	}
	s.Error("the search does not end")
	return probes
}

func TestMTUIsKnownFromTheStart(t *testing.T) {
	s := play(t)
	s.want("mtu", s.p.MTU(), testMTU)
	s.want("probes", s.search(testMTU), 0)
}

func TestBlackhole(t *testing.T) {
	s := play(t)
	if !s.p.Blackhole(s.now) {
		t.Fatal("not lowered")
	}
	s.want("at once", s.p.MTU(), 1280)
	s.want("ceiling", s.p.Ceiling(), testMTU)
	if s.p.Blackhole(s.now) {
		t.Error("lowered below the base")
	}
	s.search(1400)
	if got := s.p.MTU(); got > 1400 || got < 1400-16 {
		t.Errorf("found %d, want 1400 or a little less", got)
	}
	s.advance(10 * time.Minute)
	s.search(1500)
	s.want("after the path has healed", s.p.MTU(), testMTU)
}

func TestSearchUpwards(t *testing.T) {
	e := &ear{}
	s := &script{T: t, ear: e, p: New(e, 1280), now: second}
	s.p.SearchMTU(1500)
	s.want("probes when all pass", s.search(1500), 1)
	s.want("mtu", s.p.MTU(), 1500)
	small := New(e, 1000)
	if small.Blackhole(s.now) || small.MTU() != 1000 {
		t.Error("a path below the base was lowered")
	}
}

func TestProbeOfUnknownFate(t *testing.T) {
	s := play(t)
	s.p.Blackhole(s.now)
	s.p.Probed(s.now, 1400, true)
	s.want("a probe nobody asked for", s.p.MTU(), 1280)
	for range 3 {
		if n := s.p.Probe(s.now); n <= 1280 {
			t.Errorf("probe of %d", n)
		}
		s.advance(5 * time.Second)
	}
}
