// Package tcp is one subflow: a whole TCP (RFC 9293 and its companions, see doc.go of the engine)
// as a machine. Segments and instants go in, segments and one deadline come out. What the octets
// mean, where they are kept and which options of MPTCP travel with them is its Owner's business.
package tcp

import (
	"time"

	"tandem/engine/clock"
	"tandem/engine/path"
	"tandem/engine/wire"
)

// An Owner is the connection above a subflow. All calls come from within a call of the subflow's
// methods, and none may call Receive, Advance or Transmit of the same subflow.
type Owner interface {
	// Fetch fills p with octets of the outgoing stream from position at on, which some Push named
	// and no Acked has freed.
	Fetch(at uint64, p []byte)

	// Compose adds the owner's options to a segment about to leave, at most room octets of them
	// (each option counts its own length; padding is taken care of). part says which octets the
	// segment will carry; its payload is not there yet. It must not end the subflow.
	Compose(now clock.Time, s *Subflow, seg *wire.Segment, part Part, room int)

	// Signals acts on the options of a segment that passed the checks of RFC 9293 3.10.7.4 and RFC
	// 5961, before its payload is delivered; also of a RST that will end the subflow. It reports
	// whether to go on with the segment.
	Signals(now clock.Time, s *Subflow, seg *wire.Segment) bool

	// Deliver hands up octets of the incoming stream, each once, in the order in which they
	// arrive, which need not be theirs. off counts from the first octet after the SYN. p is part
	// of the packet. It returns false to have the segment treated as if it had not come, so that
	// the peer will send it again.
	Deliver(now clock.Time, s *Subflow, off uint64, p []byte) bool

	// Acked tells that the peer has acknowledged all octets of the subflow's outgoing stream before off.
	Acked(now clock.Time, s *Subflow, off uint64)

	// Window returns how many octets the subflow may offer the peer to send, from RCV.NXT on.
	Window(s *Subflow) int

	// Changed tells that the state of the subflow changed, unless by Close, Abandon, Reset or Drop itself;
	// see State and Err.
	Changed(now clock.Time, s *Subflow)
}

// A Part is a piece of a chunk that travels in one segment. A chunk is what one Push named: it
// becomes one mapping, and no segment carries pieces of two chunks. Compose sees the Len that would
// fit beside the subflow's own options: what the owner adds shortens it.
type Part struct {
	Off   uint64 // place in the subflow's outgoing stream, from 0
	At    uint64 // place in the owner's
	Len   int    // octets; 0: the segment carries no data
	Chunk Chunk
	Again bool // sent before
}

// A Chunk is a run of octets that lie together in the owner's stream and in the subflow's.
type Chunk struct {
	Off, At uint64
	Len     int
}

// State is a state of RFC 9293 3.3.2.
type State uint8

// The states.
const (
	Closed State = iota
	SynSent
	SynReceived
	Established
	FinWait1
	FinWait2
	CloseWait
	Closing
	LastAck
	TimeWait
)

// Subflow is one TCP connection over one path.
type Subflow struct {
	owner Owner
	path  *path.Path
	cfg   Config
	state State
	err   error
	heard clock.Time // when the last acceptable segment came
	stats Stats

	handshake handshake
	snd       sender
	rcv       receiver
	rack      rack
	tlp       tlp
	loss      recovery
	ts        timestamps
	ecn       ecn
	ack       ackPolicy
	probe     prober
	timer     timers
	end       ending

	desk *desk
}

// A desk is what only a busy subflow has.
type desk struct {
	out   wire.Segment // being built
	first path.Stamp   // of what a tail loss probe repeats

	silent clock.Time // when that had left for which the first of the timeouts in a row was
}

// State returns the state.
func (s *Subflow) State() State { return s.state }

// Next returns the number behind all that was sent, the FIN included.
func (s *Subflow) Next() wire.Seq { return s.snd.seq(s.snd.nxt) }

// Err returns why the subflow is Closed: nil after an orderly close.
func (s *Subflow) Err() error { return s.err }

// Config returns the configuration with what was negotiated.
func (s *Subflow) Config() *Config { return &s.cfg }

// SetTOS changes the DSCP of what leaves from now on: the upper six bits of tos.
func (s *Subflow) SetTOS(tos uint8) { s.cfg.TOS = tos &^ 3 }

// SetUserTimeout changes Config.UserTimeout, from the next timeout on.
func (s *Subflow) SetUserTimeout(d time.Duration) { s.cfg.UserTimeout = max(d, 0) }

// become enters a state and tells the owner.
func (s *Subflow) become(now clock.Time, state State) {
	if s.state == state {
		return
	}
	s.state = state
	s.owner.Changed(now, s)
}

// synchronized reports whether both ends have agreed on sequence numbers (RFC 9293 3.4.1).
func (s *Subflow) synchronized() bool { return s.state >= Established }

// CanSend reports whether octets may be pushed.
func (s *Subflow) CanSend() bool {
	return (s.state == Established || s.state == CloseWait) && !s.end.closing
}

// Pending reports whether a subflow that is Closed still has its reset to transmit.
func (s *Subflow) Pending() bool { return s.end.reset }

// Received returns the place in the incoming stream before which everything has come.
func (s *Subflow) Received() uint64 { return s.rcv.nxt }

// Waiting reports whether something would leave if window and pacing of the path let it.
func (s *Subflow) Waiting() bool { return s.snd.flight.lost.n > 0 || s.Queued() > 0 }

// Hold ends the repetition of a SYN that is known to have arrived and waits for its answer.
func (s *Subflow) Hold() {
	if s.state == SynSent && s.handshake.tries > 0 {
		s.timer.retransmit = clock.Never
	}
}

// Resume goes on repeating a SYN that was held.
func (s *Subflow) Resume(now clock.Time) {
	if s.state == SynSent && s.handshake.tries > 0 && s.timer.retransmit == clock.Never {
		s.timer.retransmit = now
	}
}

// IRS returns the sequence number of the peer's SYN.
func (s *Subflow) IRS() wire.Seq { return s.rcv.irs }
