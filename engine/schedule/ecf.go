package schedule

// ecf is Earliest Completion First: it leaves the slow path alone when waiting for the fast one
// completes what is queued earlier.
type ecf struct{ waiting bool }

func (e *ecf) Pick(paths []View, queued, _ int) int {
	fi, si := fastest(paths)
	if si < 0 || fi == si {
		return si
	}
	f, s := &paths[fi], &paths[si]
	if f.Inflight <= 0 {
		return si
	}
	delta := max(f.RTTVar, s.RTTVar).Seconds()
	rttFast, rttSlow := f.roundTrip().Seconds(), s.roundTrip().Seconds()
	windowFast, windowSlow := float64(f.Window), float64(s.Window)
	patience := 1.0
	if e.waiting {
		patience = 1.25
	}
	if rttFast*(max(float64(queued), windowFast)+windowFast) >= patience*windowFast*(rttSlow+delta) {
		e.waiting = false
		return si
	}
	if rttSlow*max(float64(queued), windowSlow) >= windowSlow*(2*rttFast+delta) {
		e.waiting = true
		return -1
	}
	return si
}
