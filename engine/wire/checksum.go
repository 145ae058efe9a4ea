package wire

import (
	"encoding/binary"
	"math/bits"
)

// A Sum is a ones' complement sum in the making (RFC 1071). Its octets may come in pieces of any
// length. The zero Sum is empty.
type Sum struct {
	sum uint16
	odd bool // an odd number of octets so far
}

// Add continues the sum with p.
func (s *Sum) Add(p []byte) {
	v := sum(p)
	if s.odd {
		v = bits.ReverseBytes16(v)
	}
	s.sum = add(s.sum, v)
	s.odd = s.odd != (len(p)&1 == 1)
}

// Checksum is the complement of the sum, as header fields carry it; an odd last octet counts as if
// a zero followed.
func (s Sum) Checksum() uint16 { return ^s.sum }

// ChecksumDSS is the checksum of a mapping (RFC 8684 3.3.1): of a pseudo-header of the whole 64-bit
// dsn, ssn and dataLen as the option has it, and of the mapping's payload, summed in payload.
func ChecksumDSS(dsn DSN, ssn uint32, dataLen uint16, payload Sum) uint16 {
	var h [14]byte
	binary.BigEndian.PutUint64(h[:], uint64(dsn))
	binary.BigEndian.PutUint32(h[8:], ssn)
	binary.BigEndian.PutUint16(h[12:], dataLen)
	return ^add(payload.sum, sum(h[:]))
}

// add is the ones' complement addition.
func add(a, b uint16) uint16 {
	n := uint32(a) + uint32(b)
	return uint16(n) + uint16(n>>16)
}

// sum is the ones' complement sum of the big-endian words of p. Such sums do not care for the order
// of octets but in the result (RFC 1071 2B), so words are read as this machine is likely to have them.
// What an addition leaves that carried is never all ones, so the carry itself can be added to it.
func sum(p []byte) uint16 {
	var n, carry uint64
	for len(p) >= 64 {
		w := (*[64]byte)(p)
		n, carry = bits.Add64(n, binary.LittleEndian.Uint64(w[0:8]), 0)
		n, carry = bits.Add64(n, binary.LittleEndian.Uint64(w[8:16]), carry)
		n, carry = bits.Add64(n, binary.LittleEndian.Uint64(w[16:24]), carry)
		n, carry = bits.Add64(n, binary.LittleEndian.Uint64(w[24:32]), carry)
		n, carry = bits.Add64(n, binary.LittleEndian.Uint64(w[32:40]), carry)
		n, carry = bits.Add64(n, binary.LittleEndian.Uint64(w[40:48]), carry)
		n, carry = bits.Add64(n, binary.LittleEndian.Uint64(w[48:56]), carry)
		n, carry = bits.Add64(n, binary.LittleEndian.Uint64(w[56:64]), carry)
		n += carry
		p = p[64:]
	}
	for len(p) >= 8 {
		n, carry = bits.Add64(n, binary.LittleEndian.Uint64(p), 0)
		n += carry
		p = p[8:]
	}
	var last uint64
	for i, b := range p {
		last |= uint64(b) << (8 * i)
	}
	n, carry = bits.Add64(n, last, 0)
	n += carry
	n = n>>32 + n&0xffffffff
	n = n>>16 + n&0xffff
	n = n>>16 + n&0xffff
	n = n>>16 + n&0xffff
	return bits.ReverseBytes16(uint16(n))
}
