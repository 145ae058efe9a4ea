package mptcp

import (
	"tandem/engine/clock"
	"tandem/engine/wire"
)

// finState is how far the end of the outgoing stream has got (RFC 8684 3.3.3).
//
//	CloseWrite ─► queued ─► went ─► acked ──┐
//	                                        ├─► subflows close, connection over
//	DATA_FIN of the peer ─► rcv.finished ───┘
type finState struct {
	queued   bool
	pos      uint64 // where the stream ends
	went     bool   // and is not to go again for the time being
	left     bool   // went once: an acknowledgement may count it
	acked    bool
	wanted   bool       // DATA_FIN shall ride on the next acknowledgement
	second   bool       // the peer's came before it left
	at       clock.Time // when it goes again, or the peer's own end, or FIN, has taken too long
	backoff  uint
	infinite bool   // the infinite mapping is to go, or to go again
	mapGone  bool   // it has left once
	mapUntil uint64 // what was pushed before the fallback
	mapFrom  uint64 // where it begins: what the peer is known to have intact ends there
	fast     bool   // MP_FASTCLOSE was sent: every reset repeats it
	fastLeft int    // how often it is yet to be repeated
}

func (s *finState) init() {
	*s = finState{
		at: clock.Never, fast: s.fast, queued: s.queued, pos: s.pos, went: s.went, acked: s.acked,
		infinite: s.infinite, mapGone: s.mapGone, mapUntil: s.mapUntil, mapFrom: s.mapFrom, // the FIN may be all that can carry it
	}
}

// CloseWrite sends DATA_FIN after everything written.
func (c *Conn) CloseWrite(now clock.Time) {
	if c.fin.queued || c.phase == over {
		return
	}
	c.snd.end = c.out.sync()
	c.fin.queued, c.fin.pos = true, c.snd.end
	c.b.touch(now, c)
}

// Close is CloseWrite by an application that will not read any more either.
func (c *Conn) Close(now clock.Time) {
	if c.phase == offered {
		c.Refuse(now, wire.Unspecified)
		return
	}
	c.rcv.deaf = true
	c.in.consumed.Store(c.in.readable.Load())
	c.consumed(now)
	c.CloseWrite(now)
	c.fin.check(now, c)
	c.fin.await(now, c)
	c.b.touch(now, c)
}

// Abort ends the connection at once: MP_FASTCLOSE there, ErrAborted here. The option rides on an
// acknowledgement of one subflow, repeated until the peer resets it (RFC 8684 3.5, option A).
//
// With PrivacyStrict no option shows the key, and if there is nothing to lose the end is an orderly one.
func (c *Conn) Abort(now clock.Time) {
	if c.b.strict() && c.Multipath() && c.rcv.finished && c.snd.una == c.out.sync() {
		c.Close(now)
		return
	}
	c.abort(now, ErrAborted)
	c.unread()
}

func (c *Conn) abort(now clock.Time, why error) {
	if c.phase == over {
		return
	}
	var last *subflow
	if c.phase == open && !c.plain() && !c.b.strict() {
		last = c.speaker()
	}
	c.fin.fast = c.id.mptcp && c.id.peerKey != 0 && !c.b.strict()
	for _, f := range c.subflows {
		if f != last {
			f.reset(now, wire.Unspecified, false)
		}
	}
	c.finish(now, why)
	if last != nil {
		c.fin.fastLeft = closings
		c.fin.repeatClose(now, c, last)
	}
	c.b.touch(now, c)
}

// repeatClose sends MP_FASTCLOSE once more, at last with a reset.
func (s *finState) repeatClose(now clock.Time, c *Conn, f *subflow) {
	s.at = clock.Never
	if s.fastLeft == 0 {
		f.reset(now, wire.Unspecified, false)
		return
	}
	f.signals = nil
	f.opened = false // behind MP_CAPABLE once more
	f.signal(signal{kind: signalFastClose})
	s.at = now.Add(f.state.RTO() << (closings - s.fastLeft))
	s.fastLeft--
}

// advanceClose repeats MP_FASTCLOSE when its time has come, or ends the subflows that the peer did not.
func (s *finState) advanceClose(now clock.Time, c *Conn) {
	if s.at > now {
		return
	}
	s.at = clock.Never
	for _, f := range c.subflows {
		switch {
		case !s.fast:
			f.tcp.Abandon(now)
		case f.live():
			s.repeatClose(now, c, f)
			return
		}
	}
}

// closedFast is MP_FASTCLOSE of the peer.
func (c *Conn) closedFast(now clock.Time) {
	c.trace.add(now, evFastClose, 0, 0)
	for _, f := range c.subflows {
		if f.live() && !f.peerReset {
			f.reset(now, wire.Unspecified, false)
		}
	}
	c.finish(now, ErrReset)
}

// pushEnd sends the end of the stream when all octets before it were given to subflows.
func (c *Conn) pushEnd(now clock.Time) {
	s := &c.fin
	if !s.queued || c.snd.next != s.pos || s.went {
		return
	}
	if c.plain() {
		if f := c.id.initial; f != nil {
			s.went = true
			f.tcp.Close(now)
			s.check(now, c)
			s.await(now, c)
		}
		return
	}
	if f := c.ender(); f != nil && !s.wanted && c.snd.edge >= s.pos {
		s.wanted = true
		acks := 1
		if c.client && !f.join && !c.id.confirmed {
			f.opened, acks = false, 2 // behind MP_CAPABLE once more
		}
		f.tcp.Ack(acks)
	}
}

// ender returns the subflow that is to carry DATA_FIN: another one each time, for a path that has fallen silent shows
// it by octets that are outstanding, of which DATA_FIN alone has none.
func (c *Conn) ender() *subflow {
	var best *subflow
	for _, f := range c.subflows {
		if f.ready && f.live() && (best == nil || 2*f.ends+f.unfit() < 2*best.ends+best.unfit()) {
			best = f
		}
	}
	return best
}

// due reports whether DATA_FIN shall ride on an acknowledgement of f.
func (s *finState) due(f *subflow) bool { return s.wanted && f.ready }

// sent notes that DATA_FIN left.
func (s *finState) sent(now clock.Time, c *Conn) {
	s.went, s.wanted, s.left = true, false, true
	if s.acked {
		return
	}
	wait := c.patience()
	if f := c.speaker(); f != nil {
		wait = f.state.RTO()
	}
	s.at = now.Add(wait << min(s.backoff, 6))
}

// lost has DATA_FIN go again.
func (s *finState) lost() {
	if s.went && !s.acked {
		s.went = false
	}
}

func (s *finState) acknowledged(now clock.Time, c *Conn) {
	if s.acked {
		return
	}
	s.acked = true
	c.idle.since = now
	s.at = clock.Never
	s.await(now, c)
	s.check(now, c)
}

// awaits reports whether only the end of the peer's stream is missing, which nobody will read.
func (s *finState) awaits(c *Conn) bool {
	return c.phase == open && c.rcv.deaf && !c.rcv.finished && (s.acked || c.plain() && s.went)
}

// await bounds how long that may take.
func (s *finState) await(now clock.Time, c *Conn) {
	if s.awaits(c) {
		s.at = now.Add(c.b.cfg.Linger)
	}
}

// check ends the connection when both directions have ended. The subflows of the end that was second are ended by the
// peer, unless it takes two timeouts to: who sends the first FIN has TIME-WAIT (RFC 8041 3.6).
func (s *finState) check(now clock.Time, c *Conn) {
	if c.phase != open || !c.rcv.finished || !s.acked && !(c.plain() && s.went) {
		return
	}
	wait := clock.Never
	for _, f := range c.subflows {
		switch {
		case f.ready && !f.fin && s.second:
			wait = now.Add(2 * c.rto())
		case f.ready || f.join && !f.cap:
			f.tcp.Abandon(now)
		default:
			f.drop(now) // one of several SYNs, of which nothing came
		}
	}
	c.finish(now, nil)
	s.at = wait
}

// advance does what has fallen due.
func (s *finState) advance(now clock.Time, c *Conn) {
	if s.at > now {
		return
	}
	s.at = clock.Never
	switch {
	case s.awaits(c) && c.plain() && c.snd.una < c.snd.end:
		s.await(now, c)
	case s.awaits(c):
		c.abort(now, ErrTimeout)
	case c.plain() && s.infinite && c.id.initial != nil && s.backoff < announcements:
		// Nothing may follow that carries it, and the peer waits for it.
		s.mapGone = false
		s.backoff++
		s.at = now.Add(c.patience() << s.backoff)
		c.id.initial.tcp.Ack(1)
	case s.went && !s.acked && !c.plain():
		if s.backoff++; s.backoff > 12 {
			c.abort(now, ErrTimeout)
			return
		}
		if f := c.id.initial; s.backoff >= finTries && !c.id.confirmed && f != nil && c.mayFallBack(f) {
			// Nothing of the peer ever spoke of the data sequence, and nothing else can tell: the end
			// goes as TCP says it.
			c.fallBack(now, f)
			c.pushEnd(now)
			return
		}
		s.went = false
		s.at = now.Add(c.patience())
		c.pushEnd(now)
	}
}
