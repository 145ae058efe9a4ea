package mptcp

import (
	"math"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// L_RTT_EN: who only receives measures no round trip, so the end that was asked for it tells its own, whenever that
// has changed by an eighth and at most once in a round trip (draft-amend-tcpm-mptcp-robe-02 3.2). IPS learns
// from it.

// pulse looks at the round trip once in its own length, when octets were acknowledged.
func (f *subflow) pulse(now clock.Time) {
	rtt, _, _ := f.state.RTT()
	if now < f.pulseAt || rtt == 0 {
		return
	}
	c := f.c
	f.pulseAt = now.Add(rtt)
	if c.client {
		c.b.lessons.measured(now, c.b.place(c.target.Addr()), f.path.id, rtt, f.state.Rate(now))
		return
	}
	if change := rtt - f.toldRTT; c.est.reports && !c.plain() && max(change, -change) > f.toldRTT/8 {
		f.toldRTT, f.tellRTT = rtt, true
		f.tcp.Ack(1)
	}
}

// composeRTT adds the round trip to a pure acknowledgement, where it takes no room from octets.
func (f *subflow) composeRTT(o *wire.Options, room int) {
	told := wire.LatestRTT{Length: 8, RTT: uint32(min(f.toldRTT.Microseconds(), math.MaxUint32))}
	if !f.tellRTT || room < told.Len() {
		return
	}
	f.tellRTT = false
	o.Has |= wire.HasLatestRTT
	o.LatestRTT = told
}

// receiveRTT learns what the peer measured.
func (f *subflow) receiveRTT(now clock.Time, l *wire.LatestRTT) {
	c := f.c
	if l.Length != 8 || l.RTT == 0 || !c.client || !c.est.reports {
		return
	}
	c.b.counters.RTTReports++
	rtt := time.Duration(l.RTT) * time.Microsecond
	c.b.lessons.measured(now, c.b.place(c.target.Addr()), f.path.id, rtt, 0)
}
