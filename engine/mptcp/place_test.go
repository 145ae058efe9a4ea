package mptcp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
)

// What is learnt of a path holds for the network that an address is in.
func TestPlaces(t *testing.T) {
	b := newScript(t, true, Config{}, 1).b
	for _, x := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.7", "192.0.2.250", true}, {"192.0.2.7", "192.0.3.7", false},
		{"2001:db8:1:1::1", "2001:db8:1:ffff::2", true}, {"2001:db8:1::1", "2001:db8:2::1", false},
	} {
		if same := b.place(netip.MustParseAddr(x.a)) == b.place(netip.MustParseAddr(x.b)); same != x.same {
			t.Errorf("%s and %s are one place: %v", x.a, x.b, same)
		}
	}
}

// One connection says an eighth of what is known.
func TestLessonsAreSmoothed(t *testing.T) {
	var l lessons
	l.init()
	network := netip.MustParsePrefix("192.0.2.0/24")
	l.measured(0, network, 1, 80*ms, 8000)
	l.measured(0, network, 1, 160*ms, 16000)
	l.unanswered(0, network, 1)
	x := l.find(0, place{network, 1})
	if x.rtt != 90*ms || x.rate != 9000 || x.success != lessonOne*7/8 {
		t.Errorf("%+v", x)
	}
	l.answered(0, network, 1)
	if want := lessonOne*7/8 + lessonOne/64; x.success != want {
		t.Errorf("success %d after an answer, want %d", x.success, want)
	}
}

// Where nobody answers races, they are less each time, but never for longer than a minute or so.
func TestLullsGrow(t *testing.T) {
	var l lessons
	l.init()
	now, network := clock.Time(0), netip.MustParsePrefix("192.0.2.0/24")
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 64} {
		l.failed(now, network)
		now = now.Add(want * second)
		if !l.lull(now-1, network) || l.lull(now, network) {
			t.Errorf("no lull of %d s", want)
		}
	}
	l.answered(now, network, 0)
	l.failed(now, network)
	if l.lull(now.Add(second), network) {
		t.Error("an answer does not end it")
	}
	for range 5 {
		l.failed(now, network)
	}
	now = now.Add(time.Hour)
	if l.failed(now, network); l.lull(now.Add(second), network) {
		t.Error("what was an hour ago counts")
	}
}

// A path that comes ends all lulls: nobody knows yet that nothing is answered over that one.
func TestAttachEndsLulls(t *testing.T) {
	s := asking(t, Config{Establish: SIM}, 1)
	s.b.lessons.failed(s.now, s.b.place(target.Addr()))
	s.attach(1, true)
	s.skip()
	s.dial(DialOptions{})
	if got := s.asked(); got != "01" {
		t.Errorf("asks %s", got)
	}
}

// Segments of nothing are answered as long as few wait for that, and joins are tried again as long as few do.
func TestWhatWaitsIsBounded(t *testing.T) {
	s := agreed(t, Config{}, 1)
	for i := range 3 * straysMax {
		s.ends[0].remote = netip.AddrPortFrom(target.Addr(), uint16(1000+i))
		s.recv("0 . 1 ack 1")
	}
	if n := len(s.left()); n != straysMax || s.b.Counters().LimitStrays != 2*straysMax {
		t.Errorf("%d answers, %d counted", n, s.b.Counters().LimitStrays)
	}
	for i := range 3 * attemptsMax {
		s.c.retryLater(s.now, attempt{path: s.b.path(0), remote: netip.MustParseAddrPort(fmt.Sprintf("192.0.2.1:%d", i))}, second)
	}
	if n := len(s.c.signal.attempts); n != attemptsMax || s.b.Counters().LimitAttempts != 2*attemptsMax {
		t.Errorf("%d joins wait, %d counted", n, s.b.Counters().LimitAttempts)
	}
	for range 3 * signalsMax {
		s.c.subflows[0].signal(signal{kind: signalPrio})
	}
	if n := len(s.c.subflows[0].signals); n != signalsMax || s.b.Counters().LimitSignals != 2*signalsMax {
		t.Errorf("%d options wait, %d counted", n, s.b.Counters().LimitSignals)
	}
	for range 3 * eventsMax {
		s.b.report(Event{Kind: PathAlive})
	}
	if n := len(s.b.events); n != eventsMax || s.b.Counters().LimitEvents != 2*eventsMax {
		t.Errorf("%d events wait, %d counted", n, s.b.Counters().LimitEvents)
	}
}
