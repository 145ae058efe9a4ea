package mptcp

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"tandem/engine/datagram"
	"tandem/engine/wire"
)

// laneScript is a script whose peer has a control lane too.
type laneScript struct {
	*script
	peer *datagram.Control
	news []datagram.Event // that the peer heard
	dead map[PathID]bool
}

func newLane(t *testing.T, dials bool, cfg Config, paths int) *laneScript {
	cfg.Paired = true
	s := &laneScript{script: newScript(t, dials, cfg, 0), dead: make(map[PathID]bool)}
	s.restart(1)
	s.lane = func(id PathID, pkt []byte) {
		var d wire.Datagram
		if err := d.Parse(pkt); err != nil {
			t.Fatal(err)
		}
		if s.peer != nil && !s.dead[id] {
			s.peer.Receive(s.now, datagram.PathID(id), d.Payload)
		}
	}
	for i := range paths {
		s.attach(PathID(i), dials)
		p := s.b.path(PathID(i))
		s.b.Attach(s.now, PathID(i), PathConfig{Local4: p.cfg.Local4, Peer4: peerOf(PathID(i))})
		s.peer.Attach(s.now, datagram.PathID(i))
	}
	s.talk()
	return s
}

func peerOf(id PathID) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(id), 200}) }

// restart has another process answer as the peer.
func (s *laneScript) restart(epoch uint64) {
	s.peer = datagram.NewControl(datagram.ControlConfig{Epoch: epoch})
	for _, p := range s.b.paths {
		s.peer.Attach(s.now, datagram.PathID(p.id))
	}
}

// No more is dialled than the peer says that it takes.
func TestDialObeysThePeersLimit(t *testing.T) {
	s := newLane(t, true, Config{Limits: Limits{Connections: 5}}, 1)
	dialled := func() (n int) {
		for range 10 {
			if _, err := s.b.Dial(s.now, target, DialOptions{}); err == nil {
				n++
			} else if err != ErrLimit {
				t.Fatal(err)
			}
		}
		return n
	}
	s.peer = datagram.NewControl(datagram.ControlConfig{Epoch: 2, Limits: datagram.Limits{Connections: 3}})
	s.peer.Attach(s.now, 0)
	s.talk()
	if n := dialled(); n != 3 {
		t.Errorf("%d connections to a peer that takes 3", n)
	}
	s.restart(3)
	s.talk()
	if n := dialled(); n != 5 {
		t.Errorf("%d connections to a peer that does not say, want the own limit", n)
	}
}

// talk lets the lane go on until both ends are silent.
func (s *laneScript) talk() {
	s.t.Helper()
	for range 100 {
		s.collect()
		var buf [1200]byte
		id, msg, ok := s.peer.Transmit(s.now, buf[:])
		for e, more := s.peer.Next(); more; e, more = s.peer.Next() {
			s.news = append(s.news, e)
		}
		if !ok {
			return
		}
		if s.dead[PathID(id)] {
			continue
		}
		p := s.b.path(PathID(id))
		d := wire.Datagram{
			Source:  netip.AddrPortFrom(p.cfg.Peer4, datagram.Port),
			Target:  netip.AddrPortFrom(p.cfg.Local4, datagram.Port),
			Payload: msg,
		}
		s.b.Receive(s.now, PathID(id), d.Append(nil))
	}
	s.t.Fatal("the lane does not fall silent")
}

// heard returns the last event of a kind that the peer heard.
func (s *laneScript) heard(kind datagram.EventKind) *datagram.Event {
	for i := len(s.news) - 1; i >= 0; i-- {
		if s.news[i].Kind == kind {
			return &s.news[i]
		}
	}
	return nil
}

func (s *laneScript) offer() datagram.OfferID {
	return datagram.OfferID{Source: s.c.source.Port(), Target: s.c.target}
}

// heldLane returns a bond of two paths that has dialled over the first, and whose peer is about to say that it has the
// offer.
func heldLane(t *testing.T) *laneScript {
	t.Helper()
	s := newLane(t, true, Config{}, 2)
	s.dial(DialOptions{})
	s.want("0 S 0 <capable v1 flags 01>")
	s.advance(20 * ms)
	s.peer.Held(s.now, s.offer())
	return s
}

// A held offer is not repeated: the other end has it (D9).
func TestHeldOfferIsNotRepeated(t *testing.T) {
	s := heldLane(t)
	s.talk()
	s.advance(50 * second)
	s.want()
	if s.b.counters.Held != 1 {
		t.Errorf("Held is %d", s.b.counters.Held)
	}
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>")
	s.want("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
}

// A held offer whose path falls silent is repeated over another: the same offer, so that nobody is dialled twice (D2).
func TestHeldOfferLeavesASilentPath(t *testing.T) {
	s := heldLane(t)
	s.talk()
	s.dead[0] = true
	s.b.Ping(s.now)
	for range 100 {
		s.talk()
		s.advance(50 * ms)
	}
	if asked := s.left(); !slices.Contains(asked, "1 S 0 win 65535 <capable v1 flags 01>") {
		t.Fatalf("the other path was not asked: %q", asked)
	}
}

// So is one whose path the peer does not use any more.
func TestHeldOfferLeavesAPathThatIsOff(t *testing.T) {
	s := heldLane(t)
	s.talk()
	s.peer.SetPath(s.now, datagram.PathState{ID: 0, State: datagram.Off})
	s.talk()
	s.advance(ms)
	if got := s.asked(); !strings.Contains(got, "1") {
		t.Errorf("asks %q", got)
	}
}

// What the peer holds when the path has gone over which it got the offer may be of no use: the offer goes on until the
// peer has it by another. Then it waits as long as before, however slow the target is.
func TestHeldOfferAfterAPathWent(t *testing.T) {
	s := heldLane(t)
	s.now = s.now.Add(10 * ms) // it is under way
	s.b.Detach(s.now, 0)
	s.skip()
	s.talk()
	s.advance(4 * second)
	if got := s.asked(); strings.Count(got, "1") < 2 {
		t.Fatalf("asks %s", got)
	}
	s.peer.Held(s.now, s.offer())
	s.talk()
	s.skip()
	s.advance(50 * second)
	s.want()
	if s.c.phase != opening {
		t.Fatal("the dial ended")
	}
}

// Each SYN has its asker told: it may have lost the path over which it heard.
func TestOfferIsHeldAgain(t *testing.T) {
	for _, again := range []string{"0 S 0 <capable v1 flags 01>", "1 S 0 <capable v1 flags 01>"} {
		s := newLane(t, false, Config{}, 2)
		s.ends[1].local = s.ends[0].local
		s.recv("0 S 0 <capable v1 flags 01>")
		s.talk()
		s.c, _, _ = s.b.Next()
		s.news = nil
		s.advance(5 * second)
		s.recv(again)
		s.talk()
		if e := s.heard(datagram.PeerHeld); e == nil || e.Offer != s.offer() || e.Age > second {
			t.Errorf("after %s: %+v", again, e)
		}
	}
}

// One that nothing was heard of goes over another path too.
func TestSilentOfferIsRepeated(t *testing.T) {
	s := newLane(t, true, Config{}, 2)
	s.dial(DialOptions{})
	s.want("0 S 0 <capable v1 flags 01>")
	s.advance(3 * second)
	over := map[byte]int{}
	for _, line := range s.left() {
		over[line[0]]++
	}
	if over['0'] == 0 || over['1'] == 0 {
		t.Fatal(over)
	}
}

func TestRefusedOffer(t *testing.T) {
	s := newLane(t, true, Config{}, 2)
	s.dial(DialOptions{})
	s.skip()
	s.peer.Refused(s.now, s.offer(), wire.Prohibited)
	s.talk()
	wantRefusal(t, s.c.Err(), wire.Prohibited)
	s.left()
	if len(s.b.asked) != 0 {
		t.Fatal("still asked for")
	}
}

// An end that was only asked so far learns the round trip while it decides: it repeats a lost SYN/ACK soon.
func TestOfferMeasuresItsPath(t *testing.T) {
	s := newLane(t, false, Config{}, 2)
	there, under := s.lane, [][]byte{}
	s.lane = func(_ PathID, pkt []byte) { under = append(under, bytes.Clone(pkt)) }
	s.recv("0 S 0 <capable v1 flags 01>")
	s.collect()
	s.now = s.now.Add(20 * ms)
	s.lane = there
	for _, pkt := range under {
		s.lane(0, pkt)
	}
	s.talk()
	if rtt, _, _ := s.b.path(0).state.RTT(); rtt != 20*ms {
		t.Errorf("round trip %v", rtt)
	}
	if rto := s.b.path(0).state.RTO(); rto != 200*ms {
		t.Errorf("first repeat after %v", rto)
	}
	if rto := s.b.path(1).state.RTO(); rto != second {
		t.Errorf("over the other path, of which nothing is known, after %v", rto)
	}
}

// The other end: what it holds it says at once, what it refuses too.
func TestOfferIsHeldAndRefused(t *testing.T) {
	s := newLane(t, false, Config{}, 2)
	s.recv("0 S 0 <capable v1 flags 01>")
	s.talk()
	s.c, _, _ = s.b.Next()
	held := s.heard(datagram.PeerHeld)
	if held == nil || held.Offer != s.offer() {
		t.Fatalf("%+v", held)
	}
	s.c.Refuse(s.now, wire.Prohibited)
	s.talk()
	refused := s.heard(datagram.PeerRefused)
	if refused == nil || refused.Offer != s.offer() || refused.Reason != wire.Prohibited {
		t.Fatalf("%+v", refused)
	}
}

// Roles are told once for all subflows, instead of MP_PRIO on each.
func TestRoleOverTheLane(t *testing.T) {
	s := newLane(t, true, Config{}, 2)
	s.b.SetRole(s.now, 1, Backup)
	s.talk()
	s.want()
	if e := s.heard(datagram.PeerPath); e == nil || e.State.ID != 1 || e.State.Role != datagram.Backup {
		t.Fatalf("%+v", e)
	}
	s.peer.SetPath(s.now, datagram.PathState{ID: 0, Role: datagram.Backup})
	s.talk()
	if s.b.path(0).peerRole != Backup {
		t.Fatal("not taken")
	}
}

// openLane returns a connection over both paths.
func openLane(t *testing.T) *laneScript {
	t.Helper()
	return openLaneWith(t, "")
}

// openLaneWith does so with more in what the peer says to the join.
func openLaneWith(t *testing.T, more string) *laneScript {
	t.Helper()
	s := newLane(t, true, Config{Control: "cubic"}, 2)
	s.dial(DialOptions{})
	s.skip()
	s.advance(20 * ms)
	s.talk()
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>", "0 . 1 ack 1 <dss ack8 1>")
	s.skip()
	s.recv("1 S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B"+more+">", "1 . 1 ack 1 <dss ack8 1>")
	s.skip()
	s.living(2)
	return s
}

// BYE ends every connection, in silence.
func TestByeOfThePeer(t *testing.T) {
	s := openLane(t)
	s.peer.Bye(s.now, datagram.Shutdown)
	s.talk()
	s.over(ErrReset)
	s.want()
}

func TestBye(t *testing.T) {
	s := newLane(t, true, Config{}, 1)
	s.b.Bye(s.now, ByeShutdown)
	s.talk()
	if e := s.heard(datagram.PeerBye); e == nil || e.Bye != datagram.Shutdown {
		t.Fatalf("%+v", e)
	}
}

// Another process in the peer's place knows none of the connections.
func TestPeerRestarts(t *testing.T) {
	s := openLane(t)
	s.restart(2)
	s.talk()
	s.over(ErrReset)
	s.want()
}

// A path that is silent with octets outstanding loses them to another, is asked for a sign of life,
// and carries octets again when it gives one.
func TestSilentPath(t *testing.T) {
	s := openLane(t)
	s.recv("1 . 1 ack 1 <prio backup>")
	s.write("hello")
	s.want(`0 . 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.dead[0] = true
	for range 20 {
		s.advance(50 * ms)
		s.talk()
	}
	elsewhere := false
	for _, line := range s.left() {
		elsewhere = elsewhere || line[0] == '1'
	}
	if !elsewhere || !s.b.Paths(s.now)[0].Suspect {
		t.Fatal("not sent elsewhere")
	}
	s.recv("1 . 1 ack 6 <dss ack8 6>")
	s.dead[0] = false
	for range 20 {
		s.advance(50 * ms)
		s.talk()
	}
	s.left()
	if s.c.subflows[0].suspect {
		t.Fatal("not used again")
	}
}
