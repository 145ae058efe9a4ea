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

// The next is selected when the one before has failed, up to the last.
func TestIPSSelectsAgain(t *testing.T) {
	s := newScript(t, true, Config{Establish: IPS}, 2)
	s.learn(1, 20*ms, 1000)
	s.learn(0, 40*ms, 1000)
	s.dial(DialOptions{})
	s.advance(15500 * ms)
	if got := s.asked(); got != "11110" {
		t.Fatalf("asks %s", got)
	}
	s.advance(200 * second)
	if got := s.asked(); got != "000000" {
		t.Fatalf("then asks %s", got)
	}
	s.over(ErrTimeout)

	s.learn(0, 40*ms, 1000)
	s.dial(DialOptions{})
	s.recv(s.asked() + " R. 0 ack 1") // somebody is there, and does not want it
	if s.advance(second); s.asked() != "" {
		t.Error("asks on after a refusal")
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

// Auto asks no more paths than a race would, but for those of which each follows the timeout of the one before.
func TestAutoAsksFewAtOnce(t *testing.T) {
	s := newScript(t, true, Config{}, 6)
	s.b.cfg.Establish = Auto
	for i := range PathID(6) {
		s.learn(i, 20*ms, 1000)
	}
	s.heard(0)
	s.dial(DialOptions{})
	s.advance(900 * ms)
	if got := s.asked(); got != "012" {
		t.Errorf("asks %s in less than a second", got)
	}
	s.advance(400 * ms)
	if got := s.asked(); strings.Count(got, "3") != 1 || strings.Contains(got, "4") {
		t.Errorf("asks %s then", got)
	}
	s = newScript(t, true, Config{Establish: IPSSIM}, 6)
	s.learn(0, 20*ms, 1000)
	s.dial(DialOptions{})
	s.advance(1100 * ms)
	if got := s.asked(); strings.Count(got, "0") != 2 || len(got) != 4 {
		t.Errorf("with IPS asks %s", got)
	}
}

// Between our ends whatever is heard over a path shows that it works: also what is no segment.
func TestLaneIsHeard(t *testing.T) {
	s := newLane(t, true, Config{}, 2)
	s.b.cfg.Establish = Auto
	s.advance(2 * fresh)
	s.skip()
	s.b.Ping(s.now)
	s.talk()
	s.dial(DialOptions{})
	if got := s.asked(); got != "0" {
		t.Errorf("asks %s", got)
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

// Where a path has not answered a SYN in its time the next connection takes another, however much quicker that one was,
// until something comes over it; one in a hurry asks others soon enough.
func TestSilentPathIsShunned(t *testing.T) {
	s := newScript(t, true, Config{Establish: IPS}, 2)
	s.learn(0, 20*ms, 1000)
	s.learn(1, 200*ms, 1000)
	dial := func(opt DialOptions) string { s.dial(opt); return s.asked() }
	if got := dial(DialOptions{}); got != "0" {
		t.Fatalf("asks %s", got)
	}
	s.advance(999 * ms)
	if got := dial(DialOptions{}); got != "0" {
		t.Errorf("asks %s before the timeout", got)
	}
	s.advance(1 * ms)
	s.skip()
	if got := dial(DialOptions{}); got != "1" {
		t.Errorf("asks %s after it", got)
	}
	s.heard(0)
	s.b.cfg.Establish = Auto
	if got := dial(DialOptions{}); got != "0" {
		t.Errorf("asks %s in a hurry", got)
	}
	s.b.cfg.Establish = IPS
	s.learn(0, 20*ms, 1000)
	if got := dial(DialOptions{}); got != "0" {
		t.Errorf("asks %s when it is heard again", got)
	}
	for id := range PathID(2) {
		s.b.lessons.unanswered(s.now, s.b.place(target.Addr()), id)
	}
	if got := dial(DialOptions{}); got != "01" {
		t.Errorf("asks %s when both are silent", got)
	}
	s.b.lessons.answered(s.now, s.b.place(target.Addr()), 0)
	if got := dial(DialOptions{}); got != "0" {
		t.Errorf("asks %s when one answers again", got)
	}
}

// Where nobody answered, no mode asks several at once for a while, neither before nor after the first timeout.
func TestAllModesBackOff(t *testing.T) {
	for _, mode := range []Establish{Auto, IPSSIM} {
		s := newScript(t, true, Config{}, 4)
		s.b.cfg.Establish = mode
		ask := func() string {
			s.learn(0, 20*ms, 1000)
			s.heard(0)
			s.dial(DialOptions{})
			s.advance(1900 * ms)
			return s.asked()
		}
		if got := ask(); !strings.Contains(got, "1") || !strings.Contains(got, "2") {
			t.Errorf("%v: asks %s", mode, got)
		}
		s.c.Abort(s.now)
		s.skip()
		for range 3 {
			s.b.lessons.failed(s.now, s.b.place(target.Addr()))
		}
		if got := ask(); got != "010" {
			t.Errorf("%v: asks %s where nobody answered", mode, got)
		}
	}
}

// A path that comes when all that were asked are silent is asked at once, and while one may still answer, after that.
func TestPathThatComesIsAsked(t *testing.T) {
	s := asking(t, Config{Establish: Timer}, 3)
	s.advance(10 * second)
	s.skip()
	s.attach(3, true)
	s.advance(0)
	if got := s.asked(); got != "3" {
		t.Errorf("asks %q", got)
	}
	s.attach(4, true)
	s.advance(0)
	if got := s.asked(); got != "" {
		t.Errorf("then asks %q", got)
	}
	s.advance(999 * ms)
	if got := s.asked(); strings.Contains(got, "4") {
		t.Errorf("then asks %q", got)
	}
	s.advance(1 * ms)
	if got := s.asked(); strings.Count(got, "4") != 1 {
		t.Errorf("at last asks %q", got)
	}
}
