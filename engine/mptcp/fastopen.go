package mptcp

import (
	"net/netip"
	"time"

	"tandem/engine/clock"
	"tandem/engine/tcp"
	"tandem/engine/wire"
)

// fastOpen is what a bond keeps for TCP Fast Open with foreign peers (RFC 7413; RFC 8684 Appendix B). Octets of a SYN
// are before the data sequence space: no mapping fits beside them, so nothing but TCP vouches for them.
//
//	first:  SYN, empty cookie ─────► SYN/ACK, cookie
//	later:  SYN, cookie, octets ───► SYN/ACK for all of them ──► the rest, from DSN 1 and SSN 1 on
//	                              or for some of them ──► the others, from DSN 1 and SSN 1 on
//	                              or for the SYN alone ──► all of them, from DSN 1 and SSN 1 on
type fastOpen struct {
	services map[service]*acquaintance
	keys     cookieKeys
	pending  int          // flows whose SYN brought octets, and no third ACK came
	cooling  []clock.Time // until when those still count that were reset meanwhile, oldest first
}

// A service is what a client learns of: a cookie is for the address it was given to, and what befalls SYNs with data
// may be one port's fate only (RFC 7413 4.1.3.1).
type service struct {
	local  netip.Addr
	remote netip.AddrPort
}

// An acquaintance is what is known of a service.
type acquaintance struct {
	cookie wire.FastOpen // Len 0: none
	mss    int           // that came with it, options counted
	until  clock.Time    // the cookie is of use
	shy    clock.Time    // until when neither cookie nor request is sent
	wait   time.Duration // how long that was last
	at     clock.Time
}

const (
	cookieLasts     = 24 * time.Hour // at the client, unless the server takes it no more
	servicesMax     = 1024
	shyLeast        = time.Minute
	shyMost         = time.Hour
	pendingCoolsFor = time.Minute // RFC 7413 5.1
)

func (o *fastOpen) init() { o.services = make(map[service]*acquaintance) }

// fastOpens reports whether the bond does this at all.
func (b *Bond) fastOpens() bool { return b.cfg.FastOpen && !b.cfg.Paired }

// service is whom the flow asks.
func (f *subflow) service() service {
	cfg := f.tcp.Config()
	return service{cfg.Local.Addr(), cfg.Remote}
}

// at returns what is known of a service, to be added to.
func (o *fastOpen) at(now clock.Time, b *Bond, who service) *acquaintance {
	x := o.services[who]
	if x == nil {
		if len(o.services) >= servicesMax {
			evict(o.services, func(x *acquaintance) clock.Time { return x.at })
			b.counters.LimitCookies++
		}
		x = &acquaintance{}
		o.services[who] = x
	}
	x.at = now
	return x
}

func (s service) less(t service) bool {
	if c := s.local.Compare(t.local); c != 0 {
		return c < 0
	}
	return s.remote.Compare(t.remote) < 0
}

// shun has the service be spared for a while, longer each time (RFC 7413 4.1.3.1).
func (x *acquaintance) shun(now clock.Time) {
	x.wait = min(max(2*x.wait, shyLeast), shyMost)
	x.shy = now.Add(x.wait)
}

// askFast adds to a SYN what Fast Open wants of it: the cookie, if there is one and no other SYN of the connection is on its
// way, for the peer must not hear octets over two paths at a time; or the request for one.
func (f *subflow) askFast(now clock.Time, t *tcp.Config) {
	c := f.c
	x := c.b.fast.services[service{t.Local.Addr(), t.Remote}]
	switch {
	case c.est.early:
		if t.Stranger = true; len(c.subflows) == 0 {
			t.Early = true
			makeRoom(t, 4)
		}
	case !c.b.fastOpens() || x != nil && now < x.shy:
	case x == nil || x.cookie.Len == 0 || now >= x.until:
		t.AskCookie = true
	case len(c.subflows) == 0:
		t.Early, t.Cookie = true, x.cookie
		makeRoom(t, 4)
	}
}

// hasty reports whether a SYN of the connection may carry octets.
func (c *Conn) hasty() bool {
	for _, f := range c.subflows {
		if f.tcp.Config().Early {
			return true
		}
	}
	return false
}

// makeRoom does without timestamps if the cookie does not fit beside them and MP_CAPABLE.
func makeRoom(t *tcp.Config, capable uint8) {
	o := wire.Options{
		Has:    wire.HasMSS | wire.HasWindowScale | wire.HasSACKPermitted | wire.HasTimestamps | wire.HasFastOpen | wire.HasCapable,
		Cookie: t.Cookie, Capable: wire.Capable{Length: capable},
	}
	t.Timestamps = t.Timestamps && o.Len() <= wire.MaxOptions
}

// fitsSYN returns how many octets the first SYN may carry: what a foreign server takes in a segment is known from
// before (RFC 7413 4.1.3).
func (f *subflow) fitsSYN() int {
	options := f.c.synOptionsLen()
	if f.c.b.cfg.Paired {
		return f.tcp.Fits(options)
	}
	if f.c.est.early {
		return max(0, min(f.tcp.Fits(options), leastMSS-wire.MaxOptions))
	}
	x := f.c.b.fast.services[f.service()]
	if x == nil {
		return 0
	}
	cookie := f.tcp.Config().Cookie
	return max(0, min(f.tcp.Fits(options+cookie.Length()), x.mss-wire.MaxOptions))
}

// learnFast is the SYN/ACK to a SYN, with what it tells of Fast Open; the octets that rode in it are still counted.
func (f *subflow) learnFast(now clock.Time, seg *wire.Segment) {
	b, cfg := f.c.b, f.tcp.Config()
	if f.c.est.early {
		f.learnEarly(now, seg)
		return
	}
	if !cfg.AskCookie && f.early == 0 || b.cfg.Paired {
		return
	}
	x := b.fast.at(now, b, f.service())
	o := &seg.Options
	given := o.Has&wire.HasFastOpen != 0 && o.Cookie.Len > 0
	taken := min(seg.Ack.Sub(cfg.ISS)-1, f.early)
	if given {
		x.cookie, x.until = o.Cookie, now.Add(cookieLasts)
		x.mss = leastMSS
		if o.Has&wire.HasMSS != 0 {
			x.mss = int(o.MSS)
		}
	}
	switch {
	case taken > 0:
		b.counters.FastOpens++
		f.c.trace.add(now, evFastOpen, f.path.id, uint64(taken))
		x.wait = 0
	case given && (f.early == 0 || f.syns == 1):
		// A cookie that was asked for, or the old one was out of date.
	default:
		// The server has none to give, or what was lost was the SYN that had something to do with it.
		if !given {
			x.cookie = wire.FastOpen{}
		}
		x.shun(now)
	}
	if f.early > 0 && taken == 0 {
		b.counters.FastOpensRefused++
	}
}

// learnEarly is the SYN/ACK to a SYN with octets that need no cookie. That to a repeat, which has none, does not tell.
func (f *subflow) learnEarly(now clock.Time, seg *wire.Segment) {
	c := f.c
	if f.early == 0 || f.syns > 1 || c.id.initial != nil {
		return
	}
	taken := seg.Ack.Sub(f.tcp.Config().ISS) - 1
	if c.est.stripped = taken < f.early; c.est.stripped {
		c.b.counters.FastOpensRefused++
	} else {
		c.b.counters.FastOpens++
	}
	c.trace.add(now, evFastOpen, f.path.id, uint64(max(taken, 0)))
}

// leastMSS is what every host takes in a segment (RFC 9293 3.7.1).
const leastMSS = 536

// missFast notes that nobody answered a SYN with octets, in spite of those without that followed.
func (f *subflow) missFast(now clock.Time) {
	if b := f.c.b; f.early > 0 && b.fastOpens() && !f.c.est.early && (f.tcp.Err() == tcp.ErrTimeout || f.peerReset) {
		x := b.fast.at(now, b, f.service())
		x.cookie = wire.FastOpen{}
		x.shun(now)
		b.counters.FastOpensRefused++
	}
}

// offerFast is a SYN at the end that may answer: octets with a valid cookie are taken at once, within a limit; who asks
// for a cookie gets one with the SYN/ACK, and so does who has one of yesterday.
func (f *subflow) offerFast(now clock.Time, seg *wire.Segment, t *tcp.Config) {
	c := f.c
	b, o := c.b, &seg.Options
	if !b.fastOpens() || o.Has&wire.HasFastOpen == 0 {
		return
	}
	from := seg.Source.Addr()
	b.fast.keys.turn(now, b)
	age := b.fast.keys.age(from, o.Cookie)
	if age != 0 {
		t.Cookie = b.fast.keys.cookie(from, 0)
	}
	switch {
	case o.Cookie.Len == 0:
	case age < 0:
		b.counters.BadCookies++
	case b.fast.full(now, b.cfg.Limits.FastOpens):
		b.counters.LimitFastOpens++
	default:
		t.Early = true
	}
	if t.Cookie.Len > 0 && c.id.mptcp {
		makeRoom(t, 12)
	} else if t.Cookie.Len > 0 {
		makeRoom(t, 0)
	}
}

// full reports whether as many flows as may be are pending.
func (o *fastOpen) full(now clock.Time, most int) bool {
	n := 0
	for n < len(o.cooling) && o.cooling[n] <= now {
		n++
	}
	o.cooling = o.cooling[n:]
	return o.pending+len(o.cooling) >= most
}

// took notes that octets of a SYN were taken: the flow is pending until its third ACK.
func (f *subflow) took(now clock.Time, syn *wire.Segment) {
	f.synLen = len(syn.Payload)
	if n := f.tcp.Early(); n > 0 && !f.c.b.cfg.Paired {
		f.hasty = true
		f.c.snd.edge = uint64(f.tcp.PeerWindow(syn))
		f.c.b.fast.pending++
		f.c.b.counters.FastOpens++
		f.c.trace.add(now, evFastOpen, f.path.id, uint64(n))
	}
}

// repeatsSYN notes that octets come before any that have a mapping, and have none: the peer's SYN brought them, or would
// have if it had not been lost, or nothing had taken them out on the way. RFC 8684 B has a dialling end map what of its
// SYN was not taken when that goes again. Linux does not: there it is before the data sequence space all the same, and
// what has a mapping begins right behind it.
func (f *subflow) repeatsSYN(seg *wire.Segment) {
	at, n := f.offset(seg), len(seg.Payload)
	// What begins further on has its mapping in a segment that it overtook.
	if n == 0 || at < 0 || at > f.synLen || at+n > repeatedMax || f.begun || f.join || f.c.client || !f.c.b.fastOpens() {
		return
	}
	f.synLen, f.repeated = max(f.synLen, at+n), true
}

// repeatedMax is more than any segment holds.
const repeatedMax = 1 << 16

// offset is where a segment begins, in octets behind the peer's SYN.
func (f *subflow) offset(seg *wire.Segment) int { return seg.Seq.Sub(f.tcp.IRS().Add(1)) }

// skipSYN is what the first mapping tells of the octets before it, by where it came: for n octets with the number ssn.
func (f *subflow) skipSYN(now clock.Time, seg *wire.Segment, ssn uint32, n int) {
	if f.begun || f.join || f.c.client || f.c.b.cfg.Paired || n == 0 {
		return
	}
	early, at := int(f.c.id.earlyIn), f.offset(seg)
	mapped := early + int(int32(ssn-1)) // unless the mapping begins behind more of the SYN
	if at > max(mapped, f.synLen) && at+len(seg.Payload) > mapped+n {
		f.synLen, f.repeated = early+at-mapped, true // else it would be none of its own segment
	}
	if f.repeated || mapped == early && at == f.synLen {
		f.takeSYN(now)
	}
	f.begun = true
}

// takeSYN puts the octets of the SYN before the data sequence space that were not taken with it. That is too late when
// another subflow brought what is behind them: where it stands, and may have been read, they belong.
func (f *subflow) takeSYN(now clock.Time) {
	early := &f.c.id.earlyIn
	switch left := f.synLen - int(*early); {
	case left <= 0:
	case f.c.in.readable.Load() > *early || len(f.c.in.late) > 0:
		f.c.abort(now, ErrStripped)
	default:
		f.learn(now, mapping{off: *early, pos: *early, n: left})
		*early += uint64(left)
	}
}

// settle ends that. A flow that was reset counts on for a while: whoever sends SYNs in another's name has that one
// reset them, and would never be bounded otherwise (RFC 7413 5.1).
func (f *subflow) settle(now clock.Time) {
	if !f.hasty {
		return
	}
	f.hasty = false
	o := &f.c.b.fast
	o.pending--
	if f.peerReset {
		o.cooling = append(o.cooling, now.Add(pendingCoolsFor))
	}
}

// reply gives octets to a flow whose SYN brought some, before its third ACK (RFC 7413 4.2.2), unless the peer speaks
// MPTCP: without its key, which comes with that ACK, there is no DATA_ACK, and Linux takes who sends none for a
// speaker of TCP.
func (c *Conn) reply(now clock.Time) bool {
	s := &c.snd
	if c.id.mptcp {
		return false
	}
	for _, f := range c.subflows {
		n := min(s.end, s.edge) - min(s.next, s.end, s.edge)
		if n == 0 || !f.hasty || f.tcp.State() != tcp.SynReceived || f.tcp.Room(now) <= 0 {
			continue
		}
		n = uint64(f.give(now, s.next, int(n)))
		s.next += n
		return n > 0
	}
	return false
}
