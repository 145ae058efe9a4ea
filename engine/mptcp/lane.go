package mptcp

import (
	"encoding/binary"
	"net/netip"

	"tandem/engine/clock"
	"tandem/engine/datagram"
	"tandem/engine/tcp"
	"tandem/engine/wire"
)

// lane is the control lane of a Paired bond: what the two ends tell each other beside the
// connections (D9). It runs over the paths whose Peer addresses are known.
type lane struct {
	control *datagram.Control
	pkt     wire.Datagram
	buf     [1200]byte
}

func (b *Bond) newLane() *lane {
	var epoch [8]byte
	b.random(epoch[:])
	l := b.cfg.Limits
	return &lane{control: datagram.NewControl(datagram.ControlConfig{
		Epoch:    binary.BigEndian.Uint64(epoch[:]) | 1,
		Families: both(b.cfg.Families),
		Limits: datagram.Limits{
			Connections: uint32(l.Connections), Offers: uint32(l.Offers), Buffered: uint64(l.Buffered),
		},
		Offers: l.Offers,
	})}
}

// peer returns the addresses between which the lane runs over p.
func (p *bondPath) peer() (local, remote netip.Addr, ok bool) {
	switch c := &p.cfg; {
	case c.Local4.IsValid() && c.Peer4.IsValid():
		return c.Local4, c.Peer4, true
	case c.Local6.IsValid() && c.Peer6.IsValid():
		return c.Local6, c.Peer6, true
	}
	return netip.Addr{}, netip.Addr{}, false
}

// attach lets the lane use p.
func (l *lane) attach(now clock.Time, p *bondPath) {
	if _, _, ok := p.peer(); l == nil || !ok {
		return
	}
	l.control.Attach(now, datagram.PathID(p.id))
	l.tellPath(now, p, datagram.Up)
}

func (l *lane) detach(now clock.Time, p *bondPath) {
	if _, _, ok := p.peer(); l == nil || !ok {
		return
	}
	l.control.Detach(now, datagram.PathID(p.id))
	l.tellPath(now, p, datagram.Off)
}

// tellPath tells the peer whether p is used, and what for.
func (l *lane) tellPath(now clock.Time, p *bondPath, state datagram.State) {
	p.told = state
	l.control.SetPath(now, datagram.PathState{
		ID: datagram.PathID(p.id), State: state, Role: p.wish(),
		LimitUp: uint64(p.cfg.LimitUp), LimitDown: uint64(p.cfg.LimitDown), Price: uint32(p.cfg.Price),
	})
}

// retell tells the peer what has changed about p: not that it is used, if it is not.
func (b *Bond) retell(now clock.Time, p *bondPath) {
	if b.lane != nil {
		b.lane.tellPath(now, p, p.told)
	}
}

// hears reports whether a packet that came over p is one of the lane.
func (p *bondPath) hears(v *wire.Packet) bool {
	local, remote, ok := p.peer()
	return ok && v.Protocol == wire.UDP && v.To == datagram.Port && v.From == datagram.Port && v.Source == remote && v.Target == local
}

// receive takes a packet of the lane, and reports whether it made sense.
func (l *lane) receive(now clock.Time, p *bondPath, pkt []byte) bool {
	return l.pkt.Parse(pkt) == nil && l.control.Receive(now, datagram.PathID(p.id), l.pkt.Payload) == nil
}

// transmit writes the lane's next packet into buf.
func (l *lane) transmit(now clock.Time, b *Bond, buf []byte) (PathID, []byte, bool) {
	if l == nil {
		return 0, nil, false
	}
	for {
		id, msg, ok := l.control.Transmit(now, l.buf[:])
		if !ok {
			return 0, nil, false
		}
		p := b.path(PathID(id))
		if p == nil {
			continue
		}
		local, remote, _ := p.peer()
		out := wire.Datagram{
			Source:  netip.AddrPortFrom(local, datagram.Port),
			Target:  netip.AddrPortFrom(remote, datagram.Port),
			Payload: msg,
		}
		return p.id, out.Append(buf[:0]), true
	}
}

func (l *lane) deadline() clock.Time {
	if l == nil {
		return clock.Never
	}
	return l.control.Deadline()
}

// hear acts on what the lane heard.
func (b *Bond) hear(now clock.Time) {
	if b.lane == nil {
		return
	}
	for {
		e, ok := b.lane.control.Next()
		if !ok {
			return
		}
		p := b.path(PathID(e.Path))
		switch e.Kind {
		case datagram.PeerHello:
			b.greeted(now, e)
		case datagram.PeerPath:
			if q := b.path(PathID(e.State.ID)); q != nil {
				b.learnPath(now, q, e.State)
			}
		case datagram.PeerHeld:
			b.held(now, p, e)
		case datagram.PeerRefused:
			if c := b.asked[e.Offer]; c != nil {
				b.current = c
				c.refusedBecause(now, e.Reason)
			}
		case datagram.PeerBye:
			b.forgotten(now)
			b.report(Event{Kind: ByeHeard, Path: PathID(e.Path), Bye: e.Bye})
		case datagram.PathRTT:
			if p != nil {
				p.state.RTTSample(now, e.RTT)
				p.state.Ponged(now, e.RTT, e.OneWay)
				b.counted(p, e)
				b.alive(now, p)
			}
		case datagram.PathAlive:
			if p != nil {
				b.alive(now, p)
			}
		}
	}
}

// greeted learns who answers. Another process may use the ports of the one before for offers of its own.
func (b *Bond) greeted(now clock.Time, e datagram.Event) {
	if e.Changed {
		b.forgotten(now)
		b.offers.init()
		b.forgetPeer(now)
	}
	n, _ := b.lane.control.Negotiated()
	b.report(Event{Kind: HelloHeard, Path: PathID(e.Path), Changed: e.Changed, Families: both(n.Families)})
}

// SetFamilies tells the peer of a Paired bond that this end has a tested route for other families now; 0: both.
func (b *Bond) SetFamilies(now clock.Time, f Families) {
	if b.lane != nil {
		b.lane.control.SetFamilies(now, both(f))
	}
}

// both are the families of one who does not say.
func both(f Families) Families {
	if f == 0 {
		return IPv4 | IPv6
	}
	return f
}

// forgotten ends every connection: the peer stopped, or another process answers in its place, and
// knows none of them.
func (b *Bond) forgotten(now clock.Time) {
	b.eachConn(func(c *Conn) {
		for _, f := range c.subflows {
			f.tcp.Drop(now)
		}
		c.finish(now, ErrReset)
		c.sweep(now)
	})
}

// forgetPeer forgets what the peer said about paths.
func (b *Bond) forgetPeer(now clock.Time) {
	for _, p := range b.paths {
		p.peerRole, p.peerOff, p.peerPrice = Primary, false, 0
		p.pathLimits = pathLimits{}
		b.limit(now, p)
	}
}

// recall learns what the peer said about a path before it was attached here.
func (b *Bond) recall(p *bondPath) {
	if b.lane == nil {
		return
	}
	if s, ok := b.lane.control.PeerPath(datagram.PathID(p.id)); ok {
		p.peerRole, p.peerOff = s.Role, s.State != datagram.Up || s.Role == datagram.Never
		p.pathLimits, p.peerPrice = limitsOf(s), priceOf(s)
	}
}

// held notes that the peer has an offer of ours and will answer it: its SYN needs no repeating, and
// the time until the answer says nothing about the path.
func (b *Bond) held(now clock.Time, p *bondPath, e datagram.Event) {
	c := b.asked[e.Offer]
	if c == nil || c.phase != opening || p == nil || c.movedAt != clock.Never && now.Add(-e.Age-b.rtt(p)) < c.movedAt {
		return // what the peer holds may be what came over the path that has gone
	}
	first := !c.held && c.movedAt == clock.Never
	for _, f := range c.subflows {
		if first && f.path == p && f.syns == 1 && f.tcp.State() == tcp.SynSent {
			p.state.RTTSample(now, max(now.Sub(f.synAt)-e.Age, 0))
		}
		f.synArrived()
		f.tcp.Hold()
	}
	if !c.held {
		b.counters.Held++
	}
	c.held, c.movedAt = true, clock.Never
	c.trace.add(now, evHeld, PathID(e.Path), 0)
	b.touch(now, c)
}

// offerID is how the two ends of a Paired bond call an offer.
func (c *Conn) offerID() datagram.OfferID {
	return datagram.OfferID{Source: c.source.Port(), Target: c.target}
}

// refusedBecause ends a connection that the peer refused.
func (c *Conn) refusedBecause(now clock.Time, why wire.Reason) {
	if c.phase != opening {
		return
	}
	for _, f := range c.subflows {
		f.tcp.Drop(now)
	}
	c.trace.add(now, evPeerReset, 0, uint64(why))
	c.finish(now, refusal(why))
	c.sweep(now)
}

// Bye tells the peer of a Paired bond that this end stops, and why. Connections should have been ended before.
func (b *Bond) Bye(now clock.Time, why ByeReason) {
	if b.lane != nil {
		b.lane.control.Bye(now, why)
	}
}
