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

// refuse answers seg with a reset, unless the address is gone that it was for.
func (s *strays) refuse(b *Bond, p *bondPath, seg *wire.Segment, why wire.Reset) {
	if seg.Flags&wire.RST != 0 || len(s.queue) >= straysMax || p.stage == expired {
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
