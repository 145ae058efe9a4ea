package wire

import (
	"encoding/binary"
	"net/netip"
)

// An ICMPKind is what an ICMP error means to the sender of the quoted packet.
type ICMPKind uint8

// The kinds of ICMP errors that matter to a connection.
const (
	TooBig   ICMPKind = iota + 1 // longer than a link of the way takes (RFC 1191, RFC 8201)
	NoRoute                      // network or host cannot be reached
	Filtered                     // a filter forbids it
	NoPort                       // nobody listens there
)

// ICMP is an ICMP error with what is left of the packet that caused it, which somebody here may have
// sent, or not: it is for the receiver to believe it (RFC 5927).
type ICMP struct {
	Kind           ICMPKind
	MTU            int            // TooBig: octets of IP packet; 0 when not told
	From           netip.Addr     // who complains
	Source, Target netip.AddrPort // of the quoted packet
	Protocol       uint8          // of the quoted packet: TCP or UDP
	Seq            Seq            // of the quoted segment, if TCP
}

// ParseICMP reads a whole IPv4 or IPv6 packet that carries an ICMP error about a TCP segment or UDP
// datagram. Other packets give ErrNotICMP.
func ParseICMP(pkt []byte) (ICMP, error) {
	var outer, quote envelope
	if err := outer.parse(pkt, false); err != nil {
		return ICMP{}, err
	}
	p := outer.body
	v4 := outer.source.Is4()
	if v4 != (outer.protocol == ICMPv4) || !v4 && outer.protocol != ICMPv6 {
		return ICMP{}, ErrNotICMP
	}
	if len(p) < 8 {
		return ICMP{}, ErrShort
	}
	m := ICMP{From: outer.source}
	check := sum(p)
	if v4 {
		m.Kind, m.MTU = meaning4(p)
	} else {
		check = outer.sum()
		m.Kind, m.MTU = meaning6(p)
	}
	if check != 0xffff {
		return ICMP{}, ErrChecksum
	}
	if m.Kind == 0 {
		return ICMP{}, ErrNotICMP
	}
	if err := quote.parse(p[8:], true); err != nil {
		return ICMP{}, err
	}
	if quote.source.Is4() != v4 || quote.protocol != TCP && quote.protocol != UDP {
		return ICMP{}, ErrNotICMP
	}
	if len(quote.body) < 8 {
		return ICMP{}, ErrShort
	}
	m.Protocol = quote.protocol
	m.Source = netip.AddrPortFrom(quote.source, binary.BigEndian.Uint16(quote.body))
	m.Target = netip.AddrPortFrom(quote.target, binary.BigEndian.Uint16(quote.body[2:]))
	if m.Protocol == TCP {
		m.Seq = Seq(binary.BigEndian.Uint32(quote.body[4:]))
	}
	return m, nil
}

// meaning4 tells apart the codes of Destination Unreachable (RFC 792, RFC 1122 3.2.2.1, RFC 1812 5.2.7.1).
func meaning4(p []byte) (ICMPKind, int) {
	if p[0] != 3 {
		return 0, 0
	}
	switch p[1] {
	case 4:
		return TooBig, int(binary.BigEndian.Uint16(p[6:]))
	case 2, 3:
		return NoPort, 0
	case 9, 10, 13:
		return Filtered, 0
	}
	return NoRoute, 0
}

// meaning6 knows Packet Too Big, and the codes of Destination Unreachable (RFC 4443 3.1, 3.2).
func meaning6(p []byte) (ICMPKind, int) {
	switch {
	case p[0] == 2:
		// A 32-bit int could not hold what no packet reaches.
		return TooBig, int(min(binary.BigEndian.Uint32(p[4:]), 0xffff+ip6Len))
	case p[0] != 1:
		return 0, 0
	case p[1] == 1 || p[1] == 5 || p[1] == 6:
		return Filtered, 0
	case p[1] == 4:
		return NoPort, 0
	}
	return NoRoute, 0
}
