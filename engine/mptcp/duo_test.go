package mptcp

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// duo is two bonds joined by wires that deliver everything after a fixed time.
type duo struct {
	t     *testing.T
	now   clock.Time
	ends  [2]*Bond
	air   []flying
	delay [4]time.Duration
	count int
	lose  func(n int, from int, path PathID, pkt []byte) bool
}

type flying struct {
	at   clock.Time
	to   int
	path PathID
	pkt  []byte
}

func newDuo(t *testing.T, a, b Config, paths int) *duo {
	d := &duo{t: t}
	a.Strict, b.Strict = true, true
	a.Entropy = rand.NewChaCha8([32]byte{1})
	b.Entropy = rand.NewChaCha8([32]byte{2})
	d.ends = [2]*Bond{NewBond(a), NewBond(b)}
	for i := range paths {
		d.delay[i] = time.Duration(5+10*i) * time.Millisecond
		d.ends[0].Attach(0, PathID(i), PathConfig{Local4: netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), MTU: 1500})
		d.ends[1].Attach(0, PathID(i), PathConfig{Local4: netip.AddrFrom4([4]byte{10, 0, byte(i), 2}), MTU: 1500})
	}
	return d
}

func (d *duo) flush() {
	var buf [1500]byte
	for i, b := range d.ends {
		for {
			id, pkt, ok := b.Transmit(d.now, buf[:])
			if !ok {
				break
			}
			if d.count++; d.count > 200000 {
				d.t.Fatal("does not stop")
			}
			if d.lose != nil && d.lose(d.count, i, id, pkt) {
				continue
			}
			d.air = append(d.air, flying{d.now.Add(d.delay[id]), 1 - i, id, bytes.Clone(pkt)})
		}
	}
}

// run moves time on until nothing happens before end, or done says so.
func (d *duo) run(end time.Duration, done func() bool) bool {
	stop := d.now.Add(end)
	for {
		d.flush()
		if done != nil && done() {
			return true
		}
		next := stop
		for _, f := range d.air {
			next = min(next, f.at)
		}
		for _, b := range d.ends {
			next = min(next, max(b.Deadline(), d.now))
		}
		if next >= stop {
			d.now = stop
			return done == nil
		}
		d.now = next
		kept := d.air[:0]
		var due []flying
		for _, f := range d.air {
			if f.at <= d.now {
				due = append(due, f)
			} else {
				kept = append(kept, f)
			}
		}
		d.air = kept
		for _, f := range due {
			d.ends[f.to].Receive(d.now, f.path, f.pkt)
		}
		for _, b := range d.ends {
			if b.Deadline() <= d.now {
				b.Advance(d.now)
			}
		}
	}
}

func (d *duo) offer(b *Bond) *Conn {
	for {
		c, what, ok := b.Next()
		if !ok {
			return nil
		}
		if what&Offered != 0 {
			return c
		}
	}
}

// transfer moves size octets each way and ends both directions; prepare may spoil the wires.
func transfer(t *testing.T, a, b Config, paths, size int, prepare func(*duo)) (client, server *Conn) {
	t.Helper()
	d := newDuo(t, a, b, paths)
	if prepare != nil {
		prepare(d)
	}
	d.ends[1].Listen(80)
	c, err := d.ends[0].Dial(0, netip.MustParseAddrPort("10.0.0.2:80"), DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{3}).Read(data)
	client = c
	near, far := user{conn: c, data: data}, user{data: data}
	ok := d.run(120*time.Second, func() bool {
		near.turn(d)
		if server == nil {
			if server = d.offer(d.ends[1]); server != nil {
				if err := server.Accept(d.now); err != nil {
					t.Fatal(err)
				}
				far.conn = server
			}
		} else {
			far.turn(d)
		}
		d.flush()
		return near.ended && far.ended
	})
	if !ok || !bytes.Equal(near.got, data) || !bytes.Equal(far.got, data) {
		t.Fatalf("%v: %d and %d of %d octets came\n%s", d.now, len(far.got), len(near.got), size, c.Trace())
	}
	return client, server
}

// user writes data, reads to the end, and closes after its own last octet.
type user struct {
	conn  *Conn
	data  []byte
	sent  int
	got   []byte
	ended bool
}

func (u *user) turn(d *duo) {
	d.t.Helper()
	if u.sent < len(u.data) {
		n, _ := u.conn.Write(u.data[u.sent:])
		u.sent += n
		u.conn.Poke(d.now)
		if u.sent == len(u.data) {
			u.conn.CloseWrite(d.now)
		}
	}
	var buf [65536]byte
	for {
		n, err := u.conn.Read(buf[:])
		u.got = append(u.got, buf[:n]...)
		if err == io.EOF {
			u.ended = true
		} else if err != nil {
			d.t.Fatal(err, u.conn.Trace())
		}
		if n == 0 {
			return
		}
		u.conn.Poke(d.now)
	}
}

func TestTransfer(t *testing.T) {
	for _, x := range []struct {
		name string
		a, b Config
	}{
		{"foreign", Config{}, Config{}},
		{"paired", Config{Paired: true}, Config{Paired: true}},
		{"coupled", Config{Control: "lia"}, Config{Control: "lia"}},
		{"checksum", Config{Checksum: true}, Config{}},
		{"wide", Config{Wide: true}, Config{}},
		{"timestamps and checksum and wide", Config{Timestamps: true, Wide: true}, Config{Timestamps: true, Checksum: true}},
		{"redundant", Config{Scheduler: "redundant"}, Config{Scheduler: "redundant"}},
		{"plain", Config{}, Config{Plain: true}},
	} {
		t.Run(x.name, func(t *testing.T) { transfer(t, x.a, x.b, 2, 1<<20, nil) })
	}
}

// Whichever of the first packets is lost, every octet comes once, and MPTCP stays.
func TestAnyOfTheFirstPacketsLost(t *testing.T) {
	for _, cfg := range []Config{{}, {Checksum: true}, {Paired: true}} {
		for lost := 1; lost <= 24; lost++ {
			c, s := transfer(t, cfg, cfg, 2, 5000, func(d *duo) {
				d.lose = func(n, _ int, _ PathID, _ []byte) bool { return n == lost }
			})
			if !c.id.mptcp || !s.id.mptcp || c.id.fallback || s.id.fallback {
				t.Errorf("packet %d lost: fallback\n%s%s", lost, c.Trace(), s.Trace())
			}
		}
	}
}

// One packet in ten is lost on one path, and the other is silent from some moment on.
func TestBadPaths(t *testing.T) {
	for seed := range uint64(10) {
		cfg := Config{Paired: seed%2 == 0}
		r := rand.New(rand.NewPCG(seed, 1))
		transfer(t, cfg, cfg, 2, 300000, func(d *duo) {
			d.lose = func(n, _ int, path PathID, _ []byte) bool {
				return path == 0 && r.IntN(10) == 0 || path == 1 && n > 200
			}
		})
	}
}

// A middlebox takes the options of MPTCP away on all paths from one of the first packets on.
func TestOptionsTakenAway(t *testing.T) {
	for from := range 4 {
		transfer(t, Config{}, Config{}, 2, 100000, func(d *duo) {
			d.lose = func(n, end int, path PathID, pkt []byte) bool { return n > from && d.strip(end, path, pkt) }
		})
	}
}

// One path loses its options at any time: the other goes on.
func TestOptionsTakenAwayOnOnePath(t *testing.T) {
	for from := 0; from < 900; from += 60 {
		transfer(t, Config{Scheduler: "roundrobin"}, Config{Scheduler: "roundrobin"}, 2, 1<<20, func(d *duo) {
			d.lose = func(n, end int, path PathID, pkt []byte) bool {
				return path == 1 && n > from && d.strip(end, path, pkt)
			}
		})
	}
}

// One path alters octets: checksums find out, and the other carries them.
func TestOctetsAlteredOnOnePath(t *testing.T) {
	found := uint64(0)
	for from := 8; from < 900; from += 60 {
		c, s := transfer(t, Config{Checksum: true, Scheduler: "roundrobin"}, Config{Scheduler: "roundrobin"}, 2, 1<<20, func(d *duo) {
			d.lose = func(n, end int, path PathID, pkt []byte) bool {
				return path == 1 && n > from && d.alter(end, path, pkt, func(seg *wire.Segment) {
					if len(seg.Payload) > 0 {
						seg.Payload[0]++
					}
				})
			}
		})
		found += c.b.Counters().DSSChecksum + s.b.Counters().DSSChecksum
	}
	if found == 0 {
		t.Fatal("nothing found")
	}
}

// strip has a packet go on without its MPTCP options.
func (d *duo) strip(end int, path PathID, pkt []byte) bool {
	return d.alter(end, path, pkt, func(seg *wire.Segment) { seg.Options.Has &^= wire.HasMPTCP })
}

// alter has a packet go on as change leaves it.
func (d *duo) alter(end int, path PathID, pkt []byte, change func(*wire.Segment)) bool {
	var seg wire.Segment
	if err := seg.Parse(bytes.Clone(pkt)); err != nil {
		d.t.Fatal(err)
	}
	change(&seg)
	d.air = append(d.air, flying{d.now.Add(d.delay[path]), 1 - end, path, seg.Append(nil)})
	return true
}
