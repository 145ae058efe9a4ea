package carrier

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

// hubQueueMax is how many packets to all peers wait for the hub's WireGuard at most: 12 ms at 1 Gbit/s. Half of
// them may be one peer's.
const hubQueueMax = 1024

// What Peer.Stats tells may be as old as surveyAge, so that asking all peers in turn asks the device once,
// or surveyRest times as old as asking took, so that it never costs more than two percent of a core.
const (
	surveyAge  = 100 * time.Millisecond
	surveyRest = 50
)

// ErrTaken says that a hub has a peer with that key or inner address already.
var ErrTaken = errors.New("carrier: key or address is taken")

// HubConfig describes a hub's end of all its carriers.
type HubConfig struct {
	Private Key
	Bind    conn.Bind    // its socket; the hub's alone
	MTU     int          // octets of inner packets; 0: 1408
	Log     *slog.Logger // WireGuard's own messages, at debug; nil: none
}

// A Hub is one WireGuard device on one port with a peer per client link. To whom it does not know it is silent.
type Hub struct {
	guard
	public Key
	port   uint16

	change sync.Mutex // one Add or Remove at a time; locked before mu

	mu    sync.RWMutex
	peers map[Key]*Peer
	owner map[netip.Addr]*Peer // of inner addresses

	asking sync.Mutex
	seen   survey
	until  time.Time // when what was seen is too old
}

// PeerConfig describes one client link as the hub sees it.
type PeerConfig struct {
	Key      Key            // public
	Addrs    []netip.Addr   // the only inner sources accepted from it; what is sent to it is for one of them
	Endpoint netip.AddrPort // where it was heard last; zero: unknown until it is heard
	// Receive takes what the peer sends, whole IP packets. It must not wait, keep them, or call the hub's
	// Remove or Close. It is called by one goroutine at a time. Nil: what comes is dropped.
	Receive func(pkts [][]byte)
}

// A Peer is the hub's end of one carrier.
type Peer struct {
	hub     *Hub
	key     Key
	addrs   []netip.Addr
	receive func(pkts [][]byte)
	dropped atomic.Uint64
	queue   share
	renewal renewal
	removed atomic.Bool
}

// Listen opens a hub's socket.
func Listen(cfg HubConfig) (*Hub, error) {
	h := &Hub{peers: map[Key]*Peer{}, owner: map[netip.Addr]*Peer{}}
	g, err := open(cfg.Private, cfg.Bind, cfg.MTU, hubQueueMax, h.deliver, cfg.Log)
	if err != nil {
		return nil, err
	}
	h.guard, h.public = g, cfg.Private.Public()
	h.port = ask(g.device).port
	return h, nil
}

// Add makes a peer known. The error wraps ErrTaken if another has its key or one of its addresses.
func (h *Hub) Add(cfg PeerConfig) (*Peer, error) {
	if cfg.Key.IsZero() || cfg.Key == h.public {
		return nil, fmt.Errorf("carrier: not a peer: %s", cfg.Key)
	}
	p := &Peer{hub: h, key: cfg.Key, receive: cfg.Receive, renewal: renewal{origin: time.Now()}}
	var allowed []netip.Prefix
	for _, addr := range cfg.Addrs {
		addr = addr.Unmap().WithZone("")
		if !addr.IsValid() {
			return nil, errors.New("carrier: an inner address that is none")
		}
		p.addrs = append(p.addrs, addr)
		allowed = append(allowed, netip.PrefixFrom(addr, addr.BitLen()))
	}
	h.change.Lock()
	defer h.change.Unlock()
	if err := h.enter(p); err != nil {
		return nil, err
	}
	if err := h.set(peering{key: cfg.Key, endpoint: cfg.Endpoint, allowed: allowed}); err != nil {
		h.leave(p)
		return nil, fmt.Errorf("carrier: add: %w", err)
	}
	return p, nil
}

// Remove makes the hub deaf to a peer: nothing of it is received any more when Remove returns.
// Removing whom the hub does not know does nothing.
func (h *Hub) Remove(key Key) {
	h.change.Lock()
	defer h.change.Unlock()
	h.mu.RLock()
	p := h.peers[key]
	h.mu.RUnlock()
	if p != nil {
		h.leave(p)
	}
}

// enter notes a peer if nobody is in its place.
func (h *Hub) enter(p *Peer) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.peers[p.key] != nil {
		return fmt.Errorf("%w: %s", ErrTaken, p.key)
	}
	for _, addr := range p.addrs {
		if h.owner[addr] != nil {
			return fmt.Errorf("%w: %s", ErrTaken, addr)
		}
	}
	h.peers[p.key] = p
	for _, addr := range p.addrs {
		h.owner[addr] = p
	}
	return nil
}

// leave forgets a peer. The device waits for what it is delivering, which waits for mu.
func (h *Hub) leave(p *Peer) {
	p.removed.Store(true)
	h.mu.Lock()
	delete(h.peers, p.key)
	for _, addr := range p.addrs {
		delete(h.owner, addr)
	}
	h.mu.Unlock()
	h.device.RemovePeer(p.key.noise())
}

// deliver hands packets of one peer to it. WireGuard let only sources pass that are the peer's.
func (h *Hub) deliver(pkts [][]byte) {
	h.mu.RLock()
	p := h.owner[source(pkts[0])]
	h.mu.RUnlock()
	if p == nil {
		return
	}
	p.renewal.received()
	if p.receive != nil {
		p.receive(pkts)
	}
}

// source returns the source address of an IP packet whose header is whole.
func source(pkt []byte) netip.Addr {
	if pkt[0]>>4 == 4 {
		return netip.AddrFrom4([4]byte(pkt[12:]))
	}
	return netip.AddrFrom16([16]byte(pkt[8:]))
}

// Peers returns how many peers the hub knows.
func (h *Hub) Peers() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.peers)
}

// Port returns the UDP port that the hub listens on.
func (h *Hub) Port() uint16 { return h.port }

// Close closes the socket and ends all peers. No Receive is called any more when it returns.
func (h *Hub) Close() error { return h.close() }

// Send sends whole IP packets to the peer, as Carrier.Send does. Each is addressed to one of its Addrs.
// The error is net.ErrClosed after Remove or Close and nil before.
func (p *Peer) Send(pkts [][]byte) error {
	if p.removed.Load() {
		return net.ErrClosed
	}
	p.renewal.sent()
	dropped, err := p.hub.inner.send(pkts, &p.queue)
	if dropped > 0 {
		p.dropped.Add(uint64(dropped))
	}
	return err
}

// Renew forgets the session and starts a handshake at once, if the peer's endpoint is known; see Carrier.Renew.
func (p *Peer) Renew() { p.hub.renew(p.key, &p.renewal) }

// Stats tells what was carried until 100 ms ago or later, or some seconds ago if the hub has thousands of peers.
func (p *Peer) Stats() Stats {
	h := p.hub
	h.asking.Lock()
	defer h.asking.Unlock()
	if start := time.Now(); !start.Before(h.until) {
		h.seen = ask(h.device)
		end := time.Now()
		h.until = end.Add(max(surveyAge, surveyRest*end.Sub(start)))
	}
	s := h.seen.peers[p.key]
	s.Dropped = p.dropped.Load()
	return s
}
