// Package proxy takes what applications ask of a SOCKS5 or HTTP proxy, where no TUN device can be
// had: a connection becomes an offer, and datagrams become whole IP packets as those of a device would be.
//
//	listener ─ first octet ─┬─ 5: SOCKS5 ─┬─ CONNECT ──────► resolve ─► Accept ─► Offer ─ Accept ─► stream
//	                        │             └─ UDP ASSOCIATE ◄═══► Packets, Inject
//	                        └─ else: HTTP ─ CONNECT, GET http://… ─► resolve ─► Accept …
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"tandem/tunnel/packet"
)

// A Config says what to serve, and to whom.
type Config struct {
	Listener       net.Listener // of TCP; closed by Run
	User, Password string       // what clients must say; no password: nothing. See Check
	// Resolve gives the addresses of a name, best first; they are tried in this order.
	Resolve func(ctx context.Context, name string) ([]netip.Addr, error)
	// Packets takes whole IP packets with datagrams of clients. It must not wait and keeps none; nil: no
	// UDP ASSOCIATE.
	Packets      func(pkts [][]byte)
	Host4, Host6 netip.Addr    // where those packets come from; none: not that family
	MTU          int           // of those packets, longer ones go in fragments; 0: 1280
	Handshake    time.Duration // for a client to say what it wants, and names to be resolved; 0: 10 s
	Waiting      int           // clients that are not answered yet; 0: 1024, more are closed and counted
	Associations int           // 0: 256, more are refused
	Log          *slog.Logger
}

// Check refuses to listen at an address ("host:port") where others than this host's programs could come,
// unless there is a password.
func Check(address, password string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(host); password != "" || host == "localhost" || err == nil && ip.Unmap().IsLoopback() {
		return nil
	}
	return fmt.Errorf("a proxy at %s, which is not loopback, needs a password", address)
}

// Counters tell what became of clients since the beginning.
type Counters struct {
	Clients      uint64 // accepted by the listener
	Crowded      uint64 // of them, closed because too many wait
	Malformed    uint64 // of them, closed for what they said, or did not say in time
	Unauthorized uint64 // of them, closed for a wrong password or none
	Offers       uint64 // connections asked for
	Associations uint64 // begun
	Dropped      uint64 // datagrams
}

type counters struct {
	clients, crowded, malformed, unauthorized, offers, associations, dropped atomic.Uint64
}

// A Proxy serves one listener.
type Proxy struct {
	cfg      Config
	counters counters
	slots    chan struct{} // one for each client that is not answered
	ready    chan *Offer
	done     chan struct{} // closed when Run ends
	group    sync.WaitGroup

	mu           sync.Mutex
	conns        map[*net.TCPConn]bool // to be closed when Run ends
	associations map[uint16]*association
	assembly     packet.Assembly
	closed       bool
}

// New prepares a proxy. Nothing happens before Run.
func New(cfg Config) (*Proxy, error) {
	if cfg.Listener == nil || cfg.Resolve == nil {
		return nil, errors.New("a proxy needs a listener and a resolver")
	}
	if cfg.MTU <= 0 {
		cfg.MTU = 1280
	}
	if cfg.Handshake <= 0 {
		cfg.Handshake = 10 * time.Second
	}
	if cfg.Waiting <= 0 {
		cfg.Waiting = 1024
	}
	if cfg.Associations <= 0 {
		cfg.Associations = 256
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Proxy{
		cfg: cfg, slots: make(chan struct{}, cfg.Waiting), ready: make(chan *Offer, cfg.Waiting), done: make(chan struct{}),
		conns: map[*net.TCPConn]bool{}, associations: map[uint16]*association{},
	}, nil
}

// Run serves clients until ctx ends, which gives nil, or the listener fails. Streams go on without it; all
// else has ended when it returns. It is called once.
func (p *Proxy) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { p.cfg.Listener.Close() })
	err := p.listen(ctx)
	if ctx.Err() != nil {
		err = nil
	}
	cancel()
	stop()
	p.cfg.Listener.Close()
	close(p.done)
	p.mu.Lock()
	p.closed = true
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.group.Wait()
	return err
}

func (p *Proxy) listen(ctx context.Context) error {
	for {
		c, err := p.cfg.Listener.Accept()
		var lasting net.Error
		switch {
		case err == nil:
			p.welcome(ctx, c)
		case errors.As(err, &lasting) && lasting.Timeout():
		case errors.Is(err, net.ErrClosed) || ctx.Err() != nil:
			return err
		default: // too many open files, or a client that left already
			p.cfg.Log.Warn("proxy: no client accepted", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

func (p *Proxy) welcome(ctx context.Context, c net.Conn) {
	p.counters.clients.Add(1)
	conn, ok := c.(*net.TCPConn)
	if !ok {
		c.Close()
		return
	}
	select {
	case p.slots <- struct{}{}:
	default:
		p.counters.crowded.Add(1)
		conn.Close()
		return
	}
	if p.keep(conn) {
		p.group.Go(func() { p.serve(ctx, conn) })
	}
}

// begin lets Run wait for something, unless it waits already.
func (p *Proxy) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.group.Add(1)
	}
	return !p.closed
}

// keep makes conn one that the end of Run closes.
func (p *Proxy) keep(conn *net.TCPConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		conn.Close()
		return false
	}
	p.conns[conn] = true
	return true
}

func (p *Proxy) forget(conn *net.TCPConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

// Accept waits for the next offer. It fails with ctx's error, or net.ErrClosed once Run has ended.
func (p *Proxy) Accept(ctx context.Context) (*Offer, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-p.done:
			return nil, net.ErrClosed
		case o := <-p.ready:
			if !o.left() {
				return o, nil
			}
			o.Refuse(net.ErrClosed)
		}
	}
}

// Counters are those of now.
func (p *Proxy) Counters() Counters {
	n := &p.counters
	return Counters{
		Clients: n.clients.Load(), Crowded: n.crowded.Load(), Malformed: n.malformed.Load(), Unauthorized: n.unauthorized.Load(),
		Offers: n.offers.Load(), Associations: n.associations.Load(), Dropped: n.dropped.Load(),
	}
}
