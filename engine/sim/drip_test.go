package sim

import (
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// A drip is an Application that writes an amount into each of its connections, again and again, whether the
// last one has left or not.
type drip struct {
	bond   *mptcp.Bond
	octets int // each time
	every  time.Duration
	until  clock.Time
	conns  []*mptcp.Conn
	owed   []int // of each, that found no room
	next   clock.Time
	buf    []byte
}

// Turn: see Application.
func (d *drip) Turn(now clock.Time) (changed bool) {
	for _, _, ok := d.bond.Next(); ok; _, _, ok = d.bond.Next() {
	}
	if due := d.next; now >= due && due < d.until {
		d.next = due.Add(d.every)
		for i := range d.owed {
			d.owed[i] += d.octets
		}
	}
	for i, c := range d.conns {
		wrote := false
		for d.owed[i] > 0 {
			n, err := c.Write(d.buf[:min(d.owed[i], len(d.buf))])
			if n == 0 || err != nil {
				break
			}
			d.owed[i] -= n
			wrote = true
		}
		if wrote {
			c.Poke(now)
			changed = true
		}
	}
	return changed
}

// Next: see Application.
func (d *drip) Next() clock.Time {
	if d.next >= d.until {
		return clock.Never
	}
	return d.next
}

// left is how many octets no connection had room for.
func (d *drip) left() (n int) {
	for _, owed := range d.owed {
		n += owed
	}
	return n
}

// A basin is an Application that accepts all that is offered and reads it.
type basin struct {
	bond  *mptcp.Bond
	conns []*mptcp.Conn
	got   int
	buf   []byte
}

// Turn: see Application.
func (b *basin) Turn(now clock.Time) (changed bool) {
	for c, what, ok := b.bond.Next(); ok; c, what, ok = b.bond.Next() {
		if what&mptcp.Offered != 0 && c.Accept(now) == nil {
			b.conns = append(b.conns, c)
			changed = true
		}
	}
	for _, c := range b.conns {
		for n, _ := c.Read(b.buf); n > 0; n, _ = c.Read(b.buf) {
			b.got += n
			changed = true
			c.Poke(now)
		}
	}
	return changed
}

// Next: see Application.
func (b *basin) Next() clock.Time { return clock.Never }

// A skew is a machine and its users whose clock is ahead of the world's, and fast.
type skew struct {
	mptcp.Machine
	uses  Application
	ahead time.Duration
	ppm   int64
}

func (k *skew) here(now clock.Time) clock.Time {
	return now.Add(k.ahead + time.Duration(int64(now)/1e6*k.ppm))
}

// there returns the first instant of the world at which it is at here.
func (k *skew) there(at clock.Time) clock.Time {
	if at == clock.Never {
		return at
	}
	now := max(at.Add(-k.ahead), 0)
	now = max(now-clock.Time(int64(now)/1e6*k.ppm)-clock.Time(time.Microsecond), 0)
	for k.here(now) < at {
		now++
	}
	return now
}

func (k *skew) Receive(now clock.Time, id mptcp.PathID, pkt []byte) {
	k.Machine.Receive(k.here(now), id, pkt)
}

func (k *skew) Advance(now clock.Time) { k.Machine.Advance(k.here(now)) }

func (k *skew) Deadline() clock.Time { return k.there(k.Machine.Deadline()) }

func (k *skew) Transmit(now clock.Time, buf []byte) (mptcp.PathID, []byte, bool) {
	return k.Machine.Transmit(k.here(now), buf)
}

func (k *skew) Turn(now clock.Time) bool { return k.uses.Turn(k.here(now)) }
func (k *skew) Next() clock.Time         { return k.there(k.uses.Next()) }

// A way is the two directions of a path, and what it costs.
type way struct {
	up, down Conditions
	price    int
	role     mptcp.Role
}

// A gutter is a client whose connections drip into a hub.
type gutter struct {
	*World
	bond   *mptcp.Bond
	hub    *mptcp.Bond
	client *Host
	host   *Host // of the hub
	drip   *drip
	basin  *basin
	paths  []*Path
	spilt  []*meter // octets that leave on each path
}

// newGutter has n connections drip mbit Mbit/s of data together until the end. k, if not nil, is the hub's clock.
func newGutter(cfg mptcp.Config, k *skew, n int, mbit float64, until time.Duration, ways ...way) *gutter {
	w := NewWorld(1)
	g := &gutter{World: w}
	near, far := cfg, cfg
	near.Strict, far.Strict = true, true
	near.Entropy, far.Entropy = Entropy(1, false), Entropy(2, false)
	g.bond, g.hub = mptcp.NewBond(near), mptcp.NewBond(far)
	g.hub.Listen(0)
	g.client = w.NewHost("client", g.bond)
	g.basin = &basin{bond: g.hub, buf: make([]byte, 1<<16)}
	if k == nil {
		k = new(skew)
	}
	k.Machine, k.uses = g.hub, g.basin
	g.host = w.NewHost("hub", k)
	for i, way := range ways {
		here, there := clientAddr(i, 0, false), serverAddr(i, false)
		to := mptcp.PathID(0)
		if cfg.Paired {
			to = mptcp.PathID(i)
		}
		g.paths = append(g.paths, w.NewPath("path", g.client, mptcp.PathID(i), g.host, to, way.up, way.down))
		g.paths[i].Names = append(g.paths[i].Names, here)
		near := mptcp.PathConfig{Local4: here, Price: way.price, Role: way.role}
		if cfg.Paired {
			near.Peer4 = there
		}
		g.bond.Attach(0, mptcp.PathID(i), near)
		if i == 0 || cfg.Paired {
			g.hub.Attach(k.here(0), to, mptcp.PathConfig{Local4: there, Peer4: here})
		}
		g.spilt = append(g.spilt, &meter{host: g.client, path: g.paths[i]})
		g.Tap(g.spilt[i])
	}
	every := 10 * time.Millisecond
	g.drip = &drip{bond: g.bond, octets: int(mbit * 1e6 / 8 * every.Seconds() / float64(n)), every: every, until: clock.Time(until), buf: make([]byte, 1<<16)}
	target := hub4
	if !cfg.Paired {
		target = serverAddr(0, false)
	}
	w.At(clock.Time(time.Millisecond), func(now clock.Time) {
		for i := range n {
			c, err := g.bond.Dial(now, netip.AddrPortFrom(target, uint16(1000+i)), mptcp.DialOptions{})
			if err != nil {
				w.Fail("%v", err)
				return
			}
			g.drip.conns = append(g.drip.conns, c)
			g.drip.owed = append(g.drip.owed, 0)
		}
		g.client.Use(g.drip)
	})
	g.host.Use(k)
	return g
}

// run has everything happen until an instant.
func (g *gutter) run(t *testing.T, until time.Duration) {
	t.Helper()
	if err := g.Run(clock.Time(until)); err != nil {
		t.Fatal(err)
	}
}

// share returns how much of what left between two instants left on a path.
func (g *gutter) share(path int, from, to time.Duration) float64 {
	of, all := 0, 0
	for i, m := range g.spilt {
		for k := int(from / meterStep); k < min(int(to/meterStep), len(m.steps)); k++ {
			if all += m.steps[k]; i == path {
				of += m.steps[k]
			}
		}
	}
	return float64(of) / float64(max(all, 1))
}

// carried returns what left on a path between two instants, in Mbit/s.
func (g *gutter) carried(path int, from, to time.Duration) float64 {
	sum := 0
	m := g.spilt[path]
	for k := int(from / meterStep); k < min(int(to/meterStep), len(m.steps)); k++ {
		sum += m.steps[k]
	}
	return float64(sum) * 8 / 1e6 / (to - from).Seconds()
}

// A skew is what it says.
func TestSkew(t *testing.T) {
	for _, k := range []*skew{{}, {ahead: time.Hour}, {ahead: -time.Minute, ppm: 50}, {ahead: time.Hour, ppm: -50}} {
		for now := clock.Time(0); now < clock.Time(time.Hour); now += clock.Time(7*time.Minute + 12345) {
			if at := k.here(now); k.here(k.there(at)) < at || k.there(at) > now || k.there(at) > 0 && k.here(k.there(at)-1) >= at {
				t.Errorf("%+v: %v is %v there, and that is %v", k, now, at, k.there(at))
			}
		}
	}
	if (&skew{ahead: 1}).there(clock.Never) != clock.Never {
		t.Error("never comes")
	}
}
