package path

import (
	"testing"
	"time"
)

// search runs a search on a link that passes packets up to fits, and returns how many probes it took.
func (s *script) search(fits int) (probes int) {
	for range 100 {
		n := s.p.Probe(s.now, 1500)
		if n == 0 {
			return probes
		}
		probes++
		if again := s.p.Probe(s.now, 1500); again != 0 {
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
		if n := s.p.Probe(s.now, 1500); n <= 1280 {
			t.Errorf("probe of %d", n)
		}
		s.advance(5 * time.Second)
	}
}

// A black hole that was an outage costs one probe.
func TestBlackholeWasAnOutage(t *testing.T) {
	e := &ear{}
	s := &script{T: t, ear: e, p: New(e, 1280), now: second}
	s.p.SearchMTU(1500)
	s.search(1400)
	before := s.p.MTU()
	s.p.Blackhole(s.now)
	s.want("the first probe", s.p.Probe(s.now, 1500), before)
	s.p.Probed(s.now, before, true)
	s.want("mtu", s.p.MTU(), before)
}

// A search that begins anew has all its tries.
func TestSearchBeginsAnew(t *testing.T) {
	e := &ear{}
	s := &script{T: t, ear: e, p: New(e, 1280), now: second}
	for range 5 {
		s.p.SearchMTU(1500)
		for range mtuProbes - 1 {
			s.want("probe", s.p.Probe(s.now, 1500), 1500)
			s.p.Probed(s.now, 1500, false)
		}
	}
}

// Who cannot send the size that is wanted tries what it can, and asks no more when that passes.
func TestProbeBeyondTheSender(t *testing.T) {
	e := &ear{}
	p := New(e, 1280)
	p.SearchMTU(1500)
	for _, want := range []int{1400, 0, 0} {
		if n := p.Probe(second, 1400); n != want {
			t.Fatalf("probe of %d, want %d", n, want)
		}
		p.Probed(second, 1400, true)
	}
	if n := p.Probe(second, 1500); n != 1500 {
		t.Errorf("probe of %d, want 1500", n)
	}
}

// RFC 8201 4: a router's word lowers the MTU, never below 1280, and holds for ten minutes.
func TestTooBig(t *testing.T) {
	for _, c := range []struct{ told, want, probe int }{
		{1500, testMTU, 0}, {testMTU, testMTU, 0}, {1400, 1400, 0}, {1280, 1280, 0}, {1279, 1280, testMTU}, {0, 1280, testMTU},
	} {
		s := play(t)
		if lowered := s.p.TooBig(s.now, c.told); lowered != (c.want < testMTU) {
			t.Errorf("%d: lowered %v", c.told, lowered)
		}
		s.want("mtu", s.p.MTU(), c.want)
		s.want("probe at once", s.p.Probe(s.now, 1500), c.probe)
		s.advance(10 * time.Minute)
		if n := s.p.Probe(s.now, 1500); (n == testMTU) != (c.want < testMTU) {
			t.Errorf("%d: probe of %d later", c.told, n)
		}
	}
}
