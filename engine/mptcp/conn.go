package mptcp

import (
	"encoding/binary"
	"io"
	"net/netip"
	"sync/atomic"

	"tandem/engine/clock"
	"tandem/engine/path"
	"tandem/engine/schedule"
	"tandem/engine/wire"
)

// Conn is one connection, as its application sees it.
//
// Read, with CanRead, and Write may each be called from a goroutine of their own, one at a time, beside the owner
// of the bond: they touch nothing but the stream's blocks. All other methods belong to the owner.
//
//	offered ──Accept──┐
//	                  ├─► opening ──► open ──► closing ──► over
//	Dial ─────────────┘      │          │ data       │ both DATA_FINs acknowledged
//	                         └──────────┴────────────┴──► over (reset, refused, timeout, abort)
type Conn struct {
	// Tag is the owner's.
	Tag any

	in      inbox
	out     outbox
	starved atomic.Bool           // Write took less than it was given
	failure atomic.Pointer[error] // set once, before ended
	finRead atomic.Bool           // everything up to the peer's end is readable
	ended   atomic.Bool

	b              *Bond
	source, target netip.AddrPort
	client         bool // this end dialled
	phase          phase
	born           uint64
	armed          clock.Time
	slot           int // in the bond's timers
	links          [queues]queueLink
	changes        Change

	id         identity
	snd        sendState
	rcv        recvState
	fin        finState
	signal     signalState
	late       lateness
	offer      offerState
	est        establishment
	idle       idleState
	home       netip.Addr // of this end on the first subflow: its number is 0
	askedAt    clock.Time // when Dial was called
	switchAt   clock.Time // when a SYN has waited so long that the offer goes over another path too
	held       bool       // the peer has the offer: it needs no other path
	movedAt    clock.Time // when a path went that carried the offer: the peer may hold a SYN it cannot answer; Never
	wakeAt     clock.Time // unless Paired: when pacing lets a subflow go on
	turn       int        // octets sent since it became this connection's turn
	gone       bool       // removed from the bond
	broken     bool       // an invariant did not hold: the next time its subflows are dropped
	subflows   []*subflow
	lastID     SubflowID
	only       []PathID    // the paths it may use; nil: all
	needy      bool        // PrivacyStrict: it uses all paths
	overtakers []overtaker // joins that wait for the third ACK
	barred     []*bondPath // over which no subflow comes unless asked for
	watch      *watch      // nil: nobody watches
	next       int         // which subflow's turn it is to transmit
	sched      schedule.Scheduler
	views      []schedule.View
	burden     burden
	measuring  measuring   // unless Paired
	group      *path.Group // unless Paired: couples the subflows' windows (RFC 6356)
	trace      trace
}

// phase is how far a connection is.
type phase uint8

const (
	offered phase = iota
	opening       // handshake under way
	open          // data flows
	over          // forgotten by the application; subflows may still be in TIME-WAIT
)

// identity is what the two ends agreed on (RFC 8684 3.1).
type identity struct {
	localKey, peerKey     uint64
	localToken, peerToken uint32
	localIDSN, peerIDSN   wire.DSN
	initial               *subflow // the first subflow, while it exists
	mptcp                 bool     // both ends speak MPTCP
	confirmed             bool     // the peer has shown that it knows (a DSS came)
	doubtful              bool     // no, but no subflow is left on which it could
	told                  bool     // the application knows of the establishment
	plainOnly             bool     // MPTCP is not to be asked for
	fallback              bool     // plain TCP over the one subflow, for good
	checksum              bool
	failed                bool   // MP_FAIL went on an acknowledgement: the infinite mapping is to come
	strayed               bool   // octets of the first subflow came that are elsewhere in the stream
	noJoins               bool   // the peer asked not to be joined at the address dialled
	alone                 bool   // no second subflow ever, nothing reinjected: fallback is still possible
	earlyOut, earlyIn     uint64 // octets that rode in the SYN, before the data sequence space
	shiftIn               uint64 // after a fallback: position of the stream less place in the subflow
}

func (b *Bond) newConn(source, target netip.AddrPort, client bool) *Conn {
	c := &Conn{b: b, source: source, target: target, client: client, phase: opening, wakeAt: clock.Never, switchAt: clock.Never, movedAt: clock.Never}
	if c.home = target.Addr(); client {
		c.home = source.Addr()
	}
	c.in.pool, c.out.pool = &b.pool, &b.pool
	c.snd.room = b.rooms.open(0, min(sendStart, b.cfg.Limits.SendBuffer))
	c.out.limit.Store(uint64(c.snd.room))
	c.id.alone = true
	c.id.checksum = b.cfg.Checksum
	c.rcv.init(b)
	c.late.init()
	c.fin.init()
	c.signal.init()
	c.idle.init(b)
	c.sched = b.cfg.scheduler()
	c.measuring = newMeasuring(&b.cfg, false)
	for {
		var key [8]byte
		b.random(key[:])
		c.id.localKey = binary.BigEndian.Uint64(key[:])
		c.id.localToken, c.id.localIDSN = wire.KeyToken(c.id.localKey)
		if _, taken := b.tokens[c.id.localToken]; !taken {
			break
		}
	}
	b.tokens[c.id.localToken] = c
	b.timers.add(c)
	b.conns++
	return c
}

// Read copies received octets to p. It returns 0, nil when there are none now, io.EOF after the
// last, and the connection's error once all octets that came before it were read.
func (c *Conn) Read(p []byte) (int, error) {
	finished, ended := c.finRead.Load(), c.ended.Load()
	if n := c.in.read(p); n > 0 || len(p) == 0 {
		return n, nil
	}
	if finished {
		return 0, io.EOF
	}
	if ended {
		return 0, c.endError()
	}
	return 0, nil
}

// CanRead reports whether Read with room returns anything but 0, nil.
func (c *Conn) CanRead() bool {
	return c.finRead.Load() || c.ended.Load() || c.in.readable.Load() > c.in.consumed.Load()
}

func (c *Conn) endError() error {
	if err := c.Err(); err != nil {
		return err
	}
	return io.EOF
}

// Write takes as many octets as there is room for.
func (c *Conn) Write(p []byte) (int, error) {
	if c.ended.Load() {
		if err := c.Err(); err != nil {
			return 0, err
		}
		return 0, ErrClosed
	}
	n := c.out.write(p)
	if n < len(p) {
		// The owner looks at starved after it raised the limit: ask again after setting it.
		c.starved.Store(true)
		n += c.out.write(p[n:])
	}
	return n, nil
}

// Poke has the connection notice what Read and Write did.
func (c *Conn) Poke(now clock.Time) {
	if c.phase == over {
		c.in.release()
		return
	}
	c.written()
	c.weigh(now)
	c.consumed(now)
	c.b.touch(now, c)
}

// written takes note of what was written, except behind the end.
func (c *Conn) written() {
	if end := c.out.sync(); !c.fin.queued {
		c.snd.end = end
	}
}

// Source returns the address that asked for the connection, Target the one it was asked for.
func (c *Conn) Source() netip.AddrPort { return c.source }

// Target: see Source.
func (c *Conn) Target() netip.AddrPort { return c.target }

// Err returns why the connection ended: nil while it lives and after an orderly end.
func (c *Conn) Err() error {
	if p := c.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// tell notes that something happened for Next.
func (c *Conn) tell(what Change) {
	c.changes |= what
	c.b.changed.push(c)
}

// finish ends the connection for its application. Subflows live on as far as TCP wants them to.
func (c *Conn) finish(now clock.Time, why error) {
	if c.phase == over {
		return
	}
	c.trace.add(now, evEnded, 0, 0)
	if why != nil {
		c.failure.Store(&why)
	}
	if why != nil && why != ErrMerged {
		c.b.counters.Resets++
	}
	c.b.offers.answer(now, c)
	c.unlist()
	if !c.client {
		c.b.keyed.remove(c.id.peerKey, c)
	}
	if c.phase == opening && c.client && c.est.asked > 1 && why == ErrTimeout {
		c.b.lessons.failed(now, c.b.place(c.target.Addr()))
	}
	if c.phase == offered {
		c.unread()
	}
	c.phase = over
	c.weigh(now)
	c.ended.Store(true)
	c.b.conns--
	c.rcv.size = c.b.windows.change(c.rcv.size, 0)
	c.snd.room = c.b.rooms.change(c.snd.room, 0)
	delete(c.b.tokens, c.id.localToken)
	c.late.init()
	c.fin.init()
	c.signal.init()
	c.answerOvertakers(now)
	c.in.seal()
	if len(c.b.timers.heap) > 2*c.b.cfg.Limits.Connections {
		for _, f := range c.subflows {
			f.tcp.Drop(now) // so many ended ones are remembered that this one must be forgotten
		}
	}
	c.tell(Ended | Readable | Writable)
}

// unread drops what was received: nobody will read it.
func (c *Conn) unread() {
	c.in.consumed.Store(c.in.readable.Load())
	c.in.release()
}

// forget removes what is left of a connection that is over and has no subflow.
func (c *Conn) forget() {
	c.gone = true
	if is := c.b.offers.byAsker[c.offer.from]; is.conn == c {
		is.conn = nil // known as answered, for as long as it must be
		c.b.offers.byAsker[c.offer.from] = is
	}
	c.out.leave()
	c.b.timers.remove(c)
}

// deadline returns when advance must next be called.
func (c *Conn) deadline() clock.Time {
	at := min(c.fin.at, c.wakeAt)
	if c.phase != over {
		at = min(at, c.late.deadline(), c.signal.at, c.switchAt, c.idle.deadline(c), c.measuring.at)
	}
	for _, f := range c.subflows {
		at = min(at, f.deadline())
	}
	return at
}

// advance does what has fallen due.
func (c *Conn) advance(now clock.Time) {
	c.wakeAt = clock.Never // Transmit follows, and knows anew
	for i := len(c.subflows) - 1; i >= 0; i-- {
		if f := c.subflows[i]; f.tcp.Deadline() <= now {
			f.tcp.Advance(now)
		}
	}
	for _, f := range c.subflows {
		f.advance(now)
	}
	if c.phase == over {
		c.fin.advanceClose(now, c)
	} else {
		c.sweep(now)
		c.late.advance(now, c)
		c.fin.advance(now, c)
		c.signal.advance(now, c)
		c.switchPath(now)
		c.idle.advance(now, c)
		c.advanceMeasuring(now)
	}
	c.sweep(now)
	c.rid()
}
