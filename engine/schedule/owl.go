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
// came after them waits for them. So do the last ones. What comes before them may fly over a slower path,
// ahead of others: see Ahead.
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

// Ahead returns how many of the queued octets the path that Pick chose should leave to others: the first,
// which these, being quicker, deliver before what leaves on it now. If it carries what comes after them,
// everything arrives in order. It is a multiple of the path's MSS, and 0 for schedulers other than "owl".
func Ahead(s Scheduler, paths []View, chosen, queued int) int {
	if _, ok := s.(owl); !ok {
		return 0
	}
	v := &paths[chosen]
	e, arrives, mss := among(paths), v.delivery(), int64(max(v.MSS, 1))
	most := max(int64(queued)-mss, 0)
	ahead := int64(0)
	for i := range paths {
		f := &paths[i]
		if i == chosen || !e.takes(f) || f.Room <= 0 && f.Inflight <= 0 || f.Secondary && !v.Secondary {
			continue
		}
		if lead := min(arrives-f.delivery(), time.Hour); lead > 0 {
			ahead += int64(f.rate()/f.flows()) * int64(lead/time.Microsecond) / 1e6
		}
	}
	return int(min(ahead, most) / mss * mss)
}
