package path

import (
	"time"

	"tandem/engine/clock"
)

// lossHalf is after how long what became of an octet counts half.
const lossHalf = 2 * time.Second

// fates are what became of octets of late. Halving at whole spans of time keeps them whole numbers.
type fates struct {
	came, lost int64
	since      clock.Time
}

// age has what is old count less.
func (f *fates) age(now clock.Time) {
	n := int64(max(0, now.Sub(f.since)) / lossHalf)
	if n == 0 {
		return
	}
	f.since = f.since.Add(time.Duration(n) * lossHalf)
	f.came >>= min(n, 63)
	f.lost >>= min(n, 63)
}

func (f *fates) count(now clock.Time, came, lost int) {
	f.age(now)
	f.came += int64(came)
	f.lost += int64(lost)
}

// found notes that n octets that were counted as lost had arrived.
func (f *fates) found(now clock.Time, n int) {
	f.age(now)
	f.lost = max(0, f.lost-int64(n))
}

// Loss returns the share of octets that was lost of late: each counts half as much as one two seconds younger.
// It is 0 while nothing is known.
func (p *Path) Loss(now clock.Time) float64 {
	p.fates.age(now)
	if p.fates.lost == 0 {
		return 0
	}
	return float64(p.fates.lost) / float64(p.fates.came+p.fates.lost)
}
