package wire

import (
	"encoding/binary"
	"net/netip"
)

// A Packet is what the headers of a whole IP packet tell about where it belongs, whatever it carries,
// fragments included. Its methods take the octets that it was parsed from.
type Packet struct {
	Source, Target netip.Addr
	From, To       uint16 // ports of TCP and UDP, twice the identifier of an ICMP echo; else, and in later fragments, 0
	Protocol       uint8  // of what it carries, behind IPv6 extension headers
	Whole          bool   // not to be fragmented by those who forward it: DF, or IPv6
	Error          bool   // an ICMP error, with a quote of what caused it

	Fragment bool   // one of several
	ID       uint32 // Fragment: of the datagram that it is part of
	Offset   int    // Fragment: of its octets in that datagram's
	More     bool   // Fragment: not the last

	length int // of the packet
	fixed  int // of the headers that each fragment repeats (RFC 8200 4.5)
	part   int // where what is divided among fragments begins
	body   int // where what it carries begins, behind all headers
}

const (
	fragmentLen = 8 // of IPv6's header

	dontFragment  = 0x4000
	moreFragments = 0x2000
	offsetMask    = 0x1fff
)

// Parse reads the IP headers, and what follows them as far as it tells flows apart. Octets behind the
// IP packet's end are ignored. It verifies IPv4's header checksum and no other.
func (p *Packet) Parse(pkt []byte) error {
	*p = Packet{}
	if len(pkt) == 0 {
		return ErrShort
	}
	err := ErrVersion
	switch pkt[0] >> 4 {
	case 4:
		err = p.parse4(pkt)
	case 6:
		err = p.parse6(pkt)
	}
	if err != nil {
		*p = Packet{}
		return err
	}
	if p.Offset == 0 {
		p.parseBody(pkt[p.body:p.length])
	}
	return nil
}

// Length returns the octets of the packet without what may lie behind it.
func (p *Packet) Length() int { return p.length }

// Part returns where what is divided among fragments begins: behind the headers that each of them has.
func (p *Packet) Part() int { return p.part }

func (p *Packet) parse4(pkt []byte) error {
	if len(pkt) < ip4Len {
		return ErrShort
	}
	p.body, p.length = int(pkt[0]&15)*4, int(binary.BigEndian.Uint16(pkt[2:]))
	if p.body < ip4Len || p.length < p.body {
		return ErrLength
	}
	if p.length > len(pkt) {
		return ErrShort
	}
	if sum(pkt[:p.body]) != 0xffff {
		return ErrHeaderChecksum
	}
	p.fixed, p.part = p.body, p.body
	p.Source, p.Target = netip.AddrFrom4([4]byte(pkt[12:])), netip.AddrFrom4([4]byte(pkt[16:]))
	p.Protocol = pkt[9]
	where := binary.BigEndian.Uint16(pkt[6:])
	p.Whole = where&dontFragment != 0
	return p.piece(uint32(binary.BigEndian.Uint16(pkt[4:])), int(where&offsetMask)*8, where&moreFragments != 0)
}

func (p *Packet) parse6(pkt []byte) error {
	if len(pkt) < ip6Len {
		return ErrShort
	}
	p.length = ip6Len + int(binary.BigEndian.Uint16(pkt[4:]))
	if p.length > len(pkt) {
		return ErrShort
	}
	p.Source, p.Target = netip.AddrFrom16([16]byte(pkt[8:])), netip.AddrFrom16([16]byte(pkt[24:]))
	if p.Source.Is4In6() || p.Target.Is4In6() {
		return ErrAddress
	}
	p.Whole = true
	head, err := p.skip6(pkt[:p.length])
	p.part = p.fixed
	if head != nil {
		p.part += fragmentLen
	}
	if err != nil || head == nil {
		return err
	}
	where := binary.BigEndian.Uint16(head[2:])
	return p.piece(binary.BigEndian.Uint32(head[4:]), int(where&^7), where&1 != 0)
}

// skip6 passes the extension headers and returns that of a fragment, if there is one. Behind the header
// of a later fragment is its body.
func (p *Packet) skip6(pkt []byte) (fragment []byte, err error) {
	p.Protocol, p.fixed, p.body = pkt[6], ip6Len, ip6Len
	for p.Protocol == extHopByHop || p.Protocol == extRouting || p.Protocol == extFragment || p.Protocol == extDestination {
		head, n := pkt[p.body:], 8
		if len(head) < n {
			return nil, ErrShort
		}
		if p.Protocol != extFragment {
			n += int(head[1]) * 8
		}
		if n > len(head) {
			return nil, ErrShort
		}
		was := p.Protocol
		if was == extFragment && fragment != nil {
			return nil, ErrExtension
		}
		p.Protocol, p.body = head[0], p.body+n
		switch {
		case was == extFragment:
			fragment, p.fixed = head, p.body-n
			if binary.BigEndian.Uint16(head[2:])&^7 != 0 {
				return fragment, nil
			}
		case fragment == nil && was != extDestination:
			p.fixed = p.body
		}
	}
	return fragment, nil
}

// piece notes which part of a datagram the packet is.
func (p *Packet) piece(id uint32, offset int, more bool) error {
	if offset == 0 && !more {
		return nil
	}
	n := p.length - p.part
	if n == 0 || more && n%8 != 0 || offset+n > 0xffff {
		return ErrLength
	}
	p.Fragment, p.ID, p.Offset, p.More = true, id, offset, more
	return nil
}

// parseBody reads what tells flows apart.
func (p *Packet) parseBody(body []byte) {
	switch {
	case len(body) < 8:
	case p.Protocol == UDP || p.Protocol == TCP:
		p.From, p.To = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
	case p.isICMP():
		p.Error = icmpError(p.Protocol, body[0])
		if icmpEcho(p.Protocol, body[0]) {
			p.From = binary.BigEndian.Uint16(body[4:])
			p.To = p.From
		}
	}
}

// isICMP reports whether it carries the ICMP of its family.
func (p *Packet) isICMP() bool {
	return p.Source.Is4() && p.Protocol == ICMPv4 || p.Source.Is6() && p.Protocol == ICMPv6
}

// icmpError reports whether a message of that type quotes a packet (RFC 1122 3.2.2, RFC 4443 2.1).
func icmpError(protocol, kind uint8) bool {
	if protocol == ICMPv6 {
		return kind < 128
	}
	return kind == 3 || kind == 4 || kind == 5 || kind == 11 || kind == 12
}

func icmpEcho(protocol, kind uint8) bool {
	if protocol == ICMPv6 {
		return kind == 128 || kind == 129
	}
	return kind == 0 || kind == 8
}
