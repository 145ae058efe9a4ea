package capture

import "sync/atomic"

// Counters tell what became of packets and connections since the beginning.
type Counters struct {
	Malformed     uint64 // packets that are none
	Group         uint64 // packets for many hosts, or none: multicast, broadcast
	Own           uint64 // packets for our own addresses
	Foreign       uint64 // packets but TCP that come from addresses that are not ours
	Refused       uint64 // packets and offers that Config.Refuse refused
	Offers        uint64 // connections asked for
	Accepted      uint64 // offers accepted whose application was still there
	Gone          uint64 // offers whose application gave up
	SYNs          uint64 // SYNs dropped because too many are unanswered
	SYNsPerTarget uint64 // SYNs dropped because too many of one target are unanswered
	Inject        uint64 // packets dropped because the queue to the device is full
	Segments      uint64 // segments of TCP likewise
	DeviceErrors  uint64 // reads and writes that failed
}

type counters struct {
	malformed, group, own, foreign, refused, offers, accepted, gone atomic.Uint64
	syns, synsPerTarget, inject, segments, deviceErrors             atomic.Uint64
}

// Counters are those of now.
func (c *Capture) Counters() Counters {
	n := &c.counters
	return Counters{
		Malformed: n.malformed.Load(), Group: n.group.Load(), Own: n.own.Load(), Foreign: n.foreign.Load(),
		Refused: n.refused.Load(), Offers: n.offers.Load(), Accepted: n.accepted.Load(), Gone: n.gone.Load(),
		SYNs: n.syns.Load(), SYNsPerTarget: n.synsPerTarget.Load(),
		Inject: n.inject.Load(), Segments: n.segments.Load(), DeviceErrors: n.deviceErrors.Load(),
	}
}
