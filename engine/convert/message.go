package convert

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Why octets are not a message, one error for each reason.
var (
	ErrMagic     = errors.New("not a message of the Convert protocol")
	ErrVersion   = errors.New("unsupported version of the Convert protocol")
	ErrLength    = errors.New("message without a length")
	ErrShort     = errors.New("message cut short")
	ErrFraming   = errors.New("lengths do not fit into each other")
	ErrDuplicate = errors.New("more than one TLV of a type")
	ErrType      = errors.New("unsupported type of TLV")
)

const (
	magic   = 0x2263
	version = 1
	word    = 4

	// HeaderLen is the length of the fixed header in octets (RFC 8803 6.1).
	HeaderLen = 4
	// MaxLen is the length of the longest message in octets.
	MaxLen = 255 * word

	tlvLen     = 4 // of a TLV without a value
	connectLen = 20
)

var be = binary.BigEndian

// Types of TLVs (RFC 8803 6.2.2).
const (
	typeInfo      = 1
	typeConnect   = 10
	typeExtended  = 20
	typeSupported = 21
	typeCookie    = 22
	typeError     = 30
)

// A TLVSet says which TLVs a message has.
type TLVSet uint8

// The TLVs, in the order in which they are written.
const (
	HasInfo TLVSet = 1 << iota
	HasCookie
	HasConnect
	HasExtended
	HasSupported
	HasError
)

// A Message is what precedes the application's octets in either direction. What Has does not name is zero.
// Slices of a parsed message are parts of what was parsed.
type Message struct {
	Has       TLVSet
	Target    netip.AddrPort // Connect: never IPv4 as IPv6
	Options   Options        // Connect: empty in a base Connect
	SYNACK    []byte         // Extended TCP Header: the options of the server's SYN/ACK
	Supported []byte         // Supported TCP Extensions: kinds of options
	Cookie    []byte         // Cookie: a multiple of 4 octets, for it may end in zeros
	Error     Failure
}

// ParseHeader returns the length of the message, in octets with the header, that begins with b. It wants no
// more than HeaderLen octets, and fails with ErrShort, ErrMagic, ErrVersion or ErrLength.
func ParseHeader(b []byte) (int, error) {
	switch {
	case len(b) < HeaderLen:
		return 0, ErrShort
	case be.Uint16(b[2:]) != magic:
		return 0, ErrMagic
	case b[0] != version:
		return 0, ErrVersion
	case b[1] == 0:
		return 0, ErrLength
	}
	return int(b[1]) * word, nil
}

// Parse reads the message at the beginning of b; what follows its Total Length is not looked at. The errors
// are those of ParseHeader, ErrFraming, ErrDuplicate and ErrType; then the message is zero.
func (m *Message) Parse(b []byte) error {
	*m = Message{}
	n, err := ParseHeader(b)
	if err != nil {
		return err
	}
	if n > len(b) {
		return ErrShort
	}
	var r Message
	for b = b[HeaderLen:n]; len(b) > 0; b = b[n:] {
		if n = int(b[1]) * word; n == 0 || n > len(b) {
			return ErrFraming
		}
		if err := r.read(b[:n:n]); err != nil {
			return err
		}
	}
	*m = r
	return nil
}

// read reads one TLV; b is all of it, and a word at least.
func (m *Message) read(b []byte) error {
	has := kindOf(b[0])
	if has == 0 {
		return ErrType
	}
	if m.Has&has != 0 {
		return ErrDuplicate
	}
	m.Has |= has
	switch value := b[tlvLen:]; has {
	case HasInfo:
		if len(value) != 0 {
			return ErrFraming
		}
	case HasConnect:
		if len(b) < connectLen {
			return ErrFraming
		}
		addr := netip.AddrFrom16([16]byte(value)).Unmap()
		m.Target = netip.AddrPortFrom(addr, be.Uint16(b[2:]))
		options, ok := trim(b[connectLen:])
		if !ok {
			return ErrFraming
		}
		m.Options = options
	case HasExtended:
		m.SYNACK = value
	case HasSupported:
		m.Supported = value[:padding(value)]
	case HasCookie:
		m.Cookie = value
	case HasError:
		m.Error = Failure{Code: Code(b[2]), Value: b[3:]}
	}
	return nil
}

func kindOf(t uint8) TLVSet {
	switch t {
	case typeInfo:
		return HasInfo
	case typeConnect:
		return HasConnect
	case typeExtended:
		return HasExtended
	case typeSupported:
		return HasSupported
	case typeCookie:
		return HasCookie
	case typeError:
		return HasError
	}
	return 0
}

// padding returns where the zeros at the end of b begin.
func padding(b []byte) int {
	n := len(b)
	for n > 0 && b[n-1] == 0 {
		n--
	}
	return n
}

// words returns how many words n octets take.
func words(n int) int { return (n + word - 1) / word }

// Len returns how many octets Append appends, unless they are more than MaxLen.
func (m *Message) Len() int {
	n := HeaderLen
	for _, t := range [...]struct {
		has TLVSet
		len int
	}{
		{HasInfo, tlvLen},
		{HasCookie, tlvLen + len(m.Cookie)},
		{HasConnect, connectLen + len(m.Options)},
		{HasExtended, tlvLen + len(m.SYNACK)},
		{HasSupported, tlvLen + len(m.Supported)},
		{HasError, 2 + m.Error.len()},
	} {
		if m.Has&t.has != 0 {
			n += words(t.len) * word
		}
	}
	return n
}

// Append appends the message, or nothing if it is longer than MaxLen.
func (m *Message) Append(b []byte) []byte {
	n := m.Len()
	if n > MaxLen {
		return b
	}
	b = append(b, version, byte(n/word))
	b = be.AppendUint16(b, magic)
	if m.Has&HasInfo != 0 {
		b = appendTLV(b, typeInfo, nil)
	}
	if m.Has&HasCookie != 0 {
		b = appendTLV(b, typeCookie, m.Cookie)
	}
	if m.Has&HasConnect != 0 {
		b = append(b, typeConnect, byte(words(connectLen+len(m.Options))))
		b = be.AppendUint16(b, m.Target.Port())
		addr := m.Target.Addr().As16()
		b = pad(append(append(b, addr[:]...), m.Options...), len(m.Options))
	}
	if m.Has&HasExtended != 0 {
		b = appendTLV(b, typeExtended, m.SYNACK)
	}
	if m.Has&HasSupported != 0 {
		b = appendTLV(b, typeSupported, m.Supported)
	}
	if m.Has&HasError != 0 {
		b = m.Error.append(b)
	}
	return b
}

// appendTLV appends a TLV whose value follows 16 bits that mean nothing.
func appendTLV(b []byte, t uint8, value []byte) []byte {
	b = append(b, t, byte(words(tlvLen+len(value))), 0, 0)
	return pad(append(b, value...), len(value))
}

// pad appends zeros after n octets up to a word.
func pad(b []byte, n int) []byte {
	for ; n%word != 0; n++ {
		b = append(b, 0)
	}
	return b
}
