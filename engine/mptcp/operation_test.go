package mptcp

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"tandem/engine/clock"
	"tandem/engine/datagram"
)

// opens opens a subflow over a path and fails the test if that is refused.
func (s *script) opens(o SubflowOptions) SubflowID {
	s.t.Helper()
	id, err := s.c.OpenSubflow(s.now, o)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.story())
	}
	return id
}

// refuses fails the test unless an operation ended with that error.
func (s *script) refuses(err, want error) {
	s.t.Helper()
	if err != want {
		s.t.Errorf("got %v, want %v", err, want)
	}
}

// ids returns the numbers of the subflows that may carry data.
func (s *script) ids() string {
	var text []string
	for _, f := range s.c.Info(s.now).Subflows {
		if f.Established {
			text = append(text, string('0'+rune(f.ID)))
		}
	}
	return strings.Join(text, " ")
}

// A connection that opens nothing by itself gets a subflow when it is asked for one, and loses it in order.
func TestOpenAndCloseSubflow(t *testing.T) {
	s := agreed(t, Config{Passive: true}, 2)
	if id := s.opens(SubflowOptions{Path: 1}); id != 2 {
		t.Errorf("subflow %d", id)
	}
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A>")
	if s.ids() != "1" {
		t.Errorf("established %s before the answer", s.ids())
	}
	s.join(1)
	if s.ids() != "1 2" {
		t.Errorf("established %s", s.ids())
	}
	s.refuses(s.c.CloseSubflow(s.now, 1, ByFIN), nil)
	s.want("0 F. 1 ack 1 <dss ack4 1>")
	s.write("hello")
	s.want(`1 . 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.recv("0 F. 1 ack 2 <dss ack8 1>", "1 . 1 ack 6 <dss ack8 6>")
	s.skip()
	if s.ids() != "2" {
		t.Errorf("established %s", s.ids())
	}
	s.refuses(s.c.CloseSubflow(s.now, 1, ByFIN), ErrNoSubflow)
	s.advance(100 * second)
	if s.living(1); s.c.subflows[0].id != 2 {
		t.Errorf("subflow %d lives", s.c.subflows[0].id)
	}
}

// What a subflow that is reset was given goes out over another.
func TestResetSubflow(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.recv("1 . 1 ack 1 <prio backup>")
	s.write("hello")
	s.want(`0 . 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.refuses(s.c.CloseSubflow(s.now, 1, ByReset), nil)
	s.line("0 R. 6 ack 1 <reset unspecified>")
	s.want(`1 . 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.c.Poke(s.now)
	s.want()
	t.Log("the path is not joined again, until somebody asks")
	s.recv("1 . 1 ack 6 <dss ack8 6>")
	s.advance(100 * second)
	s.want()
	s.living(1)
	s.opens(SubflowOptions{Path: 0})
	s.want("0 S 0 <join id 0 token token-B nonce nonce-A>")
	t.Log("and from then on by itself, too")
	s.join(0)
	s.recv("0 R. 1 ack 1 <reset 0 transient>")
	s.advance(1500 * ms)
	s.want("0 S 0 <join id 0 token token-B nonce nonce-A>")
}

// A path whose subflow is about to end can have another already, from another port.
func TestReopenBeforeTheEnd(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.refuses(s.c.CloseSubflow(s.now, 2, ByFIN), nil)
	s.want("1 F. 1 ack 1 <dss ack4 1>")
	port := s.ends[1].local.Port()
	s.opens(SubflowOptions{Path: 1})
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A>")
	if s.ends[1].local.Port() == port {
		t.Error("from the port of the one that ends")
	}
}

// What opens nothing by itself does so in place of what it is to close.
func TestCloseBuildsAnotherThoughPassive(t *testing.T) {
	s := agreed(t, Config{Passive: true}, 2)
	s.refuses(s.c.CloseSubflow(s.now, 1, ByFIN), nil)
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A>")
	s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>")
	s.want("1 . 1 ack 1 <join mac mac-A>")
	s.recv("1 . 1 ack 1 <dss ack8 1>")
	s.want("0 F. 1 ack 1 <dss ack4 1>")
}

// Before the only subflow is closed another takes its place.
func TestCloseBuildsAnotherFirst(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.refuses(s.c.CloseSubflow(s.now, 1, ByReset), ErrLast)
	if s.c.Info(s.now).Subflows[0].Leaving || !s.c.welcomes(s.b.path(0)) {
		t.Error("refused, and something of it stays")
	}
	s.attach(1, true)
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A>")
	s.refuses(s.c.CloseSubflow(s.now, 1, ByFIN), nil)
	s.want()
	if !s.c.Info(s.now).Subflows[0].Leaving {
		t.Error("nobody can see that it is to be closed")
	}
	s.write("hello")
	s.want(`0 . 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.advance(100 * ms)
	s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>", "1 . 1 ack 1 <dss ack8 1>")
	s.line("0 F. 6 ack 1 <dss ack4 1>")
	s.skip()
	if s.ids() != "1 2" || s.c.relieved(s.c.subflows[1]) {
		t.Errorf("%s\n%s", s.ids(), s.story())
	}
}

// A join that is not answered yet is given up when its subflow is closed.
func TestCloseHalfOpenSubflow(t *testing.T) {
	s := agreed(t, Config{}, 2)
	s.refuses(s.c.CloseSubflow(s.now, 2, ByFIN), nil)
	s.want("1 R 1 <reset unspecified>")
	s.advance(100 * second)
	s.want()
	s.living(1)
}

// TCP_MULTIPATH_REMOVE (RFC 6897): the path's subflows end, and the peer is told not to use its address.
func TestRemovePath(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.refuses(s.c.RemovePath(s.now, 1), nil)
	s.want("1 F. 1 ack 1 <dss ack4 1>", "0 . 1 ack 1 <remove_addr [3]>")
	s.recv("1 F. 1 ack 2 <dss ack8 1>")
	s.skip()
	s.advance(100 * second)
	s.want()
	s.refuses(s.c.RemovePath(s.now, 0), ErrLast)
	s.refuses(s.c.RemovePath(s.now, 7), ErrNoPath)
}

// The peer may not open what was closed here, unless nothing else is left.
func TestPeerJoinsAClosedPath(t *testing.T) {
	s := askedToJoin(t, Config{}, 2)
	s.recv("1 . 1 ack 1 <dss ack8 1>", "0 . 1 ack 1 <dss ack8 1>")
	s.skip()
	s.refuses(s.c.CloseSubflow(s.now, 2, ByReset), nil)
	s.want("1 R. 1 ack 1 <reset unspecified>")
	s.recv("1 S 1000 <join id 1 token token-B nonce nonce-A>")
	s.want("1 R. zero ack 1001 <reset prohibited>")
	s.recv("0 R. 1 ack 1 <reset 0 transient>")
	s.living(0)
	s.recv("1 S 1000 <join id 1 token token-B nonce nonce-A>")
	s.want("1 S. 0 ack 1001 <join id 3 mac mac-B nonce nonce-B>")
}

// The priority of a subflow reaches the peer as MP_PRIO and rules the scheduler, and so does the peer's.
func TestSetPriority(t *testing.T) {
	s := joined(t, Config{Scheduler: "roundrobin"}, 2)
	s.refuses(s.c.SetPriority(s.now, 1, true), nil)
	s.want("0 . 1 ack 1 <dss ack4 1, prio backup>")
	s.refuses(s.c.SetPriority(s.now, 1, true), nil)
	s.want()
	for _, text := range []string{"hello", "again"} {
		s.write(text)
		if out := s.left(); len(out) != 1 || out[0][0] != '1' {
			t.Fatalf("spared, and yet %q", out)
		}
	}
	s.recv("1 . 1 ack 11 <dss ack8 11>", "0 . 1 ack 1 <prio backup>", "1 . 1 ack 11 <prio backup>")
	if f := s.c.Info(s.now).Subflows; !f[0].Backup || !f[0].PeerBackup || f[1].Backup || !f[1].PeerBackup {
		t.Errorf("%+v", f)
	}
	s.refuses(s.c.SetPriority(s.now, 1, false), nil)
	s.want("0 . 1 ack 1 <dss ack4 1, prio>")
	s.recv("0 . 1 ack 1 <prio>")
	s.write("more")
	if out := s.left(); len(out) != 1 || out[0][0] != '0' {
		t.Errorf("not spared any more, and yet %q", out)
	}
}

// MP_PRIO waits at most once on a subflow, and says what is wished when it leaves.
func TestPriorityLeavesOnce(t *testing.T) {
	s := joined(t, Config{}, 2)
	for _, backup := range []bool{true, false, true} {
		s.refuses(s.c.SetPriority(s.now, 2, backup), nil)
	}
	s.want("1 . 1 ack 1 <dss ack4 1, prio backup>")
}

// Between our ends a path's role goes over the lane, and the priority of one subflow by MP_PRIO all the same.
func TestPriorityWhenPaired(t *testing.T) {
	s := openLane(t)
	s.refuses(s.c.SetPriority(s.now, 2, true), nil)
	s.want("1 . 1 ack 1 <dss ack4 1, prio backup>")
	s.recv("1 . 1 ack 1 <prio backup>")
	s.peer.SetPath(s.now, datagram.PathState{ID: 1, LimitUp: 1e6})
	s.talk()
	if f := s.c.Info(s.now).Subflows[1]; !f.PeerBackup {
		t.Error("what the peer said of the path otherwise has undone MP_PRIO")
	}
	s.peer.SetPath(s.now, datagram.PathState{ID: 1, Role: datagram.Backup})
	s.talk()
	s.peer.SetPath(s.now, datagram.PathState{ID: 1})
	s.talk()
	if f := s.c.Info(s.now).Subflows[1]; f.PeerBackup {
		t.Error("the last word of the peer was that the path is primary")
	}
}

func TestWhatCannotBeDone(t *testing.T) {
	s := dialling(t, Config{Passive: true}, 2)
	try := func(o SubflowOptions) error { _, err := s.c.OpenSubflow(s.now, o); return err }
	s.refuses(try(SubflowOptions{Path: 1}), ErrEarly)
	s.refuses(s.c.CloseSubflow(s.now, 1, ByFIN), ErrEarly)

	s = dialled(t, Config{Passive: true}, 2)
	s.refuses(try(SubflowOptions{Path: 1}), ErrEarly)
	s.recv("0 . 1 ack 1 <dss ack8 1>")
	s.refuses(try(SubflowOptions{Path: 9}), ErrNoPath)
	s.refuses(try(SubflowOptions{Path: 0}), ErrExists)
	s.refuses(try(SubflowOptions{Path: 1, Remote: netip.MustParseAddrPort("[2001:db8::1]:80")}), ErrNoPath)
	s.refuses(try(SubflowOptions{Local: netip.MustParseAddrPort("192.0.2.77:0")}), ErrNoPath)
	s.refuses(s.c.SetPriority(s.now, 9, true), ErrNoSubflow)
	id := s.opens(SubflowOptions{Path: 1})
	s.refuses(s.c.SetPriority(s.now, id, true), ErrEarly)
	s.refuses(try(SubflowOptions{Path: 1}), ErrExists)
	for range 2 {
		s.opens(SubflowOptions{Path: 1, Local: netip.AddrPortFrom(s.ends[1].local.Addr(), s.b.freePort(target))})
	}
	before := s.b.Counters().LimitSubflows
	s.refuses(try(SubflowOptions{Path: 1, Local: netip.AddrPortFrom(s.ends[1].local.Addr(), 7)}), ErrLimit)
	if n := s.b.Counters().LimitSubflows; n != before+1 {
		t.Errorf("the limit was counted %d times", n-before)
	}

	s.c.id.noJoins = true
	s.refuses(try(SubflowOptions{Path: 1}), ErrNoJoins)
	s.c.Abort(s.now)
	s.refuses(try(SubflowOptions{Path: 1}), ErrClosed)
	s.refuses(s.c.SetPriority(s.now, 1, true), ErrClosed)
}

// After a fallback there is one subflow, and nothing to be done with it.
func TestOperationsAfterFallback(t *testing.T) {
	s := dialling(t, Config{}, 2)
	s.skip()
	s.recv("0 S. 0 ack 1")
	s.skip()
	_, err := s.c.OpenSubflow(s.now, SubflowOptions{Path: 1})
	s.refuses(err, ErrFallback)
	s.refuses(s.c.CloseSubflow(s.now, 1, ByFIN), ErrFallback)
	s.refuses(s.c.RemovePath(s.now, 0), ErrFallback)
	s.refuses(s.c.AddPath(s.now, 0), ErrFallback)
	s.refuses(s.c.SetTOS(1, 0x20), ErrFallback)
	s.refuses(s.c.SetUserTimeout(1, second), ErrFallback)
	_, _, err = s.c.Priority(1)
	s.refuses(err, ErrFallback)
	s.refuses(s.c.SetPriority(s.now, 1, true), ErrFallback)
	if i := s.c.Info(s.now); s.c.Multipath() || !i.Fallback || len(i.Subflows) != 1 || i.Subflows[0].ID != 1 || !i.Subflows[0].Established {
		t.Errorf("%+v", i)
	}
}

// A tuple that is given in full is opened as it is, to wherever.
func TestOpenTuple(t *testing.T) {
	s := agreed(t, Config{Passive: true}, 2)
	local := netip.AddrPortFrom(s.ends[1].local.Addr(), 4711)
	s.opens(SubflowOptions{Local: local, Remote: netip.MustParseAddrPort("10.9.7.7:8080"), Backup: true})
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A backup>")
	if s.last.Source != local || s.last.Target.String() != "10.9.7.7:8080" {
		t.Errorf("%v > %v", s.last.Source, s.last.Target)
	}
}

// Only is for good: neither offers nor joins, nor announcements, leave over other paths.
func TestOnly(t *testing.T) {
	s := newScript(t, true, Config{Announce: true}, 3)
	if _, err := s.b.Dial(s.now, target, DialOptions{Only: []PathID{}}); err != ErrNoPath {
		t.Errorf("over none: %v", err)
	}
	if _, err := s.b.Dial(s.now, target, DialOptions{Only: []PathID{1}, Paths: []PathID{0}}); err != ErrNoPath {
		t.Errorf("over none of those: %v", err)
	}
	s.dial(DialOptions{Only: []PathID{1, 2}, Establish: Timer})
	s.attach(3, true)
	s.advance(10 * second)
	for _, line := range s.left() {
		if line[0] == '0' || line[0] == '3' {
			t.Errorf("left: %s", line)
		}
	}
	s.recv("1 S. 0 ack 1 <capable v1 flags 01 key-B>", "1 . 1 ack 1 <dss ack8 1>")
	s.attach(0, true)
	s.advance(second)
	joins := 0
	for _, line := range s.left() {
		if line[0] == '0' || line[0] == '3' || strings.Contains(line, "add_addr id 1 ") || strings.Contains(line, "add_addr id 7 ") {
			t.Errorf("left: %s", line)
		}
		if strings.HasPrefix(line, "2 S 0 ") && strings.Contains(line, "<join") {
			joins++
		}
	}
	if joins == 0 {
		t.Error("no join over the other path that it may use")
	}
	_, err := s.c.OpenSubflow(s.now, SubflowOptions{Path: 0})
	s.refuses(err, ErrNoPath)
}

// A connection that is asked for as one of TCP stays one, though the peer speaks MPTCP.
func TestDialPlain(t *testing.T) {
	s := newScript(t, true, Config{}, 2)
	s.dial(DialOptions{Plain: true})
	s.want("0 S 0")
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>")
	s.want("0 . 1 ack 1")
	s.write("hello")
	s.want(`0 . 1 ack 1 "hello"`)
	if s.c.Multipath() {
		t.Error("in use")
	}
}

// Whatever either end does with subflows during a transfer, every octet comes once, and the connection ends.
func TestOperationsDuringATransfer(t *testing.T) {
	done := [4]int{}
	for seed := range uint64(24) {
		cfg := Config{Paired: seed%2 == 0, Strict: true}
		r := rand.New(rand.NewPCG(seed, 8684))
		d := newDuo(t, cfg, cfg, 3)
		d.ends[1].Listen(80)
		c, err := d.ends[0].Dial(0, netip.MustParseAddrPort("10.0.0.2:80"), DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, 1<<20)
		rand.NewChaCha8([32]byte{3}).Read(data)
		near, far := user{conn: c, data: data}, user{data: data}
		ok := d.run(300*second, func() bool {
			near.turn(d)
			if far.conn == nil {
				if far.conn = d.offer(d.ends[1]); far.conn != nil {
					far.conn.Accept(d.now)
				}
			} else {
				far.turn(d)
			}
			if ends := []*Conn{near.conn, far.conn}; r.IntN(3) == 0 && far.conn != nil {
				if kind, err := operate(r.IntN, d.now, ends[r.IntN(2)]); err == nil {
					done[kind]++
				}
			}
			d.flush()
			return near.ended && far.ended
		})
		if !ok || !bytes.Equal(near.got, data) || !bytes.Equal(far.got, data) {
			t.Fatalf("seed %d, %v: %d and %d octets came\n%s\n%s", seed, d.now, len(far.got), len(near.got), c.Trace(), far.conn.Trace())
		}
	}
	for kind, n := range done {
		if n < 10 {
			t.Errorf("operation %d was done %d times only", kind, n)
		}
	}
}

// operate does something with a subflow.
func operate(roll func(int) int, now clock.Time, c *Conn) (kind int, err error) {
	id := SubflowID(1 + roll(max(1, int(c.lastID))))
	switch kind = roll(4); kind {
	case 0:
		_, err = c.OpenSubflow(now, SubflowOptions{Path: PathID(roll(3)), Backup: roll(2) == 0})
	case 1:
		err = c.CloseSubflow(now, id, Ending(1+roll(2)))
	case 2:
		err = c.SetPriority(now, id, roll(2) == 0)
	case 3:
		err = c.RemovePath(now, PathID(roll(3)))
	}
	return kind, err
}

// Subflows that ended are remembered for a while, and count: who opens and closes without end finds one.
func TestEndedSubflowsCount(t *testing.T) {
	s := agreed(t, Config{Passive: true, Limits: Limits{Subflows: 4}}, 2)
	opened := 0
	for range 10 {
		id, err := s.c.OpenSubflow(s.now, SubflowOptions{Path: 1})
		if err != nil {
			s.refuses(err, ErrLimit)
			break
		}
		opened++
		s.skip()
		s.join(1)
		s.refuses(s.c.CloseSubflow(s.now, id, ByFIN), nil)
		s.skip()
		s.recv("1 F. 1 ack 2 <dss ack8 1>")
		s.skip()
	}
	if opened != 3 || s.b.Counters().LimitSubflows != 1 {
		t.Errorf("%d were opened, the limit was counted %d times\n%s", opened, s.b.Counters().LimitSubflows, s.story())
	}
	s.advance(100 * second)
	s.opens(SubflowOptions{Path: 1})
}

// A peer that never ends its side is not awaited for ever.
func TestCloseWithoutAnAnswer(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.refuses(s.c.CloseSubflow(s.now, 2, ByFIN), nil)
	s.want("1 F. 1 ack 1 <dss ack4 1>")
	s.recv("1 . 1 ack 2 <dss ack8 1>")
	s.advance(70 * second)
	s.living(1)
}

// Where the peer has closed its end of the only subflow, that one still carries what goes there, and another is opened.
func TestPeerClosesTheLast(t *testing.T) {
	s := agreed(t, Config{}, 1)
	s.recv("0 F. 1 ack 1 <dss ack8 1>")
	s.advance(second)
	s.skip()
	s.attach(1, true)
	s.want("1 S 0 <join id 3 token token-B nonce nonce-A>")
	s.refuses(s.c.CloseSubflow(s.now, 2, ByFIN), ErrLast)
	s.write("hello")
	s.want(`0 . 1 ack 2 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.advance(100 * ms)
	s.recv("0 . 2 ack 6 <dss ack8 6>", "1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>")
	s.want("1 . 1 ack 1 <join mac mac-A>")
	s.recv("1 . 1 ack 1 <dss ack8 6>")
	s.want("0 F. 6 ack 2 <dss ack4 1>")
}

// What was closed here is opened again when the peer closes the rest.
func TestPeerClosesTheRest(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.refuses(s.c.CloseSubflow(s.now, 2, ByReset), nil)
	s.want("1 R. 1 ack 1 <reset unspecified>")
	s.recv("0 F. 1 ack 1 <dss ack8 1>")
	if out := strings.Join(s.left(), "\n"); !strings.Contains(out, "1 S 0") {
		t.Errorf("left: %q\n%s", out, s.story())
	}
}

// A subflow that waits for another to take its place ends when one that was silent is heard again.
func TestCloseWhenAnotherIsBack(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.attach(2, true)
	s.skip()
	s.c.subflows[0].doubt(s.now)
	s.refuses(s.c.CloseSubflow(s.now, 2, ByFIN), nil)
	s.want()
	s.c.subflows[0].back(s.now)
	s.c.Poke(s.now)
	s.want("1 F. 1 ack 1 <dss ack4 1>")
}
