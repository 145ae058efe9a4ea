package mptcp

import (
	"fmt"
	"strings"
	"testing"
)

// firstAddr and otherAddr are addresses of the peer beside the one that was dialled.
const firstAddr, otherAddr = "192.0.2.7", "192.0.2.8"

// behind returns the dialling end, over two paths, of a connection whose peer wants no joins to the address dialled.
func behind(t *testing.T) *script {
	t.Helper()
	s := dialling(t, Config{}, 2)
	s.skip()
	s.recv("0 S. 0 ack 1 <capable v1 flags 21 key-B>", "0 . 1 ack 1 <dss ack8 1>")
	s.skip()
	return s
}

// announced has the peer announce an address, and returns how many SYNs went there until some seconds later.
func (s *script) announced(id uint8, addr string, seconds int) (syns int) {
	s.t.Helper()
	s.recv("0 . 1 ack 1 <" + addAddr(id, addr, 0) + ">")
	return s.joins(addr, seconds)
}

// joins returns how many SYNs go to an address within some seconds, over the second path.
func (s *script) joins(addr string, seconds int) (syns int) { return s.joinsOver(1, addr, seconds) }

func (s *script) joinsOver(path PathID, addr string, seconds int) (syns int) {
	s.t.Helper()
	for range 2 * seconds {
		for _, line := range s.left() {
			if strings.HasPrefix(line, fmt.Sprint(path, " S ")) && s.ends[path].remote.Addr().String() == addr {
				syns++
			}
		}
		s.advance(500 * ms)
	}
	return syns
}

// An address that does not answer keeps no other from its path.
func TestSilentAddressBlocksNoOther(t *testing.T) {
	s := behind(t)
	s.announced(3, firstAddr, 2)
	if n := s.announced(4, otherAddr, 16); n == 0 {
		t.Fatal("the other was not asked")
	}
	s.recv("1 S. 0 ack 1 <join id 4 mac mac-B nonce nonce-B>", "1 . 1 ack 1 <dss ack8 1>")
	s.skip()
	s.living(2)
	if n := s.joins(firstAddr, 100); n != 0 {
		t.Errorf("%d SYNs to the first", n)
	}
}

// Nor does one whose subflow was lost.
func TestLostAddressBlocksNoOther(t *testing.T) {
	s := behind(t)
	s.announced(3, firstAddr, 1)
	s.recv("1 S. 0 ack 1 <join id 3 mac mac-B nonce nonce-B>", "1 . 1 ack 1 <dss ack8 1>")
	if n := s.announced(4, otherAddr, 10); n != 0 {
		t.Fatalf("%d SYNs over a path that is in use", n)
	}
	s.recv("1 R. 1 ack 1")
	if n := s.joins(otherAddr, 20); n == 0 {
		t.Error("the other was not asked")
	}
	// Somebody is at the first: it is asked for on.
	if n := s.joins(firstAddr, 300); n < 5*4 {
		t.Errorf("%d SYNs to the first in five minutes", n)
	}
}

// One that nobody answers at, whoever's it is, is given up until the peer announces it anew; the one that was dialled
// never.
func TestSilentAddressIsGivenUp(t *testing.T) {
	s := behind(t)
	for range 2 {
		if n := s.announced(3, firstAddr, 600); n != 4*silentMax {
			t.Errorf("%d SYNs to an address that nobody answers at", n)
		}
	}
	s = agreed(t, Config{}, 2)
	s.joins(target.Addr().String(), 600)
	if n := s.joins(target.Addr().String(), 600); n < 4*10 {
		t.Errorf("%d SYNs in ten minutes to the one that was dialled", n)
	}
}

// One that refused is not asked again because another did not answer.
func TestRefusalIsRemembered(t *testing.T) {
	s := behind(t)
	s.announced(3, firstAddr, 1)
	s.recv("1 R. 0 ack 1 <reset 3>")
	if n := s.announced(4, otherAddr, 60); n < 4 {
		t.Errorf("%d SYNs to the other", n)
	}
	if n := s.joins(firstAddr, 60); n != 0 {
		t.Errorf("%d SYNs to one that refused", n)
	}
	s.recv(fmt.Sprintf("0 . 1 ack 1 <%s>", addAddr(3, firstAddr, 0)))
	if n := s.joins(firstAddr, 60); n == 0 {
		t.Error("announced anew, and not asked")
	}
}

// What is not tried again takes no other's place.
func TestRefusalIsNoHope(t *testing.T) {
	s := behind(t)
	s.announced(3, firstAddr, 1)
	if err := s.c.CloseSubflow(s.now, 1, ByFIN); err != nil {
		t.Fatalf("%v with a join under way", err)
	}
	s = behind(t)
	s.announced(3, firstAddr, 1)
	s.recv("1 R. 0 ack 1 <reset 3>")
	if err := s.c.CloseSubflow(s.now, 1, ByFIN); err != ErrLast {
		t.Errorf("%v with a join that was refused", err)
	}
}

// The first subflow that a path loses comes again as a join, beside another that lives, unless the peer wants none there.
func TestInitialSubflowIsJoinedAgain(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.recv("0 R. 1 ack 1")
	s.advance(999 * ms)
	s.want()
	s.advance(1 * ms)
	s.want("0 S 0 <join id 0 token token-B nonce nonce-A>")

	s = behind(t)
	s.announced(3, firstAddr, 1)
	s.recv("1 S. 0 ack 1 <join id 3 mac mac-B nonce nonce-B>", "1 . 1 ack 1 <dss ack8 1>", "0 R. 1 ack 1")
	if n := s.joinsOver(0, target.Addr().String(), 60); n != 0 {
		t.Errorf("%d joins to where the peer wants none", n)
	}
}

// Nor does it where the peer took its address back.
func TestRemovedHomeIsNotJoinedAgain(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.recv("1 . 1 ack 1 <remove_addr 0>")
	s.skip()
	s.recv("1 . 1 ack 1", "0 R. 1 ack 1") // the other answers the probe
	if n := s.joinsOver(0, target.Addr().String(), 2); n != 0 {
		t.Errorf("%d joins to where the peer is no more", n)
	}
}
