package mptcp

import (
	"math"
	"time"

	"tandem/engine/clock"
	"tandem/engine/schedule"
	"tandem/engine/tcp"
)

// sendState is the sending half of a connection (RFC 8684 3.3), in positions of the stream.
type sendState struct {
	una  uint64 // acknowledged by DATA_ACK, or by the subflow after a fallback
	next uint64 // given to a subflow
	end  uint64 // written by the application
	edge uint64 // the peer has room up to here
	room int    // how far the application may write ahead of una

	reinjected uint64 // octets
}

// unbounded is the edge when the subflow's own window is the only one.
const unbounded = math.MaxInt64

// plain reports whether the connection is TCP only.
func (c *Conn) plain() bool { return c.id.fallback || !c.id.mptcp }

// pushable reports whether there are octets that a subflow could be given.
func (c *Conn) pushable() bool {
	if c.phase != open {
		return false
	}
	s := &c.snd
	return s.next < s.end && s.next < s.edge || len(c.late.pieces) > 0
}

// transmit writes the connection's next packet into buf.
func (c *Conn) transmit(now clock.Time, buf []byte) (*subflow, []byte) {
	for {
		pushed := false
		if !c.queued() {
			pushed = c.push(now)
		}
		for range c.subflows {
			if c.next >= len(c.subflows) {
				c.next = 0
			}
			f := c.subflows[c.next]
			if pkt, ok := f.tcp.Transmit(now, buf); ok {
				return f, pkt
			}
			c.next++
		}
		if !pushed {
			c.rest(now)
			return nil, nil
		}
	}
}

// queued reports whether a subflow still has octets that it was given and did not send, and may send soon: those of a
// silent one were given to others.
func (c *Conn) queued() bool {
	for _, f := range c.subflows {
		if f.ready && !f.suspect && f.tcp.Queued() > 0 {
			return true
		}
	}
	return false
}

// waiting reports whether the connection has something that a path's window or pacing holds back.
func (c *Conn) waiting() bool {
	if c.pushable() {
		return true
	}
	for _, f := range c.subflows {
		if f.tcp.Waiting() {
			return true
		}
	}
	return false
}

// rest is what remains to be done when nothing can leave now: subflows with a path of their own
// learn when to go on, or that they could have carried more than there was.
func (c *Conn) rest(now clock.Time) {
	c.wakeAt = clock.Never
	c.weigh(now)
	if c.b.cfg.Paired {
		return
	}
	waiting := c.waiting()
	for _, f := range c.subflows {
		switch {
		case !f.ready:
		case !waiting:
			f.state.Starved()
		default:
			c.wakeAt = min(c.wakeAt, resume(f.state, now))
		}
	}
}

// push gives a subflow the next octets, as much as it can send at once. It reports whether it did.
func (c *Conn) push(now clock.Time) bool {
	switch {
	case c.phase == opening && c.client:
		return c.pushEarly()
	case c.phase == opening:
		return c.reply(now)
	case c.phase != open:
		return false
	case c.pushLate(now):
		return true
	}
	if f := c.id.initial; f != nil && c.client && !c.b.cfg.Paired && !f.opened && !c.id.confirmed && !c.plain() {
		// The third ACK goes by itself, before the data that repeats it: if one is lost the other tells.
		return false
	}
	if c.waits() && c.pushable() {
		return false
	}
	if schedule.Redundant(c.sched) && !c.plain() && c.pushRedundant(now) {
		return true
	}
	c.weigh(now)
	s := &c.snd
	n := min(s.end, s.edge) - min(s.next, s.end, s.edge)
	if n == 0 {
		if s.next < s.end {
			c.late.closed(now, c)
		}
		c.pushEnd(now)
		return c.rescue(now)
	}
	if c.b.cfg.Nagle && s.end-s.next < uint64(c.smallestMSS()) && s.next > s.una && !c.fin.queued {
		return false
	}
	f := c.pick(now, int(s.end-s.next), int(s.edge-s.una), nil)
	if f == nil {
		if s.una == s.next && c.shut() {
			c.late.closed(now, c)
		}
		return false
	}
	n = uint64(f.give(now, s.next, int(n)))
	s.next += n
	c.idle.since = now
	return n > 0
}

// pick asks the scheduler which subflow shall carry the next octets; not is one that must not.
func (c *Conn) pick(now clock.Time, queued, window int, not *subflow) *subflow {
	c.views = c.views[:0]
	waiting := c.b.load.waiting()
	for _, f := range c.subflows {
		v := f.view(now)
		if f == not {
			v.Usable, v.Sent = false, true
		}
		v.Queued = waiting
		c.views = append(c.views, v)
	}
	i := c.sched.Pick(c.views, queued, window)
	if i < 0 {
		return nil
	}
	return c.subflows[i]
}

// standing says what the subflow is for.
func (f *subflow) standing() schedule.View {
	return schedule.View{Usable: f.canCarry(), Backup: f.isBackup(), Secondary: f.path.role() == Secondary, Price: f.path.price()}
}

// view describes the subflow to the scheduler.
func (f *subflow) view(now clock.Time) schedule.View {
	v := f.standing()
	if !v.Usable {
		return v
	}
	p := f.state
	v.RTT, v.RTTVar, v.RTTMin = p.RTT()
	v.RTTMax = p.RTTMax()
	v.OWL = p.Forward(now)
	v.Room = f.tcp.Room(now)
	v.Soon = v.Room <= 0 && resume(p, now) != clock.Never
	v.Window = p.Window()
	v.Threshold = p.Threshold()
	v.Inflight = p.Inflight()
	v.Rate = lower(p.Rate(now), p.Limit())
	v.MSS = f.tcp.MSS()
	v.Flows = f.c.b.blocked.size + 1
	return v
}

// give pushes up to n octets from position at on to the subflow, cut so that its segments are
// full, and returns how many it took.
func (f *subflow) give(now clock.Time, at uint64, n int) int {
	c := f.c
	if !c.plain() {
		n = f.fit(now, n)
	}
	n = min(n, math.MaxUint16-1)
	if n <= 0 {
		return 0
	}
	assert(at >= c.snd.una && at+uint64(n) <= c.snd.end, "octets given away that are not there")
	x := chunk{off: f.pushed(), at: at, n: n}
	end := at + uint64(n)
	if !c.plain() && c.fin.queued && end == c.fin.pos && !f.opens() {
		x.fin = true
		c.fin.sent(now, c)
	}
	f.chunks.push(x)
	c.out.hold(at, n, 1)
	f.tcp.Push(at, n)
	f.sent += uint64(n)
	c.b.load.debt.Sent(n)
	c.late.sent(now, c)
	return n
}

// fit returns how many of n octets make full segments within the subflow's room: the first carries
// the mapping, the others (once the peer has shown that it understands) nothing.
func (f *subflow) fit(now clock.Time, n int) int {
	room, mss := f.tcp.Room(now), f.tcp.Fits(0)
	first := f.tcp.Fits(f.mappingLen())
	if n <= first || room <= first || !f.mapped || f.c.id.checksum {
		return min(n, first)
	}
	more := min((room-first+mss/2)/mss, chunkSegments-1)
	return min(n, first+more*mss)
}

// pushed returns how many octets the subflow was given since it began.
func (f *subflow) pushed() uint64 {
	if n := len(f.chunks.list); n > f.chunks.head {
		return f.chunks.list[n-1].off + uint64(f.chunks.list[n-1].n)
	}
	return f.acked
}

// opens reports whether the next chunk is announced by MP_CAPABLE, which has no room for DATA_FIN.
func (f *subflow) opens() bool {
	id := &f.c.id
	return !f.join && f.c.client && !id.confirmed && f.pushed() <= id.earlyOut
}

// pushEarly lets first octets ride in the SYNs that have not left yet, the same in each (RFC 7413,
// RFC 8684 B).
func (c *Conn) pushEarly() bool {
	pushed := false
	for _, f := range c.subflows {
		if f.syns > 0 || f.tcp.State() != tcp.SynSent || f.pushed() > 0 || !f.tcp.Config().Early {
			continue
		}
		n := int(c.snd.next)
		if n == 0 {
			n = min(int(c.snd.end), f.fitsSYN())
		}
		if n == 0 || f.path.early+n > f.state.Window() {
			continue // a crowd of SYNs is no way around the window
		}
		f.early = n
		f.path.early += n
		f.chunks.push(chunk{n: n})
		c.out.hold(0, n, 1)
		f.tcp.Push(0, n)
		c.snd.next = uint64(n)
		pushed = true
	}
	return pushed
}

// synArrived notes that the peer got the SYN, or that nothing more is to be expected of it.
func (f *subflow) synArrived() {
	f.path.early -= f.early
	f.early = 0
}

// pushRedundant gives a subflow the next octets that it has not carried, whether others have or not.
func (c *Conn) pushRedundant(now clock.Time) bool {
	s := &c.snd
	for _, f := range c.subflows {
		at := max(f.copied, s.una)
		end := min(s.end, s.edge)
		if at >= end || !f.canCarry() || f.tcp.Room(now) <= 0 {
			continue
		}
		n := uint64(f.give(now, at, int(end-at)))
		if n == 0 {
			continue
		}
		f.copied = at + n
		if at < s.next {
			c.id.alone = false
			s.reinjected += min(n, s.next-at)
		}
		s.next = max(s.next, f.copied)
		c.idle.since = now
		return true
	}
	return false
}

func (c *Conn) smallestMSS() int {
	mss := math.MaxInt
	for _, f := range c.subflows {
		if f.ready {
			mss = min(mss, f.tcp.MSS())
		}
	}
	return mss
}

// Acked is for tcp.Owner.
func (f *subflow) Acked(now clock.Time, t *tcp.Subflow, off uint64) {
	c := f.c
	f.acked = off
	f.endRow()
	f.pulse(now)
	if off > c.fin.mapUntil {
		c.fin.infinite = false
	}
	if f.bare && !f.sawDSS && off > f.earlyOut() && c.phase == open && !c.plain() {
		c.unheard(now, f)
		if !f.live() {
			return
		}
	}
	if f.suspect {
		f.back(now)
	}
	f.letGo(off)
	if c.plain() && c.phase >= open {
		c.acknowledged(now, min(off, c.snd.next))
	} else if c.id.confirmed || !c.client {
		// Until then the octets of the SYN may have to be asked with once more.
		c.out.release(c.snd.una)
		if c.phase == open {
			c.allow(now)
		}
	}
}

// letGo ends what the subflow has to do with octets before off of its stream.
func (f *subflow) letGo(off uint64) {
	for {
		x, ok := f.chunks.pop(off)
		if !ok {
			return
		}
		f.c.out.hold(x.at, x.n, -1)
	}
}

// acknowledged notes that the peer has every octet before pos.
func (c *Conn) acknowledged(now clock.Time, pos uint64) {
	if pos <= c.snd.una {
		return
	}
	assert(pos <= c.snd.next, "octets acknowledged that were not sent")
	c.snd.una = pos
	c.idle.since = now
	c.out.release(pos)
	if c.phase == over {
		return // nobody writes any more, and nothing is sent again
	}
	c.late.acknowledged(now, c)
	c.allow(now)
}

// allow lets the application write so far ahead of what was sent that every path can be kept full until
// the slowest has brought an acknowledgement, though octets before these wait for a retransmission.
func (c *Conn) allow(now clock.Time) {
	windows, rate, far := 0, 0, time.Duration(0)
	for _, f := range c.subflows {
		if f.ready {
			rtt, _, _ := f.state.RTT()
			windows += f.state.Window()
			rate += f.state.Rate(now)
			far = max(far, rtt)
		}
	}
	ahead := sendStart + max(windows, int(int64(rate)*far.Microseconds()/1e6)) + c.hoard()
	n := min(int(c.snd.next-c.snd.una)+ahead, c.b.cfg.Limits.SendBuffer)
	// What was allowed once stays allowed.
	n = max(n, int(c.out.limit.Load()-c.snd.una))
	if c.snd.room = c.b.rooms.change(c.snd.room, n); c.snd.room < n {
		c.b.counters.LimitBuffer++
	}
	limit := c.snd.una + uint64(c.snd.room)
	if limit > c.out.limit.Load() {
		c.out.limit.Store(limit)
	}
	if c.starved.Load() && c.out.written.Load() < c.out.limit.Load() {
		c.starved.Store(false)
		c.tell(Writable)
	}
}
