package sim

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
)

// load is how n connections that share one path use it.
type load struct {
	rate  float64 // bits of stream a second
	queue float64 // octets that wait, on average
	loss  float64 // share of packets
}

func loadOf(t *testing.T, n int) load {
	t.Helper()
	const rate, seconds = 40e6, 15
	link := Conditions{Rate: rate, Delay: 20 * time.Millisecond, QueueTime: 80 * time.Millisecond}
	p := newPair(1, []Conditions{link}, []Conditions{link})
	for i := range n {
		p.plan(&Plan{Target: netip.AddrPortFrom(hub4, uint16(1000+i)), Up: int64(rate * seconds / 8 / n)})
	}
	waiting, samples := 0.0, 0.0
	var sample func(now clock.Time)
	sample = func(now clock.Time) {
		waiting, samples = waiting+float64(p.paths[0].Up().Waiting(now)), samples+1
		p.At(now.Add(5*time.Millisecond), sample)
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
// 100 connections get the rate that one gets, and do to queue and loss what one does.
func TestManyConnectionsBehaveLikeOne(t *testing.T) {
	one, many := loadOf(t, 1), loadOf(t, 100)
	t.Logf("one %+v, many %+v", one, many)
	if math.Abs(many.rate/one.rate-1) > 0.05 {
		t.Errorf("rate: one %.2f Mbit/s, many %.2f", one.rate/1e6, many.rate/1e6)
	}
	const limit = 40e6 / 8 * 0.08
	if math.Abs(many.queue-one.queue) > 0.05*limit {
		t.Errorf("queue: one %.0f octets, many %.0f, of %.0f", one.queue, many.queue, limit)
	}
	if math.Abs(many.loss-one.loss) > 0.05*max(one.loss, 0.01) {
		t.Errorf("loss: one %.4f, many %.4f", one.loss, many.loss)
	}
}
