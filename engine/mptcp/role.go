package mptcp

import (
	"tandem/engine/clock"
	"tandem/engine/datagram"
)

// Role is what a path is used for. The ends of a Paired bond need not agree: the lesser role counts.
type Role = datagram.Role

// The roles of a path.
const (
	Primary   = datagram.Primary   // used first
	Secondary = datagram.Secondary // used when no primary has room
	Backup    = datagram.Backup    // used when nothing else works
)

// role is what both ends want the path used for.
func (p *bondPath) role() Role { return max(p.wish(), p.peerRole) }

// dead reports whether nothing that is sent over the path can be expected to arrive.
func (p *bondPath) dead() bool { return p.silent || p.peerOff || p.stage == expired }

// SetRole changes the role of a path. A peer that is Paired is told so once, another of a backup by MP_PRIO
// on each of its subflows.
func (b *Bond) SetRole(now clock.Time, id PathID, role Role) {
	p := b.path(id)
	if p == nil || p.cfg.Role == role {
		return
	}
	p.cfg.Role = role
	b.retell(now, p) // one message for all subflows (D9)
	b.eachConn(func(c *Conn) {
		for _, f := range c.subflows {
			if f.path == p {
				f.setBackup(p.wish() == Backup)
			}
		}
		b.touch(now, c)
	})
}

// learnPath takes what the peer says of a path: what to use it for, and whether it uses it at all. One that
// it does not is left at once: what is outstanding there goes out elsewhere.
func (b *Bond) learnPath(now clock.Time, p *bondPath, s datagram.PathState) {
	was, role := p.peerOff, p.peerRole
	p.peerRole, p.peerOff = s.Role, s.State != datagram.Up || s.Role == datagram.Never
	p.peerPrice = priceOf(s)
	if l := limitsOf(s); l != p.pathLimits {
		p.pathLimits = l
		b.limit(now, p)
	}
	b.eachConn(func(c *Conn) {
		for _, f := range c.subflows {
			if f.path != p {
				continue
			}
			if p.peerRole != role {
				f.preferred(p.peerRole == Backup)
			}
			if p.peerOff && !was {
				f.doubt(now)
			}
		}
		if was && !p.peerOff {
			c.restore(now, p)
			c.meet(now, p)
		}
		c.strayed(now)
		b.touch(now, c)
	})
	if p.peerOff && !was {
		b.reroute(now, p)
	}
}

// doubt gives what the subflow holds to others.
func (f *subflow) doubt(now clock.Time) {
	if !f.suspect {
		f.suspect = true
		f.c.trace.add(now, evSuspect, f.path.id, uint64(f.tcp.Outstanding()))
		f.c.reinjectAll(f)
	}
}
