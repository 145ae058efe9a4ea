package mptcp

import (
	"slices"
	"time"

	"tandem/engine/clock"
	"tandem/engine/tcp"
	"tandem/engine/wire"
)

// recvState is the receiving half of a connection, in positions of the stream.
type recvState struct {
	edge     uint64 // the peer may send up to here; never moves left
	size     int    // how far the edge is kept ahead of what was consumed
	finPos   uint64 // where the stream ends, if known
	finKnown bool
	finished bool // everything came
	deaf     bool // the application does not read any more
	tuneAt   clock.Time
	tuneFrom uint64 // consumed when tuning last looked
}

// init offers the least window: a SYN that nobody has answered is promised no more.
func (r *recvState) init(b *Bond) {
	r.size = b.windows.open(0, min(promiseLeast, b.cfg.Limits.RecvBuffer))
	r.edge = uint64(r.size)
}

// beginWindow offers the window of a connection that somebody wants.
func (c *Conn) beginWindow() {
	c.rcv.size = c.b.windows.open(c.rcv.size, min(recvStart, c.b.cfg.Limits.RecvBuffer))
	c.rcv.edge = max(c.rcv.edge, c.in.consumed.Load()+uint64(c.rcv.size))
}

// A mapping says which octets of the stream some octets of a subflow are (RFC 8684 3.3.1).
type mapping struct {
	off, pos uint64
	n        int // octets, without DATA_FIN
	got      int // of them
	fin      bool
	checked  bool // sum must match before any octet counts
	sum      uint16
	dsn      wire.DSN
}

// A holding is octets whose mapping, or the rest of a mapping with a checksum, has not come yet.
type holding struct {
	off  uint64
	data []byte
}

// window returns how many octets the peer may send now.
func (c *Conn) window() int {
	next := c.in.readable.Load()
	if c.rcv.edge <= next {
		return 0
	}
	return int(c.rcv.edge - next)
}

// consumed takes note of what the application has read: memory becomes free and the window opens.
func (c *Conn) consumed(now clock.Time) {
	pos := c.in.consumed.Load()
	if pos == c.in.freed {
		return
	}
	c.in.release()
	if c.phase == over {
		return
	}
	c.tune(now, pos)
	c.open()
}

// open moves the edge ahead of what was consumed.
func (c *Conn) open() {
	edge := c.in.consumed.Load() + uint64(c.rcv.size)
	if edge <= c.rcv.edge {
		return
	}
	c.rcv.edge = edge
	for _, f := range c.subflows {
		f.tcp.WindowGrew()
	}
}

// tune grows the window towards twice what the application takes in a round trip of the slowest
// subflow, so that the window is never what limits a reader that keeps up.
func (c *Conn) tune(now clock.Time, pos uint64) {
	r := &c.rcv
	if now < r.tuneAt {
		return
	}
	taken := pos - r.tuneFrom
	r.tuneFrom = pos
	round := time.Millisecond
	for _, f := range c.subflows {
		rtt, _, _ := f.state.RTT()
		round = max(round, rtt)
	}
	r.tuneAt = now.Add(round)
	if want := 4 * int(taken); want > r.size {
		want = min(max(want, 2*r.size), c.b.cfg.Limits.RecvBuffer)
		if r.size = c.b.windows.change(r.size, want); r.size < want {
			c.b.counters.LimitBuffer++
		}
	}
}

// place writes octets of the stream where they belong.
func (c *Conn) place(now clock.Time, f *subflow, pos uint64, p []byte) {
	f.got += uint64(len(p))
	limit := c.rcv.edge
	if c.rcv.finKnown {
		limit = min(limit, c.rcv.finPos)
	}
	if pos >= limit || uint64(len(p)) > limit-pos {
		c.b.counters.OutOfWindow++
		if pos >= limit {
			return
		}
		p = p[:limit-pos]
	}
	n, ok := c.in.write(pos, p)
	if !ok {
		c.b.counters.LimitBuffer++
	}
	if n == 0 {
		return
	}
	c.idle.since = now
	assert(c.in.readable.Load() <= c.rcv.edge, "octets taken beyond the window")
	if c.rcv.deaf {
		c.in.consumed.Store(c.in.readable.Load())
		c.consumed(now)
	} else {
		c.tell(Readable)
	}
	c.checkEnd(now)
}

// ends notes where the stream of the peer ends.
func (c *Conn) ends(now clock.Time, pos uint64) {
	if c.rcv.finKnown || pos < c.in.readable.Load() || pos < c.in.late.end() {
		return
	}
	if pos > c.rcv.edge {
		c.b.counters.OutOfWindow++
		return
	}
	c.rcv.finKnown, c.rcv.finPos = true, pos
	c.idle.since = now
	c.checkEnd(now)
}

func (c *Conn) checkEnd(now clock.Time) {
	if !c.rcv.finKnown || c.rcv.finished || c.in.readable.Load() != c.rcv.finPos {
		return
	}
	c.rcv.finished = true
	c.fin.second = !c.fin.left
	c.finRead.Store(true)
	c.trace.add(now, evPeerFin, 0, c.rcv.finPos)
	c.tell(Readable)
	c.fin.check(now, c)
}

// endOfStream notes the FIN of the only subflow after a fallback.
func (c *Conn) endOfStream(now clock.Time) {
	c.ends(now, c.in.readable.Load())
	c.fin.check(now, c)
}

// Deliver is for tcp.Owner.
func (f *subflow) Deliver(now clock.Time, t *tcp.Subflow, off uint64, p []byte) bool {
	c := f.c
	f.endRow()
	switch {
	case c.phase == over:
		return true
	case !f.join && !f.ready:
		c.place(now, f, off, p) // rode in the SYN
		return true
	case c.plain():
		pos := off + c.id.shiftIn
		if pos+uint64(len(p)) > c.rcv.edge {
			// Before the fallback the window was the stream's, which lagged behind the subflow by what was held.
			c.b.counters.OutOfWindow++
			return false
		}
		c.place(now, f, pos, p)
		return true
	}
	if f.heldN+len(p) > heldMax || len(f.held) >= heldRunsMax {
		return false
	}
	if f.find(off) == nil && c.mayFallBack(f) && !f.sawDSS {
		c.fallBack(now, f)
		c.place(now, f, off+c.id.shiftIn, p)
		return true
	}
	f.assign(now, off, p)
	return true
}

// assign sorts the octets at off into the stream, or holds them.
func (f *subflow) assign(now clock.Time, off uint64, p []byte) {
	for len(p) > 0 {
		m := f.find(off)
		if m == nil {
			n := f.gap(off, len(p))
			f.hold(now, off, p[:n])
			off, p = off+uint64(n), p[n:]
			continue
		}
		n := min(len(p), int(m.off+uint64(m.n)-off))
		if m.checked {
			f.hold(now, off, p[:n])
		} else {
			f.c.place(now, f, m.pos+off-m.off, p[:n])
		}
		m.got += n
		if m.got >= m.n {
			f.complete(now, m)
		}
		off, p = off+uint64(n), p[n:]
	}
}

// find returns the mapping of the octet at off.
func (f *subflow) find(off uint64) *mapping {
	for i := len(f.maps) - 1; i >= 0; i-- {
		if m := &f.maps[i]; off >= m.off && off < m.off+uint64(m.n) {
			return m
		}
	}
	return nil
}

// gap returns how many of n octets from off on have no mapping.
func (f *subflow) gap(off uint64, n int) int {
	for i := range f.maps {
		if m := &f.maps[i]; m.off > off {
			n = min(n, int(m.off-off))
		}
	}
	return n
}

// hold keeps octets until their mapping, or the rest of it, comes.
func (f *subflow) hold(now clock.Time, off uint64, p []byte) {
	i := len(f.held)
	for i > 0 && f.held[i-1].off > off {
		i--
	}
	if h := i - 1; h >= 0 && f.held[h].off+uint64(len(f.held[h].data)) == off {
		f.held[h].data = append(f.held[h].data, p...)
	} else {
		f.held = slices.Insert(f.held, i, holding{off, slices.Clone(p)})
	}
	f.heldN += len(p)
	if f.find(off) == nil && f.heldN > min(f.c.rcv.size, heldMax/2) {
		// A window's worth without a mapping: something takes the options away (RFC 8684 3.7).
		f.c.b.counters.Unmapped++
		f.reset(now, wire.Middlebox, false)
		return
	}
	f.c.boundHeld(now)
}

// boundHeld gives up the subflow that holds most when all together hold more than two windows and what every connection
// is promised: honest octets are in one window, or twice where they were sent again.
func (c *Conn) boundHeld(now clock.Time) {
	all := 0
	var worst *subflow
	for _, f := range c.subflows {
		if !f.live() {
			continue
		}
		if all += f.heldN; worst == nil || f.heldN > worst.heldN {
			worst = f
		}
	}
	if all > 2*c.rcv.size+promiseLeast {
		c.b.counters.LimitBuffer++
		worst.reset(now, wire.LackOfResources, true)
	}
}

// take removes the held octets of [off, off+n) and hands each run to use.
func (f *subflow) take(off uint64, n int, use func(off uint64, p []byte)) {
	end := off + uint64(n)
	kept := f.held[:0]
	var rest []holding
	for _, h := range f.held {
		to := h.off + uint64(len(h.data))
		if to <= off || h.off >= end {
			kept = append(kept, h)
			continue
		}
		from, upto := max(h.off, off), min(to, end)
		use(from, h.data[from-h.off:upto-h.off])
		f.heldN -= int(upto - from)
		if h.off < from {
			rest = append(rest, holding{h.off, h.data[:from-h.off]})
		}
		if upto < to {
			rest = append(rest, holding{upto, h.data[upto-h.off:]})
		}
	}
	clear(f.held[len(kept):])
	f.held = append(kept, rest...)
	slices.SortFunc(f.held, func(a, b holding) int { return int(int64(a.off - b.off)) })
	if len(f.held) == 0 {
		f.held = nil
	}
}

// learn adds a mapping, unless it is known or all its octets came.
func (f *subflow) learn(now clock.Time, m mapping) {
	c := f.c
	if m.fin && (!m.checked || m.n == 0) {
		c.ends(now, m.pos+uint64(m.n))
	}
	if m.n == 0 {
		return
	}
	done := f.tcp.Received()
	f.maps = slices.DeleteFunc(f.maps, func(x mapping) bool { return x.off+uint64(x.n) <= done && !(x.checked && f.holds(x.off)) })
	if m.off+uint64(m.n) <= done && !f.holds(m.off) {
		return
	}
	for _, x := range f.maps {
		if x.off == m.off && x.n == m.n {
			return
		}
		if m.off < x.off+uint64(x.n) && x.off < m.off+uint64(m.n) {
			// Overlapping and not equal: a mapping is fixed once declared.
			if m = cut(m, x); m.n == 0 {
				return
			}
		}
	}
	if len(f.maps) == mappingsMax {
		c.b.counters.Unmapped++
		return
	}
	f.maps = append(f.maps, m)
	if f.heldN > 0 {
		var late []holding
		f.take(m.off, m.n, func(off uint64, p []byte) { late = append(late, holding{off, p}) })
		for _, h := range late {
			f.assign(now, h.off, h.data)
		}
	}
}

// holds reports whether the octet at off is held.
func (f *subflow) holds(off uint64) bool {
	for _, h := range f.held {
		if h.off <= off && off < h.off+uint64(len(h.data)) {
			return true
		}
	}
	return false
}

// cut returns the part of m that x does not cover, if x covers one end of it.
func cut(m, x mapping) mapping {
	if m.checked || x.checked {
		return mapping{}
	}
	mEnd, xEnd := m.off+uint64(m.n), x.off+uint64(x.n)
	switch {
	case x.off <= m.off:
		skip := min(xEnd, mEnd) - m.off
		m.off, m.pos, m.n = m.off+skip, m.pos+skip, m.n-int(skip)
	default:
		m.n = int(x.off - m.off)
	}
	return m
}

// complete removes a mapping whose octets have all come, after its checksum was found right.
func (f *subflow) complete(now clock.Time, m *mapping) {
	done := *m
	if done.checked {
		var sum wire.Sum
		f.peek(done.off, done.n, func(p []byte) { sum.Add(p) })
		if wire.ChecksumDSS(done.dsn, f.ssnIn(done.off), done.dataLen(), sum) != done.sum {
			f.corrupt(now, done)
			return
		}
	}
	for i := range f.maps {
		if &f.maps[i] == m {
			f.maps = slices.Delete(f.maps, i, i+1)
			break
		}
	}
	if done.checked && done.fin {
		f.c.ends(now, done.pos+uint64(done.n))
	}
	if done.checked {
		f.take(done.off, done.n, func(off uint64, p []byte) {
			f.c.place(now, f, done.pos+off-done.off, p)
		})
	}
}

// peek shows use the held octets of [off, off+n) in order.
func (f *subflow) peek(off uint64, n int, use func(p []byte)) {
	end := off + uint64(n)
	for _, h := range f.held {
		from, to := max(h.off, off), min(h.off+uint64(len(h.data)), end)
		if from < to {
			use(h.data[from-h.off : to-h.off])
		}
	}
}

func (m *mapping) dataLen() uint16 {
	if m.fin {
		return uint16(m.n + 1)
	}
	return uint16(m.n)
}

// corrupt deals with a mapping whose checksum does not match its octets (RFC 8684 3.7).
func (f *subflow) corrupt(now clock.Time, m mapping) {
	c := f.c
	c.b.counters.DSSChecksum++
	c.trace.add(now, evCorrupt, f.path.id, m.pos)
	f.failDSN, f.hasFail = m.dsn, true
	if c.id.alone && !f.join && c.contiguous(f) {
		// The octets stay held: the peer's infinite mapping will say what they are.
		f.maps = nil
		c.id.failed = true
		f.tcp.Ack(1)
		return
	}
	f.reset(now, wire.Middlebox, false)
}

// contiguous reports whether the stream so far came over f alone, each octet where it is in the subflow, and whether
// no other subflow can be established by the peer before it hears otherwise.
func (c *Conn) contiguous(f *subflow) bool {
	for _, g := range c.subflows {
		if g != f && (g.ready || !g.active) {
			return false
		}
	}
	return !c.id.strayed
}
