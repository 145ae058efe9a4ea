package mptcp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"tandem/engine/wire"
)

// addAddr is the announcement of B, with its code.
func addAddr(id uint8, addr string, port uint16) string {
	a := wire.AddAddr{ID: id, Addr: netip.MustParseAddr(addr), Port: port}
	a.MAC = wire.AddAddrMAC(keyB, keyA, id, a.Addr, port)
	return a.String()
}

// RFC 8684 3.4.1: the announcement is echoed as it came, and the address joined, at the port of the
// subflow unless it has one of its own.
func TestAddAddr(t *testing.T) {
	for _, x := range []struct{ option, echo, joins string }{
		{"add_addr id 1 10.0.0.2 mac f703ec3efc2f29dd", "add_addr id 1 10.0.0.2 echo", "10.0.0.2:80"},
		{"add_addr id 1 10.0.0.2 port 8080 mac 8417eeb9fa366047", "add_addr id 1 10.0.0.2 port 8080 echo", "10.0.0.2:8080"},
		{"add_addr id 1 10.0.0.2 port 0 mac f703ec3efc2f29dd", "add_addr id 1 10.0.0.2 port 0 echo", "10.0.0.2:80"},
		{"add_addr id 2 2001:db8::2 mac 159be09654b13583", "add_addr id 2 2001:db8::2 echo", ""},
	} {
		s := dialling(t, Config{}, 2)
		s.skip()
		s.recv("0 S. 0 ack 1 <capable v1 flags 21 key-B>", "0 . 1 ack 1 <dss ack8 1>")
		s.skip()
		s.recv("0 . 1 ack 1 <" + x.option + ">")
		if x.joins != "" {
			s.expect("1 S 0 <join id 3 token token-B nonce nonce-A>")
			if got := s.ends[1].remote.String(); got != x.joins {
				t.Fatalf("joins %s, want %s", got, x.joins)
			}
		}
		s.want("0 . 1 ack 1 <" + x.echo + ">")
	}
}

func TestAddAddrOfIPv6(t *testing.T) {
	s := agreed(t, Config{Passive: true}, 1)
	s.b.cfg.Passive = false
	s.b.Attach(s.now, 2, PathConfig{Local6: netip.MustParseAddr("2001:db8:1::1")})
	s.recv("0 . 1 ack 1 <add_addr id 2 2001:db8::2 port 443 mac " + fmt.Sprintf("%016x", wire.AddAddrMAC(keyB, keyA, 2, netip.MustParseAddr("2001:db8::2"), 443)) + ">")
	s.expect("2 S 0 <join id 3 token token-B nonce nonce-A>")
	if got := s.ends[2].remote.String(); got != "[2001:db8::2]:443" {
		t.Fatalf("joins %s", got)
	}
	s.want("0 . 1 ack 1 <add_addr id 2 2001:db8::2 port 443 echo>")
}

// A wrong code: no echo, no join (RFC 8684 3.4.1).
func TestAddAddrWithWrongMAC(t *testing.T) {
	s := agreed(t, Config{Passive: true}, 2)
	s.b.cfg.Passive = false
	s.recv("0 . 1 ack 1 <add_addr id 1 10.0.0.2 mac f703ec3efc2f29de>")
	s.want()
	if s.b.Counters().BadAddAddrMAC != 1 {
		t.Fatal("not counted")
	}
}

// An identifier keeps its address; a copy is echoed again, for the echo may have been lost.
func TestAddAddrTwice(t *testing.T) {
	s := agreed(t, Config{Passive: true}, 2)
	s.recv("0 . 1 ack 1 <" + addAddr(1, "10.0.0.2", 0) + ">")
	s.want("0 . 1 ack 1 <add_addr id 1 10.0.0.2 echo>")
	s.recv("0 . 1 ack 1 <" + addAddr(1, "10.0.0.2", 0) + ">")
	s.want("0 . 1 ack 1 <add_addr id 1 10.0.0.2 echo>")
	s.advance(second)
	s.recv("0 . 1 ack 1 <" + addAddr(1, "10.0.0.3", 0) + ">")
	s.want()
	if a := s.c.signal.theirs; len(a) != 1 || a[0].addr.String() != "10.0.0.2:80" {
		t.Fatal(a)
	}
}

// RFC 8684 3.9.3: where a join was refused there is no other, until the address is announced again.
func TestRefusedAddressIsAnnouncedAnew(t *testing.T) {
	s := dialling(t, Config{}, 2)
	s.skip()
	s.recv("0 S. 0 ack 1 <capable v1 flags 21 key-B>", "0 . 1 ack 1 <dss ack8 1>")
	s.skip()
	for range 3 {
		s.recv("0 . 1 ack 1 <" + addAddr(1, "10.0.0.2", 0) + ">")
		s.expect("1 S 0 <join id 3 token token-B nonce nonce-A>")
		s.want("0 . 1 ack 1 <add_addr id 1 10.0.0.2 echo>")
		s.recv("1 R. 0 ack 1")
		s.advance(100 * second)
		s.want()
	}
}

// The port of an address that was announced may change, and is then that of joins.
func TestAddAddrWithAnotherPort(t *testing.T) {
	s := dialling(t, Config{}, 2)
	s.skip()
	s.recv("0 S. 0 ack 1 <capable v1 flags 21 key-B>", "0 . 1 ack 1 <dss ack8 1>")
	s.skip()
	for _, port := range []uint16{8080, 8443} {
		s.recv("0 . 1 ack 1 <" + addAddr(1, "10.0.0.2", port) + ">")
		s.expect("1 S 0 <join id 3 token token-B nonce nonce-A>")
		if got := s.ends[1].remote.Port(); got != port {
			t.Fatalf("joins port %d, want %d", got, port)
		}
		s.want(fmt.Sprintf("0 . 1 ack 1 <add_addr id 1 10.0.0.2 port %d echo>", port))
		s.recv("1 R. 0 ack 1")
		s.advance(second)
		s.skip()
	}
	if a := s.c.signal.theirs; len(a) != 1 || a[0].addr.String() != "10.0.0.2:8443" {
		t.Fatal(a)
	}
}

// A peer can make a connection remember, and join, few addresses only.
func TestAddAddrFlood(t *testing.T) {
	s := agreed(t, Config{Passive: true}, 1)
	for i := range 256 {
		s.recv("0 . 1 ack 1 <" + addAddr(uint8(i), fmt.Sprintf("10.7.0.%d", i), 0) + ">")
		s.skip()
	}
	if n := len(s.c.signal.theirs); n != 8 {
		t.Fatalf("%d addresses kept", n)
	}
	if n := s.b.Counters().LimitAddresses; n != 248 {
		t.Fatalf("%d counted", n)
	}
}

// An end announces its other addresses until they are echoed.
func TestAnnounce(t *testing.T) {
	s := answering(t, Config{Announce: true}, 2)
	s.recv("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
	mac := wire.AddAddrMAC(keyB, keyA, 3, netip.MustParseAddr("10.9.1.1"), 0)
	add := fmt.Sprintf("0 . 1 ack 1 <add_addr id 3 10.9.1.1 mac %016x>", mac)
	s.want(add)
	s.advance(second)
	s.want(add)
	// Of something else:
	s.recv("0 . 1 ack 1 <add_addr id 3 10.9.1.2 echo>", "0 . 1 ack 1 <add_addr id 3 10.9.1.1 port 80 echo>", "0 . 1 ack 1 <add_addr id 3 10.9.1.1 port 0 echo>")
	s.advance(2 * second)
	s.want(add)
	s.recv("0 . 1 ack 1 <add_addr id 3 10.9.1.1 echo>")
	s.advance(100 * second)
	s.want()
}

// RFC 8684 3.4: no more than two acknowledgements in a row are for signals alone. The next wait for data in either
// direction, for an acknowledgement of own data, or for a quarter of the round trip.
func TestSignalsInARow(t *testing.T) {
	for name, event := range map[string]func(s *script){
		"time":            func(s *script) { s.advance(25 * ms) },
		"data leaves":     func(s *script) { s.write("world") },
		"data comes":      func(s *script) { s.recv(`0 P. 1 ack 1 "hello" <dss ack8 1 map4 1 ssn 1 len 5>`) },
		"data is counted": func(s *script) { s.recv("0 . 1 ack 6 <dss ack8 6>") },
	} {
		t.Run(name, func(t *testing.T) {
			s := answeredBy(t, Config{Announce: true}, 1)
			s.write("hello")
			s.skip()
			for i := range 5 {
				s.attach(PathID(i+1), false)
			}
			signals := func() int { return strings.Count(strings.Join(s.left(), ""), "add_addr") }
			for _, want := range []int{2, 2, 1} {
				if n := signals(); n != want {
					t.Fatalf("%d signals in a row, want %d", n, want)
				}
				s.recv("0 . 1 ack 1 <dss ack8 1>") // which says nothing new
				s.advance(ms)
				if n := signals(); n != 0 {
					t.Fatalf("%d signals at once", n)
				}
				event(s)
				if name != "time" {
					event = func(s *script) { s.advance(25 * ms) }
				}
			}
		})
	}
}

func TestAnnounceIsGivenUp(t *testing.T) {
	s := answering(t, Config{Announce: true}, 2)
	s.recv("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
	s.advance(1000 * second)
	if n := len(s.left()); n != announcements {
		t.Fatalf("announced %d times", n)
	}
}

// RFC 8684 3.4.2: a subflow whose address was removed is asked first; one that answers stays.
func TestRemoveAddrOfLivePath(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.recv("1 . 1 ack 1 <remove_addr 0>")
	s.want("1 . 0 ack 1 <dss ack4 1>", "0 . 0 ack 1 <dss ack4 1>")
	s.recv("0 . 1 ack 1 <dss ack8 1>", "1 . 1 ack 1 <dss ack8 1>")
	s.advance(10 * second)
	s.want()
	s.living(2)
}

func TestRemoveAddrOfDeadPath(t *testing.T) {
	s := askedToJoin(t, Config{}, 2)
	s.recv("0 . 1 ack 1 <remove_addr 1>")
	s.want("1 . 0 ack 1 <dss ack4 1>")
	s.advance(10 * second)
	got := s.left()
	if len(got) != 1 || !strings.HasPrefix(got[0], "1 R. 1 ack 1") {
		t.Fatal(got)
	}
	s.living(1)
}

func TestRemoveAddrUnknown(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.recv("0 . 1 ack 1 <remove_addr 77 78 79>")
	s.advance(10 * second)
	s.want()
	s.living(2)
}

// An address that was announced and removed is not joined any more.
func TestRemoveAddrForgets(t *testing.T) {
	s := agreed(t, Config{Passive: true}, 1)
	s.recv("0 . 1 ack 1 <" + addAddr(1, "10.0.0.2", 0) + ">")
	s.recv("0 . 1 ack 1 <remove_addr 1>")
	s.skip()
	if len(s.c.signal.theirs) != 0 {
		t.Fatal("kept")
	}
}

// Nor is it joined again when the peer then ends the subflow there; one that it still offers is.
func TestRemovedAddressIsNotJoinedAgain(t *testing.T) {
	for _, removed := range []bool{false, true} {
		s := dialling(t, Config{}, 2)
		s.skip()
		s.recv("0 S. 0 ack 1 <capable v1 flags 21 key-B>", "0 . 1 ack 1 <dss ack8 1>")
		s.skip()
		s.recv("0 . 1 ack 1 <" + addAddr(1, "10.0.0.2", 0) + ">")
		s.skip()
		s.recv("1 S. 0 ack 1 <join id 1 mac mac-B nonce nonce-B>", "1 . 1 ack 1 <dss ack8 1>")
		s.skip()
		s.living(2)
		if removed {
			s.recv("0 . 1 ack 1 <remove_addr 1>")
			s.skip()
		}
		s.recv("1 R. 1 ack 1")
		s.living(1)
		s.advance(10 * second)
		joins := 0
		for _, line := range s.left() {
			if strings.HasPrefix(line, "1 S ") {
				joins++
			}
		}
		if (joins > 0) == removed {
			t.Errorf("removed %v: joined %d times", removed, joins)
		}
	}
}

// A path that goes away is withdrawn over another (RFC 8684 3.4.2), and what it carried goes there.
func TestDetachTellsThePeer(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.recv("0 . 1 ack 1 <prio backup>")
	s.write("hello")
	s.want(`1 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.b.Detach(s.now, 1)
	s.want("0 . 1 ack 1 <remove_addr [3]>", `0 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.living(1)
	s.advance(10 * second)
	for _, line := range s.left() {
		if line[0] != '0' {
			t.Fatal("over a path that is gone: ", line)
		}
	}
}

// MP_PRIO speaks for the direction towards its sender (RFC 8684 3.3.8): backups carry data only when
// nothing else does.
func TestPrioOfThePeer(t *testing.T) {
	s := joined(t, Config{Scheduler: "backup"}, 2)
	s.recv("0 . 1 ack 1 <prio backup>")
	s.write("hello")
	s.want(`1 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.recv("1 . 1 ack 6 <dss ack8 6>", "0 . 1 ack 1 <prio>", "1 . 1 ack 6 <prio backup>")
	s.write("world")
	s.want(`0 P. 1 ack 1 "world" <dss ack4 1 map4 6 ssn 1 len 5>`)
	s.recv("0 . 1 ack 6 <dss ack8 11>", "0 R. 1 ack 6")
	s.skip()
	s.write("again")
	s.want(`1 P. 6 ack 1 "again" <dss ack4 1 map4 11 ssn 6 len 5>`)
}

func TestPrioOfOwn(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.b.SetRole(s.now, 1, Backup)
	s.want("1 . 1 ack 1 <dss ack4 1, prio backup>")
	s.b.SetRole(s.now, 1, Backup)
	s.want()
	s.b.SetRole(s.now, 1, Primary)
	s.want("1 . 1 ack 1 <dss ack4 1, prio>")
}

// Reasons count on resets only (RFC 8684 3.6).
func TestResetReasonElsewhere(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.recv("1 . 1 ack 1 <reset 3>")
	s.want()
	s.living(2)
}

// A subflow that was reset for good is not tried again at once, one that was reset for now is.
func TestResetOfEstablishedSubflow(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.recv("1 R. 1 ack 1 <reset 2 transient>")
	s.want()
	s.living(1)
	s.advance(second)
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A>")
}

// A segment outside the window says nothing, whatever its options (RFC 5961, RFC 8684 3.7).
func TestSignalsOutsideWindow(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.recv("0 . 100000 ack 1 <fastclose key-A>", "0 . 1 ack 100000 <fastclose key-A>", "0 . 90000 ack 1 <"+addAddr(9, "10.0.0.9", 0)+">")
	s.skip()
	s.living(2)
	if len(s.c.signal.theirs) != 0 {
		t.Fatal("address taken")
	}
}

// The end that accepted joins nothing over a path that comes either (RFC 8041 3.3), unless it is told to.
func TestAnnouncedAddressOverNewPath(t *testing.T) {
	for _, joins := range []bool{false, true} {
		s := answeredBy(t, Config{JoinAnnounced: joins}, 1)
		mac := wire.AddAddrMAC(keyA, keyB, 3, netip.MustParseAddr("192.0.2.7"), 0)
		s.recv(fmt.Sprintf("0 . 1 ack 1 <add_addr id 3 192.0.2.7 mac %016x>", mac))
		s.skip()
		s.attach(1, false)
		if got := s.asked(); got != map[bool]string{true: "1"}[joins] {
			t.Errorf("asks %q, joins %v", got, joins)
		}
	}
}
