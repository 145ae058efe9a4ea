package wire

import (
	"math/rand/v2"
	"testing"
)

// slow is the sum word by word, as RFC 1071 defines it.
func slow(p []byte) uint16 {
	n := 0
	for i, b := range p {
		if i%2 == 0 {
			n += int(b) << 8
		} else {
			n += int(b)
		}
		n = n>>16 + n&0xffff
	}
	return uint16(n)
}

func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestSum(t *testing.T) {
	for n := range 300 {
		for from := range 9 {
			p := noise(uint64(n), from+n)[from:]
			if got, want := sum(p), slow(p); got != want {
				t.Fatalf("%d octets from %d on: %04x, want %04x", n, from, got, want)
			}
		}
	}
}

// Carries out of the highest word must come back in, wherever they arise.
func TestSumCarries(t *testing.T) {
	for n := range 200 {
		p := make([]byte, n)
		for i := range p {
			p[i] = 0xff
		}
		for i := range p {
			for _, b := range []byte{0, 1, 0xfe} {
				p[i] = b
				if got, want := sum(p), slow(p); got != want {
					t.Fatalf("%d octets, %02x at %d: %04x, want %04x", n, b, i, got, want)
				}
			}
			p[i] = 0xff
		}
	}
}

func TestSumInPieces(t *testing.T) {
	p := noise(1, 97)
	want := ^slow(p)
	for i := range len(p) + 1 {
		for j := i; j <= len(p); j++ {
			var s Sum
			s.Add(p[:i])
			s.Add(p[i:j])
			s.Add(nil)
			s.Add(p[j:])
			if got := s.Checksum(); got != want {
				t.Fatalf("split at %d and %d: %04x, want %04x", i, j, got, want)
			}
		}
	}
}

func TestChecksumDSS(t *testing.T) {
	_, idsn := KeyToken(keyA)
	for _, c := range []struct {
		name    string
		dsn     DSN
		ssn     uint32
		dataLen uint16
		pieces  []string
		want    uint16
	}{
		{"data", 0x1122334455667788, 1, 5, []string{"hello"}, 0xaad2},
		{"data in pieces", 0x1122334455667788, 1, 5, []string{"h", "el", "", "lo"}, 0xaad2},
		{"data and DATA_FIN", 0x1122334455667788, 1, 6, []string{"hello"}, 0xaad1},
		{"DATA_FIN", 0x112233445566778d, 0, 1, nil, 0xeea4},
		{"MP_CAPABLE with data", idsn + 1, 1, 5, []string{"GET", " /"}, 0xfc0d},
	} {
		var s Sum
		for _, p := range c.pieces {
			s.Add([]byte(p))
		}
		if got := ChecksumDSS(c.dsn, c.ssn, c.dataLen, s); got != c.want {
			t.Errorf("%s: %04x, want %04x", c.name, got, c.want)
		}
	}
}
