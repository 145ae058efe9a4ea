package mptcp

import (
	"testing"
	"time"

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
	if off := first - second - 40*ms; off.Abs() > ms {
		t.Errorf("%v there over one path, %v over the other", first, second)
	}
}

// A connection takes no more of them than it may have subflows.
func TestMergedFlowsAreLimited(t *testing.T) {
	s := newMerged(t, Config{Limits: Limits{Subflows: 1}})
	s.recv(thirdOfFirst, capOf(keyA, keyB))
	s.want("1 R. 1 ack 1 <reset lack of resources transient>")
	s.living(1)
	if n := s.b.Counters().LimitSubflows; n != 1 {
		t.Errorf("%d counted", n)
	}
}

// What a Paired peer takes to answer a SYN is no round trip, but what it takes to answer MP_JOIN_CAP is: unless that was
// repeated, the path is known, and used, from then on. Else the lane asks.
func TestMergedFlowIsTimed(t *testing.T) {
	for _, took := range []time.Duration{70 * ms, 1100 * ms} {
		s := newLane(t, true, Config{Establish: ESIM}, 2)
		s.dial(DialOptions{})
		s.skip()
		s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B, robe>", "1 S. 0 ack 1 <capable v1 flags 01 key-B, robe>", "0 . 1 ack 1 <dss ack8 1>")
		s.advance(took)
		s.skip()
		lost, asked := s.c.subflows[1].acks > 1, 0
		s.lane = func(id PathID, _ []byte) { asked += int(id) }
		s.recv("1 . 1 ack 1 <dss ack8 1>")
		s.skip()
		rtt, _, _ := s.b.path(1).state.RTT()
		if lost != (took > second) || lost && (rtt != 0 || asked == 0) || !lost && (rtt != took || asked != 0) {
			t.Errorf("after %v, lost %v: a round trip of %v, asked over path %d", took, lost, rtt, asked)
		}
	}
}
