package wire

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
)

// ErrNotUDP says that a packet carries another protocol.
var ErrNotUDP = errors.New("not UDP")

const udpLen = 8

// A Datagram is a UDP datagram with the part of its IP header that its sender chose.
type Datagram struct {
	Source, Target netip.AddrPort // both of one family; IPv4 never as an IPv6-mapped address
	TOS            uint8          // DSCP and ECN
	TTL            uint8          // 0 when building means 64
	Payload        []byte         // of a parsed datagram: part of the packet
}

// Parse reads a whole IPv4 or IPv6 packet that carries a UDP datagram, and verifies its lengths and
// checksums; over IPv4, not IPv6, a datagram may have none (RFC 768, RFC 8200 8.1). It sets all of d; Payload is part of pkt.
// After an error d is empty. Octets after the IP packet's end are ignored.
func (d *Datagram) Parse(pkt []byte) error {
	*d = Datagram{}
	var e envelope
	if err := e.parse(pkt, false); err != nil {
		return err
	}
	if e.protocol != UDP {
		return ErrNotUDP
	}
	if len(e.body) < udpLen {
		return ErrShort
	}
	n := int(binary.BigEndian.Uint16(e.body[4:]))
	if n < udpLen || n > len(e.body) {
		return ErrLength
	}
	e.body = e.body[:n]
	bare := binary.BigEndian.Uint16(e.body[6:]) == 0
	if bare && !e.source.Is4() || !bare && e.sum() != 0xffff {
		return ErrChecksum
	}
	d.Source = netip.AddrPortFrom(e.source, binary.BigEndian.Uint16(e.body))
	d.Target = netip.AddrPortFrom(e.target, binary.BigEndian.Uint16(e.body[2:]))
	d.TOS, d.TTL = e.tos, e.ttl
	d.Payload = e.body[udpLen:]
	return nil
}

// HeaderLen is how many octets Append puts before the payload.
func (d *Datagram) HeaderLen() int {
	if d.Target.Addr().Is4() {
		return ip4Len + udpLen
	}
	return ip6Len + udpLen
}

// Append appends the datagram as a whole IP packet: not to be fragmented, checksums in place. If the
// payload lies where it will end up, HeaderLen octets after the end of buf, it is not copied. Nothing
// is allocated while buf has room. What can be no packet, for lack of addresses of one family or for a
// length above 65535, appends nothing.
func (d *Datagram) Append(buf []byte) []byte {
	source, target := d.Source.Addr(), d.Target.Addr()
	n := d.HeaderLen() + len(d.Payload)
	if !source.IsValid() || !target.IsValid() || source.Is4() != target.Is4() || n > 0xffff {
		return buf
	}
	at := len(buf)
	buf = slices.Grow(buf, n)[:at+n]
	pkt := buf[at:]
	// The payload goes first, because the headers may be written over where it came from.
	if to := pkt[d.HeaderLen():]; len(to) > 0 && &to[0] != &d.Payload[0] {
		copy(to, d.Payload)
	}
	body := pkt[d.HeaderLen()-udpLen:]
	e := envelope{source: source, target: target, tos: d.TOS, ttl: d.TTL, protocol: UDP, body: body}
	if e.ttl == 0 {
		e.ttl = 64
	}
	e.write(pkt)
	binary.BigEndian.PutUint16(body, d.Source.Port())
	binary.BigEndian.PutUint16(body[2:], d.Target.Port())
	binary.BigEndian.PutUint16(body[4:], uint16(len(body)))
	binary.BigEndian.PutUint16(body[6:], 0)
	check := ^e.sum()
	if check == 0 {
		check = 0xffff // zero would mean that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(body[6:], check)
	return buf
}
