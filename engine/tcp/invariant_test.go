package tcp

import (
	"fmt"
	"testing"

	"tandem/engine/clock"
)

func checkInvariants(t testing.TB, s *Subflow) {
	t.Helper()
	if err := broken(s); err != nil {
		t.Fatalf("broken: %v", err)
	}
}

// broken returns which invariant of a subflow does not hold.
func broken(s *Subflow) error {
	d, f, r := &s.snd, &s.snd.flight, &s.rcv
	if d.una > d.nxt || d.nxt > d.queue.end+1 {
		return fmt.Errorf("una %d nxt %d end %d", d.una, d.nxt, d.queue.end)
	}
	off, sum, recs, booked := d.una, 0, 0, s.tlp.size
	var air, gone int
	for id := f.head; id != f.tail; id++ {
		x := f.get(id)
		if x.off != off {
			return fmt.Errorf("record at %d, want %d", x.off, off)
		}
		off = x.end()
		switch x.fate {
		case sacked:
			sum += int(x.n)
			recs++
		case inAir:
			air++
			booked += int(x.size)
		case lost:
			gone++
		}
	}
	if s.state == Closed && s.Deadline() != clock.Never {
		return fmt.Errorf("closed, and waits for %v", s.Deadline())
	}
	if off != d.nxt {
		return fmt.Errorf("records end at %d, nxt %d", off, d.nxt)
	}
	if sum != f.sacked || recs != f.sackedRecs || air != f.air.n || gone != f.lost.n {
		return fmt.Errorf("counted %d sacked in %d, %d in the air, %d lost; kept %d, %d, %d, %d", sum, recs, air, gone, f.sacked, f.sackedRecs, f.air.n, f.lost.n)
	}
	if s.state != Closed && booked != d.inPath {
		return fmt.Errorf("records weigh %d in the path, booked %d", booked, d.inPath)
	}
	for _, l := range []struct {
		list
		fate fate
	}{{f.air, inAir}, {f.lost, lost}} {
		id := l.first
		for n := range l.n {
			if f.get(id).fate != l.fate {
				return fmt.Errorf("record %d in the wrong list", id)
			}
			if n == l.n-1 && id != l.last {
				return fmt.Errorf("list ends at %d, not %d", id, l.last)
			}
			id = f.get(id).next
		}
	}
	for i, p := range r.have {
		if p.left >= p.right || p.left <= r.nxt || i > 0 && p.left <= r.have[i-1].right {
			return fmt.Errorf("ranges %v, nxt %d", r.have, r.nxt)
		}
	}
	if len(r.have) > rangesMax+1 {
		return fmt.Errorf("%d ranges", len(r.have))
	}
	if f.len() > 0 && s.state >= Established && s.state != TimeWait && s.timer.retransmit == clock.Never {
		return fmt.Errorf("outstanding and no timer")
	}
	return nil
}
