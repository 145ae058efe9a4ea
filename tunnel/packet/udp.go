package packet

import (
	"encoding/binary"

	"tandem/engine/wire"
)

const udpLen = 8

// UDP reads the body of a whole packet as a UDP datagram and verifies its length and checksum; over IPv4,
// not IPv6, there may be none (RFC 768, RFC 8200 8.1). The payload is part of the body.
func (p *Packet) UDP() (source, target uint16, payload []byte, err error) {
	body := p.Body
	switch {
	case p.Protocol != wire.UDP:
		return 0, 0, nil, wire.ErrNotUDP
	case p.Fragment():
		return 0, 0, nil, wire.ErrFragment
	case len(body) < udpLen:
		return 0, 0, nil, wire.ErrShort
	}
	n := int(binary.BigEndian.Uint16(body[4:]))
	if n < udpLen || n > len(body) {
		return 0, 0, nil, wire.ErrLength
	}
	body = body[:n]
	bare := binary.BigEndian.Uint16(body[6:]) == 0
	if bare && !p.Source.Is4() || !bare && p.sum(wire.UDP, body) != 0 {
		return 0, 0, nil, wire.ErrChecksum
	}
	return binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:]), body[udpLen:], nil
}

// AppendUDP appends a packet with p's headers that carries a UDP datagram in place of Protocol and Body.
// Like Append it appends nothing when there is no such packet. The payload may not lie in buf's room.
func (p *Packet) AppendUDP(buf []byte, source, target uint16, payload []byte) []byte {
	h := *p
	h.Protocol = wire.UDP
	if len(payload) > lenMax-udpLen {
		return buf
	}
	buf, body := h.grow(buf, udpLen+len(payload))
	if body == nil {
		return buf
	}
	binary.BigEndian.PutUint16(body, source)
	binary.BigEndian.PutUint16(body[2:], target)
	binary.BigEndian.PutUint16(body[4:], uint16(len(body)))
	binary.BigEndian.PutUint16(body[6:], 0)
	copy(body[udpLen:], payload)
	check := h.sum(wire.UDP, body)
	if check == 0 {
		check = 0xffff // zero would mean that there is none
	}
	binary.BigEndian.PutUint16(body[6:], check)
	return buf
}
