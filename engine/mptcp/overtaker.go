package mptcp

import (
	"slices"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// An overtaker is MP_JOIN in a SYN that came before the third ACK of the connection that it names. Who knows the token has
// seen our SYN/ACK, so that ACK is under way, and with it the key without which there is no answer (RFC 8684 3.2). A Paired
// peer joins so early only when the path has gone over which it sent that ACK: if the join has come overtakerCopies times,
// after waits that double, the ACK is lost rather than in a long queue, and the peer is to know.
type overtaker struct {
	path   *bondPath
	seg    wire.Segment
	copies int
}

const overtakerCopies = 3

// overtaken keeps such a SYN until the third ACK comes, and reports whether nothing is left to be done about it.
func (c *Conn) overtaken(p *bondPath, seg *wire.Segment) bool {
	if c.client || c.phase != opening || !c.id.mptcp {
		return false
	}
	i := slices.IndexFunc(c.overtakers, func(o overtaker) bool { return o.seg.Source == seg.Source && o.seg.Target == seg.Target })
	switch {
	case i >= 0:
		if c.overtakers[i].copies++; c.b.cfg.Paired && c.overtakers[i].copies == overtakerCopies {
			c.overtakers = slices.Delete(c.overtakers, i, i+1)
			return false
		}
	case len(c.overtakers) >= c.b.cfg.Limits.HalfOpen:
		c.b.counters.LimitHalfOpen++
		c.b.strays.refuse(c.b, p, seg, wire.Reset{Reason: wire.LackOfResources, Transient: true})
	default:
		o := overtaker{p, *seg, 1}
		o.seg.Payload = nil // belongs to the packet
		c.overtakers = append(c.overtakers, o)
	}
	return true
}

// answerOvertakers takes those SYNs as if they came now: the connection is established, or there will be none.
func (c *Conn) answerOvertakers(now clock.Time) {
	all := c.overtakers
	c.overtakers = nil
	for i := range all {
		o := &all[i]
		if _, taken := c.b.flows[keyOf(o.seg.Target, o.seg.Source)]; !taken && !o.path.gone {
			c.b.receiveJoinSYN(now, o.path, &o.seg)
		}
	}
}
