package mptcp

import (
	"slices"
	"time"

	"tandem/engine/clock"
	"tandem/engine/tcp"
	"tandem/engine/wire"
)

// RobE_eSIM: SYNs over several paths, of which the first answer makes the connection, and the third ACK of each
// other flow carries MP_JOIN_CAP and makes it a subflow (draft-amend-tcpm-mptcp-robe-02 3.1).
//
//	      SYN ──► MP_CAPABLE ──first──► ACK MP_CAPABLE ───────────────────────────────► initial subflow
//	       └────► MP_CAPABLE ──later──► ACK MP_JOIN_CAP ──ACK with an option of MPTCP──► subflow
//	                 └ neither, or not in time: RST, and MP_JOIN takes its place

const (
	// capRetries is how often the third ACK with MP_JOIN_CAP is repeated.
	capRetries = 3

	// bareAnswers is for how many SYN/ACKs an ACK without any option is not taken for the third: longer than a flow
	// lives whose MP_JOIN_CAP something on the way takes away, and octets come before.
	bareAnswers = 3

	// capMACs bounds how many MACs one MP_JOIN_CAP may cost.
	capMACs = 8

	joinCapLen = 24
)

// joinsByCap reports whether peers may ask this end for RobE_eSIM.
func (b *Bond) joinsByCap() bool {
	cfg := &b.cfg
	return !cfg.NoRobE && !cfg.Plain && !cfg.RefuseJoins && !cfg.NoJoinsHere
}

// receiveLate is the SYN/ACK of a flow that others were quicker than, at the end that asked.
func (f *subflow) receiveLate(now clock.Time, seg *wire.Segment) bool {
	c, o := f.c, &seg.Options
	m := &o.Capable
	taken := int(seg.Ack-f.tcp.Config().ISS) - 1
	f.robe = o.Has&wire.HasRobE != 0
	fits := o.Has&wire.HasCapable != 0 && m.Length == 12 && m.Version == 1 &&
		m.Flags&(wire.Extensible|wire.HMACSHA256|wire.NoJoinsHere) == wire.HMACSHA256 &&
		(f.robe || c.est.implicit) && uint64(taken) == f.pushed() && (c.b.cfg.Paired || taken == 0)
	if !c.est.merges || c.plain() || !fits {
		f.drop(now)
		return false
	}
	f.join, f.active, f.cap = true, true, true
	f.otherKey = m.Sender
	f.localID, f.remoteID = c.addressID(f.path, f.tcp.Config().Local.Addr()), 0
	f.retryAt = clock.Never
	c.trace.add(now, evCap, f.path.id, uint64(f.localID))
	return true
}

// retries is how often the third ACK may be repeated: to a peer that was not asked, which may take the flow for
// another connection, not at all.
func (f *subflow) retries() int {
	switch {
	case !f.cap:
		return joinRetries
	case f.robe:
		return capRetries
	}
	return 0
}

// capProof is what of MPTCP the answer to the third ACK must have: of a peer that was not asked DATA_ACK.
func (f *subflow) capProof() wire.OptionSet {
	if f.robe {
		return wire.HasMPTCP
	}
	return wire.HasDSS
}

// composeJoinCap adds the proof that this flow belongs to the connection.
func (f *subflow) composeJoinCap(o *wire.Options) {
	c := f.c
	o.Has |= wire.HasJoinCap
	o.JoinCap = wire.JoinCap{Length: joinCapLen, AddressID: f.localID, Key: c.id.localKey}
	o.JoinCap.Sign(c.id.peerKey, f.otherKey)
}

// capEnded has MP_JOIN take the place of a flow that was not joined with its third ACK, unless the peer does not
// want that.
func (c *Conn) capEnded(now clock.Time, f *subflow) {
	if refused := f.hasPeerWhy && !f.peerWhy.Transient; !refused {
		c.askEnded(now, f)
	}
}

// askEnded has MP_JOIN take the place of a flow that lost the race.
func (c *Conn) askEnded(now clock.Time, f *subflow) {
	if f.tcp.Err() == tcp.ErrTimeout && c.phase == opening {
		c.b.lessons.unanswered(now, c.b.place(c.target.Addr()), f.path.id)
	}
	if f.path.gone || f.ready {
		return
	}
	if !slices.Contains(c.est.spent, f.path.id) {
		c.est.spent = append(c.est.spent, f.path.id)
	}
	if c.phase == open {
		c.joinPath(now, f.path)
		c.b.touch(now, c)
	}
}

// receiveJoinCap is MP_JOIN_CAP in place of the third ACK's MP_CAPABLE: it names the connection by the client's key
// or, if that did not come yet, by the fast hash of our own.
func (f *subflow) receiveJoinCap(now clock.Time, seg *wire.Segment) bool {
	b, c, j := f.c.b, f.c, &seg.Options.JoinCap
	if !b.joinsByCap() {
		f.reset(now, wire.Prohibited, false)
		return false
	}
	t, initial := b.joinCapTarget(f, j)
	switch {
	case t == nil:
		b.counters.BadJoinCap++
		f.reset(now, wire.MPTCPError, false)
		return false
	case t != c && len(t.subflows) >= b.cfg.Limits.Subflows:
		b.counters.LimitSubflows++
		f.reset(now, wire.LackOfResources, true)
		return false
	}
	if t.phase == opening {
		if initial == nil {
			return false // any of several: its own third ACK will tell
		}
		t.proven(now, initial, j.Key, uint64(f.tcp.PeerWindow(seg)))
	}
	b.counters.JoinCaps++
	if t != c {
		f.moveTo(now, t)
	}
	f.join, f.cap = true, true
	f.row, f.rowAt = signalsRow, now.Add(time.Millisecond) // a peer that did not ask for this takes nothing but DATA_ACK for an answer
	f.localID, f.remoteID = t.addressID(f.path, f.tcp.Config().Local.Addr()), j.AddressID
	t.trace.add(now, evCap, f.path.id, uint64(j.AddressID))
	f.joined(now)
	return true
}

// joinCapTarget returns the connection that the option on f belongs to and, unless that is established, which of its
// flows is the first, if that is clear.
func (b *Bond) joinCapTarget(f *subflow, j *wire.JoinCap) (t *Conn, initial *subflow) {
	macs := 0
	fits := func(t *Conn) bool {
		if macs++; macs == capMACs+1 {
			b.counters.LimitJoinCap++
		}
		return macs <= capMACs && j.Verify(t.id.localKey, f.c.id.localKey)
	}
	// Octets of a SYN are in the stream of what f belongs to, and could not be moved to another.
	mine := func(t *Conn) bool { return t == f.c || f.tcp.Early() == 0 }
	for _, t := range b.keyed[j.Key] {
		if t.phase == open && !t.plain() && mine(t) && fits(t) {
			return t, nil
		}
	}
	for _, t := range b.half[j.FastHash()] {
		first, others := t.firstBut(f)
		if others > 0 && mine(t) && fits(t) {
			if others > 1 {
				first = nil
			}
			return t, first
		}
	}
	return nil, nil
}

// firstBut returns a flow that may be the connection's first if f is not, and how many there are.
func (c *Conn) firstBut(f *subflow) (first *subflow, n int) {
	for _, g := range c.subflows {
		if g != f && !g.join && g.robe == f.robe && g.live() {
			first = g
			n++
		}
	}
	return first, n
}

// proven establishes a connection whose third ACK is under way: who computes MP_JOIN_CAP knows both keys, so it has
// seen our SYN/ACK.
func (c *Conn) proven(now clock.Time, initial *subflow, key, edge uint64) {
	c.id.initial = initial
	c.id.earlyIn = uint64(initial.tcp.Early())
	initial.ready = true
	initial.settle(now)
	c.meetPeer(key)
	c.snd.edge = edge
	c.dropOthers(now, initial)
	c.begin(now)
	c.confirm(now)
	c.b.touch(now, c)
}

// dropOthers ends the flows that lost the race, at the end that was asked, unless they may join.
func (c *Conn) dropOthers(now clock.Time, f *subflow) {
	for _, g := range c.subflows {
		if g != f && !g.join && !(c.id.mptcp && f.robe && g.robe) {
			g.drop(now)
		}
	}
}

// moveTo makes f a subflow of t. What it belonged to was no connection.
func (f *subflow) moveTo(now clock.Time, t *Conn) {
	c := f.c
	c.subflows = slices.DeleteFunc(c.subflows, func(g *subflow) bool { return g == f })
	exclude(c.measuring.latency, f.state)
	f.c = t
	t.lastID++
	f.id = t.lastID
	t.subflows = append(t.subflows, f)
	if t.group != nil {
		t.group.Adopt(f.cc)
	}
	if f.cc != nil {
		include(t.measuring.latency, f.state)
	}
	f.report(SubflowAdded)
	t.b.current = t
	c.finish(now, ErrMerged)
	c.sweep(now)
	t.b.touch(now, t)
}

// index finds connections by what MP_JOIN_CAP says, in the order in which they came.
type index[K comparable] map[K][]*Conn

func (x index[K]) add(k K, c *Conn) { x[k] = append(x[k], c) }

func (x index[K]) remove(k K, c *Conn) {
	rest := slices.DeleteFunc(x[k], func(d *Conn) bool { return d == c })
	if x[k] = rest; len(rest) == 0 {
		delete(x, k)
	}
}

// list has MP_JOIN_CAP find a connection that was accepted by the fast hash of its own key, meetPeer by the peer's.
func (c *Conn) list() {
	if c.id.mptcp && c.b.joinsByCap() {
		c.b.half.add(wire.FastHash(c.id.localKey), c)
	}
}

// unlist has it find a connection by its own key no more: it is established, or over.
func (c *Conn) unlist() {
	if !c.client {
		c.b.half.remove(wire.FastHash(c.id.localKey), c)
	}
}

// mayMerge reports whether a SYN of an offer that is established already may still join: it took a longer path, and
// its third ACK will carry MP_JOIN_CAP.
func (c *Conn) mayMerge(seg *wire.Segment) bool {
	o := &seg.Options
	if !c.b.cfg.Paired || c.phase != open || c.plain() || !c.b.joinsByCap() || o.Has&wire.HasRobE == 0 || o.Has&wire.HasCapable == 0 {
		return false
	}
	waiting := 0
	for _, f := range c.subflows {
		if !f.ready {
			waiting++
		}
	}
	if waiting >= c.b.cfg.Limits.HalfOpen {
		c.b.counters.LimitHalfOpen++
		return false
	}
	return true
}

// single reports whether f is the only subflow that ever carried anything: those that wait for their third ACK to be
// answered, or for a third ACK, did not.
func (c *Conn) single(f *subflow) bool {
	for _, g := range c.subflows {
		if g != f && (g.ready || g.join && !g.cap) {
			return false
		}
	}
	return true
}
