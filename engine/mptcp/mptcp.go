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

	LimitDown, LimitUp int // octets a second, towards this end and away from it; 0: none. See Bond.SetLimit
	Price              int // of 10⁹ octets, in thousandths of a currency; 0: free. See Bond.SetPrice

	Private  bool // only for connections that are dialled with it in DialOptions, and for datagrams; see Privacy
	Address  AddressType
	Lifetime Lifetime // of the addresses, from Attach on
}

// Config says how a bond behaves. The zero Config speaks plain RFC 8684 with any host, except that
// Entropy must be set.
type Config struct {
	Entropy io.Reader // keys, nonces, initial sequence numbers

	// Paired says that the other end is tandem too, authenticated by the carrier: offers are taken
	// for any address, first data rides in the SYN, one congestion state per path serves all
	// subflows, and a control lane runs beside the connections.
	Paired bool

	Privacy Privacy // what others shall learn of this end's addresses

	Control    string // congestion control: see path.NewControl and path.NewGroup; "" is "bbr" when Paired, else "lia"
	Scheduler  string // see schedule.New
	CostV      int    // of the scheduler "cost": see schedule.Cost
	CostRate   int    // the same: the rate demanded, octets a second; 0: none. See schedule.Debt
	Checksum   bool   // require DSS checksums
	Timestamps bool   // RFC 7323 timestamps on subflows
	ECN        bool
	Nagle      bool // hold back a segment that is not full while one is outstanding (RFC 1122 4.2.3.4)

	Wide          bool      // 64-bit numbers in every DSS
	Strict        bool      // a broken invariant panics instead of resetting its connection
	Plain         bool      // neither ask for nor accept MPTCP
	AnyTarget     bool      // take offers for any address at any port, not for those of Listen alone, as a proxy does that packets pass
	NoJoinsHere   bool      // flag C: ask the peer not to join towards the address it dialled
	RefuseJoins   bool      // refuse the peer's MP_JOIN
	Announce      bool      // announce the other paths' addresses with ADD_ADDR
	Establish     Establish // over which paths connections are asked for, and when
	ImplicitESIM  bool      // ESIM tries MP_JOIN_CAP without asking the peer, unless Paired; one that knows no RobE may accept twice
	NoRobE        bool      // do not take part when a peer asks for RobE_eSIM or L_RTT_EN
	JoinAnnounced bool      // open subflows to addresses that the peer announces, also as the side that accepted
	Passive       bool      // do not open subflows over further paths by oneself

	// FastOpen has the first octets of connections with foreign peers ride in the SYN where a cookie allows it (RFC 7413),
	// both ways. It is for those who can bear that what was written first is delivered twice: a server cannot tell a
	// late copy of such a SYN from a new one, and what one path brought without an answer goes over another as well.
	FastOpen bool

	// FirstPort and LastPort are the range of the source ports that are given to connections; 0: 32768 to 60999.
	FirstPort, LastPort uint16

	Datagrams DatagramConfig // Paired: packets that are none of TCP
	Families  Families       // Paired: those this end has a tested route for, as the peer is told; 0: both

	Inactivity Inactivity    // how long a connection may be idle
	Prototype  Prototype     // what the option of the prototypes means
	Linger     time.Duration // how long a connection lives without a subflow, unless Inactivity says it; 0 means 60 s

	// Keepalive is the idle time before a subflow is probed, or up to a quarter less so that not all are at once; 0:
	// never. Unless Paired, a NAT keeps a state for each subflow and forgets it: no packet of another spares
	// this one. In a Paired bond the carrier keeps the path open and the lane notices a peer that is gone: idle
	// connections cost nothing.
	Keepalive time.Duration
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
	ErrStripped = errors.New("octets of the SYN were not taken")
	ErrMerged   = errors.New("was one more SYN of another connection")
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
	News                           // something happened to its subflows: NextSubflowEvent, after Watch
	Ended                          // over and forgotten: only Read of what is left and Err make sense
)

// DialOptions refine Dial. The zero DialOptions dial as the bond's Establish says, over any path.
type DialOptions struct {
	Establish Establish // Auto: the bond's
	Paths     []PathID  // begin with these, and under Auto with all of them at once; none: with any
	Only      []PathID  // never use others, to begin or later; nil: any may be used
	Plain     bool      // do not ask for MPTCP

	// Early has the octets that are written first ride in the SYN without a cookie, which only those take who are made for
	// it: the servers of RFC 8803. A foreign peer is sent no other SYN until the answer to one with octets is late, so that it does
	// not act on them for two connections. EarlyOnly ends the connection with ErrStripped when the answer to that SYN does not take
	// them all, before anything else leaves (RFC 8803 8).
	Early, EarlyOnly bool

	// Address is what the address to begin with should be, where there is a choice: short connections are content with
	// NonPersistent, and save the others (RFC 8653). Plain ones want SessionLasting unless it says another.
	Address AddressType

	// Source is the source port of all subflows, but of joins after a SYN that a foreign peer did not answer, and with
	// PrivacyStrict of the first only; 0: chosen by the bond.
	Source uint16
}
