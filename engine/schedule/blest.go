package schedule

import "time"

// blest avoids blocking by estimation: it leaves the slow path alone if the peer's window would run
// out before its segment is acknowledged. Its factor lambda stays where it starts, 1.2, for
// nothing here hears of retransmissions.
type blest struct{}

const (
	lambdaTimesTen = 12
	packetsMax     = 1 << 30
)

func (blest) Pick(paths []View, queued, peerWindow int) int {
	fi, si := fastest(paths)
	if si < 0 || fi == si || paths[fi].Inflight <= 0 {
		return si
	}
	f, s := &paths[fi], &paths[si]
	mss := max(f.MSS, 1)
	rounds := int64(s.linger()/max(f.middle(), 1)) + 1
	fast := f.packets(rounds) * int64(mss) * lambdaTimesTen / 10
	if free := max(0, peerWindow-min(queued, max(s.MSS, 1))-s.Inflight); fast > int64(free) {
		return -1
	}
	return si
}

// extremes returns the smallest and largest round trip.
func (v *View) extremes() (least, most time.Duration) {
	least, most = v.RTTMin, v.RTTMax
	if least <= 0 {
		least = v.roundTrip()
	}
	return least, max(most, v.roundTrip(), least)
}

func (v *View) middle() time.Duration {
	least, most := v.extremes()
	return (least + most) / 2
}

// linger is how long a segment sent now may be in flight, the longer the fuller the window.
func (v *View) linger() time.Duration {
	least, most := v.extremes()
	mss := max(v.MSS, 1)
	inflight, window := v.Inflight/mss+1, v.Window/mss
	if inflight < window {
		most = least + (most-least)*time.Duration(inflight)/time.Duration(window)
	}
	return max(v.roundTrip(), most)
}

// packets is how many segments the path can send in so many rounds.
func (v *View) packets(rounds int64) int64 {
	mss := max(v.MSS, 1)
	window := int64(v.Window / mss)
	if v.Threshold == 0 {
		return min(window*(1<<min(rounds, 16)-1), packetsMax)
	}
	rounds = min(rounds, 1<<15)
	avoidance := max(window, int64(v.Threshold/mss)+1)
	return min((avoidance+(rounds-1)/2)*rounds, packetsMax)
}
