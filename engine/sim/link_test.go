package sim

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tandem/engine/clock"
)

const (
	us = clock.Time(time.Microsecond)
	ms = clock.Time(time.Millisecond)
	s  = clock.Time(time.Second)
)

func dice(seed uint64) *rand.PCG { return rand.NewPCG(seed, 1) }

// blank is a packet of n octets that begins with tag.
func blank(n int, tag byte) []byte {
	p := make([]byte, n)
	p[0] = tag
	return p
}

// arrivals receives everything, each when it is due, and returns tags and instants.
func arrivals(t *testing.T, l *Link) (tags []byte, at []clock.Time) {
	t.Helper()
	for now := l.Next(); now != clock.Never; now = l.Next() {
		for pkt, ok := l.Receive(now); ok; pkt, ok = l.Receive(now) {
			tags, at = append(tags, pkt[0]), append(at, now)
		}
		if next := l.Next(); next <= now {
			t.Fatalf("Next is %v after everything due at %v was received", next, now)
		}
	}
	return tags, at
}

func TestLinkDelaysByRateAndDistance(t *testing.T) {
	// 1000 octets at 8 Mbit/s take 1 ms.
	l := NewLink(dice(1), Conditions{Rate: 8e6, Delay: 10 * time.Millisecond})
	for tag := range 3 {
		l.Send(5*ms, blank(1000, byte(tag)))
	}
	tags, at := arrivals(t, l)
	if !bytes.Equal(tags, []byte{0, 1, 2}) || !slices.Equal(at, []clock.Time{16 * ms, 17 * ms, 18 * ms}) {
		t.Errorf("got %v at %v", tags, at)
	}
	if c := l.Counts(); c.Forwarded != (Count{3, 3000}) || l.Waiting(20*ms) != 0 {
		t.Errorf("forwarded %v, waiting %d", c.Forwarded, l.Waiting(20*ms))
	}
}

func TestLinkKeepsACopy(t *testing.T) {
	l := NewLink(dice(1), Conditions{})
	p := []byte("before")
	l.Send(0, p)
	copy(p, "after!")
	if got, _ := l.Receive(0); string(got) != "before" {
		t.Errorf("got %q", got)
	}
}

func TestLinkQueueIsBounded(t *testing.T) {
	for name, c := range map[string]Conditions{
		"octets":        {Rate: 8e6, QueueBytes: 3000},
		"time":          {Rate: 8e6, QueueTime: 3 * time.Millisecond},
		"the lesser":    {Rate: 8e6, QueueTime: 3 * time.Millisecond, QueueBytes: 5000},
		"the lesser, 2": {Rate: 8e6, QueueTime: 5 * time.Millisecond, QueueBytes: 3000},
	} {
		l := NewLink(dice(1), c)
		for range 5 {
			l.Send(0, blank(1000, 0))
		}
		if got := l.Counts().QueueFull; got != (Count{2, 2000}) {
			t.Errorf("%s: dropped %v", name, got)
		}
		l.Send(1*ms, blank(1000, 0)) // one has left
		if tags, _ := arrivals(t, l); len(tags) != 4 {
			t.Errorf("%s: %d arrived", name, len(tags))
		}
	}
}

func TestLinkTakesOnePacketHoweverShortItsQueue(t *testing.T) {
	l := NewLink(dice(1), Conditions{Rate: 8e6, QueueBytes: 100})
	l.Send(0, blank(1000, 0))
	if tags, _ := arrivals(t, l); len(tags) != 1 {
		t.Error("lost")
	}
}

func TestLinkChangesWhileItRuns(t *testing.T) {
	l := NewLink(dice(1), Conditions{Rate: 8e6})
	for tag := range 4 {
		l.Send(0, blank(1000, byte(tag)))
	}
	l.Set(500*us, Conditions{Rate: 80e6}) // the first ends at the old rate, the rest follow at the new one
	_, at := arrivals(t, l)
	if want := []clock.Time{1 * ms, 1100 * us, 1200 * us, 1300 * us}; !slices.Equal(at, want) {
		t.Errorf("got %v, want %v", at, want)
	}
}

func TestLinkDownLosesWhatWaits(t *testing.T) {
	l := NewLink(dice(1), Conditions{Rate: 8e6, Delay: 50 * time.Millisecond})
	for tag := range 3 {
		l.Send(0, blank(1000, byte(tag)))
	}
	l.Set(500*us, Conditions{Rate: 8e6, Delay: 50 * time.Millisecond, Down: true})
	l.Send(1*ms, blank(1000, 9))
	tags, _ := arrivals(t, l)
	if !bytes.Equal(tags, []byte{0}) || l.Counts().Down != (Count{3, 3000}) {
		t.Errorf("arrived %v, counts %+v", tags, l.Counts())
	}
}

func TestLinkCloggedKeepsWhatWaits(t *testing.T) {
	l := NewLink(dice(1), Conditions{Clogged: true})
	l.Send(0, blank(100, 1))
	l.Send(1*ms, blank(100, 2))
	if next := l.Next(); next != clock.Never {
		t.Fatalf("a clogged link promises something at %v", next)
	}
	l.Set(7*ms, Conditions{Rate: 8e6})
	tags, at := arrivals(t, l)
	if !bytes.Equal(tags, []byte{1, 2}) || !slices.Equal(at, []clock.Time{7100 * us, 7200 * us}) {
		t.Errorf("got %v at %v", tags, at)
	}
}

func TestLinkMTU(t *testing.T) {
	l := NewLink(dice(1), Conditions{MTU: 1000})
	l.Send(0, blank(1001, 1))
	l.Send(0, blank(1000, 2))
	if tags, _ := arrivals(t, l); !bytes.Equal(tags, []byte{2}) || l.Counts().TooLong != (Count{1, 1001}) {
		t.Errorf("arrived %v, counts %+v", tags, l.Counts())
	}
}

func TestLinkLosesExactly(t *testing.T) {
	l := NewLink(dice(3), Conditions{Lose: 2, LoseOf: 10})
	for block := range 20 {
		for range 10 {
			l.Send(0, blank(100, 0))
		}
		if got, want := l.Counts().Lost.Packets, int64(2*(block+1)); got != want {
			t.Fatalf("%d lost of %d, want %d", got, 10*(block+1), want)
		}
	}
}

func TestLinkFaultsHappenAsOftenAsSaid(t *testing.T) {
	const n = 20000
	c := Conditions{
		Loss: 0.05, Duplicate: 0.04, Noise: 0.03, Reorder: 0.02,
		ReorderBy: 5 * time.Millisecond, Jitter: time.Millisecond,
	}
	l := NewLink(dice(4), c)
	for i := range n {
		now := clock.Time(i) * us
		l.Send(now, blank(100, 0))
		for _, ok := l.Receive(now); ok; _, ok = l.Receive(now) {
		}
	}
	got := l.Counts()
	for _, f := range []struct {
		name string
		got  Count
		want float64
	}{{"lost", got.Lost, 0.05}, {"duplicated", got.Duplicated, 0.04}, {"noise", got.Noise, 0.03}, {"reordered", got.Reordered, 0.02}} {
		if share := float64(f.got.Packets) / n; share < f.want*0.85 || share > f.want*1.15 {
			t.Errorf("%s: %.4f, want %.4f", f.name, share, f.want)
		}
	}
}

func TestLinkLosesInBursts(t *testing.T) {
	// Bad for 10 packets on average, good for 90: one in ten is lost, and nine tenths follow another.
	l := NewLink(dice(5), Conditions{Burst: Gilbert{Enter: 1.0 / 90, Leave: 0.1, Loss: 1}})
	lost, runs, before := 0, 0, int64(0)
	gap := true
	for range 50000 {
		l.Send(0, blank(100, 0))
		now := l.Counts().Lost.Packets
		if now > before {
			lost++
			if gap {
				runs++
			}
		}
		gap = now == before
		before = now
	}
	if share, run := float64(lost)/50000, float64(lost)/float64(runs); share < 0.085 || share > 0.115 || run < 9 || run > 11 {
		t.Errorf("%.3f lost in runs of %.1f", share, run)
	}
}

func TestJitterKeepsOrderAndReorderDoesNot(t *testing.T) {
	for _, reorder := range []float64{0, 0.3} {
		l := NewLink(dice(6), Conditions{Jitter: 20 * time.Millisecond, Reorder: reorder, ReorderBy: 20 * time.Millisecond})
		for tag := range 200 {
			l.Send(clock.Time(tag)*ms, blank(100, byte(tag)))
		}
		tags, _ := arrivals(t, l)
		if sorted := slices.IsSorted(tags); len(tags) != 200 || sorted != (reorder == 0) {
			t.Errorf("reorder %v: %d arrived, in order %v", reorder, len(tags), sorted)
		}
	}
}

func TestLinkIsRepeatable(t *testing.T) {
	run := func() (tags []byte, at []clock.Time, c Counts) {
		l := NewLink(dice(7), Conditions{
			Rate: 1e6, Jitter: 30 * time.Millisecond, Loss: 0.1, Duplicate: 0.1, Noise: 0.1,
			Reorder: 0.1, ReorderBy: 30 * time.Millisecond, Burst: Gilbert{0.1, 0.1, 0.5},
		})
		for tag := range 100 {
			l.Send(clock.Time(tag)*ms, blank(100, byte(tag)))
		}
		tags, at = arrivals(t, l)
		return tags, at, l.Counts()
	}
	tags, at, c := run()
	tags2, at2, c2 := run()
	if !bytes.Equal(tags, tags2) || !slices.Equal(at, at2) || c != c2 {
		t.Error("two runs differ")
	}
}

func TestLinkAllocatesNothingPerPacket(t *testing.T) {
	l := NewLink(dice(8), Conditions{Rate: 1e9, Delay: time.Millisecond, Loss: 0.01, Duplicate: 0.01, Jitter: time.Millisecond})
	pkt, now := blank(1500, 0), clock.Time(0)
	turn := func() {
		for range 1000 {
			now += 12 * us
			l.Send(now, pkt)
			for _, ok := l.Receive(now); ok; _, ok = l.Receive(now) {
			}
		}
	}
	turn()
	turn()
	if n := testing.AllocsPerRun(5, turn); n > 2 {
		t.Errorf("%v allocations for 1000 packets", n)
	}
}

func BenchmarkLink(b *testing.B) {
	l := NewLink(dice(9), Conditions{Rate: 1e9, Delay: 20 * time.Millisecond, Loss: 0.01})
	pkt, now := blank(1500, 0), clock.Time(0)
	b.SetBytes(1500)
	for b.Loop() {
		now += 12 * us
		l.Send(now, pkt)
		for _, ok := l.Receive(now); ok; _, ok = l.Receive(now) {
		}
	}
}
