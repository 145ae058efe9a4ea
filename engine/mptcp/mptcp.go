// Package mptcp is Multipath TCP (RFC 8684): connections across subflows, and the bond that holds
// them. A Bond is a machine: packets and instants go in, packets and one deadline come out.
package mptcp

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"tandem/engine/clock"
	"tandem/engine/datagram"
	"tandem/engine/wire"
)

// A Machine turns packets and the passing of time into packets. It starts no goroutine, reads no
// clock, draws no global randomness and takes no lock: its caller owns it.
type Machine interface {
	Receive(now clock.Time, path PathID, pkt []byte) // does not keep pkt
	Advance(now clock.Time)                          // does what has fallen due at or before now
	Deadline() clock.Time                            // when Advance must next be called, or Never
	// Transmit writes the next packet that may leave now into buf. Receive, Advance and every
	// other call may make packets ready: call it until it returns false.
	Transmit(now clock.Time, buf []byte) (path PathID, pkt []byte, ok bool)
}

// PathID is the number of a path within a bond, given by its caller. Both ends of a Paired bond
// number their paths alike.
type PathID uint8

// PathConfig describes a path. A family without a local address is not used on it.
type PathConfig struct {
	Local4, Local6 netip.Addr
	Peer4, Peer6   netip.Addr // Paired: where the other end hears the control lane; a family without carries no datagrams
	MTU            int        // of IP packets; 0 means 1500
	Role           Role
	Reaches        []netip.Prefix // remote addresses that can be reached over it; nil: all
}

// Config says how a bond behaves. The zero Config speaks plain RFC 8684 with any host, except that
// Entropy must be set.
type Config struct {
	Entropy io.Reader // keys, nonces, initial sequence numbers

	// Paired says that the other end is tandem too, authenticated by the carrier: offers are taken
	// for any address, first data rides in the SYN, one congestion state per path serves all
	// subflows, and a control lane runs beside the connections.
	Paired bool

	Control    string // congestion control: see path.NewControl and path.NewGroup; "" is "bbr" when Paired, else "lia"
	Scheduler  string // see schedule.New
	Checksum   bool   // require DSS checksums
	Timestamps bool   // RFC 7323 timestamps on subflows
	ECN        bool
	Nagle      bool // hold back a segment that is not full while one is outstanding (RFC 1122 4.2.3.4)

	Wide          bool // 64-bit numbers in every DSS
	Strict        bool // a broken invariant panics instead of resetting its connection
	Plain         bool // neither ask for nor accept MPTCP
	NoJoinsHere   bool // flag C: ask the peer not to join towards the address it dialled
	RefuseJoins   bool // refuse the peer's MP_JOIN
	Announce      bool // announce the other paths' addresses with ADD_ADDR
	JoinAnnounced bool // open subflows to addresses that the peer announces, also as the side that accepted
	Passive       bool // do not open subflows over further paths by oneself

	Datagrams DatagramConfig // Paired: packets that are none of TCP
	Families  Families       // Paired: those this end has a tested route for, as the peer is told; 0: both

	Linger    time.Duration // how long a connection lives without a subflow; 0 means 60 s
	Keepalive time.Duration // idle time before a subflow is probed; 0: never
	Limits    Limits
}

// Why a connection ended.
var (
	ErrReset    = errors.New("connection reset by peer")
	ErrTimeout  = errors.New("connection timed out")
	ErrRefused  = errors.New("connection refused")
	ErrAborted  = errors.New("connection aborted")
	ErrLimit    = errors.New("limit reached")
	ErrNoPath   = errors.New("no path to that address")
	ErrClosed   = errors.New("connection closed")
	ErrBroken   = errors.New("internal error, connection reset")
	ErrNotOffer = errors.New("no offer, or answered already")
)

// Why an offer is refused, beside the reasons of RFC 8684 3.6: what dialling its target ended with.
const (
	HostRefused        = datagram.HostRefused
	HostUnreachable    = datagram.HostUnreachable
	NetworkUnreachable = datagram.NetworkUnreachable
	TimedOut           = datagram.TimedOut
)

// A Refusal is ErrRefused with why: one of these, or of RFC 8684 3.6.
type Refusal struct{ Reason wire.Reason }

func (r *Refusal) Error() string { return fmt.Sprintf("%v, reason %d", ErrRefused, r.Reason) }

// Is reports whether target is ErrRefused.
func (r *Refusal) Is(target error) bool { return target == ErrRefused }

// refusal is ErrRefused with what the peer said.
func refusal(why wire.Reason) error {
	if why == wire.Unspecified {
		return ErrRefused
	}
	return &Refusal{why}
}

// Change is a set of things that happened to a connection.
type Change uint8

// The changes.
const (
	Offered     Change = 1 << iota // somebody asks for it: Accept or Refuse
	Established                    // data can flow
	Readable                       // Read returns something: data, end or error
	Writable                       // Write takes octets again after it took fewer than it was given
	Ended                          // over and forgotten: only Read of what is left and Err make sense
)

// DialOptions refine Dial. The zero DialOptions dial over the best path.
type DialOptions struct {
	Paths  []PathID // try all of these at once: the first to answer wins (RobE_SIM); nil: the best one
	Source uint16   // source port of all subflows; 0: chosen by the bond
}
