package mptcp

import (
	"errors"
	"runtime"
	"time"

	"tandem/engine/clock"
	"tandem/engine/path"
	"tandem/engine/tcp"
	"tandem/engine/wire"
)

// Receive is for Machine.
func (b *Bond) Receive(now clock.Time, id PathID, pkt []byte) {
	b.current = nil
	defer b.contain(now)
	p := b.path(id)
	if p == nil {
		b.counters.NoPath++
		return
	}
	seg := &b.seg
	if err := seg.Parse(pkt); err != nil {
		if err != wire.ErrNotTCP && err != wire.ErrFragment || !b.receiveOther(now, p, pkt) {
			b.dropped(err)
		}
		return
	}
	b.resumeShares(now, p)
	if p.state != nil { // among strangers a segment shows that the path works only if a subflow accepts it
		b.alive(now, p)
	}
	f := b.flows[keyOf(seg.Target, seg.Source)]
	syn := seg.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN
	if f != nil && syn && f.tcp.State() == tcp.TimeWait {
		// The peer has forgotten the old subflow; so does this end (RFC 9293 3.6.1).
		b.retire(now, f)
		f = nil
	}
	if f != nil && syn && b.cfg.Paired && f.replaced(seg) {
		b.current = f.c
		f.tcp.Drop(now)
		f.c.replace(now, f)
		f = nil
	}
	switch {
	case f != nil:
		b.current = f.c
		f.tcp.Receive(now, seg)
		if syn {
			f.c.hold(now)
		}
		f.c.demand(now)
		f.c.sweep(now)
		b.touch(now, f.c)
	case syn && seg.Options.Has&wire.HasJoin != 0 && seg.Options.Join.Length == 12:
		b.receiveJoinSYN(now, p, seg)
	case syn:
		b.receiveSYN(now, p, seg)
	case seg.Flags&wire.SYN != 0:
		// The answer to a SYN that was given up: another path was quicker.
		b.counters.NoConnection++
		b.strays.refuse(b, p, seg, wire.Reset{Transient: true})
	default:
		b.counters.NoConnection++
		b.strays.refuse(b, p, seg, wire.Reset{Reason: wire.MPTCPError})
	}
}

// tooBig acts on ICMP's word that a packet of a subflow was too big for the path (RFC 1191, RFC 8201),
// and reports whether pkt says so. The subflow judges whether to believe it.
func (b *Bond) tooBig(now clock.Time, pkt []byte) bool {
	m, err := wire.ParseICMP(pkt)
	if err != nil || m.Kind != wire.TooBig || m.Protocol != wire.TCP {
		return false
	}
	if f := b.flows[keyOf(m.Source, m.Target)]; f != nil {
		b.current = f.c
		f.tcp.TooBig(now, m.Seq, m.MTU)
		b.touch(now, f.c)
	}
	return true
}

// dropped counts a packet that is none for this bond, by reason.
func (b *Bond) dropped(err error) {
	c := &b.counters
	switch {
	case errors.Is(err, wire.ErrChecksum), errors.Is(err, wire.ErrHeaderChecksum):
		c.Checksum++
	case errors.Is(err, wire.ErrFragment):
		c.Fragment++
	case errors.Is(err, wire.ErrNotTCP):
		c.NotTCP++
	default:
		c.Malformed++
	}
}

// retire removes a subflow at once.
func (b *Bond) retire(now clock.Time, f *subflow) {
	f.tcp.Drop(now)
	f.c.sweep(now)
	b.touch(now, f.c)
}

// touch takes note that something happened to a connection.
func (b *Bond) touch(now clock.Time, c *Conn) {
	if c.gone {
		return
	}
	b.misses = 0
	b.ready.push(c)
	b.timers.arm(c, c.deadline())
}

// Advance is for Machine.
func (b *Bond) Advance(now clock.Time) {
	b.current = nil
	defer b.contain(now)
	b.misses = 0
	for {
		c := b.timers.due(now)
		if c == nil {
			break
		}
		b.current = c
		c.advance(now)
		if !c.gone {
			b.timers.rearm(c, max(c.deadline(), now+1))
			b.ready.push(c)
		}
	}
	b.offers.expire(now)
	b.advanceShares(now)
	b.advanceHandovers(now)
	if b.lane != nil {
		b.advanceMeasuring(now)
		b.lane.control.Advance(now)
		b.probe(now)
		b.hear(now)
	}
}

// Deadline is for Machine.
func (b *Bond) Deadline() clock.Time {
	at := min(b.timers.deadline(), b.wakeAt, b.shareAt, b.measuring.at, b.lane.deadline())
	for _, p := range b.paths {
		at = min(at, p.pingAt, p.handover.next())
	}
	return at
}

// resume returns when pacing alone lets something leave on p again; Never if it is the window that
// holds it back, or nothing does.
func resume(p *path.Path, now clock.Time) clock.Time {
	if p.Room(now) > 0 || p.Inflight() >= p.Window() {
		return clock.Never
	}
	return max(p.NextSend(), now+1)
}

// missesMax bounds how many connections in a row try in vain for room that is there: the scheduler
// has told each to wait for another path. missPause is when the next ones try if nothing happens.
const (
	missesMax = 32
	missPause = time.Millisecond
)

// wake gives the turn to the connection that has waited longest, if a path has room for it. It returns
// ready, the first that is ready, if there is one.
func (b *Bond) wake(now clock.Time, ready *Conn) *Conn {
	if b.misses >= min(b.blocked.size, missesMax) || !b.roomy(now) {
		return ready
	}
	b.misses++
	b.datagrams.wokenAt = now
	b.ready.push(b.blocked.pop())
	return b.ready.first
}

// roomy reports whether a path lets something leave now.
func (b *Bond) roomy(now clock.Time) bool {
	for _, p := range b.paths {
		if p.state != nil && p.state.Room(now) > 0 {
			return true
		}
	}
	return false
}

// Transmit is for Machine.
func (b *Bond) Transmit(now clock.Time, buf []byte) (id PathID, pkt []byte, ok bool) {
	b.current = nil
	defer b.contain(now)
	if id, pkt, ok := b.strays.transmit(buf); ok {
		b.charge(now, id, pkt)
		return id, pkt, ok
	}
	if id, pkt, ok := b.lane.transmit(now, b, buf); ok {
		b.charge(now, id, pkt)
		return id, pkt, ok
	}
	if id, pkt, ok := b.transmitDatagram(now, buf, true); ok {
		return id, pkt, ok
	}
	for {
		c := b.ready.first
		if c == nil || c == b.blocked.first {
			c = b.wake(now, c)
		}
		if c == nil {
			break
		}
		b.current = c
		f, pkt := c.transmit(now, buf)
		if pkt != nil {
			b.misses = 0
			b.rotate(c, len(pkt))
			f.state.Charge(now, len(pkt))
			f.path.earn(len(pkt))
			return f.path.id, pkt, true
		}
		b.ready.pop()
		c.sweep(now)
		if c.gone {
			continue
		}
		b.timers.arm(c, c.deadline())
		if b.cfg.Paired && c.waiting() {
			b.block(now, c)
		}
	}
	if id, pkt, ok := b.transmitDatagram(now, buf, false); ok {
		return id, pkt, ok
	}
	b.rest(now)
	return 0, nil, false
}

// rest is what remains to be done when nothing can leave now: to know when pacing lets something
// leave, or that the paths could have carried more than there was.
func (b *Bond) rest(now clock.Time) {
	b.wakeAt = clock.Never
	if !b.cfg.Paired {
		return
	}
	for _, p := range b.paths {
		if b.blocked.size == 0 {
			p.state.Starved()
		} else {
			b.wakeAt = min(b.wakeAt, resume(p.state, now))
		}
	}
	b.wakeAt = min(b.wakeAt, b.wakeDatagrams(now))
	if b.misses >= missesMax && b.blocked.size > missesMax {
		b.wakeAt = min(b.wakeAt, now.Add(missPause))
	}
	b.measuring.arm(now, b.load.busy > 0)
}

// quantum is how many octets a connection sends before it is the next one's turn.
const quantum = 16 << 10

// rotate gives the turn to the next connection when this one has had its share.
//
// Connections take turns as in deficit round robin. One that has something to send and does not wait
// already, because it was idle, has its first turn at once: so short ones are quick. One that waits may
// be ready as well, because something happened to it: then only what needs no turn leaves.
func (b *Bond) rotate(c *Conn, n int) {
	c.turn += n
	if c.turn < quantum {
		return
	}
	c.turn = 0
	b.ready.pop()
	b.ready.push(c)
	if b.cfg.Paired {
		b.blocked.push(c)
	}
}

// block has c wait for room: in front if its turn is not over.
func (b *Bond) block(now clock.Time, c *Conn) {
	if c.turn > 0 && !b.roomy(now) {
		b.blocked.pushFirst(c)
	} else {
		b.blocked.push(c)
	}
}

// waits reports whether others have their turn before c.
func (c *Conn) waits() bool { return c.links[inBlocked].queued }

// A broken invariant is a bug. It costs the connection concerned, and no other.
type broken string

func assert(ok bool, what string) {
	if !ok {
		panic(broken(what))
	}
}

// contain ends the connection whose invariant is broken.
func (b *Bond) contain(now clock.Time) {
	if b.cfg.Strict {
		return
	}
	r := recover()
	if r == nil {
		return
	}
	var what string
	switch r := r.(type) {
	case broken:
		what = string(r)
	case runtime.Error:
		what = r.Error()
	}
	c := b.current
	if what == "" || c == nil {
		panic(r)
	}
	b.wakeAt = now // what this turn left undone
	b.counters.Broken++
	c.trace.note(now, what)
	c.abort(now, ErrBroken)
	for _, f := range c.subflows {
		if c.broken {
			f.tcp.Drop(now)
		}
	}
	c.broken = true
	c.sweep(now)
}
