package path

import (
	"math"
	"testing"
	"time"

	"tandem/engine/clock"
)

// flight acknowledges a whole window sent at now, packet by packet, after rtt, and returns when.
func flight(c Control, p *totals, now clock.Time, rtt time.Duration) clock.Time {
	n := c.Window() / testMTU
	sent := p.delivered
	for i := range n {
		c.OnSent(now, testMTU, (i+1)*testMTU, false)
	}
	for i := range n {
		p.delivered += testMTU
		c.OnAck(Sample{
			Now: now.Add(rtt), SentAt: now, RTT: rtt, RTTSmooth: rtt, Acked: testMTU,
			Sent: n * testMTU, Prior: (n - i) * testMTU, Inflight: (n - i - 1) * testMTU,
			Delivered: p.delivered, PriorDelivered: sent,
		})
	}
	return now.Add(rtt)
}

type totals struct{ delivered int64 }

func segments(c Control) float64 { return float64(c.Window()) / testMTU }

func TestSlowStartDoubles(t *testing.T) {
	c, p := newReno(testMTU), &totals{}
	now := second
	for _, want := range []float64{10, 20, 40, 80} {
		if segments(c) != want {
			t.Errorf("window %.0f, want %.0f", segments(c), want)
		}
		now = flight(c, p, now, 50*time.Millisecond)
	}
	if got, want := c.Pace(), 2*160*testMTU*20; got != want {
		t.Errorf("pace %d, want twice the window a round trip, %d", got, want)
	}
}

func TestAvoidanceAddsASegment(t *testing.T) {
	c, p := newReno(testMTU), &totals{}
	c.ssthresh = c.cwnd
	now := second
	for i := range 20 {
		if got := segments(c); math.Abs(got-float64(10+i)) > 1 {
			t.Errorf("after %d round trips %.2f", i, got)
		}
		now = flight(c, p, now, 50*time.Millisecond)
	}
}

// HyStart++ leaves slow start when the queue has grown for five rounds, and goes back when it was a passing one.
func TestHystart(t *testing.T) {
	c, p := newReno(testMTU), &totals{}
	now := flight(c, p, second, 50*time.Millisecond)
	now = flight(c, p, now, 50*time.Millisecond)
	now = flight(c, p, now, 60*time.Millisecond)
	if c.hystart.baseline != 60*time.Millisecond {
		t.Fatal("growth not noticed")
	}
	now = flight(c, p, now, 51*time.Millisecond)
	if c.hystart.baseline != 0 {
		t.Fatal("passing growth taken for a queue")
	}
	now = flight(c, p, now, 51*time.Millisecond)
	for range 7 {
		now = flight(c, p, now, 65*time.Millisecond)
	}
	if c.slow() {
		t.Errorf("still in slow start at %.0f segments", segments(c))
	}
}

// RFC 9406 4.2: a threshold is known to be safe; round trips that grow below it do not slow down.
func TestHystartIsForTheFirstSlowStart(t *testing.T) {
	c, p := newReno(testMTU), &totals{}
	now := flight(c, p, second, 50*time.Millisecond)
	now = flight(c, p, now, 50*time.Millisecond)
	now = flight(c, p, now, 60*time.Millisecond)
	if c.hystart.baseline == 0 {
		t.Fatal("growth not noticed")
	}
	c.cwnd, c.ssthresh = 10*testMTU, 160*testMTU
	for _, want := range []float64{20, 40, 80, 160} {
		if now = flight(c, p, now, 80*time.Millisecond); segments(c) != want || c.Threshold() != 160*testMTU {
			t.Errorf("window %.0f, want %.0f; threshold %d", segments(c), want, c.Threshold())
		}
	}
}

func TestUnusedWindowDoesNotGrow(t *testing.T) {
	c := newReno(testMTU)
	for range 100 {
		c.OnAck(Sample{Now: second, Acked: testMTU, Sent: 4 * testMTU, RTTSmooth: time.Millisecond})
	}
	if segments(c) != 10 {
		t.Errorf("window %.0f", segments(c))
	}
}

func TestRecoveryIsProportional(t *testing.T) {
	c := newReno(testMTU)
	c.cwnd = 20 * testMTU
	s := Sample{Now: second, Prior: 20 * testMTU, Inflight: 18 * testMTU, Acked: testMTU, Lost: testMTU}
	c.OnLoss(s)
	c.OnAck(s)
	inflight, left := 18*testMTU, 0
	for i := range 17 {
		for c.Window() > inflight {
			inflight += testMTU
			left++
			c.OnSent(second, testMTU, inflight, false)
		}
		inflight -= testMTU
		c.OnAck(Sample{Now: second + clock.Time(i), SentAt: second - 1, Acked: testMTU, Inflight: inflight, Prior: inflight + testMTU})
	}
	if left < 8 || left > 10 {
		t.Errorf("%d segments left while 17 arrived, want about half", left)
	}
	c.OnAck(Sample{Now: second + ms, SentAt: second + 1, Acked: testMTU, Inflight: inflight - testMTU})
	if segments(c) != 10 || c.prr.on {
		t.Errorf("after recovery %.1f segments, want 10", segments(c))
	}
}

func TestTimeoutsKeepTheThreshold(t *testing.T) {
	c := newReno(testMTU)
	c.cwnd = 40 * testMTU
	c.OnTimeout(second)
	c.OnTimeout(2 * second)
	if c.Window() != testMTU || c.Threshold() != 20*testMTU {
		t.Errorf("window %d, threshold %d", c.Window(), c.Threshold())
	}
	c.OnSpurious()
	if segments(c) != 40 || c.Threshold() != 0 {
		t.Errorf("undone: window %d, threshold %d", c.Window(), c.Threshold())
	}
}

func TestIdleDecays(t *testing.T) {
	for _, x := range []struct {
		idle time.Duration
		want float64
	}{{900 * time.Millisecond, 100}, {time.Second, 50}, {2500 * time.Millisecond, 25}, {time.Hour, 10}} {
		c := newReno(testMTU)
		c.cwnd, c.srtt = 100*testMTU, 50*time.Millisecond
		c.OnSent(second, testMTU, testMTU, false)
		c.OnSent(second.Add(x.idle), testMTU, testMTU, false)
		if segments(c) != x.want {
			t.Errorf("after %v: %.0f segments, want %.0f", x.idle, segments(c), x.want)
		}
		if c.Threshold() != 0 {
			t.Errorf("threshold %d where there was none", c.Threshold())
		}
	}
}

func TestIdleIsRemembered(t *testing.T) {
	c := newReno(testMTU)
	c.cwnd, c.ssthresh = 100*testMTU, 50*testMTU
	c.OnSent(second, testMTU, testMTU, false)
	c.OnSent(3*second, testMTU, testMTU, false)
	if c.Threshold() != 75*testMTU {
		t.Errorf("threshold %d, want three quarters of the window", c.Threshold())
	}
}

// After a reduction at 100 segments the curve starts at 70, reaches 100 after K seconds and levels out.
func TestCubicCurve(t *testing.T) {
	c := newCubic(testMTU)
	c.cwnd = 100 * testMTU
	c.OnLoss(Sample{Now: second, Prior: c.cwnd})
	c.prr.on, c.cwnd = false, c.ssthresh
	c.begin(second, c.segments())
	k := math.Cbrt(30 / 0.4)
	for _, x := range []struct{ t, want float64 }{{0, 70}, {k, 100}, {k + 1, 100.4}, {2 * k, 130}} {
		if got := c.at(time.Duration(x.t * 1e9)); math.Abs(got-x.want) > 1e-4 {
			t.Errorf("after %.2f s %.3f, want %.3f", x.t, got, x.want)
		}
	}
	c.cwnd = 80 * testMTU
	c.OnLoss(Sample{Now: 2 * second, Prior: c.cwnd})
	if math.Abs(c.wMax-68) > 1e-9 || c.ssthresh != 56*testMTU {
		t.Errorf("fast convergence to %.2f, threshold %d", c.wMax, c.ssthresh)
	}
	c.OnSpurious()
	if c.wMax != 100 || c.cwnd != 80*testMTU {
		t.Errorf("undone: %.2f, window %d", c.wMax, c.cwnd)
	}
}

// On a short path CUBIC is at least as quick as Reno.
func TestCubicIsRenoFriendly(t *testing.T) {
	c, p := newCubic(testMTU), &totals{}
	c.ssthresh = c.cwnd
	now := second
	for range 50 {
		now = flight(c, p, now, 5*time.Millisecond)
	}
	if got := segments(c); got < 10+50*0.5 {
		t.Errorf("%.1f segments after 50 round trips", got)
	}
}

// Whatever the proportion says, recovery begins with a retransmission.
func TestRecoveryBeginsAtOnce(t *testing.T) {
	c := newReno(testMTU)
	c.cwnd = 20 * testMTU
	s := Sample{Now: second, Prior: 20 * testMTU, Inflight: 19 * testMTU, Lost: testMTU}
	if c.OnLoss(s); c.Window() != 20*testMTU {
		t.Errorf("window %d beside %d in flight", c.Window(), s.Inflight)
	}
}
