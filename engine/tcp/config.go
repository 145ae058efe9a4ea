package tcp

import (
	"net/netip"
	"time"

	"tandem/engine/path"
	"tandem/engine/wire"
)

// Config says how a subflow behaves. The zero Config of every field but the addresses and Path works.
type Config struct {
	Local, Remote netip.AddrPort
	Path          *path.Path
	ISS           wire.Seq

	Timestamps  bool  // offer or accept RFC 7323 timestamps
	NoSACK      bool  // neither offer nor accept SACK
	ECN         bool  // offer or accept RFC 3168
	NoDelayAck  bool  // acknowledge every segment
	WindowScale uint8 // shift to offer; 0 means 8, at most 14
	TOS         uint8 // DSCP; the ECN bits are the subflow's own
	Early       bool  // data may ride in the SYN (RFC 7413): what is pushed before it leaves, or what comes with the peer's

	// Cookie is what the peer gave before: without one or AskCookie, Early is for own ends. At the end that answers it
	// is what the peer is given.
	Cookie    wire.FastOpen
	AskCookie bool
	Stranger  bool // the other end is none of one's own, whatever Early and Cookie say

	SynRetries  int           // 0 means 6
	Retries     int           // of a data segment; 0 means 15
	UserTimeout time.Duration // how long a data segment may be unacknowledged instead (RFC 5482); 0: as Retries says
	Keepalive   time.Duration // idle time until the first of the probes; 0: none
	TimeWait    time.Duration // 0 means 60 s
	MaxMSS      int           // upper bound for segments sent and announced; 0: as the path's MTU allows

	// SharedWindow says that Owner.Window speaks of a window which several subflows share and which is
	// counted from elsewhere (RFC 8684 3.3.1): it is announced as it is, though its right edge, seen
	// from this subflow, moves left when octets come over another.
	SharedWindow bool
}

// retriesMax is more than anybody waits for.
const retriesMax = 30

// withDefaults puts the documented defaults in place of zeros.
func (c Config) withDefaults() Config {
	if c.WindowScale == 0 {
		c.WindowScale = 8
	}
	c.SynRetries, c.Retries = min(c.SynRetries, retriesMax), min(c.Retries, retriesMax)
	c.WindowScale = min(c.WindowScale, maxWindowScale)
	if c.SynRetries <= 0 {
		c.SynRetries = 6
	}
	if c.Retries <= 0 {
		c.Retries = 15
	}
	if c.TimeWait <= 0 {
		c.TimeWait = time.Minute
	}
	return c
}
