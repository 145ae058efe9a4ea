package mptcp

import (
	"testing"

	"tandem/engine/path"
)

// climb has a controller time out, hears of some acknowledgements for it, and returns the window that it comes to.
func climb(c path.Control) int {
	c.OnTimeout(0)
	for range 200 {
		c.OnAck(path.Sample{Acked: 1500, Sent: c.Window(), RTTSmooth: 100 * ms})
	}
	return c.Window()
}

// A flow that joins with its third ACK brings its congestion controller: from then on that is coupled with those of the
// connection's other flows, as long as there are any (RFC 6356).
func TestMergedFlowIsCoupled(t *testing.T) {
	for _, name := range []string{"lia", "balia"} {
		s := newMerged(t, Config{Control: name})
		s.recv(thirdOfFirst)
		for first := s.c.subflows[0].cc; first.Window() < 50*1500; {
			first.OnAck(path.Sample{Acked: 1500, Sent: first.Window(), RTTSmooth: 100 * ms})
		}
		cc := s.conns[1].subflows[0].cc
		alone := climb(cc)
		s.recv(capOf(keyA, keyB))
		s.living(2)
		coupled := climb(cc)
		s.recv("0 R. 1 ack 1")
		s.living(1)
		if again := climb(cc); 4*coupled > 3*alone || 5*again < 4*alone {
			t.Errorf("%s: the window comes to %d, coupled to %d, then to %d", name, alone, coupled, again)
		}
	}
}

// It gets a number of its own, and whoever watches the connection is told of it.
func TestMergedFlowIsNumbered(t *testing.T) {
	s := newMerged(t, Config{})
	s.c.Watch()
	s.recv(thirdOfFirst, capOf(keyA, keyB))
	s.events("added 1, established 1, added 2, established 2")
}

// It is measured together with the others: what comes back later over one path went there sooner.
func TestMergedFlowIsMeasured(t *testing.T) {
	s := newMerged(t, Config{Scheduler: "owl", Timestamps: true})
	s.recv(thirdOfFirst, capOf(keyA, keyB))
	s.living(2)
	for i, f := range s.c.subflows {
		f.state.RTTSample(s.now, 100*ms)
		f.state.Stamped(s.now, uint32(1000-40*i))
	}
	first, second := s.c.subflows[0].state.Forward(s.now), s.c.subflows[1].state.Forward(s.now)
	if first-second != 40*ms {
		t.Errorf("%v there over one path, %v over the other", first, second)
	}
}
