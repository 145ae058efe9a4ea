package sim

import (
	"encoding/binary"
	"io"
	"math/rand/v2"

	"tandem/engine/wire"
)

// nearMax is how far below its wrap a number starts that is to wrap soon.
const nearMax = 64 << 10

// Entropy returns a source of keys, nonces and initial sequence numbers. With nearWrap every read of
// 4 octets gives a number just below 2^32, and every read of 8 octets a key whose initial DSN's low
// half is (RFC 8684 3.1).
func Entropy(seed uint64, nearWrap bool) io.Reader {
	source := rand.NewChaCha8(expand(seed))
	if !nearWrap {
		return source
	}
	return &wrapping{source: source}
}

type wrapping struct{ source *rand.ChaCha8 }

func (w *wrapping) Read(p []byte) (int, error) {
	switch len(p) {
	case 4:
		binary.BigEndian.PutUint32(p, ^uint32(w.source.Uint64()%nearMax))
	case 8:
		binary.BigEndian.PutUint64(p, w.key())
	default:
		return w.source.Read(p)
	}
	return len(p), nil
}

// key draws keys until one fits: 2^16 of them on average.
func (w *wrapping) key() uint64 {
	for {
		key := w.source.Uint64()
		if _, idsn := wire.KeyToken(key); -uint32(idsn) <= nearMax {
			return key
		}
	}
}
