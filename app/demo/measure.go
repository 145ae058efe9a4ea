package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"
)

// target is on the Internet of the demo, as every address is.
var target = netip.MustParseAddrPort("203.0.113.80:80")

// A measurement is what came of one download.
type measurement struct {
	octets  int64         // read by the application, each as it was sent
	took    time.Duration // from the first octet on
	stall   time.Duration // longest time without an octet
	carried [2]int64      // octets of packets on each link meanwhile, both ways
}

func (m measurement) mbps() float64 { return float64(m.octets) * 8 / m.took.Seconds() / 1e6 }

// agrees reports whether the links carried what was read, and little beside it: headers, acknowledgements,
// repeats, and what was on its way at the end.
func (m measurement) agrees() bool {
	carried := float64(m.carried[0] + m.carried[1])
	return carried >= float64(m.octets) && carried <= 1.25*float64(m.octets)+2e6
}

// measure downloads for a time, from the first octet on. Half-way it calls midway, unless that is nil.
func (s *stage) measure(ctx context.Context, length time.Duration, what string, show *display, midway func()) (m measurement, err error) {
	before := [2]int64{s.carried(0), s.carried(1)}
	conn, err := s.client.Dial(ctx, target)
	if err != nil {
		return m, fmt.Errorf("%s: %w", what, err)
	}
	defer conn.Abort(errEnough)
	stop := context.AfterFunc(ctx, func() { conn.Abort(context.Cause(ctx)) })
	defer stop()
	var total atomic.Int64
	defer show.watch(what, s, &total)()
	var first, last time.Time
	err = verify(conn, func(n int) {
		now := time.Now()
		if first.IsZero() {
			first, last = now, now
			conn.SetReadDeadline(now.Add(length))
			if midway != nil {
				time.AfterFunc(length/2, midway)
			}
		}
		m.stall, last = max(m.stall, now.Sub(last)), now
		total.Add(int64(n))
	})
	if err != nil {
		return m, fmt.Errorf("%s: %w", what, err)
	}
	m.octets, m.took = total.Load(), time.Since(first)
	m.stall = max(m.stall, time.Since(last))
	for i := range s.links {
		m.carried[i] = s.carried(i) - before[i]
	}
	return m, nil
}

var errEnough = errors.New("the measurement is over")
