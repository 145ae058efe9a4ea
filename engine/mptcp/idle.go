package mptcp

import (
	"net/netip"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// Inactivity says how long a connection may be idle: without data and without DATA_ACK that acknowledges any, in
// either direction, on whatever subflow, or without a subflow at all (draft-hoang-mptcp-inactivity-time-00).
// Then it ends with ErrTimeout: with MP_FASTCLOSE on its subflows, or in silence if it has none.
type Inactivity struct {
	Time    time.Duration // for this end; 0: a connection may be idle for ever, and lives Linger without a subflow
	Request bool          // ask the peer to be as patient, and no more; else only tell it
	Fixed   bool          // what the peer asks for changes nothing

	// Least and Most bound what a peer's request leads to, and it is never less than a retransmission takes (RFC 5482
	// 3.1); 0 means 100 s and 24 h. Most bounds Time as well.
	Least, Most time.Duration
}

const (
	inactivityLeast = 100 * time.Second
	inactivityMost  = 24 * time.Hour
)

func (i Inactivity) withDefaults() Inactivity {
	if i.Least <= 0 {
		i.Least = inactivityLeast
	}
	if i.Most <= 0 {
		i.Most = inactivityMost
	}
	i.Time = min(max(i.Time, 0), i.Most)
	return i
}

// Prototype says what the option of four octets means that the prototypes of two drafts have in common (see
// wire.Prototype). It is never sent.
type Prototype uint8

// What the option of the prototypes means.
const (
	PrototypeIgnored Prototype = iota
	PrototypeInactivity
	PrototypeRateLimit
)

// idleState is how long a connection may be idle, and has been.
type idleState struct {
	own, peer time.Duration // 0: none
	asks      bool          // this end asks the peer for its own
	asked     bool          // the peer asks for its
	again     bool          // tell the peer once more on the next subflow
	since     clock.Time    // nothing moved
}

func (i *idleState) init(b *Bond) { i.own, i.asks = b.cfg.Inactivity.Time, b.cfg.Inactivity.Request }

// used is how long the connection may be idle; 0: for ever.
func (i *idleState) used(c *Conn) time.Duration {
	l := &c.b.cfg.Inactivity
	if !i.asked || l.Fixed {
		return i.own
	}
	return min(l.Most, max(i.own, i.peer, l.Least, c.rto()))
}

// rto is the longest retransmission timeout of the subflows in use.
func (c *Conn) rto() (d time.Duration) {
	for _, f := range c.subflows {
		if f.ready {
			d = max(d, f.state.RTO())
		}
	}
	return d
}

// deadline is when the connection has been idle for too long.
func (i *idleState) deadline(c *Conn) clock.Time {
	d := i.used(c)
	if d == 0 || c.phase != open {
		return clock.Never
	}
	return i.since.Add(d)
}

// advance ends a connection that has been idle for too long.
func (i *idleState) advance(now clock.Time, c *Conn) {
	if i.deadline(c) > now {
		return
	}
	c.b.counters.Inactive++
	c.trace.add(now, evInactive, 0, uint64(i.used(c)/time.Second))
	c.fin.fast = c.id.mptcp && !c.id.fallback && !c.b.strict()
	for _, f := range c.subflows {
		f.reset(now, wire.Unspecified, false)
	}
	c.finish(now, ErrTimeout)
}

func (i *idleState) info(now clock.Time, c *Conn) InactivityInfo {
	is := InactivityInfo{Own: i.own, Peer: i.peer, Request: i.asks, PeerRequests: i.asked, Used: i.used(c)}
	if at := i.deadline(c); at != clock.Never {
		is.Left = max(at.Sub(now), 0)
	}
	return is
}

// changed notes that the time is another than before: it counts from now.
func (i *idleState) changed(now clock.Time, c *Conn, before time.Duration) {
	d := i.used(c)
	if d == before {
		return
	}
	i.since = now
	switch {
	case d > 0:
		c.late.lingerAt = clock.Never
	case len(c.subflows) == 0 && c.phase == open:
		c.late.lingerAt = now.Add(c.b.cfg.Linger)
	}
	c.b.touch(now, c)
}

// SetInactivity changes how long the connection may be idle, from now on, and tells the peer, or asks it for as
// much; 0: for ever as far as this end is concerned, of which the peer does not hear.
func (c *Conn) SetInactivity(now clock.Time, d time.Duration, request bool) {
	i := &c.idle
	d = min(max(d, 0), c.b.cfg.Inactivity.Most)
	if c.phase == over || i.own == d && i.asks == request {
		return
	}
	before := i.used(c)
	i.own, i.asks, i.again = d, request, true
	i.changed(now, c, before)
	c.tellIdle(now, c.speaker())
	c.b.touch(now, c)
}

// tellIdle tells the peer how long the connection may be idle: once when it is known to speak MPTCP and once after
// each change, and again on the subflow that comes next, for an acknowledgement may be lost.
func (c *Conn) tellIdle(now clock.Time, f *subflow) {
	if c.idle.own > 0 && f != nil && f.ready && c.id.confirmed && !c.plain() && c.phase == open {
		f.signal(signal{kind: signalIdle})
	}
}

// composeIdle adds the option: in seconds as far as they go, else in minutes.
func (c *Conn) composeIdle(o *wire.Options) {
	t := wire.InactivityTime{Request: c.idle.asks}
	n := (c.idle.own + time.Second - 1) / time.Second
	if n > 0xffff {
		t.Minutes, n = true, (n+59)/60
	}
	t.Value = uint16(min(n, 0xffff))
	o.Has |= wire.HasInactivityTime
	o.InactivityTime = t
}

// receiveDraft acts on the options of the drafts about connections in use. While a connection is half open they
// mean nothing: whoever sends them may not have proved to be its peer.
func (f *subflow) receiveDraft(now clock.Time, o *wire.Options) {
	c := f.c
	if c.phase != open || !c.id.confirmed {
		return
	}
	if o.Has&wire.HasPrototype != 0 {
		switch c.b.cfg.Prototype {
		case PrototypeInactivity:
			if t := o.Prototype.InactivityTime(); t.Value > 0 {
				c.receiveIdle(now, t)
			}
		case PrototypeRateLimit:
			f.receiveRate(now, o.Prototype.RateLimit())
		}
	}
	if o.Has&wire.HasInactivityTime != 0 {
		c.receiveIdle(now, o.InactivityTime)
	}
	if o.Has&wire.HasRateLimit != 0 {
		f.receiveRate(now, o.RateLimit)
	}
}

// receiveIdle takes how long the peer says that the connection may be idle.
func (c *Conn) receiveIdle(now clock.Time, t wire.InactivityTime) {
	i := &c.idle
	unit := time.Second
	if t.Minutes {
		unit = time.Minute
	}
	before := i.used(c)
	if d := time.Duration(t.Value) * unit; d != i.peer || t.Request != i.asked {
		i.peer, i.asked = d, t.Request
		c.b.counters.InactivityTimes++
		c.trace.add(now, evInactivity, 0, uint64(d/time.Second))
	}
	i.changed(now, c, before)
}

// keepalive is the idle time before f is probed. The ports spread those of many connections.
func (f *subflow) keepalive(local netip.AddrPort) time.Duration {
	cfg := &f.c.b.cfg
	if cfg.Paired {
		return 0
	}
	return cfg.Keepalive - cfg.Keepalive/64*time.Duration(local.Port()%16)
}
