package tcp

import (
	"tandem/engine/clock"
	"tandem/engine/wire"
)

// ecn is RFC 3168 6.1.
type ecn struct {
	on      bool
	echo    bool   // ECE goes with every acknowledgement until CWR comes
	reduced bool   // CWR goes with the next new data
	until   uint64 // marks of octets before this belong to the last reduction
}

// arrived looks at the marks of a segment that came.
func (e *ecn) arrived(seg *wire.Segment, a *ackPolicy) {
	if !e.on {
		return
	}
	if seg.Flags&wire.CWR != 0 {
		e.echo = false
	}
	if seg.TOS&3 == wire.CE && len(seg.Payload) > 0 {
		a.due = a.due || !e.echo
		e.echo = true
	}
}

// echoed hears from the peer that something of ours was marked: once a window (6.1.2).
func (s *Subflow) echoed(now clock.Time, seg *wire.Segment, d *delivery) {
	// In a SYN/ACK ECE is an answer to an offer (6.1.1).
	if !s.ecn.on || seg.Flags&(wire.ECE|wire.SYN) != wire.ECE || s.snd.una <= s.ecn.until {
		return
	}
	sentAt := s.rack.at
	if d.any {
		sentAt = d.newest.SentAt
	}
	s.ecn.until, s.ecn.reduced = s.snd.nxt, true
	s.path.Marked(now, sentAt)
	s.loss.telling = true
}

// mark sets the bits of a segment about to leave. Only new data is ECN-capable (6.1.4, 6.1.5).
func (e *ecn) mark(seg *wire.Segment, fresh bool) {
	if !e.on {
		return
	}
	if e.echo {
		seg.Flags |= wire.ECE
	}
	if fresh {
		seg.TOS |= wire.ECT0
		if e.reduced {
			seg.Flags |= wire.CWR
			e.reduced = false
		}
	}
}
