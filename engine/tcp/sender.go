package tcp

import (
	"tandem/engine/clock"
	"tandem/engine/wire"
)

// sender is the outgoing half. Its numbers are offsets: the first octet after the SYN has 0, and the
// FIN counts one.
//
//	   una            nxt         queue.end
//	────┴──── flight ──┴── queue ────┴────     edge: where the peer's window ends
type sender struct {
	iss      wire.Seq
	wl1      wire.Seq // SND.WL1
	una, nxt uint64
	edge     uint64
	wnd      int // as last announced, scaled
	wndMax   int
	wl2      uint64 // SND.WL2
	mss      int    // that the peer announced
	scale    uint8  // of its windows
	options  int    // octets of options in the last segment with data
	inPath   int    // octets that the path counts in flight for this subflow
	queue    queue
	flight   flight
	sacks    spans // selectively acknowledged; only whole records
}

// seq returns the sequence number of an offset.
func (d *sender) seq(off uint64) wire.Seq { return d.iss.Add(1) + wire.Seq(off) }

// offset returns the offset of a sequence number near una; -1 is the SYN.
func (d *sender) offset(q wire.Seq) int64 { return int64(d.una) + int64(q.Sub(d.seq(d.una))) }

// acked returns the offset of SEG.ACK; what lies before the first octet says nothing.
func (d *sender) acked(seg *wire.Segment) uint64 { return uint64(max(0, d.offset(seg.Ack))) }

// window takes the window that seg announces.
func (d *sender) window(seg *wire.Segment, ack uint64, shift uint8) {
	d.wnd = int(seg.Window) << shift
	d.wndMax = max(d.wndMax, d.wnd)
	d.wl1, d.wl2 = seg.Seq, ack
	d.edge = ack + uint64(d.wnd)
}

// usable is how many octets the peer's window admits beyond nxt.
func (d *sender) usable() int {
	if d.edge <= d.nxt {
		return 0
	}
	return int(d.edge - d.nxt)
}

// PeerWindow returns the window that seg announces, scaled.
func (s *Subflow) PeerWindow(seg *wire.Segment) int { return int(seg.Window) << s.shift(seg) }

// shift is the scale of seg's window: a SYN's is never scaled (RFC 7323 2.2).
func (s *Subflow) shift(seg *wire.Segment) uint8 {
	if seg.Flags&wire.SYN != 0 {
		return 0
	}
	return s.snd.scale
}

// Queued returns the octets pushed that have not left yet.
func (s *Subflow) Queued() int { return int(s.snd.queue.end - min(s.snd.nxt, s.snd.queue.end)) }

// Outstanding returns the octets that have left and are not acknowledged, selectively or otherwise.
func (s *Subflow) Outstanding() int {
	end := s.snd.queue.end
	return int(min(s.snd.nxt, end)-min(s.snd.una, end)) - s.snd.flight.sacked
}

// maySend reports whether new data may be sent in this state. Before the third ACK it may when
// data may ride in a SYN (RFC 7413 4.2.2).
func (s *Subflow) maySend() bool {
	switch s.state {
	case Established, CloseWait, FinWait1, Closing, LastAck:
		return true
	case SynReceived:
		return s.cfg.Early && s.handshake.tries > 0 && !s.handshake.active
	}
	return false
}

// newRecord returns the record of a part about to leave.
func newRecord(p Part, fin bool) record {
	return record{
		off: p.Off, at: p.At, n: uint32(p.Len), into: uint32(p.Off - p.Chunk.Off),
		chunk: uint32(p.Chunk.Len), fin: fin,
	}
}

// trim drops what lies before off.
func (f *flight) trim(id uint32, off uint64) {
	r := f.get(id)
	k := uint32(off - r.off)
	if r.fate == sacked {
		f.sacked -= int(k)
	}
	r.off, r.at, r.into, r.n = off, r.at+uint64(k), r.into+k, r.n-k
}

// Room returns how many octets pushed now could leave at once: what window, pacing and the peer's
// subflow-level window allow beyond what was pushed already; 0 unless data may be sent in this state.
// After a timeout in doubt a segment may wait, which will ask (RFC 5682 3, step 2b).
func (s *Subflow) Room(now clock.Time) int {
	if !s.maySend() || s.end.closing {
		return 0
	}
	d := &s.snd
	if d.edge <= d.queue.end || d.flight.lost.n > 0 {
		return 0
	}
	size, mss := s.packetMax(), s.MSS()
	if s.loss.frto == 1 && s.Queued() == 0 {
		return min(mss, int(d.edge-d.queue.end))
	}
	free := s.pathRoom(now) - (s.Queued()+mss-1)/mss*size
	if free <= 0 {
		return 0
	}
	return min((free+size-1)/size*mss, int(d.edge-d.queue.end))
}

// OldestSentAt returns when the first segment that is not acknowledged left last; Never without one.
func (s *Subflow) OldestSentAt() clock.Time {
	f := &s.snd.flight
	for id := f.head; id != f.tail; id++ {
		if r := f.get(id); r.fate != sacked && r.sent > 0 {
			return r.stamp.SentAt
		}
	}
	return clock.Never
}
