package sim

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
)

// load is how n connections that share one path use it.
type load struct {
	rate  float64 // bits of stream a second
	queue float64 // octets that wait at the bottleneck, on average from the first SYN to the last octet
	loss  float64 // share of packets
}

func loadOf(t *testing.T, n int, link Conditions) load {
	t.Helper()
	const seconds = 15
	p := newPair(1, []Conditions{link}, []Conditions{link})
	for i := range n {
		p.plan(&Plan{Target: netip.AddrPortFrom(hub4, uint16(1000+i)), Up: link.Rate * seconds / 8 / int64(n)})
	}
	waiting, samples := 0.0, 0.0
	var sample func(now clock.Time)
	sample = func(now clock.Time) {
		waiting, samples = waiting+float64(p.paths[0].Up().Waiting(now)), samples+1
		p.At(now.Add(time.Millisecond), sample)
	}
	p.At(0, sample)
	last := clock.Time(0)
	done := func() bool {
		if len(p.serverUser.Streams) < n {
			return false
		}
		for _, s := range p.serverUser.Streams {
			if s.Done == clock.Never {
				return false
			}
			last = max(last, s.Done)
		}
		return true
	}
	if err := p.RunUntil(5*seconds*s, done); err != nil {
		t.Fatal(err)
	}
	if !done() {
		t.Fatalf("%d connections are not done", n)
	}
	c := p.paths[0].Up().Counts()
	octets := 0.0
	for _, s := range p.serverUser.Streams {
		octets += float64(s.Read)
	}
	return load{
		rate:  octets * 8 / time.Duration(last).Seconds(),
		queue: waiting / samples,
		loss:  float64(c.QueueFull.Packets) / float64(c.QueueFull.Packets+c.Forwarded.Packets),
	}
}

// TestManyConnectionsBehaveLikeOne holds the path's shared congestion state to its promise (RFC 9040):
// many connections get the rate that one gets, and do to queue and loss what one does, each within 5 % of
// what it is for one, from the first SYN to the last octet. Where one loses less than a packet of a hundred
// the difference is taken of that.
func TestManyConnectionsBehaveLikeOne(t *testing.T) {
	for _, link := range some(1, []Conditions{
		{Rate: 40e6, Delay: 20 * time.Millisecond},
		{Rate: 100e6, Delay: 5 * time.Millisecond},
		{Rate: 10e6, Delay: 60 * time.Millisecond},
	}) {
		t.Run(fmt.Sprintf("%d Mbit per s, %v", link.Rate/1e6, link.Delay), func(t *testing.T) {
			t.Parallel()
			link.QueueTime = 80 * time.Millisecond
			one := loadOf(t, 1, link)
			for _, n := range []int{10, 100} {
				many := loadOf(t, n, link)
				t.Logf("one %+v, %d %+v", one, n, many)
				if math.Abs(many.rate/one.rate-1) > 0.05 {
					t.Errorf("rate: one %.2f Mbit/s, %d %.2f", one.rate/1e6, n, many.rate/1e6)
				}
				if math.Abs(many.queue/one.queue-1) > 0.05 {
					t.Errorf("queue: one %.0f octets, %d %.0f", one.queue, n, many.queue)
				}
				if math.Abs(many.loss-one.loss) > 0.05*max(one.loss, 0.01) {
					t.Errorf("loss: one %.4f, %d %.4f", one.loss, n, many.loss)
				}
			}
		})
	}
}
