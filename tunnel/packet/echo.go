package packet

import (
	"encoding/binary"
	"errors"

	"tandem/engine/wire"
)

// ErrNotEcho says that a packet carries something else than an ICMP echo request or reply.
var ErrNotEcho = errors.New("not an ICMP echo")

const (
	icmpLen = 8

	echoReply4, echoRequest4 = 0, 8
	echoRequest6, echoReply6 = 128, 129
)

// An Echo is an ICMP echo request or its reply (RFC 792, RFC 4443 4).
type Echo struct {
	Reply   bool
	ID, Seq uint16
	Payload []byte // of a parsed one: part of the packet
}

// Echo reads the body of a whole packet as an ICMP echo and verifies its checksum.
func (p *Packet) Echo() (Echo, error) {
	if p.Fragment() {
		return Echo{}, wire.ErrFragment
	}
	b, err := p.icmp()
	if err != nil {
		return Echo{}, err
	}
	e := Echo{ID: binary.BigEndian.Uint16(b[4:]), Seq: binary.BigEndian.Uint16(b[6:]), Payload: b[icmpLen:]}
	request, reply := p.echoTypes()
	switch {
	case b[1] != 0 || b[0] != request && b[0] != reply:
		return Echo{}, ErrNotEcho
	case b[0] == reply:
		e.Reply = true
	}
	return e, nil
}

// icmp is the body when it is ICMP of the packet's family as it was sent.
func (p *Packet) icmp() ([]byte, error) {
	switch {
	case p.Protocol != p.icmpProtocol():
		return nil, ErrNotEcho
	case len(p.Body) < icmpLen:
		return nil, wire.ErrShort
	case p.icmpSum(p.Body) != 0:
		return nil, wire.ErrChecksum
	}
	return p.Body, nil
}

func (p *Packet) icmpProtocol() uint8 {
	if p.Target.Is4() {
		return wire.ICMPv4
	}
	return wire.ICMPv6
}

// icmpSum: that of ICMPv6 covers a pseudo-header (RFC 4443 2.3).
func (p *Packet) icmpSum(body []byte) uint16 {
	if p.Target.Is4() {
		return checksum(body)
	}
	return p.sum(wire.ICMPv6, body)
}

func (p *Packet) echoTypes() (request, reply uint8) {
	if p.Target.Is4() {
		return echoRequest4, echoReply4
	}
	return echoRequest6, echoReply6
}

// AppendEcho appends a packet with p's headers that carries e in place of Protocol and Body. Like Append it
// appends nothing when there is no such packet. The payload may not lie in buf's room.
func (p *Packet) AppendEcho(buf []byte, e Echo) []byte {
	kind, reply := p.echoTypes()
	if e.Reply {
		kind = reply
	}
	return p.appendICMP(buf, kind, 0, uint32(e.ID)<<16|uint32(e.Seq), e.Payload)
}

func (p *Packet) appendICMP(buf []byte, kind, code uint8, rest uint32, payload []byte) []byte {
	h := *p
	h.Protocol = h.icmpProtocol()
	buf, body := h.grow(buf, icmpLen+len(payload))
	if body == nil {
		return buf
	}
	body[0], body[1], body[2], body[3] = kind, code, 0, 0
	binary.BigEndian.PutUint32(body[4:], rest)
	copy(body[icmpLen:], payload)
	binary.BigEndian.PutUint16(body[2:], h.icmpSum(body))
	return buf
}

// SumICMP puts the checksum into a whole ICMP message of IPv4.
func SumICMP(message []byte) {
	message[2], message[3] = 0, 0
	binary.BigEndian.PutUint16(message[2:], checksum(message))
}
