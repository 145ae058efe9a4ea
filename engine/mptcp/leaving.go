package mptcp

import (
	"slices"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// close closes a subflow now, or when another is established.
func (c *Conn) close(now clock.Time, f *subflow, how Ending) error {
	c.bar(f.path)
	f.leaving = how
	if c.relieved(f) {
		f.leave(now)
		return nil
	}
	c.substitute(now)
	if !c.joining() {
		f.leaving = 0
		c.unbar(f.path)
		return ErrLast
	}
	return nil
}

// substitute opens a subflow over another path.
func (c *Conn) substitute(now clock.Time) {
	if !c.client {
		return
	}
	for _, p := range c.b.paths {
		if c.welcomes(p) {
			if _, err := c.OpenSubflow(now, SubflowOptions{Path: p.id}); err == nil {
				return
			}
		}
	}
}

// relieved reports whether another subflow can carry what f would have.
func (c *Conn) relieved(f *subflow) bool {
	return slices.ContainsFunc(c.subflows, func(g *subflow) bool { return g != f && g.leaving == 0 && !g.fin && g.canCarry() })
}

// joining reports whether another subflow may come.
func (c *Conn) joining() bool {
	return slices.ContainsFunc(c.subflows, func(f *subflow) bool { return f.live() && !f.ready && f.leaving == 0 }) || c.hopes()
}

// relieve closes the subflows that waited for others, here or at the peer.
func (c *Conn) relieve(now clock.Time) {
	for _, f := range c.subflows {
		switch {
		case !f.tcp.CanSend() || !c.relieved(f):
		case f.leaving != 0:
			f.leave(now)
		case f.fin:
			f.tcp.Close(now)
		}
	}
}

// forsaken looks for other subflows when the peer has closed its end of the only one.
func (c *Conn) forsaken(now clock.Time) {
	c.barred = nil
	c.joinAll(now)
}

// leave closes the subflow.
func (f *subflow) leave(now clock.Time) {
	c := f.c
	c.trace.add(now, evLeave, f.path.id, uint64(f.id))
	switch {
	case !f.ready && !f.join:
		f.drop(now)
	case !f.ready || f.leaving == ByReset:
		f.reset(now, wire.Unspecified, false)
		c.reinjectAll(f)
		f.letGo(unbounded)
	default:
		f.tcp.Abandon(now)
	}
	if f.withdraws {
		f.withdrew = true
		c.withdraw(f.path)
	}
}
