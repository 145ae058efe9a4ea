package tcp

import (
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
				d := &h.sub.snd
				w.t.Logf("host %d: %v, error %v, got %d, acknowledged %d, pushed %d of %d", i, h.sub.State(), h.sub.Err(), h.got, h.acked, h.pushed, h.want)
				w.t.Logf("una %d, nxt %d, edge %d, %d lost, %d in the air, room %d, deadline %v, %+v",
					d.una, d.nxt, d.edge, d.flight.lost.n, d.flight.air.n, h.path.Room(w.now), h.sub.Deadline(), h.sub.Stats())
			}
		}
		w.t.Fatalf("not finished at %v", time.Duration(w.now))
	}
}
