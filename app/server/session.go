package server

import (
	"context"
	"net/netip"
	"sync"

	"tandem/app/invite"
	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/tunnel/relay"
)

// dnsStreamsMax is how many TCP connections to the hub's resolver a device may have.
const dnsStreamsMax = 32

// A session is the life of one bond of a device: what the device asks for is relayed until it ends.
//
//	offers of the bond ──┬─► the hub's DNS ─► resolver
//	                     └─► anything else ─► relay ─► dialer, within the rules
//	packets of its lane ───► datagrams ─► sockets
type session struct {
	server   *Server
	bond     *engine.Bond
	lane     *relay.Datagrams
	files    share // of connections
	ports    share // of datagrams
	asking   share // of questions to the resolver
	rules    func() *Rules
	counters *relay.Counters
	cancel   context.CancelFunc
	running  sync.WaitGroup
	streams  chan struct{} // holds a place for each connection to the resolver
}

// newSession starts relaying for a device. Its bond has no path yet.
func (s *Server) newSession(d *device) *session {
	ctx, cancel := context.WithCancel(context.Background())
	x := &session{
		server:   s,
		files:    share{budget: s.budget},
		ports:    share{budget: s.ports},
		asking:   share{budget: s.resolver.busy},
		rules:    func() *Rules { return s.surroundings.current(d.record.AllowLAN) },
		counters: &d.counters,
		cancel:   cancel,
		streams:  make(chan struct{}, dnsStreamsMax),
	}
	buffered := bufferedShare(s.memory)
	limits := engine.Limits{Limits: mptcp.Limits{
		Connections: connectionsMax, Offers: dialingMax, Buffered: buffered,
		SendBuffer: min(4<<20, buffered/2), RecvBuffer: min(6<<20, buffered/2),
	}}
	cfg := engine.BondConfig{Config: s.cfg.machine(), Name: d.record.Name, Limits: &limits}
	cfg.Families = s.routed.families()
	x.lane = s.newLane(&cfg, x)
	x.bond = s.engine.Bond(cfg)
	x.running.Go(func() {
		relay.Serve(ctx, x.accept, s.dialer(x.rules), relay.Config{
			Dialing: dialingMax, Rate: dialsPerSecond, Counters: x.counters, Log: s.log.With("device", d.record.Name),
		})
	})
	return x
}

// end tells the device why, resets its connections, and waits until nothing of the session is left.
func (x *session) end(why engine.ByeReason) {
	x.bond.CloseWith(why)
	x.cancel()
	x.lane.Close()
	x.running.Wait()
}

// dialer returns what dials for a device that has these rules.
func (s *Server) dialer(rules func() *Rules) relay.Dialer {
	reach := func(network string, target netip.AddrPort) error { return rules().Check(network, target) }
	if s.cfg.Dialer == nil {
		return relay.NetDialer(reach)
	}
	return ruledDialer{s.cfg.Dialer, reach}
}

// A ruledDialer asks before it dials with a dialer that does not.
type ruledDialer struct {
	relay.Dialer
	reach relay.Reach
}

func (d ruledDialer) Dial(ctx context.Context, target netip.AddrPort) (relay.Stream, error) {
	if err := d.reach("tcp", target); err != nil {
		return nil, err
	}
	return d.Dialer.Dial(ctx, target)
}

// accept gives the relay what the device asks for, except what the hub answers itself.
func (x *session) accept(ctx context.Context) (relay.Offer, error) {
	for {
		o, err := x.bond.Accept(ctx)
		switch {
		case err != nil:
			return nil, err
		case x.server.inside(o.Target(), invite.DNSPort):
			x.resolve(ctx, o)
		case !x.files.take():
			x.server.counters.limited.Add(1)
			o.Refuse(engine.ErrLimit)
		default:
			return &offer{Offer: o, files: &x.files}, nil
		}
	}
}

// resolve answers questions over TCP.
func (x *session) resolve(ctx context.Context, o *engine.Offer) {
	select {
	case x.streams <- struct{}{}:
	default:
		o.Refuse(engine.ErrLimit)
		return
	}
	x.running.Go(func() {
		defer func() { <-x.streams }()
		c, err := o.Accept()
		if err != nil {
			return
		}
		x.server.resolver.serve(ctx, c, x.rules, &x.asking)
	})
}

// An offer holds a file of the device's share until it is refused or its connection closed.
type offer struct {
	*engine.Offer
	files *share
	once  sync.Once
}

func (o *offer) release() { o.once.Do(o.files.give) }

// Accept answers the device.
func (o *offer) Accept() (relay.Stream, error) {
	c, err := o.Offer.Accept()
	if err != nil {
		o.release()
		return nil, err
	}
	return &asker{c, o}, nil
}

// Refuse answers the device.
func (o *offer) Refuse(why error) {
	o.Offer.Refuse(why)
	o.release()
}

// An asker is the device's end of a connection that is relayed.
type asker struct {
	*engine.Conn
	offer *offer
}

// So an idle connection holds no buffer, and a dial ends when its asker leaves.
var (
	_ relay.Waiter = (*asker)(nil)
	_ relay.Ender  = (*asker)(nil)
	_ relay.Leaver = (*offer)(nil)
)

// Close closes the connection.
func (a *asker) Close() error {
	a.offer.release()
	return a.Conn.Close()
}

// Abort resets the connection.
func (a *asker) Abort(why error) {
	a.offer.release()
	a.Conn.Abort(why)
}
