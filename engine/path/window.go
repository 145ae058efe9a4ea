package path

import (
	"math"
	"time"

	"tandem/engine/clock"
)

// window is what the window-based controllers have in common: slow start that ends before it
// overflows the queue (HyStart++), reductions spread over a round trip (PRR), their undoing, and a
// window that is only believed while it is used.
type window struct {
	mtu, cwnd, ssthresh int // ssthresh 0: infinite
	frac                float64
	srtt                time.Duration
	lastSent            clock.Time
	timedOut            bool // nothing was acknowledged since the last timeout
	hystart             hystart
	prr                 prr

	savedCwnd, savedSsthresh int // before the last reduction
}

func newWindow(mtu int) window {
	return window{mtu: mtu, cwnd: initialWindow(mtu)}
}

// OnSent is part of Control. After a second of silence, or two round trips if they are longer, the
// window halves for each such time, not below the initial one, while the threshold, if there is one, remembers it (RFC 2861).
func (w *window) OnSent(now clock.Time, n, inflight int, _ bool) {
	if w.prr.on {
		w.prr.out += n
	} else if n == inflight && w.lastSent > 0 {
		w.decay(now.Sub(w.lastSent))
	}
	w.lastSent = now
}

func (w *window) decay(idle time.Duration) {
	step := max(time.Second, 2*w.srtt)
	if idle < step || w.cwnd <= initialWindow(w.mtu) {
		return
	}
	if w.ssthresh > 0 {
		w.ssthresh = max(w.ssthresh, w.cwnd/4*3)
	}
	w.cwnd = max(w.cwnd>>min(int64(idle/step), 62), initialWindow(w.mtu))
}

// hear does what every controller does with an acknowledgement and returns how many octets of it
// may raise the window in congestion avoidance.
func (w *window) hear(s Sample) (acked int) {
	w.srtt = s.RTTSmooth
	if s.Acked > 0 {
		w.timedOut = false
	}
	if w.prr.on {
		if s.Acked == 0 || s.SentAt <= w.prr.began {
			w.cwnd = w.prr.window(s, w.ssthresh, w.mtu)
			return 0
		}
		w.prr.on = false
		w.cwnd = max(w.ssthresh, w.mtu)
	}
	if !w.used(s) {
		return 0
	}
	if w.slow() {
		w.climb(s)
		return 0
	}
	return s.Acked
}

// climb is slow start. Up to a threshold there is no need to feel one's way (RFC 9406 4.2).
func (w *window) climb(s Sample) {
	if w.ssthresh > 0 {
		w.raise(float64(min(s.Acked, w.ssthresh-w.cwnd)))
		return
	}
	w.raise(float64(w.hystart.increase(s, s.Acked)))
	if w.hystart.over() {
		w.ssthresh = w.cwnd
	}
}

// used reports whether at least half of the window was in flight when the packet was sent (RFC 7661 4.3).
func (w *window) used(s Sample) bool { return s.Acked > 0 && 2*s.Sent >= w.cwnd }

func (w *window) slow() bool { return w.ssthresh == 0 || w.cwnd < w.ssthresh }

// raise adds octets, whose fractions it keeps for the next time.
func (w *window) raise(octets float64) {
	w.frac += octets
	whole := math.Floor(w.frac)
	w.frac -= whole
	w.cwnd = min(max(w.cwnd+int(whole), w.mtu), windowMax)
}

// windowMax keeps arithmetic with windows from overflowing.
const windowMax = 1 << 30

// reno is the increase of RFC 5681: one segment per window.
func (w *window) reno(acked int) float64 {
	return float64(acked) * float64(w.mtu) / float64(w.cwnd)
}

func (w *window) save() { w.savedCwnd, w.savedSsthresh = w.base(), w.ssthresh }

// reduce begins a recovery that ends at the window to.
func (w *window) reduce(s Sample, to int) {
	w.save()
	w.ssthresh = max(to, 2*w.mtu)
	w.frac = 0
	w.prr = prr{on: true, began: s.Now, flight: max(s.Prior, w.mtu)}
	s.Acked = 0 // OnAck will count it
	w.cwnd = w.prr.window(s, w.ssthresh, w.mtu)
}

// collapse begins slow start up to the window to. A timeout that follows another leaves the threshold (RFC 5681 3.1).
func (w *window) collapse(to int) {
	if !w.timedOut {
		w.save()
		w.ssthresh = max(to, 2*w.mtu)
	}
	w.timedOut = true
	w.cwnd, w.frac, w.prr.on = w.mtu, 0, false
}

// OnSpurious is part of Control.
func (w *window) OnSpurious() {
	if w.savedCwnd == 0 {
		return
	}
	w.cwnd, w.ssthresh = max(w.cwnd, w.savedCwnd), w.savedSsthresh
	w.prr.on, w.timedOut, w.savedCwnd = false, false, 0
}

// Window is part of Control.
func (w *window) Window() int { return w.cwnd }

// Threshold returns the slow start threshold; 0: infinite.
func (w *window) Threshold() int { return w.ssthresh }

// base is the window that a reduction starts from: that of before, while one is under way.
func (w *window) base() int {
	if w.prr.on {
		return w.ssthresh
	}
	return w.cwnd
}

// Pace spreads a window over less than a round trip, so that the window, not the pace, is the limit.
func (w *window) Pace() int {
	if w.srtt == 0 {
		return 0
	}
	rate := min(perSecond(w.base(), w.srtt), countMax/2)
	if w.slow() && !w.prr.on {
		return 2 * rate
	}
	return rate + rate/5
}
