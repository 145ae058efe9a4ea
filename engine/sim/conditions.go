package sim

import "time"

// Conditions say how a link treats what is sent over it. The zero Conditions are a perfect link.
// Chances are between 0 and 1.
type Conditions struct {
	Rate       int64         // bits of IP packets a second; 0: without limit
	Delay      time.Duration // propagation
	Jitter     time.Duration // at most this much more, evenly distributed; order is kept
	QueueBytes int           // octets that may wait, the packet on the wire included; 0: QueueTime alone
	QueueTime  time.Duration // the same as time at Rate; 0: QueueBytes alone
	MarkBytes  int           // more octets waiting than this set CE on packets that are ECT; 0: never
	MTU        int           // of IP packets; longer ones vanish; 0: any length passes

	Loss         float64 // chance that a packet is lost, each by itself
	Lose, LoseOf int     // exactly Lose packets of every LoseOf are lost
	Burst        Gilbert

	Reorder   float64       // chance that a packet is late by up to ReorderBy and others pass it
	ReorderBy time.Duration //
	Duplicate float64       // chance that a packet arrives twice
	Noise     float64       // chance that a bit is wrong and the checksum tells
	Alter     float64       // chance that an octet of TCP payload differs and the checksum agrees with it

	Down    bool // what is sent or waits is lost; what is on its way arrives
	Clogged bool // what is sent or waits stays where it is
}

// Gilbert is loss that comes in bursts: a packet that follows in the good state turns it bad with
// chance Enter, in the bad state it turns good with chance Leave, and is lost with chance Loss.
type Gilbert struct{ Enter, Leave, Loss float64 }

// A Count is how many packets met a fate, and their octets.
type Count struct{ Packets, Octets int64 }

func (c *Count) add(octets int) {
	c.Packets++
	c.Octets += int64(octets)
}

// Counts are the fates of packets on a link.
type Counts struct {
	Forwarded                      Count // arrived, in whatever state, copies included
	Lost, QueueFull, TooLong, Down Count // did not arrive
	Marked, Reordered, Duplicated  Count // arrived like this
	Noise, Altered                 Count
}
