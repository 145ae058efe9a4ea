package native

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

const (
	header4    = 20 // octets, without options
	header6    = 40
	headerTCP  = 20 // without options
	headerICMP = 8

	protocolICMP4 = 1
	protocolTCP   = 6
	protocolICMP6 = 58
)

// A scope is what is ours in one family: an address and ports.
type scope struct {
	local       []byte // 4 or 16 octets
	first, last uint16
}

func newScope(local netip.Addr, first, last uint16) scope {
	return scope{local: local.AsSlice(), first: first, last: last}
}

func (s scope) v4() bool { return len(s.local) == 4 }

// sends reports whether a packet of the family is a TCP segment from our address and one of our ports. The kernel would
// have the answer to any other.
func (s scope) sends(pkt []byte) bool {
	if len(pkt) < header4 {
		return false
	}
	header, protocol, source := int(pkt[0]&15)*4, pkt[9], pkt[12:16]
	if !s.v4() {
		if len(pkt) < header6 {
			return false
		}
		header, protocol, source = header6, pkt[6], pkt[8:24]
	}
	if header < header4 || len(pkt) < header+headerTCP || protocol != protocolTCP || !bytes.Equal(source, s.local) {
		return false
	}
	port := binary.BigEndian.Uint16(pkt[header:])
	return s.first <= port && port <= s.last
}
