package tcp

import (
	"testing"
	"time"
	"unsafe"

	"tandem/engine/clock"
	"tandem/engine/path"
	"tandem/engine/wire"
)

// quiet is an owner that only counts: what remains is the cost of the subflow.
type quiet struct {
	at  uint64
	got uint64
}

func (q *quiet) Fetch(at uint64, p []byte)                              {}
func (q *quiet) Compose(clock.Time, *Subflow, *wire.Segment, Part, int) {}
func (q *quiet) Signals(clock.Time, *Subflow, *wire.Segment) bool       { return true }
func (q *quiet) Deliver(_ clock.Time, _ *Subflow, _ uint64, p []byte) bool {
	q.got += uint64(len(p))
	return true
}
func (q *quiet) Acked(clock.Time, *Subflow, uint64) {}
func (q *quiet) Window(*Subflow) int                { return 1 << 24 }
func (q *quiet) Changed(clock.Time, *Subflow)       {}

// fixed is a congestion controller that never changes its mind.
type fixed struct{ window int }

func (f *fixed) OnSent(clock.Time, int, int, bool) {}
func (f *fixed) OnAck(path.Sample)                 {}
func (f *fixed) OnLoss(path.Sample)                {}
func (f *fixed) OnECN(path.Sample)                 {}
func (f *fixed) OnSpurious()                       {}
func (f *fixed) OnTimeout(clock.Time)              {}
func (f *fixed) Window() int                       { return f.window }
func (f *fixed) Pace() int                         { return 0 }

// wired is two established subflows and the packets between them, without a link.
type wired struct {
	now  clock.Time
	a, b *Subflow
	qa   *quiet
	qb   *quiet
	bufs [][]byte
	pkts [][]byte
	seg  wire.Segment
	mod  int // drop every mod-th packet of data
	n    int
}

func newWired(tb testing.TB, window int, mod int) *wired {
	w := &wired{qa: &quiet{}, qb: &quiet{}, mod: mod}
	ca, cb := addrA, addrB
	w.a = Open(0, Config{Local: ca, Remote: cb, Path: path.New(&fixed{window}, 1440)}, w.qa)
	buf := make([]byte, 1500)
	w.bufs = make([][]byte, window/1440+64)
	for i := range w.bufs {
		w.bufs[i] = make([]byte, 1500)
	}
	pkt, _ := w.a.Transmit(0, buf)
	if err := w.seg.Parse(pkt); err != nil {
		tb.Fatal(err)
	}
	w.b = Listen(0, Config{Local: cb, Remote: ca, Path: path.New(&fixed{window}, 1440)}, w.qb, &w.seg)
	w.b.Answer(0)
	w.turn(w.b, w.a)
	w.turn(w.a, w.b)
	return w
}

// turn carries all that from has to say to to.
func (w *wired) turn(from, to *Subflow) int {
	w.now += clock.Time(time.Millisecond)
	w.pkts = w.pkts[:0]
	for len(w.pkts) < len(w.bufs) {
		pkt, ok := from.Transmit(w.now, w.bufs[len(w.pkts)])
		if !ok {
			break
		}
		w.pkts = append(w.pkts, pkt)
	}
	for _, pkt := range w.pkts {
		w.n++
		if w.mod > 0 && len(pkt) > 1000 && w.n%w.mod == 0 {
			continue
		}
		if w.seg.Parse(pkt) == nil {
			to.Receive(w.now, &w.seg)
		}
	}
	from.Advance(w.now)
	to.Advance(w.now)
	return len(w.pkts)
}

// round sends a window of data and its acknowledgements.
func (w *wired) round() {
	for w.a.Room(w.now) > 0 {
		w.a.Push(w.qa.at, 1<<16)
		w.qa.at += 1 << 16
	}
	w.turn(w.a, w.b)
	w.turn(w.b, w.a)
}

func benchmarkPair(b *testing.B, window, mod int) {
	w := newWired(b, window, mod)
	for range 20 {
		w.round()
	}
	b.SetBytes(1400)
	b.ReportAllocs()
	got := w.qb.got
	b.ResetTimer()
	for w.qb.got < got+uint64(b.N)*1400 {
		w.round()
	}
}

func BenchmarkPair(b *testing.B)          { benchmarkPair(b, 64*1440, 0) }
func BenchmarkPairLarge(b *testing.B)     { benchmarkPair(b, 4096*1440, 0) }
func BenchmarkPairLoss(b *testing.B)      { benchmarkPair(b, 64*1440, 100) }
func BenchmarkPairLossLarge(b *testing.B) { benchmarkPair(b, 4096*1440, 100) }

func TestSteadyStateAllocatesNothing(t *testing.T) {
	for _, mod := range []int{0, 100} {
		w := newWired(t, 64*1440, mod)
		for range 100 {
			w.round()
		}
		if n := testing.AllocsPerRun(100, w.round); n != 0 {
			t.Errorf("a round of 64 segments, one of %d lost, allocates %v times", mod, n)
		}
	}
}

func TestIdleSubflowIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Subflow{}); n > 1024 {
		t.Errorf("a subflow takes %d octets", n)
	}
}
