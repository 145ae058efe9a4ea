package schedule

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

const (
	mss = 1400
	m   = time.Millisecond
)

var names = []string{"earliest", "minrtt", "ecf", "blest", "roundrobin", "redundant", "backup", "owl", "cost"}

// path returns a path of so many Mbit/s with an empty queue, half of its window in flight.
func path(mbit int, rtt time.Duration) View {
	rate := mbit * 1e6 / 8
	held := int(float64(rate) * rtt.Seconds())
	return View{
		Usable: true, Room: held / 2, RTT: rtt, RTTMin: rtt, RTTMax: rtt,
		Window: held, Inflight: held / 2, Rate: rate, MSS: mss,
	}
}

func full(v View) View { v.Room, v.Inflight = 0, v.Window; return v }

func with(v View, change func(*View)) View { change(&v); return v }

var (
	backupPath = func(v *View) { v.Backup = true }
	secondary  = func(v *View) { v.Secondary = true }
	carried    = func(v *View) { v.Sent = true }
	suspect    = func(v *View) { v.Usable = false }
	noFlight   = func(v *View) { v.Inflight = 0 }
)

func TestRules(t *testing.T) {
	fast, slow := path(50, 20*m), path(30, 60*m)
	const bulk, window = 4 << 20, 6 << 20
	for _, c := range []struct {
		name           string
		paths          []View
		queued, window int
		want           map[string]int
	}{
		{"both have room", []View{slow, fast}, bulk, window,
			map[string]int{"earliest": 1, "minrtt": 1, "ecf": 1, "blest": 1, "roundrobin": 0, "redundant": 0, "backup": 0}},
		{"equal: the first", []View{fast, fast}, bulk, window,
			map[string]int{"earliest": 0, "minrtt": 0, "ecf": 0, "blest": 0}},
		{"bulk spills", []View{full(fast), slow}, bulk, window,
			map[string]int{"earliest": 1, "minrtt": 1, "ecf": 1, "blest": 1, "roundrobin": 1, "redundant": 1, "backup": 1}},
		{"the tail waits for the fast path", []View{full(fast), slow}, 2 * mss, window,
			map[string]int{"earliest": -1, "minrtt": 1, "ecf": -1, "backup": 1}},
		{"a long tail does not", []View{full(fast), slow}, 200 * mss, window,
			map[string]int{"earliest": 1}},
		{"nor one that shares the path with many", []View{with(full(fast), func(v *View) { v.Flows = 100 }), slow}, 2 * mss, window,
			map[string]int{"earliest": 1}},
		{"a small window waits", []View{full(fast), slow}, bulk, 64 << 10,
			map[string]int{"earliest": -1, "minrtt": 1, "blest": -1}},
		{"not for a path that nothing comes from", []View{with(full(fast), noFlight), slow}, 2 * mss, 64 << 10,
			map[string]int{"earliest": 1, "ecf": 1, "blest": 1}},
		{"nor for a slower one", []View{fast, full(slow)}, 2 * mss, 64 << 10,
			map[string]int{"earliest": 0, "ecf": 0, "blest": 0}},
		{"nor for a suspect one", []View{with(full(fast), suspect), slow}, 2 * mss, window,
			map[string]int{"earliest": 1, "ecf": 1, "blest": 1}},
		{"backups rest", []View{with(fast, backupPath), slow}, bulk, window,
			map[string]int{"earliest": 1, "minrtt": 1, "ecf": 1, "blest": 1, "roundrobin": 1, "redundant": 1, "backup": 1}},
		{"even when the others are full", []View{with(fast, backupPath), full(slow)}, bulk, window,
			map[string]int{"earliest": -1, "minrtt": -1, "ecf": -1, "blest": -1, "roundrobin": -1, "redundant": -1, "backup": -1}},
		{"backups work when nothing else does", []View{with(slow, suspect), with(fast, backupPath)}, bulk, window,
			map[string]int{"earliest": 1, "minrtt": 1, "ecf": 1, "blest": 1, "roundrobin": 1, "redundant": 1, "backup": 1}},
		{"secondaries come last", []View{with(fast, secondary), slow}, bulk, window,
			map[string]int{"earliest": 1, "minrtt": 1, "roundrobin": 1, "backup": 1}},
		{"and then do their part", []View{with(fast, secondary), full(slow)}, bulk, window,
			map[string]int{"earliest": 0, "minrtt": 0, "roundrobin": 0, "backup": 0}},
		{"nobody waits for a secondary", []View{with(full(fast), secondary), slow}, 2 * mss, window,
			map[string]int{"earliest": 1}},
		{"again, but elsewhere", []View{with(fast, carried), slow}, mss, window,
			map[string]int{"earliest": 1, "minrtt": 1, "ecf": 1, "blest": 1, "redundant": 1}},
		{"again where it went already, at last", []View{with(fast, carried), with(slow, suspect)}, mss, window,
			map[string]int{"earliest": 0, "minrtt": 0, "redundant": -1}},
		{"an unknown round trip is long", []View{with(slow, func(v *View) { v.RTT, v.RTTMin, v.Rate = 0, 0, 0 }), slow}, bulk, window,
			map[string]int{"earliest": 1, "minrtt": 1}},
		{"no paths", nil, bulk, window,
			map[string]int{"earliest": -1, "minrtt": -1, "ecf": -1, "blest": -1, "roundrobin": -1, "redundant": -1, "backup": -1}},
	} {
		for name, want := range c.want {
			s, _ := New(name)
			if got := s.Pick(c.paths, c.queued, c.window); got != want {
				t.Errorf("%s: %s picks %d, want %d", c.name, name, got, want)
			}
		}
	}
}

// A queue makes a path late: with 60 ms of it the path of 20 ms is slower than that of 60 ms.
func TestEarliestSeesTheQueue(t *testing.T) {
	fast, slow := path(50, 20*m), path(30, 60*m)
	fast.Inflight += fast.Rate * 60 / 1000
	fast.RTT = 80 * m
	if got := (earliest{}).Pick([]View{fast, slow}, 1<<20, 6<<20); got != 1 {
		t.Errorf("picked %d", got)
	}
	for _, c := range []struct {
		v    View
		want time.Duration
	}{
		{with(path(50, 20*m), noFlight), 10*m + 224*time.Microsecond},
		{full(path(50, 20*m)), 10*m + 224*time.Microsecond},
		{fast, 60*m + 224*time.Microsecond},
		{View{Window: 10 * mss, MSS: mss}, 100*m + 20*m},
	} {
		if got := c.v.arrival(); got != c.want {
			t.Errorf("arrival %v, want %v", got, c.want)
		}
	}
}

func TestBLESTVector(t *testing.T) {
	f := View{Usable: true, RTT: 20 * m, RTTMin: 20 * m, RTTMax: 20 * m, Window: 10 * mss, Threshold: 10 * mss, Inflight: 10 * mss, MSS: mss}
	s := View{Usable: true, Room: 10 * mss, RTT: 100 * m, RTTMin: 100 * m, RTTMax: 100 * m, Window: 10 * mss, MSS: mss}
	if rounds := int64(s.linger()/f.middle()) + 1; rounds != 6 || f.packets(rounds) != 78 {
		t.Errorf("%d rounds, %d packets, want 6 and 78", rounds, f.packets(rounds))
	}
	for window, want := range map[int]int{131072: -1, 133000: 1} {
		if got := (blest{}).Pick([]View{f, s}, mss, window); got != want {
			t.Errorf("window %d: picked %d, want %d", window, got, want)
		}
	}
	f.Threshold = 0
	if got := f.packets(6); got != 630 {
		t.Errorf("%d packets in slow start, want 630", got)
	}
}

func TestECFVector(t *testing.T) {
	f := View{Usable: true, RTT: 20 * m, RTTVar: 5 * m, Window: 10 * mss, Inflight: 10 * mss, MSS: mss}
	s := View{Usable: true, Room: 10 * mss, RTT: 100 * m, Window: 10 * mss, MSS: mss}
	for _, c := range []struct {
		waiting bool
		queued  int
		want    int
	}{
		{false, 5, -1}, {false, 100, 1}, {false, 50, 1}, {true, 50, -1},
	} {
		e := &ecf{waiting: c.waiting}
		if got := e.Pick([]View{f, s}, c.queued*mss, 1<<20); got != c.want {
			t.Errorf("waiting %v, %d segments: picked %d, want %d", c.waiting, c.queued, got, c.want)
		}
	}
}

func TestRoundRobinTakesTurns(t *testing.T) {
	s, _ := New("roundrobin")
	paths := []View{path(50, 20*m), path(30, 60*m), path(10, 90*m)}
	for i := range 7 {
		if i == 5 {
			paths[2].Room = 0
		}
		if got, want := s.Pick(paths, 1<<20, 1<<20), []int{0, 1, 2, 0, 1, 0, 1}[i]; got != want {
			t.Errorf("turn %d: %d, want %d", i, got, want)
		}
	}
}

func TestRedundantSendsOnEachPathOnce(t *testing.T) {
	s, _ := New("redundant")
	paths := []View{path(50, 20*m), with(path(30, 60*m), suspect), path(10, 90*m)}
	for _, want := range []int{0, 2, -1} {
		got := s.Pick(paths, mss, 1<<20)
		if got != want {
			t.Fatalf("picked %d, want %d", got, want)
		}
		if got >= 0 {
			paths[got].Sent = true
		}
	}
	if other, _ := New(""); !Redundant(s) || Redundant(other) {
		t.Error("Redundant tells the wrong ones")
	}
}

func TestNames(t *testing.T) {
	for _, name := range append([]string{""}, names...) {
		if s, ok := New(name); !ok || s == nil {
			t.Errorf("%q is unknown", name)
		}
	}
	if _, ok := New("fastest"); ok {
		t.Error("a name that is none")
	}
}

// Whatever the views: no path that may not carry the octets is chosen, the wait is for an
// acknowledgement, and the path with room is used when it is the only one.
func TestAnyViews(t *testing.T) {
	for _, name := range names {
		s, _ := New(name)
		r := rand.New(rand.NewPCG(7, uint64(len(name))))
		for range 20000 {
			paths := make([]View, r.IntN(5))
			for i := range paths {
				paths[i] = anyView(r)
			}
			queued, window := 1+r.IntN(1<<uint(1+r.IntN(24))), r.IntN(1<<uint(1+r.IntN(24)))
			got := s.Pick(paths, queued, window)
			check(t, name, paths, got)
			if n := Backlog(s, paths); n < 0 || n > BacklogMax+1 {
				t.Fatalf("%s: backlog %d: %+v", name, n, paths)
			}
		}
	}
}

func check(t *testing.T, name string, paths []View, got int) {
	t.Helper()
	e := among(paths)
	rooms, flight := 0, false
	for i := range paths {
		v := &paths[i]
		switch {
		case !e.takes(v):
		case v.Room > 0:
			rooms++
		case v.Inflight > 0 || v.Soon:
			flight = true
		}
	}
	switch {
	case got >= len(paths) || got < -1:
		t.Fatalf("%s: picked %d of %d", name, got, len(paths))
	case got >= 0:
		if v := &paths[got]; v.Room <= 0 || !v.Usable || !e.takes(v) {
			t.Fatalf("%s: picked %+v of %+v", name, *v, paths)
		}
	case rooms > 0 && !flight && !(name == "redundant" && e.sent):
		t.Fatalf("%s: waits for nothing: %+v", name, paths)
	}
}

func anyView(r *rand.Rand) View {
	pick := func(n int) int {
		if r.IntN(4) == 0 {
			return 0
		}
		return r.IntN(n)
	}
	return View{
		Usable: r.IntN(4) > 0, Backup: r.IntN(4) == 0, Secondary: r.IntN(4) == 0, Sent: r.IntN(4) == 0,
		Room: pick(1 << 20), RTT: time.Duration(pick(1e9)), RTTVar: time.Duration(pick(1e8)),
		RTTMin: time.Duration(pick(1e9)), RTTMax: time.Duration(pick(2e9)),
		Window: pick(1 << 30), Threshold: pick(1 << 30), Inflight: pick(1 << 30),
		Rate: pick(1 << 31), Flows: pick(100), MSS: pick(1400),
		Soon: r.IntN(8) == 0, OWL: time.Duration(pick(1e9)), Price: pick(1 << 14), Queued: pick(1 << 21),
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	paths := []View{full(path(50, 20*m)), path(30, 60*m)}
	for _, name := range names {
		s, _ := New(name)
		if n := testing.AllocsPerRun(100, func() {
			s.Pick(paths, 1<<20, 1<<20)
			Backlog(s, paths)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// Numbers that no path has do not turn the comparison round.
func TestEarliestWithoutBounds(t *testing.T) {
	fast := View{Usable: true, RTT: time.Millisecond, Rate: math.MaxInt, Inflight: 1, MSS: 1400, Flows: math.MaxInt32}
	slow := View{Usable: true, RTT: time.Hour, Window: math.MaxInt32, Room: 1400, MSS: 1400, Flows: 1}
	if got := (earliest{}).Pick([]View{fast, slow}, math.MaxInt32, math.MaxInt32); got != 1 {
		t.Errorf("all that is queued does not go over the fast path within the hour: picked %d", got)
	}
	if got := slow.rate(); got <= 0 {
		t.Errorf("rate %d", got)
	}
}
