package mptcp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/datagram"
	"tandem/engine/path"
	"tandem/engine/wire"
)

// owls returns an open connection over two paths of a bond that measures, with a backup beside them, and how many
// packets of the lane leave on each.
func owls(t *testing.T, scheduler string) (s *laneScript, asked *[3]int) {
	t.Helper()
	s = newLane(t, true, Config{Control: "cubic", Scheduler: scheduler}, 3)
	s.b.SetRole(s.now, 2, Backup)
	s.dial(DialOptions{})
	s.skip()
	s.advance(20 * ms)
	s.talk()
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>", "0 . 1 ack 1 <dss ack8 1>")
	s.skip()
	for _, path := range []string{"1", "2"} {
		s.recv(path+" S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>", path+" . 1 ack 1 <dss ack8 1>")
		s.skip()
	}
	s.advance(time.Second)
	s.talk()
	asked = new([3]int)
	there := s.lane
	s.lane = func(id PathID, pkt []byte) {
		asked[id]++
		there(id, pkt)
	}
	return s, asked
}

// pass lets time pass in which the peer answers what the lane asks.
func (s *laneScript) pass(long time.Duration) {
	for range long / (10 * ms) {
		s.advance(10 * ms)
		s.talk()
	}
}

// Paths are asked while octets are outstanding, five times a second, those that serve as backup not; and only if
// the scheduler wants to know.
func TestPathsAreMeasuredWhileSomebodySends(t *testing.T) {
	for scheduler, each := range map[string]int{"owl": 2, "": 0, "cost": 0} {
		s, asked := owls(t, scheduler)
		if s.pass(10 * second); *asked != [3]int{} {
			t.Errorf("%q: %v packets though nobody sends", scheduler, *asked)
		}
		acks := [3]int{1, 1, 1}
		for n := range 39 {
			s.c.Write([]byte("."))
			s.c.Poke(s.now)
			s.collect()
			s.skip()
			s.pass(10 * ms)
			for _, f := range s.c.subflows {
				if f.tcp.Outstanding() > 0 {
					acks[f.path.id]++
					s.recv(fmt.Sprintf("%d . 1 ack %d <dss ack8 %d>", f.path.id, acks[f.path.id], n+2))
				}
			}
		}
		if *asked != [3]int{each, each, 0} {
			t.Errorf("%q: %v packets while octets are outstanding", scheduler, *asked)
		}
		s.pass(250 * ms)
		*asked = [3]int{}
		if s.pass(10 * second); *asked != [3]int{} {
			t.Errorf("%q: %v packets though all has come", scheduler, *asked)
		}
	}
}

// A path that is silent is asked by who watches for that, not here.
func TestSilentPathsAreNotMeasured(t *testing.T) {
	s, asked := owls(t, "owl")
	m := &s.b.measuring
	s.b.path(1).silent = true
	m.at = s.now
	s.b.advanceMeasuring(s.now)
	s.talk()
	if *asked != [3]int{1, 0, 0} {
		t.Errorf("%v", *asked)
	}
	m.arm(s.now, true)
	if m.at != m.last.Add(measureEvery) || s.b.Deadline() > m.at {
		t.Errorf("next at %v, last at %v, deadline %v", m.at, m.last, s.b.Deadline())
	}
	if m.arm(s.now, false); m.at != clock.Never {
		t.Errorf("at %v though nobody sends", m.at)
	}
}

// A path is measured from when it is attached until it is detached.
func TestPathsAreMeasuredWhileAttached(t *testing.T) {
	s, _ := owls(t, "owl")
	s.now = s.now.Add(second)
	p, cfg := s.b.path(0), s.b.path(0).cfg
	measure := func() {
		there, ping := s.lane, []byte(nil)
		s.lane = func(_ PathID, pkt []byte) { ping = bytes.Clone(pkt) }
		s.b.lane.control.Ping(s.now, 0, 0)
		s.collect()
		s.now = s.now.Add(8 * ms)
		s.lane = there
		s.lane(0, ping)
		s.talk()
	}
	measure()
	i := s.b.Paths(s.now)[0]
	if i.Forward == 0 || i.Backward == 0 || i.Forward != p.state.Forward(s.now) {
		t.Errorf("%+v", i)
	}
	if f := s.c.Info(s.now).Subflows[0]; f.Forward != i.Forward || f.Backward != i.Backward {
		t.Errorf("%+v", f)
	}
	s.b.Detach(s.now, 0)
	if p.state.Forward(s.now) != 0 {
		t.Error("known of a path that has gone")
	}
	s.b.Attach(s.now, 0, cfg)
	s.peer.Detach(s.now, 0)
	s.peer.Attach(s.now, datagram.PathID(0))
	s.talk()
	if measure(); s.b.Paths(s.now)[0].Forward == 0 {
		t.Error("not known of the path that came instead")
	}
}

// To a foreign peer the timestamps of a connection's segments tell, from the first subflow to its end; without them,
// or for other schedulers, nothing does.
func TestSubflowsAreMeasured(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want bool
	}{
		{Config{Scheduler: "owl", Timestamps: true}, true},
		{Config{Scheduler: "owl"}, false},
		{Config{Timestamps: true}, false},
	} {
		client, _ := transfer(t, c.cfg, Config{Timestamps: true}, 2, 1<<20, func(d *duo) {
			known := 0
			d.lose = func(n, from int, _ PathID, pkt []byte) bool {
				var seg wire.Segment
				if from != 0 || seg.Parse(pkt) != nil || len(seg.Payload) == 0 {
					return false
				}
				for _, f := range d.ends[0].flows {
					if forward := f.state.Forward(d.now); forward > 0 {
						known++
						want := d.delay[f.path.id]
						if i := f.c.Info(d.now); n > 900 && (forward-want).Abs() > 6*ms {
							t.Errorf("path %d: %v, want %v: %+v", f.path.id, forward, want, i.Subflows)
						}
					}
				}
				return false
			}
			t.Cleanup(func() {
				if (known > 0) != c.want {
					t.Errorf("%+v: known %d times", c.cfg, known)
				}
			})
		})
		if (client.measuring.latency != nil) != c.want {
			t.Errorf("%+v: measured %v", c.cfg, client.measuring.latency != nil)
		}
	}
}

// Of a foreign peer subflows are asked that carry nothing, five times a second while another carries something; not one
// that serves as backup, and only if the scheduler wants to know.
func TestIdleSubflowsAreMeasured(t *testing.T) {
	for scheduler, want := range map[string]int{"owl": 2, "": 0} {
		s := joined(t, Config{Scheduler: scheduler, Timestamps: true}, 3)
		s.b.SetRole(s.now, 2, Backup)
		s.advance(10 * second)
		s.skip()
		probes := func(acked int) (n [3]int) {
			for range 5 {
				s.advance(50 * ms)
				for _, line := range s.left() {
					if strings.Contains(line, " . 0 ack 1 ") {
						n[line[0]-'0']++
						s.recv(fmt.Sprintf("%c . 1 ack 1 <dss ack8 %d>", line[0], acked))
					}
				}
			}
			return n
		}
		s.write("hello")
		line := s.left()[0]
		busy := int(line[0] - '0')
		got := probes(1)
		if got[busy] > 0 || got[2] > 0 || got[1-busy] != want {
			t.Errorf("%q: %d probes beside path %d", scheduler, got, busy)
		}
		s.recv(fmt.Sprintf("%d . 1 ack 6 <dss ack8 6>", busy))
		probes(6)
		if got := probes(6); got != [3]int{} {
			t.Errorf("%q: %d probes when all has come", scheduler, got)
		}
	}
}

// A subflow that has gone is not measured any more.
func TestSubflowsAreMeasuredUntilTheyEnd(t *testing.T) {
	s := dialled(t, Config{Scheduler: "owl", Timestamps: true}, 1)
	p := s.c.subflows[0].state
	p.RTTSample(s.now, 100*ms)
	p.Ponged(s.now, 100*ms, 20*ms)
	if p.Forward(s.now) == 0 {
		t.Fatal("not known while it lives")
	}
	s.b.Detach(s.now, 0)
	if len(s.c.subflows) > 0 || p.Forward(s.now) != 0 {
		t.Errorf("%d subflows, forward %v", len(s.c.subflows), p.Forward(s.now))
	}
}

// How much farther away a subflow is than another, if that is known.
func TestLag(t *testing.T) {
	l := path.NewLatency(ms)
	near, far, unknown := &subflow{state: path.New(steady(9000), 1500)}, &subflow{state: path.New(steady(9000), 1500)}, &subflow{state: path.New(steady(9000), 1500)}
	for f, forward := range map[*subflow]time.Duration{near: 10 * ms, far: 60 * ms} {
		include(l, f.state)
		f.state.RTTSample(0, 100*ms)
		f.state.Ponged(0, 100*ms, forward)
	}
	for _, c := range []struct {
		f, g *subflow
		want time.Duration
	}{{far, near, 50 * ms}, {near, far, 0}, {unknown, near, 0}, {far, unknown, 0}} {
		if got := c.f.lag(0, c.g); got != c.want {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
	include(nil, near.state)
	exclude(nil, near.state)
	exclude(l, nil)
	if exclude(l, far.state); far.lag(0, near) != 0 {
		t.Error("known of a path that is not measured any more")
	}
}
