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

// sweep removes the subflows that have ended and draws the consequences.
func (c *Conn) sweep(now clock.Time) {
	var last *subflow
	n := 0
	for _, f := range c.subflows {
		if f.tcp.State() == tcp.Closed && !f.tcp.Pending() {
			last = f
		} else {
			n++
		}
	}
	if last == nil && (n > 0 || c.phase != over) {
		return
	}
	ended := c.subflows
	c.subflows = make([]*subflow, 0, n)
	for _, f := range ended {
		if f.tcp.State() != tcp.Closed || f.tcp.Pending() {
			c.subflows = append(c.subflows, f)
		}
	}
	for _, f := range ended {
		if f.tcp.State() == tcp.Closed && !f.tcp.Pending() {
			c.remove(now, f)
		}
	}
	if len(c.subflows) > 0 {
		return
	}
	if c.phase != over {
		c.orphaned(now, last)
	}
	if c.phase == over && !c.gone {
		c.forget()
	}
}
