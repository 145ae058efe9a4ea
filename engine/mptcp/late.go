package mptcp

import (
	"slices"
	"time"

	"tandem/engine/clock"
	"tandem/engine/tcp"
	"tandem/engine/wire"
)

// lateness finds octets that a subflow holds up and has them sent on another (RFC 8684 3.3.6).
type lateness struct {
	pieces   []piece    // to be sent again
	at       clock.Time // when the oldest octet counts as lost on the level of the connection
	backoff  uint
	rescued  uint64 // everything before was sent a second time already because it was late
	lingerAt clock.Time
}

// A piece is octets that were on a subflow which did not bring them in time.
type piece struct {
	span
	holder *subflow // nil: any subflow may carry them
}

// piecesMax bounds the list; adjoining pieces are one.
const piecesMax = 256

func (l *lateness) init() { *l = lateness{at: clock.Never, lingerAt: clock.Never} }

func (l *lateness) deadline() clock.Time { return min(l.at, l.lingerAt) }

// sent arms the timer if it is not.
func (l *lateness) sent(now clock.Time, c *Conn) {
	if l.at == clock.Never && !c.plain() {
		l.at = now.Add(c.patience())
	}
}

// closed arms the timer because the peer's window keeps octets back: the news of its opening may be
// lost (RFC 9293 3.8.6.1).
func (l *lateness) closed(now clock.Time, c *Conn) {
	if l.at == clock.Never {
		l.at = now.Add(c.patience())
	}
}

// acknowledged restarts the timer: the connection moves.
func (l *lateness) acknowledged(now clock.Time, c *Conn) {
	l.backoff = 0
	l.at = clock.Never
	if c.snd.una < c.snd.next && !c.plain() {
		l.at = now.Add(c.patience())
	}
	n := 0
	for _, p := range l.pieces {
		if p.to > c.snd.una {
			p.from = max(p.from, c.snd.una)
			l.pieces[n] = p
			n++
		}
	}
	clear(l.pieces[n:])
	l.pieces = l.pieces[:n]
}

// patience is how long the connection waits for a DATA_ACK: longer than every subflow waits for its
// own acknowledgement, because octets that a subflow will bring need no second copy.
func (c *Conn) patience() time.Duration {
	d := 500 * time.Millisecond
	for _, f := range c.subflows {
		if f.ready {
			d = max(d, 2*f.state.RTO())
		}
	}
	return d << min(c.late.backoff, 6)
}

// advance does what has fallen due.
func (l *lateness) advance(now clock.Time, c *Conn) {
	if l.lingerAt <= now {
		l.lingerAt = clock.Never
		c.finish(now, ErrTimeout)
		return
	}
	if l.at > now {
		return
	}
	if c.speaker() == nil {
		// Nothing can bring an answer: how long the connection waits for a subflow is another matter.
		l.at, l.backoff = clock.Never, 0
		return
	}
	l.backoff++
	l.at = now.Add(c.patience())
	c.need(now)
	if c.snd.una == c.snd.next {
		l.backoff = min(l.backoff, 6) // a closed window is no sign of a dead peer
		l.at = clock.Never
		if f := c.speaker(); f != nil && c.snd.next < c.snd.end {
			f.tcp.Probe()
			l.at = now.Add(c.patience())
		}
		c.askWindows(now, nil)
		return
	}
	// What a subflow still holds it will bring, unless another can bring it sooner.
	holder, x := c.carrier(c.snd.una)
	to := min(c.snd.next, c.snd.una+blockSize)
	if holder != nil {
		if to = min(to, x.at+uint64(x.n)); len(c.subflows) < 2 {
			return
		}
	}
	if l.backoff > patienceMax {
		c.abort(now, ErrTimeout)
		return
	}
	c.trace.add(now, evLate, 0, c.snd.una)
	c.reinject(span{c.snd.una, to}, holder)
}

// shut reports whether the own window of some subflow is.
func (c *Conn) shut() bool {
	return slices.ContainsFunc(c.subflows, func(f *subflow) bool { return f.ready && f.live() && f.tcp.Shut() })
}

// askWindows asks over the subflows whose own window is shut while the connection's, as another told, may not be:
// the news of its opening may have been lost there, and nobody sends anything that would bring it. teller is the one
// that has just told.
func (c *Conn) askWindows(now clock.Time, teller *subflow) {
	for _, f := range c.subflows {
		if f != teller && f.ready && f.live() && f.tcp.Shut() && now >= f.windowAt {
			f.windowAt = now.Add(f.state.RTO())
			f.tcp.Probe()
		}
	}
}

// reinject has octets sent once more.
func (c *Conn) reinject(s span, holder *subflow) {
	s.from = max(s.from, c.snd.una)
	l := &c.late
	if s.from >= s.to || c.plain() {
		return
	}
	for i := range l.pieces {
		if p := &l.pieces[i]; p.holder == holder && s.from <= p.to && p.from <= s.to {
			p.from, p.to = min(p.from, s.from), max(p.to, s.to)
			return
		}
	}
	if len(l.pieces) == piecesMax {
		l.pieces = l.pieces[1:]
	}
	l.pieces = append(l.pieces, piece{s, holder})
}

// reinjectAll gives away everything that f holds: it is silent, or gone.
func (c *Conn) reinjectAll(f *subflow) {
	holder := f
	if !f.live() {
		holder = nil
	}
	for _, x := range f.chunks.all() {
		c.reinject(span{x.at, x.at + uint64(x.n)}, holder)
		if x.fin {
			c.fin.lost()
		}
	}
}

// pushLate gives a subflow the next octets of pieces: of the first that a subflow may carry which can.
func (c *Conn) pushLate(now clock.Time) bool {
	l := &c.late
	for i := 0; i < len(l.pieces); {
		p := &l.pieces[i]
		p.from = max(p.from, c.snd.una)
		if p.from >= p.to {
			l.pieces = slices.Delete(l.pieces, i, i+1)
			continue
		}
		n := int(p.to - p.from)
		f := c.pick(now, n, n, p.holder)
		if f == nil {
			if i = l.after(i); i < 0 {
				return false
			}
			continue
		}
		n = f.give(now, p.from, n)
		p.from += uint64(n)
		c.snd.reinjected += uint64(n)
		c.id.alone = false
		return n > 0
	}
	if len(l.pieces) == 0 {
		l.pieces = nil
	}
	return false
}

// after returns the next piece behind i that another subflow may carry, -1 if there is none: what any may carry and
// none can now keeps back the rest.
func (l *lateness) after(i int) int {
	holder := l.pieces[i].holder
	if holder == nil {
		return -1
	}
	for i++; i < len(l.pieces); i++ {
		if l.pieces[i].holder != holder {
			return i
		}
	}
	return -1
}

// rescue sends the oldest octets again on a subflow that has nothing else to do, if the one that carries them is late,
// or this one would bring them well before it.
func (c *Conn) rescue(now clock.Time) bool {
	if c.snd.una == c.snd.next || c.snd.una < c.late.rescued || len(c.subflows) < 2 || c.plain() {
		return false
	}
	slow, x := c.carrier(c.snd.una)
	if slow == nil {
		return false
	}
	sent := slow.tcp.OldestSentAt()
	if sent == clock.Never {
		return false
	}
	rtt, variation, _ := slow.state.RTT()
	expected := sent.Add(rtt).Sub(now)
	for _, f := range c.subflows {
		if f == slow || !f.canCarry() || f.isBackup() || f.tcp.Room(now) <= 0 {
			continue
		}
		if _, again := f.carries(c.snd.una); again || c.spares(f, slow) {
			continue
		}
		other, otherVar, _ := f.state.RTT()
		left := expected + f.lag(now, slow)
		most := left + 4*variation
		// An acknowledgement that the peer may be keeping back is not late, until the subflow itself asks for it.
		late := most <= 0 && (most+peerDelay <= 0 || slow.tcp.TailAsked())
		if other == 0 || !late && left < 2*(other+4*otherVar) {
			continue
		}
		to := x.at + uint64(x.n)
		n := f.give(now, c.snd.una, int(to-c.snd.una))
		c.late.rescued = c.snd.una + uint64(n)
		c.snd.reinjected += uint64(n)
		c.id.alone = false
		return n > 0
	}
	return false
}

// peerDelay is how long a peer may keep an acknowledgement back, and be late to wake up for it: one of our kind, as long
// as it has not measured the round trip, and most others 40 ms.
const peerDelay = 42 * time.Millisecond

// carrier returns the subflow that was given the octet at pos, and the chunk.
func (c *Conn) carrier(pos uint64) (*subflow, chunk) {
	for _, f := range c.subflows {
		if x, ok := f.carries(pos); ok {
			return f, x
		}
	}
	return nil, chunk{}
}

// carries returns the chunk with the octet at pos, if the subflow was given it.
func (f *subflow) carries(pos uint64) (chunk, bool) {
	for _, x := range f.chunks.all() {
		if x.at <= pos && pos < x.at+uint64(x.n) {
			return x, true
		}
	}
	return chunk{}, false
}

// remove takes a subflow that has ended out of the connection.
func (c *Conn) remove(now clock.Time, f *subflow) {
	delete(c.b.flows, f.key)
	f.missFast(now)
	f.settle(now)
	f.synArrived()
	exclude(c.measuring.latency, f.state)
	if c.group != nil {
		c.group.Leave(f.cc)
	}
	c.trace.add(now, evGone, f.path.id, uint64(f.acked))
	f.ended()
	for i := range c.late.pieces {
		if p := &c.late.pieces[i]; p.holder == f {
			p.holder = nil
		}
	}
	if c.phase != over {
		c.reinjectAll(f)
	}
	f.letGo(unbounded)
	if c.id.initial == f {
		c.id.initial = nil
	}
	switch {
	case c.phase == over:
	case f.join, c.client && f.ready && len(c.subflows) > 0:
		c.joinEnded(now, f)
	case c.client:
		c.askEnded(now, f)
	}
	f.maps, f.held = nil, nil
}

// orphaned decides what becomes of a connection whose last subflow has ended.
func (c *Conn) orphaned(now clock.Time, f *subflow) {
	switch {
	case c.phase < open && c.client && f.tcp.Err() == tcp.ErrAborted && !f.hasReset:
		// The path went away before the peer answered: another takes the offer, or the next that comes.
		if !c.askOther(now) {
			c.late.lingerAt = now.Add(c.b.cfg.Linger)
		}
	case c.phase < open && c.client && c.selects() && f.tcp.Err() == tcp.ErrTimeout && c.askOther(now):
	case c.phase < open && !c.client && c.b.cfg.Paired && f.peerReset && !f.withdrawn():
		// The asker's path went away; the offer may come over another one.
		c.late.lingerAt = now.Add(offerLinger)
	case c.phase < open:
		c.finish(now, reason(f))
	case c.fin.acked && c.rcv.finished:
		c.finish(now, nil)
	case c.plain():
		c.finish(now, reason(f))
	default:
		// Break before make (RFC 8684 3.3.3): a subflow may come again.
		c.trace.add(now, evOrphaned, 0, 0)
		c.barred = nil
		if c.late.lingerAt == clock.Never && c.idle.used(c) == 0 {
			c.late.lingerAt = now.Add(c.b.cfg.Linger)
		}
		if f.join && !f.ready {
			c.rejoinLater(now)
		} else {
			c.rejoinAll(now)
		}
	}
}

// reason returns why the application's connection ended when its last subflow did.
func reason(f *subflow) error {
	switch f.tcp.Err() {
	case tcp.ErrRefused:
		return refusal(f.peerWhy.Reason)
	case tcp.ErrTimeout:
		return ErrTimeout
	case tcp.ErrAborted:
		return ErrAborted
	}
	return ErrReset
}

// withdrawn reports whether the peer itself gave the subflow up, rather than not knowing it any more.
func (f *subflow) withdrawn() bool {
	return f.hasPeerWhy && f.peerWhy.Reason == wire.Unspecified && !f.peerWhy.Transient
}
