package sim

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
)

// share is what is left of a full packet after IPv4, TCP and the longest DSS.
const share = float64(1500-20-20-28) / 1500

// goodput uploads for about that long over the links, start included, and returns bits a second.
func goodput(t *testing.T, length time.Duration, links ...Conditions) float64 {
	t.Helper()
	rates := 0.0
	for i := range links {
		rates += float64(links[i].Rate)
		if links[i].QueueTime == 0 {
			links[i].QueueTime = 60 * time.Millisecond
		}
	}
	p := newPair(1, links, links)
	p.plan(&Plan{Target: netip.AddrPortFrom(hub4, 80), Up: int64(rates * length.Seconds() / 8)})
	done := func() bool {
		return len(p.serverUser.Streams) == 1 && p.serverUser.Streams[0].Done != clock.Never
	}
	if err := p.RunUntil(clock.Time(10*length), done); err != nil {
		t.Fatal(err)
	}
	if !done() {
		t.Fatalf("not done at %v: %v %v", time.Duration(p.Now()), p.clientUser.Streams, p.serverUser.Streams)
	}
	server := p.serverUser.Streams[0]
	return float64(server.Read*8) / time.Duration(server.Done).Seconds()
}

// TestGoodputOfCleanPaths demands 97 % of what two clean paths carry together.
func TestGoodputOfCleanPaths(t *testing.T) {
	for _, rttRatio := range some(2, []int{1, 2, 5, 10}) {
		for _, rateRatio := range some(1, []int64{1, 2, 5, 10}) {
			t.Run(fmt.Sprintf("RTT 1:%d, rate 1:%d", rttRatio, rateRatio), func(t *testing.T) {
				t.Parallel()
				const fast, near = 10e6, 10 * time.Millisecond
				for _, c := range []struct {
					name string
					a, b Conditions
				}{
					{"the fast one is near", Conditions{Rate: fast, Delay: near}, Conditions{Rate: fast / rateRatio, Delay: near * time.Duration(rttRatio)}},
					{"the fast one is far", Conditions{Rate: fast, Delay: near * time.Duration(rttRatio)}, Conditions{Rate: fast / rateRatio, Delay: near}},
				} {
					got, want := goodput(t, 25*time.Second, c.a, c.b), share*float64(c.a.Rate+c.b.Rate)
					t.Logf("%s: %.2f Mbit/s, %.1f %% of %.2f", c.name, got/1e6, 100*got/want, want/1e6)
					if got < 0.97*want {
						t.Errorf("%s: less than 97 %%", c.name)
					}
				}
			})
		}
	}
}

// A path over which only crumbs went so far is no slow one: an upload that follows gets what it gets over fresh
// paths. The crumbs are what a client says now and then, alone or beside a download that fills both links: their
// acknowledgements are delayed, so that they are sent over the other path as well.
func TestGoodputAfterCrumbs(t *testing.T) {
	near := Conditions{Rate: 50e6, Delay: 10 * time.Millisecond, QueueTime: 60 * time.Millisecond}
	far := Conditions{Rate: 30e6, Delay: 30 * time.Millisecond, QueueTime: 100 * time.Millisecond}
	const begins, size = 4 * time.Second, 80 << 20
	for _, c := range []struct {
		name   string
		before func(p *pair)
	}{
		{"nothing", func(*pair) {}},
		{"crumbs", func(p *pair) {
			p.plan(&Plan{Target: netip.AddrPortFrom(hub4, 81), Up: 4500, Crumb: 150, Pause: 100 * time.Millisecond})
		}},
		{"crumbs beside a download", func(p *pair) {
			p.plan(&Plan{Target: netip.AddrPortFrom(hub4, 81), Up: 4500, Crumb: 150, Pause: 100 * time.Millisecond})
			p.plan(&Plan{Target: netip.AddrPortFrom(hub4, 82), Down: 20 << 20})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(1, []Conditions{near, far}, []Conditions{near, far})
			c.before(p)
			p.plan(&Plan{Dialled: clock.Time(begins), Target: netip.AddrPortFrom(hub4, 80), Up: size})
			done := func() bool {
				for _, s := range p.serverUser.Streams {
					if s.Plan.Up == size {
						return s.Done != clock.Never
					}
				}
				return false
			}
			if err := p.RunUntil(clock.Time(time.Minute), done); err != nil {
				t.Fatal(err)
			}
			took := time.Duration(p.Now()) - begins
			got, want := 8*size/took.Seconds(), share*float64(near.Rate+far.Rate)
			t.Logf("%.2f Mbit/s, %.1f %% of %.2f", got/1e6, 100*got/want, want/1e6)
			if got < 0.97*want {
				t.Error("less than 97 %")
			}
		})
	}
}

// A path that was left alone because it was bad is used again some seconds after it has become good.
func TestGoodputOfAPathThatWasBad(t *testing.T) {
	t.Parallel()
	near := Conditions{Rate: 50e6, Delay: 10 * time.Millisecond, QueueTime: 60 * time.Millisecond}
	far := Conditions{Rate: 30e6, Delay: 30 * time.Millisecond, QueueTime: 100 * time.Millisecond}
	bad := far
	bad.Rate = 200e3
	p := newPair(1, []Conditions{near, bad}, []Conditions{near, bad})
	p.At(5*s, func(clock.Time) { p.paths[1].Set(far, far) })
	p.plan(&Plan{Target: netip.AddrPortFrom(hub4, 80), Up: 200 << 20})
	read := func(until clock.Time) int64 {
		if err := p.Run(until); err != nil {
			t.Fatal(err)
		}
		return p.serverUser.Streams[0].Read
	}
	begin, end := read(12*s), read(16*s)
	got, want := float64(end-begin)*8/4, share*float64(near.Rate+far.Rate)
	t.Logf("%.2f Mbit/s, %.1f %% of %.2f", got/1e6, 100*got/want, want/1e6)
	if got < 0.97*want {
		t.Error("less than 97 %")
	}
}

// TestBadPathDoesNoHarm demands that a bad path beside a good one costs at most 3 % of the good one.
func TestBadPathDoesNoHarm(t *testing.T) {
	good := Conditions{Rate: 10e6, Delay: 10 * time.Millisecond}
	for _, c := range some(1, []struct {
		name  string
		spoil func(c *Conditions)
	}{
		{"5 % loss", func(c *Conditions) { c.Loss = 0.05 }},
		{"10 times the RTT", func(c *Conditions) { c.Delay *= 10 }},
		{"1/20 of the rate", func(c *Conditions) { c.Rate /= 20 }},
		{"a deep queue", func(c *Conditions) { c.Rate, c.QueueTime = c.Rate/10, 2*time.Second }},
		{"a trickle", func(c *Conditions) { c.Rate, c.QueueTime = c.Rate/100, 50*time.Millisecond }},
		{"all of it", func(c *Conditions) { c.Loss, c.Delay, c.Rate = 0.05, c.Delay*10, c.Rate/20 }},
	}) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			alone := goodput(t, 25*time.Second, good)
			bad := good
			c.spoil(&bad)
			both := goodput(t, 25*time.Second, good, bad)
			t.Logf("%.2f Mbit/s with it, %.2f without: %.1f %%", both/1e6, alone/1e6, 100*both/alone)
			if both < 0.97*alone {
				t.Error("less than 97 %")
			}
		})
	}
}
