package mptcp

import "testing"

// The application may write ahead of what was sent, also while octets before that have not arrived: the
// paths would run dry just when what was lost has to be sent again.
func TestApplicationWritesAheadOfWhatWasSent(t *testing.T) {
	s := agreed(t, Config{}, 1)
	before := s.c.out.limit.Load()
	s.write(string(octets(0, 2800)))
	s.skip()
	s.recv("0 . 1 ack 2801 <dss ack8 1>")
	if got := s.c.out.limit.Load(); s.c.snd.una != 0 || got < before+2800 {
		t.Errorf("may write up to %d, before %d, acknowledged %d", got, before, s.c.snd.una)
	}
}

// It is not allowed more than the limit.
func TestApplicationWritesNoFurtherThanAllowed(t *testing.T) {
	s := agreed(t, Config{Limits: Limits{SendBuffer: 4000}}, 1)
	s.write(string(octets(0, 2800)))
	s.skip()
	s.recv("0 . 1 ack 2801 <dss ack8 1>")
	if got := s.c.out.limit.Load(); got != 4000 {
		t.Errorf("may write up to %d before anything is acknowledged, want 4000", got)
	}
	s.recv("0 . 1 ack 2801 <dss ack8 2801>")
	if got := s.c.out.limit.Load(); got != 6800 {
		t.Errorf("may write up to %d, want 6800", got)
	}
}
