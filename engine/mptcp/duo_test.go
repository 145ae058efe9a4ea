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
			d.count++
			if d.count > 20000 {
				var seg wire.Segment
				seg.Parse(pkt)
				d.t.Log(d.now, i, id, seg.String())
			}
			if d.count > 20030 {
				d.t.FailNow()
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

func transferTest(t *testing.T, a, b Config, paths, size int) {
	d := newDuo(t, a, b, paths)
	d.ends[1].Listen(80)
	c, err := d.ends[0].Dial(0, netip.MustParseAddrPort("10.0.0.2:80"), DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{3}).Read(data)
	var s *Conn
	var gotC, gotS []byte
	sentC, sentS := 0, 0
	eofC, eofS := false, false
	buf := make([]byte, 65536)
	step := func(c *Conn, sent *int, got *[]byte, eof *bool) {
		if *sent < size {
			n, _ := c.Write(data[*sent:])
			*sent += n
			c.Poke(d.now)
			if *sent == size {
				c.CloseWrite(d.now)
			}
		}
		for {
			n, err := c.Read(buf)
			*got = append(*got, buf[:n]...)
			if err == io.EOF {
				*eof = true
			} else if err != nil {
				t.Fatal(err, c.Trace())
			}
			if n == 0 {
				break
			}
			c.Poke(d.now)
		}
	}
	ok := d.run(60*time.Second, func() bool {
		step(c, &sentC, &gotC, &eofC)
		if s == nil {
			if s = d.offer(d.ends[1]); s != nil {
				if err := s.Accept(d.now); err != nil {
					t.Fatal(err)
				}
			}
		} else {
			step(s, &sentS, &gotS, &eofS)
		}
		d.flush()
		return eofC && eofS
	})
	t.Logf("%v ok=%v c %d/%d s %d/%d packets %d", d.now, ok, sentC, len(gotC), sentS, len(gotS), d.count)
	t.Logf("client %+v\n%s", c.Info(d.now), c.Trace())
	if s != nil {
		t.Logf("server %+v\n%s", s.Info(d.now), s.Trace())
	}
	if !ok || !bytes.Equal(gotC, data) || !bytes.Equal(gotS, data) {
		t.Fatal("not all octets came")
	}
}

func TestTransfer(t *testing.T) {
	for _, x := range []struct {
		name string
		cfg  Config
	}{
		{"foreign", Config{Control: "cubic"}},
		{"paired", Config{Paired: true, Control: "cubic"}},
		{"checksum", Config{Control: "cubic", Checksum: true}},
		{"wide", Config{Control: "cubic", Wide: true}},
	} {
		t.Run(x.name, func(t *testing.T) { transferTest(t, x.cfg, x.cfg, 2, 1<<20) })
	}
	t.Run("plain", func(t *testing.T) { transferTest(t, Config{}, Config{Plain: true}, 2, 1<<20) })
}
