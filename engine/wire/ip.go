package wire

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Why a packet was not understood, one error for each reason.
var (
	ErrShort          = errors.New("packet ends early")
	ErrVersion        = errors.New("neither IPv4 nor IPv6")
	ErrLength         = errors.New("impossible header length")
	ErrHeaderChecksum = errors.New("wrong IPv4 header checksum")
	ErrChecksum       = errors.New("wrong checksum")
	ErrFragment       = errors.New("fragment")
	ErrExtension      = errors.New("IPv6 extension headers not for us")
	ErrAddress        = errors.New("IPv4-mapped address in an IPv6 header")
	ErrNotTCP         = errors.New("not TCP")
	ErrNotICMP        = errors.New("not an ICMP error")
)

// Protocol numbers.
const (
	ICMPv4 = 1
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
)

const (
	ip4Len = 20
	ip6Len = 40
	tcpLen = 20

	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extDestination = 60
)

// An envelope is what an IP header says, and what it carries.
type envelope struct {
	source, target netip.Addr
	addresses      []byte // both, as they stand in the header
	tos, ttl       uint8
	protocol       uint8
	body           []byte
}

// Addresses looks at whom a packet is from and for, and at the protocol it carries. It verifies the
// IP header, not what is in it. Ports are those of TCP or UDP, else 0.
func Addresses(pkt []byte) (source, target netip.AddrPort, protocol uint8, err error) {
	var e envelope
	if err := e.parse(pkt, false); err != nil {
		return source, target, 0, err
	}
	var from, to uint16
	if e.protocol == TCP || e.protocol == UDP {
		if len(e.body) < 4 {
			return source, target, 0, ErrShort
		}
		from, to = binary.BigEndian.Uint16(e.body), binary.BigEndian.Uint16(e.body[2:])
	}
	return netip.AddrPortFrom(e.source, from), netip.AddrPortFrom(e.target, to), e.protocol, nil
}

// parse reads the IP headers of a packet. One that an ICMP error quotes may be cut, the first of many
// fragments, and altered on its way.
func (e *envelope) parse(pkt []byte, quoted bool) error {
	if len(pkt) == 0 {
		return ErrShort
	}
	switch pkt[0] >> 4 {
	case 4:
		return e.parse4(pkt, quoted)
	case 6:
		return e.parse6(pkt, quoted)
	}
	return ErrVersion
}

func (e *envelope) parse4(pkt []byte, quoted bool) error {
	if len(pkt) < ip4Len {
		return ErrShort
	}
	header, total := int(pkt[0]&15)*4, int(binary.BigEndian.Uint16(pkt[2:]))
	if header < ip4Len || total < header {
		return ErrLength
	}
	if quoted {
		total = min(total, len(pkt))
	}
	if total > len(pkt) || header > total {
		return ErrShort
	}
	if !quoted && sum(pkt[:header]) != 0xffff {
		return ErrHeaderChecksum
	}
	if where := binary.BigEndian.Uint16(pkt[6:]); where&0x1fff != 0 || where&0x2000 != 0 && !quoted {
		return ErrFragment
	}
	e.source, e.target = netip.AddrFrom4([4]byte(pkt[12:])), netip.AddrFrom4([4]byte(pkt[16:]))
	e.addresses = pkt[12:20]
	e.tos, e.ttl, e.protocol = pkt[1], pkt[8], pkt[9]
	e.body = pkt[header:total]
	return nil
}

func (e *envelope) parse6(pkt []byte, quoted bool) error {
	if len(pkt) < ip6Len {
		return ErrShort
	}
	total := ip6Len + int(binary.BigEndian.Uint16(pkt[4:]))
	if quoted {
		total = min(total, len(pkt))
	}
	if total > len(pkt) {
		return ErrShort
	}
	e.source, e.target = netip.AddrFrom16([16]byte(pkt[8:])), netip.AddrFrom16([16]byte(pkt[24:]))
	if e.source.Is4In6() || e.target.Is4In6() {
		return ErrAddress
	}
	e.addresses = pkt[8:40]
	e.tos, e.ttl, e.protocol = pkt[0]<<4|pkt[1]>>4, pkt[7], pkt[6]
	e.body = pkt[ip6Len:total]
	return e.walk(quoted)
}

// walk passes the extension headers of IPv6 that a receiver may pass (RFC 8200 4).
func (e *envelope) walk(quoted bool) error {
	for {
		if e.protocol != extHopByHop && e.protocol != extRouting && e.protocol != extFragment && e.protocol != extDestination {
			return nil
		}
		if len(e.body) < 8 {
			return ErrShort
		}
		n := 8 + int(e.body[1])*8
		switch e.protocol {
		case extRouting:
			if e.body[3] != 0 && !quoted {
				return ErrExtension
			}
		case extFragment:
			// A fragment that is the whole packet is none (RFC 6946).
			n = 8
			if where := binary.BigEndian.Uint16(e.body[2:]); where&^7 != 0 || where&1 != 0 && !quoted {
				return ErrFragment
			}
		}
		if n > len(e.body) {
			return ErrShort
		}
		e.protocol, e.body = e.body[0], e.body[n:]
	}
}

// sum is the ones' complement sum of the body and its pseudo-header (RFC 9293 3.1, RFC 8200 8.1);
// a body that arrived as it was sent gives 0xffff.
func (e *envelope) sum() uint16 {
	n := add(sum(e.addresses), uint16(e.protocol))
	return add(add(n, uint16(len(e.body))), sum(e.body))
}
