package mptcp

import (
	"net/netip"
	"slices"

	"tandem/engine/clock"
	"tandem/engine/datagram"
	"tandem/engine/tcp"
)

// Dial asks for a connection. Octets written before the next Transmit may ride in the SYN when
// Paired, or where the target has given a cookie for that (see Config.FastOpen). The connection takes octets at once and brings some when Established.
func (b *Bond) Dial(now clock.Time, target netip.AddrPort, opt DialOptions) (*Conn, error) {
	if b.conns >= b.most() {
		b.counters.LimitConnections++
		return nil, ErrLimit
	}
	est, paths := b.choose(now, target.Addr(), opt)
	if len(paths) == 0 {
		return nil, ErrNoPath
	}
	port := opt.Source
	if port == 0 {
		port = b.freePort(target)
	} else if !b.portFree(target, port, false) {
		port = 0
	}
	if port == 0 {
		b.counters.LimitPorts++
		return nil, ErrLimit
	}
	source := netip.AddrPortFrom(paths[0].local(target.Addr()), port)
	c := b.newConn(source, target, true)
	c.est, c.askedAt = est, now
	c.est.early, c.est.whole = opt.Early && !b.cfg.Paired, opt.EarlyOnly
	c.only, c.id.plainOnly = slices.Clone(b.confined(&opt)), opt.Plain
	c.beginWindow()
	c.trace.put(event{at: now, kind: evEstablish, arg: uint64(len(paths)), text: est.mode.String()})
	for _, p := range paths {
		if b.cfg.Paired || !c.hasty() { // a stranger would take octets that win no race for another connection's
			c.ask(now, p)
		}
	}
	if c.est.asked > 1 {
		b.counters.Races++
	}
	if b.asked != nil {
		b.asked[c.offerID()] = c
	}
	b.touch(now, c)
	return c, nil
}

// most is how many connections there may be: no more than a Paired peer says that it takes.
func (b *Bond) most() int {
	most := b.cfg.Limits.Connections
	if b.lane != nil {
		if n, _ := b.lane.control.Negotiated(); n.Limits.Connections > 0 {
			most = min(most, int(n.Limits.Connections))
		}
	}
	return most
}

const (
	portFirst = 32768 // of the ports given to connections unless Config says which: what Linux uses
	portLast  = 60999
)

// randomPort returns one of the ports, each as likely as the others.
func (b *Bond) randomPort() uint16 {
	return b.cfg.FirstPort + uint16(b.random32()%(uint32(b.cfg.LastPort-b.cfg.FirstPort)+1))
}

// freePort returns a source port that is free on all paths; if there is none, one of connections that are over. Towards a
// Paired peer it is one that was not used for as long as possible; strangers cannot guess it (RFC 6056 3.3.1).
func (b *Bond) freePort(target netip.AddrPort) uint16 {
	if !b.cfg.Paired {
		b.lastPort = b.randomPort()
	}
	for _, over := range []bool{false, !b.cfg.Paired} {
		for range int(b.cfg.LastPort-b.cfg.FirstPort) + 1 {
			b.lastPort++
			if b.lastPort < b.cfg.FirstPort || b.lastPort > b.cfg.LastPort {
				b.lastPort = b.cfg.FirstPort
			}
			if b.portFree(target, b.lastPort, over) {
				return b.lastPort
			}
		}
	}
	return 0
}

// portFree reports whether no connection to target uses the port, over any path: a Paired peer knows
// connections by port and target alone. With over, what is left of connections that are over does not count.
func (b *Bond) portFree(target netip.AddrPort, port uint16, over bool) bool {
	if b.asked[datagram.OfferID{Source: port, Target: target}] != nil {
		return false
	}
	for _, p := range b.paths {
		addr := p.local(target.Addr())
		f := b.flows[keyOf(netip.AddrPortFrom(addr, port), target)]
		if f != nil && addr.IsValid() && !(over && f.leftOver()) {
			return false
		}
	}
	return true
}

// leftOver reports whether nothing is left of a connection with a foreign peer but what keeps old segments from a new one.
func (f *subflow) leftOver() bool {
	return !f.c.b.cfg.Paired && f.c.phase == over && f.tcp.State() == tcp.TimeWait
}

// taken reports whether a new subflow cannot be between these.
func (b *Bond) taken(local, remote netip.AddrPort) bool {
	f := b.flows[keyOf(local, remote)]
	return f != nil && !f.leftOver()
}

// succeed puts a new subflow in the place of one that was left over. It begins behind all that the old one sent, so that a peer
// that keeps the old one too takes it for new, and no old segment for one of it (RFC 6191 2, RFC 9293 3.6.1).
func (b *Bond) succeed(now clock.Time, t *tcp.Config) {
	if old := b.flows[keyOf(t.Local, t.Remote)]; old != nil {
		t.ISS = old.tcp.Next().Add(1 + int(t.ISS>>2))
		b.retire(now, old)
	}
}

// ask sends the offer over p, if it is not too late for it, and reports whether it did.
func (c *Conn) ask(now clock.Time, p *bondPath) bool {
	port := c.source.Port()
	if c.b.strict() && len(c.subflows) > 0 {
		port = c.b.freePort(c.target)
	}
	local := netip.AddrPortFrom(p.local(c.target.Addr()), port)
	late := c.b.cfg.Paired && now > c.askedAt.Add(askFor)
	if port == 0 || c.b.taken(local, c.target) || late {
		return false
	}
	c.late.lingerAt = clock.Never
	f := c.newSubflow(p, local, c.target)
	f.active = true
	cfg := f.config(local, c.target)
	switch {
	case c.b.cfg.Paired:
		cfg.SynRetries = askRetries
	case c.selects() && len(c.unasked(now)) > 1: // with p
		cfg.SynRetries = selectRetries
	}
	f.askFast(now, &cfg)
	c.b.succeed(now, &cfg)
	f.tcp = tcp.Open(now, cfg, f)
	c.add(f)
	c.est.asked++
	if c.est.more > 0 || c.est.mode == IPS {
		c.switchAt = now.Add(c.synPatience(now, f))
	}
	return true
}

// switchPath sends an offer of which nothing was heard over further paths. A Paired peer knows it as the
// same offer (D2); of others the first answer counts, whenever it comes. Where one path is selected at a time the next
// connections learn that this one is silent.
func (c *Conn) switchPath(now clock.Time) {
	if c.switchAt > now {
		return
	}
	c.switchAt = clock.Never
	if c.phase != opening || c.held {
		return
	}
	network := c.b.place(c.target.Addr())
	for _, f := range c.subflows {
		if f.syns > 0 && f.tcp.State() == tcp.SynSent {
			c.b.lessons.unanswered(now, network, f.path.id)
		}
	}
	if c.selects() {
		return
	}
	// Beyond what a race may cost it is one more at a time.
	for n := max(min(int(c.est.more), racersMax-int(c.est.asked)), 1); n > 0 && c.askOther(now); n-- {
		c.b.counters.Switches++
	}
}

// askOther sends the offer over the best path that has not carried it, and reports whether there was one.
func (c *Conn) askOther(now clock.Time) bool {
	return slices.ContainsFunc(c.unasked(now), func(p *bondPath) bool { return c.ask(now, p) })
}

// unasked returns the paths that do not carry the offer, the best first: where one is selected, and towards foreign peers,
// those that failed not, or were refused.
func (c *Conn) unasked(now clock.Time) []*bondPath {
	all, _ := c.b.ranked(now, c.target.Addr(), c.only, &c.est)
	return slices.DeleteFunc(all, func(p *bondPath) bool {
		return c.asks(p) || (c.selects() || !c.b.cfg.Paired) && slices.Contains(c.est.spent, p.id)
	})
}

func (c *Conn) asks(p *bondPath) bool {
	for _, f := range c.subflows {
		if f.path == p {
			return true
		}
	}
	return false
}

// askOn goes on asking when a path has gone over which the peer got the offer.
func (c *Conn) askOn(now clock.Time) {
	if c.phase != opening || !c.client {
		return
	}
	c.held, c.movedAt = false, now
	for _, f := range c.subflows {
		f.tcp.Resume(now)
	}
	if c.b.cfg.Paired {
		c.switchAt = now
	}
}

// strayed asks on if the peer holds the offer and every path over which it could answer is dead.
func (c *Conn) strayed(now clock.Time) {
	if !c.held || slices.ContainsFunc(c.subflows, func(f *subflow) bool { return !f.path.dead() }) {
		return
	}
	c.askOn(now)
	c.b.touch(now, c)
}

// askAgain repeats the offer of a connection whose third ACK the peer never got: every subflow was
// lost before. It is the same offer still (D2), and nothing after it has been delivered.
func (c *Conn) askAgain(now clock.Time) {
	c.phase, c.held, c.movedAt, c.est.spent = opening, false, clock.Never, nil
	c.id.initial, c.id.doubtful, c.id.confirmed = nil, false, false
	c.snd.next = c.snd.una
	c.fin.went, c.fin.wanted = false, false
	c.late.init()
	c.signal.attempts = nil
	if !c.askOther(now) {
		c.late.lingerAt = now.Add(c.b.cfg.Linger)
	}
}
