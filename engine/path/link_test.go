package path

import (
	"math/rand/v2"
	"testing"
	"time"

	"tandem/engine/clock"
)

const (
	testMTU = 1440
	ms      = clock.Time(time.Millisecond)
	second  = clock.Time(time.Second)
)

// link is a bottleneck in virtual time: a rate, a delay each way and a queue that drops when full.
type link struct {
	rate  int // octets a second
	delay time.Duration
	queue int                  // octets
	drop  func(n int) bool     // the nth packet
	vary  func(l *link)        // before each packet
	hold  func() time.Duration // jitter that keeps the order
	last  clock.Time           // when the last acknowledgement arrives

	now      clock.Time
	free     clock.Time // when the last octet queued leaves
	sent     int        // packets
	queueMax time.Duration
	flows    []*flow

	could  float64 // octets that it could have delivered
	asleep float64 // share of the time in which it does not work
}

// flow is a sender that always has something to send, and its receiver.
type flow struct {
	path     *Path
	starts   clock.Time
	stops    clock.Time
	packets  []packet // outstanding, in order of sending
	received int
	lost     int
	rtts     time.Duration
	acks     int
}

type packet struct {
	st    Stamp
	acked clock.Time // when the acknowledgement arrives; Never: dropped
}

func newLink(mbit int, delay, queue time.Duration) *link {
	rate := mbit * 1e6 / 8
	return &link{rate: rate, delay: delay, queue: int(float64(rate) * queue.Seconds())}
}

func (l *link) flow(t testing.TB, control string) *flow {
	c, ok := NewControl(control, testMTU)
	if !ok {
		t.Fatalf("no control %q", control)
	}
	f := &flow{path: New(c, testMTU), stops: clock.Never}
	l.flows = append(l.flows, f)
	return f
}

// run drives all flows until end.
func (l *link) run(end clock.Time) {
	for l.now < end {
		for _, f := range l.flows {
			l.receive(f)
			l.send(f)
		}
		next := end
		for _, f := range l.flows {
			next = min(next, f.next(l.now))
		}
		l.could += float64(l.rate) * (1 - l.asleep) * next.Sub(l.now).Seconds()
		l.now = next
	}
}

func (f *flow) next(now clock.Time) clock.Time {
	at := clock.Never
	for _, p := range f.packets {
		if p.acked != clock.Never {
			at = p.acked
			break
		}
	}
	if len(f.packets) > 0 && f.packets[0].acked == clock.Never {
		at = min(at, f.packets[0].st.SentAt.Add(f.path.RTO()))
	}
	if f.path.Window() > f.path.Inflight() && now < f.stops {
		at = min(at, max(f.path.NextSend(), f.starts))
	}
	return max(at, now+1)
}

func (l *link) send(f *flow) {
	for l.now >= f.starts && l.now < f.stops && f.path.Room(l.now) > 0 {
		p := packet{st: f.path.Sent(l.now, testMTU), acked: clock.Never}
		l.sent++
		if l.vary != nil {
			l.vary(l)
		}
		begin := max(l.free, l.now)
		waits := begin.Sub(l.now)
		full := int(waits.Seconds()*float64(l.rate))+testMTU > l.queue
		if !full && (l.drop == nil || !l.drop(l.sent)) {
			l.queueMax = max(l.queueMax, waits)
			l.free = begin.Add(duration(testMTU, l.rate))
			p.acked = l.free.Add(2 * l.delay)
			if l.hold != nil {
				p.acked = max(l.last, p.acked.Add(l.hold()))
			}
			l.last = p.acked
		}
		f.packets = append(f.packets, p)
	}
}

// receive acknowledges what has arrived; what was sent before that and has not is lost.
func (l *link) receive(f *flow) {
	arrived := 0 // packets up to the last that has
	for i, p := range f.packets {
		if p.acked == clock.Never {
			continue
		}
		if p.acked > l.now {
			break
		}
		arrived = i + 1
	}
	for _, p := range f.packets[:arrived] {
		if p.acked == clock.Never {
			f.lose(l.now, p)
			continue
		}
		f.path.Acked(l.now, p.st, testMTU, false)
		f.received += testMTU
		f.rtts += l.now.Sub(p.st.SentAt)
		f.acks++
	}
	f.packets = f.packets[arrived:]
	if len(f.packets) > 0 && f.silent(l.now, f.packets[0]) {
		f.path.Timeout(l.now, f.packets[0].st)
		for len(f.packets) > 0 && f.silent(l.now, f.packets[0]) {
			f.lose(l.now, f.packets[0])
			f.packets = f.packets[1:]
		}
	}
	f.path.Done(l.now)
}

func (f *flow) silent(now clock.Time, p packet) bool {
	return p.acked == clock.Never && now >= p.st.SentAt.Add(f.path.RTO())
}

func (f *flow) lose(now clock.Time, p packet) {
	f.path.Lost(now, p.st, testMTU)
	f.lost += testMTU
}

// of returns the share of the link's rate that f received since it had received n octets, over d.
func (l *link) of(f *flow, n int, d clock.Time) float64 {
	return float64(f.received-n) / (float64(l.rate) * time.Duration(d).Seconds())
}

func TestBBRInBadWeather(t *testing.T) {
	for _, c := range []struct {
		name    string
		link    *link
		weather func(l *link)
		want    float64
		sojourn time.Duration // mean round trip at most
		lost    float64       // share lost at most
	}{
		{"five percent lost", newLink(5, 10*time.Millisecond, 60*time.Millisecond), lossy(0.05), 0.93, 50 * time.Millisecond, 0.06},
		{"one percent lost", newLink(20, 15*time.Millisecond, 60*time.Millisecond), lossy(0.01), 0.97, 50 * time.Millisecond, 0.02},
		{"one percent lost, fast", newLink(80, 30*time.Millisecond, 60*time.Millisecond), lossy(0.01), 0.97, 80 * time.Millisecond, 0.02},
		{"jitter", newLink(50, 10*time.Millisecond, 60*time.Millisecond), jitter(20 * time.Millisecond), 0.95, 60 * time.Millisecond, 0.01},
		{"rate changes", newLink(50, 10*time.Millisecond, 60*time.Millisecond), changing(3*second, 4), 0.90, 40 * time.Millisecond, 0.05},
		{"rate changes, long", newLink(40, 35*time.Millisecond, 300*time.Millisecond), changing(3*second, 4), 0.80, 140 * time.Millisecond, 0.05},
		{"naps", newLink(50, 10*time.Millisecond, 60*time.Millisecond), napping(2*second, 300*ms), 0.90, 60 * time.Millisecond, 0.06},
		{"shallow", newLink(50, 10*time.Millisecond, 3*time.Millisecond), nil, 0.9, 30 * time.Millisecond, 0.03},
		{"longer on the way", newLink(50, 10*time.Millisecond, 60*time.Millisecond), longer(8*second, 40*time.Millisecond), 0.95, 100 * time.Millisecond, 0.01},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := c.link
			if c.weather != nil {
				c.weather(l)
			}
			f := l.flow(t, "bbr")
			l.run(2 * second)
			begun, could := f.received, l.could
			l.run(20 * second)
			got := float64(f.received-begun) / (l.could - could)
			mean := f.rtts / time.Duration(f.acks)
			lost := float64(f.lost) / float64(f.received)
			t.Logf("share %.3f, mean round trip %v, queue at most %v, lost %.4f", got, mean, l.queueMax, lost)
			if got < c.want || mean > c.sojourn || lost > c.lost {
				t.Errorf("got %.3f at %v, lost %.3f, want %.3f, at most %v, at most %.3f", got, mean, lost, c.want, c.sojourn, c.lost)
			}
		})
	}
}

func lossy(share float64) func(*link) {
	r := rand.New(rand.NewPCG(1, 2))
	return func(l *link) { l.drop = func(int) bool { return r.Float64() < share } }
}

func jitter(most time.Duration) func(*link) {
	r := rand.New(rand.NewPCG(3, 4))
	return func(l *link) { l.hold = func() time.Duration { return time.Duration(r.Int64N(int64(most))) } }
}

func changing(period clock.Time, by int) func(*link) {
	return func(l *link) {
		full, queue := l.rate, l.queue
		l.vary = func(l *link) {
			l.rate, l.queue = full, queue
			if l.now/period%2 == 1 {
				l.rate, l.queue = full/by, queue/by
			}
		}
	}
}

func napping(every, length clock.Time) func(*link) {
	return func(l *link) {
		l.vary = func(l *link) {
			if at := max(l.free, l.now); at%every < length {
				l.free = at - at%every + length
			}
		}
		l.asleep = float64(length) / float64(every)
	}
}

func longer(from clock.Time, by time.Duration) func(*link) {
	return func(l *link) {
		delay := l.delay
		l.vary = func(l *link) {
			if l.now >= from {
				l.delay = delay + by/2
			}
		}
	}
}

func TestControlsFillALink(t *testing.T) {
	for _, control := range []string{"cubic", "bbr", "reno"} {
		for _, c := range []struct {
			name string
			link *link
		}{
			{"wifi", newLink(50, 10*time.Millisecond, 60*time.Millisecond)},
			{"cellular", newLink(30, 30*time.Millisecond, 100*time.Millisecond)},
			{"bloated", newLink(40, 35*time.Millisecond, 300*time.Millisecond)},
			{"slow", newLink(2, 50*time.Millisecond, 200*time.Millisecond)},
			{"fast", newLink(120, 10*time.Millisecond, 40*time.Millisecond)},
		} {
			t.Run(control+"/"+c.name, func(t *testing.T) {
				f := c.link.flow(t, control)
				c.link.run(2 * second)
				begun := f.received
				c.link.run(12 * second)
				got := c.link.of(f, begun, 10*second)
				t.Logf("share %.3f, mean round trip %v, queue at most %v, lost %.4f", got, f.rtts/time.Duration(f.acks), c.link.queueMax, float64(f.lost)/float64(f.received))
				if got < 0.95 {
					t.Errorf("got %.3f of the link, want 0.95", got)
				}
			})
		}
	}
}
