package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tandem/engine/clock"
	"tandem/engine/convert"
	"tandem/tunnel/relay"
	multipath "tandem/tunnel/upstream"
)

// ConvertPort is the TCP port of a converter unless told otherwise. RFC 8803 names none.
const ConvertPort = 8803

// ConvertConfig says whom a transport converter serves, and what it may reach.
type ConvertConfig struct {
	Listen              netip.AddrPort
	Clients             []netip.Prefix // who may use it; none: who is on a network of this machine's
	AllowLAN, AllowSMTP bool           // as of a hub
	Cookies             bool           // clients must show that they hear what they are told (RFC 8803 6.2.7)
	Log                 *slog.Logger   // nil: none
}

// Bounds of a converter.
const (
	convertWaiting = 1024             // clients that have not said what they want
	messageTime    = 10 * time.Second // to say it
	tellTime       = 2 * time.Second  // for a client to take an answer and leave
	speakersMax    = 4096             // targets of which is known whether they speak Multipath TCP
	secretTime     = 6 * time.Hour    // that cookies are made of one secret
)

// ConvertCounters count what became of connections since the converter began.
type ConvertCounters struct {
	Clients uint64 // connections
	Crowded uint64 // of them, reset because too many had not said what they want
	Foreign uint64 // of them, refused because their clients may not use it
	convert.GateCounters
}

// A Converter connects clients that speak Multipath TCP to servers that may not (RFC 8803), with the kernel's own sockets.
type Converter struct {
	cfg      ConvertConfig
	listener net.Listener
	now      func() clock.Time
	around   surroundings
	dial     func(ctx context.Context, network, target string) (net.Conn, error)
	waiting  chan struct{}
	offers   chan *conversion

	clients, crowded, foreign atomic.Uint64

	mu       sync.Mutex
	gate     *convert.Gate
	rotated  time.Time
	speakers map[netip.AddrPort]bool
}

// NewConverter listens. Nothing is answered before Run.
func NewConverter(cfg ConvertConfig) (*Converter, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l, err := multipath.Listen(context.Background(), cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("the converter: %w", err)
	}
	c := &Converter{
		cfg: cfg, listener: l, now: clock.System(), waiting: make(chan struct{}, convertWaiting), offers: make(chan *conversion),
		around:   surroundings{rules: Rules{SMTP: cfg.AllowSMTP}, list: net.InterfaceAddrs},
		rotated:  time.Now(),
		speakers: map[netip.AddrPort]bool{},
		gate:     convert.NewGate(convert.GateConfig{Supported: []uint8{convert.MPTCP}, Cookies: cfg.Cookies, Secret: secret()}),
	}
	dialer := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 6},
		Control:         func(_, address string, _ syscall.RawConn) error { return c.reaches(address) },
	}
	dialer.SetMultipathTCP(true)
	c.dial = dialer.DialContext
	return c, nil
}

// reaches says why an address may not be reached; nil: it may.
func (c *Converter) reaches(address string) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return c.around.current(c.cfg.AllowLAN).Check("tcp", netip.AddrPortFrom(target.Addr().Unmap(), target.Port()))
}

func secret() (s [32]byte) {
	rand.Read(s[:])
	return s
}

// Addr is where it listens.
func (c *Converter) Addr() net.Addr { return c.listener.Addr() }

// Counters returns the counters.
func (c *Converter) Counters() ConvertCounters {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ConvertCounters{c.clients.Load(), c.crowded.Load(), c.foreign.Load(), c.gate.Counters()}
}

// Run serves until ctx ends, which gives nil, or the listener fails. All connections have ended when it returns.
func (c *Converter) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.listener.Close() })
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	failed := make(chan error, 1)
	running.Go(func() {
		failed <- c.listen(ctx)
		cancel()
	})
	relay.Serve(ctx, c.accept, c, relay.Config{Rate: 2000, Log: c.cfg.Log})
	if err := <-failed; ctx.Err() == nil || !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func (c *Converter) listen(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		conn, err := c.listener.Accept()
		var passing net.Error
		switch {
		case err == nil:
		case errors.As(err, &passing) && passing.Timeout(), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE),
			errors.Is(err, syscall.ECONNABORTED):
			time.Sleep(10 * time.Millisecond)
			continue
		default:
			return err
		}
		c.clients.Add(1)
		select {
		case c.waiting <- struct{}{}:
			running.Go(func() {
				defer func() { <-c.waiting }()
				c.welcome(ctx, conn.(*net.TCPConn))
			})
		default:
			c.crowded.Add(1)
			reset(conn.(*net.TCPConn))
		}
	}
}

func reset(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}

// welcome hears what a client wants, and offers that to the relay, or tells why not.
func (c *Converter) welcome(ctx context.Context, conn *net.TCPConn) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	client := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	if !c.serves(client) {
		c.foreign.Add(1)
		c.cfg.Log.Warn("a client that may not use this converter", "client", client)
		refusal := convert.Message{Has: convert.HasError, Error: convert.Failure{Code: convert.NotAuthorized}}
		tell(conn, refusal.Append(nil))
		return
	}
	c.mu.Lock()
	c.rotate()
	m := c.gate.Open(client)
	c.mu.Unlock()
	o := &conversion{converter: c, conn: conn, client: m}
	switch c.hear(o) {
	case convert.Dial:
		select {
		case c.offers <- o:
		case <-ctx.Done():
			o.end()
			conn.Close()
		}
	case convert.Close:
		tell(conn, m.Answer())
	case convert.Reset:
		reset(conn)
	default:
		conn.Close()
	}
}

// serves reports whether a client may use the converter.
func (c *Converter) serves(client netip.Addr) bool {
	contains := func(p netip.Prefix) bool { return p.Contains(client.WithZone("")) }
	if len(c.cfg.Clients) > 0 {
		return slices.ContainsFunc(c.cfg.Clients, contains)
	}
	return client.IsLoopback() || slices.ContainsFunc(c.around.current(false).OnLink, contains)
}

// hear reads a client's message to its last octet: what follows is the server's.
func (c *Converter) hear(o *conversion) convert.Verdict {
	o.conn.SetReadDeadline(time.Now().Add(messageTime))
	defer o.conn.SetReadDeadline(time.Time{})
	b := make([]byte, convert.MaxLen)
	at, want := 0, convert.HeaderLen
	for {
		n, err := o.conn.Read(b[at:want])
		verdict := convert.More
		c.mu.Lock()
		if n > 0 {
			verdict, _ = o.client.Receive(c.now(), b[at:at+n])
		}
		if verdict == convert.More && err != nil {
			verdict = o.client.EOF(c.now())
		}
		c.mu.Unlock()
		if at += n; at == convert.HeaderLen {
			want, _ = convert.ParseHeader(b[:at])
		}
		if verdict != convert.More {
			return verdict
		}
	}
}

// rotate takes another secret for cookies now and then. mu is held.
func (c *Converter) rotate() {
	if time.Since(c.rotated) > secretTime {
		c.rotated = time.Now()
		c.gate.Rotate(secret())
	}
}

// tell says why not, and leaves in order: a reset could overtake what was said.
func tell(conn *net.TCPConn, answer []byte) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(tellTime))
	if _, err := conn.Write(answer); err != nil {
		return
	}
	conn.CloseWrite()
	drop := make([]byte, 4<<10)
	for {
		if _, err := conn.Read(drop); err != nil {
			return
		}
	}
}

func (c *Converter) accept(ctx context.Context) (relay.Offer, error) {
	select {
	case o := <-c.offers:
		return o, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Dial is part of relay.Dialer. It notes whether the target speaks Multipath TCP.
func (c *Converter) Dial(ctx context.Context, target netip.AddrPort) (relay.Stream, error) {
	conn, err := c.dial(ctx, "tcp", target.String())
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	speaks, err := tcp.MultipathTCP()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.speakers) >= speakersMax {
		clear(c.speakers)
	}
	c.speakers[target] = err == nil && speaks
	return relay.NetStream(tcp), nil
}

// capable are the options of a SYN/ACK that accepts Multipath TCP (RFC 8684 3.1), of which the kernel tells that alone: the key
// is nobody's.
var capable = []byte{convert.MPTCP, 12, 0x01, 0x01, 0, 0, 0, 0, 0, 0, 0, 0}

// A conversion is what a client has asked for. It is a relay.Offer.
type conversion struct {
	converter *Converter
	conn      *net.TCPConn
	client    *convert.Converter
}

// Source is the client's address.
func (o *conversion) Source() netip.AddrPort { return o.conn.RemoteAddr().(*net.TCPAddr).AddrPort() }

// Target is the server's.
func (o *conversion) Target() netip.AddrPort { return o.client.Request().Target }

// Accept tells the client that it is connected.
func (o *conversion) Accept() (relay.Stream, error) {
	c := o.converter
	c.mu.Lock()
	var options []byte
	if c.speakers[o.Target()] {
		options = capable
	}
	answer := o.client.Connected(options)
	c.mu.Unlock()
	if _, err := o.conn.Write(answer); err != nil {
		reset(o.conn)
		return nil, err
	}
	return relay.NetStream(o.conn), nil
}

// Refuse tells the client why it is not.
func (o *conversion) Refuse(why error) {
	if errors.Is(why, os.ErrPermission) {
		why = syscall.EACCES
	}
	o.converter.mu.Lock()
	answer := o.client.Failed(o.converter.now(), convert.FailureOf(why, o.Target().Addr()))
	o.converter.mu.Unlock()
	tell(o.conn, answer)
}

// end forgets the client.
func (o *conversion) end() {
	o.converter.mu.Lock()
	defer o.converter.mu.Unlock()
	o.client.End()
}
