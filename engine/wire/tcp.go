package wire

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Parse reads a whole IPv4 or IPv6 packet that carries a TCP segment, and verifies its lengths and
// checksums. It sets all of s; Payload is part of pkt. After an error s is empty. Octets after the
// IP packet's end are ignored, and so are malformed options.
func (s *Segment) Parse(pkt []byte) error {
	*s = Segment{}
	var e envelope
	if err := e.parse(pkt, false); err != nil {
		return err
	}
	if e.protocol != TCP {
		return ErrNotTCP
	}
	p := e.body
	if len(p) < tcpLen {
		return ErrShort
	}
	header := int(p[12]>>4) * 4
	if header < tcpLen || header > len(p) {
		return ErrLength
	}
	if e.sum() != 0xffff {
		return ErrChecksum
	}
	s.Source = netip.AddrPortFrom(e.source, binary.BigEndian.Uint16(p))
	s.Target = netip.AddrPortFrom(e.target, binary.BigEndian.Uint16(p[2:]))
	s.TOS, s.TTL = e.tos, e.ttl
	s.Seq = Seq(binary.BigEndian.Uint32(p[4:]))
	s.Ack = Seq(binary.BigEndian.Uint32(p[8:]))
	s.Flags = Flags(p[13])
	s.Window = binary.BigEndian.Uint16(p[14:])
	s.Urgent = binary.BigEndian.Uint16(p[18:])
	s.Options.read(p[tcpLen:header])
	s.Payload = p[header:]
	return nil
}

// HeaderLen is how many octets Append puts before the payload: headers of IP and TCP, and padded options.
func (s *Segment) HeaderLen() int { return s.ipLen() + tcpLen + s.Options.fit().padded() }

func (s *Segment) ipLen() int {
	if s.Target.Addr().Is4() {
		return ip4Len
	}
	return ip6Len
}

// Append appends the segment as a whole IP packet: not to be fragmented, checksums in place. If the
// payload lies where it will end up, HeaderLen octets after the end of buf, it is not copied. Nothing
// is allocated while buf has room. Options that do not fit are left out, as Options.Append says. What
// can be no packet, for lack of addresses of one family or for a length above 65535, appends nothing.
func (s *Segment) Append(buf []byte) []byte {
	source, target := s.Source.Addr(), s.Target.Addr()
	fit := s.Options.fit()
	ip, options := s.ipLen(), fit.padded()
	n := ip + tcpLen + options + len(s.Payload)
	if !source.IsValid() || !target.IsValid() || source.Is4() != target.Is4() || n > 0xffff {
		return buf
	}
	at := len(buf)
	buf = slices.Grow(buf, n)[:at+n]
	pkt := buf[at:]
	body := pkt[ip:]
	// The payload goes first, because the headers may be written over where it came from.
	if to := body[tcpLen+options:]; len(to) > 0 && &to[0] != &s.Payload[0] {
		copy(to, s.Payload)
	}
	s.Options.write(body[:tcpLen], fit)

	e := envelope{source: source, target: target, tos: s.TOS, ttl: s.TTL, protocol: TCP, body: body}
	if e.ttl == 0 {
		e.ttl = 64
	}
	e.write(pkt)
	binary.BigEndian.PutUint16(body, s.Source.Port())
	binary.BigEndian.PutUint16(body[2:], s.Target.Port())
	binary.BigEndian.PutUint32(body[4:], uint32(s.Seq))
	binary.BigEndian.PutUint32(body[8:], uint32(s.Ack))
	body[12] = uint8((tcpLen + options) / 4 << 4)
	body[13] = uint8(s.Flags)
	binary.BigEndian.PutUint16(body[14:], s.Window)
	binary.BigEndian.PutUint16(body[16:], 0)
	binary.BigEndian.PutUint16(body[18:], s.Urgent)
	binary.BigEndian.PutUint16(body[16:], ^e.sum())
	return buf
}

// write puts the IP header before the body, and notes where the addresses are.
func (e *envelope) write(pkt []byte) {
	if e.source.Is4() {
		source, target := e.source.As4(), e.target.As4()
		pkt[0], pkt[1] = 0x45, e.tos
		binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
		binary.BigEndian.PutUint32(pkt[4:], 0x4000) // ID 0, DF (RFC 6864 4.1)
		pkt[8], pkt[9] = e.ttl, e.protocol
		binary.BigEndian.PutUint16(pkt[10:], 0)
		copy(pkt[12:], source[:])
		copy(pkt[16:], target[:])
		binary.BigEndian.PutUint16(pkt[10:], ^sum(pkt[:ip4Len]))
		e.addresses = pkt[12:20]
		return
	}
	source, target := e.source.As16(), e.target.As16()
	binary.BigEndian.PutUint32(pkt, 6<<28|uint32(e.tos)<<20)
	binary.BigEndian.PutUint16(pkt[4:], uint16(len(pkt)-ip6Len))
	pkt[6], pkt[7] = e.protocol, e.ttl
	copy(pkt[8:], source[:])
	copy(pkt[24:], target[:])
	e.addresses = pkt[8:40]
}
