package schedule

import "time"

// unknownRTT stands for a round trip that nobody has measured.
const unknownRTT = 200 * time.Millisecond

// earliest chooses the path on which the next octets arrive first, by estimate:
//
//	           what is in flight, less what is on its way back as acknowledgements
//	           │                          one segment
//	arrival = max(RTT/2, Inflight/Rate − RTTMin/2) + MSS/Rate
//
// It waits for a path without room if that is better: see waits.
type earliest struct{}

func (earliest) Pick(paths []View, queued, peerWindow int) int {
	return among(paths).soonest(paths, queued, peerWindow, (*View).arrival)
}

// blocks reports whether a segment over the slow path s would keep the fast path f waiting for
// window: until it is acknowledged f and s together can send more than the peer takes.
func blocks(f, s *View, arrives time.Duration, queued, peerWindow int) bool {
	holds := min(arrives+f.roundTrip()/2, time.Hour)
	fast := int64(f.rate()/f.flows()) * int64(holds/time.Microsecond) / 1e6
	return min(fast, int64(queued))+int64(s.Inflight/s.flows()+s.MSS) > int64(peerWindow)
}

func (v *View) flows() int { return max(v.Flows, 1) }

func (v *View) roundTrip() time.Duration {
	if v.RTT <= 0 {
		return unknownRTT
	}
	return v.RTT
}

// rateMax keeps arithmetic with rates from overflowing.
const rateMax = 1<<31 - 1

// rate is at least one octet a second, and at most rateMax.
func (v *View) rate() int {
	if v.Rate > 0 {
		return min(v.Rate, rateMax)
	}
	rate := int64(v.Window) * int64(time.Second/time.Microsecond) / max(v.roundTrip().Microseconds(), 1)
	return int(min(max(rate, 1), rateMax))
}

// arrival is how long a segment sent now takes to the peer.
func (v *View) arrival() time.Duration {
	trip, least, rate := v.roundTrip(), v.RTTMin, v.rate()
	if least <= 0 {
		least = trip
	}
	return max(trip/2, took(int64(v.Inflight), rate)-least/2) + took(int64(v.MSS), rate)
}

// took returns how long n octets take at rate octets a second: at most an hour.
func took(n int64, rate int) time.Duration {
	r := int64(rate)
	if n/r >= 3600 {
		return time.Hour
	}
	return time.Duration(n/r)*time.Second + time.Duration(n%r*int64(time.Second)/r)
}
