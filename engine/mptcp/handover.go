package mptcp

import (
	"slices"
	"time"

	"tandem/engine/clock"
	"tandem/engine/datagram"
	"tandem/engine/wire"
)

// AddressType is what the network promises of an address (RFC 8653 3.2, draft-defoy-mptcp-considerations-for-5g-01). The
// greater promises more, and may be dearer.
type AddressType uint8

// The types.
const (
	UnknownAddress AddressType = iota
	NonPersistent              // may go whenever the host moves
	SessionLasting             // stays while something uses it
	Fixed                      // stays
)

var addressTypeNames = [...]string{"unknown", "non-persistent", "session-lasting", "fixed"}

// String names the type.
func (t AddressType) String() string { return nameOf(addressTypeNames[:], t, "invalid") }

// ParseAddressType returns the type of a name that String gives; ok is false for others.
func ParseAddressType(name string) (t AddressType, ok bool) {
	return parseName[AddressType](addressTypeNames[:], name)
}

// misfit grades an address for a connection that wants another type: the least that suffices first, then those of which
// nothing is known, then those that promise too little.
func (t AddressType) misfit(wanted AddressType) int {
	switch {
	case wanted == UnknownAddress:
		return 0
	case t == UnknownAddress:
		return int(Fixed) + 1
	case t < wanted:
		return int(Fixed) + 1 + int(wanted-t)
	}
	return int(t - wanted)
}

// Lifetime is how long the addresses of a path last from now (RFC 4862 5.5.4). The zero Lifetime has no end.
//
//	added          Attach, with a lifetime if there is one
//	going away     SetLifetime: Preferred 0, Valid as announced
//	kept after all SetLifetime
//	lost           Detach, or Valid is over
//
// A path whose Preferred is over, or Valid but for a few seconds, is left: first it is a backup at both ends, so that
// new data take others, which are joined if need be. Shortly before Valid is over its subflows are closed and the peer is
// told over another one that the address is not to be used; where there is no other, not before there is. When Valid is
// over nothing is sent from the address any more, no FIN either, and the connections that have no other wait for a path
// as long as Config.Linger or the inactivity time let them.
type Lifetime struct {
	Preferred time.Duration // after that others are to be used; beyond Valid it means nothing
	Valid     time.Duration // after that the address is gone; 0: no end is known
}

const (
	// handoverLead is how long before its end a path is left whose lifetime could have been renewed and was not.
	handoverLead = 5 * time.Second

	// farewell is how long before the end its subflows are closed, but no more than half the time there is.
	farewell = time.Second
)

// handover is how far a path whose address has an end is left.
type handover struct {
	stage                handoverStage
	leaveAt, closeAt, at clock.Time // when the stages begin; Never: there is no end
}

type handoverStage uint8

const (
	staying handoverStage = iota
	leaving               // a backup: no new data while there is another
	closing               // its subflows are closed when another is there
	expired               // the address is gone
)

// planned returns what follows from a lifetime told now.
func planned(now clock.Time, l Lifetime) handover {
	h := handover{leaveAt: clock.Never, closeAt: clock.Never, at: clock.Never}
	if l.Valid <= 0 {
		return h
	}
	leave := max(min(l.Preferred, l.Valid-handoverLead), 0)
	h.leaveAt = now.Add(leave)
	h.closeAt = now.Add(l.Valid - min(farewell, (l.Valid-leave)/2))
	h.at = now.Add(l.Valid)
	return h
}

// due is the stage that is due.
func (h *handover) due(now clock.Time) handoverStage {
	switch {
	case h.at <= now:
		return expired
	case h.closeAt <= now:
		return closing
	case h.leaveAt <= now:
		return leaving
	}
	return staying
}

// next is when the next stage begins.
func (h *handover) next() clock.Time {
	return [...]clock.Time{staying: h.leaveAt, leaving: h.closeAt, closing: h.at, expired: clock.Never}[h.stage]
}

// SetLifetime says how long the addresses of a path last, from now. It revives one that is expired.
func (b *Bond) SetLifetime(now clock.Time, id PathID, l Lifetime) {
	p := b.path(id)
	if p == nil {
		return
	}
	stage := p.handover.stage
	p.handover = planned(now, l)
	due := p.due(now)
	p.handover.stage = stage
	if due < stage {
		b.keep(now, p)
	}
	b.shift(now, p)
}

// advanceHandovers begins the stages that are due.
func (b *Bond) advanceHandovers(now clock.Time) {
	for _, p := range b.paths {
		if p.handover.next() <= now {
			b.shift(now, p)
		}
	}
}

// shift goes through the stages of a path up to the one that is due.
func (b *Bond) shift(now clock.Time, p *bondPath) {
	for due := p.due(now); p.stage < due; {
		switch p.stage++; p.stage {
		case leaving:
			b.spare(now, p)
		case closing:
			b.depart(now, p)
		case expired:
			b.expire(now, p)
		}
	}
}

// spare makes a path a backup at both ends, and has connections join others.
func (b *Bond) spare(now clock.Time, p *bondPath) {
	if b.lane != nil {
		b.lane.tellPath(now, p, datagram.Up)
	}
	b.eachConn(func(c *Conn) {
		for _, f := range c.subflows {
			if f.path != p || !f.live() {
				continue
			}
			c.trace.add(now, evLeaving, p.id, uint64(p.at.Sub(now)/time.Millisecond))
			f.setBackup(true)
			c.need(now)
		}
		b.touch(now, c)
	})
}

// depart closes the subflows of a path, each when another can take its place.
func (b *Bond) depart(now clock.Time, p *bondPath) {
	if b.lane != nil && slices.ContainsFunc(b.paths, func(q *bondPath) bool { return q.stage == staying && !q.dead() }) {
		b.lane.tellPath(now, p, datagram.Off)
	}
	b.eachConn(func(c *Conn) {
		for _, f := range c.subflows {
			if f.path != p || !f.tcp.CanSend() || c.operable() != nil || f.leaving != 0 {
				continue
			}
			f.leaving, f.departs, f.withdraws = ByFIN, true, true
			if c.relieved(f) {
				f.leave(now)
			}
		}
		b.touch(now, c)
	})
}

// expire takes a path out of use: its address is gone.
func (b *Bond) expire(now clock.Time, p *bondPath) {
	b.lessons.forget(p.id)
	b.lane.detach(now, p)
	b.reroute(now, p)
	b.eachConn(func(c *Conn) {
		c.lose(now, p)
		b.touch(now, c)
	})
}

// keep uses a path again that was being left.
func (b *Bond) keep(now clock.Time, p *bondPath) {
	was := p.stage
	p.stage = staying
	switch {
	case b.lane == nil:
	case was == expired:
		b.lane.attach(now, p)
	default:
		b.lane.tellPath(now, p, datagram.Up)
	}
	b.eachConn(func(c *Conn) {
		for _, f := range c.subflows {
			if f.path != p {
				continue
			}
			if f.departs && f.tcp.CanSend() {
				f.leaving, f.departs, f.withdraws = 0, false, false
			}
			f.setBackup(p.wish() == Backup)
		}
		c.meet(now, p)
		b.touch(now, c)
	})
}

// wish is what this end wants the path used for now.
func (p *bondPath) wish() Role {
	if p.stage != staying {
		return max(p.cfg.Role, Backup)
	}
	return p.cfg.Role
}

// lasts reports whether a connection may have more subflows over the path: one that ends serves who has no other.
func (c *Conn) lasts(p *bondPath) bool {
	if p.stage == staying {
		return true
	}
	return p.stage != expired && !slices.ContainsFunc(c.subflows, func(f *subflow) bool { return f.live() })
}

// withdraw tells the peer over another subflow that the addresses of a path are not to be used any more (RFC 8684
// 3.4.2); when there is none, over the next that comes.
func (c *Conn) withdraw(p *bondPath) {
	s := &c.signal
	s.mine = slices.DeleteFunc(s.mine, func(a announced) bool {
		return a.addr == p.cfg.Local4 || a.addr == p.cfg.Local6
	})
	if c.plain() {
		return
	}
	for _, id := range c.unname(p) {
		if r := &s.gone; r.N < len(r.IDs) && !slices.Contains(r.IDs[:r.N], id) {
			r.IDs[r.N] = id
			r.N++
		}
	}
	if f := c.speaker(); f != nil {
		c.tellGone(f)
	}
}

// tellGone has REMOVE_ADDR leave on a subflow for the addresses of which the peer has not heard that they are gone, but
// for those that came again.
func (c *Conn) tellGone(f *subflow) {
	var r wire.RemoveAddr
	for _, id := range c.signal.gone.IDs[:c.signal.gone.N] {
		if !slices.ContainsFunc(c.subflows, func(g *subflow) bool { return g.localID == id && g.live() && g.leaving == 0 }) {
			r.IDs[r.N] = id
			r.N++
		}
	}
	c.signal.gone = wire.RemoveAddr{}
	if r.N > 0 {
		f.signal(signal{kind: signalRemove, remove: r})
	}
}
