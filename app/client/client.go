// Package client is the daemon of a device: it turns what the system says of its links into carriers and
// paths, joins what applications ask for with the hub, and keeps the system's routes as they must be.
//
//	platform.Host ─ links ─► loop ─ attach, detach ─► carriers ═► hub
//	control       ─ calls ─►  │                          ▲
//	engine        ─ news ──►  └─ phases, routes        bond ◄─ relay ◄─ capture, proxy, Dial
//
// In place of a hub there may be a proxy of another make (Upstream). Then the carriers are native, the bond speaks with
// anybody, a dialer of tunnel/upstream stands between bond and relay, and TCP alone is captured.
//
// One goroutine, the loop, owns links, settings and everything that runs; calls of the local API run in it.
// Beside it: one watches the host's links, one serves the local API, one looks up the hub's names, one
// reads the TUN or the proxy's listener, one relays, with those that relay starts. All have ended when
// Run returns.
package client

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"tandem/app/config"
	"tandem/app/control"
	"tandem/platform"
	"tandem/tunnel/capture/proxy"
	"tandem/tunnel/carrier"
	"tandem/tunnel/relay"
)

// Config says what a client is to do. State and Host must be set. With neither Routes nor Socks nothing is
// captured: only Dial uses the hub.
type Config struct {
	State    config.Folder
	Host     platform.Host
	Upstream *Upstream      // a proxy of another make, in place of a hub; nil: the hub that was joined
	Routes   config.Routes  // what a TUN captures; "": no TUN. Of an Upstream: TCP alone
	Socks    Socks          // a proxy in place of a TUN
	Socket   string         // of the local API; "": none
	Told     control.Change // how connections are carried until somebody sets it otherwise, instead of the settings

	// Bind returns the socket of a link's carrier; nil: UDP, pinned to the link by Host.
	Bind func(link string) conn.Bind
	Log  *slog.Logger // nil: none
}

// Client is a device's end of everything.
type Client struct {
	cfg Config
	log *slog.Logger

	otherBind   bool                    // links have no sockets of the system's
	foreign     foreign                 // what native links use
	nameservers func() []netip.AddrPort // that are asked for the hub, past the tunnel
	news        news                    // of the engine, for the loop

	calls   chan func()
	running chan struct{} // closed when the loop has begun
	ended   chan struct{} // closed when it has ended
	joining sync.Mutex    // held while a membership is read or made

	mu      sync.Mutex
	state   control.State
	changed chan struct{} // closed, and replaced, when state changes
	live    *live         // what runs, for those outside the loop; nil: nothing does

	// The loop's.
	settings config.Settings
	member   *config.Membership // nil: not joined
	links    []platform.Link    // as last reported, by ID and then name
	meters   map[string]*meter  // by ID
	usage    map[string]config.Usage
	used     time.Time // when usage was written last
	counted  bool      // something, since then
	phase    control.Phase
	since    time.Time // the phase began
	broken   string    // why it is down against the settings; "": it is not
}

// ErrNotRunning is returned by calls that need the daemon's loop once that has ended.
var ErrNotRunning = errors.New("the daemon is stopping")

// New returns a client. Nothing happens before Join or Run.
func New(cfg Config) (*Client, error) {
	if cfg.Host == nil || cfg.State == "" {
		return nil, errors.New("a client needs a host and a folder for its state")
	}
	if cfg.Upstream != nil {
		if err := cfg.Upstream.check(); err != nil {
			return nil, err
		}
	}
	if cfg.Socks.Listen != "" {
		if err := proxy.Check(cfg.Socks.Listen, cfg.Socks.Password); err != nil {
			return nil, err
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		cfg: cfg, log: cfg.Log,
		news:      news{wake: make(chan struct{}, 1)},
		otherBind: cfg.Bind != nil,
		foreign:   system,
		nameservers: func() (all []netip.AddrPort) {
			for _, a := range platform.Nameservers(string(cfg.State)) {
				all = append(all, netip.AddrPortFrom(a, 53))
			}
			return all
		},
		calls:   make(chan func()),
		running: make(chan struct{}),
		ended:   make(chan struct{}),
		changed: make(chan struct{}),
		meters:  map[string]*meter{},
	}
	c.state = control.State{Phase: control.Off, Links: []control.Link{}}
	if cfg.Bind == nil {
		c.cfg.Bind = func(link string) conn.Bind {
			return carrier.UDP(carrier.UDPConfig{Pin: cfg.Host.Pin(link)})
		}
	}
	return c, nil
}

// State returns how things are.
func (c *Client) State() control.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Wait returns when the state is as wanted, or with ctx's error.
func (c *Client) Wait(ctx context.Context, wanted func(control.State) bool) error {
	for {
		c.mu.Lock()
		state, changed := c.state, c.changed
		c.mu.Unlock()
		if wanted(state) {
			return nil
		}
		select {
		case <-changed:
		case <-c.ended:
			return ErrNotRunning
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Dial opens a connection through the hub. Its errors are those of relay.Dialer.
func (c *Client) Dial(ctx context.Context, target netip.AddrPort) (relay.Stream, error) {
	v := c.now()
	if v == nil {
		return nil, errors.New("not connected to a hub")
	}
	return v.dialer.Dial(ctx, target)
}

// now returns what runs at the moment, or nil.
func (c *Client) now() *live {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.live
}

// publish shows a state to those who ask and wait.
func (c *Client) publish(s control.State, v *live) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.live = s, v
	close(c.changed)
	c.changed = make(chan struct{})
}
