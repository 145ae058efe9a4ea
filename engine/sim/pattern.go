package sim

import (
	"bytes"
	"encoding/binary"
)

// A pattern is an endless stream of octets, each a function of its offset: a place in noise where it
// begins. The noise repeats, after a prime number of octets so that no buffer's size divides it.
type pattern int64

const (
	period   = 65521
	runBytes = 64 << 10 // octets that lie together at every offset
)

// noise is the same in every process, and never written to.
var noise = func() (n [period + runBytes]byte) {
	for i := 0; i < period; i += 8 {
		binary.LittleEndian.PutUint64(n[i:], mix(uint64(i)))
	}
	for i := period; i < len(n); i++ {
		n[i] = n[i-period]
	}
	return n
}()

// at returns up to most octets from off on, which must not be changed.
func (k pattern) at(off, most int64) []byte {
	from := (int64(k) + off) % period
	return noise[from : from+min(most, runBytes)]
}

// differs returns where p is not the octets from off on, or -1.
func (k pattern) differs(p []byte, off int64) int64 {
	for len(p) > 0 {
		want := k.at(off, int64(len(p)))
		if !bytes.Equal(p[:len(want)], want) {
			for i, b := range want {
				if p[i] != b {
					return off + int64(i)
				}
			}
		}
		p, off = p[len(want):], off+int64(len(want))
	}
	return -1
}

// mix scatters the bits of x (a permutation of 64-bit numbers).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
