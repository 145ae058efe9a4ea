package tcp

import (
	"slices"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// begin starts the segment to be written next.
func (s *Subflow) begin(now clock.Time, flags wire.Flags) *wire.Segment {
	if s.desk == nil {
		s.desk = new(desk)
	}
	if s.timer.idle == clock.Never && s.state != Closed {
		s.timer.idle = now.Add(idleAfter)
	}
	seg := &s.desk.out
	*seg = wire.Segment{Source: s.cfg.Local, Target: s.cfg.Remote, TOS: s.cfg.TOS &^ 3, Flags: flags}
	if flags&wire.SYN == 0 && flags&wire.ACK != 0 {
		seg.Ack = s.rcv.seq(s.rcv.nxt)
	}
	return seg
}

// roomFor returns how many octets of options fit beside those that are there.
func (s *Subflow) roomFor(seg *wire.Segment) int { return wire.MaxOptions - seg.Options.Len() }

// write fetches the part's octets to their place in buf and puts the headers before them.
func (s *Subflow) write(seg *wire.Segment, buf []byte, p Part) []byte {
	if seg.Flags&(wire.SYN|wire.RST) == 0 {
		seg.Window = s.rcv.announce(s)
		s.ts.lastAck = s.rcv.nxt
		s.acked(!s.rcv.hasNews() || s.cfg.NoSACK || seg.Options.Has&wire.HasSACK != 0)
	}
	if p.Len > 0 {
		h := seg.HeaderLen()
		seg.Payload = buf[h : h+p.Len : cap(buf)]
		s.owner.Fetch(p.At, seg.Payload)
	}
	s.stats.SegmentsOut++
	pkt := seg.Append(buf[:0])
	seg.Payload = nil
	return pkt
}

// hasNews reports whether there is something that only a SACK option tells.
func (r *receiver) hasNews() bool { return len(r.have) > 0 || r.twice.left != r.twice.right }

// sackBlocks fills the SACK option: a duplicate first (RFC 2883 4), then the newest arrival, then what
// was told before (RFC 2018 4).
func (s *Subflow) sackBlocks(o *wire.Options) {
	r := &s.rcv
	if s.cfg.NoSACK || !r.hasNews() {
		return
	}
	most := min(len(o.SACK), (wire.MaxOptions-o.Len()-wire.SACKLen(0))/8)
	first := 0 // block that is no duplicate
	put := func(p span) {
		b := wire.Block{Left: r.seq(p.left), Right: r.seq(p.right)}
		if o.SACKs < most && !slices.Contains(o.SACK[first:o.SACKs], b) {
			o.SACK[o.SACKs] = b
			o.SACKs++
		}
	}
	if r.twice.left != r.twice.right {
		put(r.twice)
		first = o.SACKs
		if p, ok := r.have.around(r.twice.left); ok {
			put(p)
		}
		r.twice = span{}
	}
	for _, off := range r.recent {
		if p, ok := r.have.around(off); ok {
			put(p)
		}
	}
	for i := 0; i < len(r.have) && o.SACKs < most; i++ {
		put(r.have[i])
	}
	if o.SACKs > 0 {
		o.Has |= wire.HasSACK
	}
}
