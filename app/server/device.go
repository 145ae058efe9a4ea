package server

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"tandem/app/invite"
	"tandem/app/tally"
	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/tunnel/carrier"
	"tandem/tunnel/relay"
)

// The MTU of a path by the family that its carrier runs over, on links of 1500 octets: less what
// WireGuard, UDP and IP add, and rounded down to the 16 to which WireGuard pads.
const (
	mtuOver4 = 1440
	mtuOver6 = 1408
)

const (
	// silentAfter is when a slot that is not heard is taken from its bond: no NAT keeps a mapping so long.
	silentAfter = 5 * time.Minute

	// farewellEvery is how often at most a revoked device is told so.
	farewellEvery = time.Second

	// endpointWait is how long after its first packet a peer's endpoint may take to show.
	endpointWait = 150 * time.Millisecond
)

// A device is a device that joined, as long as the hub runs. It has a session from its first packet on until all its slots
// are silent and the last of its connections has ended: how long these outlive their paths is theirs to know.
type device struct {
	server   *Server
	record   deviceRecord // as when it was added: what changes is revoked
	slots    [invite.Slots]*slot
	counters relay.Counters

	mu       sync.Mutex
	session  *session // nil: none of its slots is heard
	revoked  bool
	removed  bool
	farewell time.Time   // when it was last told that it is revoked
	counted  tally.Tally // by the bonds of sessions that are over
}

// A slot is one carrier of a device.
type slot struct {
	entrance
	device *device
	number int
	v4, v6 netip.Addr
	peer   *carrier.Peer
	ready  chan struct{} // closed when peer is set

	// Guarded by the device's mutex.
	mtu      int // of the path attached
	attached time.Time
	known    carrier.Stats // at the last survey
	heard    time.Time     // the last survey that found something received
}

// add makes the hub know a device, at the endpoints where it was last.
func (s *Server) add(r deviceRecord, endpoints [invite.Slots]netip.AddrPort) *device {
	d := &device{server: s, record: r, revoked: r.revoked()}
	for n := range d.slots {
		l := &slot{device: d, number: n, ready: make(chan struct{})}
		l.v4, l.v6 = invite.SlotAddrs(s.public, r.Number, n)
		l.entrance.start = s.start
		l.open = func() { d.heed(l) }
		peer, err := s.hub.Add(carrier.PeerConfig{
			Key: r.Keys[n], Addrs: []netip.Addr{l.v4, l.v6}, Endpoint: endpoints[n], Receive: l.receive,
		})
		if err != nil {
			s.log.Error("a device has a slot that does not work", "device", r.Name, "slot", n, "err", err)
			continue
		}
		l.peer = peer
		close(l.ready)
		d.slots[n] = l
	}
	return d
}

// heed lets a slot that is heard take part in the device's bond.
func (d *device) heed(l *slot) {
	<-l.ready
	mtu := l.measure(d.server.ctx)
	if d.parts() {
		d.dismiss(l)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.removed, d.revoked:
	case l.path.Load() != nil:
		l.admit(l.path.Load()) // attached meanwhile
	default:
		d.attach(l, mtu)
	}
}

// attach gives the device's bond a path over a slot, and the device a bond if it has none.
func (d *device) attach(l *slot, mtu int) {
	if d.session == nil {
		d.session = d.server.newSession(d)
	}
	l.mtu, l.attached = mtu, time.Now()
	l.admit(d.session.bond.AttachAs(engine.PathID(l.number), l.peer, l.config(mtu)))
}

func (l *slot) config(mtu int) engine.PathConfig {
	s := l.device.server
	return engine.PathConfig{Local4: s.inner4, Local6: s.inner6, Peer4: l.v4, Peer6: l.v6, MTU: mtu}
}

// measure returns the MTU for where the peer is. What is known of that may be of a moment ago.
func (l *slot) measure(ctx context.Context) int {
	e := l.peer.Stats().Endpoint
	if !e.IsValid() {
		select {
		case <-ctx.Done():
		case <-time.After(endpointWait):
		}
		e = l.peer.Stats().Endpoint
	}
	return mtuTo(e)
}

func mtuTo(e netip.AddrPort) int {
	if e.Addr().Unmap().Is4() {
		return mtuOver4
	}
	return mtuOver6
}

// parts reports whether the device is one to be told that it is not accepted, and notes that it is told.
func (d *device) parts() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.revoked || d.removed || time.Since(d.farewell) < farewellEvery {
		return false
	}
	d.farewell = time.Now()
	return true
}

// dismiss tells a revoked device that it is not accepted. It has no other bond than one for that, which says so
// right behind its HELLO: the device is not to believe that it is welcome.
func (d *device) dismiss(l *slot) {
	limits := engine.Limits{Limits: mptcp.Limits{Connections: 1, Offers: 1, Buffered: bufferedMin}}
	bond := d.server.engine.Bond(engine.BondConfig{
		Config: mptcp.Config{Paired: true}, Name: d.record.Name, Limits: &limits,
	})
	l.admit(bond.AttachAs(engine.PathID(l.number), l.peer, l.config(mtuOver6)))
	bond.CloseWith(engine.ByeRevoked)
	l.shut()
}

// end takes the device's session from it. Who calls it again waits for the first.
func (d *device) end(why engine.ByeReason, change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	d.endSession(why)
}

func (d *device) endSession(why engine.ByeReason) {
	for _, l := range d.slots {
		if l != nil {
			l.shut()
		}
	}
	if d.session != nil {
		d.counted = d.tally()
		d.session.end(why)
		d.session = nil
	}
}

// tally is what the device's bonds have counted since the hub started.
func (d *device) tally() tally.Tally {
	t := tally.Of(engine.Counters{}) // so that all names are there
	t.Sum(d.counted)
	if d.session != nil {
		t.Sum(tally.Of(d.session.bond.Counters()))
	}
	return t
}

// revoke ends what the device has, and lets it have nothing more.
func (d *device) revoke() { d.end(engine.ByeRevoked, func() { d.revoked = true }) }

// remove makes the hub forget the device's keys.
func (d *device) remove() {
	d.end(engine.ByeRevoked, func() { d.removed = true })
	for _, k := range d.record.Keys {
		d.server.hub.Remove(k)
	}
}

// call invites the device back at the endpoints where it was last: the hub has restarted, and to the
// device its sessions with this hub still look alive.
func (d *device) call(pace <-chan time.Time, ctx context.Context) {
	for _, l := range d.slots {
		if l == nil || !l.peer.Stats().Endpoint.IsValid() {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-pace:
		}
		l.peer.Renew()
		mtu := mtuTo(l.peer.Stats().Endpoint)
		d.mu.Lock()
		if !d.revoked && !d.removed && l.path.Load() == nil {
			d.attach(l, mtu)
		}
		d.mu.Unlock()
	}
}

// survey notes what the slots did since the last one, and reports whether one of them is elsewhere. The device is
// told when the families that the hub reaches are others.
func (d *device) survey(now time.Time, families engine.Families) (moved bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	live := false
	for _, l := range d.slots {
		if l == nil {
			continue
		}
		moved = d.look(l, now) || moved
		if l.path.Load() == nil {
			continue
		}
		if now.Sub(l.heard) > silentAfter && now.Sub(l.attached) > silentAfter {
			l.path.Swap(nil).Detach()
			continue
		}
		live = true
		if mtu := mtuTo(l.known.Endpoint); l.known.Endpoint.IsValid() && mtu != l.mtu {
			d.attach(l, mtu)
		}
	}
	switch {
	case !live && !d.revoked && d.connections() == 0:
		d.endSession(engine.ByeShutdown)
	case d.session != nil:
		d.session.bond.SetFamilies(families)
	}
	return moved
}

// look notes what one slot did.
func (d *device) look(l *slot, now time.Time) (moved bool) {
	was := l.known
	l.known = l.peer.Stats()
	if l.known.Received != was.Received {
		l.heard = now
	}
	d.server.registry.use(d.record.Number, func(t *trafficRecord) {
		t.Received += l.known.Received - was.Received
		t.Sent += l.known.Sent - was.Sent
		if l.heard == now {
			t.Seen = now
			moved = t.Endpoints[l.number] != l.known.Endpoint
			t.Endpoints[l.number] = l.known.Endpoint
		}
	})
	return moved
}

// connections returns how many connections of the device are relayed.
func (d *device) connections() int { return int(d.counters.Open.Load()) }
