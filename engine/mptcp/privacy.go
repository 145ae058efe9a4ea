package mptcp

import (
	"net/netip"
	"slices"

	"tandem/engine/clock"
)

// Privacy says how little others shall learn of this end's addresses. The threats are those that M. Bagnulo told the
// working group of at IETF 91:
//
//	P1  joins and announcements show that addresses belong together: PathConfig.Private, DialOptions.Only
//	P2  the peer learns of each new address at once: PrivacyStrict joins when there is something to carry
//	P3  ADD_ADDR shows what a network looks like inside: no private address is announced elsewhere
//	P4  a token would name a host for ever: keys are drawn for each connection and never kept
//	P5  a join leaves a tunnel that the application relies on: DialOptions.Only, SubflowOptions.Local
//	P6  more networks see some of the traffic: nothing here, but TLS, a carrier that encrypts, or PathConfig.Private
//	P7  numbers tell one host from another: Address IDs are drawn, source ports are with PrivacyStrict
//	P8  the third ACK shows the keys: nothing here, for RFC 8684 has no other; a carrier that encrypts hides them
//	P9  coupled congestion control shows one network what another carries: PrivacyStrict couples nothing
//	P10 MP_FASTCLOSE shows a key once more: PrivacyStrict never sends it
type Privacy uint8

// The profiles. A Paired peer knows the paths anyhow and the carrier hides the rest: there both are the same.
const (
	// PrivacyStandard announces private addresses to peers in the same network alone, draws Address IDs, and keeps to
	// the paths that a connection was given.
	PrivacyStandard Privacy = iota

	// PrivacyStrict also announces nothing, asks for connections over one path at a time (Auto is Timer) unless DialOptions
	// name another way, joins others when
	// a connection has moved 64 KiB or its path fails, draws a source port for each subflow (RFC 8684 3.9.1 would rather have the
	// same, so firewalls that go by that may refuse some), couples no windows, and ends connections without
	// MP_FASTCLOSE: with DATA_FIN where that loses nothing, else with a reset, whereupon some peers wait for a join until
	// they give the connection up.
	PrivacyStrict
)

var privacyNames = [...]string{"standard", "strict"}

// String names the profile.
func (p Privacy) String() string { return nameOf(privacyNames[:], p, "unknown") }

// ParsePrivacy returns the profile of a name that String gives; ok is false for others.
func ParsePrivacy(name string) (p Privacy, ok bool) { return parseName[Privacy](privacyNames[:], name) }

// strict reports whether the peer must be taken for one that collects addresses.
func (b *Bond) strict() bool { return b.cfg.Privacy == PrivacyStrict && !b.cfg.Paired }

// networks are the addresses that mean something within one network only: RFC 1918, RFC 6598, RFC 3927, RFC 4193,
// RFC 4291 2.5.6, and those of a host.
var networks = [...]netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("::1/128"),
}

// siteBits is how much of a unique local address is the same throughout a site (RFC 4193 3.1).
const siteBits = 48

// tellable reports whether a peer at an address may hear of addr (P3).
func tellable(addr, peer netip.Addr) bool {
	addr, peer = addr.WithZone(""), peer.WithZone("") // no prefix has one
	for _, n := range networks {
		if !n.Contains(addr) {
			continue
		}
		if n.Bits() == 7 {
			n, _ = addr.Prefix(siteBits)
		}
		return n.Contains(peer)
	}
	return true
}

// mayTell reports whether the connection announces an address of this end.
func (c *Conn) mayTell(addr netip.Addr) bool {
	return !c.b.strict() && tellable(addr, c.peerAt().Addr())
}

// confined returns the only paths of a connection that is to be dialled; nil: any that is not Private (P1, P5).
func (b *Bond) confined(o *DialOptions) []PathID {
	if o.Only != nil {
		return o.Only
	}
	for _, id := range o.Paths {
		if p := b.path(id); p != nil && p.cfg.Private {
			return o.Paths
		}
	}
	return nil
}

// permits reports whether the connection may use the path at all.
func (c *Conn) permits(p *bondPath) bool {
	if c.only == nil {
		return !p.cfg.Private
	}
	return slices.Contains(c.only, p.id)
}

// demandLeast is how many octets a connection has moved when PrivacyStrict has it join other paths.
const demandLeast = 64 << 10

// shy reports whether no further path is worth the peer's knowledge of its address (P2).
func (c *Conn) shy() bool {
	return c.b.strict() && !c.needy && slices.ContainsFunc(c.subflows, func(f *subflow) bool { return f.live() })
}

// demand joins other paths of a shy connection that has moved enough.
func (c *Conn) demand(now clock.Time) {
	if !c.needy && c.snd.una+c.in.readable.Load() >= demandLeast {
		c.need(now)
	}
}

// need has a shy connection join all paths: it has something to carry, or its path is not to be relied on.
func (c *Conn) need(now clock.Time) {
	if c.needy || !c.b.strict() {
		return
	}
	c.needy = true
	c.joinAll(now)
}

// numbered is an address of this end and its number in a connection.
type numbered struct {
	path PathID
	addr netip.Addr
	id   uint8
}

// namesMax bounds the numbers that are drawn.
const namesMax = 64

// addressID returns the number of a local address in this connection: 0 for the one that the first subflow uses, else
// one that nobody can guess and that tells nothing of how many there are (P7).
func (c *Conn) addressID(p *bondPath, addr netip.Addr) uint8 {
	if addr == c.home {
		return 0
	}
	s := &c.signal
	for _, n := range s.names {
		if n.path == p.id && n.addr == addr {
			return n.id
		}
	}
	if len(s.names) == namesMax {
		s.names = s.names[1:] // the address came and went long ago
	}
	n := numbered{p.id, addr, s.drawID(c.b)}
	s.names = append(s.names, n)
	return n.id
}

// drawID returns a number that is in use for no address.
func (s *signalState) drawID(b *Bond) uint8 {
	var id [1]byte
	b.random(id[:])
	for id[0] == 0 || slices.ContainsFunc(s.names, func(n numbered) bool { return n.id == id[0] }) {
		id[0]++
	}
	return id[0]
}

// named reports whether the peer may know an address of the path, by its number.
func (c *Conn) named(p *bondPath) bool {
	return slices.ContainsFunc(c.signal.names, func(n numbered) bool { return n.path == p.id })
}

// unname forgets the numbers of a path's addresses and returns them, with that of the first subflow if it was there.
func (c *Conn) unname(p *bondPath) (ids []uint8) {
	if c.home.IsValid() && (c.home == p.cfg.Local4 || c.home == p.cfg.Local6) {
		ids = append(ids, 0)
	}
	kept := c.signal.names[:0]
	for _, n := range c.signal.names {
		if n.path == p.id {
			ids = append(ids, n.id)
		} else {
			kept = append(kept, n)
		}
	}
	c.signal.names = kept
	return ids
}
