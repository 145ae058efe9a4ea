package mptcp

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"tandem/engine/wire"
)

// race has a bond that was asked, or asks, over two paths live through what the dice say of the handshakes.
func race(t *testing.T, story []byte) {
	d := &dice{story}
	mode := Establish(d.roll(int(IPSSIM) + 1))
	cfg := Config{Establish: mode, ImplicitESIM: d.roll(4) == 1, Paired: d.roll(2) == 1}
	var s *script
	switch d.roll(3) {
	case 0:
		s = asking(t, cfg, 3)
	case 1:
		s = newMerged(t, Config{}).script
	default:
		s = pairedOffer(t, Config{}, `0 S 0 "GET /" <capable v1 flags 01, robe>`)
		s.accept()
	}
	s.left()
	s.b.cfg.Entropy = rand.NewChaCha8([32]byte{})
	for step := 0; len(d.left) > 0 && step < 1000; step++ {
		switch d.roll(12) {
		case 0:
			s.advance(time.Duration(d.roll(256)) * 5 * ms)
		case 1:
			s.c.Write([]byte("more"))
			s.c.Poke(s.now)
		case 2:
			if n := d.roll(16); n < 2 {
				s.b.Detach(s.now, PathID(n))
			} else if n < 5 && s.b.path(PathID(n)) == nil {
				s.attach(PathID(n), true)
			}
		default:
			id, seg := d.handshake(s)
			s.b.Receive(s.now, id, seg.Append(nil))
		}
		s.left()
		listed(t, s.b)
	}
	s.b.eachConn(func(c *Conn) { c.Close(s.now); c.Abort(s.now) })
	s.advance(1000 * second)
	s.left()
	if len(s.b.half) != 0 || len(s.b.keyed) != 0 || s.b.conns != 0 || len(s.b.flows) != 0 {
		t.Fatalf("left: %d half open, %d by key, %d connections, %d flows", len(s.b.half), len(s.b.keyed), s.b.conns, len(s.b.flows))
	}
}

// handshake is a segment of the peer's such as the first ones are.
func (d *dice) handshake(s *script) (PathID, *wire.Segment) {
	id := PathID(d.roll(3))
	if s.ends[id] == nil {
		id = 0
	}
	end := s.ends[id]
	seg := &wire.Segment{Source: end.remote, Target: end.local, Window: 65535, Seq: peerISS, Ack: s.iss + 1}
	seg.Flags = []wire.Flags{wire.SYN | wire.ACK, wire.ACK, wire.ACK, wire.SYN, wire.RST | wire.ACK, wire.RST}[d.roll(6)]
	if seg.Flags&wire.SYN == 0 {
		seg.Seq += wire.Seq(1 + d.roll(2)*5)
	}
	if d.roll(4) == 1 {
		seg.Payload = []byte("GET /")
	}
	if f := s.b.flows[keyOf(end.local, end.remote)]; f != nil {
		seg.Ack = f.tcp.Config().ISS + 1 + wire.Seq(f.pushed())*wire.Seq(d.roll(2))
	}
	o := &seg.Options
	keys := []uint64{keyA, keyB, keyB + 1, keyC}
	if d.roll(4) > 0 {
		o.Has |= wire.HasCapable
		o.Capable = wire.Capable{Length: 20, Version: 1, Flags: 1, Sender: keys[d.roll(4)], Receiver: s.c.id.localKey}
		if seg.Flags&wire.SYN != 0 {
			o.Capable.Length = []uint8{12, 4}[d.roll(2)]
		}
	}
	if d.roll(2) == 1 {
		o.Has |= wire.HasRobE
	}
	if d.roll(3) == 1 {
		o.Has = o.Has&^wire.HasCapable | wire.HasJoinCap
		o.JoinCap = wire.JoinCap{Length: uint8(24 + d.roll(2)*4), AddressID: uint8(d.roll(4)), Key: keys[d.roll(2)]}
		o.JoinCap.Sign(keys[1+d.roll(2)], keys[1+d.roll(2)])
	}
	if d.roll(4) == 1 {
		o.Has |= wire.HasLatestRTT
		o.LatestRTT = wire.LatestRTT{Length: uint8(4 + 4*d.roll(2)), RTT: uint32(d.roll(256)) << d.roll(25)}
	}
	if d.roll(6) == 1 && seg.Flags == wire.SYN {
		o.Has = o.Has&^wire.HasCapable | wire.HasJoin
		o.Join = wire.Join{Length: 12, AddressID: uint8(d.roll(4)), Token: s.c.id.localToken, Nonce: nonceB}
	}
	if d.roll(4) == 1 {
		o.Has |= wire.HasDSS
		o.DSS = wire.DSS{HasAck: true, Ack64: true, Ack: s.c.outDSN(s.c.snd.una)}
	}
	return id, seg
}

// listed fails unless those that MP_JOIN_CAP can find are those it may, and each subflow knows whose it is.
func listed(t *testing.T, b *Bond) {
	t.Helper()
	for h, all := range b.half {
		for _, c := range all {
			if c.client || c.phase != opening || wire.FastHash(c.id.localKey) != h {
				t.Fatalf("half open: phase %d\n%s", c.phase, c.Trace())
			}
		}
	}
	for key, all := range b.keyed {
		for _, c := range all {
			if c.client || c.phase != open || c.id.peerKey != key {
				t.Fatalf("by key: phase %d\n%s", c.phase, c.Trace())
			}
		}
	}
	b.eachConn(func(c *Conn) {
		if n := len(c.overtakers); n > b.cfg.Limits.HalfOpen || n > 0 && c.phase != opening {
			t.Fatalf("%d joins wait\n%s", n, c.Trace())
		}
		for _, f := range c.subflows {
			if f.c != c || b.flows[f.key] != f {
				t.Fatalf("a subflow of somebody else\n%s", c.Trace())
			}
		}
	})
}

// Random handshakes: nothing panics, and nothing is left.
func FuzzEstablish(f *testing.F) {
	for seed := range byte(8) {
		p := make([]byte, 400)
		rand.NewChaCha8([32]byte{seed}).Read(p)
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, story []byte) { race(t, story[:min(len(story), 8000)]) })
}

func TestRandomHandshakes(t *testing.T) {
	for seed := range 600 {
		p := make([]byte, 1500)
		rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(p)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { race(t, p) })
		if t.Failed() {
			return
		}
	}
}
