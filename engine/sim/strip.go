package sim

import "tandem/engine/wire"

// A When says which segments a middlebox minds.
type When uint8

// The choices.
const (
	Always    When = iota
	OnSYN          // SYN without ACK
	OnSYNACK       // SYN with ACK
	OnAnySYN       // both
	OnForward      // from A to B
	OnBack         // from B to A
	AfterSYN       // all but SYNs
)

func (w When) minds(flags wire.Flags, back bool) bool {
	switch w {
	case OnSYN:
		return flags.Has(wire.SYN) && !flags.Has(wire.ACK)
	case OnSYNACK:
		return flags.Has(wire.SYN | wire.ACK)
	case OnAnySYN:
		return flags.Has(wire.SYN)
	case OnForward:
		return !back
	case AfterSYN:
		return !flags.Has(wire.SYN)
	case OnBack:
		return back
	}
	return true
}

// A Strip is a middlebox that does not let options of MPTCP pass.
type Strip struct {
	When When
	How  How
	out  []byte
}

// How a middlebox spoils an option.
type How uint8

// The ways.
const (
	Remove     How = iota // the header gets shorter
	FillNop               // NOPs in its place
	FillEnd               // an end of options in its place, so that those after it are lost too
	ManglePart            // its subtype becomes one that nobody knows
)

// Pass: see Middlebox.
func (b *Strip) Pass(pkt []byte, back bool, emit func([]byte)) {
	flags, ok := isTCP(pkt)
	if !ok || !b.When.minds(flags, back) {
		emit(pkt)
		return
	}
	if b.How == Remove {
		pkt = b.remove(pkt)
	} else {
		b.fill(pkt)
	}
	emit(pkt)
}

func (b *Strip) remove(pkt []byte) []byte {
	var s wire.Segment
	if s.Parse(pkt) != nil || s.Options.Has&wire.HasMPTCP == 0 {
		return pkt
	}
	s.Options.Has &^= wire.HasMPTCP
	b.out = s.Append(b.out[:0])
	return b.out
}

// fill spoils options in place.
func (b *Strip) fill(pkt packet) {
	const nop, mptcp, unknown = 1, 30, 0xe0
	header, payload, _ := pkt.tcp()
	found := false
	for opt := pkt[header+20 : payload]; len(opt) > 0 && opt[0] != 0; {
		if opt[0] == nop {
			opt = opt[1:]
			continue
		}
		if len(opt) < 2 || opt[1] < 2 || int(opt[1]) > len(opt) {
			break
		}
		n := int(opt[1])
		if opt[0] == mptcp && n > 2 {
			found = true
			switch b.How {
			case FillNop:
				for i := range opt[:n] {
					opt[i] = nop
				}
			case FillEnd:
				clear(opt[:n])
			case ManglePart:
				opt[2] = unknown | opt[2]&15
			}
		}
		opt = opt[n:]
	}
	if found {
		pkt.seal()
	}
}
