package path

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"tandem/engine/clock"
)

type state struct {
	w, rtt float64 // segments, seconds
	acked  int64   // octets since the last loss
}

func groupOf(t *testing.T, name string, states ...state) *Group {
	g, ok := NewGroup(name)
	if !ok {
		t.Fatalf("no group %q", name)
	}
	for _, s := range states {
		m := g.Control(testMTU).(*member)
		m.cwnd, m.ssthresh = int(s.w*testMTU), testMTU
		m.srtt = time.Duration(s.rtt * 1e9)
		m.sinceLoss = s.acked
	}
	return g
}

func TestCoupledIncrease(t *testing.T) {
	for _, c := range []struct {
		law    string
		states []state
		want   []float64
	}{
		{"lia", []state{{10, 0.1, 0}, {10, 0.1, 0}}, []float64{0.025, 0.025}},
		{"lia", []state{{10, 0.02, 0}, {20, 0.1, 0}}, []float64{0.051020, 0.05}},
		{"lia", []state{{100, 0.01, 0}, {100, 0.2, 0}}, []float64{0.009070, 0.009070}},
		{"olia", []state{{10, 0.02, 100}, {20, 0.1, 50}}, []float64{0.101020, -0.020918}},
		{"olia", []state{{30, 0.1, 100}, {20, 0.1, 400}}, []float64{-0.004667, 0.033}},
		{"olia", []state{{20, 0.1, 7}, {20, 0.1, 7}}, []float64{0.0125, 0.0125}},
		{"balia", []state{{10, 0.02, 0}, {20, 0.1, 0}}, []float64{0.051020, 0.009286}},
	} {
		g := groupOf(t, c.law, c.states...)
		for i, m := range g.members {
			if got := g.law.rise(g, m); math.Abs(got-c.want[i]) > 1e-6 {
				t.Errorf("%s %v: path %d rises by %.6f, want %.6f", c.law, c.states, i, got, c.want[i])
			}
		}
	}
}

func TestBaliaDecrease(t *testing.T) {
	g := groupOf(t, "balia", state{10, 0.02, 0}, state{20, 0.1, 0})
	for i, want := range []int{5 * testMTU, 5 * testMTU} {
		if got := g.members[i].fallen(); got != want {
			t.Errorf("path %d falls to %d, want %d", i, got, want)
		}
	}
}

func TestCoupledExtremes(t *testing.T) {
	for _, name := range []string{"lia", "olia", "balia"} {
		g := groupOf(t, name, state{1 << 19, 1e-6, 1 << 60}, state{1 << 19, 10, 1}, state{10, 0, 5})
		for i, m := range g.members[:2] {
			got := g.law.rise(g, m)
			if math.IsNaN(got) || math.IsInf(got, 0) {
				t.Errorf("%s: path %d rises by %v", name, i, got)
			}
			before := m.cwnd
			m.OnAck(Sample{Acked: testMTU, Sent: m.cwnd, RTTSmooth: m.srtt})
			if m.cwnd < before-testMTU || m.cwnd > before+testMTU {
				t.Errorf("%s: path %d went from %d to %d", name, i, before, m.cwnd)
			}
		}
		if !g.members[2].alone() {
			t.Errorf("%s: a path without a round trip is coupled", name)
		}
	}
}

// A member that is alone takes the same steps as Reno, whatever happens.
func TestAloneIsReno(t *testing.T) {
	for _, name := range []string{"lia", "olia", "balia"} {
		g := groupOf(t, name)
		leaver := g.Control(testMTU)
		left, right := newLink(20, 20*time.Millisecond, 50*time.Millisecond), newLink(20, 20*time.Millisecond, 50*time.Millisecond)
		a, b := left.flow(t, "reno"), right.flow(t, "reno")
		b.path = New(g.Control(testMTU), testMTU)
		g.Leave(leaver)
		for at := 10 * ms; at < 20*second; at += 10 * ms {
			left.run(at)
			right.run(at)
			if a.path.Window() != b.path.Window() || a.received != b.received {
				t.Fatalf("%s: at %v window %d, Reno's %d", name, time.Duration(at), b.path.Window(), a.path.Window())
			}
		}
		if a.lost == 0 {
			t.Error("nothing was lost")
		}
	}
}

// early drops at random before the queue is full, so that all flows see the same share of losses.
func early(l *link) {
	r := rand.New(rand.NewPCG(5, 6))
	l.drop = func(int) bool {
		filled := max(l.free.Sub(l.now).Seconds(), 0) * float64(l.rate) / float64(l.queue)
		return r.Float64() < 0.05*filled
	}
}

// Two coupled paths through one bottleneck beside one TCP take about as much as it does; two of
// their own they fill.
func TestCoupledShares(t *testing.T) {
	for name, most := range map[string]float64{"lia": 1.2, "olia": 1.2, "balia": 1.25} {
		g := groupOf(t, name)
		l := newLink(20, 20*time.Millisecond, 100*time.Millisecond)
		early(l)
		one, a, b := l.flow(t, "reno"), l.flow(t, "reno"), l.flow(t, "reno")
		a.path, b.path = New(g.Control(testMTU), testMTU), New(g.Control(testMTU), testMTU)
		l.run(100 * second)
		ratio := float64(a.received+b.received) / float64(one.received)
		t.Logf("%s: %.2f of TCP", name, ratio)
		if ratio > most {
			t.Errorf("%s: two paths took %.2f of what TCP got", name, ratio)
		}
		g = groupOf(t, name)
		total := 0.0
		var links []*link
		for _, mbit := range []int{20, 10} {
			own := newLink(mbit, 20*time.Millisecond, 50*time.Millisecond)
			own.flow(t, "reno").path = New(g.Control(testMTU), testMTU)
			links = append(links, own)
		}
		for at := clock.Time(0); at < 60*second; at += ms {
			links[0].run(at)
			links[1].run(at)
		}
		for _, own := range links {
			total += own.of(own.flows[0], 0, 60*second) * float64(own.rate)
		}
		if share := total / (30e6 / 8); share < 0.9 {
			t.Errorf("%s: %.2f of two links of its own", name, share)
		}
	}
}

// A controller that comes from another group keeps its window, is coupled with the new one's members from then on, and
// with those it left no more.
func TestAdopt(t *testing.T) {
	g := groupOf(t, "lia", state{10, 0.1, 0})
	other := groupOf(t, "lia", state{10, 0.1, 0}, state{40, 0.1, 0})
	m := other.members[0]
	g.Adopt(m)
	g.Adopt(m)
	if len(g.members) != 2 || len(other.members) != 1 || !other.members[0].alone() || m.alone() {
		t.Fatalf("%d members here, %d there", len(g.members), len(other.members))
	}
	if got := g.law.rise(m.group, m); math.Abs(got-0.025) > 1e-6 || m.Window() != 10*testMTU {
		t.Errorf("rises by %.6f from %d octets", got, m.Window())
	}
	g.Adopt(newReno(testMTU))
	g.Leave(m)
	if len(g.members) != 1 {
		t.Errorf("%d members left", len(g.members))
	}
}
