package tcp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/path"
	"tandem/engine/wire"
)

// host is an owner of one subflow: it sends want octets of a stream that every host can compute, and
// verifies what it receives.
type host struct {
	t       testing.TB
	seed    byte
	sub     *Subflow
	path    *path.Path
	want    uint64 // octets to send
	pushed  uint64
	chunk   int // size of a push
	acked   uint64
	got     uint64 // octets delivered
	have    spans
	window  int // of reassembly; 0: a megabyte
	closes  bool
	changes []State
	inbox   []parcel
	refuse  func(off uint64) bool
	signals func(seg *wire.Segment) bool
	compose func(seg *wire.Segment, part Part, room int)
	unread  bool // octets in order are not read: the window shrinks
}

type parcel struct {
	at  clock.Time
	pkt []byte
	n   int // order of sending
}

func octetAt(seed byte, at uint64) byte { return byte(at) ^ byte(at>>8)*31 ^ byte(at>>16) ^ seed }

func (h *host) Fetch(at uint64, p []byte) {
	for i := range p {
		p[i] = octetAt(h.seed, at+uint64(i)-base)
	}
}

// base is where the owner's numbers begin: not where the subflow's do.
const base = 1 << 40

func (h *host) Compose(now clock.Time, s *Subflow, seg *wire.Segment, part Part, room int) {
	if h.compose != nil {
		h.compose(seg, part, room)
	}
}

func (h *host) Signals(_ clock.Time, _ *Subflow, seg *wire.Segment) bool {
	return h.signals == nil || h.signals(seg)
}

func (h *host) Deliver(now clock.Time, s *Subflow, off uint64, p []byte) bool {
	if h.refuse != nil && h.refuse(off) {
		return false
	}
	piece := span{off, off + uint64(len(p))}
	if h.have.gap(piece) != piece {
		h.t.Fatalf("octets %v delivered twice", piece)
	}
	h.have.add(piece)
	for i, c := range p {
		if c != octetAt(^h.seed, off+uint64(i)) {
			h.t.Fatalf("octet %d is wrong", off+uint64(i))
		}
	}
	h.got += uint64(len(p))
	return true
}

func (h *host) Acked(now clock.Time, s *Subflow, off uint64) {
	if off < h.acked || off > h.pushed {
		h.t.Fatalf("acknowledged %d after %d, pushed %d", off, h.acked, h.pushed)
	}
	h.acked = off
}

func (h *host) Window(s *Subflow) int {
	if h.window == 0 {
		return 1 << 20
	}
	if h.unread {
		return h.window - int(h.got)
	}
	return h.window
}

func (h *host) Changed(now clock.Time, s *Subflow) { h.changes = append(h.changes, s.State()) }

// push keeps the subflow supplied.
func (h *host) push(now clock.Time) {
	for h.pushed < h.want && h.sub.Room(now) > 0 {
		n := min(uint64(h.chunk), h.want-h.pushed)
		h.sub.Push(base+h.pushed, int(n))
		h.pushed += n
	}
	if h.closes && h.pushed == h.want {
		h.sub.Close(now)
	}
}

// world is two hosts and the link between them, in virtual time.
type world struct {
	t               testing.TB
	now             clock.Time
	rng             *rand.Rand
	hosts           [2]*host
	rate            int // octets a second
	free            [2]clock.Time
	delay           time.Duration
	loss, dup, swap float64
	sent            int
	fault           func(from int, pkt []byte) bool // reports whether it took the packet
	buf             []byte
}

var (
	addrA = netip.MustParseAddrPort("10.0.0.1:40000")
	addrB = netip.MustParseAddrPort("10.0.0.2:443")
)

func newPath(mtu int) *path.Path {
	c, _ := path.NewControl("cubic", mtu)
	return path.New(c, mtu)
}

func newWorld(t testing.TB, seed uint64, config func(*Config)) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), delay: 10 * time.Millisecond, rate: 1e7, buf: make([]byte, 2048)}
	for i := range w.hosts {
		w.hosts[i] = &host{t: t, seed: byte(0 - i), path: newPath(1440), chunk: 65536}
	}
	a := Config{Local: addrA, Remote: addrB, Path: w.hosts[0].path, ISS: 0xffff0000}
	if config != nil {
		config(&a)
	}
	w.hosts[0].sub = Open(w.now, a, w.hosts[0])
	return w
}

// listen opens the other end when the SYN comes.
func (w *world) listen(syn *wire.Segment) {
	cfg := *w.hosts[0].sub.Config()
	cfg.Local, cfg.Remote, cfg.Path, cfg.ISS = cfg.Remote, cfg.Local, w.hosts[1].path, 0xfffff000
	w.hosts[1].sub = Listen(w.now, cfg, w.hosts[1], syn)
	w.hosts[1].sub.Answer(w.now)
}

func (w *world) send(from int) bool {
	h := w.hosts[from]
	if h.sub == nil {
		return false
	}
	h.push(w.now)
	pkt, ok := h.sub.Transmit(w.now, w.buf[:0])
	if !ok {
		return false
	}
	var seg wire.Segment
	if err := seg.Parse(pkt); err != nil {
		w.t.Fatalf("cannot parse what was sent: %v", err)
	}
	if len(pkt) > 1440 {
		w.t.Fatalf("packet of %d octets", len(pkt))
	}
	if w.fault != nil && w.fault(from, pkt) || w.rng.Float64() < w.loss {
		return true
	}
	w.free[from] = max(w.free[from], w.now).Add(time.Duration(len(pkt)) * time.Second / time.Duration(w.rate))
	w.enqueue(from, pkt)
	if w.rng.Float64() < w.dup {
		w.enqueue(from, pkt)
	}
	return true
}

func (w *world) enqueue(from int, pkt []byte) {
	extra := time.Duration(0)
	if w.rng.Float64() < w.swap {
		extra = time.Duration(w.rng.Int64N(int64(w.delay)))
	}
	w.later(from, pkt, extra)
}

func (w *world) later(from int, pkt []byte, extra time.Duration) {
	at := max(w.free[from], w.now).Add(w.delay + extra)
	w.sent++
	to := w.hosts[1-from]
	p := parcel{at, append([]byte(nil), pkt...), w.sent}
	i := len(to.inbox)
	for i > 0 && to.inbox[i-1].at > at {
		i--
	}
	to.inbox = append(to.inbox[:i], append([]parcel{p}, to.inbox[i:]...)...)
}

// run until nothing will happen before end, or done says so.
func (w *world) run(end clock.Time, done func() bool) {
	for w.now <= end {
		for again := true; again; {
			again = w.send(0)
			again = w.send(1) || again
		}
		w.check()
		if done != nil && done() {
			return
		}
		next := end + 1
		for _, h := range w.hosts {
			if len(h.inbox) > 0 {
				next = min(next, h.inbox[0].at)
			}
			if h.sub != nil {
				next = min(next, h.sub.Deadline())
				if h.sub.Queued() > 0 || h.pushed < h.want || h.sub.snd.flight.lost.n > 0 {
					if at := h.path.NextSend(); at > w.now {
						next = min(next, at)
					}
				}
			}
		}
		w.now = max(w.now, next)
		for i, h := range w.hosts {
			for len(h.inbox) > 0 && h.inbox[0].at <= w.now {
				p := h.inbox[0]
				h.inbox = h.inbox[1:]
				w.receive(i, p.pkt)
			}
			if h.sub != nil {
				h.sub.Advance(w.now)
			}
		}
	}
}

func (w *world) receive(to int, pkt []byte) {
	var seg wire.Segment
	if err := seg.Parse(pkt); err != nil {
		w.t.Fatalf("cannot parse what arrived: %v", err)
	}
	h := w.hosts[to]
	if h.sub == nil {
		w.listen(&seg)
		return
	}
	h.sub.Receive(w.now, &seg)
}

// check verifies what must hold between any two events.
func (w *world) check() {
	for _, h := range w.hosts {
		if h.sub != nil {
			checkInvariants(w.t, h.sub)
			if h.path.Inflight() != h.sub.snd.inPath {
				w.t.Fatalf("path counts %d in flight, subflow %d", h.path.Inflight(), h.sub.snd.inPath)
			}
		}
	}
}

func (w *world) finished() bool {
	a, b := w.hosts[0], w.hosts[1]
	return b.sub != nil && a.got == b.want && b.got == a.want && a.acked == a.want && b.acked == b.want &&
		(!a.closes || a.sub.State() == Closed || a.sub.State() == TimeWait) &&
		(!b.closes || b.sub.State() == Closed || b.sub.State() == TimeWait)
}

func (w *world) mustFinish(within time.Duration) {
	w.t.Helper()
	w.run(w.now.Add(within), w.finished)
	if !w.finished() {
		for i, h := range w.hosts {
			if h.sub != nil {
				w.t.Logf("host %d: state %d err %v got %d acked %d pushed %d of %d, una %d nxt %d edge %d lost %d air %d, stats %+v, deadline %v room %d path window %d next %v", i, h.sub.state, h.sub.err,
					h.got, h.acked, h.pushed, h.want, h.sub.snd.una, h.sub.snd.nxt, h.sub.snd.edge, h.sub.snd.flight.lost.n, h.sub.snd.flight.air.n, h.sub.stats, h.sub.Deadline(), h.path.Room(w.now), h.path.Window(), h.path.NextSend())
			}
		}
		w.t.Fatalf("not finished at %v", time.Duration(w.now))
	}
}

func checkInvariants(t testing.TB, s *Subflow) {
	t.Helper()
	if err := broken(s); err != nil {
		t.Fatalf("broken: %v", err)
	}
}

// broken returns which invariant of a subflow does not hold.
func broken(s *Subflow) error {
	d, f, r := &s.snd, &s.snd.flight, &s.rcv
	if d.una > d.nxt || d.nxt > d.queue.end+1 {
		return fmt.Errorf("una %d nxt %d end %d", d.una, d.nxt, d.queue.end)
	}
	off, sum, recs, booked := d.una, 0, 0, s.tlp.size
	var air, gone int
	for id := f.head; id != f.tail; id++ {
		x := f.get(id)
		if x.off != off {
			return fmt.Errorf("record at %d, want %d", x.off, off)
		}
		off = x.end()
		switch x.fate {
		case sacked:
			sum += int(x.n)
			recs++
		case inAir:
			air++
			booked += int(x.size)
		case lost:
			gone++
		}
	}
	if s.state == Closed && s.Deadline() != clock.Never {
		return fmt.Errorf("closed, and waits for %v", s.Deadline())
	}
	if off != d.nxt {
		return fmt.Errorf("records end at %d, nxt %d", off, d.nxt)
	}
	if sum != f.sacked || recs != f.sackedRecs || air != f.air.n || gone != f.lost.n {
		return fmt.Errorf("counted %d sacked in %d, %d in the air, %d lost; kept %d, %d, %d, %d", sum, recs, air, gone, f.sacked, f.sackedRecs, f.air.n, f.lost.n)
	}
	if s.state != Closed && booked != d.inPath {
		return fmt.Errorf("records weigh %d in the path, booked %d", booked, d.inPath)
	}
	for _, l := range []struct {
		list
		fate fate
	}{{f.air, inAir}, {f.lost, lost}} {
		id := l.first
		for n := range l.n {
			if f.get(id).fate != l.fate {
				return fmt.Errorf("record %d in the wrong list", id)
			}
			if n == l.n-1 && id != l.last {
				return fmt.Errorf("list ends at %d, not %d", id, l.last)
			}
			id = f.get(id).next
		}
	}
	for i, p := range r.have {
		if p.left >= p.right || p.left <= r.nxt || i > 0 && p.left <= r.have[i-1].right {
			return fmt.Errorf("ranges %v, nxt %d", r.have, r.nxt)
		}
	}
	if len(r.have) > rangesMax+1 {
		return fmt.Errorf("%d ranges", len(r.have))
	}
	if f.len() > 0 && s.state >= Established && s.state != TimeWait && s.timer.retransmit == clock.Never {
		return fmt.Errorf("outstanding and no timer")
	}
	return nil
}

func TestPairTransfers(t *testing.T) {
	for _, remote := range []string{"10.0.0.2:443", "[fd00::2]:443"} {
		w := newWorld(t, 1, func(c *Config) {
			c.Remote = netip.MustParseAddrPort(remote)
			if c.Remote.Addr().Is6() {
				c.Local = netip.MustParseAddrPort("[fd00::1]:40000")
			}
		})
		w.hosts[0].want, w.hosts[1].want = 1<<20, 300000
		w.hosts[0].closes, w.hosts[1].closes = true, true
		w.mustFinish(time.Second)
		if n := w.hosts[0].sub.Stats(); n.Retransmits != 0 || n.OctetsIn != 300000 || n.OctetsOut != 1<<20 {
			t.Errorf("%+v", n)
		}
	}
}

// Each loss costs one retransmission and no timeout, however many segments are in flight; reordering
// costs next to nothing once it is known.
func TestPairRetransmitsWhatWasLost(t *testing.T) {
	for _, c := range []struct {
		name       string
		loss, swap float64
		more       int // retransmissions beyond the losses
	}{
		{"loss", 0.02, 0, 2},
		{"reordering", 0, 0.05, 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 3, func(cfg *Config) { cfg.Path = path.New(&fixed{200 * 1440}, 1440) })
			a := w.hosts[0]
			a.path = a.sub.Config().Path
			a.want, w.swap = 5<<20, c.swap
			drops := 0
			w.fault = func(from int, pkt []byte) bool {
				if from == 0 && len(pkt) > 1000 && w.rng.Float64() < c.loss {
					drops++
					return true
				}
				return false
			}
			w.mustFinish(5 * time.Second)
			if n := a.sub.Stats(); n.Timeouts > 0 || int(n.Retransmits) > drops+c.more || int(n.Retransmits) < drops {
				t.Errorf("%d drops, %+v", drops, n)
			}
			if limit := 1.2 * (5 << 20) / float64(w.rate); time.Duration(w.now).Seconds() > limit {
				t.Errorf("took %v, want less than %.2f s", time.Duration(w.now), limit)
			}
		})
	}
}

func TestPairSurvivesBadLinks(t *testing.T) {
	for seed := range uint64(1000) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			w := newWorld(t, seed, func(c *Config) {
				c.Timestamps = rng.IntN(2) == 0
				c.NoSACK = rng.IntN(4) == 0
				c.ECN = rng.IntN(2) == 0
				c.NoDelayAck = rng.IntN(4) == 0
				c.WindowScale = uint8(rng.IntN(15))
				if rng.IntN(4) == 0 {
					c.MaxMSS = 1 + rng.IntN(100)
				}
			})
			w.loss, w.dup, w.swap = 0.1*rng.Float64(), 0.05*rng.Float64(), 0.1*rng.Float64()
			a, b := w.hosts[0], w.hosts[1]
			a.want, b.want = 1+uint64(rng.IntN(300000)), uint64(rng.IntN(100000))
			if m := w.hosts[0].sub.Config().MaxMSS; m > 0 {
				a.want, b.want = 1+uint64(rng.IntN(100*m)), uint64(rng.IntN(100*m))
			}
			a.chunk, b.chunk = 1+rng.IntN(5000), 1+rng.IntN(100000)
			if rng.IntN(3) == 0 {
				b.window = (1 + rng.IntN(5000)) << w.hosts[0].sub.Config().WindowScale
			}
			a.closes, b.closes = true, true
			w.mustFinish(1000 * time.Second)
		})
	}
}

// Whichever packet is lost, doubled or late, everything arrives and both ends close.
func TestPairSurvivesTheNthPacket(t *testing.T) {
	faults := map[string]func(w *world, from int, pkt []byte) bool{
		"lost":     func(*world, int, []byte) bool { return true },
		"doubled":  func(w *world, from int, pkt []byte) bool { w.enqueue(from, pkt); return false },
		"late":     func(w *world, from int, pkt []byte) bool { w.later(from, pkt, 35*time.Millisecond); return true },
		"too late": func(w *world, from int, pkt []byte) bool { w.later(from, pkt, 3*time.Second); return true },
	}
	for name, fault := range faults {
		for _, config := range []func(*Config){nil, func(c *Config) { c.Early, c.Timestamps = true, true }, func(c *Config) { c.NoSACK = true }} {
			for n := 1; ; n++ {
				w := newWorld(t, 1, config)
				a, b := w.hosts[0], w.hosts[1]
				a.want, b.want, a.closes, b.closes = 30000, 20000, true, true
				if config != nil {
					a.sub.Push(base, 500)
					a.pushed = 500
				}
				count := 0
				w.fault = func(from int, pkt []byte) bool {
					count++
					return count == n && fault(w, from, pkt)
				}
				w.mustFinish(30 * time.Second)
				if count < n {
					break
				}
				if t.Failed() {
					t.Fatalf("packet %d %s", n, name)
				}
			}
		}
	}
}

// A reader that takes its time closes the window; nothing is lost and nothing is sent beyond it.
func TestPairWithSlowReader(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, func(c *Config) { c.WindowScale = 2 })
		w.loss = 0.02
		a, b := w.hosts[0], w.hosts[1]
		a.want, a.closes, b.closes = 200000, true, true
		b.window, b.unread = 10000, true
		for !w.finished() && w.now < clock.Time(200*time.Second) {
			w.run(w.now.Add(50*time.Millisecond), w.finished)
			if b.sub != nil {
				b.window = max(b.window, int(b.got)+w.rng.IntN(10000))
				b.sub.WindowGrew()
			}
		}
		if !w.finished() {
			t.Fatalf("seed %d: %d of %d octets", seed, b.got, a.want)
		}
	}
}
