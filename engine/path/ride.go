package path

import (
	"time"

	"tandem/engine/clock"
)

// rides are packets of which no acknowledgement tells: datagrams. They share the path with those that are
// recorded, and so does their account: they are paced, count as in flight until an acknowledgement of
// something that left later shows that the link is past them, or for as long as that may take, and are
// then part of what the path delivered: as far as such packets have arrived of late, which Fared tells.
type rides struct {
	list          []ride // oldest first
	octets        int
	sent, arrived int // of those that were counted last; 0: none were
}

// A ride is octets that left at about the same time.
type ride struct {
	at     clock.Time // of the last of them
	octets int
}

const (
	ridesMax = 64                    // beyond it the newest take up what comes
	rideStep = time.Millisecond      // what leaves within it is one
	rideDebt = 10 * time.Millisecond // how far datagrams put off what is paced after them
)

// Ride records that a packet of n octets leaves now whose fate nobody will tell.
func (p *Path) Ride(now clock.Time, n int) {
	if p.rides == nil {
		p.rides = new(rides)
	}
	p.expire(now)
	r := p.rides
	if k := len(r.list) - 1; k >= 0 && (now.Sub(r.list[k].at) < rideStep || len(r.list) == ridesMax) {
		r.list[k].at = now
		r.list[k].octets += n
	} else {
		r.list = append(r.list, ride{now, n})
	}
	r.octets += n
	p.pacer.spend(now, n, p.control.Pace(), p.mtu.size)
	p.pacer.next = min(p.pacer.next, now.Add(rideDebt))
	p.paid(now, n)
}

// Fared records that of so many octets that left so many arrived.
func (p *Path) Fared(sent, arrived int) {
	if p.rides != nil && sent > 0 {
		p.rides.sent, p.rides.arrived = sent, min(max(arrived, 0), sent)
	}
}

// MayRide reports whether pacing and limit let a packet leave, whatever the window says: see NextSend.
func (p *Path) MayRide(now clock.Time) bool {
	return p.pacer.room(now, p.control.Pace(), p.mtu.size) > 0 && p.Allows(now)
}

// riding is the share of rides in what is in flight: at most three quarters of the window, so that what
// is recorded goes on, and with it come the acknowledgements that tell of both.
func (p *Path) riding() int {
	if p.rides == nil || p.rides.octets == 0 {
		return 0
	}
	return min(p.rides.octets, p.Window()/4*3)
}

// expire takes rides out of flight of which no acknowledgement can be expected any more.
func (p *Path) expire(now clock.Time) {
	if p.rides != nil && p.rides.octets > 0 {
		p.rides.take(now.Add(-p.silence()))
	}
}

// landed counts as delivered what left before something that has arrived.
func (p *Path) landed(now, sentAt clock.Time) {
	if p.rides == nil || p.rides.octets == 0 {
		return
	}
	n := p.rides.take(sentAt)
	if r := p.rides; r.sent > 0 {
		n = int(int64(n) * int64(r.arrived) / int64(r.sent))
	}
	if n > 0 {
		p.report.acked += n
		p.rate.ack(now, n)
	}
}

// take removes what left until that instant, and returns how many octets that were.
func (r *rides) take(until clock.Time) (octets int) {
	k := 0
	for k < len(r.list) && r.list[k].at <= until {
		octets += r.list[k].octets
		k++
	}
	r.list = r.list[:copy(r.list, r.list[k:])]
	r.octets -= octets
	return octets
}

// Silence returns how long after something left the path may be silent before it is doubtful.
func (p *Path) Silence() time.Duration { return p.silence() }
