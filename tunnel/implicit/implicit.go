// Package implicit is a proxy that nobody has to know. Packets of clients pass it on their way; it takes part in those
// connections of Multipath TCP whose targets do not speak it themselves, and keeps out of all others.
//
//	client ── SYN, MP_CAPABLE, for the target ──► Proxy ── dial ──► target
//
//	the target speaks Multipath TCP   the SYN goes on as it came, and for an hour all those that follow do at once
//	it speaks TCP alone               the proxy answers in its name, asks not to be joined there (C=1, RFC 8684 3.1),
//	                                  and announces its own address, so that other subflows come although they pass elsewhere
//	it refuses, or is not to be had   the SYN goes on as it came: the client hears what it would have heard
//
// Whatever the proxy is not sure of goes on. What answers in the target's name is not here: it is an engine's bond with
// AnyTarget, NoJoinsHere and Announce, which Config.Deliver hands packets to.
package implicit

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"tandem/engine/clock"
	"tandem/engine/convert"
	"tandem/tunnel/relay"
)

// Config is what a proxy needs. Zero bounds are replaced by the defaults.
type Config struct {
	Own     []netip.Addr        // the proxy's own addresses, as they are announced: what comes for them is its own
	Deliver func(pkts [][]byte) // takes what is the proxy's; must not keep it
	Forward func(pkts [][]byte) // sends on what is not; must not keep it; is called by many goroutines

	// Dial connects to a target, and tells whether that speaks Multipath TCP.
	Dial func(ctx context.Context, target netip.AddrPort) (s relay.Stream, multipath bool, err error)

	Flows   int                 // connections at a time, some 200 octets each: 16384; one client's are half of them at most
	Pending int                 // of them with an open answer, a SYN more each: 256; one client's are half of them at most
	Cache   convert.CacheConfig // of targets that speak Multipath TCP
	Now     func() clock.Time   // nil: the system's
	Log     *slog.Logger        // nil: none
}

// flowTime is how long a flow that is over is known still, since the last packet of it: late ones are not the target's.
const flowTime = time.Minute

// sweepTime is how often flows that are over are looked for.
const sweepTime = time.Second

// Counters count what became of SYNs with MP_CAPABLE since the proxy was made, and of packets.
type Counters struct {
	Taken    uint64 // answered here
	Stepped  uint64 // sent on, because the target turned out to speak Multipath TCP
	Bypassed uint64 // sent on, because it was known to
	Failed   uint64 // sent on, because the target could not be connected to
	Full     uint64 // sent on, because of Flows or Pending

	Forwarded, Delivered uint64 // packets
	Flows, Pending       int    // now
}

// A Proxy sorts packets, and is a relay.Dialer for the offers that come of them.
type Proxy struct {
	cfg Config
	own map[netip.Addr]bool

	mu       sync.Mutex
	flows    map[flowKey]*flow
	loads    map[netip.Addr]load // by client
	pending  int
	swept    clock.Time
	cache    *convert.Cache
	counters Counters
}

// A flowKey names a connection that passes by.
type flowKey struct{ client, target netip.AddrPort }

// A load is what one client has.
type load struct{ flows, pending int }

// A flow is a connection that is the proxy's, or about to be.
type flow struct {
	syn   []byte          // as it came; nil: it has an answer
	gone  <-chan struct{} // closed when the connection is over; nil: nobody has asked for it yet
	heard clock.Time
}

// New returns a proxy that knows nothing of anybody.
func New(cfg Config) *Proxy {
	if cfg.Flows == 0 {
		cfg.Flows = 16384
	}
	if cfg.Pending == 0 {
		cfg.Pending = 256
	}
	if cfg.Now == nil {
		cfg.Now = clock.System()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{cfg: cfg, own: map[netip.Addr]bool{}, flows: map[flowKey]*flow{}, loads: map[netip.Addr]load{}, cache: convert.NewCache(cfg.Cache)}
	for _, a := range cfg.Own {
		p.own[a] = true
	}
	return p
}

// Counters returns the counters.
func (p *Proxy) Counters() Counters {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.counters
	n.Flows, n.Pending = len(p.flows), p.pending
	return n
}

// bear changes what a client has, of an IPv6 /64 if it has that: a host has as many addresses there as it likes. mu is held.
func (p *Proxy) bear(client netip.Addr, flows, pending int) {
	who := site(client)
	l := p.loads[who]
	l.flows, l.pending = l.flows+flows, l.pending+pending
	if p.pending += pending; l.flows > 0 {
		p.loads[who] = l
	} else {
		delete(p.loads, who)
	}
}

// full reports whether a client may have no more. mu is held.
func (p *Proxy) full(client netip.Addr) bool {
	l := p.loads[site(client)]
	return len(p.flows) >= p.cfg.Flows || p.pending >= p.cfg.Pending ||
		2*l.flows >= max(p.cfg.Flows, 2) || 2*l.pending >= max(p.cfg.Pending, 2)
}

func site(client netip.Addr) netip.Addr {
	if client.Is6() {
		p, _ := client.Prefix(64)
		return p.Addr()
	}
	return client
}

// errSpeaks is what an offer is refused with whose target needs no proxy.
var errSpeaks = errors.New("the target speaks Multipath TCP itself")

// Dial is part of relay.Dialer. It fails when the target speaks Multipath TCP, which is remembered.
func (p *Proxy) Dial(ctx context.Context, target netip.AddrPort) (relay.Stream, error) {
	s, multipath, err := p.cfg.Dial(ctx, target)
	if err != nil || !multipath {
		return s, err
	}
	s.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cache.Bypass(p.cfg.Now(), target)
	return nil, errSpeaks
}

var _ relay.Dialer = (*Proxy)(nil)
