package mptcp

import (
	"errors"
	"testing"
	"time"

	"tandem/engine/datagram"
	"tandem/engine/wire"
)

// wantRefusal fails unless the connection was refused for that reason.
func wantRefusal(t *testing.T, err error, want wire.Reason) {
	t.Helper()
	var r *Refusal
	if !errors.Is(err, ErrRefused) || !errors.As(err, &r) || r.Reason != want {
		t.Fatalf("%v, want a refusal for %v", err, want)
	}
}

// Why an offer was refused comes with REFUSED, with the reset, and with whichever of the two is not lost.
func TestReasonOfARefusal(t *testing.T) {
	for name, lost := range map[string]func(from int, udp bool) bool{
		"nothing is lost":   func(int, bool) bool { return false },
		"the lane is lost":  func(from int, udp bool) bool { return from == 1 && udp },
		"the reset is lost": func(from int, udp bool) bool { return from == 1 && !udp },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPost(t, 2)
			c, err := p.ends[0].Dial(p.now, there4, DialOptions{})
			if err != nil {
				t.Fatal(err)
			}
			p.wait(time.Second)
			asked := p.now
			p.lose = func(_, from int, _ PathID, pkt []byte) bool {
				var v wire.Packet
				return lost(from, v.Parse(pkt) == nil && v.Protocol == wire.UDP)
			}
			p.offer(p.ends[1]).Refuse(p.now, datagram.HostUnreachable)
			if !p.run(time.Second, func() bool { return c.Err() != nil }) {
				t.Fatal("not refused")
			}
			wantRefusal(t, c.Err(), datagram.HostUnreachable)
			if d := p.now.Sub(asked); d > 20*time.Millisecond {
				t.Errorf("after %v, with a path that takes 5 ms", d)
			}
		})
	}
}

// A SYN that was under way when its offer was refused is told the same.
func TestReasonIsRepeated(t *testing.T) {
	s := pairedOffer(t, Config{}, "0 S 0 <capable v1 flags 01>")
	s.c.Refuse(s.now, wire.Prohibited)
	s.want("0 R. zero ack 1 <reset prohibited>")
	s.recv("1 S 0 <capable v1 flags 01>")
	s.want("1 R. zero ack 1 <reset prohibited>")
	s.take()
	s.advance(30 * second)
	s.recv("1 S 0 <capable v1 flags 01>")
	s.want("1 R. zero ack 1 <reset prohibited>")
}

// A stranger is told what RFC 8684 has words for, and is believed as much.
func TestRefusalAmongStrangers(t *testing.T) {
	s := offeredTo(t, Config{}, 1, "0 S 0 <capable v1 flags 01>")
	s.c.Refuse(s.now, datagram.TimedOut)
	s.want("0 R. zero ack 1 <reset unacceptable>")
	s = dialling(t, Config{}, 1)
	s.skip()
	s.recv("0 R. 0 ack 1 <reset 3>")
	wantRefusal(t, s.c.Err(), wire.Prohibited)
	s.readEnd(s.c.Err())
}

// Another process in the asker's place may ask from a port that was answered a moment ago.
func TestRestartedAskerIsHeard(t *testing.T) {
	for _, refuse := range []bool{true, false} {
		s := newLane(t, false, Config{}, 2)
		s.recv("0 S 0 <capable v1 flags 01>")
		s.c, _, _ = s.b.Next()
		if refuse {
			s.c.Refuse(s.now, wire.Prohibited)
		} else {
			s.accept()
			s.skip()
			s.recv("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
		}
		s.talk()
		s.skip()
		s.advance(5 * second)
		s.restart(2)
		s.talk()
		s.skip()
		for ok := true; ok; {
			_, _, ok = s.b.Next()
		}
		s.recv("0 S 9000 <capable v1 flags 01>")
		if c, what, ok := s.b.Next(); !ok || what != Offered || c == s.c {
			t.Fatalf("refused %v: %v, %v after the SYN of another process\n%v", refuse, what, ok, s.left())
		}
		if len(s.b.offers.done) != 0 || len(s.b.offers.byAsker) != 1 || s.b.offers.waiting != 1 {
			t.Errorf("%+v", s.b.offers)
		}
	}
}

// HELLO says which families the other end reaches, at first and when that changes.
func TestFamiliesAreTold(t *testing.T) {
	for _, c := range []struct{ told, later, want, then Families }{
		{0, IPv4, IPv4 | IPv6, IPv4},
		{IPv4, IPv4 | IPv6, IPv4, IPv4 | IPv6},
		{IPv6, 0, IPv6, IPv4 | IPv6},
	} {
		s := newLane(t, true, Config{Families: c.told}, 1)
		if n, ok := s.peer.Negotiated(); !ok || n.Families != c.want {
			t.Errorf("%+v, want %v", n, c.want)
		}
		s.b.SetFamilies(s.now, c.later)
		s.talk()
		if n, _ := s.peer.Negotiated(); n.Families != c.then {
			t.Errorf("%+v, want %v later", n, c.then)
		}
		if e, ok := last(s.b, HelloHeard); !ok || e.Families != IPv4|IPv6 {
			t.Errorf("%+v of a peer that does not say", e)
		}
		s.peer.SetFamilies(s.now, IPv6)
		s.talk()
		if e, ok := last(s.b, HelloHeard); !ok || e.Families != IPv6 || e.Changed {
			t.Errorf("%+v of a peer that lost IPv4", e)
		}
	}
}

// An offer that is repeated in the place of joins, which the peer knows nothing of, is one that can be answered.
func TestOfferInPlaceOfJoins(t *testing.T) {
	s := newScript(t, true, Config{Paired: true}, 2)
	s.dial(DialOptions{})
	s.skip()
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>")
	s.skip()
	s.recv("0 R. 1 ack 1")
	if got := s.asked(); len(got) != 2 {
		t.Fatalf("joins over %s", got)
	}
	s.b.SetRole(s.now, 0, Backup)
	s.recv("0 R. 0 ack 1 <reset 1>")
	if got := s.asked(); got != "1" {
		t.Fatalf("asks %q", got)
	}
	s.recv("1 R. 0 ack 1 <reset 3>")
	wantRefusal(t, s.c.Err(), wire.Prohibited)
}
