package mptcp

import (
	"net/netip"
	"time"

	"tandem/engine/clock"
	"tandem/engine/datagram"
	"tandem/engine/wire"
)

// A route is the path that the packets of a flow take, all of them, so that they keep their order: chosen
// when the flow begins, and anew only when the path fails or a better role works again.
type route struct {
	key          routeKey
	path         *bondPath
	used         clock.Time
	newer, older *route // by use
}

// routeKey is what the packets of a flow have in common; those of a datagram that was cut, of which only
// the first has ports, its identification.
type routeKey struct {
	source, target netip.Addr
	from, to       uint16
	protocol       uint8
	piece          bool
	id             uint32
}

// A flowTable is the routes of the flows used last.
type flowTable struct {
	routes map[routeKey]*route
	most   int
	ends   route // ring: ends.older is the one used last, ends.newer the one used first
}

const (
	// routeLife is how long a route is kept that nobody uses: a flow that begins again may choose again.
	routeLife = 60 * time.Second

	// pathRest is how long a path must have worked again before flows return to it for its role.
	pathRest = time.Second

	// rttUnknown is what a path is taken for of which nothing is known.
	rttUnknown = 200 * time.Millisecond
)

func newFlowTable(most int) flowTable { return flowTable{most: most} }

func keyOfPacket(v *wire.Packet) routeKey {
	return routeKey{source: v.Source, target: v.Target, from: v.From, to: v.To, protocol: v.Protocol}
}

func keyOfPiece(v *wire.Packet) routeKey {
	k := routeKey{source: v.Source, target: v.Target, protocol: v.Protocol, piece: true, id: v.ID}
	if v.Source.Is6() {
		k.protocol = 0 // later fragments need not tell it
	}
	return k
}

// find returns the route of a flow, used now; fresh says that it is new or begins again.
func (t *flowTable) find(now clock.Time, key routeKey) (r *route, fresh bool) {
	if t.routes == nil {
		t.routes = make(map[routeKey]*route)
		t.ends.newer, t.ends.older = &t.ends, &t.ends
	}
	r = t.routes[key]
	switch {
	case r != nil:
		fresh = now > r.used.Add(routeLife)
		r.unlink()
	case len(t.routes) >= t.most:
		r, fresh = t.ends.newer, true
		r.unlink()
		delete(t.routes, r.key)
		*r = route{key: key}
		t.routes[key] = r
	default:
		r, fresh = &route{key: key}, true
		t.routes[key] = r
	}
	r.used = now
	r.older, r.newer = t.ends.older, &t.ends
	r.older.newer, t.ends.older = r, r
	return r, fresh
}

func (r *route) unlink() { r.older.newer, r.newer.older = r.newer, r.older }

// route returns the path of a packet; nil if none that works carries its family.
func (b *Bond) route(now clock.Time, v *wire.Packet) *bondPath {
	four := v.Source.Is4()
	if !v.Fragment {
		return b.follow(now, keyOfPacket(v), four, nil)
	}
	var first *bondPath
	if v.Offset == 0 {
		first = b.follow(now, keyOfPacket(v), four, nil)
	}
	return b.follow(now, keyOfPiece(v), four, first)
}

// follow returns the path of a flow: of a new one lead, or if that is nil the best.
func (b *Bond) follow(now clock.Time, key routeKey, four bool, lead *bondPath) *bondPath {
	r, fresh := b.datagrams.flows.find(now, key)
	switch {
	case lead != nil:
		r.path = lead
	case fresh || r.path == nil || !b.carries(r.path, four) || r.path.role() > 0 && b.returns(now, r.path, four):
		r.path = b.bestFor(now, four)
	}
	return r.path
}

// carries reports whether a path that is attached works and carries packets of the family.
func (b *Bond) carries(p *bondPath, four bool) bool {
	_, _, ok := b.datagrams.alias(p, four)
	return ok && !p.gone && !p.dead()
}

// returns reports whether a path of a better role has worked for a while.
func (b *Bond) returns(now clock.Time, p *bondPath, four bool) bool {
	for _, q := range b.paths {
		if q.role() < p.role() && b.carries(q, four) && now >= q.since.Add(pathRest) {
			return true
		}
	}
	return false
}

// bestFor returns the path over which a packet sent now arrives first, of the best role that works; one
// that is silent if all are.
func (b *Bond) bestFor(now clock.Time, four bool) (best *bondPath) {
	least := time.Duration(0)
	for _, p := range b.paths {
		if _, _, ok := b.datagrams.alias(p, four); !ok || p.peerOff {
			continue
		}
		d := b.delay(now, p)
		if best == nil || p.rank() < best.rank() || p.rank() == best.rank() && d < least {
			best, least = p, d
		}
	}
	return best
}

// rank orders paths by role, and those that work before those that do not.
func (p *bondPath) rank() int {
	if p.silent {
		return int(datagram.Never) + int(p.role())
	}
	return int(p.role())
}

// delay is the round trip of a packet sent now, and what the queue in front of it takes.
func (b *Bond) delay(now clock.Time, p *bondPath) time.Duration {
	rtt := b.rtt(p)
	if rtt == 0 {
		rtt = rttUnknown
	}
	if rate := p.state.Rate(now); rate > 0 {
		rtt += time.Duration(int64(p.outOctets) * int64(time.Second) / int64(rate))
	}
	if p.state.Suspect(now) {
		rtt += suspectDelay
	}
	return rtt
}

// suspectDelay puts a path behind all others that is suspect and has not been found silent yet.
const suspectDelay = time.Minute

// reroute gives what waits for a path that fails to those that work.
func (b *Bond) reroute(now clock.Time, p *bondPath) {
	d := b.datagrams
	if d == nil {
		return
	}
	old := p.out
	p.out, p.outOctets = datagram.Queue{}, 0
	for pkt, came, ok := old.Front(); ok; pkt, came, ok = old.Front() {
		old.Pop()
		d.queued -= datagram.Cost(len(pkt))
		if d.view.Parse(pkt) != nil {
			continue
		}
		q := b.route(now, &d.view)
		switch {
		case q == nil:
			b.counters.Datagrams.NoPath++
		case len(pkt) > q.mtu():
			b.divide(came, q, pkt, q.mtu())
		default:
			b.enqueue(came, q, pkt)
		}
	}
}
