package path

import (
	"time"

	"tandem/engine/clock"
)

const (
	burstTime = time.Millisecond     // a burst is what the rate carries in this time, or two packets
	burstLag  = 4 * time.Millisecond // lateness of the caller that is made up for
)

// pacer lets bursts leave, each of which pays for the time until the next one.
type pacer struct {
	next   clock.Time // when the next burst may begin
	credit int        // octets left of this one
}

// room returns the octets that pacing lets leave now.
func (p *pacer) room(now clock.Time, rate, mtu int) int {
	switch {
	case rate == 0:
		return 1<<31 - 1
	case p.credit > 0:
		return p.credit
	case now >= p.next:
		return burst(rate, mtu)
	}
	return 0
}

func (p *pacer) spend(now clock.Time, n, rate, mtu int) {
	if rate == 0 {
		p.next, p.credit = now, 0
		return
	}
	if p.credit <= 0 && now >= p.next {
		p.credit = burst(rate, mtu)
		p.next = max(p.next, now.Add(-burstLag)).Add(duration(p.credit, rate))
	}
	p.credit -= n
	if p.credit < 0 { // the last packet of a burst does not end with it
		p.next = p.next.Add(duration(-p.credit, rate))
		p.credit = 0
	}
}

func (p *pacer) nextSend() clock.Time {
	if p.credit > 0 {
		return before
	}
	return p.next
}

// Pace returns how many octets a second pacing lets leave; 0: as many as the window does.
func (p *Path) Pace() int { return p.control.Pace() }

func burst(rate, mtu int) int {
	return max(2*mtu, int(int64(min(rate, countMax))*int64(burstTime)/int64(time.Second)))
}

// duration returns how long n octets take at rate octets a second: at most an hour.
func duration(n, rate int) time.Duration {
	return time.Duration(min(float64(n)*float64(time.Second)/float64(rate), float64(time.Hour)))
}
