package schedule

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"tandem/engine/clock"
)

func price(n int) func(*View) { return func(v *View) { v.Price = n } }

func TestCostRules(t *testing.T) {
	cheap, dear := path(30, 60*m), with(path(50, 20*m), price(5000))
	const window = 6 << 20
	const much, little = 5000*VDefault + 1, 5000 * VDefault
	waiting := func(n int) func(*View) { return func(v *View) { v.Queued = n } }
	stuck := func(v *View) { v.Room, v.Inflight = 0, 0 }
	soon := func(v *View) { stuck(v); v.Soon = true }
	for _, c := range []struct {
		name   string
		paths  []View
		queued int
		want   int
	}{
		{"the cheap one though it is slower", []View{dear, cheap}, much, 1},
		{"equal prices: the earlier", []View{with(cheap, price(5000)), dear}, much, 1},
		{"little waits for the cheap one", []View{dear, full(cheap)}, little, -1},
		{"much does not", []View{dear, full(cheap)}, much, 0},
		{"little of many connections is much", []View{with(dear, waiting(much)), with(full(cheap), waiting(much))}, mss, 0},
		{"nobody waits for a dear one", []View{with(full(dear), waiting(much)), with(cheap, waiting(much))}, mss, 1},
		{"the least price is worth it", []View{dear}, mss, 0},
		{"though nothing waits", []View{dear}, 0, 0},
		{"only what is paid beyond it counts", []View{with(dear, price(9000)), with(full(cheap), price(4000))}, much, 0},
		{"and that does count", []View{with(dear, price(9001)), with(full(cheap), price(4000))}, much, -1},
		{"it waits for pacing", []View{dear, with(cheap, soon)}, little, -1},
		{"not for what never comes", []View{dear, with(cheap, stuck)}, little, 0},
		{"nor for a suspect one", []View{dear, with(full(cheap), suspect)}, little, 0},
		{"what the cheap one has carried leaves at once", []View{dear, with(full(cheap), carried)}, mss, 0},
		{"backups rest, however cheap", []View{dear, with(cheap, backupPath)}, mss, 0},
		{"and however much waits", []View{full(dear), with(cheap, backupPath)}, BacklogMax + 1, -1},
		{"a dear primary comes before a cheap secondary", []View{dear, with(cheap, secondary)}, mss, 0},
		{"which takes what that has no room for", []View{full(dear), with(cheap, secondary)}, much, 1},
		{"a dear secondary waits as others do", []View{with(dear, secondary), full(cheap)}, little, -1},
		{"until it is worth its price", []View{with(dear, secondary), full(cheap)}, much, 0},
		{"three prices", []View{with(dear, price(9000)), dear, full(cheap)}, much, 1},
		{"the dearest is not worth it yet", []View{with(dear, price(9000)), full(dear), full(cheap)}, much, -1},
		{"any price in the end", []View{with(dear, price(math.MaxInt)), full(cheap)}, BacklogMax + 1, 0},
		{"not before", []View{with(dear, price(math.MaxInt)), full(cheap)}, BacklogMax, -1},
	} {
		if got := (Cost{}).Pick(c.paths, c.queued, window); got != c.want {
			t.Errorf("%s: picks %d, want %d", c.name, got, c.want)
		}
	}
}

// The tail of what waits is left to the cheap path if that delivers it sooner than the dear one its
// first segment.
func TestCostLeavesTheTail(t *testing.T) {
	cheap, far := full(path(50, 20*m)), with(path(50, 500*m), price(1))
	for queued, want := range map[int]int{100 * mss: -1, 2000 * mss: 1} {
		if got := (Cost{V: 1}).Pick([]View{cheap, far}, queued, 6<<20); got != want {
			t.Errorf("%d segments: picks %d, want %d", queued/mss, got, want)
		}
	}
}

func TestBacklog(t *testing.T) {
	cheap, dear := with(path(30, 60*m), price(1000)), with(path(50, 20*m), price(6000))
	for _, c := range []struct {
		s     Scheduler
		paths []View
		want  int
	}{
		{Cost{}, []View{cheap, dear}, 5000*VDefault + 1},
		{Cost{V: 3}, []View{cheap, dear}, 15001},
		{Cost{V: -1}, []View{cheap, dear}, 5000*VDefault + 1},
		{Cost{V: math.MaxInt}, []View{cheap, dear}, BacklogMax + 1},
		{Cost{}, []View{cheap, cheap}, 0},
		{Cost{}, []View{cheap, with(dear, suspect)}, 0},
		{Cost{}, nil, 0},
		{earliest{}, []View{cheap, dear}, 0},
	} {
		got := Backlog(c.s, c.paths)
		if got != c.want {
			t.Errorf("%+v: %d, want %d", c.s, got, c.want)
		}
		if c.want < 2 {
			continue
		}
		if paths := []View{full(cheap), dear}; c.s.Pick(paths, got, 6<<20) != 1 || c.s.Pick(paths, got-1, 6<<20) != -1 {
			t.Errorf("%+v: not the least of which all use every path", c.s)
		}
	}
}

// A pipe is a fluid path: what arrives each slot of 10 ms leaves over it up to its rate.
type pipe struct {
	mbit  int
	price int
}

const slot = 10 * m

// A stream is a moment's worth of arrivals in octets for each slot, from 0 on.
type stream func(slot int) int

func steady(mbit float64) stream { return func(int) int { return int(mbit * 1e6 / 8 / 100) } }

func bursts(octets, every int) stream {
	return func(k int) int {
		if k%every == 0 {
			return octets
		}
		return 0
	}
}

// A flow is what came of a stream.
type flow struct {
	carried []int // by each pipe
	cost    int   // octets times thousandths
	mean    int   // backlog
	most    int
	left    int
}

// pour has a scheduler carry a stream over pipes for so many slots. Applications are told to wait when room
// octets are queued, 0: never.
func pour(s Scheduler, pipes []pipe, arrive stream, slots, room, demand int) flow {
	f := flow{carried: make([]int, len(pipes))}
	paths := make([]View, len(pipes))
	debt := Debt{Rate: demand}
	queued, sum := 0, 0
	for k := range slots {
		queued += arrive(k)
		if room > 0 {
			queued = min(queued, room)
		}
		for i, p := range pipes {
			paths[i] = with(path(p.mbit, 40*m), price(p.price))
			paths[i].Room = paths[i].Rate / 100
		}
		for queued > 0 {
			for i := range paths {
				paths[i].Queued = queued + debt.Owed()
			}
			i := s.Pick(paths, queued, 1<<30)
			if i < 0 {
				break
			}
			n := min(queued, paths[i].Room, mss)
			queued -= n
			paths[i].Room -= n
			f.carried[i] += n
			f.cost += n * pipes[i].price
			debt.Sent(n)
		}
		debt.Advance(clock.Time(k+1)*clock.Time(slot), queued > 0)
		sum += queued
		f.most = max(f.most, queued)
	}
	f.mean, f.left = sum/slots, queued
	return f
}

var (
	cheapAndDear = []pipe{{10, 0}, {50, 5000}}
	second       = int(time.Second / slot)
)

// Tests of the draft: the cheap path alone while it suffices, the dear one for what exceeds it.
func TestCostCarriesWhatExceeds(t *testing.T) {
	const mbit = 1e6 / 8
	for _, c := range []struct {
		name   string
		arrive stream
		dear   float64 // octets that exceed what the cheap pipe carries in 60 s, and its backlog
	}{
		{"below the cheap capacity", steady(8), 0},
		{"just below", steady(9.9), 0},
		{"small bursts", bursts(300e3, second), 0},
		{"above", steady(30), 20*60*mbit - 5000*VDefault},
		{"just above", steady(12), 2*60*mbit - 5000*VDefault},
		{"near all", steady(59), 49*60*mbit - 5000*VDefault},
		{"large bursts", bursts(5e6, 10*second), 6 * (5e6 - 5000*VDefault - 5e6/6)},
	} {
		f := pour(Cost{}, cheapAndDear, c.arrive, 60*second, 0, 0)
		if got := float64(f.carried[1]); math.Abs(got-c.dear) > c.dear/10 {
			t.Errorf("%s: the dear pipe carries %.2f MB, want %.2f", c.name, got/1e6, c.dear/1e6)
		}
	}
}

// So it is with round trips, windows and pacing: the cheap path is the slower one, and full now and then
// though it suffices.
func TestCostWithRoundTrips(t *testing.T) {
	for _, c := range []struct {
		mbit int
		dear float64 // Mbit/s
	}{
		{8, 0}, {30, 20},
	} {
		lanes := []*lane{{mbit: 50, rtt: 20 * m}, {mbit: 10, rtt: 60 * m}}
		carried, queued := [2]int{}, 0
		const span, step = 20 * time.Second, 500 * time.Microsecond
		for now := time.Duration(0); now < span; now += step {
			queued += c.mbit * 1e6 / 8 / int(time.Second/step)
			for queued > 0 {
				paths := []View{with(lanes[0].view(now), price(5000)), lanes[1].view(now)}
				paths[1].Soon = paths[1].Room == 0 && paths[1].Inflight < paths[1].Window
				i := (Cost{}).Pick(paths, queued, 1<<30)
				if i < 0 {
					break
				}
				lanes[i].send(now)
				carried[i] += mss
				queued -= mss
			}
		}
		want := max(c.dear*1e6/8*span.Seconds()-5000*VDefault, 0)
		if got := float64(carried[0]); math.Abs(got-want) > want/10 {
			t.Errorf("%d Mbit/s: the dear path carries %.2f MB, want %.2f", c.mbit, got/1e6, want/1e6)
		}
	}
}

// The cheapest first of three, and equal prices side by side.
func TestCostOfThree(t *testing.T) {
	f := pour(Cost{V: 8}, []pipe{{20, 2000}, {10, 0}, {50, 9000}}, steady(25), 60*second, 0, 0)
	if f.carried[2] != 0 || f.carried[1] < 60*1240e3 || f.carried[0] < 60*1800e3 {
		t.Errorf("carried %d", f.carried)
	}
	f = pour(Cost{}, []pipe{{20, 3000}, {10, 3000}}, steady(28), 10*second, 0, 0)
	if f.left > 30e3 {
		t.Errorf("%d wait at equal prices", f.left)
	}
}

// A larger V never costs more, and never lets less wait.
func TestVTradesMoneyForWaiting(t *testing.T) {
	for name, arrive := range map[string]stream{
		"above": steady(30), "bursts": bursts(1e6, second), "below": steady(8), "random": gusts(7, 24),
	} {
		last := flow{cost: math.MaxInt}
		first := 0
		for k, v := range []int{1, 4, 16, 32, 64, 128, 200} {
			f := pour(Cost{V: v}, cheapAndDear, arrive, 120*second, 0, 0)
			if f.cost > last.cost || f.mean < last.mean {
				t.Errorf("%s: V %d costs %d and %d wait, before %d and %d", name, v, f.cost, f.mean, last.cost, last.mean)
			}
			if least := pour(Cost{}, []pipe{{60, 0}}, arrive, 120*second, 0, 0).most; f.most > least+v*5000+mss {
				t.Errorf("%s: V %d lets %d wait, at least %d must", name, v, f.most, least)
			}
			if k == 0 {
				first = f.cost
			}
			last = f
		}
		if name == "bursts" && last.cost >= first/2 {
			t.Errorf("bursts cost %d with a large V, %d with a small one", last.cost, first)
		}
	}
}

// gusts returns random arrivals, the same each time, of so many Mbit/s on average.
func gusts(seed uint64, mbit float64) stream {
	return func(k int) int {
		r := rand.New(rand.NewPCG(seed, uint64(k/20)))
		if r.IntN(4) > 0 {
			return 0
		}
		return int(float64(r.IntN(8*int(mbit))) * 1e6 / 8 / 100)
	}
}

// Whatever arrives, no more waits than BacklogMax beyond what would wait for a single pipe as wide as all.
func TestCostIsStable(t *testing.T) {
	for _, v := range []int{1, VDefault, 1 << 20} {
		for _, pipes := range [][]pipe{cheapAndDear, {{50, 0}, {10, 5000}}, {{30, 7}, {30, 7}}, {{5, 100}, {5, 2000}, {50, math.MaxInt32}}} {
			capacity := 0
			for _, p := range pipes {
				capacity += p.mbit
			}
			for share := 10; share <= 95; share += 17 {
				mean := float64(capacity*share) / 100
				for name, arrive := range map[string]stream{
					"steady": steady(mean), "bursts": bursts(int(mean*1e6/8), second), "gusts": gusts(uint64(share), mean),
				} {
					f := pour(Cost{V: v}, pipes, arrive, 20*second, 0, 0)
					if least := pour(Cost{}, []pipe{{capacity, 0}}, arrive, 20*second, 0, 0).most; f.most > least+BacklogMax+mss {
						t.Errorf("V %d, %v, %s of %.0f Mbit/s: %d wait, at least %d must", v, pipes, name, mean, f.most, least)
					}
				}
			}
		}
	}
}

// Applications that may queue little never let much wait: the demanded rate then decides, and no more
// than that is paid for.
func TestDemandedRate(t *testing.T) {
	pipes := []pipe{{2, 0}, {50, 5000}}
	for _, c := range []struct {
		demand int // Mbit/s
		dear   int
	}{
		{0, 0}, {1, 0}, {8, 6}, {30, 28},
	} {
		f := pour(Cost{}, pipes, steady(40), 60*second, 100e3, c.demand*1e6/8)
		if got, want := f.carried[1], c.dear*60*1e6/8; math.Abs(float64(got-want)) > float64(want)/10 {
			t.Errorf("%d Mbit/s demanded: the dear pipe carries %d, want %d", c.demand, got, want)
		}
		if c.demand > 2 {
			continue
		}
		if f = pour(Cost{}, pipes, bursts(90e3, second), 60*second, 100e3, c.demand*1e6/8); f.carried[1] != 0 {
			t.Errorf("%d Mbit/s demanded, little to send: the dear pipe carries %d", c.demand, f.carried[1])
		}
	}
}

func TestDebt(t *testing.T) {
	d := Debt{Rate: 1000}
	for _, c := range []struct {
		name    string
		at      clock.Time
		waiting bool
		sent    int
		want    int
	}{
		{"nothing waits", clock.Time(time.Second), false, 0, 0},
		{"a second", clock.Time(2 * time.Second), true, 0, 1000},
		{"nothing waits: it stays", clock.Time(3 * time.Second), false, 0, 1000},
		{"paid in part", clock.Time(4 * time.Second), true, 500, 1500},
		{"time does not go back", clock.Time(time.Second), true, 0, 1500},
		{"nor twice", clock.Time(4 * time.Second), true, 0, 1500},
		{"paid at once", clock.Time(4 * time.Second), true, 9000, 0},
		{"a minute at most", clock.Time(time.Hour), true, 0, 60000},
	} {
		d.Advance(c.at, c.waiting)
		d.Sent(c.sent)
		if d.Owed() != c.want {
			t.Errorf("%s: owed %d, want %d", c.name, d.Owed(), c.want)
		}
	}
	var none Debt
	if none.Advance(clock.Time(time.Hour), true); none.Owed() != 0 {
		t.Errorf("nothing demanded, owed %d", none.Owed())
	}
	large := Debt{Rate: math.MaxInt}
	if large.Advance(clock.Time(time.Hour), true); large.Owed() != BacklogMax+1 {
		t.Errorf("owed %d", large.Owed())
	}
}

// However often the bond asks, no part of an octet is lost.
func TestDebtInSmallSteps(t *testing.T) {
	d := Debt{Rate: RateDefault}
	for now := clock.Time(0); now < clock.Time(time.Second); now += 3001 {
		d.Advance(now, true)
	}
	if got := d.Owed(); got < RateDefault*99/100 || got > RateDefault {
		t.Errorf("owed %d after a second", got)
	}
}
