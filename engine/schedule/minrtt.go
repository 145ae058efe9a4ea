package schedule

// minRTT chooses the smallest smoothed round trip among paths with room; an unknown one is larger
// than any other.
type minRTT struct{}

func (minRTT) Pick(paths []View, _, _ int) int { return among(paths).first(paths, quicker) }

func quicker(a, b *View) bool { return a.RTT > 0 && (b.RTT <= 0 || a.RTT < b.RTT) }

// fastest returns the eligible path with the smallest round trip, with room or without, and the one
// that minRTT would choose: -1 if there is none.
func fastest(paths []View) (f, s int) {
	e := among(paths)
	s = e.first(paths, quicker)
	f = s
	for i := range paths {
		v := &paths[i]
		if s >= 0 && e.takes(v) && before(v, &paths[f], quicker) {
			f = i
		}
	}
	return f, s
}
