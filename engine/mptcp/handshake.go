package mptcp

import (
	"tandem/engine/clock"
	"tandem/engine/tcp"
	"tandem/engine/wire"
)

// Signals is for tcp.Owner.
func (f *subflow) Signals(now clock.Time, t *tcp.Subflow, seg *wire.Segment) bool {
	f.tcp = t                                      // Listen calls back before it returns
	if seg.Flags&(wire.SYN|wire.ACK) != wire.SYN { // which anybody could have sent
		f.path.heardAt = now
	}
	c := f.c
	f.checkAt = clock.Never
	switch {
	case seg.Flags&wire.RST != 0:
		f.receiveReset(now, seg)
		return true
	case seg.Flags&wire.SYN != 0 && seg.Flags&wire.ACK == 0:
		if f.join && f.active {
			// A simultaneous open would establish the subflow without a proof of the keys, and anybody can send a SYN.
			return false
		}
		return true
	case seg.Flags&wire.SYN != 0:
		return f.active && f.receiveAnswer(now, seg) // only who asked can be answered
	case f.join && !f.ready:
		if !f.receiveJoin(now, seg) {
			return false
		}
	case !f.ready:
		if !f.receiveThird(now, seg) {
			return false
		}
	}
	if c.plain() {
		c.snd.edge = unbounded
		return true
	}
	return f.receiveMPTCP(now, seg)
}

// receiveMPTCP acts on the options of an established subflow.
func (f *subflow) receiveMPTCP(now clock.Time, seg *wire.Segment) bool {
	c := f.c
	o := &seg.Options
	if o.Has&wire.HasFastClose != 0 && o.CloseKey == c.id.localKey {
		c.closedFast(now)
		return false
	}
	if o.Has&wire.HasDSS != 0 {
		if !f.receiveDSS(now, seg) {
			return false
		}
	} else if o.Has&wire.HasCapable != 0 && o.Capable.Length >= 22 && !f.join && !c.client {
		if !f.receiveFirst(now, seg) {
			return false
		}
	}
	f.bare = o.Has&wire.HasMPTCP == 0
	if o.Has&wire.HasLatestRTT != 0 {
		f.receiveRTT(now, &o.LatestRTT)
	}
	if o.Has&(wire.HasJoin|wire.HasJoinCap) != 0 && f.join && !f.active {
		f.tcp.Ack(1) // the peer sends nothing before it hears that its third ACK came (RFC 8684 3.2)
	}
	if o.Has&(wire.HasAddAddr|wire.HasRemoveAddr|wire.HasPrio) != 0 {
		f.receiveSignals(now, seg)
	}
	if o.Has&(wire.HasInactivityTime|wire.HasRateLimit|wire.HasPrototype) != 0 {
		f.receiveDraft(now, o)
	}
	if o.Has&wire.HasFail != 0 {
		c.receiveFail(now, f, o.FailDSN)
	}
	return f.live()
}

// receiveAnswer is the SYN/ACK, at the end that asked.
func (f *subflow) receiveAnswer(now clock.Time, seg *wire.Segment) bool {
	c := f.c
	if !f.join {
		f.learnFast(now, seg)
	}
	if c.phase == opening && c.id.initial == nil {
		c.est.began = f.path.id
	}
	if c.est.stripped && c.est.whole && c.phase == opening {
		c.abort(now, ErrStripped)
		return false
	}
	f.synArrived()
	if f.join {
		return f.receiveJoinAnswer(now, seg)
	}
	switch {
	case c.phase == over:
		return false
	case c.phase == open || c.id.initial != nil && c.id.initial != f:
		return f.receiveLate(now, seg)
	}
	o := &seg.Options
	m := &o.Capable
	c.id.initial = f
	c.home = f.tcp.Config().Local.Addr()
	c.id.mptcp = !c.b.cfg.Plain && !c.id.plainOnly && o.Has&wire.HasCapable != 0 && m.Length == 12 && c.agrees(m)
	if c.id.mptcp {
		c.meetPeer(m.Sender)
	}
	f.robe = c.est.explicit && o.Has&wire.HasRobE != 0
	c.est.merges = c.id.mptcp && (f.robe || c.est.implicit) && !c.id.noJoins
	c.snd.edge = uint64(f.tcp.PeerWindow(seg))
	c.won(now, f)
	return true
}

// agrees checks what the peer's MP_CAPABLE says and takes over its flags (RFC 8684 3.1).
func (c *Conn) agrees(m *wire.Capable) bool {
	// A SYN names the highest version of its sender, a SYN/ACK the one that counts.
	if m.Version < 1 || c.client && m.Version > 1 || m.Flags&wire.Extensible != 0 || m.Flags&wire.HMACSHA256 == 0 {
		return false
	}
	c.id.checksum = c.id.checksum || m.Flags&wire.ChecksumRequired != 0
	c.id.noJoins = m.Flags&wire.NoJoinsHere != 0
	return true
}

// meetPeer takes the peer's key and what follows from it.
func (c *Conn) meetPeer(key uint64) {
	c.id.peerKey = key
	c.id.peerToken, c.id.peerIDSN = wire.KeyToken(key)
	if !c.client {
		c.b.keyed.add(key, c)
	}
}

// drop ends a handshake that lost the race without a word on the network beyond a reset, if any.
func (f *subflow) drop(now clock.Time) {
	f.letGo(unbounded)
	f.resetWhy, f.hasReset = wire.Reset{Transient: true}, true
	f.tcp.Reset(now)
}

// opened begins the flow of data at the end that dialled.
func (c *Conn) opened(now clock.Time, f *subflow) {
	c.id.initial = f
	c.id.earlyOut = uint64(f.tcp.Early())
	f.ready = true
	if !c.b.cfg.Paired && f.pushed() > c.id.earlyOut {
		f.tcp.Ack(1) // the third ACK goes by itself, before what its octets repeat
	}
	if c.plain() {
		c.fallBack(now, f)
	}
	// Octets of the SYN that were accepted are before the data sequence space; nobody will
	// acknowledge them there.
	c.snd.una = c.id.earlyOut
	c.snd.next = max(c.snd.una, f.pushed()) // what only another SYN carried goes again
	c.snd.edge += c.id.earlyOut
	c.begin(now)
}

// begin lets the application use the connection.
func (c *Conn) begin(now clock.Time) {
	c.phase = open
	c.idle.since = now
	c.b.welcome(now, c.id.initial)
	c.unlist()
	c.written()
	c.b.offers.answer(now, c)
	c.allow(now)
	c.beginWindow()
	c.trace.add(now, evOpen, 0, 0)
	if f := c.id.initial; f != nil {
		f.report(SubflowEstablished)
	}
	if !c.id.told {
		c.id.told = true
		c.tell(Established)
	}
	c.answerOvertakers(now)
}

// receiveThird is the third ACK, or what came in its place, at the end that was asked (RFC 8684 3.1).
// What overtook it must wait: without the peer's key it means nothing.
func (f *subflow) receiveThird(now clock.Time, seg *wire.Segment) bool {
	c := f.c
	o := &seg.Options
	m := &o.Capable
	if o.Has&wire.HasJoinCap != 0 && c.id.mptcp && !c.b.cfg.NoRobE {
		return f.receiveJoinCap(now, seg)
	}
	overtook := c.id.mptcp && o.Has&wire.HasDSS != 0 && o.Has&wire.HasCapable == 0
	if f.robe && o.Has&wire.HasMPTCP == 0 && len(seg.Payload) == 0 && f.syns <= bareAnswers {
		return false
	}
	if c.phase != opening || c.id.initial != nil || overtook {
		if overtook && !o.DSS.HasMap {
			f.repeatsSYN(seg)
		}
		return false
	}
	c.id.initial = f
	c.id.earlyIn = uint64(f.tcp.Early())
	f.ready = true
	f.settle(now)
	valid := o.Has&wire.HasCapable != 0 && m.Length >= 20 && m.Version == 1 &&
		m.Flags&(wire.Extensible|wire.HMACSHA256) == wire.HMACSHA256 &&
		m.Receiver == c.id.localKey && (m.Length != 24) != (c.id.checksum && m.Length > 20)
	c.id.mptcp = c.id.mptcp && valid
	c.dropOthers(now, f)
	if c.id.mptcp {
		c.meetPeer(m.Sender)
		c.snd.edge = uint64(f.tcp.PeerWindow(seg))
	} else {
		c.fallBack(now, f)
	}
	c.begin(now)
	c.confirm(now)
	if c.b.cfg.Paired {
		f.tcp.Ack(1) // tells the other end that it may join
	}
	return true
}

// receiveFirst is the first data of the dialling end, mapped by MP_CAPABLE itself.
func (f *subflow) receiveFirst(now clock.Time, seg *wire.Segment) bool {
	c, m := f.c, &seg.Options.Capable
	if (m.Length == 24) != c.id.checksum {
		f.reset(now, wire.MPTCPError, false)
		return false
	}
	f.wide = true // its number has 64 bits, although it is not written out
	f.skipSYN(now, seg, 1, int(m.DataLen))
	f.learn(now, mapping{
		off: c.id.earlyIn, pos: c.id.earlyIn, n: int(m.DataLen),
		checked: m.Length == 24, sum: m.Checksum, dsn: c.id.peerIDSN + 1,
	})
	return true
}

// confirm notes that both ends know that they speak MPTCP: further subflows may come.
func (c *Conn) confirm(now clock.Time) {
	if c.id.confirmed || c.plain() {
		return
	}
	c.id.confirmed = true
	c.idle.again = true
	c.tellIdle(now, c.speaker())
	c.announce(now)
	c.joinAll(now)
}

// receiveReset notes why the peer reset the subflow.
func (f *subflow) receiveReset(now clock.Time, seg *wire.Segment) {
	c := f.c
	o := &seg.Options
	f.peerReset = true
	if o.Has&wire.HasReset != 0 {
		f.peerWhy, f.hasPeerWhy = o.Reset, true
	}
	c.trace.add(now, evPeerReset, f.path.id, uint64(o.Reset.Reason))
	if o.Has&wire.HasFastClose != 0 && c.id.mptcp && o.CloseKey == c.id.localKey {
		f.tcp.Drop(now) // a reset is not answered by another
		c.closedFast(now)
	}
	if o.Has&wire.HasFail != 0 && c.id.mptcp {
		// The octets go out elsewhere with the rest of what the subflow held.
		c.id.alone = false
		f.peerWhy, f.hasPeerWhy = wire.Reset{Reason: wire.Middlebox}, true
	}
}
