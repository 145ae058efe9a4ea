package mptcp

import (
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// traffic is connections over a duo of foreign ends, the octets of whose packets are counted by path and direction.
type traffic struct {
	*duo
	conns [2][]*Conn
	moved [2][4]int // by who sent, and path
}

func newTraffic(t *testing.T, n, paths int) *traffic {
	t.Helper()
	d := &traffic{duo: newDuo(t, Config{Control: "cubic"}, Config{Control: "cubic"}, paths)}
	d.ends[1].Listen(80)
	d.lose = func(_ int, from int, path PathID, pkt []byte) bool {
		d.moved[from][path] += len(pkt)
		return false
	}
	for range n {
		c, err := d.ends[0].Dial(0, netip.MustParseAddrPort("10.0.0.2:80"), DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		d.conns[0] = append(d.conns[0], c)
	}
	d.pump(500 * time.Millisecond)
	return d
}

// pump lets time pass with little steps in which everybody has something to write.
func (d *traffic) pump(long time.Duration) {
	d.t.Helper()
	junk := make([]byte, 64<<10)
	d.count = 0
	for end := d.now.Add(long); d.now < end; {
		d.moving(junk)
		d.run(5*time.Millisecond, nil)
	}
}

func (d *traffic) moving(junk []byte) {
	d.t.Helper()
	if c := d.offer(d.ends[1]); c != nil {
		if err := c.Accept(d.now); err != nil {
			d.t.Fatal(err)
		}
		d.conns[1] = append(d.conns[1], c)
	}
	for _, conns := range d.conns {
		for _, c := range conns {
			for n := 1; n > 0; {
				n, _ = c.Read(junk)
			}
			if c.snd.end-c.snd.una < uint64(len(junk)) {
				c.Write(junk)
			}
			c.Poke(d.now)
		}
	}
}

// keeps fails unless one end sends at that rate over the path, within 10 %, in each of the seconds to come.
func (d *traffic) keeps(from int, path PathID, want, seconds int) {
	d.t.Helper()
	for range seconds {
		before := d.moved[from][path]
		d.pump(time.Second)
		if got := d.moved[from][path] - before; got < want*9/10 || got > want*11/10 {
			d.t.Errorf("at %v: %d octets a second, want %d", time.Duration(d.now), got, want)
		}
	}
}

// Each direction has a limit of its own, towards who asks.
func TestRatesOfBothDirections(t *testing.T) {
	d := newTraffic(t, 1, 1)
	d.ends[0].SetLimit(d.now, 0, 200_000, 0)
	d.ends[1].SetLimit(d.now, 0, 100_000, 0)
	d.pump(500 * time.Millisecond)
	d.keeps(1, 0, 200_000, 2)
	d.keeps(0, 0, 100_000, 2)
	d.ends[0].SetLimit(d.now, 0, 50_000, 0)
	d.pump(500 * time.Millisecond)
	d.keeps(1, 0, 50_000, 2)
}

// The path beside a limited one is used as before.
func TestRateLeavesTheOtherPath(t *testing.T) {
	d := newTraffic(t, 1, 2)
	d.ends[0].SetLimit(d.now, 0, 50_000, 0)
	d.pump(500 * time.Millisecond)
	before := d.moved[1]
	d.pump(time.Second)
	if got := d.moved[1][0] - before[0]; got > 55_000 {
		t.Errorf("%d over the limited path", got)
	}
	for _, f := range d.conns[1][0].subflows {
		if v := f.view(d.now); f.path.id == 0 && v.Rate > 50_000 {
			t.Errorf("the scheduler takes it for one that carries %d", v.Rate)
		}
	}
	if got := d.moved[1][1] - before[1]; got < 1_000_000 {
		t.Errorf("%d over the other one", got)
	}
}

// To several connections each gets its share of what the path may carry, either way, also after one of them has become
// silent.
func TestRateIsDivided(t *testing.T) {
	for _, dir := range []string{"down", "up"} {
		t.Run(dir, func(t *testing.T) {
			d := newTraffic(t, 4, 1)
			from := 1
			if dir == "down" {
				d.ends[0].SetLimit(d.now, 0, 200_000, 0)
			} else {
				from = 0
				d.ends[0].SetLimit(d.now, 0, 0, 200_000)
			}
			d.pump(1500 * time.Millisecond)
			d.keeps(from, 0, 200_000, 3)
			d.conns[0], d.conns[1] = d.conns[0][:2], d.conns[1][:2]
			d.pump(8 * time.Second)
			d.keeps(from, 0, 200_000, 2)
		})
	}
}

// The loss of the acknowledgements with a new limit, or with its end, is repaired within ten seconds.
func TestRateIsRefreshed(t *testing.T) {
	d := newTraffic(t, 1, 1)
	d.learns(200_000)
	d.learns(0)
}

// learns sets the limit of the first path, loses what tells of it, and wants the peer to learn it all the same.
func (d *traffic) learns(limit int) {
	t := d.t
	t.Helper()
	was := d.conns[1][0].Info(d.now).Subflows[0].PeerLimit
	counting, lost := d.lose, 0
	defer func() { d.lose = counting }()
	d.lose = func(n int, from int, path PathID, pkt []byte) bool {
		var seg wire.Segment
		if lost < rateRepeat && seg.Parse(pkt) == nil && seg.Options.Has&wire.HasRateLimit != 0 {
			lost++
			return true
		}
		return counting(n, from, path, pkt)
	}
	d.ends[0].SetLimit(d.now, 0, limit, 0)
	d.pump(rateRefresh / 20)
	if lost != rateRepeat || d.conns[1][0].Info(d.now).Subflows[0].PeerLimit != was {
		t.Fatalf("%d lost", lost)
	}
	for range 11 {
		d.pump(time.Second)
		if d.conns[1][0].Info(d.now).Subflows[0].PeerLimit == limit {
			return
		}
	}
	t.Fatal("not told again")
}

// Shares are not reckoned while nothing moves: an idle bond sleeps.
func TestSharesSleep(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.b.SetLimit(s.now, 0, 125_000, 0)
	s.comes(0, 1, 100)
	s.advance(5 * second)
	s.skip()
	if s.b.shareAt != clock.Never {
		t.Fatal("awake")
	}
	s.comes(0, 101, 100)
	if s.b.shareAt != s.now.Add(second) {
		t.Fatal("asleep")
	}
}
