package sim

import (
	"encoding/binary"
	"math/rand/v2"

	"tandem/engine/wire"
)

// A packet is an IP packet as middleboxes and noise handle it: octets in place.
type packet []byte

// tcp returns where the TCP header and the payload of pkt begin, as far as IP's own headers tell.
func (pkt packet) tcp() (header, payload int, ok bool) {
	switch {
	case len(pkt) >= 40 && pkt[0]>>4 == 4 && pkt[9] == wire.TCP:
		header = int(pkt[0]&15) * 4
	case len(pkt) >= 60 && pkt[0]>>4 == 6 && pkt[6] == wire.TCP:
		header = 40
	default:
		return 0, 0, false
	}
	if header < 20 || header+20 > len(pkt) {
		return 0, 0, false
	}
	payload = header + int(pkt[header+12]>>4)*4
	return header, payload, payload >= header+20 && payload <= len(pkt)
}

// seal puts the checksums right.
func (pkt packet) seal() {
	if pkt[0]>>4 == 4 {
		pkt.sealIP()
	}
	header, _, ok := pkt.tcp()
	if !ok {
		return
	}
	var pseudo [4]byte
	pseudo[1] = wire.TCP
	binary.BigEndian.PutUint16(pseudo[2:], uint16(len(pkt)-header))
	binary.BigEndian.PutUint16(pkt[header+16:], 0)
	var s wire.Sum
	if pkt[0]>>4 == 4 {
		s.Add(pkt[12:20])
	} else {
		s.Add(pkt[8:40])
	}
	s.Add(pseudo[:])
	s.Add(pkt[header:])
	binary.BigEndian.PutUint16(pkt[header+16:], s.Checksum())
}

func (pkt packet) sealIP() {
	header := int(pkt[0]&15) * 4
	if header < 20 || header > len(pkt) {
		return
	}
	binary.BigEndian.PutUint16(pkt[10:], 0)
	var s wire.Sum
	s.Add(pkt[:header])
	binary.BigEndian.PutUint16(pkt[10:], s.Checksum())
}

// mark sets CE if the packet is ECT (RFC 3168 5).
func mark(pkt packet) bool {
	switch {
	case len(pkt) >= 20 && pkt[0]>>4 == 4 && pkt[1]&3 != 0:
		pkt[1] |= wire.CE
		pkt.sealIP()
		return true
	case len(pkt) >= 40 && pkt[0]>>4 == 6 && pkt[1]>>4&3 != 0:
		pkt[1] |= wire.CE << 4
		return true
	}
	return false
}

// flip turns one bit, past the fields of an IPv6 header that no checksum covers.
func flip(pkt packet, dice *rand.Rand) {
	from := 0
	if len(pkt) > 8 && pkt[0]>>4 == 6 {
		from = 8
	}
	if len(pkt) > from {
		pkt[from+dice.IntN(len(pkt)-from)] ^= 1 << dice.IntN(8)
	}
}

// alter changes one octet of TCP payload and the checksum with it; false if there is no payload.
func alter(pkt packet, dice *rand.Rand) bool {
	_, payload, ok := pkt.tcp()
	if !ok || payload == len(pkt) {
		return false
	}
	pkt[payload+dice.IntN(len(pkt)-payload)] ^= byte(1 + dice.IntN(255))
	pkt.seal()
	return true
}
