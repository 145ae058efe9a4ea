package mptcp

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/datagram"
)

func TestAddressTypeNames(t *testing.T) {
	for a := UnknownAddress; a <= Fixed; a++ {
		if got, ok := ParseAddressType(a.String()); got != a || !ok {
			t.Errorf("%v: %v %v", a, got, ok)
		}
	}
	if _, ok := ParseAddressType("cheap"); ok || AddressType(9).String() != "invalid" {
		t.Error("others are taken")
	}
}

// When the stages begin.
func TestPlannedHandover(t *testing.T) {
	for _, x := range []struct {
		name           string
		l              Lifetime
		leave, closing time.Duration
	}{
		{"going away", Lifetime{0, 10 * second}, 0, 9 * second},
		{"going away at once", Lifetime{0, second}, 0, 500 * ms},
		{"a lease", Lifetime{3600 * second, 3600 * second}, 3595 * second, 3599 * second},
		{"a short lease", Lifetime{3 * second, 3 * second}, 0, 2 * second},
		{"a prefix that is deprecated first", Lifetime{20 * second, 60 * second}, 20 * second, 59 * second},
		{"preferred for longer than valid", Lifetime{time.Hour, 60 * second}, 55 * second, 59 * second},
	} {
		now := clock.Time(7 * second)
		h := planned(now, x.l)
		if h.leaveAt != now.Add(x.leave) || h.closeAt != now.Add(x.closing) || h.at != now.Add(x.l.Valid) {
			t.Errorf("%s: %v, %v, %v", x.name, h.leaveAt.Sub(now), h.closeAt.Sub(now), h.at.Sub(now))
		}
	}
	for _, l := range []Lifetime{{}, {Preferred: second}, {Valid: -1}} {
		if h := planned(7, l); h.next() != clock.Never || h.due(clock.Time(time.Hour)) != staying {
			t.Errorf("%+v has an end", l)
		}
	}
}

// Make before break: a backup first, then closed and withdrawn over the other path, then silence.
func TestMakeBeforeBreak(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.b.SetLifetime(s.now, 0, Lifetime{Valid: 4 * second})
	s.want("0 . 1 ack 1 <dss ack4 1, prio backup>")
	s.write("hello")
	s.want(`1 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.recv("1 . 1 ack 6 <dss ack8 6>")
	s.recv(`0 P. 1 ack 1 "old" <dss ack8 6 map4 1 ssn 1 len 3>`) // was under way
	s.want("0 . 1 ack 4 <dss ack4 4>")
	s.advance(3*second - 1)
	s.want()
	s.advance(1)
	s.want("0 F. 1 ack 4 <dss ack4 4>", "1 . 6 ack 1 <remove_addr [0]>")
	s.recv("0 F. 4 ack 2 <dss ack8 6>")
	s.want("0 . 2 ack 5 <dss ack4 4>")
	s.recv("0 S 0 <join id 9 token token-A nonce nonce-B>")
	s.want("0 R. zero ack 1 <reset prohibited>")
	s.advance(time.Minute)
	s.want()
	s.living(1)
	s.read("old")
}

// Without another path an address that ends serves on; when another comes it is closed as soon as that has joined, even
// if it was to be closed before.
func TestMakeBeforeBreakWithoutAnother(t *testing.T) {
	for _, early := range []bool{true, false} {
		s := agreed(t, Config{}, 1)
		s.b.SetLifetime(s.now, 0, Lifetime{Valid: 4 * second})
		s.want("0 . 1 ack 1 <dss ack4 1, prio backup>")
		wait := 3500 * ms
		if early {
			wait = second
		}
		s.advance(wait)
		s.write("hello")
		s.want(`0 P. 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
		s.recv("0 . 1 ack 6 <dss ack8 6>")
		s.attach(1, true)
		s.want("1 S 0 <join id 3 token token-B nonce nonce-A>")
		s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>")
		s.want("1 . 1 ack 1 <join mac mac-A>")
		s.recv("1 . 1 ack 1 <dss ack8 6>")
		if early {
			s.want()
			s.advance(2 * second)
		}
		s.want("1 . 1 ack 1 <remove_addr [0]>", "0 F. 6 ack 1 <dss ack4 1>")
	}
}

// waiting returns the dialling end with one subflow, which may be idle for 30 s.
func waiting(t *testing.T) *script {
	t.Helper()
	s := dialled(t, Config{Inactivity: Inactivity{Time: 30 * second}}, 1)
	s.recv("0 . 1 ack 1 <dss ack8 1>")
	s.skip()
	return s
}

// An address that is gone gets no FIN and no reset; without another path the connection waits for one, joins at once
// when it comes, and says there that the old one is gone.
func TestAddressLost(t *testing.T) {
	for name, lose := range map[string]func(s *script){
		"lost":    func(s *script) { s.b.Detach(s.now, 0) },
		"expired": func(s *script) { s.b.SetLifetime(s.now, 0, Lifetime{Valid: 1}); s.skip(); s.advance(1) },
	} {
		s := waiting(t)
		lose(s)
		s.write("hello")
		s.advance(29 * second)
		s.want()
		if s.living(0); name == "expired" && s.b.Paths(s.now)[0].Leaving != true {
			t.Error("not said")
		}
		s.attach(1, true)
		s.want("1 S 0 <join id 3 token token-B nonce nonce-A>")
		s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>")
		s.want("1 . 1 ack 1 <join mac mac-A>")
		s.recv("1 . 1 ack 1 <dss ack8 1>")
		got := strings.Join(s.left(), "\n")
		if !strings.Contains(got, "remove_addr [0]") || !strings.Contains(got, `"hello"`) || strings.Contains(got, "\n0 ") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// As long as it may be idle, and no longer.
func TestAddressLostForTooLong(t *testing.T) {
	s := waiting(t)
	s.advance(5 * second)
	s.b.Detach(s.now, 0)
	s.advance(25*second - 100*ms - 1)
	s.living(0)
	s.advance(100*ms + 1)
	s.over(ErrTimeout)
}

// Every subflow of the path is spared, not the first alone.
func TestMakeBeforeBreakOfTwo(t *testing.T) {
	s := joined(t, Config{}, 2)
	if _, err := s.c.OpenSubflow(s.now, SubflowOptions{Path: 0, Remote: netip.MustParseAddrPort("10.9.0.1:81")}); err != nil {
		t.Fatal(err)
	}
	s.skip()
	s.recv("0 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>", "0 . 1 ack 1 <dss ack8 1>")
	s.skip()
	s.b.SetLifetime(s.now, 0, Lifetime{Valid: 20 * second})
	s.want("0 . 1 ack 1 <dss ack4 1, prio backup>", "0 . 1 ack 1 <dss ack4 1, prio backup>")
}

// The same address comes again: it is not said to be gone.
func TestSameAddressAgain(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.b.Detach(s.now, 0)
	s.attach(0, true)
	s.want("0 S 0 <join id 0 token token-B nonce nonce-A>")
	s.recv("0 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>", "0 . 1 ack 1 <dss ack8 1>")
	if got := strings.Join(s.left(), "\n"); strings.Contains(got, "remove_addr") {
		t.Error(got)
	}
}

// A lifetime that is renewed in time changes nothing; one that is renewed late has the path used as before.
func TestLifetimeRenewed(t *testing.T) {
	s := joined(t, Config{}, 2)
	for range 5 {
		s.b.SetLifetime(s.now, 0, Lifetime{60 * second, 60 * second})
		s.advance(54 * second)
		s.want()
	}
	s.advance(second)
	s.want("0 . 1 ack 1 <dss ack4 1, prio backup>")
	s.b.SetLifetime(s.now, 0, Lifetime{60 * second, 60 * second})
	s.want("0 . 1 ack 1 <dss ack4 1, prio>")
	s.advance(50 * second)
	s.want()

	s.b.SetLifetime(s.now, 0, Lifetime{Valid: second})
	s.skip()
	s.advance(2 * second)
	s.skip()
	s.living(1)
	s.b.SetLifetime(s.now, 0, Lifetime{})
	s.want("0 S 0 <join id 0 token token-B nonce nonce-A>")
}

// A path may come with an end that is near: it is a backup from the first.
func TestAttachGoingAway(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.ends[1] = &tuple{}
	s.b.Attach(s.now, 1, PathConfig{Local4: netip.MustParseAddr("10.0.1.1"), Lifetime: Lifetime{Valid: 10 * second}, Address: NonPersistent})
	s.want() // there is another
	i := s.b.Paths(s.now)[1]
	if !i.Leaving || i.Left != 10*second || i.Address != NonPersistent {
		t.Errorf("%+v", i)
	}
	s.b.Detach(s.now, 0)
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A backup>")
	s.b.SetLifetime(s.now, 9, Lifetime{Valid: 1}) // no such path
}

// A connection of TCP has nothing but its path: it is used to the end.
func TestPlainUntilTheEnd(t *testing.T) {
	s := newScript(t, true, Config{}, 2)
	s.dial(DialOptions{Plain: true})
	s.want("0 S 0")
	s.recv("0 S. 0 ack 1")
	s.want("0 . 1 ack 1")
	s.b.SetLifetime(s.now, 0, Lifetime{Valid: 4 * second})
	s.advance(4*second - 1)
	s.write("hello")
	s.want(`0 P. 1 ack 1 "hello"`)
	s.advance(1)
	s.want()
	if s.c.phase != over || s.c.Err() == nil {
		t.Error("lives on")
	}
}

// Connections begin with an address that lasts long enough and no longer than they need.
func TestAddressTypes(t *testing.T) {
	types := []AddressType{NonPersistent, UnknownAddress, Fixed, SessionLasting}
	for _, x := range []struct {
		opt  DialOptions
		want []PathID
	}{
		{DialOptions{}, []PathID{0, 1, 2, 3}},
		{DialOptions{Address: NonPersistent}, []PathID{0, 3, 2, 1}},
		{DialOptions{Address: SessionLasting}, []PathID{3, 2, 1, 0}},
		{DialOptions{Address: Fixed}, []PathID{2, 1, 3, 0}},
		{DialOptions{Plain: true}, []PathID{3, 2, 1, 0}},
		{DialOptions{Plain: true, Address: NonPersistent}, []PathID{0, 3, 2, 1}},
	} {
		s := newScript(t, true, Config{}, 0)
		for i, a := range types {
			s.ends[PathID(i)] = &tuple{}
			s.b.Attach(s.now, PathID(i), PathConfig{Local4: netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), Address: a})
		}
		s.dial(x.opt)
		all, _ := s.b.ranked(s.now, target.Addr(), nil, &s.c.est)
		var got []PathID
		for _, p := range all {
			got = append(got, p.id)
		}
		if !slices.Equal(got, x.want) || s.c.subflows[0].path.id != x.want[0] {
			t.Errorf("%+v: %v, want %v", x.opt, got, x.want)
		}
	}
	s := newScript(t, true, Config{}, 2) // what ends soon comes last
	s.b.SetLifetime(s.now, 0, Lifetime{Valid: second})
	s.dial(DialOptions{})
	s.want("1 S 0 <capable v1 flags 01>")
}

// One message tells a Paired peer for all connections that a path is a backup, and another that it is not used.
func TestMakeBeforeBreakPaired(t *testing.T) {
	s := openLane(t)
	s.b.SetLifetime(s.now, 0, Lifetime{Valid: 4 * second})
	s.talk()
	if e := s.heard(datagram.PeerPath); e == nil || e.State.ID != 0 || e.State.State != datagram.Up || e.State.Role != datagram.Backup {
		t.Fatalf("%+v", e)
	}
	s.want()
	s.write("hello")
	if n := s.routes(); n[0] != 0 || n[1] != 1 {
		t.Fatalf("%v packets over the paths", n)
	}
	s.recv("1 . 1 ack 6 <dss ack8 6>")
	s.skip()
	s.advance(3 * second)
	s.talk()
	if e := s.heard(datagram.PeerPath); e == nil || e.State.ID != 0 || e.State.State != datagram.Off {
		t.Fatalf("%+v", e)
	}
	if got := strings.Join(s.left(), "\n"); !strings.Contains(got, "0 F. 1 ") || !strings.Contains(got, "1 . 6 ack 1 win 65535 <remove_addr [0]>") {
		t.Fatal(got)
	}
	// What else is said of the path meanwhile does not put it into use again.
	s.b.SetRole(s.now, 0, Secondary)
	s.b.SetLimit(s.now, 0, 1e6, 1e6)
	s.b.SetPrice(s.now, 0, 5)
	s.talk()
	if e := s.heard(datagram.PeerPath); e == nil || e.State.State != datagram.Off || e.State.Price != 5 || e.State.LimitUp != 1e6 {
		t.Fatalf("%+v", e)
	}
	s.b.SetRole(s.now, 0, Primary)
	s.b.SetLifetime(s.now, 0, Lifetime{})
	s.talk()
	if e := s.heard(datagram.PeerPath); e == nil || e.State.State != datagram.Up || e.State.Role != datagram.Primary {
		t.Fatalf("%+v", e)
	}
}

// An address that was announced and never used is withdrawn when it goes.
func TestAnnouncedAddressLost(t *testing.T) {
	s := answering(t, Config{Announce: true}, 2)
	s.recv("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
	s.skip()
	s.b.Detach(s.now, 1)
	s.want("0 . 1 ack 1 <remove_addr [3]>")
	s.b.Detach(s.now, 1)
	s.want()
}

// When the FIN is not answered before the address is gone, nothing more is said of it; nothing begins there either.
func TestExpiredPath(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.b.SetLifetime(s.now, 0, Lifetime{Valid: second})
	s.skip()
	s.advance(600 * ms)
	removed := 0
	count := func() {
		for _, line := range s.left() {
			if strings.Contains(line, "remove_addr") {
				removed++
			}
		}
	}
	count()
	s.advance(time.Minute)
	count()
	if removed != 1 {
		t.Errorf("REMOVE_ADDR left %d times", removed)
	}
	s.living(1)
	s.recv(`0 P. 1 ack 1 "late" <dss ack8 1>`)
	s.want()
	if _, err := s.b.Dial(s.now, target, DialOptions{Only: []PathID{0}}); err != ErrNoPath {
		t.Error(err)
	}
}
