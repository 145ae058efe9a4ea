package schedule

import (
	"fmt"
	"testing"
	"time"
)

// lane is a fluid path: octets leave at its rate and arrive half a round trip later.
type lane struct {
	mbit   int
	rtt    time.Duration
	window time.Duration // how far ahead of the link octets may be sent, beyond pacing
	owl    time.Duration // latency towards the peer; 0: half of rtt, and nobody knows
	free   time.Duration
	acks   []time.Duration // when each segment in flight is acknowledged
}

func (l *lane) view(now time.Duration) View {
	for len(l.acks) > 0 && l.acks[0] <= now {
		l.acks = l.acks[1:]
	}
	v := path(l.mbit, l.rtt)
	v.OWL = l.owl
	v.Window += int(float64(v.Rate) * l.window.Seconds())
	v.Inflight = len(l.acks) * mss
	if l.free <= now+l.window+m {
		v.Room = max(v.Window-v.Inflight, 0)
	} else {
		v.Room = 0
	}
	return v
}

func (l *lane) send(now time.Duration) (arrives time.Duration) {
	l.free = max(l.free, now) + took(int64(mss), l.mbit*1e6/8)
	l.acks = append(l.acks, l.free+l.rtt)
	if l.owl > 0 {
		return l.free + l.owl
	}
	return l.free + l.rtt/2
}

// transfer sends octets over the lanes and returns when the last of them has arrived. The peer's
// window opens when everything before has arrived and the fastest path has told so.
func transfer(t *testing.T, s Scheduler, octets, window int, lanes ...*lane) time.Duration {
	back := time.Hour
	for _, l := range lanes {
		if l.owl > 0 {
			back = min(back, l.rtt-l.owl)
		} else {
			back = min(back, l.rtt/2)
		}
	}
	var arrived []time.Duration // of each segment, in order: not before those before it
	var last time.Duration
	acked := 0
	paths := make([]View, len(lanes))
	for now := time.Duration(0); octets > 0; now += 50 * time.Microsecond {
		if now > time.Hour {
			t.Fatal("stuck")
		}
		for acked < len(arrived) && arrived[acked]+back <= now {
			acked++
		}
		for octets > 0 && (len(arrived)-acked+1)*mss <= window {
			for i, l := range lanes {
				paths[i] = l.view(now)
			}
			i := s.Pick(paths, octets, window)
			if i < 0 {
				break
			}
			last = max(last, lanes[i].send(now))
			arrived = append(arrived, last)
			octets -= mss
		}
	}
	return last
}

// Two paths are never slower than the better of them alone, whatever there is to send and however
// small the window.
func TestTwoPathsAreNeverSlower(t *testing.T) {
	neverSlower(t, earliest{}, [][2]lane{
		{{mbit: 50, rtt: 20 * m}, {mbit: 30, rtt: 60 * m}},
		{{mbit: 20, rtt: 30 * m}, {mbit: 40, rtt: 70 * m, window: 300 * m}},
		{{mbit: 10, rtt: 50 * m}, {mbit: 50, rtt: 100 * m}},
		{{mbit: 200, rtt: 20 * m}, {mbit: 20, rtt: 200 * m}},
		{{mbit: 100, rtt: 10 * m}, {mbit: 1, rtt: 500 * m}},
	})
}

// Nor are those whose directions differ.
func TestTwoUnlikePathsAreNeverSlower(t *testing.T) {
	neverSlower(t, owl{}, [][2]lane{
		{{mbit: 50, rtt: 100 * m, owl: 10 * m}, {mbit: 30, rtt: 80 * m, owl: 60 * m}},
		{{mbit: 20, rtt: 100 * m, owl: 90 * m}, {mbit: 40, rtt: 100 * m, owl: 10 * m, window: 300 * m}},
		{{mbit: 100, rtt: 20 * m, owl: 5 * m}, {mbit: 20, rtt: 300 * m, owl: 20 * m}},
	})
}

func neverSlower(t *testing.T, s Scheduler, pairs [][2]lane) {
	for _, p := range pairs {
		for _, octets := range []int{5e3, 50e3, 100e3, 500e3, 2e6, 10e6} {
			for _, window := range []int{32 << 10, 128 << 10, 512 << 10, 6 << 20} {
				name := fmt.Sprintf("%d/%v+%d/%v, %d octets, window %d", p[0].mbit, p[0].rtt, p[1].mbit, p[1].rtt, octets, window)
				a, b := p[0], p[1]
				first := transfer(t, s, octets, window, &a)
				second := transfer(t, s, octets, window, &b)
				a, b = p[0], p[1]
				both := transfer(t, s, octets, window, &a, &b)
				if best := min(first, second); both > best+best/33+m {
					t.Errorf("%s: %v, alone %v and %v", name, both, first, second)
				}
				if sum := float64(p[0].mbit+p[1].mbit) * 1e6 / 8; octets == 10e6 && window == 6<<20 && p[1].mbit > 1 {
					if ideal := time.Duration(float64(octets) / sum * 1e9); both > ideal+ideal/12+p[1].rtt {
						t.Errorf("%s: %v, the sum of rates allows %v", name, both, ideal)
					}
				}
			}
		}
	}
}
