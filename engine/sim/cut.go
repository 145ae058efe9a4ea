package sim

import (
	"math/rand/v2"

	"tandem/engine/wire"
)

// A Split is a middlebox that cuts segments in two, as network cards do that are given long ones:
// both halves carry the same options (RFC 8684 3.3.1). FIN and PSH stay with the second.
type Split struct {
	Min int // octets of payload from which on a segment is cut
	out []byte
}

// Pass: see Middlebox.
func (b *Split) Pass(pkt []byte, _ bool, emit func([]byte)) {
	var s wire.Segment
	if s.Parse(pkt) != nil || len(s.Payload) < max(b.Min, 2) || s.Flags&(wire.SYN|wire.RST|wire.URG) != 0 {
		emit(pkt)
		return
	}
	second := s
	at := len(s.Payload) / 2
	s.Payload, s.Flags = s.Payload[:at], s.Flags&^(wire.FIN|wire.PSH)
	second.Payload, second.Seq = second.Payload[at:], s.Seq.Add(at)
	b.out = s.Append(b.out[:0])
	emit(b.out)
	b.out = second.Append(b.out[:0])
	emit(b.out)
}

// A Join is a middlebox that makes one segment of two that follow each other at one instant; it
// carries the options of the first (RFC 8684 3.3.1).
type Join struct {
	Max  int // octets of packet it may make
	keep [2]wire.Segment
	data [2][]byte
	out  []byte
}

// Pass: see Middlebox.
func (b *Join) Pass(pkt []byte, back bool, emit func([]byte)) {
	i := direction(back)
	var s wire.Segment
	if s.Parse(pkt) != nil || len(s.Payload) == 0 || s.Flags&^(wire.ACK|wire.PSH) != 0 {
		b.Flush(back, emit)
		emit(pkt)
		return
	}
	k := &b.keep[i]
	if len(b.data[i]) > 0 && k.Source == s.Source && k.Target == s.Target && k.Seq.Add(len(b.data[i])) == s.Seq &&
		k.HeaderLen()+len(b.data[i])+len(s.Payload) <= b.Max {
		b.data[i] = append(b.data[i], s.Payload...)
		k.Flags |= s.Flags
		b.Flush(back, emit)
		return
	}
	b.Flush(back, emit)
	b.data[i] = append(b.data[i], s.Payload...)
	*k = s
}

// Flush: see Keeper.
func (b *Join) Flush(back bool, emit func([]byte)) {
	i := direction(back)
	if len(b.data[i]) == 0 {
		return
	}
	b.keep[i].Payload = b.data[i]
	b.out = b.keep[i].Append(b.out[:0])
	b.data[i] = b.data[i][:0]
	emit(b.out)
}

func direction(back bool) int {
	if back {
		return 1
	}
	return 0
}

// An Alter is a middlebox that changes an octet of payload now and then, and the checksum with it:
// an application gateway that knows nothing of DSS (RFC 8684 3.7).
type Alter struct {
	Chance float64
	Dice   *rand.Rand
}

// Pass: see Middlebox.
func (b *Alter) Pass(pkt []byte, _ bool, emit func([]byte)) {
	if b.Dice.Float64() < b.Chance {
		alter(pkt, b.Dice)
	}
	emit(pkt)
}
