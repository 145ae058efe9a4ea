package mptcp

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// heard has a path be one over which a peer was heard now.
func (s *script) heard(id PathID) { s.b.path(id).heardAt = s.now }

// learn teaches the bond what a path is like towards target.
func (s *script) learn(id PathID, rtt time.Duration, rate int) {
	s.b.lessons.measured(s.now, s.b.place(target.Addr()), id, rtt, rate)
}

// asked returns the paths over which SYNs have left.
func (s *script) asked() string {
	var paths strings.Builder
	for _, line := range s.left() {
		if strings.Contains(line, " S 0") {
			paths.WriteByte(line[0])
		}
	}
	return paths.String()
}

// RobE_IPS asks over the path with the lower round trip, and races while nothing is known, or what was known is old.
func TestIPS(t *testing.T) {
	for _, mode := range []Establish{IPS, IPSTimer, IPSSIM} {
		s := newScript(t, true, Config{Establish: mode}, 3)
		dial := func() string { s.dial(DialOptions{}); return s.asked() }
		if got := dial(); got != "012" {
			t.Errorf("%v: asks %s when it knows nothing", mode, got)
		}
		s.learn(0, 40*ms, 1000)
		s.learn(1, 20*ms, 1000)
		if got := dial(); got != "1" {
			t.Errorf("%v: asks %s", mode, got)
		}
		for range 8 {
			s.learn(1, 300*ms, 1000)
		}
		if got := dial(); got != "0" {
			t.Errorf("%v: asks %s when the first is better", mode, got)
		}
		s.advance(2 * lessonLasts)
		s.skip()
		if got := dial(); got != "012" {
			t.Errorf("%v: asks %s when all is long ago", mode, got)
		}
	}
}

// Success and rate count as well as the round trip.
func TestGrades(t *testing.T) {
	for _, x := range []struct {
		name  string
		learn func(s *script)
		want  string
	}{
		{"rate", func(s *script) { s.learn(0, 20*ms, 1000); s.learn(1, 22*ms, 9000) }, "1"},
		{"round trip", func(s *script) { s.learn(0, 20*ms, 1000); s.learn(1, 90*ms, 9000) }, "0"},
		{"success", func(s *script) {
			s.learn(0, 20*ms, 1000)
			s.learn(1, 22*ms, 1000)
			for range 3 {
				s.b.lessons.unanswered(s.now, s.b.place(target.Addr()), 0)
			}
		}, "1"},
		{"nothing known of one", func(s *script) { s.learn(1, 400*ms, 10) }, "1"},
		{"role", func(s *script) { s.learn(0, 400*ms, 10); s.learn(1, 10*ms, 1000); s.b.SetRole(s.now, 1, Backup) }, "0"},
	} {
		s := newScript(t, true, Config{Establish: IPS}, 2)
		x.learn(s)
		s.dial(DialOptions{})
		if got := s.asked(); got != x.want {
			t.Errorf("%s: asks %s", x.name, got)
		}
	}
}

// One connection in twenty goes another way, to learn.
func TestExploration(t *testing.T) {
	s := newScript(t, true, Config{Establish: IPS}, 2)
	s.learn(0, 10*ms, 1000)
	s.learn(1, 20*ms, 1000)
	if asked := s.explored(); strings.Count(asked, "1") != 2 {
		t.Errorf("%s", asked)
	}
	s.b.SetRole(s.now, 1, Backup)
	if asked := s.explored(); strings.Count(asked, "1") != 0 {
		t.Errorf("%s, of which one is a backup", asked)
	}
}

// explored dials 40 times and returns which paths were asked.
func (s *script) explored() (asked string) {
	s.t.Helper()
	for i := range uint32(40) {
		s.b.cfg.Entropy.(*fixed).nonce = i
		s.iss = wire.Seq(i)
		s.dial(DialOptions{})
		asked += s.asked()
	}
	return asked
}

// What happens when the path that IPS took does not answer.
func TestIPSUnanswered(t *testing.T) {
	for mode, want := range map[Establish]string{IPS: "11", IPSTimer: "101", IPSSIM: "1021"} {
		s := newScript(t, true, Config{Establish: mode}, 3)
		s.learn(1, 20*ms, 1000)
		s.learn(0, 40*ms, 1000)
		s.dial(DialOptions{})
		s.advance(1900 * ms)
		if got := s.asked(); got != want {
			t.Errorf("%v: asks %s, want %s", mode, got, want)
		}
	}
}

// Lessons are bounded; the oldest goes, and those of a path that goes.
func TestLessonsAreBounded(t *testing.T) {
	var l lessons
	l.init()
	network := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
	}
	for i := range lessonsMax + 3 {
		l.measured(clock.Time(i), network(i), PathID(i%2), 10*ms, 1)
	}
	if len(l.byPlace) != lessonsMax || l.dropped != 3 || l.find(5000, place{network(2), 0}) != nil || l.find(5000, place{network(3), 1}) == nil {
		t.Errorf("%d lessons, %d dropped", len(l.byPlace), l.dropped)
	}
	s := newScript(t, true, Config{}, 2)
	s.learn(1, 20*ms, 1)
	if s.b.Detach(s.now, 1); len(s.b.lessons.byPlace) != 0 {
		t.Error("a path that went is not forgotten")
	}
	l.forget(0)
	if len(l.byPlace) != lessonsMax/2 {
		t.Errorf("%d are left", len(l.byPlace))
	}
	for i := range lullsMax + 3 {
		l.failed(0, network(i))
	}
	if len(l.lulls) != lullsMax || l.dropped != 6 {
		t.Errorf("%d lulls", len(l.lulls))
	}
	if l.failed(clock.Time(time.Hour), network(5000)); len(l.lulls) != 1 {
		t.Errorf("%d lulls when they are over", len(l.lulls))
	}
}

// Where nobody answered a race the next is one SYN at a time, for longer each time, until somebody answers.
func TestRacesBackOff(t *testing.T) {
	s := asking(t, Config{Establish: SIM}, 2)
	s.advance(200 * second)
	s.over(ErrTimeout)
	s.skip()
	s.b.lessons.failed(s.now, s.b.place(target.Addr()))
	s.dial(DialOptions{})
	if got := s.asked(); got != "0" {
		t.Errorf("asks %s", got)
	}
	s.advance(1100 * ms)
	s.skip()
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>")
	s.skip()
	s.dial(DialOptions{})
	if got := s.asked(); got != "01" {
		t.Errorf("asks %s after an answer", got)
	}
}

// Auto races unless the best path was heard from within the last second; a path that then stays silent a little
// longer than its round trip is not waited for.
func TestAuto(t *testing.T) {
	s := newScript(t, true, Config{}, 2)
	s.b.cfg.Establish = Auto
	dial := func() string { s.dial(DialOptions{}); return s.asked() }
	if got := dial(); got != "01" {
		t.Errorf("asks %s at first", got)
	}
	s.learn(0, 40*ms, 1000)
	s.learn(1, 20*ms, 1)
	if got := dial(); got != "10" {
		t.Errorf("asks %s when it heard nothing", got)
	}
	s.heard(1)
	s.advance(fresh - 1)
	s.skip()
	if got := dial(); got != "1" {
		t.Errorf("asks %s when it heard", got)
	}
	s.heard(1)
	s.advance(fresh)
	s.skip()
	if got := dial(); got != "10" {
		t.Errorf("asks %s when that is long ago", got)
	}
	s = newScript(t, true, Config{}, 2)
	s.b.cfg.Establish = Auto
	s.learn(0, 40*ms, 1000)
	s.learn(1, 20*ms, 1)
	s.heard(1)
	s.dial(DialOptions{})
	s.skip()
	s.advance(20*ms + slack - 1)
	if got := s.asked(); got != "" {
		t.Errorf("asks %s too soon", got)
	}
	s.advance(1)
	if got := s.asked(); got != "0" {
		t.Errorf("asks %s when the best does not answer", got)
	}
}
