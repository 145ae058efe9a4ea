package path

import (
	"slices"
	"testing"
	"time"

	"tandem/engine/clock"
)

// A path that was idle starts again at the rate it is known to have.
func TestIdleRestart(t *testing.T) {
	for control, want := range map[string]float64{"bbr": 0.95, "cubic": 0.8} {
		l := newLink(50, 10*time.Millisecond, 60*time.Millisecond)
		f := l.flow(t, control)
		l.run(5 * second)
		f.stops = l.now
		l.run(35 * second)
		f.stops, f.starts = 60*second, l.now
		begun := f.received
		l.run(36 * second)
		if got := l.of(f, begun, second); got < want {
			t.Errorf("%s: %.2f of the link in the first second after a pause, want %.2f", control, got, want)
		}
	}
}

// A new flow fills a long path in six round trips, and does not let go of it when it notices.
func TestStartup(t *testing.T) {
	l := newLink(10, 100*time.Millisecond, 60*time.Millisecond)
	f := l.flow(t, "bbr")
	l.run(second + 300*ms)
	begun := f.received
	if got := l.of(f, 0, l.now); got < 0.3 {
		t.Errorf("%.2f of the link in the first round trips", got)
	}
	l.run(3*second + 300*ms)
	if got := l.of(f, begun, 2*second); got < 0.96 {
		t.Errorf("%.2f of the link in the next two seconds", got)
	}
	if f.lost > l.rate/5 {
		t.Errorf("%d octets lost", f.lost)
	}
}

// The pace of the first round trips follows the window: samples of a flight that has begun to arrive are small.
func TestStartupPace(t *testing.T) {
	b := newBBR(testMTU)
	rtt := 100 * time.Millisecond
	b.srtt = rtt
	want := perSecond(2*10*testMTU, rtt)
	if b.Pace() != want {
		t.Errorf("pace %d before a sample, want %d", b.Pace(), want)
	}
	b.OnAck(Sample{Now: second, RTT: rtt, RTTSmooth: rtt, Acked: testMTU, Rate: perSecond(testMTU, rtt)})
	if b.Pace() != want {
		t.Errorf("pace %d after the first packet, want %d", b.Pace(), want)
	}
	b.OnAck(Sample{Now: second, RTT: rtt, RTTSmooth: rtt, Acked: testMTU, Rate: perSecond(10*testMTU, rtt)})
	if want = int(2.77 * float64(perSecond(10*testMTU, rtt))); b.Pace() != want {
		t.Errorf("pace %d with a better sample, want %d", b.Pace(), want)
	}
}

// In startup the window triples at most in a round trip without a queue, and doubles in one with.
func TestStartupWindow(t *testing.T) {
	b, p := newBBR(testMTU), &totals{}
	b.model.cycles[0] = 1e8
	now := flight(b, p, second, 100*time.Millisecond)
	if got := segments(b); got != 30 {
		t.Errorf("window of %.0f segments after a round trip, want 30", got)
	}
	flight(b, p, now, 200*time.Millisecond)
	if got := segments(b); got != 60 {
		t.Errorf("window of %.0f segments after one with a queue, want 60", got)
	}
}

// A queue that stands for an eighth of a round trip ends startup. Drain ends when the longest that was
// seen must have gone, though more seems to be in flight.
func TestStartupEndsWithAQueue(t *testing.T) {
	b := newBBR(testMTU)
	base := 80 * time.Millisecond
	now := second
	hear := func(d, rtt time.Duration) {
		now = now.Add(d)
		b.OnAck(Sample{Now: now, RTT: rtt, RTTSmooth: rtt, Acked: testMTU, Rate: 1e6, Inflight: 1e6, PriorDelivered: -1})
	}
	hear(0, base)
	b.rounds = 2
	hear(9*time.Millisecond, base+60*time.Millisecond)
	hear(time.Millisecond, base+5*time.Millisecond)
	hear(9*time.Millisecond, base+65*time.Millisecond)
	hear(9*time.Millisecond, base+65*time.Millisecond)
	if b.phase != startup {
		t.Fatalf("phase %d before a queue stood", b.phase)
	}
	hear(2*time.Millisecond, base+65*time.Millisecond)
	if b.phase != drain {
		t.Fatalf("phase %d with a queue", b.phase)
	}
	hear(99*time.Millisecond, base+65*time.Millisecond)
	if b.phase != drain {
		t.Errorf("phase %d, the queue cannot have gone", b.phase)
	}
	if hear(2*time.Millisecond, base+65*time.Millisecond); b.phase != down {
		t.Errorf("phase %d, the queue must have gone", b.phase)
	}
}

// An acknowledgement that was delayed, the only one for a while, is no queue.
func TestStartupBearsADelayedAck(t *testing.T) {
	b := newBBR(testMTU)
	for i, rtt := range []time.Duration{100, 100, 140, 100, 140} {
		b.rounds = 2 * min(i, 1)
		now := second + clock.Time(i)*100*ms
		b.OnAck(Sample{Now: now, RTT: rtt * time.Millisecond, RTTSmooth: rtt * time.Millisecond, Acked: testMTU, PriorDelivered: -1})
	}
	if b.phase != startup {
		t.Errorf("phase %d", b.phase)
	}
}

// What startup's last packets lose says nothing about the bandwidth that it found.
func TestLossesOfStartupDoNotShorten(t *testing.T) {
	b := newBBR(testMTU)
	b.phase, b.fullAt, b.srtt = down, second, 100*time.Millisecond
	b.model.cycles[0], b.model.latest = 1e6, 7e5
	for _, c := range []struct {
		at   clock.Time
		want int
	}{{second + 199*ms, 1e6}, {second + 201*ms, 7e5}} {
		b.model.latest = 7e5
		b.OnECN(Sample{})
		if b.endRound(Sample{Now: c.at}); b.model.bandwidth() != c.want {
			t.Errorf("bandwidth %d, %v after startup, want %d", b.model.bandwidth(), c.at.Sub(second), c.want)
		}
	}
}

// Nor does a sample from among them.
func TestLossesOfStartupDoNotRaise(t *testing.T) {
	for _, c := range []struct {
		at   clock.Time
		lost int64
		want int
	}{{second + 199*ms, 0, 2e6}, {second + 199*ms, testMTU, 1e6}, {second + 201*ms, testMTU, 2e6}} {
		b := newBBR(testMTU)
		b.phase, b.fullAt = cruise, second
		b.model.cycles[0] = 1e6
		b.OnAck(Sample{Now: c.at, RTTSmooth: 100 * time.Millisecond, Acked: testMTU, Rate: 2e6, LostTotal: c.lost})
		if b.model.best() != c.want {
			t.Errorf("bandwidth %d, %v after startup with %d lost, want %d", b.model.best(), c.at.Sub(second), c.lost, c.want)
		}
	}
}

// Round trips that vary from the first flight on are no queue.
func TestStartupBearsJitter(t *testing.T) {
	l := newLink(50, 50*time.Millisecond, 60*time.Millisecond)
	jitter(40 * time.Millisecond)(l)
	f := l.flow(t, "bbr")
	l.run(second)
	begun := f.received
	l.run(2 * second)
	if got := l.of(f, begun, second); got < 0.7 {
		t.Errorf("%.2f of the link in the second second", got)
	}
}

// What is missing in flight while cruising is made up for, unless a queue stands or there was a pause.
func TestCruiseFillsThePath(t *testing.T) {
	base := 100 * time.Millisecond
	for _, c := range []struct {
		inflight int
		trip     time.Duration
		want     float64
	}{
		{1e5, base, 1.02},
		{9e4, base, 1.1},
		{6e4, base, 1.25},
		{4e4, base, 1.02},
		{9e4, base + 8*time.Millisecond, 0.98},
	} {
		b := newBBR(testMTU)
		b.phase = cruise
		b.model.cycles[0], b.trip.base, b.trip.last = 1e6, base, c.trip
		b.OnSent(second, testMTU, c.inflight, false)
		if got := float64(b.Pace()) / 1e6; got < c.want-0.001 || got > c.want+0.001 {
			t.Errorf("%d in flight, round trip %v: gain %.3f, want %.3f", c.inflight, c.trip, got, c.want)
		}
	}
}

// A path that was dead for three seconds is in full use half a second after it works again.
func TestReturn(t *testing.T) {
	l := newLink(50, 10*time.Millisecond, 60*time.Millisecond)
	l.drop = func(int) bool { return l.now > 5*second && l.now < 8*second }
	f := l.flow(t, "bbr")
	l.run(8*second + 500*ms)
	begun := f.received
	l.run(9*second + 500*ms)
	if got := l.of(f, begun, second); got < 0.95 {
		t.Errorf("%.2f of the link after its return", got)
	}
}

// Neither starves beside the other.
func TestCoexistence(t *testing.T) {
	for _, other := range []string{"bbr", "cubic", "reno"} {
		for _, queue := range []time.Duration{30 * time.Millisecond, 60 * time.Millisecond, 200 * time.Millisecond} {
			l := newLink(50, 10*time.Millisecond, queue)
			a, b := l.flow(t, "bbr"), l.flow(t, other)
			b.starts = 5 * second
			l.run(10 * second)
			begunA, begunB := a.received, b.received
			l.run(40 * second)
			x, y := l.of(a, begunA, 30*second), l.of(b, begunB, 30*second)
			if min(x, y) < 0.2 || x+y < 0.95 {
				t.Errorf("bbr %.2f beside %s %.2f, queue of %v", x, other, y, queue)
			}
		}
	}
}

// While cruising the queue stays near its target: what else uses the path waits no longer.
func TestQueueStaysShort(t *testing.T) {
	for _, l := range []*link{
		newLink(50, 10*time.Millisecond, 60*time.Millisecond),
		newLink(40, 35*time.Millisecond, 300*time.Millisecond),
	} {
		f := l.flow(t, "bbr")
		l.run(3 * second)
		var waits []time.Duration
		for l.now < 13*second {
			l.run(l.now + 5*ms)
			waits = append(waits, max(l.free.Sub(l.now), 0))
		}
		slices.Sort(waits)
		median, p95 := waits[len(waits)/2], waits[len(waits)*95/100]
		t.Logf("median %v, 95th %v", median, p95)
		if median > 8*time.Millisecond || p95 > 20*time.Millisecond {
			t.Errorf("queue of %v, at the 95th percentile %v", median, p95)
		}
		if f.lost > 0 {
			t.Errorf("%d octets lost", f.lost)
		}
	}
}

func TestTimeoutIsForgottenWithTheFirstAck(t *testing.T) {
	l := newLink(50, 10*time.Millisecond, 60*time.Millisecond)
	f := l.flow(t, "bbr")
	l.run(5 * second)
	c := f.path.control
	before := c.Window()
	c.OnTimeout(l.now)
	if c.Window() != 4*testMTU {
		t.Errorf("window %d after a timeout", c.Window())
	}
	c.OnAck(Sample{Now: l.now + 20*ms, SentAt: l.now, Acked: testMTU, RTT: 20 * time.Millisecond, RTTSmooth: 20 * time.Millisecond})
	if c.Window() < before*9/10 {
		t.Errorf("window %d after an acknowledgement, %d before the timeout", c.Window(), before)
	}
	c.OnTimeout(l.now)
	if c.OnSpurious(); c.Window() < before*9/10 {
		t.Errorf("window %d, undone", c.Window())
	}
}

// Losses that come while cruising as well are the path's; more than these, with a queue, are ours.
func TestLossesAreTold(t *testing.T) {
	var l losses
	delivered, lost := int64(0), int64(0)
	round := func(share float64, cruising, queue bool) bool {
		lost += int64(1e6 * share)
		delivered += int64(1e6 * (1 - share))
		l.add(Sample{Delivered: delivered, LostTotal: lost})
		return l.endRound(cruising, queue)
	}
	if !round(0.05, false, true) || round(0.05, false, false) || !round(0.2, false, false) {
		t.Error("before anything is known")
	}
	for range 30 {
		round(0.05, true, false)
	}
	if round(0.05, false, true) || !round(0.08, false, true) {
		t.Errorf("with a background of %.3f", l.background)
	}
	l.marked = true
	if !round(0, false, false) || round(0, false, false) {
		t.Error("a mark counts, once")
	}
}

// A probe that lost too much bounds what is in flight, until probes that lose nothing lift the bound.
func TestProbeBoundsInflight(t *testing.T) {
	b := newBBR(testMTU)
	b.model.cycles[0], b.trip.base = 1e6, 100*time.Millisecond
	b.enter(up, second)
	b.rounds, b.congested = 2, true
	b.step(Sample{Now: second + 200*ms, Sent: 120000})
	b.cwnd = 300000
	if b.setWindow(Sample{}); b.phase != down || b.Window() != 120000 {
		t.Errorf("window %d in phase %d", b.Window(), b.phase)
	}
	b.model.loosen()
	b.cwnd = 300000
	if b.setWindow(Sample{}); b.Window() != 150000 {
		t.Errorf("window %d after a probe without losses", b.Window())
	}
}

// Congestion between probes holds until the next probe, and takes a third of the bounds at most.
func TestCongestionShortens(t *testing.T) {
	m := bandwidth{cycles: [2]int{1000, 900}, latest: 800, delivered: 50}
	if m.shorten(100); m.bandwidth() != 800 || m.bound() != 70 {
		t.Errorf("rate %d, window %d", m.bandwidth(), m.bound())
	}
	m.endRound()
	if m.shorten(100); m.bandwidth() != 560 || m.bound() != 49 {
		t.Errorf("rate %d, window %d", m.bandwidth(), m.bound())
	}
	if m.refresh(); m.bandwidth() != 1000 || m.bound() != windowMax {
		t.Errorf("rate %d, window %d at the next probe", m.bandwidth(), m.bound())
	}
}
