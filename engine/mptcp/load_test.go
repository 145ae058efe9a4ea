package mptcp

import (
	"math"
	"testing"
	"time"

	"tandem/engine/datagram"
	"tandem/engine/path"
	"tandem/engine/schedule"
)

// weighed fails unless the bond's load is the sum of its connections' parts.
func weighed(t *testing.T, b *Bond) {
	t.Helper()
	sum := burden{}
	for _, c := range b.timers.all() {
		sum.unsent += c.burden.unsent
		sum.busy += c.burden.busy
	}
	if sum.unsent != b.load.unsent || sum.busy != b.load.busy {
		t.Fatalf("%d octets of %d connections wait, the sum is %+v", b.load.unsent, b.load.busy, sum)
	}
}

func TestLoadIsTheSumOfAll(t *testing.T) {
	x := newBench(t, 1)
	var clients, servers []*Conn
	for i := range 5 {
		c, s := x.dial(uint16(1 + i))
		clients, servers = append(clients, c), append(servers, s)
	}
	b := x.ends[0]
	if b.load.unsent != 0 || b.load.busy != 0 {
		t.Fatalf("%+v before anything was written", b.load)
	}
	clients[0].Write(make([]byte, 1000))
	clients[0].Poke(x.now)
	clients[1].Write(make([]byte, 2000))
	clients[1].Poke(x.now)
	if b.load.unsent != 3000 || b.load.busy != 2 {
		t.Fatalf("%+v after 1000 and 2000", b.load)
	}
	x.turn()
	if b.load.unsent != 0 {
		t.Fatalf("%+v when all has left", b.load)
	}
	for round := range 100 {
		for i := range clients {
			if i < 4 || round < 50 {
				x.feed(clients[i])
			}
			if round%3 > 0 {
				x.drain(servers[i])
			}
		}
		x.turn()
		weighed(t, b)
		if b.load.busy < 4 || b.load.unsent == 0 {
			t.Fatalf("round %d: %+v", round, b.load)
		}
	}
	clients[0].Abort(x.now)
	weighed(t, b)
	for i, c := range clients[1:] {
		c.CloseWrite(x.now)
		for range 100 {
			x.drain(servers[1+i])
			x.turn()
		}
	}
	for range 2000 {
		for _, s := range servers {
			x.drain(s)
		}
		x.turn()
	}
	if b.load.unsent != 0 || b.load.busy != 0 {
		t.Fatalf("%+v when all has come", b.load)
	}
}

// It shrinks with what is given to paths, while a connection has its turn.
func TestLoadShrinks(t *testing.T) {
	x := newBench(t, 1)
	c, _ := x.dial(1)
	c.Write(x.read[:])
	c.Poke(x.now)
	for range 9 {
		x.ends[0].Transmit(x.now, x.buf[:])
	}
	if late := x.ends[0].load.unsent - (len(x.read) - int(c.snd.next)); late < 0 || late > 1460 {
		t.Errorf("%d of %d were given away, %d wait", c.snd.next, len(x.read), x.ends[0].load.unsent)
	}
}

// What the peer's window keeps back waits for no path, and nobody is busy with it.
func TestLoadOfAClosedWindow(t *testing.T) {
	x := newBench(t, 1)
	c, s := x.dial(1)
	for range 1000 {
		x.feed(c)
		x.turn()
	}
	for n := 3000; n < 20_000; n += 1000 {
		s.Read(x.read[:n])
		s.Poke(x.now)
		for range 600 {
			x.turn()
		}
		b := x.ends[0]
		b.load.busy, c.burden.busy = 1, 1 // as before the last acknowledgement
		b.touch(x.now, c)
		if x.turn(); c.snd.end == c.snd.next || b.load.unsent != 0 || b.load.busy != 0 {
			t.Fatalf("%d read: una %d, next %d, edge %d, end %d: %+v", n, c.snd.una, c.snd.next, c.snd.edge, c.snd.end, b.load)
		}
		x.feed(c)
	}
	x.drain(s)
	x.turn()
	if x.turn(); x.ends[0].load.busy != 1 {
		t.Errorf("%+v when the window opened", x.ends[0].load)
	}
}

// A spy is a scheduler that remembers what it was shown.
type spy struct {
	schedule.Scheduler
	views []schedule.View
}

func (s *spy) Pick(paths []schedule.View, queued, window int) int {
	s.views = append(s.views[:0], paths...)
	return s.Scheduler.Pick(paths, queued, window)
}

// The scheduler is shown prices, what waits on the bond, what is owed of the rate demanded, and who carried octets
// that go again.
func TestSchedulerIsShown(t *testing.T) {
	x := newBench(t, 2)
	b := x.ends[0]
	c, _ := x.dial(1)
	other, _ := x.dial(2)
	b.SetPrice(x.now, 1, 5000)
	watch := &spy{Scheduler: c.sched}
	c.sched = watch
	other.Write(make([]byte, 700))
	other.Poke(x.now)
	c.Write(make([]byte, 300))
	c.Poke(x.now)
	c.pick(x.now, 300, 1e6, nil)
	for i, f := range c.subflows {
		v := watch.views[i]
		if want := int(f.path.id) * 5000; v.Queued != 1000 || v.Price != want || v.Sent {
			t.Errorf("path %d: %+v", f.path.id, v)
		}
	}
	b.load.debt.Rate = 10_000
	x.now = x.now.Add(2 * time.Second)
	c.weigh(x.now)
	if c.pick(x.now, 300, 1e6, nil); watch.views[0].Queued != 21_000 {
		t.Errorf("20000 are owed: %+v", watch.views[0])
	}
	for _, f := range c.subflows {
		c.pick(x.now, 300, 1e6, f)
		for i, g := range c.subflows {
			if v := watch.views[i]; v.Sent != (f == g) || v.Usable == v.Sent {
				t.Errorf("path %d has carried them; path %d: %+v", f.path.id, g.path.id, v)
			}
		}
	}
	if c.subflows[0].give(x.now, 0, 300); b.load.waiting() != 20_700 {
		t.Errorf("%d wait and are owed", b.load.waiting())
	}
	c.snd.next = 300
	x.turn()
	if b.load.waiting() != 19_000 {
		t.Errorf("%d are owed when all has left", b.load.waiting())
	}
}

// paced is steady with a pace of a packet in 12 ms.
type paced struct{ steady }

func (paced) Pace() int { return 1500 * 1000 / 12 }

// A path that only pacing, or a limit, keeps from sending has room soon; one whose window is full, or that has
// room, has not.
func TestViewSoon(t *testing.T) {
	for _, c := range []struct {
		name string
		is   func(p *path.Path, x *bench)
		want bool
	}{
		{"idle", func(*path.Path, *bench) {}, false},
		{"paced", func(p *path.Path, x *bench) { p.Sent(x.now, 1500); p.Sent(x.now, 1500); p.Sent(x.now, 1500) }, true},
		{"limited", func(p *path.Path, x *bench) {
			p.SetLimit(x.now, 1000)
			p.Sent(x.now, 1500)
			p.Charge(x.now, 1500)
			p.Charge(x.now, 1500)
		}, true},
		{"full", func(p *path.Path, x *bench) { p.Sent(x.now, 4500); p.Sent(x.now, 4500) }, false},
	} {
		x := newBench(t, 1)
		p := path.New(paced{steady(9000)}, 1500)
		x.ends[0].path(0).state = p
		conn, _ := x.dial(1)
		x.now = x.now.Add(time.Second)
		c.is(p, x)
		if v := conn.subflows[0].view(x.now); v.Soon != c.want || (v.Room > 0) != (c.name == "idle") {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

// The application may write as much as must wait before the dearest path is used, less what others have written.
func TestHoard(t *testing.T) {
	x := newBench(t, 2)
	b := x.ends[0]
	c, _ := x.dial(1)
	other, _ := x.dial(2)
	for _, f := range []*Conn{c, other} {
		if f.sched = (schedule.Cost{}); f.hoard() != 0 {
			t.Errorf("%d though nothing costs anything", f.hoard())
		}
	}
	b.SetPrice(x.now, 1, 5000)
	const all = 5000*schedule.VDefault + 1
	if c.hoard() != all {
		t.Errorf("%d, want %d", c.hoard(), all)
	}
	b.SetPrice(x.now, 0, 1000)
	if want := 4000*schedule.VDefault + 1; c.hoard() != want {
		t.Errorf("%d, want %d", c.hoard(), want)
	}
	b.SetPrice(x.now, 0, 0)
	other.Write(make([]byte, 50_000))
	other.Poke(x.now)
	if c.hoard() != all-50_000 || other.hoard() != all {
		t.Errorf("%d and %d when the other has written 50000", c.hoard(), other.hoard())
	}
	before := int(c.out.limit.Load() - c.snd.una)
	if c.allow(x.now); int(c.out.limit.Load()-c.snd.una) < before+all-50_000-sendStart {
		t.Errorf("%d allowed, before %d", c.out.limit.Load()-c.snd.una, before)
	}
	other.Abort(x.now)
	if c.hoard() != all {
		t.Errorf("%d when the other has gone", c.hoard())
	}
	if c.sched, _ = schedule.New(""); c.hoard() != 0 {
		t.Error("another scheduler hoards")
	}
}

// A dear path carries no copies of octets that a cheaper one may bring yet.
func TestDearPathsSpareCopies(t *testing.T) {
	x := newBench(t, 2)
	x.ends[0].SetPrice(x.now, 1, 10)
	c, _ := x.dial(1)
	cheap, dear := c.subflows[0], c.subflows[1]
	if c.spares(dear, cheap) {
		t.Error("another scheduler asks for the price")
	}
	c.sched = schedule.Cost{}
	if !c.spares(dear, cheap) || c.spares(cheap, dear) || c.spares(cheap, cheap) {
		t.Error("wrong path spared")
	}
}

func TestSchedulerOfConfig(t *testing.T) {
	for name, want := range map[string]schedule.Scheduler{
		"cost": schedule.Cost{V: 7}, "": schedulerOf(""), "owl": schedulerOf("owl"), "unheard of": schedulerOf(""),
	} {
		if got := (&Config{Scheduler: name, CostV: 7}).scheduler(); got != want {
			t.Errorf("%q: %T %v", name, got, got)
		}
	}
	if b := NewBond(Config{Entropy: &fixed{}, CostRate: 1234}); b.load.debt.Rate != 1234 {
		t.Errorf("%+v", b.load.debt)
	}
}

func schedulerOf(name string) schedule.Scheduler {
	s, _ := schedule.New(name)
	return s
}

// The peer of a Paired bond is told what a path costs, and what it says counts if it is more. Of another process in
// its place nothing is known.
func TestPriceByPath(t *testing.T) {
	s := openLane(t)
	shown := func() PathInfo { return s.b.Paths(s.now)[0] }
	price := func() int { return s.b.path(0).price() }
	s.b.SetPrice(s.now, 0, 700)
	s.talk()
	if e := s.heard(datagram.PeerPath); e.State.ID != 0 || e.State.Price != 700 || shown().Price != 700 || price() != 700 {
		t.Fatalf("%+v %+v", e, shown())
	}
	for told, want := range map[uint32]int{900: 900, 100: 700, math.MaxUint32: priceMax, 0: 700} {
		s.peer.SetPath(s.now, datagram.PathState{ID: 0, Price: told})
		if s.talk(); price() != want || shown().Price != 700 || shown().PeerPrice != int(min(told, priceMax)) {
			t.Errorf("the peer says %d: %d, %+v", told, price(), shown())
		}
	}
	s.peer.SetPath(s.now, datagram.PathState{ID: 0, Price: 900})
	s.talk()
	cfg := s.b.path(0).cfg
	s.b.Detach(s.now, 0)
	cfg.Price = -5
	s.b.Attach(s.now, 0, cfg)
	if price() != 900 || shown().Price != 0 {
		t.Errorf("attached again: %+v", shown())
	}
	s.restart(2)
	if s.talk(); price() != 0 {
		t.Errorf("of another process: %+v", shown())
	}
	for ask, want := range map[int]int{-1: 0, math.MaxInt: priceMax} {
		if s.b.SetPrice(s.now, 0, ask); price() != want {
			t.Errorf("%d is taken for %d", ask, price())
		}
	}
	s.b.SetPrice(s.now, 200, 1)
}

// No scheduler costs an allocation for each segment.
func TestSchedulersAllocateNothing(t *testing.T) {
	for _, name := range []string{"", "owl", "cost"} {
		x := newBench(t, 2)
		c, s := x.dial(1)
		x.ends[0].SetPrice(x.now, 1, 10)
		l := path.NewLatency(ms)
		for _, p := range x.ends[0].paths {
			include(l, p.state)
			p.state.Ponged(x.now, 10*ms, 5*ms)
		}
		c.sched = schedulerOf(name)
		round := func() {
			x.feed(c)
			x.turn()
			x.drain(s)
		}
		for range 2000 {
			round()
		}
		if n := testing.AllocsPerRun(500, round); n >= 1 {
			t.Errorf("%q: %v allocations a round", name, n)
		}
	}
}
