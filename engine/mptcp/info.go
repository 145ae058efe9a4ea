package mptcp

import (
	"net/netip"
	"time"

	"tandem/engine/clock"
)

// Info is a picture of a connection.
type Info struct {
	Source, Target             netip.AddrPort
	State                      string
	Fallback                   bool // plain TCP: the peer, or something between, does not speak MPTCP
	Checksum                   bool
	Token                      uint32 // of this end
	Sent, Received, Reinjected uint64 // octets of the stream
	SendQueue, RecvQueue       int    // octets kept
	Subflows                   []SubflowInfo
}

// SubflowInfo is a picture of a subflow.
type SubflowInfo struct {
	Path               PathID
	Local, Remote      netip.AddrPort
	State              string
	Backup, PeerBackup bool
	RTT                time.Duration
	Sent, Received     uint64 // octets of the stream carried
	Retransmits        uint64
}

// PathInfo is a picture of a path.
type PathInfo struct {
	ID       PathID
	Role     Role
	RTT      time.Duration
	Window   int // octets
	Inflight int // octets
	Rate     int // octets a second
	MTU      int
	Loss     float64 // share of octets, over the last seconds
	Suspect  bool    // silent although something is outstanding, or it was asked for a sign of life
	PeerOff  bool    // the peer does not use it
}

// Counters count what was dropped or refused, by reason.
type Counters struct {
	Malformed, Checksum, Fragment, NotTCP                                                    uint64 // packets
	NoConnection, NoPath                                                                     uint64
	BadJoinToken, BadJoinMAC, BadAddAddrMAC                                                  uint64
	DSSChecksum, OutOfWindow, Unmapped                                                       uint64
	Fallbacks, Resets                                                                        uint64
	LimitConnections, LimitSubflows, LimitHalfOpen, LimitOffers, LimitBuffer, LimitAddresses uint64
	Broken                                                                                   uint64 // connections reset because an invariant did not hold
	Datagrams                                                                                DatagramCounters
}

// phaseNames are for Info.
var phaseNames = [...]string{offered: "offered", opening: "opening", open: "open", over: "over"}

// Info returns a picture of the connection.
func (c *Conn) Info(now clock.Time) Info {
	i := Info{
		Source: c.source, Target: c.target,
		State:      phaseNames[c.phase],
		Fallback:   c.phase == open && c.plain(),
		Checksum:   c.id.checksum,
		Token:      c.id.localToken,
		Sent:       c.snd.una,
		Received:   c.in.readable.Load(),
		Reinjected: c.snd.reinjected,
		SendQueue:  int(c.out.written.Load() - c.snd.una),
		RecvQueue:  c.in.queued(),
	}
	for _, f := range c.subflows {
		rtt, _, _ := f.state.RTT()
		i.Subflows = append(i.Subflows, SubflowInfo{
			Path:  f.path.id,
			Local: f.tcp.Config().Local, Remote: f.tcp.Config().Remote,
			State:  f.tcp.State().String(),
			Backup: f.backup, PeerBackup: f.peerBackup,
			RTT:  rtt,
			Sent: f.sent, Received: f.got,
			Retransmits: uint64(f.tcp.Stats().Retransmits),
		})
	}
	return i
}

// Paths returns what is known of each path, in order of their numbers.
func (b *Bond) Paths(now clock.Time) []PathInfo {
	var all []PathInfo
	for _, p := range b.paths {
		i := PathInfo{ID: p.id, Role: p.cfg.Role, PeerOff: p.peerOff, MTU: p.cfg.MTU}
		if s := p.state; s != nil {
			i.RTT = b.rtt(p)
			i.Window, i.Inflight, i.Rate, i.MTU = s.Window(), s.Inflight(), s.Rate(now), s.MTU()
			i.Suspect = p.silent || s.Suspect(now)
			i.Loss = s.Loss(now)
		}
		all = append(all, i)
	}
	return all
}
