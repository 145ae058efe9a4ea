package convert

import (
	"iter"
	"slices"

	"tandem/engine/wire"
)

// Kinds of TCP options that Connect may ask for (RFC 8803 7).
const (
	SACKPermitted uint8 = 4
	Timestamps    uint8 = 8
	MPTCP         uint8 = 30
	FastOpen      uint8 = 34
)

// Kinds of which the converter knows more than the client (RFC 8803 7.1, 7.2): they are passed over.
const (
	kindEnd         = 0
	kindNop         = 1
	kindMSS         = 2
	kindWindowScale = 3
	kindSACK        = 5
)

// Options are TCP options as in a header, without the zeros at the end: those that the converter is to put
// into its SYN. One without a value says that the converter knows the value.
type Options []byte

// Add returns these options and one more, which needs at most 253 octets of value. It leaves o alone.
func (o Options) Add(kind uint8, value ...byte) Options {
	return append(append(slices.Clip(o), kind, byte(2+len(value))), value...)
}

// All yields kind and value of each option up to the first that does not fit, without NOPs.
func (o Options) All() iter.Seq2[uint8, []byte] {
	return func(yield func(uint8, []byte) bool) {
		for b := o; len(b) > 0; {
			n := optionLen(b)
			if n == 0 {
				return
			}
			if b[0] != kindNop && !yield(b[0], b[2:n:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// Has reports whether there is an option of the kind.
func (o Options) Has(kind uint8) bool {
	for k := range o.All() {
		if k == kind {
			return true
		}
	}
	return false
}

// optionLen returns the length of the first option of b, 0 if there is none or its length cannot be.
func optionLen(b []byte) int {
	switch {
	case b[0] == kindEnd:
		return 0
	case b[0] == kindNop:
		return 1
	case len(b) < 2 || b[1] < 2 || int(b[1]) > len(b):
		return 0
	}
	return int(b[1])
}

// trim cuts off the zeros behind the last option and reports whether all before them are options.
func trim(b []byte) (Options, bool) {
	at := 0
	for at < len(b) && b[at] != kindEnd {
		n := optionLen(b[at:])
		if n == 0 {
			return nil, false
		}
		at += n
	}
	if at == 0 {
		return nil, true
	}
	return Options(b[:at:at]), true
}

// sort tells apart the options of a Connect (RFC 8803 7): those for the SYN, without any twice, and the kinds
// that are refused, because they are not among the supported ones. It fails if one has a value that it must
// not have.
func (o Options) sort(supported []uint8) (taken Options, refused []uint8, ok bool) {
	var seen kindSet
	for kind, value := range o.All() {
		switch {
		case kind == kindMSS || kind == kindWindowScale || kind == kindSACK || seen.has(kind):
			continue
		case !slices.Contains(supported, kind):
			refused = append(refused, kind)
		case !mayHave(kind, len(value)):
			return nil, nil, false
		default:
			taken = taken.Add(kind, value...)
		}
		seen.add(kind)
	}
	return taken, refused, true
}

// mayHave reports whether a client may give n octets of value with an option; TFO has a cookie of that
// length (RFC 7413 4.1.1).
func mayHave(kind uint8, n int) bool {
	return n == 0 || kind == FastOpen && n >= 4 && n <= 16 && n%2 == 0
}

// A kindSet is a set of kinds of options.
type kindSet [4]uint64

func (s *kindSet) add(kind uint8) { s[kind/64] |= 1 << (kind % 64) }

func (s *kindSet) has(kind uint8) bool { return s[kind/64]&(1<<(kind%64)) != 0 }

// speaksMPTCP reports whether the options of a SYN/ACK accept Multipath TCP of the version that we speak.
func speaksMPTCP(synack []byte) bool {
	var o wire.Options
	o.Parse(synack)
	return o.Has&wire.HasCapable != 0 && o.Capable.Version == 1
}
