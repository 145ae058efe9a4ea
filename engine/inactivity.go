package engine

import (
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// Inactivity says how long connections may be idle; InactivityInfo is what both ends said of one.
type (
	Inactivity     = mptcp.Inactivity
	InactivityInfo = mptcp.InactivityInfo
)

// SetInactivity changes how long the connection may be idle, from now on, and tells the peer, or asks it to be as
// patient; 0: for ever as far as this end is concerned, of which the peer does not hear. Then it ends with ErrTimeout.
func (c *Conn) SetInactivity(d time.Duration, request bool) {
	c.bond.do(func(now clock.Time) { c.machine.SetInactivity(now, d, request) })
}
