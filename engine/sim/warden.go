package sim

import (
	"slices"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// A Warden is an Application that uses nothing: it looks now and then whether a host's bond keeps to
// its limits.
type Warden struct {
	User   *User
	Limits mptcp.Limits // all that matter set
	last   clock.Time
}

// wardenEvery is how often a warden looks.
const wardenEvery = clock.Time(10_000_000)

// Turn: see Application.
func (g *Warden) Turn(now clock.Time) bool {
	if now < g.last+wardenEvery {
		return false
	}
	g.last = now
	w, name := g.User.host.World, g.User.host.Name
	out, in, least := 0, 0, 0
	conns := slices.Clone(g.User.leeches)
	for _, s := range g.User.Streams {
		if s.Conn != nil && !s.Over {
			conns = append(conns, s.Conn)
		}
	}
	for _, c := range conns {
		info := c.Info(now)
		out, in, least = out+info.SendQueue, in+info.RecvQueue, least+16<<10
		if info.SendQueue > g.Limits.SendBuffer {
			w.Fail("%s: %v keeps %d octets to send, %d are allowed\n%s", name, c.Target(), info.SendQueue, g.Limits.SendBuffer, c.Trace())
		}
		if info.RecvQueue > g.Limits.RecvBuffer {
			w.Fail("%s: %v keeps %d octets received, %d are allowed\n%s", name, c.Target(), info.RecvQueue, g.Limits.RecvBuffer, c.Trace())
		}
		if n := len(info.Subflows); n > g.Limits.Subflows {
			w.Fail("%s: %v has %d subflows, %d are allowed\n%s", name, c.Target(), n, g.Limits.Subflows, c.Trace())
		}
	}
	if most := g.Limits.Buffered + least; out > most || in > most {
		w.Fail("%s keeps %d octets to send and %d received, %d are allowed", name, out, in, most)
	}
	return false
}

// Next: see Application.
func (g *Warden) Next() clock.Time { return clock.Never }
