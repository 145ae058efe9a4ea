package sim

import (
	"net/netip"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// A Plan is the story of one connection: what its two applications will do.
type Plan struct {
	Dialled clock.Time
	Target  netip.AddrPort // its port is the plan's own, so that the server knows the plan
	Options mptcp.DialOptions

	Up, Down    int64         // octets the client writes, and the server
	AnswerAfter time.Duration // how long the offer is held
	Manner      Manner
	Altered     bool          // a middlebox alters octets
	Sip         int           // octets that a slow reader takes at once; 0: readers are quick
	Rest        time.Duration // of a slow reader, after each sip
	Crumb       int           // octets that a slow writer has at once; 0: writers have all from the first
	Pause       time.Duration // of a slow writer, after each crumb

	excused bool // something happened that it need not survive
}

// A Manner is how a connection ends.
type Manner uint8

// The manners.
const (
	EachWhenDone Manner = iota // both write at once, and each ends its direction when all is written
	ServerLast                 // the server writes when it has read the client's end
	ClientLast                 // the client writes when it has read the server's end
	ClientAborts               // in the middle
	ServerAborts               // in the middle
	Refused                    // by the server
)

func (m Manner) String() string {
	return [...]string{"each when done", "server last", "client last", "client aborts", "server aborts", "refused"}[m]
}

// up and down are what the two directions carry.
func (p *Plan) up() pattern   { return pattern(mix(uint64(p.Target.Port())<<1) % period) }
func (p *Plan) down() pattern { return pattern(mix(uint64(p.Target.Port())<<1|1) % period) }

// violent reports whether the plan ends otherwise than by two ends of data.
func (p *Plan) violent() bool { return p.Manner >= ClientAborts }
