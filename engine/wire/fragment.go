package wire

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Cut appends to buf the piece of a packet from the octet at on behind its headers, as a fragment of at
// most mtu octets (RFC 791 3.2, RFC 8200 4.5), and returns where the next one begins: 0 after the last. What
// is cut may be a fragment itself. id names the datagram unless it has a name that holds: that of a fragment,
// or of a packet that may be fragmented by anybody. An mtu too small for eight octets behind all headers, which the
// first fragment must have (RFC 7112 5), appends nothing.
func (p *Packet) Cut(buf, pkt []byte, at, mtu int, id uint32) (piece []byte, next int) {
	head := p.fixed
	if p.Source.Is6() {
		head += fragmentLen
	}
	n, rest, least := mtu-head, p.length-p.part-at, 8
	if at == 0 && p.Offset == 0 {
		least += p.body - p.part
	}
	last := rest <= n
	if n < 8 || !last && n&^7 < least || rest <= 0 || at < 0 {
		return buf, 0
	}
	if last {
		n = rest
	} else {
		n, next = n&^7, at+n&^7
	}
	start := len(buf)
	buf = slices.Grow(buf, head+n)[:start+head+n]
	piece = buf[start:]
	copy(piece, pkt[:p.fixed])
	copy(piece[head:], pkt[p.part+at:p.part+at+n])
	more := p.More || !last
	if p.Fragment || p.Source.Is4() && !p.Whole {
		id = p.name(pkt)
	}
	if p.Source.Is4() {
		p.head4(piece, p.Offset+at, more, id)
	} else {
		p.head6(piece, pkt, p.Offset+at, more, id)
	}
	return buf, next
}

// name is the packet's identification, also of one that was not cut.
func (p *Packet) name(pkt []byte) uint32 {
	if p.Fragment {
		return p.ID
	}
	return uint32(binary.BigEndian.Uint16(pkt[4:]))
}

func (p *Packet) head4(piece []byte, offset int, more bool, id uint32) {
	where := uint16(offset / 8)
	if more {
		where |= moreFragments
	}
	binary.BigEndian.PutUint16(piece[2:], uint16(len(piece)))
	binary.BigEndian.PutUint16(piece[4:], uint16(id))
	binary.BigEndian.PutUint16(piece[6:], where)
	if offset > 0 {
		blank(piece[ip4Len:p.fixed])
	}
	seal4(piece[:p.fixed])
}

// seal4 makes the checksum of an IPv4 header.
func seal4(header []byte) {
	binary.BigEndian.PutUint16(header[10:], 0)
	binary.BigEndian.PutUint16(header[10:], ^sum(header))
}

// blank puts no-operations in place of options that only a first fragment carries (RFC 791 3.1).
func blank(options []byte) {
	for len(options) > 1 && options[0] != 0 {
		n := 1
		if options[0] != 1 {
			n = min(max(int(options[1]), 2), len(options))
		}
		if options[0]&0x80 == 0 {
			for i := range options[:n] {
				options[i] = 1
			}
		}
		options = options[n:]
	}
}

func (p *Packet) head6(piece, pkt []byte, offset int, more bool, id uint32) {
	binary.BigEndian.PutUint16(piece[4:], uint16(len(piece)-ip6Len))
	where := next6(piece, p.fixed)
	head := piece[p.fixed:]
	head[0], head[1] = pkt[next6(pkt, p.fixed)], 0
	if head[0] == extFragment {
		head[0] = pkt[p.fixed]
	}
	piece[where] = extFragment
	word := uint16(offset)
	if more {
		word |= 1
	}
	binary.BigEndian.PutUint16(head[2:], word)
	binary.BigEndian.PutUint32(head[4:], id)
}

// next6 returns where it stands what the header at at is: in the one before it.
func next6(pkt []byte, at int) int {
	where, here := 6, ip6Len
	for here < at {
		where, here = here, here+8+int(pkt[here+1])*8
	}
	return where
}

// Join makes of whole, which has the headers of a datagram's first fragment p and then, from Part on, all that
// was divided, the packet that was cut, and returns it: a part of whole.
func (p *Packet) Join(whole []byte) []byte {
	if p.Source.Is4() {
		binary.BigEndian.PutUint16(whole[2:], uint16(len(whole)))
		binary.BigEndian.PutUint16(whole[6:], 0)
		seal4(whole[:p.part])
		return whole
	}
	where := next6(whole, p.fixed)
	whole[where] = whole[p.fixed]
	copy(whole[fragmentLen:], whole[:p.fixed])
	whole = whole[fragmentLen:]
	binary.BigEndian.PutUint16(whole[4:], uint16(len(whole)-ip6Len))
	return whole
}

// AppendTooBig appends the ICMP error with which a router at the address from answers a packet that is
// longer than mtu and must not be cut (RFC 1191 4, RFC 4443 3.2). Nothing answers an ICMP error, or a
// fragment that is not the first (RFC 1122 3.2.2): then nothing is appended.
func (p *Packet) AppendTooBig(buf, pkt []byte, from netip.Addr, mtu int) []byte {
	if p.Error || p.Offset > 0 || from.Is4() != p.Source.Is4() {
		return buf
	}
	e := envelope{source: from, target: p.Source, ttl: 64, protocol: ICMPv4}
	head, quote := ip4Len+8, min(p.length, 576-ip4Len-8)
	if from.Is6() {
		e.protocol = ICMPv6
		head, quote = ip6Len+8, min(p.length, 1280-ip6Len-8)
	}
	start := len(buf)
	buf = slices.Grow(buf, head+quote)[:start+head+quote]
	out := buf[start:]
	copy(out[head:], pkt[:quote])
	e.body = out[head-8:]
	clear(e.body[:8])
	e.write(out)
	if from.Is4() {
		e.body[0], e.body[1] = 3, 4
		binary.BigEndian.PutUint16(e.body[6:], uint16(mtu))
		binary.BigEndian.PutUint16(e.body[2:], ^sum(e.body))
	} else {
		e.body[0] = 2
		binary.BigEndian.PutUint32(e.body[4:], uint32(mtu))
		binary.BigEndian.PutUint16(e.body[2:], ^e.sum())
	}
	return buf
}
