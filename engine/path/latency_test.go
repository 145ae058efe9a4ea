package path

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"tandem/engine/clock"
)

// A duplex is a path with a latency for each direction.
type duplex struct {
	*Path
	forward, backward time.Duration
	jitter            time.Duration // what each packet may take longer
	idle              bool
}

// A distant is a host at the other end of some paths, with a clock of its own.
type distant struct {
	latency *Latency
	lanes   []*duplex
	r       *rand.Rand
	offset  time.Duration // what the clock has counted when ours begins
	apart   time.Duration // by how much more the clock of each further path has: 0, all are one
	drift   int64         // parts in a million
	tick    time.Duration
	every   time.Duration // between exchanges
	ping    bool          // PONGs, not timestamps
	now     clock.Time
}

func far(tick time.Duration, lanes ...*duplex) *distant {
	d := &distant{now: second, latency: NewLatency(0), r: rand.New(rand.NewPCG(1, 2)), tick: tick, every: 20 * time.Millisecond, lanes: lanes}
	for _, l := range lanes {
		control, _ := NewControl("reno", 1500)
		l.Path = New(control, 1500)
		d.latency.Add(l.Path)
	}
	return d
}

func pair(f1, b1, f2, b2 int) []*duplex {
	const m = time.Millisecond
	return []*duplex{
		{forward: time.Duration(f1) * m, backward: time.Duration(b1) * m},
		{forward: time.Duration(f2) * m, backward: time.Duration(b2) * m},
	}
}

// says returns what the peer's clock says at t.
func (d *distant) says(t clock.Time, lane int) time.Duration {
	return time.Duration(t) + time.Duration(int64(t)/1e6*d.drift) + d.offset + d.apart*time.Duration(lane)
}

// exchange lets something come back over each path.
func (d *distant) exchange() {
	for i, l := range d.lanes {
		if l.idle {
			continue
		}
		late := func() time.Duration { return time.Duration(d.r.Int64N(int64(l.jitter) + 1)) }
		forward, backward := l.forward+late(), l.backward+late()
		left := d.now.Add(-forward - backward)
		there := d.says(left.Add(forward), i)
		l.RTTSample(d.now, forward+backward)
		if d.ping {
			l.Ponged(d.now, forward+backward, there-time.Duration(left))
		} else {
			l.Stamped(d.now, uint32(there/d.tick))
		}
	}
}

// run exchanges for so long, each path at moments of its own.
func (d *distant) run(span time.Duration) *distant {
	for end := d.now.Add(span); d.now < end; {
		d.now = d.now.Add(d.every + time.Duration(d.r.Int64N(int64(d.every/4))))
		d.exchange()
	}
	return d
}

// gap is how much longer the first path takes towards the peer than the second.
func (d *distant) gap() time.Duration {
	return d.lanes[0].Forward(d.now) - d.lanes[1].Forward(d.now)
}

func (d *distant) want(t *testing.T, what string, gap, within time.Duration) {
	t.Helper()
	if got := d.gap(); (got-gap).Abs() > within || d.lanes[0].Forward(d.now) == 0 || d.lanes[1].Forward(d.now) == 0 {
		t.Errorf("%s: the first takes %v longer (%v, %v), want %v", what, got,
			d.lanes[0].Forward(d.now), d.lanes[1].Forward(d.now), gap)
	}
}

const msec = time.Millisecond

// The first path is the quicker one towards the peer though its round trip is the longer one, whatever
// the peer's clock says and however fast it runs.
func TestForwardLatency(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*distant)
	}{
		{"the same clock", func(*distant) {}},
		{"far ahead", func(d *distant) { d.offset = 20 * 24 * time.Hour }},
		{"behind", func(d *distant) { d.offset = -5 * time.Hour }},
		{"50 ppm fast", func(d *distant) { d.drift = 50 }},
		{"50 ppm slow", func(d *distant) { d.drift, d.offset = -50, time.Hour }},
		{"wraps meanwhile", func(d *distant) { d.offset = 1<<32*msec - 7*time.Second }},
		{"changes sign meanwhile", func(d *distant) { d.offset = 1<<31*msec - 7*time.Second }},
		{"jitter", func(d *distant) { d.lanes[0].jitter, d.lanes[1].jitter = 5*msec, 5*msec }},
		{"counts microseconds", func(d *distant) { d.tick = time.Microsecond }},
		{"counts 100 µs", func(d *distant) { d.tick = 100 * time.Microsecond }},
		{"counts 4 ms", func(d *distant) { d.tick = 4 * msec }},
		{"counts 10 ms", func(d *distant) { d.tick = 10 * msec }},
		{"PONGs", func(d *distant) { d.ping, d.every = true, 250*msec }},
		{"PONGs, fast clock, far ahead", func(d *distant) { d.ping, d.every, d.drift, d.offset = true, 250*msec, 50, 1e6*time.Second }},
	} {
		d := far(msec, pair(10, 90, 60, 20)...)
		c.change(d)
		for range 6 {
			d.run(5 * time.Second)
			d.want(t, c.name, -50*msec, 4*msec)
		}
		for _, l := range d.lanes {
			if sum := l.Forward(d.now) + l.Backward(d.now); (sum - l.forward - l.backward).Abs() > 8*msec {
				t.Errorf("%s: both ways take %v, want %v", c.name, sum, l.forward+l.backward)
			}
		}
	}
}

// The clock of microseconds wraps each 72 minutes: silence of half of that does no harm.
func TestTimestampsWrapWhileNothingComes(t *testing.T) {
	for _, idle := range []time.Duration{20 * time.Minute, 50 * time.Minute, 5 * time.Hour} {
		d := far(time.Microsecond, pair(10, 90, 60, 20)...).run(20 * time.Second)
		d.now = d.now.Add(idle)
		if f := d.lanes[0].Forward(d.now); f != 0 {
			t.Errorf("after %v Forward is still %v", idle, f)
		}
		d.run(time.Second)
		d.want(t, "after "+idle.String(), -50*msec, 2*msec)
		d.lanes[1].idle, d.every = true, time.Second
		d.run(idle)
		d.lanes[1].idle, d.every = false, 20*msec
		d.run(11 * time.Second)
		d.want(t, "one path, after "+idle.String(), -50*msec, 2*msec)
	}
}

// A path that joins when the timestamps of the others have wrapped counts on where they are.
func TestTimestampsWrapBeforeAPathJoins(t *testing.T) {
	d := far(msec, pair(10, 90, 60, 20)...)
	d.offset, d.lanes[1].idle = 1<<32*msec-7*time.Second, true
	d.run(10 * time.Second)
	d.lanes[1].idle = false
	d.run(2 * time.Second)
	d.want(t, "joined", -50*msec, 2*msec)
}

func TestTick(t *testing.T) {
	for _, c := range []struct {
		tick time.Duration
		run  time.Duration
	}{
		{time.Microsecond, 2 * time.Second}, {100 * time.Microsecond, 2 * time.Second}, {msec, 2 * time.Second},
		{2 * msec, 2 * time.Second}, {4 * msec, 2 * time.Second}, {10 * msec, 2 * time.Second}, {100 * msec, 2 * time.Second},
		{500 * msec, 6 * time.Second}, {time.Second, 12 * time.Second},
	} {
		d := far(c.tick, pair(10, 90, 60, 20)...)
		d.drift = 200
		for _, l := range d.lanes {
			l.jitter = 100 * msec
		}
		if d.run(c.run); d.latency.Tick() != c.tick {
			t.Errorf("%v is taken for %v", c.tick, d.latency.Tick())
		}
	}
}

// What was told is not doubted: what the timestamps seem to count is a whim of the path.
func TestTickThatWasTold(t *testing.T) {
	d := far(4*msec, pair(10, 90, 60, 20)...)
	*d.latency = Latency{tick: NewLatency(msec).tick, settled: true, paths: d.latency.paths}
	if d.run(20 * time.Second); d.latency.Tick() != msec {
		t.Errorf("told 1 ms, taken for %v", d.latency.Tick())
	}
	for told, want := range map[time.Duration]time.Duration{0: msec, 1: time.Microsecond, time.Hour: time.Second, 7 * msec: 7 * msec} {
		if got := NewLatency(told).Tick(); got != want {
			t.Errorf("told %v, taken for %v, want %v", told, got, want)
		}
	}
}

// A clock that counts nothing known tells nothing.
func TestTickThatNobodyKnows(t *testing.T) {
	d := far(46*msec, pair(10, 90, 60, 20)...).run(3 * time.Second)
	if f := d.lanes[0].Forward(d.now); f != 0 {
		t.Errorf("Forward is %v", f)
	}
	d.ping = true
	d.run(time.Second)
	d.want(t, "but PONGs", -50*msec, 2*msec)
}

// The estimate is final after a while: a path that then holds packets back for long does not change it.
func TestTickSettles(t *testing.T) {
	d := far(msec, pair(10, 90, 60, 20)...).run(17 * time.Second)
	if !d.latency.settled {
		t.Error("not settled")
	}
	d = far(10*msec, pair(10, 90, 60, 20)...).run(300 * msec)
	d.now = d.now.Add(2 * time.Hour) // in which a clock of microseconds could have wrapped
	if d.exchange(); d.latency.settled || d.latency.unclear {
		t.Error("judged by timestamps that may have wrapped")
	}
}

// A path that changes is followed within a second, in either direction of the path and of the change.
func TestForwardFollows(t *testing.T) {
	for _, c := range []struct {
		name              string
		forward, backward time.Duration
		ping              bool
		every             time.Duration
	}{
		{"longer", 110 * msec, 90 * msec, false, 20 * msec},
		{"shorter", 1 * msec, 90 * msec, false, 20 * msec},
		{"longer back", 10 * msec, 290 * msec, false, 20 * msec},
		{"shorter back", 10 * msec, 5 * msec, false, 20 * msec},
		{"swapped", 90 * msec, 10 * msec, false, 20 * msec},
		{"a packet each millisecond", 110 * msec, 90 * msec, false, msec},
		{"PONGs", 110 * msec, 90 * msec, true, 250 * msec},
	} {
		d := far(msec, pair(10, 90, 60, 20)...)
		d.ping, d.every = c.ping, c.every
		d.run(15 * time.Second)
		d.want(t, c.name+", before", -50*msec, 2*msec)
		d.lanes[0].forward, d.lanes[0].backward = c.forward, c.backward
		d.run(time.Second)
		d.want(t, c.name, c.forward-60*msec, 4*msec)
		d.run(15 * time.Second)
		d.want(t, c.name+", long after", c.forward-60*msec, 2*msec)
	}
}

// One late packet among many is not a change.
func TestForwardIsSmooth(t *testing.T) {
	d := far(msec, pair(10, 90, 60, 20)...).run(5 * time.Second)
	d.lanes[0].forward += 200 * msec
	d.exchange()
	d.lanes[0].forward -= 200 * msec
	d.want(t, "one late packet", -50*msec, 30*msec)
	// A burst of them is one moment.
	d.run(2 * time.Second)
	d.lanes[0].forward += 200 * msec
	for range 100 {
		d.now += 10_000
		d.exchange()
	}
	d.want(t, "a burst", -50*msec, 30*msec)
}

// Minimum and average, by hand: a sample 200 ms after the last counts for half.
func TestTrend(t *testing.T) {
	var tr trend
	for _, c := range []struct {
		at             clock.Time
		d, mean, least time.Duration
	}{
		{0, 40 * msec, 40 * msec, 40 * msec},
		{200 * ms, 80 * msec, 60 * msec, 40 * msec},
		{200*ms + ms/2, 900 * msec, 60 * msec, 40 * msec},
		{300 * ms, 30 * msec, 50*msec + 1, 30 * msec},
		{300 * ms, 0, 50*msec + 1, 1},
		{10*second + 300*ms, 60 * msec, 0, 1},
		{10*second + 302*ms, 60 * msec, 0, 60 * msec},
		{11 * second, -2 * time.Minute, -2 * time.Minute, -2 * time.Minute},
		{72 * second, -time.Minute, -time.Minute, -time.Minute},
		{73 * second, math.MinInt64, -strange, -strange},
		{74 * second, math.MaxInt64, strange, strange},
	} {
		tr.sample(c.at, c.d)
		if c.mean != 0 && (tr.mean-c.mean).Abs() > 2*time.Microsecond || tr.min() != c.least {
			t.Errorf("%v at %v: mean %v, least %v, want %v and %v", c.d, time.Duration(c.at), tr.mean, tr.min(), c.mean, c.least)
		}
	}
}

// The clock stands for the path: a single path's round trip is halved at first, and what comes on top
// belongs where it happened.
func TestSinglePathIsHalved(t *testing.T) {
	d := far(msec, &duplex{forward: 10 * msec, backward: 90 * msec}).run(5 * time.Second)
	if f := d.lanes[0].Forward(d.now); (f - 50*msec).Abs() > msec {
		t.Errorf("forward %v, want half", f)
	}
	d.lanes[0].forward += 30 * msec
	d.run(time.Second)
	if f, b := d.lanes[0].Forward(d.now), d.lanes[0].Backward(d.now); (f-80*msec).Abs() > msec || (b-50*msec).Abs() > msec {
		t.Errorf("forward %v, backward %v", f, b)
	}
}

// Linux gives the timestamps of each pair of addresses an offset of their own: nothing can be said but
// halves, and what goes beyond them.
func TestClocksThatAreNotOne(t *testing.T) {
	for _, apart := range []time.Duration{time.Second, 3 * time.Hour, 1 << 31 * msec, -1 << 30 * msec} {
		d := far(msec, pair(10, 90, 60, 20)...)
		d.offset, d.apart = time.Hour*1100, apart
		d.run(5 * time.Second)
		d.want(t, "halves", 10*msec, 2*msec)
		d.lanes[1].forward += 100 * msec
		d.run(time.Second)
		d.want(t, "the second longer", -90*msec, 2*msec)
		d.lanes[0].backward += 100 * msec
		d.run(time.Second)
		d.want(t, "the first longer, on the way back", -90*msec, 2*msec)
	}
}

// A peer that starts anew has another clock. It is believed as soon as its tick is known.
func TestClockThatChanges(t *testing.T) {
	for _, ping := range []bool{false, true} {
		d := far(msec, pair(10, 90, 60, 20)...)
		d.ping = ping
		d.run(5 * time.Second)
		d.offset += 77 * time.Hour
		d.run(3 * time.Second)
		d.want(t, "another clock", -50*msec, 2*msec)
	}
}

// PONGs count microseconds and timestamps do not: once there are PONGs the others are not heard.
func TestPongsAreHeardAlone(t *testing.T) {
	d := far(msec, pair(10, 90, 60, 20)...).run(time.Second)
	d.ping, d.offset = true, time.Hour
	d.run(time.Second)
	for i, l := range d.lanes {
		l.Stamped(d.now, uint32(i)*1e6)
	}
	d.want(t, "PONGs", -50*msec, msec)
}

func TestLatencyKnowsItsPaths(t *testing.T) {
	d := far(msec, pair(10, 90, 60, 20)...)
	if d.lanes[0].Forward(0) != 0 || d.lanes[0].Backward(0) != 0 {
		t.Error("known before anything was measured")
	}
	d.run(2 * time.Second)
	first, second := d.lanes[0].Path, d.lanes[1].Path
	if d.latency.Add(first); len(d.latency.paths) != 2 {
		t.Error("added twice")
	}
	d.latency.Remove(first)
	d.latency.Remove(first)
	if first.Forward(d.now) != 0 || first.Backward(d.now) != 0 {
		t.Error("known after it was removed")
	}
	d.run(time.Second)
	if f := second.Forward(d.now); (f - 40*msec).Abs() > msec {
		t.Errorf("alone, %v: want half", f)
	}
	d.latency.Add(first)
	d.run(time.Second)
	d.want(t, "both again", -50*msec, 2*msec)
	if _, _, least := first.RTT(); least != 100*msec {
		t.Errorf("round trip %v", least)
	}
}

// The latency counts the round trips of acknowledgements as those of others.
func TestLatencyHearsAcknowledgements(t *testing.T) {
	d := far(msec, pair(10, 90, 60, 20)...)
	p := d.lanes[0].Path
	st := p.Sent(0, 1500)
	p.Acked(100*ms, st, 1500, false)
	p.Done(100 * ms)
	p.Stamped(100*ms, 10)
	if f := p.Forward(100 * ms); f != 50*msec {
		t.Errorf("forward %v", f)
	}
}

// A minute after the last round trip, or the last sign of the peer's clock, nothing is known. A round trip
// that is none does not count.
func TestLatencyGrowsOld(t *testing.T) {
	for _, ping := range []bool{false, true} {
		d := far(msec, pair(10, 90, 60, 20)...)
		d.ping = ping
		d.run(2 * time.Second)
		p := d.lanes[0].Path
		p.RTTSample(d.now+ms, -100*msec)
		p.RTTSample(d.now+2*ms, 0)
		d.want(t, "no round trips", -50*msec, 2*msec)
		for range 61 {
			d.now += second
			if ping {
				p.RTTSample(d.now, 100*msec)
			} else {
				p.Stamped(d.now, uint32(d.now/ms))
			}
		}
		if f := p.Forward(d.now); f != 0 {
			t.Errorf("Forward is %v", f)
		}
	}
}

// Whatever a peer says: no panic, and a latency of no less than nothing and no more than the round trip.
func FuzzLatency(f *testing.F) {
	f.Add(uint64(1), int64(0), int64(0), uint32(0), uint32(1<<31), byte(0))
	f.Add(uint64(2), int64(math.MaxInt64), int64(math.MinInt64), uint32(math.MaxUint32), uint32(0), byte(1))
	f.Add(uint64(3), int64(time.Second), int64(time.Hour), uint32(7), uint32(1<<20), byte(4))
	f.Fuzz(func(t *testing.T, seed uint64, rtt, oneWay int64, a, b uint32, kind byte) {
		r := rand.New(rand.NewPCG(seed, 1))
		d := far(msec, pair(10, 90, 60, 20)...)
		*d.latency = Latency{tick: ticks[int(kind>>2)%len(ticks)], settled: kind&2 != 0, paths: d.latency.paths}
		now := clock.Time(r.Int64N(int64(1000 * time.Hour)))
		for i := range 200 {
			p := d.lanes[i&1].Path
			now = now.Add(time.Duration(r.Int64N(1 << uint(1+r.IntN(42)))))
			p.RTTSample(now, time.Duration(rtt>>uint(r.IntN(64))))
			if kind&1 != 0 {
				p.Ponged(now, time.Duration(rtt), time.Duration(oneWay>>uint(r.IntN(64))))
			}
			p.Stamped(now, a+uint32(i)*b)
			trip := p.oneWay.trip.mean
			if f, b := p.Forward(now), p.Backward(now); f < 0 || b < 0 || f+b > max(trip, 2) || (f == 0) != (b == 0) {
				t.Fatalf("forward %v, backward %v of %v", f, b, trip)
			}
		}
	})
}

func TestLatencyDoesNotAllocate(t *testing.T) {
	d := far(msec, pair(10, 90, 60, 20)...).run(time.Second)
	p := d.lanes[0].Path
	if n := testing.AllocsPerRun(100, func() {
		d.now += 10 * ms
		p.RTTSample(d.now, 100*msec)
		p.Stamped(d.now, uint32(d.now/ms))
		p.Forward(d.now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
