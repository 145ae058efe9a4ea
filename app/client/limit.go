package client

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"tandem/app/config"
)

// A limit drops what is more than a link may carry one way; congestion control then finds the rate.
type limit struct{ bucket atomic.Pointer[rate.Limiter] }

// limitBurst is how long a limit may be exceeded: a queue of that length at a bottleneck.
const limitBurst = 50 * time.Millisecond

// packetMax is what a bucket must hold to let any packet pass.
const packetMax = 1500

func (l *limit) set(r config.Rate) {
	if r == 0 {
		l.bucket.Store(nil)
		return
	}
	octets := float64(r) / 8
	l.bucket.Store(rate.NewLimiter(rate.Limit(octets), max(packetMax, int(octets*limitBurst.Seconds()))))
}

// pass returns the packets that fit, which may be a new slice.
func (l *limit) pass(pkts [][]byte) [][]byte {
	b := l.bucket.Load()
	if b == nil {
		return pkts
	}
	now := time.Now()
	var pass [][]byte
	for _, p := range pkts {
		if b.AllowN(now, len(p)) {
			pass = append(pass, p)
		}
	}
	return pass
}
