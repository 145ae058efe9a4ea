package lab

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/engine/wire"
)

func TestOptionsOfASight(t *testing.T) {
	capable, rob := []byte{30, 4, 0x01, 0x01}, []byte{30, 4, 0x90, 0}
	idle, prio := []byte{30, 8, 0xf0, 0x10, 0x1c, 0x20, 0, 0}, []byte{30, 3, 0x51}
	s := sight{options: bytes.Join([][]byte{{2, 4, 5, 0xb4, 1, 1}, capable, rob, idle, prio, {0}, {30, 4, 0xa0, 0}}, nil)}
	for subtype, want := range map[byte]bool{subCapable: true, subRobE: true, subExperiment: true, subPrio: true, subJoin: false, subJoinCap: false} {
		if s.has(subtype) != want {
			t.Errorf("subtype %d: %t", subtype, !want)
		}
	}
	if o := s.experiment(expInactivity); number(o[2:4]) != 7200 {
		t.Errorf("% x", o)
	}
	if s.experiment(expRateLimit) != nil {
		t.Error("another ExpID is found")
	}
	for _, broken := range [][]byte{{30}, {30, 0, 0}, {30, 1}, {30, 9, 0x01}} {
		if (sight{options: broken}).has(subCapable) {
			t.Errorf("% x has an option", broken)
		}
	}
}

func TestRatesOfAnySecond(t *testing.T) {
	var all []sight
	for at := time.Duration(0); at < 4*time.Second; at += 10 * time.Millisecond {
		s := sight{at: at, length: 1000}
		if at >= 2*time.Second && at < 2500*time.Millisecond {
			s.length = 2000
		}
		all = append(all, s)
	}
	if low, high := rates(all, span{0, 4 * time.Second}); low != 100_000 || high != 150_000 {
		t.Errorf("%.0f to %.0f", low, high)
	}
	if low, high := rates(all, span{2500 * time.Millisecond, 4 * time.Second}); low != 100_000 || high != 100_000 {
		t.Errorf("after it %.0f to %.0f", low, high)
	}
	if low, _ := rates(nil, span{0, 4 * time.Second}); low != 0 {
		t.Errorf("%.0f of nothing", low)
	}
}

// A rate is measured when the machine runs, or at last as it is.
func TestUndisturbed(t *testing.T) {
	for _, c := range []struct {
		still time.Duration // the machine stands still, now and then, until then
		from  time.Duration
	}{{0, 0}, {1500 * time.Millisecond, 2 * time.Second}, {time.Hour, 6 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			from, to, err := undisturbed(t.Context(), 2*time.Second, func(ctx context.Context, d time.Duration) error {
				if at := time.Since(begun); at < c.still && at%(500*time.Millisecond) < d {
					d += 60 * time.Millisecond
				}
				time.Sleep(d)
				return ctx.Err()
			})
			if err != nil || (from.Sub(begun)-c.from).Abs() > 20*time.Millisecond || to.Sub(from) < 2*time.Second {
				t.Errorf("still until %v: from %v to %v, %v", c.still, from.Sub(begun), to.Sub(begun), err)
			}
		})
	}
}

func TestSharesAndGaps(t *testing.T) {
	here, there := [2]netip.Addr{address(0, near, false), address(1, near, false)}, address(0, far, false)
	var all []sight
	for i := range 10 {
		s := sight{at: time.Duration(i) * time.Second, from: here[0], to: there, octets: 300}
		if i%2 == 1 {
			s.from, s.octets = here[1], 100
		}
		all = append(all, s, sight{at: s.at, from: there, to: here[0], octets: 5000})
	}
	parts, total := sharesOf(all, span{0, time.Minute}, false, 2)
	if parts[0] != 0.75 || parts[1] != 0.25 || total != 2000 {
		t.Errorf("%v of %.0f", parts, total)
	}
	if most := gap(via(all, 0, false)); most != 2*time.Second {
		t.Errorf("gap of %v", most)
	}
}

func TestMapping(t *testing.T) {
	for _, c := range []struct {
		option   []byte
		dsn, ssn uint32
		ok       bool
	}{
		{[]byte{0x20, 0x05, 1, 2, 3, 4, 0, 0, 0, 1, 0, 0, 0, 9, 0, 8}, 1, 9, true},
		{[]byte{0x20, 0x04, 0, 0, 0, 1, 0, 0, 0, 9, 0, 8}, 1, 9, true},
		{[]byte{0x20, 0x0f, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 8}, 1, 9, true},
		{[]byte{0x20, 0x01, 1, 2, 3, 4}, 0, 0, false},
		{[]byte{0x20, 0x05, 1, 2, 3, 4}, 0, 0, false},
		{nil, 0, 0, false},
	} {
		if dsn, ssn, n, ok := mappingOf(c.option); dsn != c.dsn || ssn != c.ssn || ok != c.ok || ok && n != 8 {
			t.Errorf("% x: %d, %d, %d, %t", c.option, dsn, ssn, n, ok)
		}
	}
}

func TestShortens(t *testing.T) {
	seg := wire.Segment{Source: stranger(1), Target: target, Seq: 7, Flags: wire.SYN, Window: 1, Payload: make([]byte, 1000)}
	seg.Options = wire.Options{Has: wire.HasMSS, MSS: 1460}
	cut := shortens(501)
	var got wire.Segment
	if err := got.Parse(cut(false, seg.Append(nil))); err != nil || len(got.Payload) != 501 || got.Options.MSS != 1460 {
		t.Errorf("%v, %v", err, &got)
	}
	seg.Flags = wire.ACK
	if err := got.Parse(cut(false, seg.Append(nil))); err != nil || len(got.Payload) != 1000 {
		t.Errorf("what is no SYN: %v, %v", err, &got)
	}
}

// What follows a download, while it is looked through, is no stall of it; a pause in its midst is one.
func TestFlow(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		pause, want time.Duration
	}{{0, 0}, {600 * ms, 600 * ms}} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			carried := func() [2]int64 { // 100 octets a millisecond: for a second over both links, then over the second, then signs of life
				at := time.Since(begun)
				if at > 1500*ms {
					at = max(at-c.pause, 1500*ms)
				}
				first, all := min(at, time.Second)/ms*50, min(at, 2*time.Second)/ms*100
				return [2]int64{int64(first), int64(all-first) + 5*int64(at/ms)}
			}
			over := make(chan error, 1)
			time.AfterFunc(3500*ms, func() { over <- nil })
			stall, left, err := flow(carried, 200_000, over)
			if err != nil || stall < c.want || stall > c.want+60*ms {
				t.Errorf("with a pause of %v: %v, %v", c.pause, stall, err)
			}
			if after := left.Sub(begun); after < 700*ms || after > 1020*ms {
				t.Errorf("the first link is left after %v", after)
			}
		})
	}
}

// What a spy forges fits behind what it heard, and is whole.
func TestSpy(t *testing.T) {
	s := &spy{}
	here := netip.AddrPortFrom(address(1, near, false), 4000)
	heard := func(toNear bool, seg wire.Segment) {
		seg.Source, seg.Target, seg.Window = here, target, 100
		if toNear {
			seg.Source, seg.Target = target, here
		}
		s.hear(1, toNear, seg.Append(nil))
	}
	heard(false, wire.Segment{Seq: 100, Flags: wire.ACK, Ack: 900, Payload: make([]byte, 20)})
	heard(true, wire.Segment{Seq: 900, Flags: wire.ACK, Ack: 120, Payload: make([]byte, 5)})
	heard(true, wire.Segment{Seq: 890, Flags: wire.ACK, Ack: 120, Payload: make([]byte, 5)}) // late
	pkt := s.forge(1, true, func(seg *wire.Segment) { seg.Options.Has, seg.Options.Prototype = wire.HasPrototype, 7 })
	var got wire.Segment
	if err := got.Parse(pkt); err != nil || got.Seq != 905 || got.Ack != 120 || got.Target != here || got.Options.Prototype != 7 {
		t.Errorf("%v, %v", err, &got)
	}
	other := replace(bytes.Clone(pkt), []byte{30, 4, 0xf0, 7}, []byte{30, 4, 0x51, 3})
	if err := got.Parse(other); err != nil || bytes.Equal(pkt, other) || got.Options.Has&wire.HasPrototype != 0 {
		t.Errorf("%v, %v", err, &got)
	}
}

// Each seed is of one of the items, and each item has one.
func TestSeeds(t *testing.T) {
	items := map[string]bool{}
	for _, s := range seeds() {
		item, _, _ := strings.Cut(s.name, " ")
		items[item] = true
	}
	for _, item := range strings.Fields("1 2 3 4 5 6 7 8 9 10 11 12 done") {
		if !items[item] {
			t.Errorf("nothing shows item %s", item)
		}
	}
}
