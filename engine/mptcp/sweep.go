package mptcp

import (
	"tandem/engine/clock"
	"tandem/engine/tcp"
)

// rid frees what only a busy connection needs, when all its subflows have done so.
func (c *Conn) rid() {
	for _, f := range c.subflows {
		if !f.tcp.Idle() {
			return
		}
	}
	for _, f := range c.subflows {
		f.chunks.rest()
		if len(f.maps) == 0 {
			f.maps = nil
		}
	}
	c.views = nil
	c.in.rest()
	if len(c.out.blocks) == 0 {
		c.out.blocks = nil
	}
	c.b.pool.trim()
}

// sweep removes the subflows that have ended and draws the consequences, which may end others, or open them in their place.
func (c *Conn) sweep(now clock.Time) {
	n := 0
	for _, f := range c.subflows {
		n += one(f.swept())
	}
	if n == 0 && (len(c.subflows) > 0 || c.phase != over) {
		return
	}
	ended, kept := make([]*subflow, 0, n), make([]*subflow, 0, len(c.subflows)-n)
	for _, f := range c.subflows {
		if f.swept() {
			ended = append(ended, f)
		} else {
			kept = append(kept, f)
		}
	}
	c.subflows = kept
	for _, f := range ended {
		c.remove(now, f)
	}
	if len(c.subflows) > 0 {
		return
	}
	if c.phase != over {
		c.orphaned(now, ended[len(ended)-1])
	}
	if c.phase == over && !c.gone {
		c.forget()
	}
}

// swept reports whether the subflow has ended and has nothing more to say.
func (f *subflow) swept() bool { return f.tcp.State() == tcp.Closed && !f.tcp.Pending() }
