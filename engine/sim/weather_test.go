package sim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// under tells the stories of some faults on an idle path and returns it with its world.
func under(t *testing.T, seed uint64, faults Fault) (*World, *Path, Forecast) {
	t.Helper()
	w := NewWorld(seed)
	quiet := func() *toy { return &toy{deadline: clock.Never} }
	p := w.NewPath("path", w.NewHost("a", quiet()), 0, w.NewHost("b", quiet()), 0, Conditions{}, Conditions{})
	fair := Conditions{Rate: 1e6, Delay: 10 * time.Millisecond, QueueBytes: 30_000}
	f := Forecast{Faults: faults, Fair: fair, Foul: [2]Conditions{fair, fair}, HealsAt: 5 * s}
	f.Begin(p)
	return w, p, f
}

func TestStoriesHappenAndHeal(t *testing.T) {
	for _, c := range []struct {
		fault Fault
		sees  func(c Conditions) bool
		sides int
	}{
		{WifiFades, func(c Conditions) bool { return c.Rate < 1e6 && c.Loss > 0 }, 2},
		{CellNaps, func(c Conditions) bool { return c.Clogged }, 2},
		{BlackHoles, func(c Conditions) bool { return c.Down }, 1},
		{ShrinksMTU, func(c Conditions) bool { return c.MTU >= 1280 && c.MTU < 1500 }, 2},
		{ChangesRate, func(c Conditions) bool { return c.Rate != 1e6 }, 2},
	} {
		w, p, f := under(t, 3, c.fault)
		var up, down int
		for now := clock.Time(0); now < 5*s; now += 5 * ms {
			if err := w.Run(now); err != nil {
				t.Fatal(err)
			}
			if c.sees(p.Up().Conditions()) {
				up++
			}
			if c.sees(p.Down().Conditions()) {
				down++
			}
		}
		sides := min(up, 1) + min(down, 1)
		if sides != c.sides || up+down > 1990 {
			t.Errorf("%v: seen %d times up and %d down, want %d sides", c.fault, up, down, c.sides)
		}
		if err := w.Run(20 * s); err != nil || p.Up().Conditions() != f.Fair || p.Down().Conditions() != f.Fair {
			t.Errorf("%v: not healed: %+v, %v", c.fault, p.Up().Conditions(), err)
		}
	}
}

func TestSwizzleClogsAllAndFreesEach(t *testing.T) {
	w := NewWorld(2)
	quiet := func() *toy { return &toy{deadline: clock.Never} }
	a, b := w.NewHost("a", quiet()), w.NewHost("b", quiet())
	var paths []*Path
	var forecasts []Forecast
	for range 3 {
		p := w.NewPath("path", a, 0, b, 0, Conditions{}, Conditions{})
		f := Forecast{Fair: Conditions{Rate: 1e6}, Foul: [2]Conditions{{Rate: 1e6}, {Rate: 1e6}}, HealsAt: 10 * s}
		f.Begin(p)
		paths, forecasts = append(paths, p), append(forecasts, f)
	}
	swizzle(w, paths, forecasts)
	most := 0
	for now := clock.Time(0); now < 10*s; now += ms {
		if err := w.Run(now); err != nil {
			t.Fatal(err)
		}
		clogged := 0
		for _, p := range paths {
			if p.Up().Conditions().Clogged {
				clogged++
			}
		}
		most = max(most, clogged)
	}
	for i, p := range paths {
		if p.Up().Conditions().Clogged {
			t.Errorf("path %d is still clogged", i)
		}
	}
	if most != 3 {
		t.Errorf("%d paths were clogged at once", most)
	}
}

func TestDrawIsAFunctionOfTheSeed(t *testing.T) {
	faults, odd := Fault(0), map[string]bool{}
	for n := range uint64(300) {
		one, two := Draw(n).String(), Draw(n).String()
		if pointers(one) != pointers(two) {
			t.Fatalf("seed %d is drawn differently:\n%s\n%s", n, one, two)
		}
		c := Draw(n)
		for i := range c.Routes {
			faults |= c.Routes[i].Forecast.Faults
			odd["NAT"] = odd["NAT"] || c.Routes[i].NAT
			odd["boxes"] = odd["boxes"] || len(c.Routes[i].Boxes) > 0
			odd["limits"] = odd["limits"] || len(c.Routes[i].Limits) > 1
			odd["ends"] = odd["ends"] || c.Routes[i].ends() && c.Routes[i].Forecast.Faults&HandsOver == 0
			odd["private"] = odd["private"] || c.Routes[i].Private
			odd["secondary"] = odd["secondary"] || c.Routes[i].role() == mptcp.Secondary
			odd["fixed"] = odd["fixed"] || c.Routes[i].Address == mptcp.Fixed
			odd["lifetime"] = odd["lifetime"] || len(c.Routes[i].Ends) > 0 && c.Routes[i].Ends[0].At == 0
		}
		odd["paired"] = odd["paired"] || c.Paired
		odd["many-homed"] = odd["many-homed"] || c.ManyHomed
		odd["tiny"] = odd["tiny"] || c.least() <= 1500
		odd["many"] = odd["many"] || len(c.Plans) >= 20
		odd[c.Client.Establish.String()] = true
		odd["inactivity"] = odd["inactivity"] || c.Client.Inactivity.Request && !c.MayFail
		odd["short inactivity"] = odd["short inactivity"] || c.Client.Inactivity.Request && c.MayFail
		odd[c.Client.Scheduler], odd[c.Server.Scheduler] = true, true
		odd["wide"] = odd["wide"] || c.Client.Wide
		odd["linger"] = odd["linger"] || c.Client.Linger > 0 && !c.MayFail
		odd["proxy"] = odd["proxy"] || c.Server.AnyTarget && c.Server.NoJoinsHere && c.Server.Announce
		for _, o := range c.Operations {
			odd[fmt.Sprint("operation ", o.What)] = true
		}
		odd["fast open"] = odd["fast open"] || c.Client.FastOpen && c.Server.FastOpen
		odd["strict"] = odd["strict"] || c.Client.Privacy == mptcp.PrivacyStrict
		for i, p := range c.Plans {
			odd["again"] = odd["again"] || i > 0 && slices.ContainsFunc(c.Plans[:i], func(q *Plan) bool { return q.Target == p.Target })
			odd["only"] = odd["only"] || p.Options.Only != nil
			odd["early"] = odd["early"] || p.Options.Early && !p.Options.EarlyOnly
			odd["early only"] = odd["early only"] || p.Options.EarlyOnly
			odd["address"] = odd["address"] || p.Options.Address == mptcp.NonPersistent
			odd["crumbs"] = odd["crumbs"] || p.Crumb > 0
			odd["IPv6"] = odd["IPv6"] || p.Target.Addr().Is6()
			odd["SIM"] = odd["SIM"] || len(p.Options.Paths) > 1
			odd[p.Manner.String()] = true
		}
	}
	if faults != faultEnd-1 {
		t.Errorf("300 seeds never drew: %v", (faultEnd-1)&^faults)
	}
	for _, want := range []string{
		"NAT", "boxes", "paired", "many-homed", "tiny", "many", "IPv6", "SIM", "refused", "client aborts", "server last",
		"limits", "ends", "private", "inactivity", "short inactivity", "fast open", "strict", "again", "only", "crumbs",
		"owl", "cost", "secondary", "fixed", "lifetime", "wide", "linger", "proxy", "early", "early only", "address",
		"operation 0", "operation 1", "operation 2", "operation 3", "operation 4",
		"auto", "classic", "timer", "sim", "esim", "ips", "ips+timer", "ips+sim",
	} {
		if !odd[want] {
			t.Errorf("300 seeds never drew: %s", want)
		}
	}
}
