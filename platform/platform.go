// Package platform is the operating system as tandem needs it: which links there are, how a socket is pinned to one, the
// TUN device, routes, and the resolver. It takes whole desired states, does the difference, and can always undo it.
package platform

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"syscall"
)

// Other is the kind of a link that is of none that people know.
const Other = "other"

// A Link is a network interface, whether it is of use or not.
type Link struct {
	Name  string
	Kind  string // wifi, cellular, ethernet, usb or Other
	ID    string // the same for a device whatever its name today: permanent MAC, else where it is plugged in, else the name
	Index int
	MTU   int

	Addrs  []netip.Prefix // addresses with the prefix on the link; none that are link-local
	Leases []Lease        // of those that have an end

	// Gateway4 and Gateway6 are the next hops of the link's own default routes. Unspecified (0.0.0.0, ::): the default route
	// needs none, as on a point-to-point link. Zero: there is no default route.
	Gateway4, Gateway6 netip.Addr

	Usable bool
	Reason string // why not, one sentence; empty if usable
}

// A Host reports the state of the system and takes the whole desired state.
type Host interface {
	// Links reports all links at once and again after each change, until ctx ends; then it returns nil. Report is called by
	// one goroutine and owns what it is given.
	Links(ctx context.Context, report func([]Link)) error

	// Pin returns a function for net.ListenConfig.Control and the like, which ties a socket to the link: what the socket sends
	// leaves there or fails, and never enters the TUN.
	Pin(link string) func(network, address string, c syscall.RawConn) error

	// Tun makes a TUN device that vanishes when closed. The name may be a pattern such as tun%d. Route sets its addresses.
	Tun(name string, mtu int) (Tun, error)

	// Route does what is missing for r, undoes what is no longer wanted, and returns nil if all of it is so. The zero Routing
	// undoes everything, also what a killed predecessor left. After an error the system is as before the call, as far as it lets.
	// While Links runs, it keeps things so as links change, before it reports the change.
	Route(r Routing) error
}

// A Tun is a TUN device: whole IP packets, in batches. Each buffer has room for a header of offset octets before its packet.
type Tun interface {
	Read(bufs [][]byte, sizes []int, offset int) (int, error)
	Write(bufs [][]byte, offset int) (int, error)
	MTU() (int, error)
	Name() (string, error)
	BatchSize() int
	Close() error
}

// A Routing is how the system is to send. Links that do not exist at the moment are skipped without an error.
type Routing struct {
	Tun     string         // the device that Host.Tun made; empty: none
	Addrs   []netip.Prefix // of the TUN
	MTU     int            // of the TUN; zero: as it is
	Capture []netip.Prefix // what goes into the TUN: 0.0.0.0/0 and ::/0, or parts
	Exclude []netip.Prefix // what never does
	TCP     bool           // of what is captured TCP alone goes there; the rest goes as if there were no TUN
	Links   []string       // what sockets are pinned to
	LAN     bool           // what is on a link, or has a route more specific than the default, goes there and not into the TUN
	DNS     []netip.Addr   // the only servers in resolv.conf; none: it stays as it is
}

// zero reports whether nothing is wanted.
func (r Routing) zero() bool { return r.Tun == "" && len(r.Links) == 0 && len(r.DNS) == 0 }

func (r Routing) clone() Routing {
	r.Addrs, r.Capture, r.Exclude = slices.Clone(r.Addrs), slices.Clone(r.Capture), slices.Clone(r.Exclude)
	r.Links, r.DNS = slices.Clone(r.Links), slices.Clone(r.DNS)
	return r
}

// Config is what a Host needs to know. The zero Config works, but a killed process then leaves what State would have remembered.
type Config struct {
	Log   *slog.Logger // nil: none
	State string       // folder of the undo record, made with mode 0700; empty: no record
	Only  []string     // the links to use, taken as they are whatever their kind; none: all that are fit
}

// ResolverFinding is the name of the finding that says what happens to resolv.conf.
const ResolverFinding = "resolver"

// A Finding is one thing that Check looked at.
type Finding struct {
	Name   string // what: privileges, tun, link NAME, …
	Aside  bool   // a link that is there and not used, which may well be so
	OK     bool   // false: tandem cannot work, or not fully, until somebody acts
	Detail string // one sentence: what is, what will be done, or what to do
}
