package datagram

const windowSize = 1024

// A window remembers which of the last 1024 sequence numbers came. Older ones it has forgotten: it is
// for what does no harm when it comes twice.
type window struct {
	top  uint32 // the highest that came
	bits [windowSize / 64]uint64
}

func (w *window) has(seq uint32) bool {
	back := w.top - seq
	return back < windowSize && w.bits[seq%windowSize/64]&(1<<(seq%64)) != 0
}

func (w *window) add(seq uint32) {
	if ahead := int32(seq - w.top); ahead >= windowSize {
		w.top, w.bits = seq, [windowSize / 64]uint64{}
	} else if ahead > 0 {
		for w.top != seq {
			w.top++
			w.bits[w.top%windowSize/64] &^= 1 << (w.top % 64)
		}
	} else if ahead <= -windowSize {
		return
	}
	w.bits[seq%windowSize/64] |= 1 << (seq % 64)
}
