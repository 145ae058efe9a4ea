package wire

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// Readdress puts to in place of from wherever the packet names it: as its source, as its target, and as
// either of the packet that an ICMP error quotes. Checksums are mended, not made anew (RFC 1624), so that
// what was damaged stays damaged. Both addresses are of the packet's family.
func (p *Packet) Readdress(pkt []byte, from, to netip.Addr) {
	if from == to || from.Is4() != p.Source.Is4() || to.Is4() != from.Is4() {
		return
	}
	x := exchange{}
	if from.Is4() {
		old, young := from.As4(), to.As4()
		x.old, x.young = old[:], young[:]
		x.header(pkt, p.body, p.Protocol, p.Offset == 0, p.length)
	} else {
		old, young := from.As16(), to.As16()
		x.old, x.young = old[:], young[:]
		x.header(pkt, p.body, p.Protocol, p.Offset == 0, p.length)
	}
	if p.Source == from {
		p.Source = to
	}
	if p.Target == from {
		p.Target = to
	}
}

// An exchange is one address in place of another.
type exchange struct{ old, young []byte }

// header exchanges the addresses of an IP header and mends the checksums that cover them; body is where
// what the packet carries begins, and first says that it begins there. It returns the change of the sum
// of all octets.
func (x exchange) header(pkt []byte, body int, protocol uint8, first bool, length int) (change uint16) {
	four := len(x.old) == 4
	at := 8
	if four {
		at = 12
	}
	moved := add(x.swap(pkt[at:]), x.swap(pkt[at+len(x.old):]))
	change = moved
	if four {
		change = add(change, adjust(pkt[10:], moved))
	}
	if first {
		change = add(change, x.payload(pkt[body:length], protocol, moved))
	}
	return change
}

// swap exchanges the address at p and returns the change of the sum.
func (x exchange) swap(p []byte) (change uint16) {
	if p = p[:len(x.old)]; !bytes.Equal(p, x.old) {
		return 0
	}
	copy(p, x.young)
	return add(^sum(x.old), sum(x.young))
}

// payload mends the checksum of what a packet carries after its pseudo-header changed.
func (x exchange) payload(p []byte, protocol uint8, moved uint16) (change uint16) {
	switch {
	case protocol == UDP && len(p) >= udpLen:
		if p[6] == 0 && p[7] == 0 {
			return 0 // there is none
		}
		change = adjust(p[6:], moved)
		if p[6] == 0 && p[7] == 0 {
			p[6], p[7] = 0xff, 0xff // the same sum, and no sign that there is none (RFC 768)
		}
		return change
	case protocol == TCP && len(p) >= 18:
		return adjust(p[16:], moved)
	case protocol == ICMPv4 && len(x.old) == 4 && len(p) >= 8:
		return x.message(p, ICMPv4, 0)
	case protocol == ICMPv6 && len(x.old) == 16 && len(p) >= 8:
		return x.message(p, ICMPv6, moved)
	}
	return 0
}

// message exchanges the addresses in the quote of an ICMP message, if it is an error.
func (x exchange) message(p []byte, protocol uint8, moved uint16) (change uint16) {
	if icmpError(protocol, p[0]) {
		change = x.quote(p[8:])
	}
	return add(change, adjust(p[2:], add(change, moved)))
}

// quote exchanges the addresses of a packet that may be cut, and altered on its way.
func (x exchange) quote(pkt []byte) (change uint16) {
	if len(x.old) == 4 {
		if len(pkt) < ip4Len || pkt[0]>>4 != 4 {
			return 0
		}
		body := min(max(int(pkt[0]&15)*4, ip4Len), len(pkt))
		first := binary.BigEndian.Uint16(pkt[6:])&offsetMask == 0
		return x.header(pkt, body, plain(pkt[9]), first, len(pkt))
	}
	if len(pkt) < ip6Len || pkt[0]>>4 != 6 {
		return 0
	}
	var p Packet
	fragment, err := p.skip6(pkt)
	first := err == nil && (fragment == nil || binary.BigEndian.Uint16(fragment[2:])&^7 == 0)
	return x.header(pkt, p.body, plain(p.Protocol), first, len(pkt))
}

// plain is the protocol of a quoted packet whose checksum is to be mended. Errors are not quoted by errors
// (RFC 1122 3.2.2), and an echo of IPv4 has no pseudo-header.
func plain(protocol uint8) uint8 {
	if protocol == ICMPv4 {
		return 0
	}
	return protocol
}

// adjust corrects the checksum at p after the sum of what it covers changed (RFC 1624 3, equation 3), and
// returns by how much it changed itself.
func adjust(p []byte, change uint16) uint16 {
	before := binary.BigEndian.Uint16(p)
	after := ^add(^before, change)
	binary.BigEndian.PutUint16(p, after)
	return add(^before, after)
}
