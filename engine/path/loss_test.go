package path

import (
	"testing"
	"time"
)

// Loss is that of late: it falls by half every two seconds that nothing is lost, and what is long ago is
// forgotten.
func TestLossIsOfLate(t *testing.T) {
	s := play(t)
	if s.p.Loss(s.now) != 0 {
		t.Fatal("a loss before anything was sent")
	}
	for range 50 {
		s.ack(s.send())
		s.lose(s.send())
	}
	if l := s.p.Loss(s.now); l != 0.5 {
		t.Fatalf("%v of which half was lost", l)
	}
	s.advance(10 * time.Second)
	for range 100 {
		s.ack(s.send())
	}
	if l := s.p.Loss(s.now); l <= 0 || l > 0.02 {
		t.Fatalf("%v ten seconds later", l)
	}
	s.advance(time.Minute)
	if l := s.p.Loss(s.now); l != 0 {
		t.Fatalf("%v a minute later", l)
	}
	s.advance(24 * 365 * time.Hour)
	s.lose(s.send())
	if l := s.p.Loss(s.now); l != 1 {
		t.Fatalf("%v of one packet, a year later", l)
	}
}

// What arrived after all was not lost.
func TestLossUndone(t *testing.T) {
	s := play(t)
	s.ack(s.send())
	st := s.send()
	s.lose(st)
	s.p.Late(s.now, st, testMTU, false)
	s.p.Done(s.now)
	if l := s.p.Loss(s.now); l != 0 {
		t.Fatal(l)
	}
}
