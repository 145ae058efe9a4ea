package mptcp

import (
	"net/netip"
	"slices"

	"tandem/engine/clock"
	"tandem/engine/tcp"
)

// Dial asks for a connection. Octets written before the next Transmit may ride in the SYN when
// Paired. The connection takes octets at once and brings some when Established.
func (b *Bond) Dial(now clock.Time, target netip.AddrPort, opt DialOptions) (*Conn, error) {
	if b.conns >= b.cfg.Limits.Connections {
		b.counters.LimitConnections++
		return nil, ErrLimit
	}
	paths := b.pathsFor(target.Addr(), opt.Paths)
	if len(paths) == 0 {
		return nil, ErrNoPath
	}
	port := opt.Source
	if port == 0 {
		port = b.freePort(paths, target)
	}
	if port == 0 {
		return nil, ErrLimit
	}
	source := netip.AddrPortFrom(paths[0].local(target.Addr()), port)
	c := b.newConn(source, target, true)
	for _, p := range paths {
		local := netip.AddrPortFrom(p.local(target.Addr()), port)
		f := c.newSubflow(p, local, target)
		f.active = true
		f.tcp = tcp.Open(now, f.config(local, target), f)
		c.add(f)
	}
	if b.asked != nil {
		b.asked[c.offerID()] = c
	}
	b.touch(now, c)
	return c, nil
}

// pathsFor returns the paths to try first: those asked for, else the one that was heard from last
// of the best class, or with equal claims the one with the shortest round trip.
func (b *Bond) pathsFor(target netip.Addr, ids []PathID) []*bondPath {
	var found []*bondPath
	for _, p := range b.paths {
		if p.reaches(target) && (ids == nil || slices.Contains(ids, p.id)) {
			found = append(found, p)
		}
	}
	if ids != nil || len(found) == 0 {
		return found
	}
	best := found[0]
	for _, p := range found[1:] {
		if p.before(best) {
			best = p
		}
	}
	return []*bondPath{best}
}

// before reports whether p is to be preferred to q for a new connection.
func (p *bondPath) before(q *bondPath) bool {
	if p.cfg.Backup != q.cfg.Backup {
		return q.cfg.Backup
	}
	if p.state == nil {
		return false
	}
	rtt, _, _ := p.state.RTT()
	other, _, _ := q.state.RTT()
	return rtt > 0 && (other == 0 || rtt < other)
}

const (
	portFirst = 32768 // of the ports given to connections: what Linux uses
	portLast  = 60999
)

// freePort returns a source port that is free on all paths, and was not used for as long as possible.
func (b *Bond) freePort(paths []*bondPath, target netip.AddrPort) uint16 {
	for range portLast - portFirst + 1 {
		b.lastPort++
		if b.lastPort < portFirst || b.lastPort > portLast {
			b.lastPort = portFirst
		}
		if b.portFree(paths, target, b.lastPort) {
			return b.lastPort
		}
	}
	return 0
}

func (b *Bond) portFree(paths []*bondPath, target netip.AddrPort, port uint16) bool {
	for _, p := range paths {
		local := netip.AddrPortFrom(p.local(target.Addr()), port)
		if _, taken := b.flows[keyOf(local, target)]; taken {
			return false
		}
	}
	return true
}
