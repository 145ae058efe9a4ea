package schedule

import (
	"testing"
	"time"

	"tandem/engine/clock"
	engine "tandem/engine/path"
)

// oneway returns a path whose two directions differ.
func oneway(mbit int, forward, backward time.Duration) View {
	return with(path(mbit, forward+backward), func(v *View) { v.OWL = forward })
}

// The first path is the quicker one towards the peer, though its round trip is the longer one.
func TestOWLRules(t *testing.T) {
	quick, slow := oneway(50, 10*m, 90*m), oneway(50, 60*m, 20*m)
	const bulk, window = 4 << 20, 6 << 20
	blind := func(v *View) { v.OWL = 0 }
	for _, c := range []struct {
		name           string
		paths          []View
		queued, window int
		want           map[string]int
	}{
		{"data", []View{slow, quick}, bulk, window,
			map[string]int{"owl": 1, "earliest": 0, "minrtt": 0}},
		{"nothing known: half of the round trip", []View{with(slow, blind), with(quick, blind)}, bulk, window,
			map[string]int{"owl": 0}},
		{"known of one only: half of the other's", []View{with(slow, blind), quick}, bulk, window,
			map[string]int{"owl": 1}},
		{"bulk spills", []View{full(quick), slow}, bulk, window,
			map[string]int{"owl": 1}},
		{"the last segments wait", []View{full(quick), slow}, 2 * mss, window,
			map[string]int{"owl": -1, "earliest": 1}},
		{"but not for the path that only looks quicker", []View{quick, full(slow)}, 2 * mss, window,
			map[string]int{"owl": 0, "earliest": -1}},
		{"nor for one that others fill", []View{with(full(quick), func(v *View) { v.Flows = 1000 }), slow}, 2 * mss, window,
			map[string]int{"owl": 1}},
		{"a small window waits", []View{full(quick), slow}, bulk, 64 << 10,
			map[string]int{"owl": -1}},
		{"sent again: where it arrives first", []View{slow, quick, with(slow, carried)}, bulk, window,
			map[string]int{"owl": 1, "earliest": 0}},
		{"sent again: even if that path is full, and more is to be sent again", []View{full(quick), slow, with(slow, carried)}, bulk, window,
			map[string]int{"owl": -1, "earliest": 1}},
		{"sent again, because the holder is suspect", []View{full(quick), slow, with(with(quick, carried), suspect)}, bulk, window,
			map[string]int{"owl": -1, "earliest": 1}},
		{"sent again: never where it went already", []View{with(quick, carried), slow}, mss, window,
			map[string]int{"owl": 1}},
		{"nobody waits for a secondary", []View{with(full(quick), secondary), slow}, mss, window,
			map[string]int{"owl": 1}},
		{"secondaries come last", []View{with(quick, secondary), slow}, bulk, window,
			map[string]int{"owl": 1}},
		{"backups rest", []View{with(quick, backupPath), full(slow)}, bulk, window,
			map[string]int{"owl": -1}},
		{"not for a path that nothing comes from", []View{with(full(quick), noFlight), slow}, mss, window,
			map[string]int{"owl": 1}},
	} {
		for name, want := range c.want {
			s, _ := New(name)
			if got := s.Pick(c.paths, c.queued, c.window); got != want {
				t.Errorf("%s: %s picks %d, want %d", c.name, name, got, want)
			}
		}
	}
}

// An error that all OWLs share changes nothing.
func TestOWLIsRelative(t *testing.T) {
	for _, off := range []time.Duration{-9 * m, 0, 30 * m, time.Second} {
		paths := []View{full(oneway(50, 10*m, 90*m)), oneway(30, 60*m, 20*m), oneway(8, 25*m, 25*m)}
		for i := range paths {
			paths[i].OWL += off
		}
		s, _ := New("owl")
		if got := s.Pick(paths, 1<<20, 6<<20); got != 2 {
			t.Errorf("off by %v: picks %d", off, got)
		}
	}
}

// As measured: the choice is the same whatever the peer's clock says, and follows a path that changes
// within a second.
func TestOWLAsMeasured(t *testing.T) {
	s, _ := New("owl")
	for _, offset := range []time.Duration{0, 40 * 24 * time.Hour, -time.Hour, 1<<32*m - 5*time.Second} {
		for _, ppm := range []int64{-50, 0, 50} {
			forward, backward := []time.Duration{10 * m, 60 * m}, []time.Duration{90 * m, 20 * m}
			latency := engine.NewLatency(0)
			var measured []*engine.Path
			for range forward {
				control, _ := engine.NewControl("reno", 1500)
				measured = append(measured, engine.New(control, 1500))
				latency.Add(measured[len(measured)-1])
			}
			for now := clock.Time(0); now < clock.Time(30*time.Second); now += clock.Time(10 * m) {
				if now == clock.Time(20*time.Second) {
					forward[0], backward[0] = backward[0], forward[0]
				}
				paths := make([]View, 2)
				for i, p := range measured {
					left := int64(now) - int64(backward[i])
					p.RTTSample(now, forward[i]+backward[i])
					p.Stamped(now, uint32((left+left/1e6*ppm+int64(offset))/int64(m)))
					paths[i] = path(50, forward[i]+backward[i])
					paths[i].OWL = p.Forward(now)
				}
				want := 0
				switch at := time.Duration(now); {
				case at >= 21*time.Second:
					want = 1
				case at < time.Second || at >= 20*time.Second:
					continue
				}
				if got := s.Pick(paths, 1<<20, 6<<20); got != want {
					t.Fatalf("offset %v, %d ppm, at %v: picks %d, %v against %v", offset, ppm, time.Duration(now), got, paths[0].OWL, paths[1].OWL)
				}
			}
		}
	}
}

func TestDelivery(t *testing.T) {
	segment := 224 * time.Microsecond
	for _, c := range []struct {
		v    View
		want time.Duration
	}{
		{with(oneway(50, 10*m, 90*m), noFlight), 10*m + segment},
		{full(oneway(50, 10*m, 90*m)), 10*m + segment},
		{with(full(oneway(50, 10*m, 90*m)), func(v *View) { v.Inflight += v.Rate * 30 / 1000 }), 40*m + segment},
		{with(oneway(50, 10*m, 90*m), func(v *View) { v.OWL = 0 }), 50*m + segment},
	} {
		if got := c.v.delivery(); got != c.want {
			t.Errorf("delivery %v, want %v", got, c.want)
		}
	}
}
