package mptcp

import (
	"strings"
	"testing"

	"tandem/engine/datagram"
)

// routes returns how many of the packets that left went over each path.
func (s *laneScript) routes() (n [3]int) {
	for _, line := range s.left() {
		n[line[0]-'0']++
	}
	return n
}

// What is outstanding on a path that the peer has switched off goes out elsewhere at once, and what follows too.
func TestPeerSwitchesAPathOff(t *testing.T) {
	s := openLane(t)
	s.recv("1 . 1 ack 1 <prio backup>")
	s.write("hello")
	s.want(`0 . 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.peer.SetPath(s.now, datagram.PathState{ID: 0, State: datagram.Off})
	s.talk()
	if lines := s.left(); len(lines) != 1 || lines[0][0] != '1' || !strings.Contains(lines[0], "hello") {
		t.Fatalf("%q", lines)
	}
	s.write("again")
	if n := s.routes(); n[0] != 0 || n[1] != 1 {
		t.Fatalf("%v packets over the paths", n)
	}
	t.Log("an acknowledgement that was under way does not open it again")
	s.recv("0 . 1 ack 6 <dss ack8 6>")
	s.recv("1 . 1 ack 11 <dss ack8 11>")
	s.write("more")
	if n := s.routes(); n[0] != 0 || n[1] == 0 {
		t.Fatalf("%v packets over the paths", n)
	}
	s.peer.SetPath(s.now, datagram.PathState{ID: 0})
	s.talk()
	s.write("back")
	if n := s.routes(); n[0] != 1 || n[1] != 0 {
		t.Fatalf("%v packets over the paths", n)
	}
}

// What the peer said of a path holds though it was attached here later.
func TestPeerSaidItBefore(t *testing.T) {
	s := newLane(t, true, Config{}, 2)
	cfg := s.b.path(1).cfg
	s.peer.SetPath(s.now, datagram.PathState{ID: 1, Role: datagram.Secondary})
	s.talk()
	s.b.Detach(s.now, 1)
	s.talk()
	if e := s.heard(datagram.PeerPath); e == nil || e.State.ID != 1 || e.State.State != datagram.Off {
		t.Fatalf("%+v", e)
	}
	s.b.Attach(s.now, 1, cfg)
	s.talk()
	if e := s.heard(datagram.PeerPath); e.State.ID != 1 || e.State.State != datagram.Up {
		t.Fatalf("%+v", e)
	}
	if p := s.b.path(1); p.role() != Secondary || p.peerOff {
		t.Fatalf("role %v, off %v", p.role(), p.peerOff)
	}
	t.Log("another process in its place has said nothing yet")
	s.restart(2)
	s.talk()
	if p := s.b.path(1); p.role() != Primary {
		t.Fatalf("role %v", p.role())
	}
}

// The role that a join told is forgotten for what PATH says.
func TestRoleReplacesThatOfTheJoin(t *testing.T) {
	s := openLaneWith(t, " backup")
	s.peer.SetPath(s.now, datagram.PathState{ID: 1, Role: datagram.Backup})
	s.talk()
	if f := s.c.subflows[1]; !f.isBackup() {
		t.Fatal("no backup")
	}
	s.peer.SetPath(s.now, datagram.PathState{ID: 1})
	s.talk()
	if f := s.c.subflows[1]; f.isBackup() {
		t.Fatal("a backup still")
	}
}

// A secondary takes what the primary has no room for, and nothing else.
func TestSecondary(t *testing.T) {
	s := openLane(t)
	s.b.SetRole(s.now, 0, Secondary)
	s.talk()
	s.write("hello")
	if n := s.routes(); n[0] != 0 || n[1] != 1 {
		t.Fatalf("%v packets over the paths", n)
	}
	s.recv("1 . 1 ack 6 <dss ack8 6>")
	s.write(strings.Repeat("x", 30000))
	if n := s.routes(); n[0] == 0 || n[1] < 8 {
		t.Fatalf("%v packets over the paths", n)
	}
}
