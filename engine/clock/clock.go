// Package clock is the engine's notion of time: instants handed in by the caller, never asked for.
// An instant is a number of nanoseconds since an origin that the caller chose, so instants of one
// engine compare with < and ==, and instants of two engines do not.
package clock

import (
	"math"
	"time"
)

// Time is an instant in nanoseconds. The zero Time is the origin.
type Time int64

// Never is later than every instant.
const Never Time = math.MaxInt64

// Add returns the instant d after t. Never stays Never, and a sum beyond it saturates there.
func (t Time) Add(d time.Duration) Time {
	if t == Never || d > 0 && t > Never-Time(d) {
		return Never
	}
	return t + Time(d)
}

// Sub returns the time from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// System returns a clock that counts from the call of System and is not moved by changes of the
// wall clock. Each engine makes its own, so that a clock made inside a testing/synctest bubble
// follows the bubble's time.
func System() func() Time {
	origin := time.Now()
	return func() Time { return Time(time.Since(origin)) }
}
