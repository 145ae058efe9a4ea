package mptcp

import "tandem/engine/wire"

// strays are resets for segments that belong to nothing (RFC 9293 3.5.2).
type strays struct{ queue []stray }

type stray struct {
	path PathID
	seg  wire.Segment
}

// straysMax bounds the queue; beyond it segments that belong to nothing are ignored.
const straysMax = 64

// refuse answers seg with a reset, unless the address that it was for is gone, or another's.
func (s *strays) refuse(b *Bond, p *bondPath, seg *wire.Segment, why wire.Reset) {
	if seg.Flags&wire.RST != 0 || p.stage == expired || !b.answersFor(seg.Target.Addr()) {
		return
	}
	if len(s.queue) == straysMax {
		b.counters.LimitStrays++
		return
	}
	r := wire.Segment{Source: seg.Target, Target: seg.Source, Flags: wire.RST}
	if seg.Flags&wire.ACK != 0 {
		r.Seq = seg.Ack
	} else {
		r.Flags |= wire.ACK
		r.Ack = seg.Seq.Add(seg.Len())
	}
	if seg.Options.Has&wire.HasMPTCP != 0 {
		r.Options.Has = wire.HasReset
		r.Options.Reset = why
	}
	s.queue = append(s.queue, stray{p.id, r})
}

// transmit writes the oldest reset into buf.
func (s *strays) transmit(buf []byte) (PathID, []byte, bool) {
	if len(s.queue) == 0 {
		return 0, nil, false
	}
	x := &s.queue[0]
	id, pkt := x.path, x.seg.Append(buf[:0])
	s.queue = s.queue[1:]
	return id, pkt, true
}
