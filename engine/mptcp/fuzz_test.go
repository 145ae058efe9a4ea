package mptcp

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/wire"
)

// dice turns the octets of a fuzzer into choices; when they run out all are 0.
type dice struct{ left []byte }

func (d *dice) roll(n int) int {
	if len(d.left) == 0 {
		return 0
	}
	x := int(d.left[0])
	d.left = d.left[1:]
	return x % n
}

// near returns a number close to one that matters, or far away.
func (d *dice) near() int {
	switch d.roll(8) {
	case 0, 1, 2, 3:
		return 1
	case 4:
		return d.roll(256) * 1400
	case 5:
		return -d.roll(256)
	case 6:
		return d.roll(256) << 24
	}
	return 1 + d.roll(64)
}

func (d *dice) options(o *wire.Options, c *Conn) {
	for range d.roll(3) {
		switch d.roll(15) {
		case 0, 1, 2, 3:
			o.Has |= wire.HasDSS
			o.DSS = wire.DSS{
				HasAck: d.roll(2) == 0, Ack64: d.roll(2) == 0, HasMap: d.roll(3) > 0, Map64: d.roll(2) == 0,
				HasChecksum: c.id.checksum != (d.roll(16) == 1), Fin: d.roll(8) == 1,
				SSN: uint32(d.near()), DataLen: uint16(d.roll(256) * (1 + d.roll(9))),
			}
			o.DSS.Ack = c.outDSN(c.snd.una) + wire.DSN(d.near()-1)
			o.DSS.DSN = c.dataAck() + wire.DSN(d.near()-1)
			if d.roll(2) == 0 {
				o.DSS.SSN = uint32(c.in.readable.Load() + 1)
			}
			if !o.DSS.Ack64 {
				o.DSS.Ack &= 0xffffffff
			}
			if !o.DSS.Map64 {
				o.DSS.DSN &= 0xffffffff
			}
		case 4:
			o.Has |= wire.HasCapable
			o.Capable = wire.Capable{Length: []uint8{4, 12, 20, 22, 24}[d.roll(5)], Version: uint8(d.roll(3)), Flags: wire.CapableFlags(d.roll(256)),
				Sender: keyA, Receiver: keyB, DataLen: uint16(d.roll(256))}
		case 5:
			o.Has |= wire.HasJoin
			o.Join = wire.Join{Length: []uint8{12, 16, 24}[d.roll(3)], AddressID: uint8(d.roll(4)), Token: c.id.localToken, Nonce: nonceB}
			o.Join.MAC = wire.JoinMAC(c.id.peerKey, c.id.localKey, nonceB, nonceA)
			o.Join.MAC[0] ^= byte(d.roll(2))
		case 6:
			o.Has |= wire.HasAddAddr
			o.AddAddr = wire.AddAddr{ID: uint8(d.roll(256)), Addr: netip.AddrFrom4([4]byte{10, 3, 0, byte(d.roll(256))}), Echo: d.roll(4) == 1}
			o.AddAddr.MAC = wire.AddAddrMAC(c.id.peerKey, c.id.localKey, o.AddAddr.ID, o.AddAddr.Addr, 0)
		case 7:
			o.Has |= wire.HasRemoveAddr
			o.RemoveAddr = wire.RemoveAddr{N: 1 + d.roll(8), IDs: [8]uint8{uint8(d.roll(4)), 1, 2, 3}}
		case 8:
			o.Has |= wire.HasPrio
			o.Backup = d.roll(2) == 0
		case 9:
			o.Has |= wire.HasFail
			o.FailDSN = c.outDSN(c.snd.una)
		case 10:
			o.Has |= wire.HasFastClose
			o.CloseKey = c.id.localKey + uint64(1-d.roll(8)/7)
		case 11:
			o.Has |= wire.HasReset
			o.Reset = wire.Reset{Reason: wire.Reason(d.roll(9)), Transient: d.roll(2) == 0}
		case 12:
			o.Has |= wire.HasInactivityTime
			o.InactivityTime = wire.InactivityTime{Value: uint16(d.roll(256) << d.roll(9)), Request: d.roll(2) == 0, Minutes: d.roll(2) == 0}
		case 13:
			o.Has |= wire.HasRateLimit
			if o.RateLimit = uint32(d.roll(256)) << d.roll(24); d.roll(4) == 1 {
				o.RateLimit = wire.Unlimited
			}
		case 14:
			o.Has |= wire.HasPrototype
			o.Prototype = wire.Prototype(d.roll(256))
		}
	}
}

// segment is one of the peer's, likely and unlikely ones.
func (d *dice) segment(s *script) (PathID, []byte) {
	id := PathID(d.roll(2))
	end := s.ends[id]
	seg := wire.Segment{Source: end.remote, Target: end.local, Flags: wire.ACK, Window: uint16(d.roll(256) * 200)}
	if d.roll(4) == 1 {
		seg.Flags = wire.Flags(d.roll(64))
	}
	seg.Seq, seg.Ack = peerISS.Add(d.near()), s.iss.Add(d.near())
	for _, f := range s.c.subflows {
		if f.path.id == id && d.roll(8) > 0 {
			seg.Seq = peerISS.Add(int(f.tcp.Received()) + d.near())
			seg.Ack = s.iss.Add(int(f.acked) + d.near())
		}
	}
	d.options(&seg.Options, s.c)
	seg.Payload = octets(0, d.roll(4)*d.roll(256)*2)
	pkt := seg.Append(nil)
	if d.roll(32) == 1 {
		pkt[d.roll(len(pkt))] ^= byte(1 << d.roll(8))
	}
	return id, pkt
}

// play has a bond with an open connection live through what the dice say.
func play(t *testing.T, story []byte) {
	d := &dice{story}
	cfg := Config{Checksum: d.roll(4) == 1, JoinAnnounced: d.roll(2) == 0, Prototype: Prototype(d.roll(3)), Scheduler: []string{"", "redundant", "roundrobin", "owl", "cost"}[d.roll(5)]}
	var s *script
	if d.roll(2) == 0 {
		cfg.Paired = d.roll(3) == 1
		s = joinedOrNot(t, cfg, d.roll(3))
	} else {
		s = answeredBy(t, cfg, 2)
	}
	s.b.cfg.Entropy = rand.NewChaCha8([32]byte{})
	s.b.cfg.Privacy = Privacy(d.roll(4) / 3)
	edge := s.c.rcv.edge
	for step := 0; len(d.left) > 0 && step < 3000; step++ {
		switch d.roll(12) {
		default:
			id, pkt := d.segment(s)
			s.b.Receive(s.now, id, pkt)
		case 0:
			s.advance(time.Duration(d.roll(256)) * 5 * ms)
		case 1:
			s.c.Write(octets(0, d.roll(256)*10))
			s.c.Poke(s.now)
		case 2:
			s.take()
		case 3:
			if n := d.roll(64); n < 1 {
				s.c.CloseWrite(s.now)
			} else if n < 2 {
				s.c.Close(s.now)
			} else if n < 4 {
				s.attach(PathID(d.roll(4)), true)
			} else if n < 6 {
				s.b.Detach(s.now, PathID(d.roll(4)))
			} else if n < 12 {
				s.b.SetLimit(s.now, PathID(d.roll(4)), d.roll(3)<<d.roll(32), d.roll(3)<<d.roll(32))
				s.b.SetPrice(s.now, PathID(d.roll(4)), d.roll(3)<<d.roll(16))
			} else if n < 14 {
				s.c.SetInactivity(s.now, time.Duration(d.roll(256)-1)*second, d.roll(2) == 0)
			} else if n < 30 {
				operate(d.roll, s.now, s.c)
			} else if n < 31 {
				s.c.Watch()
			} else if n < 40 {
				s.b.SetLifetime(s.now, PathID(d.roll(4)), Lifetime{time.Duration(d.roll(8)) * second, time.Duration(d.roll(8)) * second})
			}
		}
		s.left()
		sane(t, s, &edge)
	}
	s.b.eachConn(func(c *Conn) { c.Close(s.now); c.Abort(s.now) }) // also what random SYNs offered
	s.advance(1000 * second)
	if s.b.conns != 0 || s.b.windows.used+s.b.rooms.used != 0 || s.b.load.unsent+s.b.load.busy != 0 {
		t.Fatalf("%d connections, %d octets promised, load %+v after the end\n%s", s.b.conns, s.b.windows.used+s.b.rooms.used, s.b.load, s.story())
	}
}

func joinedOrNot(t *testing.T, cfg Config, how int) *script {
	switch how {
	case 0:
		return dialled(t, cfg, 2)
	case 1:
		return agreed(t, cfg, 2)
	}
	return joined(t, cfg, 2)
}

// sane checks what must hold whatever a peer does.
func sane(t *testing.T, s *script, edge *uint64) {
	t.Helper()
	c := s.c
	read, has := c.in.consumed.Load(), c.in.readable.Load()
	switch {
	case c.snd.una > c.snd.next || c.snd.next > c.snd.end:
		t.Fatalf("una %d, next %d, end %d", c.snd.una, c.snd.next, c.snd.end)
	case read > has || has > c.rcv.edge:
		t.Fatalf("consumed %d, readable %d, edge %d", read, has, c.rcv.edge)
	case c.rcv.edge < *edge:
		t.Fatalf("edge moved left from %d to %d", *edge, c.rcv.edge)
	case len(c.subflows) > c.b.cfg.Limits.Subflows && c.phase != over:
		t.Fatalf("%d subflows", len(c.subflows))
	case len(c.signal.theirs) > c.b.cfg.Limits.Addresses, len(c.signal.attempts) > attemptsMax, len(c.late.pieces) > piecesMax:
		t.Fatalf("%d addresses, %d attempts, %d pieces", len(c.signal.theirs), len(c.signal.attempts), len(c.late.pieces))
	case len(c.signal.names) > namesMax:
		t.Fatalf("%d numbers of addresses", len(c.signal.names))
	case c.watch != nil && len(c.watch.events) > watchMax:
		t.Fatalf("%d events wait", len(c.watch.events))
	case c.idle.used(c) < 0 || c.idle.used(c) > inactivityMost:
		t.Fatalf("may be idle for %v", c.idle.used(c))
	case len(s.b.flows) != len(c.subflows) && len(s.b.timers.heap) == 1 && !c.gone:
		t.Fatalf("%d flows, %d subflows", len(s.b.flows), len(c.subflows))
	}
	*edge = c.rcv.edge
	for _, f := range c.subflows {
		held := 0
		for _, h := range f.held {
			held += len(h.data)
		}
		if len(f.signals) > signalsMax || len(f.maps) > mappingsMax || held != f.heldN || held > heldMax {
			t.Fatalf("%d signals, %d mappings, %d octets held, counted %d", len(f.signals), len(f.maps), held, f.heldN)
		}
	}
}

// Random segments into an open connection: nothing panics, every queue keeps its bound.
func FuzzReceive(f *testing.F) {
	for seed := range byte(8) {
		p := make([]byte, 400)
		rand.NewChaCha8([32]byte{seed}).Read(p)
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, script []byte) { play(t, script[:min(len(script), 20000)]) })
}

func TestRandomSegments(t *testing.T) {
	for seed := range 300 {
		p := make([]byte, 3000)
		rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(p)
		play(t, p)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// Packets of random octets are counted and forgotten.
func TestRandomOctets(t *testing.T) {
	s := joined(t, Config{}, 2)
	r := rand.NewChaCha8([32]byte{9})
	for n := range 3000 {
		p := make([]byte, n%200)
		r.Read(p)
		if len(p) > 0 {
			p[0] = []byte{0x45, 0x60, p[0]}[n%3]
		}
		s.b.Receive(s.now, PathID(n%4), p)
	}
	s.want()
	c := s.b.Counters()
	if sum := c.Malformed + c.Checksum + c.Fragment + c.NotTCP + c.NoPath + c.NoConnection; sum != 3000 {
		t.Fatalf("%d counted: %+v", sum, c)
	}
	s.living(2)
}
