package tcp

import (
	"tandem/engine/clock"
	"tandem/engine/path"
	"tandem/engine/wire"
)

// A delivery is what one segment told about ours.
type delivery struct {
	newest    path.Stamp // of the record sent last
	any       bool       // something arrived
	original  bool       // something arrived that was sent once, before the last timeout or loss
	again     bool       // all that arrived had been sent more than once
	nothing   bool       // a duplicate acknowledgement
	duplicate bool       // the peer reports a duplicate (RFC 2883)
}

// acknowledge handles SEG.ACK, window, SACK and ECE of a segment that passed the checks (RFC 9293
// 3.10.7.4, fifth step). It costs what is newly acknowledged, not what is in flight.
func (s *Subflow) acknowledge(now clock.Time, seg *wire.Segment, ack uint64) {
	d := delivery{again: true}
	advanced := ack > s.snd.una
	if !advanced && ack == s.snd.una {
		d.nothing = s.countDuplicate(seg)
	}
	windowed := s.updateWindow(seg, ack)
	if advanced {
		s.advance(now, ack, &d)
	}
	if seg.Options.Has&wire.HasSACK != 0 && !s.cfg.NoSACK {
		s.scoreboard(now, seg, ack, &d)
	}
	s.echoed(now, seg, &d)
	s.judge(now, seg, &d, advanced)
	if d.any {
		s.sampleEcho(now, seg, &d)
	}
	s.told(now)
	if d.any || advanced {
		s.armRetransmit(now)
		s.armTail(now)
	}
	if windowed || advanced {
		s.windowOpened()
	}
	if advanced || s.snd.wnd == 0 {
		s.loss.fired = 0 // it is there (RFC 9293 3.8.6.1)
	}
	if advanced {
		s.owner.Acked(now, s, min(ack, s.snd.queue.end))
		s.closeStep(now)
	}
}

// updateWindow takes SEG.WND unless the segment is older than the last that was taken.
func (s *Subflow) updateWindow(seg *wire.Segment, ack uint64) bool {
	d := &s.snd
	if ack > d.una || ack == d.una && (d.wl1.Less(seg.Seq) || d.wl1 == seg.Seq && d.wl2 <= ack) {
		d.window(seg, ack, s.shift(seg))
		return true
	}
	return false
}

// advance frees what is acknowledged cumulatively.
func (s *Subflow) advance(now clock.Time, ack uint64, d *delivery) {
	f := &s.snd.flight
	for f.len() > 0 {
		r := f.get(f.head)
		if r.end() > ack {
			if r.off < ack {
				f.trim(f.head, ack)
			}
			break
		}
		s.delivered(now, r, d)
		f.pop()
	}
	s.snd.una = ack
	s.snd.sacks.cut(ack)
	s.loss.backoff, s.loss.dupAcks = 0, 0
}

// delivered tells the path, RACK and the recoveries that a record arrived.
func (s *Subflow) delivered(now clock.Time, r *record, d *delivery) {
	switch r.fate {
	case sacked, held:
		return
	case inAir:
		if r.size > 0 {
			s.path.Acked(now, r.stamp, int(r.size), r.sent > 1)
			s.snd.inPath -= int(r.size)
			s.loss.telling = true
		}
		if r.probe {
			s.path.Probed(now, int(r.size), true)
		}
	case lost:
		if r.size > 0 {
			s.path.Late(now, r.stamp, int(r.size), r.sent > 1)
			s.loss.telling = true
			s.loss.octets = max(0, s.loss.octets-int(r.size))
			s.stats.Spurious++
		}
	}
	if !d.any || r.stamp.SentAt > d.newest.SentAt {
		d.newest = r.stamp
	}
	d.any = true
	if r.sent == 1 {
		d.again = false
		d.original = d.original || r.end() <= s.loss.recover
	}
	s.rack.update(now, r, s.rttMin())
}

// judge decides what is lost after a segment told what arrived.
func (s *Subflow) judge(now clock.Time, seg *wire.Segment, d *delivery, advanced bool) {
	s.judgeTail(now, d)
	s.judgeTimeout(now, seg, d, advanced)
	s.rack.duplicates(d.duplicate, s.snd.una, s.snd.nxt)
	if s.loss.active && s.snd.una >= s.loss.recover {
		s.loss.active, s.loss.allow = false, 0
		s.rack.recovered()
	}
	switch {
	case !s.cfg.NoSACK:
		s.detect(now)
	case advanced && s.loss.active && s.loss.frto == 0, !s.loss.active && s.loss.dupAcks == dupThresh:
		s.loseFirst(now)
	}
}

// dupThresh is DupThresh of RFC 5681 3.2 and RFC 6675 2.
const dupThresh = 3

// countDuplicate counts acknowledgements that say nothing new (RFC 5681 2). One that left for the sake of an option
// of MPTCP other than DSS is no sign that a segment is missing (RFC 8684 3.4).
func (s *Subflow) countDuplicate(seg *wire.Segment) bool {
	if s.snd.flight.len() == 0 || seg.Len() > 0 || s.PeerWindow(seg) != s.snd.wnd || signals(seg) {
		return false
	}
	s.stats.DupAcks++
	s.loss.dupAcks++
	return true
}

// signals reports whether a segment may have left for the sake of an option.
func signals(seg *wire.Segment) bool { return seg.Options.Has&(wire.HasMPTCP&^wire.HasDSS) != 0 }

// loseFirst judges the first record lost: fast retransmit and partial acknowledgements without SACK
// (RFC 6582 3.2).
func (s *Subflow) loseFirst(now clock.Time) {
	f := &s.snd.flight
	if f.len() > 0 && f.get(f.head).fate == inAir {
		s.loss.allow = 1
		s.lose(now, f.head)
	}
}

// lose takes a record in the air for lost. A lost probe of the MTU is no congestion (RFC 8899 3).
func (s *Subflow) lose(now clock.Time, id uint32) {
	r := s.snd.flight.get(id)
	size := int(r.size)
	if r.probe {
		s.dropped(id)
		s.path.Probed(now, size, false)
		return
	}
	s.snd.flight.settle(id, lost)
	s.snd.inPath -= size
	s.enterRecovery()
	if size > 0 {
		s.path.Lost(now, r.stamp, size)
		s.loss.octets += size
		s.loss.telling = true
	}
}

// told ends a report to the path.
func (s *Subflow) told(now clock.Time) {
	if s.loss.telling {
		s.loss.telling = false
		s.path.Done(now)
	}
}
