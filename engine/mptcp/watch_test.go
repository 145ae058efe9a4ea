package mptcp

import (
	"fmt"
	"strings"
	"testing"
)

// events fails the test unless just these are told, each as "KIND SUBFLOW" with what else counts.
func (s *script) events(want string) {
	s.t.Helper()
	var got []string
	for {
		e, ok := s.c.NextSubflowEvent()
		if !ok {
			break
		}
		text := fmt.Sprint(e.Kind, " ", e.Subflow)
		if e.Backup {
			text += " backup"
		}
		if e.PeerBackup {
			text += " peerbackup"
		}
		if e.Err != nil {
			text += " " + e.Err.Error()
		}
		if e.Missed > 0 {
			text += fmt.Sprintf(" missed %d", e.Missed)
		}
		got = append(got, text)
	}
	if text := strings.Join(got, ", "); text != want {
		s.t.Errorf("told %q, want %q\n%s", text, want, s.story())
	}
}

// Whoever watches from the beginning is told of everything, and Next says when.
func TestWatch(t *testing.T) {
	s := dialling(t, Config{}, 2)
	s.c.Watch()
	s.changed(News)
	s.events("added 1")
	s.skip()
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>", "0 . 1 ack 1 <dss ack8 1>")
	s.skip()
	s.changed(Established | News)
	s.events("established 1, added 2")
	s.join(1)
	s.events("established 2")
	s.recv("1 . 1 ack 1 <prio backup>", "1 . 1 ack 1 <prio backup>")
	s.refuses(s.c.SetPriority(s.now, 2, true), nil)
	s.events("priority 2 peerbackup, priority 2 backup peerbackup")
	s.recv("1 R. 1 ack 1")
	s.events("removed 2 backup peerbackup " + ErrReset.Error())
	s.attach(2, true)
	s.b.Detach(s.now, 2)
	s.events("added 3, removed 3 " + ErrAborted.Error())
}

// A subflow that ends in order is told of once, when nothing can come over it any more.
func TestWatchTheEndOfASubflow(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.refuses(s.c.CloseSubflow(s.now, 2, ByFIN), nil)
	s.c.Watch()
	s.events("added 1, established 1, added 2, established 2")
	s.skip()
	s.recv("1 . 1 ack 2 <dss ack8 1>")
	s.events("")
	s.recv("1 F. 1 ack 2 <dss ack8 1>")
	s.events("removed 2")
	s.advance(100 * second)
	s.events("")
}

func TestWatchFallback(t *testing.T) {
	s := dialling(t, Config{}, 2)
	s.skip()
	s.c.Watch()
	s.recv("0 S. 0 ack 1")
	s.events("added 1, fallback 1, established 1")

	s = dialling(t, Config{}, 2)
	s.skip()
	s.recv("0 S. 0 ack 1")
	s.c.Watch()
	s.events("added 1, fallback 1, established 1")
	s.c.Abort(s.now)
	s.events("")
}

// Who does not fetch the events loses the oldest, and learns how many.
func TestEventsAreBounded(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.c.Watch()
	s.events("added 1, established 1, added 2, established 2")
	for i := range watchMax + 5 {
		f := s.c.subflows[1]
		f.preferred(i%2 == 0)
	}
	e, _ := s.c.NextSubflowEvent()
	if e.Missed != 5 || s.b.Counters().LimitEvents != 5 {
		t.Errorf("%d missed, %d counted, want 5", e.Missed, s.b.Counters().LimitEvents)
	}
	n := 1
	for {
		e, ok := s.c.NextSubflowEvent()
		if !ok {
			break
		}
		if n++; e.Missed != 0 {
			t.Errorf("event %d: %d missed", n, e.Missed)
		}
	}
	if n != watchMax {
		t.Errorf("%d events, want %d", n, watchMax)
	}
}

// Nothing is remembered for those who do not watch.
func TestNobodyWatches(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.events("")
	if s.c.watch != nil {
		t.Error("remembered")
	}
}
