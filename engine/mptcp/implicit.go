package mptcp

import "tandem/engine/clock"

// Ignore forgets an offer without a word: somebody else answers it, such as the target itself, when a proxy that packets
// pass finds that it is not needed.
func (c *Conn) Ignore(now clock.Time) error {
	if c.phase != offered {
		return ErrNotOffer
	}
	for _, f := range c.subflows {
		f.tcp.Drop(now)
	}
	c.finish(now, ErrAborted)
	c.b.touch(now, c)
	return nil
}
