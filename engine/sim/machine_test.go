package sim

import (
	"strings"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// toy is a machine that sends a packet at each deadline and answers none.
type toy struct {
	every    time.Duration
	deadline clock.Time
	ready    int
	heard    []clock.Time
	lies     bool
	endless  bool
}

func (m *toy) Receive(now clock.Time, _ mptcp.PathID, _ []byte) { m.heard = append(m.heard, now) }
func (m *toy) Deadline() clock.Time                             { return m.deadline }

func (m *toy) Advance(now clock.Time) {
	m.ready++
	if !m.lies {
		m.deadline = now.Add(m.every)
	}
}

func (m *toy) Transmit(_ clock.Time, buf []byte) (mptcp.PathID, []byte, bool) {
	if m.ready == 0 {
		return 0, nil, false
	}
	if !m.endless {
		m.ready--
	}
	return 3, append(buf[:0], data(1, "tick").Append(nil)...), true
}

func toys(m *toy) (*World, *toy) {
	w, other := NewWorld(1), &toy{deadline: clock.Never}
	w.NewPath("wire", w.NewHost("a", m), 3, w.NewHost("b", other), 0, Conditions{Delay: 5 * time.Millisecond}, Conditions{})
	return w, other
}

func TestWorldServesDeadlinesAndLinks(t *testing.T) {
	w, other := toys(&toy{every: 10 * time.Millisecond})
	trace := NewTrace()
	w.Tap(trace)
	if err := w.Run(34 * ms); err != nil {
		t.Fatal(err)
	}
	if want := []clock.Time{5 * ms, 15 * ms, 25 * ms}; len(other.heard) != 3 || other.heard[0] != want[0] || other.heard[2] != want[2] {
		t.Errorf("heard at %v, want %v", other.heard, want)
	}
	if w.Now() != 34*ms || trace.Packets != 4+3 {
		t.Errorf("it is %v, %d packets seen", w.Now(), trace.Packets)
	}
}

func TestWorldCatchesMachinesThatNeverRest(t *testing.T) {
	for name, c := range map[string]struct {
		m    *toy
		want string
	}{
		"deadline stays in the past": {&toy{lies: true}, "never done"},
		"endless packets":            {&toy{endless: true, every: time.Second}, "packets at one instant"},
		"deadlines a moment apart":   {&toy{every: 0}, "never done"},
	} {
		w, _ := toys(c.m)
		if err := w.Run(s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTraceTellsRunsApart(t *testing.T) {
	sum := func(every time.Duration) uint64 {
		w, _ := toys(&toy{every: every})
		trace := NewTrace()
		w.Tap(trace)
		if err := w.Run(s); err != nil {
			t.Fatal(err)
		}
		return trace.Sum()
	}
	first := sum(10 * time.Millisecond)
	if first != sum(10*time.Millisecond) || first == sum(10*time.Millisecond+1) {
		t.Error("equal runs must have equal sums, others not")
	}
}

func TestStoryAndCapture(t *testing.T) {
	w, a := NewWorld(1), &toy{every: 10 * time.Millisecond}
	host := w.NewHost("a", a)
	w.NewPath("wire", host, 3, w.NewHost("b", &toy{deadline: clock.Never}), 0, Conditions{Delay: 5 * time.Millisecond}, Conditions{})
	var story, packets strings.Builder
	w.Tap(NewStory(&story))
	c, err := NewCapture(&packets, host)
	if err != nil {
		t.Fatal(err)
	}
	w.Tap(c)
	if err := w.Run(12 * ms); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"0.000ms a wire > 10.0.0.1:1000 > 10.0.0.2:80", "5.000ms b wire < 10.0.0.1", "10.000ms a wire >"} {
		if !strings.Contains(story.String(), want) {
			t.Errorf("no %q in\n%s", want, story.String())
		}
	}
	one := len(data(1, "tick").Append(nil))
	if got := packets.String(); len(got) != 24+2*(16+one) || got[:4] != "\x4d\x3c\xb2\xa1" || got[24+16+one+4:24+16+one+8] != "\x80\x96\x98\x00" {
		t.Errorf("capture of %d octets: %x", len(got), got)
	}
}

func TestPatternBelongsToItsOffset(t *testing.T) {
	k := pattern(9)
	for _, off := range []int64{0, 1, 100, period - 20, period, 3*period - 10, 5 << 30} {
		part := append([]byte(nil), k.at(off, 37)...)
		if len(part) != 37 || k.differs(part, off) != -1 || k.differs(part, off+period-1) < 0 {
			t.Fatalf("offset %d: %x", off, part)
		}
		part[30] ^= 1
		if at := k.differs(part, off); at != off+30 {
			t.Fatalf("offset %d: differs at %d", off, at)
		}
	}
	for off := range int64(period) {
		if run := k.at(off, runBytes); run[runBytes-1] != k.at(off+runBytes-1, 1)[0] {
			t.Fatalf("the run from %d on does not end as the pattern goes on", off)
		}
	}
	long := append(append([]byte(nil), k.at(0, 1<<40)...), k.at(runBytes, 1<<40)...)
	if len(long) != 2*runBytes || k.differs(long, 0) != -1 {
		t.Errorf("%d octets in two runs", len(long))
	}
}

func TestEntropyNearWrap(t *testing.T) {
	e, again := Entropy(5, true), Entropy(5, true)
	for range 3 {
		var key, key2 [8]byte
		var iss [4]byte
		e.Read(key[:])
		again.Read(key2[:])
		if key != key2 {
			t.Fatal("not repeatable")
		}
		e.Read(iss[:])
		again.Read(iss[:])
		if low, ok := wrapsSoon(key, iss); !ok {
			t.Errorf("key %x: IDSN low %08x, ISS %x", key, low, iss)
		}
	}
}
