package tcp

import (
	"tandem/engine/clock"
	"tandem/engine/wire"
)

// scoreboard takes the SACK blocks of a segment (RFC 2018 5), in the order of their octets: what one segment
// tells says nothing of the order of arrival. A record counts as arrived when blocks cover all of it.
func (s *Subflow) scoreboard(now clock.Time, seg *wire.Segment, ack uint64, d *delivery) {
	o := &seg.Options
	var blocks [len(o.SACK)]span
	n := 0
	for i, b := range o.SACK[:min(o.SACKs, len(o.SACK))] {
		left, right := s.snd.offset(b.Left), s.snd.offset(b.Right)
		if left >= right || right > int64(s.snd.nxt) || right < 0 {
			continue
		}
		if i == 0 && s.isDuplicate(o, left, right, ack) {
			d.duplicate = true
			s.duplicated(now, left, right)
			continue
		}
		if left >= int64(s.snd.una) {
			k := n
			for n++; k > 0 && blocks[k-1].left > uint64(left); k-- {
				blocks[k] = blocks[k-1]
			}
			blocks[k] = span{uint64(left), uint64(right)}
		}
	}
	for _, p := range blocks[:n] {
		s.cover(now, p, d)
	}
}

// isDuplicate reports whether the first block tells of octets that came twice (RFC 2883 4).
func (s *Subflow) isDuplicate(o *wire.Options, left, right int64, ack uint64) bool {
	if right <= int64(ack) {
		return true
	}
	return o.SACKs > 1 && s.snd.offset(o.SACK[1].Left) <= left && right <= s.snd.offset(o.SACK[1].Right)
}

// cover marks the records within p that were not marked before.
func (s *Subflow) cover(now clock.Time, p span, d *delivery) {
	f := &s.snd.flight
	for p.left < p.right {
		g := s.snd.sacks.gap(p)
		if g.left >= g.right {
			return
		}
		id := f.find(g.left)
		if id != f.tail && f.get(id).off < g.left {
			id++
		}
		first := id
		for ; id != f.tail && f.get(id).end() <= g.right; id++ {
			s.delivered(now, f.get(id), d)
			f.settle(id, sacked)
		}
		if id != first {
			s.snd.sacks.add(span{f.get(first).off, f.get(id - 1).end()})
		}
		p.left = g.right
	}
}

// duplicated counts a reported duplicate against the retransmissions of this recovery: when all were
// needless, so was the reduction (RFC 3708 3).
func (s *Subflow) duplicated(now clock.Time, left, right int64) {
	if s.tlp.end != 0 && s.tlp.again && right >= int64(s.tlp.end)-1 {
		s.tlp.needless = true
		return
	}
	l, p := &s.loss, span{uint64(max(left, 0)), uint64(right)}
	if g := l.resent.gap(p); l.again == 0 || g.left < g.right {
		return // the network doubled it
	}
	s.stats.Spurious++
	s.rack.reordered = true // the first copy came after it was judged lost
	if l.again--; l.again == 0 {
		s.path.Spurious(now, l.octets)
		l.octets = 0
	}
}

// renege forgets what the peer said it had: it may throw it away (RFC 2018 8).
func (s *Subflow) renege() {
	f := &s.snd.flight
	for id := f.head; id != f.tail; id++ {
		if r := f.get(id); r.fate == sacked {
			r.size = 0
			f.settle(id, lost)
		}
	}
	s.snd.sacks = s.snd.sacks[:0]
}
