package mptcp

import (
	"crypto/subtle"
	"net/netip"
	"slices"
	"time"

	"tandem/engine/clock"
	"tandem/engine/tcp"
	"tandem/engine/wire"
)

// mayJoin reports whether this end opens subflows (RFC 8684 3.2: not before a DSS has come).
func (c *Conn) mayJoin() bool {
	done := c.fin.acked && c.rcv.finished
	return c.phase == open && c.id.confirmed && !c.plain() && !c.b.cfg.Passive && !done
}

// meet uses a path that has come.
func (c *Conn) meet(now clock.Time, p *bondPath) {
	if c.phase == opening && c.client && !c.held && c.permits(p) && p.reaches(c.target.Addr()) {
		c.meetUnanswered(now, p)
	}
	if c.phase != open || c.plain() {
		return
	}
	c.announce(now)
	c.joinPath(now, p)
}

// meetUnanswered asks over a path that has come. Beyond what a race may cost it has its turn after the timeout that runs,
// now if none does.
func (c *Conn) meetUnanswered(now clock.Time, p *bondPath) {
	switch {
	case c.asksMore():
		c.late.lingerAt = clock.Never
		c.ask(now, p)
	case c.est.more > 0 && c.switchAt == clock.Never:
		c.switchAt = now
	}
}

// lose ends the subflows of a path that has gone.
func (c *Conn) lose(now clock.Time, p *bondPath) {
	gone, told := false, false
	for _, f := range c.subflows {
		if f.path == p {
			f.tcp.Drop(now)
			gone, told = true, told || f.withdrew
		}
	}
	c.forgetAttempts(p)
	if c.phase == open && !told && (gone || c.named(p)) {
		c.withdraw(p)
	}
	if gone {
		c.askOn(now)
		c.sweep(now)
	}
}

// joinAll opens a subflow over every path that has none.
func (c *Conn) joinAll(now clock.Time) {
	for _, p := range c.b.paths {
		c.joinPath(now, p)
	}
}

// joinPath opens one over p if there is none.
func (c *Conn) joinPath(now clock.Time, p *bondPath) {
	c.eachAddress(func(remote netip.AddrPort, id uint8) { c.joinOver(now, p, remote, id) })
}

// learnAddress uses an address that the peer announced.
func (c *Conn) learnAddress(now clock.Time, a peerAddress) {
	if !c.client && !c.b.cfg.JoinAnnounced {
		return
	}
	for _, p := range c.b.paths {
		c.joinOver(now, p, a.addr, a.id)
	}
}

// joinOver opens a subflow over p to remote unless there is one over that path; where one is only on its way, it is
// looked at again.
func (c *Conn) joinOver(now clock.Time, p *bondPath, remote netip.AddrPort, id uint8) {
	if !c.mayJoin() || !p.reaches(remote.Addr()) || p.peerOff || !c.welcomes(p) || c.shy() || c.exhausted(p, remote) {
		return
	}
	a := attempt{path: p, remote: remote, id: id}
	half := 0
	for _, f := range c.subflows {
		switch {
		case !f.live():
		case f.path != p:
			half += one(!f.ready)
		case f.leaving == 0 && (f.ready || f.tcp.Config().Remote == remote):
			return
		default:
			c.putOff(now, a)
			return
		}
	}
	switch {
	case len(c.subflows) >= c.b.cfg.Limits.Subflows:
		c.b.counters.LimitSubflows++
		c.retryLater(now, a, time.Second)
	case half >= c.b.cfg.Limits.HalfOpen:
		c.retryLater(now, a, 100*time.Millisecond)
	default:
		c.join(now, a)
	}
}

func (c *Conn) join(now clock.Time, a attempt) {
	local := c.joinLocal(a.path, a.remote)
	if local.Port() == 0 {
		c.retryLater(now, a, time.Second)
		return
	}
	c.openJoin(now, a.path, local, a.remote, a.id)
}

// openJoin sends MP_JOIN.
func (c *Conn) openJoin(now clock.Time, p *bondPath, local, remote netip.AddrPort, id uint8) *subflow {
	f := c.newSubflow(p, local, remote)
	f.join, f.active = true, true
	f.localID, f.remoteID = c.addressID(p, local.Addr()), id
	f.nonce = c.b.random32()
	cfg := f.config(local, remote)
	cfg.SynRetries = 3
	c.b.succeed(now, &cfg)
	f.tcp = tcp.Open(now, cfg, f)
	c.add(f)
	c.trace.add(now, evJoin, p.id, uint64(id))
	return f
}

// localPort is the port of this end of all subflows (D2).
func (c *Conn) localPort() uint16 {
	if c.client {
		return c.source.Port()
	}
	return c.target.Port()
}

// joinLocal is this end of a join over p, with port 0 if none is free. It has another port than a foreign peer saw in a SYN
// there, of which it may not know yet that it was given up, and than a subflow that ended and is remembered still.
func (c *Conn) joinLocal(p *bondPath, remote netip.AddrPort) netip.AddrPort {
	local := netip.AddrPortFrom(p.local(remote.Addr()), c.localPort())
	if c.b.strict() || c.client && !c.b.cfg.Paired && slices.Contains(c.est.spent, p.id) || c.b.taken(local, remote) {
		return netip.AddrPortFrom(local.Addr(), c.b.freePort(remote))
	}
	return local
}

// receiveJoinAnswer is MP_JOIN in the SYN/ACK (RFC 8684 3.2).
func (f *subflow) receiveJoinAnswer(now clock.Time, seg *wire.Segment) bool {
	c := f.c
	j := &seg.Options.Join
	if seg.Options.Has&wire.HasJoin == 0 || j.Length != 16 {
		f.reset(now, wire.MPTCPError, false)
		return false
	}
	mac := wire.JoinMAC(c.id.peerKey, c.id.localKey, j.Nonce, f.nonce)
	if subtle.ConstantTimeCompare(mac[:8], j.MAC[:8]) == 0 {
		c.b.counters.BadJoinMAC++
		f.reset(now, wire.MPTCPError, false)
		return false
	}
	f.peerNonce, f.peerBackup = j.Nonce, j.Backup
	return true
}

// receiveJoin is the first segment after the SYNs of a join: the third ACK at the end that was asked,
// what answers it at the other.
func (f *subflow) receiveJoin(now clock.Time, seg *wire.Segment) bool {
	c := f.c
	if proof := f.capProof(); f.cap && seg.Options.Has&proof == 0 {
		f.reset(now, wire.Unspecified, true) // to somebody who does not know the option it was a connection of TCP
		return false
	}
	if !f.active {
		j := &seg.Options.Join
		mac := wire.JoinMAC(c.id.peerKey, c.id.localKey, f.peerNonce, f.nonce)
		switch {
		case seg.Options.Has&wire.HasJoin == 0 || j.Length != 24:
			f.reset(now, wire.MPTCPError, false)
			return false
		case subtle.ConstantTimeCompare(mac[:], j.MAC[:]) == 0:
			c.b.counters.BadJoinMAC++
			f.reset(now, wire.MPTCPError, false)
			return false
		}
	}
	if f.cap && f.acks == 1 {
		f.state.RTTSample(now, now.Sub(f.ackAt)) // the answer to the SYN may have waited for somebody else
	}
	f.joined(now)
	return true
}

func (f *subflow) joined(now clock.Time) {
	c := f.c
	f.ready = true
	c.id.doubtful = false
	f.retryAt = clock.Never
	c.id.alone = false
	c.late.lingerAt = clock.Never
	c.reached(f)
	c.trace.add(now, evJoined, f.path.id, 0)
	f.report(SubflowEstablished)
	c.relieve(now)
	c.b.measure(now, f.path)
	c.b.welcome(now, f)
	if c.idle.again {
		c.idle.again = false
		c.tellIdle(now, f)
	}
	if f.cap && f.active && f.backup && c.b.lane == nil {
		f.signal(signal{kind: signalPrio}) // MP_JOIN has a flag for it
	}
	c.tellGone(f)
	c.signal.advance(now, c)
	c.allow(now)
	if c.fin.queued && !c.fin.acked {
		c.fin.lost()
	}
	if c.fin.acked && c.rcv.finished {
		f.tcp.Close(now)
	}
}

// retryJoin sends the third ACK again: the peer has not answered it.
func (f *subflow) retryJoin(now clock.Time) {
	f.retryAt = clock.Never
	if !f.join {
		f.drop(now)
		return
	}
	if f.acks > f.retries() {
		f.reset(now, wire.Unspecified, true)
		return
	}
	f.tcp.Ack(1)
}

// joinEnded decides whether a subflow that ended is tried again.
func (c *Conn) joinEnded(now clock.Time, f *subflow) {
	if !f.active || f.leaving != 0 {
		return
	}
	if f.cap && !f.ready {
		c.capEnded(now, f)
		return
	}
	refused := f.peerReset && !(f.hasPeerWhy && f.peerWhy.Transient)
	unknown := refused && !f.ready && f.hasPeerWhy && f.peerWhy.Reason == wire.MPTCPError
	switch alone := len(c.subflows) == 0; {
	case c.id.doubtful && (refused && !f.ready && alone || unknown && !c.inUse()):
		c.forgetJoins(now)
		c.askAgain(now)
		return
	case unknown && alone:
		c.finish(now, ErrReset) // the peer does not know the connection any more
		return
	}
	a := attempt{path: f.path, remote: f.tcp.Config().Remote, id: f.remoteID}
	if refused && f.acks > 0 && f.peerWhy.Reason == wire.Prohibited && c.mayRepeat(f) {
		c.retryLater(now, a, 0)
		c.retryJoins(now)
		c.b.touch(now, c)
		return
	}
	spoiled := f.hasReset && f.resetWhy.Reason == wire.Middlebox || f.hasPeerWhy && f.peerWhy.Reason == wire.Middlebox
	// Until the peer announces the address anew (RFC 8684 3.9.3).
	failed := !f.ready && (refused || f.hasReset && f.resetWhy.Reason == wire.MPTCPError)
	if spoiled {
		return
	}
	switch {
	case failed && !c.b.cfg.Paired:
		c.giveUp(a)
	case c.offersAddress(f.remoteID):
		c.retryLater(now, a, time.Second)
	}
	if f.tcp.Err() == tcp.ErrTimeout {
		c.unanswered(a)
	}
	c.seekOthers(now, f.path)
}

// inUse reports whether a subflow is established.
func (c *Conn) inUse() bool {
	return slices.ContainsFunc(c.subflows, func(f *subflow) bool { return f.ready })
}

// forgetJoins gives up those under way without a word: what one was told is true of all.
func (c *Conn) forgetJoins(now clock.Time) {
	for _, f := range slices.Clone(c.subflows) {
		f.tcp.Drop(now)
		c.replace(now, f)
	}
}

// mayRepeat reports whether a join that was refused in spite of its proof is to be tried once more at once. Linux refuses
// it like that, as if for good, while the third ACK of the connection itself has not come, but also when either end has no
// more to say.
func (c *Conn) mayRepeat(f *subflow) bool {
	tried := c.attemptOf(f.path, f.tcp.Config().Remote) != nil
	return !tried && !c.b.cfg.Paired && !c.fin.queued && !c.rcv.finKnown && c.offersAddress(f.remoteID)
}

// rejoinAll tries every path again: the connection has no subflow left.
func (c *Conn) rejoinAll(now clock.Time) {
	// Only a join can now tell whether the peer got the third ACK.
	c.id.doubtful = c.id.doubtful || !c.id.confirmed && c.client && c.b.cfg.Paired
	c.id.confirmed = true
	c.joinAll(now)
	if len(c.subflows) == 0 && c.client {
		for _, p := range c.b.paths {
			if p.reaches(c.target.Addr()) {
				c.retryLater(now, attempt{path: p, remote: c.target}, time.Second)
			}
		}
	}
}

// receiveJoinSYN is MP_JOIN in a SYN.
func (b *Bond) receiveJoinSYN(now clock.Time, p *bondPath, seg *wire.Segment) {
	j := &seg.Options.Join
	c := b.tokens[j.Token]
	if c != nil && c.overtaken(p, seg) {
		return
	}
	if c == nil || c.plain() || c.phase != open {
		b.counters.BadJoinToken++
		b.strays.refuse(b, p, seg, wire.Reset{Reason: wire.MPTCPError})
		return
	}
	b.current = c
	b.measure(now, p)
	if b.cfg.RefuseJoins || b.cfg.NoJoinsHere && seg.Target == c.target || !c.welcomes(p) {
		b.strays.refuse(b, p, seg, wire.Reset{Reason: wire.Prohibited})
		return
	}
	if c.id.failed && !c.id.strayed {
		b.strays.refuse(b, p, seg, wire.Reset{Transient: true}) // about to be plain TCP
		return
	}
	half := 0
	for _, f := range c.subflows {
		if f.join && !f.ready && f.live() {
			half++
		}
	}
	if half >= b.cfg.Limits.HalfOpen && c.recycle(now) {
		half--
	}
	if half >= b.cfg.Limits.HalfOpen || len(c.subflows) >= b.cfg.Limits.Subflows {
		if half >= b.cfg.Limits.HalfOpen {
			b.counters.LimitHalfOpen++
		} else {
			b.counters.LimitSubflows++
		}
		b.strays.refuse(b, p, seg, wire.Reset{Reason: wire.LackOfResources, Transient: true})
		return
	}
	f := c.newSubflow(p, seg.Target, seg.Source)
	f.join = true
	f.localID, f.remoteID = c.addressID(p, seg.Target.Addr()), j.AddressID
	f.nonce, f.peerNonce, f.peerBackup = b.random32(), j.Nonce, j.Backup
	cfg := f.config(seg.Target, seg.Source)
	cfg.SynRetries = 3
	c.b.succeed(now, &cfg)
	f.tcp = tcp.Listen(now, cfg, f, seg)
	c.add(f)
	f.tcp.Answer(now)
	b.touch(now, c)
}

// recycle gives up the oldest join whose SYN/ACK had to be repeated, if there is one: it has had a round trip's time,
// and those that nobody means to end keep out others no longer than that (RFC 7430 3).
func (c *Conn) recycle(now clock.Time) bool {
	for _, f := range c.subflows {
		if f.join && !f.active && !f.ready && f.live() && f.syns > 1 {
			c.b.counters.Recycled++
			f.reset(now, wire.LackOfResources, true)
			return true
		}
	}
	return false
}
