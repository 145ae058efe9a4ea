package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"syscall"
	"time"

	"tandem/app/config"
	"tandem/app/invite"
	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/platform"
	"tandem/tunnel/relay"
)

// live is what runs while a device is joined and up: the bond, its links, and what captures.
type live struct {
	*Client
	member config.Membership
	engine *engine.Engine
	bond   *engine.Bond
	lane   lane
	dialer dialer
	manner *manner
	inner  addresses
	native *nativeMode // nil: the peer is a hub

	ctx    context.Context // ends when close is called
	cancel context.CancelFunc
	beside sync.WaitGroup
	lookup chan []string // holds the links over which the hub's names are to be looked up again

	// The loop's.
	carried   map[string]*link // by ID
	endpoints []netip.AddrPort // of the hub, best first; nil: not looked up yet
	tun       string           // name of the TUN; "": none
	routing   platform.Routing // as it was last asked for
	routed    time.Time        // when that was tried last
	unrouted  string           // why the routes are not as they should be; "": they are
	met       bool             // the hub has answered once
	silence   time.Time        // since when no path is alive; zero: one is
	pinged    time.Time
	revoked   bool            // written under mu
	pardoned  time.Time       // when the hub, which had revoked this device, said HELLO; zero: it did not, or revoked it again
	left      bool            // the hub said that it stops, and has not been heard since
	families  families        // that the hub reaches; written under mu
	counters  engine.Counters // of the bond
}

// addresses are those inside the tunnel.
type addresses struct{ hub4, hub6, host4, host6 netip.Addr }

// connectionsMax is as many as a hub takes from a device.
const connectionsMax = 8192

// pingPeriod is how often an idle path says that it is there: a NAT forgets it otherwise.
const pingPeriod = 20 * time.Second

// newLive starts everything but the links.
func (c *Client) newLive() (v *live, err error) {
	v = &live{
		Client: c, member: *c.member,
		engine:   engine.New(engine.Config{Log: c.log, Limits: engine.Limits{Limits: mptcp.Limits{Connections: connectionsMax}}}),
		lookup:   make(chan []string, 1),
		carried:  map[string]*link{},
		families: families{true, true},
		manner:   newManner(c.conduct()),
	}
	v.inner.hub4, v.inner.hub6 = invite.HubAddrs(v.member.Hub)
	v.inner.host4, v.inner.host6 = invite.HostAddrs(v.member.Hub)
	v.ctx, v.cancel = context.WithCancel(context.Background())
	bond := v.bondConfig()
	v.dialer = dialer{book: newBook(), refuse: v.refuse, manner: v.manner, confiner: newConfiner()}
	if c.cfg.Upstream != nil {
		if v.native, err = v.newNative(); err != nil {
			v.cancel()
			return nil, errors.Join(err, v.engine.Close())
		}
		bond, v.dialer.via, v.dialer.passed = v.native.bondConfig(), v.native.dialer(), v.native.passed
	}
	v.bond = v.engine.Bond(bond)
	v.dialer.bond, v.dialer.doubt = v.bond, &doubt{ping: v.sendPings}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	known, wrong := c.cfg.State.Endpoints()
	if wrong != nil {
		c.log.Warn("the hub's last addresses cannot be read", "err", wrong)
	}
	v.endpoints, _ = resolve(v.ctx, v.member.Endpoints, remembered, known)
	if len(literals(v.member.Endpoints)) < len(v.member.Endpoints) {
		v.beside.Go(func() { v.lookUp(known) })
	}
	switch {
	case c.cfg.Socks.Listen != "":
		err = v.startSocks()
	case c.cfg.Routes != "":
		err = v.startTun()
	}
	return v, err
}

// close ends everything, the system's routes first.
func (v *live) close() error {
	var err error
	if v.cfg.Routes != "" {
		err = v.cfg.Host.Route(platform.Routing{})
	}
	v.cancel()
	v.beside.Wait()
	v.dialer.book.abort()
	v.bond.Close()
	for id, l := range v.carried {
		v.drop(id, l)
	}
	return errors.Join(err, v.engine.Close())
}

// refuse says why a target cannot be reached at all; nil: it may.
func (v *live) refuse(target netip.AddrPort) error {
	v.mu.Lock()
	f, revoked := v.families, v.revoked
	v.mu.Unlock()
	if revoked {
		return fmt.Errorf("%s: %w", revokedShort, syscall.ENETUNREACH)
	}
	return f.refuse(target.Addr())
}

// serve relays what is asked for until everything ends. When the asking fails by itself nothing would be
// captured any more: the daemon is told.
func (v *live) serve(what string, run func(context.Context) error, accept func(context.Context) (relay.Offer, error)) {
	v.beside.Go(func() {
		if err := run(v.ctx); err != nil && v.ctx.Err() == nil {
			v.log.Error(what, "err", err)
			v.post(v.ctx, func() { v.fail(fmt.Errorf("%s: %w", what, err)) })
		}
	})
	v.beside.Go(func() {
		relay.Serve(v.ctx, accept, v.dialer, relay.Config{Rate: dialRate, DialTimeout: dialTime, Log: v.log})
	})
}

// What the relay may do: the hub has limits of its own.
const (
	dialRate = 2000
	dialTime = 75 * time.Second // longer than the hub tries
)

// fail stops what runs, because a part of it has stopped by itself. It runs in the loop.
func (v *live) fail(why error) {
	if v.Client.live != v {
		return
	}
	v.broken = why.Error()
	if err := v.stop(); err != nil {
		v.log.Error("stopping", "err", err)
	}
}

// pathConfig describes a link's path to the engine, and notes what of it is decided by more than the settings.
func (v *live) pathConfig(l *link) (p engine.PathConfig) {
	if v.native != nil {
		p = v.native.pathConfig(l)
	} else {
		v4, v6 := invite.SlotAddrs(v.member.Hub, v.member.Device, l.slot)
		p = engine.PathConfig{Local4: v4, Local6: v6, Peer4: v.inner.hub4, Peer6: v.inner.hub6, MTU: l.mtu}
	}
	p.Role, p.Price = roles[l.settings.Role], v.manner.price(l.settings)
	p.LimitDown, p.LimitUp = limits(l.settings)
	l.private, l.lease = private(l.is, l.settings), v.lease(l)
	p.Private, p.Address, p.Lifetime = l.private, l.settings.Address.Type(), lifetime(l.lease, time.Now())
	return p
}

// ping asks for a sign of life over every path. It runs in the loop.
func (v *live) ping() {
	if v.native == nil {
		v.bond.Ping()
		return
	}
	for _, l := range v.carried {
		v.renew(l)
	}
}

// sendPings is ping for everybody else.
func (v *live) sendPings() {
	if v.native == nil {
		v.bond.Ping()
		return
	}
	v.post(v.ctx, v.ping)
}

// peer is what the other end is called.
func (v *live) peer() string {
	if v.native != nil {
		return "the proxy"
	}
	return "the hub"
}

// route has the system's routes follow, from the moment that the hub has answered: before, capturing would
// only cut the machine off.
func (v *live) route(now time.Time) {
	if v.tun == "" || !v.met {
		return
	}
	want := v.wantedRouting()
	if reflect.DeepEqual(want, v.routing) || now.Sub(v.routed) < time.Second && !v.routed.IsZero() {
		return
	}
	v.routed = now
	trouble := ""
	if err := v.cfg.Host.Route(want); err != nil {
		trouble = err.Error()
	} else {
		v.routing = want
	}
	if trouble != "" && trouble != v.unrouted {
		v.log.Error("routes", "err", trouble)
	}
	v.unrouted = trouble
}

func (v *live) wantedRouting() platform.Routing {
	r := platform.Routing{
		Tun: v.tun, MTU: tunMTU, LAN: v.settings.LAN,
		Addrs:   []netip.Prefix{whole(v.inner.host4), whole(v.inner.host6)},
		Capture: v.cfg.Routes.Prefixes(), TCP: v.native != nil,
	}
	if v.native == nil {
		r.Capture = append(r.Capture, whole(v.inner.hub4), whole(v.inner.hub6))
	}
	if v.native == nil && slices.ContainsFunc(r.Capture, func(p netip.Prefix) bool { return p.Bits() == 0 }) {
		r.DNS = []netip.Addr{v.inner.hub4, v.inner.hub6}
	}
	for _, l := range v.carried {
		r.Links = append(r.Links, l.seen.Name)
	}
	slices.Sort(r.Links)
	return r
}

func whole(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// families are the address families that the hub reaches the Internet with.
type families struct{ v4, v6 bool }
