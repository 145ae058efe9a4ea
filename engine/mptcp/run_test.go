package mptcp

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/path"
	"tandem/engine/schedule"
	"tandem/engine/wire"
)

// A bench is two Paired bonds and paths without any delay between them, on which a window of 30 packets
// is all that holds anything back. Nothing in it allocates once it has warmed up.
type bench struct {
	t    testing.TB
	now  clock.Time
	ends [2]*Bond
	buf  [1500]byte
	read [64 << 10]byte
}

func newBench(t testing.TB, paths int) *bench {
	x := &bench{t: t}
	for i := range x.ends {
		seed := [32]byte{byte(i)}
		x.ends[i] = NewBond(Config{Paired: true, Strict: true, Entropy: rand.NewChaCha8(seed)})
		for id := range paths {
			x.ends[i].Attach(0, PathID(id), PathConfig{Local4: netip.AddrFrom4([4]byte{10, 0, byte(id), byte(1 + i)})})
			x.ends[i].path(PathID(id)).state = path.New(steady(30*1500), 1500)
		}
	}
	return x
}

// steady is a congestion window that never changes.
type steady int

func (steady) OnSent(clock.Time, int, int, bool) {}
func (steady) OnAck(path.Sample)                 {}
func (steady) OnLoss(path.Sample)                {}
func (steady) OnECN(path.Sample)                 {}
func (steady) OnTimeout(clock.Time)              {}
func (steady) OnSpurious()                       {}
func (w steady) Window() int                     { return int(w) }
func (steady) Pace() int                         { return 0 }

// turn passes everything that may leave now from one end to the other, and has time pass.
func (x *bench) turn() {
	for i, b := range x.ends {
		for {
			id, pkt, ok := b.Transmit(x.now, x.buf[:])
			if !ok {
				break
			}
			x.ends[1-i].Receive(x.now, id, pkt)
		}
	}
	x.now = x.now.Add(100 * time.Microsecond)
	for _, b := range x.ends {
		if b.Deadline() <= x.now {
			b.Advance(x.now)
		}
	}
}

// dial returns the two ends of a connection to a port.
func (x *bench) dial(port uint16) (c, s *Conn) {
	x.t.Helper()
	c, err := x.ends[0].Dial(x.now, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), DialOptions{})
	if err != nil {
		x.t.Fatal(err)
	}
	for range 1000 {
		x.turn()
		for {
			o, what, ok := x.ends[1].Next()
			if !ok {
				break
			}
			if what&Offered != 0 {
				s = o
				if err := s.Accept(x.now); err != nil {
					x.t.Fatal(err)
				}
			}
		}
		if s != nil && len(c.subflows) == len(x.ends[0].paths) && c.subflows[len(c.subflows)-1].ready {
			return c, s
		}
	}
	x.t.Fatal("no connection\n", c.Trace())
	return nil, nil
}

// feed writes all that c takes, drain reads all that came.
func (x *bench) feed(c *Conn) {
	c.Write(x.read[:])
	c.Poke(x.now)
}

func (x *bench) drain(s *Conn) (n int) {
	for {
		m, _ := s.Read(x.read[:])
		if m == 0 {
			s.Poke(x.now)
			return n
		}
		n += m
	}
}

// TestSegmentsAllocateNothing moves a stream over two paths: once everything has its size, a segment
// costs no allocation at either end, from Write to Read.
func TestSegmentsAllocateNothing(t *testing.T) {
	x := newBench(t, 2)
	c, s := x.dial(1)
	move := func(n int) {
		for n > 0 {
			x.feed(c)
			x.turn()
			n -= x.drain(s)
		}
	}
	move(64 << 20)
	if n := testing.AllocsPerRun(5, func() { move(1 << 20) }); n > 1 {
		t.Errorf("%.0f allocations a megabyte", n)
	}
}

// TestEqualTurns lets several connections send as much as they can at the same time: in any stretch of
// time each moves as much as the others, but for a turn.
func TestEqualTurns(t *testing.T) {
	const n = 8
	x := newBench(t, 1)
	var clients, servers [n]*Conn
	for i := range n {
		clients[i], servers[i] = x.dial(uint16(1 + i))
	}
	var got [n]int
	for range 300 {
		for i := range n {
			x.feed(clients[i])
		}
		x.turn()
		least, most := 1<<62, 0
		for i := range n {
			got[i] += x.drain(servers[i])
			least, most = min(least, got[i]), max(most, got[i])
		}
		if most-least > 3*quantum {
			t.Fatalf("after %v: %v", x.now, got)
		}
	}
	if got[0] < 20*quantum {
		t.Fatalf("hardly anything moves: %v", got)
	}
}

// TestShortOneGoesFirst has many connections wait for room: one that had nothing to send until now does
// not stand in line behind them.
func TestShortOneGoesFirst(t *testing.T) {
	const n = 50
	x := newBench(t, 1)
	var clients, servers [n]*Conn
	for i := range n {
		clients[i], servers[i] = x.dial(uint16(1 + i))
	}
	short, end := x.dial(1000)
	for range 20 {
		for i := range n {
			x.feed(clients[i])
			x.drain(servers[i])
		}
		x.turn()
	}
	if x.ends[0].blocked.size < n/2 {
		t.Fatalf("only %d wait", x.ends[0].blocked.size)
	}
	short.Write([]byte("hello"))
	short.Poke(x.now)
	x.turn()
	x.turn()
	if got := x.drain(end); got != 5 {
		t.Fatalf("%d octets came", got)
	}
}

// A counter is a scheduler that counts how often it is asked, and may say no.
type counter struct {
	schedule.Scheduler
	asked int
	no    bool
}

func (k *counter) Pick(paths []schedule.View, queued, window int) int {
	if k.asked++; k.no {
		return -1
	}
	return k.Scheduler.Pick(paths, queued, window)
}

// TestWaitingCostsNothing has ever more connections wait: a packet costs the same, also while the
// scheduler makes all of them wait though there is room.
func TestWaitingCostsNothing(t *testing.T) {
	for _, n := range []int{10, 500} {
		x := newBench(t, 1)
		scheduler, _ := schedule.New("")
		k := counter{Scheduler: scheduler}
		var clients, servers []*Conn
		for i := range n {
			c, s := x.dial(uint16(1 + i))
			c.sched = &k
			clients, servers = append(clients, c), append(servers, s)
		}
		round := func() (octets int) {
			for i := range n {
				x.feed(clients[i])
				octets += x.drain(servers[i])
			}
			k.asked = 0
			x.turn()
			return octets
		}
		for range 10 {
			round()
		}
		for range 100 {
			if got := round(); got == 0 || k.asked > 2*30 {
				t.Fatalf("%d connections: asked %d times for %d octets", n, k.asked, got)
			}
		}
		k.no = true
		for range 10 {
			round()
		}
		for range 100 {
			if round(); k.asked > 2*missesMax {
				t.Fatalf("%d connections: asked %d times in vain", n, k.asked)
			}
		}
		k.no = false
		if round(); round() == 0 {
			t.Fatalf("%d connections: nothing moves any more", n)
		}
	}
}

// TestEndedStreamsHoldNothing ends connections with octets on their way that nobody will read: their
// blocks are given back.
func TestEndedStreamsHoldNothing(t *testing.T) {
	x := newBench(t, 2)
	empty := func(what string) {
		t.Helper()
		for range 100_000 {
			x.turn()
		}
		for i, b := range x.ends {
			if b.pool.used != 0 || len(b.flows) != 0 {
				t.Errorf("%s: end %d still holds %d blocks, %d subflows", what, i, b.pool.used, len(b.flows))
			}
		}
	}
	c, s := x.dial(1)
	x.feed(c)
	x.turn()
	x.feed(c)
	if x.ends[0].pool.used == 0 || x.ends[1].pool.used == 0 {
		t.Fatal("nothing is on its way")
	}
	c.Abort(x.now)
	x.turn()
	s.Close(x.now)
	empty("aborted")

	c, err := x.ends[0].Dial(x.now, netip.MustParseAddrPort("192.0.2.1:2"), DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.Write([]byte("hello"))
	c.Poke(x.now)
	x.turn()
	for {
		s, what, ok := x.ends[1].Next()
		if !ok {
			break
		}
		if what&Offered != 0 {
			if x.ends[1].pool.used != 1 {
				t.Fatal("the SYN brought nothing")
			}
			s.Refuse(x.now, wire.Unspecified)
		}
	}
	empty("refused")
}

// A router says that a segment was too big: it goes again in smaller ones.
func TestSegmentTooBig(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.c.Write(octets(0, 1400))
	s.c.Poke(s.now)
	var buf [1500]byte
	_, pkt, ok := s.b.Transmit(s.now, buf[:])
	if !ok || len(pkt) != 1460 {
		t.Fatalf("%d octets", len(pkt))
	}
	s.b.Receive(s.now, 0, tooBig(pkt, 1300))
	if n := s.b.Counters().NotTCP; n != 0 {
		t.Fatal("dropped")
	}
	s.want(
		"0 . 1:1241 ack 1 <dss ack4 1 map4 1 ssn 1 len 1400>",
		"0 P. 1241:1401 ack 1 <dss ack4 1 map4 1 ssn 1 len 1400>",
	)
}

// tooBig is an ICMP error of a router about pkt (RFC 792, RFC 1191).
func tooBig(pkt []byte, mtu int) []byte {
	m := []byte{3, 4, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}
	m = append(m, pkt[:28]...)
	seal(m, m[2:])
	ip := []byte{0x45, 0, 0, byte(20 + len(m)), 0, 0, 0, 0, 64, wire.ICMPv4, 0, 0, 10, 99, 0, 1}
	ip = append(ip, pkt[12:16]...)
	seal(ip, ip[10:])
	return append(ip, m...)
}

// seal writes the checksum of p to its place.
func seal(p, at []byte) {
	var sum wire.Sum
	sum.Add(p)
	binary.BigEndian.PutUint16(at, sum.Checksum())
}
