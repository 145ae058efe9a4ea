// Package packet reads and writes whole IP packets that are not TCP: any header, UDP, ICMP echo, and the
// ICMP errors that a router or a host answers with. Nothing here waits, and bad input gives errors only.
package packet

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"tandem/engine/wire"
)

const (
	header4  = 20
	header6  = 40
	fragment = 8 // length of IPv6's fragment header, and unit of offsets
	lenMax   = 0xffff

	hopByHop     = 0
	routing      = 43
	fragmentNext = 44
	destination  = 60
)

// A Packet is what the headers of an IP packet say, and what it carries.
type Packet struct {
	Source, Target netip.Addr // of one family; IPv4 never as an IPv6-mapped address
	TOS            uint8      // DSCP and ECN
	TTL            uint8      // hop limit; 0 when building means 64
	DF             bool       // routers must not fragment it; always so of IPv6
	ID             uint32     // of the packet whose fragments these are: 16 bits in IPv4
	Offset         int        // octets of the body before this fragment's
	More           bool       // fragments follow
	Protocol       uint8      // what Body is, after any extension headers
	Body           []byte     // of a parsed packet: part of it
}

// Fragment reports whether the packet is not whole.
func (p *Packet) Fragment() bool { return p.More || p.Offset > 0 }

// Parse reads the headers of an IPv4 or IPv6 packet and verifies those, not the body. It sets all of p;
// octets after the packet's end are ignored. The errors are those of engine/wire; after one p is empty.
func (p *Packet) Parse(pkt []byte) error { return p.parse(pkt, false) }

// parse takes a packet that was cut behind its headers, as quotes are, where cut says so.
func (p *Packet) parse(pkt []byte, cut bool) error {
	*p = Packet{}
	err := wire.ErrVersion
	switch {
	case len(pkt) == 0:
		err = wire.ErrShort
	case pkt[0]>>4 == 4:
		err = p.parse4(pkt, cut)
	case pkt[0]>>4 == 6:
		err = p.parse6(pkt, cut)
	}
	if err != nil {
		*p = Packet{}
	}
	return err
}

// parse4: RFC 791 3.1.
func (p *Packet) parse4(pkt []byte, cut bool) error {
	if len(pkt) < header4 {
		return wire.ErrShort
	}
	header, total := int(pkt[0]&15)*4, int(binary.BigEndian.Uint16(pkt[2:]))
	if header < header4 || total < header {
		return wire.ErrLength
	}
	if cut {
		total = min(total, len(pkt))
	}
	if total > len(pkt) || header > total {
		return wire.ErrShort
	}
	if checksum(pkt[:header]) != 0 {
		return wire.ErrHeaderChecksum
	}
	where := binary.BigEndian.Uint16(pkt[6:])
	*p = Packet{
		Source: netip.AddrFrom4([4]byte(pkt[12:])), Target: netip.AddrFrom4([4]byte(pkt[16:])),
		TOS: pkt[1], TTL: pkt[8], Protocol: pkt[9],
		DF: where&0x4000 != 0, More: where&0x2000 != 0, Offset: int(where&0x1fff) * fragment,
		ID:   uint32(binary.BigEndian.Uint16(pkt[4:])),
		Body: pkt[header:total],
	}
	return nil
}

// parse6: RFC 8200 3.
func (p *Packet) parse6(pkt []byte, cut bool) error {
	if len(pkt) < header6 {
		return wire.ErrShort
	}
	total := header6 + int(binary.BigEndian.Uint16(pkt[4:]))
	if cut {
		total = min(total, len(pkt))
	}
	if total > len(pkt) {
		return wire.ErrShort
	}
	*p = Packet{
		Source: netip.AddrFrom16([16]byte(pkt[8:])), Target: netip.AddrFrom16([16]byte(pkt[24:])),
		TOS: pkt[0]<<4 | pkt[1]>>4, TTL: pkt[7], Protocol: pkt[6], DF: true,
		Body: pkt[header6:total],
	}
	if p.Source.Is4In6() || p.Target.Is4In6() {
		return wire.ErrAddress
	}
	return p.walk()
}

// walk passes extension headers (RFC 8200 4), up to where what is not whole begins.
func (p *Packet) walk() error {
	for !p.Fragment() {
		n := 0
		switch p.Protocol {
		case hopByHop, routing, destination, fragmentNext:
		default:
			return nil
		}
		if len(p.Body) < 8 {
			return wire.ErrShort
		}
		switch p.Protocol {
		case fragmentNext:
			n = fragment
			where := binary.BigEndian.Uint16(p.Body[2:])
			p.Offset, p.More, p.ID = int(where&^7), where&1 != 0, binary.BigEndian.Uint32(p.Body[4:])
		case routing:
			if p.Body[3] != 0 {
				return wire.ErrExtension // Target is not the last
			}
			fallthrough
		default:
			n = 8 + int(p.Body[1])*8
		}
		if n > len(p.Body) {
			return wire.ErrShort
		}
		p.Protocol, p.Body = p.Body[0], p.Body[n:]
	}
	return nil
}

// HeaderLen is how many octets Append puts before the body.
func (p *Packet) HeaderLen() int {
	switch {
	case p.Target.Is4():
		return header4
	case p.Fragment():
		return header6 + fragment
	}
	return header6
}

// Append appends the packet, without options and extension headers but IPv6's for fragments. What can be
// no packet, for lack of addresses of one family or for its length, appends nothing.
func (p *Packet) Append(buf []byte) []byte {
	buf, body := p.grow(buf, len(p.Body))
	copy(body, p.Body)
	return buf
}

// grow appends the packet's headers and room for a body of n octets, which is nil when there is no such packet.
func (p *Packet) grow(buf []byte, n int) (all, body []byte) {
	at, h := len(buf), p.HeaderLen()
	long := n + h
	if p.Target.Is6() {
		long -= header6
	}
	if !p.Source.IsValid() || !p.Target.IsValid() || p.Source.BitLen() != p.Target.BitLen() || long > lenMax {
		return buf, nil
	}
	buf = slices.Grow(buf, h+n)[:at+h+n]
	if p.Target.Is4() {
		p.write4(buf[at:])
	} else {
		p.write6(buf[at:])
	}
	return buf, buf[at+h:]
}

func (p *Packet) ttl() uint8 {
	if p.TTL == 0 {
		return 64
	}
	return p.TTL
}

func (p *Packet) write4(pkt []byte) {
	where := uint16(p.Offset/fragment) & 0x1fff
	if p.DF {
		where |= 0x4000
	}
	if p.More {
		where |= 0x2000
	}
	source, target := p.Source.As4(), p.Target.As4()
	pkt[0], pkt[1] = 0x45, p.TOS
	binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
	binary.BigEndian.PutUint16(pkt[4:], uint16(p.ID))
	binary.BigEndian.PutUint16(pkt[6:], where)
	pkt[8], pkt[9] = p.ttl(), p.Protocol
	pkt[10], pkt[11] = 0, 0
	copy(pkt[12:], source[:])
	copy(pkt[16:], target[:])
	binary.BigEndian.PutUint16(pkt[10:], checksum(pkt[:header4]))
}

func (p *Packet) write6(pkt []byte) {
	source, target := p.Source.As16(), p.Target.As16()
	binary.BigEndian.PutUint32(pkt, 6<<28|uint32(p.TOS)<<20)
	binary.BigEndian.PutUint16(pkt[4:], uint16(len(pkt)-header6))
	pkt[6], pkt[7] = p.Protocol, p.ttl()
	copy(pkt[8:], source[:])
	copy(pkt[24:], target[:])
	if p.Fragment() {
		where := uint16(p.Offset) &^ 7
		if p.More {
			where |= 1
		}
		pkt[6] = fragmentNext
		pkt[40], pkt[41] = p.Protocol, 0
		binary.BigEndian.PutUint16(pkt[42:], where)
		binary.BigEndian.PutUint32(pkt[44:], p.ID)
	}
}

// checksum of octets that contain it is 0 when they are as they were sent (RFC 1071).
func checksum(b []byte) uint16 {
	var s wire.Sum
	s.Add(b)
	return s.Checksum()
}

// sum is the checksum of a body with its pseudo-header (RFC 768, RFC 8200 8.1).
func (p *Packet) sum(protocol uint8, body []byte) uint16 {
	var s wire.Sum
	if p.Source.Is4() {
		source, target := p.Source.As4(), p.Target.As4()
		s.Add(source[:])
		s.Add(target[:])
	} else {
		source, target := p.Source.As16(), p.Target.As16()
		s.Add(source[:])
		s.Add(target[:])
	}
	s.Add([]byte{0, protocol, byte(len(body) >> 8), byte(len(body))})
	s.Add(body)
	return s.Checksum()
}
