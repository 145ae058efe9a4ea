package sim

import (
	"net/netip"

	"tandem/engine/wire"
)

// A Shift is a middlebox that moves the sequence numbers of each flow and direction by an amount of
// its own, in SACK too, as firewalls do that distrust a host's choice of them.
type Shift struct {
	Key uint64
	out []byte
}

// Pass: see Middlebox.
func (b *Shift) Pass(pkt []byte, back bool, emit func([]byte)) {
	var s wire.Segment
	if s.Parse(pkt) != nil {
		emit(pkt)
		return
	}
	here, there := b.amounts(&s, back)
	if back {
		here, there = there, here
	}
	s.Seq += here
	if s.Flags.Has(wire.ACK) {
		s.Ack -= there
	}
	if s.Options.Has&wire.HasSACK != 0 {
		for i := range s.Options.SACK[:s.Options.SACKs] {
			k := &s.Options.SACK[i]
			k.Left, k.Right = k.Left-there, k.Right-there
		}
	}
	b.out = s.Append(b.out[:0])
	emit(b.out)
}

// amounts are by how much a flow's numbers move towards B and towards A.
func (b *Shift) amounts(s *wire.Segment, back bool) (forth, home wire.Seq) {
	a, z := s.Source, s.Target
	if back {
		a, z = z, a
	}
	h := b.Key
	for _, p := range [2]netip.AddrPort{a, z} {
		h = mix(h + uint64(p.Port()))
		for _, octet := range p.Addr().As16() {
			h = mix(h + uint64(octet))
		}
	}
	return wire.Seq(h), wire.Seq(h >> 32)
}

// A NAT is a middlebox behind which A's side hides: all its flows seem to come from one address.
type NAT struct {
	Outside netip.Addr // of the family of the flows that it minds

	inside  map[uint16]netip.AddrPort // by port outside
	outside map[netip.AddrPort]uint16
	last    uint16
	out     []byte
}

// Pass: see Middlebox.
func (b *NAT) Pass(pkt []byte, back bool, emit func([]byte)) {
	var s wire.Segment
	if s.Parse(pkt) != nil || s.Source.Addr().Is4() != b.Outside.Is4() {
		emit(pkt)
		return
	}
	if back {
		inside, ok := b.inside[s.Target.Port()]
		if !ok || s.Target.Addr() != b.Outside {
			return
		}
		s.Target = inside
	} else {
		s.Source = netip.AddrPortFrom(b.Outside, b.port(s.Source))
	}
	b.out = s.Append(b.out[:0])
	emit(b.out)
}

func (b *NAT) port(inside netip.AddrPort) uint16 {
	if p, ok := b.outside[inside]; ok {
		return p
	}
	if b.inside == nil {
		b.Forget()
	}
	b.last = max(b.last+1, 1024)
	b.inside[b.last], b.outside[inside] = inside, b.last
	return b.last
}

// Forget ends all mappings: what is outside finds nobody inside any more, and old flows look new.
func (b *NAT) Forget() {
	b.inside, b.outside = map[uint16]netip.AddrPort{}, map[netip.AddrPort]uint16{}
}
