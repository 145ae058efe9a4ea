package mptcp

import (
	"net/netip"
	"time"

	"tandem/engine/clock"
	"tandem/engine/datagram"
)

// Info is a picture of a connection.
type Info struct {
	Source, Target             netip.AddrPort
	State                      string
	Multipath                  bool // MPTCP is in use
	Fallback                   bool // plain TCP: the peer, or something between, does not speak MPTCP
	Checksum                   bool
	Establish                  Establish // how this end asked for it
	Token                      uint32    // of this end
	Sent, Received, Reinjected uint64    // octets of the stream
	SendQueue, RecvQueue       int       // octets kept
	FastOpen                   int       // octets that rode in the SYN and were taken
	Stripped                   bool      // octets that rode in the SYN as DialOptions.Early has it were not all taken
	Began                      PathID    // of the first SYN that was answered; 0 if none was
	Inactivity                 InactivityInfo
	Subflows                   []SubflowInfo
}

// InactivityInfo is how long a connection may be idle; 0: for ever, or not said.
type InactivityInfo struct {
	Own, Peer             time.Duration // what each end said
	Request, PeerRequests bool          // that the other one should be as patient
	Used                  time.Duration // what counts here
	Left                  time.Duration // of it, if nothing happens
}

// SubflowInfo is a picture of a subflow.
type SubflowInfo struct {
	ID                 SubflowID
	Path               PathID
	Local, Remote      netip.AddrPort
	State              string // of RFC 9293
	Established        bool   // may carry data, as far as MPTCP is concerned
	Joined             bool   // by MP_JOIN, or in its way
	Leaving            bool   // closed here, when another can take its place
	Suspect            bool   // silent with octets outstanding, which went out over others
	Backup, PeerBackup bool
	Sent, Received     uint64 // octets of the stream carried
	Retransmits        uint64 // segments
	Timeouts           uint64 // of the retransmission timer
	Outstanding        int    // octets sent and not acknowledged
	Queued             int    // octets that it was given and did not send
	MSS                int
	TOS                uint8         // the DSCP of what leaves
	UserTimeout        time.Duration // how long octets may be unacknowledged; 0: as long as TCP usually waits

	// Of the path, which all subflows over it share when Paired.
	RTT, RTTVar, RTTMin, RTO time.Duration
	Window                   int // octets
	Threshold                int // octets; 0: infinite, or the congestion control has none
	Rate                     int // octets a second delivered; 0: not known
	Pace                     int // octets a second that may leave; 0: any

	// Limits in octets a second; 0: none. See Bond.SetLimit.
	LimitDown int  // asked of the peer by option
	PeerLimit int  // asked by the peer by option
	Muted     bool // the peer wants no new data over it
	Limit     int  // what is kept to, also because of the path

	Forward, Backward time.Duration // latency towards the peer and from it, see path.Latency; 0: not known, as with schedulers other than "owl"
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
	Won      uint64  // connections that were asked for over several paths and were answered over this first

	// Limits in octets a second; 0: none. See Bond.SetLimit.
	LimitDown, LimitUp int
	Granted            bool // Paired: the peer has acknowledged what it was told of the path last
	PeerDown, PeerUp   int  // Paired: the peer's own, PeerDown being what it asks of this end
	Limit              int  // Paired: what this end keeps to

	Address AddressType
	Left    time.Duration // until the address is gone; 0: it is, or no end is known. See Bond.SetLifetime
	Leaving bool          // others are used, because the address is gone or soon will be

	Price, PeerPrice  int           // in this end's eyes, and in the peer's; see Bond.SetPrice
	Forward, Backward time.Duration // Paired: see SubflowInfo
}

// Counters count what was dropped or refused, by reason.
type Counters struct {
	Malformed, Checksum, Fragment, NotTCP                                                                uint64 // packets
	NoConnection, NoPath                                                                                 uint64
	BadJoinToken, BadJoinMAC, BadAddAddrMAC                                                              uint64
	Races, Switches                                                                                      uint64 // connections asked for over several paths at once; paths asked because others did not answer
	JoinCaps, BadJoinCap, LimitJoinCap, LimitLessons                                                     uint64 // MP_JOIN_CAP that joined, that fitted nothing, that would have cost too much; what of paths was forgotten too soon
	Held, CopiedOffers, LateOffers, RobeOffers                                                           uint64 // offers of ours that the peer said it holds; SYNs of an offer that was here, or that was answered already; SYNs that ask for RobE_eSIM
	RTTReports                                                                                           uint64 // L_RTT_EN that were heard
	DSSChecksum, OutOfWindow, Unmapped                                                                   uint64
	Fallbacks, Resets                                                                                    uint64
	LimitConnections, LimitPorts, LimitSubflows, LimitHalfOpen, LimitOffers, LimitBuffer, LimitAddresses uint64
	FastOpens, FastOpensRefused, BadCookies, LimitFastOpens, LimitCookies                                uint64 // SYNs whose octets were taken, or were not, that were asked with; what was wrong with them
	Recycled                                                                                             uint64 // half-open joins given up for others
	Deviations                                                                                           uint64 // SYNs whose octets were not those of their offer
	LimitEvents                                                                                          uint64 // of subflows or of the bond, that nobody fetched
	LimitSignals, LimitStrays, LimitAttempts                                                             uint64 // options that had to wait for a subflow, resets for segments of nothing, joins to be tried again
	Broken                                                                                               uint64 // connections reset because an invariant did not hold
	Inactive, InactivityTimes, RateLimits                                                                uint64 // connections that were idle for too long; options heard that said something new
	Datagrams                                                                                            DatagramCounters
}

// phaseNames are for Info.
var phaseNames = [...]string{offered: "offered", opening: "opening", open: "open", over: "over"}

// Info returns a picture of the connection.
func (c *Conn) Info(now clock.Time) Info {
	i := Info{
		Source: c.source, Target: c.target,
		State:      phaseNames[c.phase],
		Multipath:  c.Multipath(),
		Fallback:   c.phase == open && c.plain(),
		Checksum:   c.id.checksum,
		Establish:  c.est.mode,
		Token:      c.id.localToken,
		Sent:       c.snd.una,
		Received:   c.in.readable.Load(),
		Reinjected: c.snd.reinjected,
		SendQueue:  int(c.out.written.Load() - c.snd.una),
		RecvQueue:  c.in.queued(),
		FastOpen:   int(c.id.earlyOut + c.id.earlyIn),
		Stripped:   c.est.stripped,
		Began:      c.est.began,
		Inactivity: c.idle.info(now, c),
	}
	for _, f := range c.subflows {
		stats := f.tcp.Stats()
		s := SubflowInfo{
			ID: f.id, Path: f.path.id,
			Local: f.tcp.Config().Local, Remote: f.tcp.Config().Remote,
			State:       f.tcp.State().String(),
			Established: f.ready && f.live(), Joined: f.join, Leaving: f.leaving != 0, Suspect: f.suspect,
			Backup: f.backup, PeerBackup: f.peerBackup || f.path.peerRole == Backup,
			Sent: f.sent, Received: f.got,
			Retransmits: uint64(stats.Retransmits), Timeouts: uint64(stats.Timeouts),
			Outstanding: int(f.tcp.Outstanding()), Queued: int(f.tcp.Queued()), MSS: f.tcp.MSS(),
			TOS: f.tcp.Config().TOS, UserTimeout: f.tcp.Config().UserTimeout,
			RTO: f.state.RTO(), Window: f.state.Window(), Threshold: f.state.Threshold(), Rate: f.state.Rate(now), Pace: f.state.Pace(),
			LimitDown: fromKilobits(f.rate.asked), PeerLimit: fromKilobits(f.rate.peer), Muted: f.mute(),
			Limit: f.state.Limit(),
		}
		s.RTT, s.RTTVar, s.RTTMin = f.state.RTT()
		s.Forward, s.Backward = f.state.Forward(now), f.state.Backward(now)
		if f.path.state != nil {
			s.RTT = c.b.rtt(f.path)
		}
		i.Subflows = append(i.Subflows, s)
	}
	return i
}

// Paths returns what is known of each path, in order of their numbers.
func (b *Bond) Paths(now clock.Time) []PathInfo {
	var all []PathInfo
	for _, p := range b.paths {
		i := PathInfo{ID: p.id, Role: p.cfg.Role, PeerOff: p.peerOff, MTU: p.cfg.MTU, Won: p.won, LimitDown: p.cfg.LimitDown, LimitUp: p.cfg.LimitUp, Price: p.cfg.Price, PeerPrice: p.peerPrice}
		i.Address, i.Leaving = p.cfg.Address, p.stage != staying
		if p.handover.at != clock.Never {
			i.Left = max(p.handover.at.Sub(now), 0)
		}
		if s := p.state; s != nil {
			i.RTT = b.rtt(p)
			i.Window, i.Inflight, i.Rate, i.MTU = s.Window(), s.Inflight(), s.Rate(now), s.MTU()
			i.Suspect = p.silent || s.Suspect(now)
			i.Loss = s.Loss(now)
			i.Granted = b.lane.control.PathTold(datagram.PathID(p.id))
			i.PeerDown, i.PeerUp, i.Limit = p.peerDown, p.peerUp, s.Limit()
			i.Forward, i.Backward = s.Forward(now), s.Backward(now)
		}
		all = append(all, i)
	}
	return all
}
