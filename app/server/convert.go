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
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem/app/tally"
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
	Metrics             string         // as of a hub
	Log                 *slog.Logger   // nil: none
}

// Bounds of a converter.
const (
	convertWaiting = 1024             // clients that have not said what they want
	convertDialing = 4096             // requests that wait for targets, of which a client has a share
	convertRate    = 2000             // dials per second
	messageTimeMax = 10 * time.Second // to say it
	tellTime       = 2 * time.Second  // for a client to take an answer and leave
	acceptPause    = 10 * time.Millisecond
	filesEach      = 2             // that a connection takes
	secretTime     = 6 * time.Hour // that cookies are made of one secret
)

// ConvertCounters count what became of connections since the converter began.
type ConvertCounters struct {
	Clients uint64 // connections
	Crowded uint64 // of them, reset because too many had not said what they want, or their client had its share of files
	Foreign uint64 // of them, refused because their clients may not use it
	Paused  uint64 // dials that stopped before the second SYN, because the client had not shown that it was there
	convert.GateCounters
}

// A Converter connects clients that speak Multipath TCP to servers that may not (RFC 8803), with the kernel's own sockets.
type Converter struct {
	cfg      ConvertConfig
	listener net.Listener
	now      func() clock.Time
	around   surroundings
	dial     func(ctx context.Context, network, target string) (net.Conn, error)
	waiting  *crowd // clients that have not said what they want
	offers   chan *conversion

	clients, crowded, foreign, paused atomic.Uint64

	files       *crowd // connections
	hasRoute    func(network, address string) bool
	messageTime time.Duration
	synTime     time.Duration
	settled     func(*net.TCPConn) bool // the client's handshake is over
	enabled     string                  // the file that says whether the kernel speaks Multipath TCP

	mu      sync.Mutex
	gate    *convert.Gate
	rotated time.Time
	asking  map[netip.AddrPort]*conversion // by client, those that are not answered yet
}

// NewConverter listens. Nothing is answered before Run.
func NewConverter(cfg ConvertConfig) (*Converter, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := checkMetrics(cfg.Metrics); err != nil {
		return nil, err
	}
	l, err := multipath.Listen(context.Background(), cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("the converter: %w", err)
	}
	c := &Converter{
		cfg: cfg, listener: l, now: clock.System(), waiting: newCrowd(convertWaiting), offers: make(chan *conversion),
		around:  surroundings{rules: Rules{SMTP: cfg.AllowSMTP}, list: net.InterfaceAddrs},
		rotated: time.Now(),
		asking:  map[netip.AddrPort]*conversion{}, hasRoute: hasRoute, messageTime: messageTimeMax, synTime: synTimeMax,
		settled: multipath.Settled, enabled: "/proc/sys/net/mptcp/enabled",
		gate: convert.NewGate(convert.GateConfig{
			Supported: []uint8{convert.MPTCP, convert.SACKPermitted, convert.Timestamps}, Cookies: cfg.Cookies, Secret: secret(),
			PendingAll: convertDialing, EntryEvery: time.Second / dialsPerSecond,
		}),
	}
	c.files = newCrowd(max(openFiles("/proc/self/limits")-filesKept, 4*shareMin) / filesEach)
	c.dial = multipathDialer(c.reaches)
	return c, nil
}

// reaches says why an address may not be reached; nil: it may.
func (c *Converter) reaches(address string) error { return reaches(&c.around, c.cfg.AllowLAN, address) }

func reaches(around *surroundings, lan bool, address string) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return around.current(lan).Check("tcp", netip.AddrPortFrom(target.Addr().Unmap(), target.Port()))
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
	return ConvertCounters{c.clients.Load(), c.crowded.Load(), c.foreign.Load(), c.paused.Load(), c.gate.Counters()}
}

// Run serves until ctx ends, which gives nil, or the listener fails. All connections have ended when it returns.
func (c *Converter) Run(ctx context.Context) error {
	if c.cfg.Metrics != "" {
		m, err := listenMetrics(c.cfg.Metrics, tallied{metricConvert, func() tally.Tally { return tally.Of(c.Counters()) }})
		if err != nil {
			return errors.Join(err, c.listener.Close())
		}
		defer m.Close()
	}
	for _, w := range c.warnings() {
		c.cfg.Log.Warn(w)
	}
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
	relay.Serve(ctx, c.accept, c, relay.Config{Dialing: convertDialing, Rate: convertRate, Log: c.cfg.Log})
	if err := <-failed; ctx.Err() == nil || !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// warnings says what those who run a converter should know.
func (c *Converter) warnings() (all []string) {
	if on, err := os.ReadFile(c.enabled); err != nil || strings.TrimSpace(string(on)) != "1" {
		all = append(all, "this machine's kernel does not speak Multipath TCP (sysctl net.mptcp.enabled=1): each connection takes one link")
	}
	here := c.around.current(false).OnLink
	for _, p := range c.cfg.Clients {
		within := func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) }
		if !c.cfg.Cookies && !p.Addr().IsLoopback() && !slices.ContainsFunc(here, within) {
			all = append(all, fmt.Sprintf("clients of %v come from afar, so others can ask in their names with one packet: --cookies prevents that", p))
		}
	}
	return all
}

func (c *Converter) listen(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		conn, err := c.listener.Accept()
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return err
		default:
			// Files or memory that are short, or what Linux hands on of the connection's own network: it passes.
			time.Sleep(acceptPause)
			continue
		}
		c.clients.Add(1)
		tcp := conn.(*net.TCPConn)
		said, leave := c.enter(clientOf(tcp))
		if leave == nil {
			c.crowded.Add(1)
			reset(tcp)
			continue
		}
		running.Go(func() {
			defer said()
			c.welcome(ctx, tcp, leave)
		})
	}
}

// enter finds a place for a client among those that have not said what they want, and files for its connection; both are
// given back by calling what it returns. Nil: there is no room.
func (c *Converter) enter(client netip.Addr) (said, leave func()) {
	if said = c.waiting.enter(client); said == nil {
		return nil, nil
	}
	if leave = c.files.enter(client); leave == nil {
		said()
		return nil, nil
	}
	return said, leave
}

func reset(conn *net.TCPConn) { relay.NetStream(conn).Abort(nil) }

func clientOf(conn *net.TCPConn) netip.Addr {
	return conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("")
}

// welcome hears what a client wants, and offers that to the relay, or tells why not.
func (c *Converter) welcome(ctx context.Context, conn *net.TCPConn, leave func()) {
	offered := false
	defer func() {
		if !offered {
			leave()
		}
	}()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	client := clientOf(conn)
	served := c.serves(client)
	c.mu.Lock()
	c.rotate()
	m := c.gate.Open(client)
	if !served {
		m.Refuse(c.now())
	}
	c.mu.Unlock()
	if !served {
		c.foreign.Add(1)
		c.cfg.Log.Debug("a client that may not use this converter", "client", client)
		tell(conn, m.Answer())
		return
	}
	o := newConversion(c, conn, m, leave)
	switch c.hear(o) {
	case convert.Dial:
		o.begin()
		go o.watch()
		select {
		case c.offers <- o:
			offered = true
			return
		case <-o.gone:
		case <-ctx.Done():
		}
		o.end()
		conn.Close()
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
	o.conn.SetReadDeadline(time.Now().Add(c.messageTime))
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
	multipath.Settle(conn, tellTime)
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
