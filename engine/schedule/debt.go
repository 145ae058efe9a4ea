package schedule

import (
	"time"

	"tandem/engine/clock"
)

// Debt is what a bond owes of a demanded rate, in octets: the queue Z of Cost. While something waits it
// grows at the rate, with what is sent it shrinks. So a dear path helps when the cheap ones deliver less
// than the rate for long, though little waits at any time because applications wait too.
type Debt struct {
	Rate int // demanded, octets a second; 0: none

	owed int64
	at   clock.Time
}

// RateDefault is a rate to demand: 1 Mbit/s, with which a page still loads.
const RateDefault = 1e6 / 8

// Advance brings the debt up to now. waiting tells whether octets have waited since the last time.
func (d *Debt) Advance(now clock.Time, waiting bool) {
	passed := min(now.Sub(d.at), time.Minute)
	if !waiting || d.Rate <= 0 || passed <= 0 {
		d.at = max(d.at, now)
		return
	}
	rate := min(d.Rate, rateMax)
	grown := int64(rate) * int64(passed/time.Microsecond) / 1e6
	d.at = now.Add(took(grown, rate) - passed) // parts of an octet count next time
	d.owed = min(d.owed+grown, BacklogMax+1)   // beyond it nothing is decided otherwise
}

// Sent pays n octets.
func (d *Debt) Sent(n int) { d.owed = max(d.owed-int64(n), 0) }

// Owed returns the debt, at most one octet more than BacklogMax.
func (d *Debt) Owed() int { return int(d.owed) }
