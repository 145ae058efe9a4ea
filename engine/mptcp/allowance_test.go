package mptcp

import (
	"net/netip"
	"strings"
	"testing"
)

// TCP_MULTIPATH_ADD (RFC 6897): a path that was left out, when dialling or later, comes into use.
func TestAddPath(t *testing.T) {
	s := newScript(t, true, Config{}, 2)
	s.b.Attach(s.now, 2, PathConfig{Local4: netip.MustParseAddr("10.0.2.1"), Private: true})
	s.dial(DialOptions{Only: []PathID{0}})
	s.skip()
	s.refuses(s.c.AddPath(s.now, 1), ErrEarly)
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>", "0 . 1 ack 1 <dss ack8 1>")
	s.skip()
	s.advance(second)
	s.want()
	s.refuses(s.c.AddPath(s.now, 1), nil)
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A>")
	s.join(1)
	s.refuses(s.c.AddPath(s.now, 1), nil)
	s.refuses(s.c.AddPath(s.now, 7), ErrNoPath)
	s.want()

	s.refuses(s.c.RemovePath(s.now, 1), nil)
	s.skip()
	s.recv("1 F. 1 ack 2 <dss ack8 1>")
	s.advance(100 * ms)
	s.skip()
	s.refuses(s.c.AddPath(s.now, 1), nil)
	s.want("1 S 0 <join id 5 token token-B nonce nonce-A>")
}

// One that is added while its subflow ends gets another when that has gone.
func TestAddPathThatIsBeingRemoved(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.refuses(s.c.RemovePath(s.now, 1), nil)
	s.refuses(s.c.AddPath(s.now, 1), nil)
	s.skip()
	s.recv("1 F. 1 ack 2 <dss ack8 1>")
	s.advance(100 * second)
	if left := strings.Join(s.left(), "\n"); !strings.Contains(left, "1 S 0 ") {
		t.Errorf("not joined: %s", left)
	}
}

// A path that is Private is not for a connection that may use any other.
func TestAddPrivatePath(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.b.Attach(s.now, 2, PathConfig{Local4: netip.MustParseAddr("10.0.2.1"), Private: true})
	s.refuses(s.c.AddPath(s.now, 2), ErrNoPath)
	s.want()
}

// Options of one subflow are not those of another, nor of one that comes later.
func TestOptionsOfASubflow(t *testing.T) {
	s := joined(t, Config{Scheduler: "backup", ECN: true}, 2)
	s.refuses(s.c.SetTOS(7, 0x20), ErrNoSubflow)
	s.refuses(s.c.SetUserTimeout(7, second), ErrNoSubflow)
	s.refuses(s.c.SetTOS(1, 0x2f), nil)
	s.refuses(s.c.SetUserTimeout(1, 700*ms), nil)
	if all := s.c.Info(s.now).Subflows; all[0].TOS != 0x2c || all[0].UserTimeout != 700*ms || all[1].TOS != 0 || all[1].UserTimeout != 0 {
		t.Errorf("%+v", all)
	}
	s.recv("1 . 1 ack 1 <prio backup>")
	s.write("hello")
	s.want(`0 . 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	if s.last.TOS != 0x2c {
		t.Errorf("TOS %x", s.last.TOS)
	}
	s.advance(1500 * ms)
	if left := strings.Join(s.left(), "\n"); !strings.Contains(left, `1 . 1 ack 1 win 65535 "hello"`) {
		t.Error(left)
	}
	if s.c.find(1) != nil || s.c.find(2) == nil {
		t.Error("not the first ended")
	}
}
