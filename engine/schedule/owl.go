package schedule

import "time"

// owl chooses as earliest does, by the latency towards the peer instead of half a round trip
// (draft-song-mptcp-owl): a path that is slow on the way back is not slow.
//
//	                     what is in flight, less what is on its way back as acknowledgements
//	                     │                              one segment
//	delivery = max(OWL, Inflight/Rate − (RTT − OWL)) + MSS/Rate
//
// Octets that are sent again go where they arrive first, even if that path has no room yet: all that
// came after them waits for them. So do the last ones.
type owl struct{}

func (owl) Pick(paths []View, queued, peerWindow int) int {
	for i := range paths {
		if paths[i].Sent {
			peerWindow = 0 // as if it were shut until these octets arrive
		}
	}
	return among(paths).soonest(paths, queued, peerWindow, (*View).delivery)
}

// delivery is how long a segment sent now takes to the peer. An error that all OWLs share is one of all
// deliveries.
func (v *View) delivery() time.Duration {
	if v.OWL <= 0 {
		return v.arrival()
	}
	rate := v.rate()
	return max(v.OWL, took(int64(v.Inflight), rate)-v.roundTrip()+v.OWL) + took(int64(v.MSS), rate)
}
