package mptcp

import (
	"net/netip"
	"time"

	"tandem/engine/clock"
	"tandem/engine/path"
	"tandem/engine/tcp"
	"tandem/engine/wire"
)

// subflow is a TCP subflow as its connection sees it: whose it is, how it joined, and what its
// sequence numbers mean.
type subflow struct {
	tcp   *tcp.Subflow
	c     *Conn
	path  *bondPath
	state *path.Path // the path's, or the subflow's own unless Paired
	cc    path.Control
	key   flowKey

	join              bool // MP_JOIN, not MP_CAPABLE
	cap               bool // or MP_JOIN_CAP
	robe              bool // ROBE_eSIM_EN is agreed on
	active            bool // opened from this side
	ready             bool // established for MPTCP: may carry data
	mapped            bool // a segment with a mapping has been acknowledged with a DATA_ACK
	sawDSS            bool
	bare              bool // the segment in hand has no option of MPTCP
	wide              bool // the peer's numbers are 64 bits
	backup            bool // this side's wish
	peerBackup        bool
	told              bool   // SubflowRemoved was
	withdraws         bool   // REMOVE_ADDR follows when it leaves
	leaving           Ending // how it is to be closed; 0: it is not
	departs           bool   // because its address ends
	withdrew          bool   // REMOVE_ADDR was told
	opened            bool   // its last segment without data carried MP_CAPABLE
	hasty             bool   // octets of a foreign peer's SYN were taken, and its third ACK has not come
	repeated          bool   // octets of a SYN came again, or for the first time, without a mapping
	begun             bool   // octets that have a mapping came
	tellRTT           bool   // L_RTT_EN is to be told
	id                SubflowID
	suspect           bool       // silent with octets outstanding: they were given to others
	syns              int        // composed
	synAt             clock.Time // of the last of them
	early             int        // octets in its SYN, while it is not answered
	synLen            int        // octets of a foreign peer's SYN, taken or not
	localID, remoteID uint8
	nonce, peerNonce  uint32
	otherKey          uint64        // MP_JOIN_CAP: the peer's key in its SYN/ACK
	toldRTT           time.Duration // by L_RTT_EN
	pulseAt           clock.Time    // when the round trip is next looked at
	acks              int           // third ACKs of MP_JOIN or MP_JOIN_CAP sent
	ackAt             clock.Time    // when the last of them left
	retryAt           clock.Time    // when the third ACK goes again, or a SYN/ACK is too late for MP_JOIN_CAP
	checkAt           clock.Time    // when a subflow whose address was removed must have answered
	windowAt          clock.Time    // when its window may be asked for again
	resetWhy          wire.Reset
	hasReset          bool
	failDSN           wire.DSN
	hasFail           bool
	peerReset         bool // reset by the peer
	peerWhy           wire.Reset
	hasPeerWhy        bool
	fin               bool // the peer's FIN came
	ends              int  // how often DATA_FIN left over it without octets

	chunks  chunks
	copied  uint64 // position of the stream up to which the redundant scheduler gave it octets
	acked   uint64 // of the outgoing stream
	maps    []mapping
	held    []holding
	heldN   int
	signals []signal
	row     int        // signals that left, one after the other
	rowAt   clock.Time // when that is forgotten
	rate    subflowLimits
	sent    uint64 // octets of the connection's stream
	got     uint64
}

// newSubflow returns a subflow of c over p; the caller opens its TCP.
func (c *Conn) newSubflow(p *bondPath, local, remote netip.AddrPort) *subflow {
	f := &subflow{c: c, path: p, state: p.state, rate: free, retryAt: clock.Never, checkAt: clock.Never, rowAt: clock.Never}
	f.backup = p.wish() == Backup
	f.key = keyOf(local, remote)
	if f.state == nil {
		f.cc = c.control(p.cfg.MTU)
		f.state = path.New(f.cc, p.cfg.MTU)
		f.state.Starved() // until there is more to send than it can carry
		include(c.measuring.latency, f.state)
	}
	return f
}

// control returns a controller for one subflow of a connection with a foreign peer (RFC 6356).
func (c *Conn) control(mtu int) path.Control {
	if c.group == nil && !c.b.strict() {
		c.group, _ = path.NewGroup(c.b.cfg.Control)
	}
	if c.group != nil {
		return c.group.Control(mtu)
	}
	return c.b.control(mtu)
}

// config returns how the TCP of f behaves.
func (f *subflow) config(local, remote netip.AddrPort) tcp.Config {
	cfg := &f.c.b.cfg
	t := tcp.Config{
		Local: local, Remote: remote,
		Path:         f.state,
		ISS:          wire.Seq(f.c.b.random32()),
		Timestamps:   cfg.Timestamps,
		ECN:          cfg.ECN,
		Early:        cfg.Paired && !f.join,
		Keepalive:    f.keepalive(local),
		SharedWindow: true,
	}
	if cfg.Paired {
		t.TimeWait = timeWaitPaired
	}
	return t
}

// add makes f one of c's subflows.
func (c *Conn) add(f *subflow) {
	c.lastID++
	f.id = c.lastID
	c.subflows = append(c.subflows, f)
	c.b.flows[f.key] = f
	f.report(SubflowAdded)
}

// canCarry reports whether the subflow may be given octets at all.
func (f *subflow) canCarry() bool {
	return f.ready && !f.suspect && !f.path.peerOff && !f.mute() && f.tcp.CanSend()
}

// back puts the subflow into use again.
func (f *subflow) back(now clock.Time) {
	f.suspect = false
	f.c.trace.add(now, evBack, f.path.id, 0)
	f.c.relieve(now)
}

// isBackup reports whether either side wants the subflow spared (RFC 8684 3.3.8).
func (f *subflow) isBackup() bool { return f.backup || f.peerBackup || f.path.peerRole == Backup }

// live reports whether the subflow can still move octets in either direction.
func (f *subflow) live() bool {
	s := f.tcp.State()
	return s != tcp.Closed && s != tcp.TimeWait
}

// setBackup changes this side's wish and tells the peer.
func (f *subflow) setBackup(backup bool) {
	if f.backup == backup {
		return
	}
	f.prefer(backup)
	if f.ready && f.c.b.lane == nil && f.c.id.mptcp && !f.c.id.fallback {
		f.signal(signal{kind: signalPrio})
	}
}

// reset ends the subflow with RST and MP_TCPRST.
func (f *subflow) reset(now clock.Time, why wire.Reason, transient bool) {
	f.resetWhy, f.hasReset = wire.Reset{Reason: why, Transient: transient}, true
	f.c.trace.add(now, evReset, f.path.id, uint64(why))
	f.tcp.Reset(now)
}

// deadline returns when advance of the subflow or its TCP is next needed.
func (f *subflow) deadline() clock.Time {
	at := min(f.tcp.Deadline(), f.retryAt, f.checkAt, f.rowAt)
	if !f.suspect && len(f.c.subflows) > 1 && f.tcp.Outstanding() > 0 && f.live() {
		at = min(at, f.state.SuspectAt())
	}
	return at
}

// advance does what has fallen due on the level of MPTCP.
func (f *subflow) advance(now clock.Time) {
	if f.retryAt <= now {
		f.retryJoin(now)
	}
	if f.checkAt <= now {
		f.checkAt = clock.Never
		f.c.trace.add(now, evDead, f.path.id, 0)
		f.reset(now, wire.Unspecified, true)
	}
	if f.rowAt <= now {
		f.endRow()
	}
	if !f.suspect && len(f.c.subflows) > 1 && f.tcp.Outstanding() > 0 && f.state.SuspectAt() <= now {
		f.c.b.suspected(now, f.path)
		f.doubt(now)
	}
}

// Fetch is for tcp.Owner.
func (f *subflow) Fetch(at uint64, p []byte) { f.c.out.fetch(at, p) }

// Window is for tcp.Owner.
func (f *subflow) Window(*tcp.Subflow) int { return f.c.window() }

// Changed is for tcp.Owner.
func (f *subflow) Changed(now clock.Time, t *tcp.Subflow) {
	c := f.c
	switch t.State() {
	case tcp.Established:
		c.trace.add(now, evSubflow, f.path.id, 0)
		if f.join {
			return
		}
		if c.client && c.phase == opening {
			c.opened(now, f)
		}
	case tcp.CloseWait, tcp.Closing, tcp.LastAck, tcp.TimeWait:
		f.peerFin(now)
	}
	if !f.live() {
		f.ended()
	}
}

// peerFin notes the FIN of the peer: the end of the stream after a fallback, and only of the
// subflow otherwise (RFC 8684 3.3.3).
func (f *subflow) peerFin(now clock.Time) {
	if f.fin {
		return
	}
	f.fin = true
	c := f.c
	if c.phase == over {
		if !c.fin.fast {
			f.tcp.Abandon(now)
		}
		return
	}
	if c.phase == open && !c.plain() && !c.id.confirmed && c.mayFallBack(f) {
		// Who ends its only subflow before it said anything of the data sequence speaks plain TCP.
		c.fallBack(now, f)
		return
	}
	if c.plain() {
		c.endOfStream(now)
		return
	}
	if c.fin.acked && c.rcv.finished {
		return
	}
	for _, g := range c.subflows {
		if g != f && g.canCarry() {
			f.tcp.Close(now)
			return
		}
	}
	// It is the only one that can still take octets to the peer.
	c.forsaken(now)
}
