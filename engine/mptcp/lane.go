package mptcp

import (
	"encoding/binary"
	"net/netip"
	"time"

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

// pingEvery is how often a silent path that has octets outstanding is asked for a sign of life.
const (
	pingEvery    = 100 * time.Millisecond
	pingEveryMax = 5 * time.Second
)

func (b *Bond) newLane() *lane {
	var epoch [8]byte
	b.random(epoch[:])
	l := b.cfg.Limits
	return &lane{control: datagram.NewControl(datagram.ControlConfig{
		Epoch: binary.BigEndian.Uint64(epoch[:]) | 1,
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
	l.tellPath(now, p)
}

func (l *lane) detach(now clock.Time, p *bondPath) {
	if l != nil {
		l.control.Detach(now, datagram.PathID(p.id))
	}
}

// tellPath tells the peer what p is to be used for.
func (l *lane) tellPath(now clock.Time, p *bondPath) {
	s := datagram.PathState{ID: datagram.PathID(p.id)}
	if p.cfg.Backup {
		s.Role = datagram.Backup
	}
	l.control.SetPath(now, s)
}

// receive takes a packet that is none of TCP, and reports whether it was for the lane.
func (l *lane) receive(now clock.Time, p *bondPath, pkt []byte) bool {
	if l == nil || l.pkt.Parse(pkt) != nil || l.pkt.Target.Port() != datagram.Port {
		return false
	}
	return l.control.Receive(now, datagram.PathID(p.id), l.pkt.Payload) == nil
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
			if e.Changed {
				b.forgotten(now)
			}
		case datagram.PeerPath:
			if q := b.path(PathID(e.State.ID)); q != nil {
				q.peerBackup = e.State.Role == datagram.Backup
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
		case datagram.PathRTT:
			if p != nil {
				p.state.RTTSample(now, e.RTT)
				b.alive(now, p)
			}
		case datagram.PathAlive:
			if p != nil {
				b.alive(now, p)
			}
		}
	}
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

// held notes that the peer has an offer of ours and will answer it: its SYN needs no repeating, and
// the time until the answer says nothing about the path.
func (b *Bond) held(now clock.Time, p *bondPath, e datagram.Event) {
	c := b.asked[e.Offer]
	if c == nil || c.phase != opening || c.moved {
		return
	}
	for _, f := range c.subflows {
		if f.path == p && f.syns == 1 && f.tcp.State() == tcp.SynSent {
			p.state.RTTSample(now, max(now.Sub(f.synAt)-e.Age, 0))
		}
		f.synArrived()
		f.tcp.Hold()
	}
	c.held = true
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
	c.finish(now, ErrRefused)
	c.sweep(now)
}

// suspected begins to probe a path that is silent with octets outstanding.
func (b *Bond) suspected(now clock.Time, p *bondPath) {
	if b.lane != nil && p.pingAt == clock.Never {
		p.pingAt, p.pings = now, 0
	}
}

// probe asks silent paths for a sign of life.
func (b *Bond) probe(now clock.Time) {
	for _, p := range b.paths {
		if p.pingAt > now || p.pingAt == clock.Never {
			continue
		}
		if b.lane == nil || !b.lane.control.Ping(now, datagram.PathID(p.id), 0) {
			p.pingAt = clock.Never
			continue
		}
		p.pings++
		p.pingAt = now.Add(min(pingEvery<<min(max(0, p.pings-20), 6), pingEveryMax))
	}
}

// alive puts a path into use again that was silent.
func (b *Bond) alive(now clock.Time, p *bondPath) {
	p.state.Heard(now)
	if p.pingAt == clock.Never {
		return
	}
	p.pingAt = clock.Never
	b.eachConn(func(c *Conn) {
		for _, f := range c.subflows {
			if f.path == p && f.suspect {
				f.back(now)
				b.touch(now, c)
			}
		}
	})
}

// Bye tells the peer of a Paired bond that this end stops. Connections should have been ended before.
func (b *Bond) Bye(now clock.Time) {
	if b.lane != nil {
		b.lane.control.Bye(now, datagram.Shutdown)
	}
}
