// Package carrier is a tunnel tied to one link: WireGuard, with its session in this process. A client
// opens a Carrier per link, a hub listens with one Hub for all of them; neither needs a TUN device or privileges.
package carrier

import (
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

// queueMax is how many packets wait for a client's WireGuard at most: 3 ms at 1 Gbit/s.
const queueMax = 256

// Config describes a client's carrier.
type Config struct {
	Private   Key            // ours
	Peer      Key            // the hub's public key
	Endpoint  netip.AddrPort // the hub's; zero: not known yet, see SetEndpoint
	Bind      conn.Bind      // its socket; the carrier's alone
	MTU       int            // octets of inner packets; 0: 1408
	Keepalive time.Duration  // a packet goes at least this often, in whole seconds; 0: never unasked
	// Receive takes what the peer sends, whole IP packets. It must not wait, keep them, or call Close.
	// It is called by one goroutine at a time. Nil: what comes is dropped.
	Receive func(pkts [][]byte)
	Log     *slog.Logger // WireGuard's own messages, at debug; nil: none
}

// A Carrier is a tunnel to a hub: what is sent goes there, what is received came from there.
type Carrier struct {
	guard
	peer    Key
	dropped atomic.Uint64
	renewal renewal
}

// Open opens the socket. Nothing is sent before the first Send or Renew, unless Keepalive is set.
func Open(cfg Config) (*Carrier, error) {
	c := &Carrier{peer: cfg.Peer, renewal: renewal{origin: time.Now()}}
	if cfg.Peer.IsZero() || cfg.Peer == cfg.Private.Public() {
		return nil, fmt.Errorf("carrier: not a peer: %s", cfg.Peer)
	}
	g, err := open(cfg.Private, cfg.Bind, cfg.MTU, queueMax, func(pkts [][]byte) {
		c.renewal.received()
		if cfg.Receive != nil {
			cfg.Receive(pkts)
		}
	}, cfg.Log)
	if err != nil {
		return nil, err
	}
	c.guard = g
	if cfg.Keepalive > 0 {
		c.renewal.sent()
	}
	everything := []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	if err := g.set(peering{key: cfg.Peer, endpoint: cfg.Endpoint, allowed: everything, keepalive: cfg.Keepalive}); err != nil {
		g.close()
		return nil, fmt.Errorf("carrier: open: %w", err)
	}
	return c, nil
}

// Send sends whole IP packets. It keeps none of them and does not wait: what finds no room is dropped and
// counted. The error is net.ErrClosed after Close and nil before.
func (c *Carrier) Send(pkts [][]byte) error {
	c.renewal.sent()
	dropped, err := c.inner.send(pkts, nil)
	if dropped > 0 {
		c.dropped.Add(uint64(dropped))
	}
	return err
}

// Renew forgets the session and starts a handshake at once, whatever WireGuard's timers say. It does not
// wait for the answer: call it again, not before a round trip has passed, until Stats or Receive tell of
// one. It leaves alone a handshake that was begun less than 500 ms ago by Renew or by the first Send.
func (c *Carrier) Renew() { c.renew(c.peer, &c.renewal) }

// SetEndpoint says where the hub is now. The session goes on.
func (c *Carrier) SetEndpoint(endpoint netip.AddrPort) error {
	if !endpoint.IsValid() {
		return fmt.Errorf("carrier: not an endpoint: %v", endpoint)
	}
	c.renewal.forget()
	return c.set(peering{key: c.peer, update: true, endpoint: endpoint})
}

// Stats tells what was carried so far.
func (c *Carrier) Stats() Stats {
	s := ask(c.device).peers[c.peer]
	s.Dropped = c.dropped.Load()
	return s
}

// Close closes the socket. Receive is not called any more when it returns.
func (c *Carrier) Close() error { return c.close() }
