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
	if b.conns >= b.cfg.Limits.Connections {
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
	}
	if port == 0 || !b.portFree(target, port) {
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
		c.ask(now, p)
	}
	if len(paths) > 1 {
		b.counters.Races++
	}
	if b.asked != nil {
		b.asked[c.offerID()] = c
	}
	b.touch(now, c)
	return c, nil
}

const (
	portFirst = 32768 // of the ports given to connections unless Config says which: what Linux uses
	portLast  = 60999
)

// randomPort returns one of the ports, each as likely as the others.
func (b *Bond) randomPort() uint16 {
	return b.cfg.FirstPort + uint16(b.random32()%(uint32(b.cfg.LastPort-b.cfg.FirstPort)+1))
}

// freePort returns a source port that is free on all paths. Towards a Paired peer it is one that was not used
// for as long as possible; strangers cannot guess it (RFC 6056 3.3.1).
func (b *Bond) freePort(target netip.AddrPort) uint16 {
	if !b.cfg.Paired {
		b.lastPort = b.randomPort()
	}
	for range int(b.cfg.LastPort-b.cfg.FirstPort) + 1 {
		b.lastPort++
		if b.lastPort < b.cfg.FirstPort || b.lastPort > b.cfg.LastPort {
			b.lastPort = b.cfg.FirstPort
		}
		if b.portFree(target, b.lastPort) {
			return b.lastPort
		}
	}
	return 0
}

// portFree reports whether no connection to target uses the port, over any path: a Paired peer knows
// connections by port and target alone.
func (b *Bond) portFree(target netip.AddrPort, port uint16) bool {
	if b.asked[datagram.OfferID{Source: port, Target: target}] != nil {
		return false
	}
	for _, p := range b.paths {
		addr := p.local(target.Addr())
		if _, taken := b.flows[keyOf(netip.AddrPortFrom(addr, port), target)]; taken && addr.IsValid() {
			return false
		}
	}
	return true
}

// ask sends the offer over p, if it is not too late for it, and reports whether it did.
func (c *Conn) ask(now clock.Time, p *bondPath) bool {
	port := c.source.Port()
	if c.b.strict() && len(c.subflows) > 0 {
		port = c.b.freePort(c.target)
	}
	local := netip.AddrPortFrom(p.local(c.target.Addr()), port)
	if _, taken := c.b.flows[keyOf(local, c.target)]; taken || now > c.askedAt.Add(askFor) {
		return false
	}
	c.late.lingerAt = clock.Never
	f := c.newSubflow(p, local, c.target)
	f.active = true
	cfg := f.config(local, c.target)
	if c.b.cfg.Paired {
		cfg.SynRetries = askRetries
	}
	f.askFast(now, &cfg)
	f.tcp = tcp.Open(now, cfg, f)
	c.add(f)
	c.est.asked++
	if c.est.more > 0 {
		c.switchAt = now.Add(c.synPatience(now, f))
	}
	return true
}

// switchPath sends an offer of which nothing was heard over further paths. A Paired peer knows it as the
// same offer (D2); of others the first answer counts, whenever it comes.
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
	for n := max(c.est.more, 1); n > 0 && c.askOther(now); n-- {
		c.b.counters.Switches++
	}
}

// askOther sends the offer over the best path that has not carried it, and reports whether there was one.
func (c *Conn) askOther(now clock.Time) bool {
	all, _ := c.b.ranked(now, c.target.Addr(), c.only, &c.est)
	for _, p := range all {
		if !c.asks(p) && c.ask(now, p) {
			return true
		}
	}
	return false
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
	c.held, c.moved = false, true
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
	c.phase, c.held = opening, false
	c.id.initial, c.id.doubtful, c.id.confirmed = nil, false, false
	c.snd.next = c.snd.una
	c.fin.went, c.fin.wanted = false, false
	c.late.init()
	c.signal.attempts = nil
	if !c.askOther(now) {
		c.late.lingerAt = now.Add(c.b.cfg.Linger)
	}
}
