package datagram

import (
	"net/netip"
	"time"

	"tandem/engine/wire"
)

// An Event is something that the owner of a lane should know. Which fields count follows from Kind.
type Event struct {
	Kind    EventKind
	Path    PathID        // on which it happened, or the news came
	Changed bool          // PeerHello: another process than before answers there; what it knew is lost
	State   PathState     // PeerPath
	Offer   OfferID       // PeerHeld, PeerRefused
	Reason  wire.Reason   // PeerRefused: of RFC 8684 3.6, or HostRefused and those after it
	Age     time.Duration // PeerHeld, PeerRefused: from when the peer said so to when the message left
	Bye     ByeReason     // PeerBye
	RTT     time.Duration // PathRTT: without what the peer took to answer
	OneWay  time.Duration // PathRTT: delay towards the peer, plus what its clock is ahead: only differences between paths mean something
	Sent    uint64        // PathRTT: octets of datagrams that had left on the path before the PING, see Control.Sent
	Got     uint64        // PathRTT: octets of datagrams that had come to the peer before it; as Sent if it does not tell
	Size    int           // PathMTU, PathTooBig: as given to Ping
}

// EventKind says what happened.
type EventKind uint8

// The events.
const (
	PeerHello   EventKind = 1 + iota // see Negotiated; also when the peer says something new about itself
	PeerPath                         // the peer's view of a path
	PeerHeld                         // an offer of ours waits there; may overtake, and be overtaken by, its PeerRefused, which counts
	PeerRefused                      // an offer of ours was refused there
	PeerBye                          // the peer stops: nothing is repeated to it any more
	PathRTT                          // a PING was answered
	PathMTU                          // a PING of that size was answered
	PathTooBig                       // a PING of that size was not
	PathSilent                       // a PING was not answered in time, and nothing else came
	PathAlive                        // something came over a path that was silent
)

// OfferID names an offer within a bond.
type OfferID struct {
	Source uint16 // port
	Target netip.AddrPort
}

// plain is the offer as both ends name it.
func (o OfferID) plain() OfferID {
	o.Target = netip.AddrPortFrom(o.Target.Addr().Unmap().WithZone(""), o.Target.Port())
	return o
}

// PathState is what one end says about a path.
type PathState struct {
	ID                 PathID
	State              State
	Role               Role
	LimitUp, LimitDown uint64 // octets a second, away from and towards the one who says it; 0: none
	Price              uint32 // of octets, on a scale both ends share; 0: free
}

// State is whether a path can be used.
type State uint8

// The states of a path.
const (
	Up   State = iota
	Down       // its link does not work
	Off        // switched off by the user
)

// Role is what a path is used for.
type Role uint8

// The roles of a path.
const (
	Primary   Role = iota // used first
	Secondary             // when primaries are full
	Backup                // when none works
	Never                 // no packet at all
)

// ByeReason says why an end stops.
type ByeReason uint8

// The reasons to stop.
const (
	Shutdown ByeReason = iota
	Revoked            // this peer is not welcome any more
)

// Next returns the oldest event not returned yet. Called after each Receive and Advance, it never
// has more than eventsMax to return; beyond that measurements are dropped, and news stay
// unacknowledged, so that the peer repeats them.
func (c *Control) Next() (Event, bool) {
	if c.reported == len(c.events) {
		c.events, c.reported = c.events[:0], 0
		return Event{}, false
	}
	e := c.events[c.reported]
	c.reported++
	return e, true
}

// report queues an event, if there is room.
func (c *Control) report(e Event) bool {
	if len(c.events)-c.reported >= eventsMax {
		c.counters.Events++
		return false
	}
	if len(c.events) >= eventsMax {
		c.events, c.reported = c.events[:copy(c.events, c.events[c.reported:])], 0
	}
	c.events = append(c.events, e)
	return true
}
