package implicit

import (
	"io"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/wire"
	"tandem/tunnel/packet"
)

// Of a target that speaks TCP alone the proxy takes the connection: everything of it is its own from then on, and late
// segments are for a minute after its end.
func TestPlainTarget(t *testing.T) {
	y := newYard(t, Config{})
	syn := segment(client, shop, wire.SYN)
	y.comes(deliver, syn)
	y.comes(deliver, syn) // repeated
	a := newAsking(client, shop)
	if err := y.relays(y.p.Offer(a)); err != nil || a.accepted != 1 || a.ignored != 0 {
		t.Fatalf("%v: %+v", err, a)
	}
	y.comes(deliver, segment(client, shop, wire.ACK), segment(client, shop, wire.ACK|wire.PSH, payload("hello")))
	close(a.gone)
	y.now = y.now.Add(59 * time.Second)
	y.comes(deliver, segment(client, shop, wire.ACK|wire.FIN))
	y.now = y.now.Add(61 * time.Second)
	y.comes(deliver, segment(netip.MustParseAddrPort("192.168.1.2:40001"), shop, wire.SYN)) // has old ones looked for
	y.comes(forward, segment(client, shop, wire.ACK))
	if n := y.p.Counters(); n.Taken != 1 || n.Flows != 1 || n.Pending != 1 || len(y.forwarded) != 1 {
		t.Errorf("%+v", n)
	}
}

// One that speaks Multipath TCP itself gets the SYN as it came, the proxy is out of the way, and for an hour at once.
func TestTargetThatSpeaks(t *testing.T) {
	y := newYard(t, Config{})
	syn := segment(client, modern, wire.SYN, payload("early"))
	y.comes(deliver, syn)
	a := newAsking(client, modern)
	if err := y.relays(y.p.Offer(a)); err != errSpeaks || a.ignored != 1 || a.accepted != 0 {
		t.Fatalf("%v: %+v", err, a)
	}
	if len(y.forwarded) != 1 || !equal(y.forwarded, [][]byte{syn}) {
		t.Fatalf("forwarded %x, want %x", y.forwarded, syn)
	}
	if said, err := io.ReadAll(y.probe); err != nil || len(said) > 0 {
		t.Errorf("the target was asked with %q, %v; want an end in order", said, err)
	}
	y.comes(forward, segment(client, modern, wire.ACK), segment(client, modern, wire.ACK|wire.PSH, payload("hello")))
	next := netip.MustParseAddrPort("192.168.1.2:40001")
	y.comes(forward, segment(next, modern, wire.SYN))
	y.now = y.now.Add(time.Hour)
	y.comes(deliver, segment(next, modern, wire.SYN))
	if n := y.p.Counters(); n.Stepped != 1 || n.Bypassed != 1 || len(y.dialled) != 1 {
		t.Errorf("%+v, dialled %v", n, y.dialled)
	}
}

// What cannot be connected to answers its client itself, and nothing is concluded from it.
func TestTargetThatFails(t *testing.T) {
	y := newYard(t, Config{})
	nobody := netip.MustParseAddrPort("192.0.2.99:443")
	for range 2 {
		syn := segment(client, nobody, wire.SYN)
		y.comes(deliver, syn)
		y.forwarded = nil
		if err := y.relays(y.p.Offer(newAsking(client, nobody))); err != errNobody || !equal(y.forwarded, [][]byte{syn}) {
			t.Fatalf("%v, forwarded %x", err, y.forwarded)
		}
		y.comes(forward, segment(client, nobody, wire.RST|wire.ACK))
	}
	if n := y.p.Counters(); n.Failed != 2 || n.Flows != 0 || n.Pending != 0 {
		t.Errorf("%+v", n)
	}
}

// Who has left by the time that the target is known hears nothing more.
func TestClientLeaves(t *testing.T) {
	y := newYard(t, Config{})
	for _, target := range []netip.AddrPort{modern, netip.MustParseAddrPort("192.0.2.99:443")} {
		y.comes(deliver, segment(client, target, wire.SYN))
		a := newAsking(client, target)
		a.left = io.ErrClosedPipe
		close(a.gone)
		y.relays(y.p.Offer(a))
	}
	if n := y.p.Counters(); len(y.forwarded) != 0 || n.Flows != 0 || n.Pending != 0 {
		t.Errorf("forwarded %x, %+v", y.forwarded, n)
	}
}

// A SYN that is repeated in the moment when the flow is given back makes another offer, which comes to nothing.
func TestGivenBackMeanwhile(t *testing.T) {
	y := newYard(t, Config{})
	y.comes(deliver, segment(client, modern, wire.SYN))
	first, second, third := newAsking(client, modern), newAsking(client, modern), newAsking(client, modern)
	one, two := y.p.Offer(first), y.p.Offer(second)
	y.relays(one)
	late := y.p.Offer(third)
	if _, err := two.Accept(); err != errGivenBack || second.ignored != 1 || second.accepted != 0 {
		t.Errorf("%v, %+v", err, second)
	}
	if _, err := late.Accept(); err != errGivenBack || third.ignored != 1 {
		t.Errorf("%v, %+v", err, third)
	}
	late.Refuse(errSpeaks)
	if len(y.forwarded) != 1 || y.p.Counters().Stepped != 1 {
		t.Errorf("forwarded %d times", len(y.forwarded))
	}
}

// Of one client's connections at one port a new one may come when the old is over.
func TestPortTakenAgain(t *testing.T) {
	y := newYard(t, Config{})
	for range 2 {
		y.comes(deliver, segment(client, shop, wire.SYN))
		a := newAsking(client, shop)
		if err := y.relays(y.p.Offer(a)); err != nil {
			t.Fatal(err)
		}
		y.comes(deliver, segment(client, shop, wire.ACK))
		close(a.gone)
	}
	if n := y.p.Counters(); n.Taken != 2 || n.Flows != 1 || n.Pending != 0 {
		t.Errorf("%+v", n)
	}
}

// What is none of the proxy's goes on as it came.
func TestNotOurs(t *testing.T) {
	options := func(change func(*wire.Options)) func(*wire.Segment) {
		return func(s *wire.Segment) { change(&s.Options) }
	}
	fragment := segment(client, shop, wire.SYN)
	fragment[6] = 0x20
	wrong := segment(client, shop, wire.SYN)
	wrong[36] ^= 1
	datagram := (&packet.Packet{Source: client.Addr(), Target: shop.Addr(), Protocol: wire.UDP, Body: make([]byte, 20)}).Append(nil)
	for name, pkt := range map[string][]byte{
		"nothing":    {},
		"garbage":    {0x45, 0, 0},
		"UDP":        datagram,
		"a fragment": fragment,
		"wrong sum":  wrong,
		"no flow":    segment(client, shop, wire.ACK, payload("hello")),
		"SYN/ACK": segment(client, shop, wire.SYN|wire.ACK, options(func(o *wire.Options) {
			o.Has, o.Capable = wire.HasCapable, wire.Capable{Length: 12, Version: 1, Flags: 1}
		})),
		"plain TCP":   segment(client, shop, wire.SYN, options(func(o *wire.Options) { o.Has = wire.HasMSS })),
		"version 0":   segment(client, shop, wire.SYN, options(func(o *wire.Options) { o.Capable.Version = 0 })),
		"other sums":  segment(client, shop, wire.SYN, options(func(o *wire.Options) { o.Capable.Flags = 0 })),
		"extended":    segment(client, shop, wire.SYN, options(func(o *wire.Options) { o.Capable.Flags |= wire.Extensible })),
		"MP_JOIN":     segment(client, shop, wire.SYN, options(func(o *wire.Options) { o.Has, o.Join = wire.HasJoin, wire.Join{Length: 12} })),
		"to many":     segment(client, netip.MustParseAddrPort("224.0.0.5:443"), wire.SYN),
		"port 0":      segment(client, netip.AddrPortFrom(shop.Addr(), 0), wire.SYN),
		"ICMP to all": packet.AppendError(nil, client.Addr(), packet.TooBig, 1300, segment(shop, client, wire.ACK, payload("data"))),
	} {
		t.Run(name, func(t *testing.T) {
			y := newYard(t, Config{})
			y.comes(forward, pkt)
			if n := y.p.Counters(); n.Flows != 0 || n.Forwarded != 1 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// At the proxy's own addresses there are subflows, and what is said of them; nothing else is ever forwarded there.
func TestOwnAddress(t *testing.T) {
	here := netip.AddrPortFrom(ours, 443)
	join := segment(client, here, wire.SYN, func(s *wire.Segment) {
		s.Options.Has, s.Options.Join = wire.HasJoin, wire.Join{Length: 12, Token: 7}
	})
	y := newYard(t, Config{})
	y.comes(deliver, join)
	y.comes(deliver, segment(client, here, wire.ACK, payload("hello")))
	y.comes(deliver, packet.AppendError(nil, client.Addr(), packet.TooBig, 1300, segment(here, client, wire.ACK, payload("data"))))
	y.comes(discard, segment(client, here, wire.SYN))
	y.comes(discard, (&packet.Packet{Source: client.Addr(), Target: ours, Protocol: wire.UDP, Body: make([]byte, 20)}).Append(nil))
	wrong := segment(client, here, wire.ACK, payload("hello"))
	wrong[len(wrong)-1] ^= 1
	y.comes(discard, wrong)
}

// An ICMP error about what was sent in the target's name is the proxy's, too.
func TestComplaint(t *testing.T) {
	for _, ends := range [][2]netip.AddrPort{{client, shop}, {guest6, shop6}} {
		y := newYard(t, Config{})
		y.comes(deliver, segment(ends[0], ends[1], wire.SYN))
		y.comes(deliver, packet.AppendError(nil, ends[0].Addr(), packet.TooBig, 1300, segment(ends[1], ends[0], wire.ACK, payload("data"))))
	}
}

// A batch keeps its order, and each packet has its own way.
func TestBatch(t *testing.T) {
	y := newYard(t, Config{})
	a, b, c := segment(client, shop, wire.SYN), segment(client, modern, wire.ACK), segment(client, shop, wire.ACK)
	d := segment(client, modern, wire.ACK|wire.FIN)
	y.p.Receive([][]byte{a, c, b, d, c, nil})
	if !equal(y.delivered, [][]byte{a, c, c}) || !equal(y.forwarded, [][]byte{b, d, nil}) {
		t.Errorf("delivered %x, forwarded %x", y.delivered, y.forwarded)
	}
	y.p.Receive(nil)
}

// Beyond its bounds the proxy takes no more, of all or of one client, and nobody suffers from it.
func TestBounds(t *testing.T) {
	from := func(host byte, port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 1, host}), port)
	}
	y := newYard(t, Config{Flows: 6, Pending: 4})
	y.comes(deliver, segment(from(2, 1), shop, wire.SYN), segment(from(2, 2), shop, wire.SYN))
	y.comes(forward, segment(from(2, 3), shop, wire.SYN)) // it has half of what may be pending
	y.comes(deliver, segment(from(3, 1), shop, wire.SYN), segment(from(4, 1), shop, wire.SYN))
	y.comes(forward, segment(from(5, 1), shop, wire.SYN)) // all has somebody
	for _, who := range []netip.AddrPort{from(2, 1), from(2, 2), from(3, 1)} {
		if err := y.relays(y.p.Offer(newAsking(who, shop))); err != nil {
			t.Fatal(err)
		}
	}
	y.comes(deliver, segment(from(2, 3), shop, wire.SYN))
	y.comes(forward, segment(from(2, 4), shop, wire.SYN)) // it has half of all flows
	y.comes(deliver, segment(from(5, 1), shop, wire.SYN))
	y.comes(forward, segment(from(6, 1), shop, wire.SYN)) // all flows are there
	if n := y.p.Counters(); n.Full != 4 || n.Flows != 6 || n.Pending != 3 || len(y.p.loads) != 4 {
		t.Errorf("%+v, %v", n, y.p.loads)
	}
	// Those of which nothing came are forgotten, open ones are not.
	y.now = y.now.Add(flowTime)
	y.comes(deliver, segment(from(6, 1), shop, wire.SYN))
	if n := y.p.Counters(); n.Flows != 4 || n.Pending != 1 || len(y.p.loads) != 3 {
		t.Errorf("%+v, %v", n, y.p.loads)
	}
}

// All addresses of an IPv6 /64 are one client.
func TestBoundsOfSite(t *testing.T) {
	y := newYard(t, Config{Pending: 2})
	y.comes(deliver, segment(guest6, shop6, wire.SYN))
	y.comes(forward, segment(netip.MustParseAddrPort("[2001:db8:1::3]:40000"), shop6, wire.SYN))
	y.comes(deliver, segment(netip.MustParseAddrPort("[2001:db8:1:1::2]:40000"), shop6, wire.SYN))
}

// FuzzReceive: whatever comes goes one way, as it came, and costs no more than the bounds.
func FuzzReceive(f *testing.F) {
	f.Add(segment(client, shop, wire.SYN), segment(client, shop, wire.ACK, payload("hello")))
	f.Add(segment(guest6, shop6, wire.SYN), packet.AppendError(nil, guest6.Addr(), packet.TooBig, 1300, segment(shop6, guest6, wire.ACK)))
	f.Add(segment(client, netip.AddrPortFrom(ours, 443), wire.SYN), []byte{0x60})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		y := newYard(t, Config{Flows: 2})
		pkts := [][]byte{a, b, a}
		y.p.Receive(pkts)
		for i, pkt := range pkts {
			if _, target, _, _ := wire.Addresses(pkt); i < 2 && target.Addr() == ours {
				return // may have been discarded
			}
		}
		if got := len(y.delivered) + len(y.forwarded); got != len(pkts) {
			t.Errorf("%d of %d packets", got, len(pkts))
		}
		for _, pkt := range append(y.delivered, y.forwarded...) {
			if !equal([][]byte{pkt}, [][]byte{a}) && !equal([][]byte{pkt}, [][]byte{b}) {
				t.Errorf("% x came of % x and % x", pkt, a, b)
			}
		}
		if n := y.p.Counters(); n.Flows > 2 || n.Pending != n.Flows {
			t.Errorf("%+v", n)
		}
	})
}
