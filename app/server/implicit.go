package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/tun"

	"tandem/app/tally"
	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/platform"
	"tandem/tunnel/implicit"
	"tandem/tunnel/relay"
)

// ImplicitConfig says where packets come by, and what may be reached.
type ImplicitConfig struct {
	Device              string       // of the TUN that Run makes, into which the packets of clients are routed
	Own                 []netip.Addr // one of a family: announced to clients, routed to this machine, and on none of its interfaces
	AllowLAN, AllowSMTP bool         // as of a hub
	Metrics             string       // as of a hub
	Log                 *slog.Logger // nil: none

	Inactivity engine.Inactivity // how long connections may be idle; Most 0: ImplicitPatience
	Prototype  mptcp.Prototype   // what the option of the drafts' prototypes means
}

// ImplicitPatience is how long a client without a subflow may have its connections kept, unless told otherwise: anybody
// may ask for a day.
const ImplicitPatience = 10 * time.Minute

const (
	implicitMTU  = 1500
	implicitRoom = 16 // octets before a packet, which devices write headers of theirs into

	// implicitFlows is below what the engine would refuse with a reset: beyond it, SYNs go on to their targets.
	implicitFlows       = 8192
	implicitConnections = 2 * implicitFlows

	implicitKeepalive = 2 * time.Minute // after which a client that says nothing is asked whether it is there

	readFailuresMax = 64 // in a row, with which a device counts as broken
)

// An Implicit is a proxy that packets pass: see tunnel/implicit.
type Implicit struct {
	cfg    ImplicitConfig
	host   platform.Host
	around surroundings
	dial   func(ctx context.Context, network, target string) (net.Conn, error)

	proxy  *implicit.Proxy
	engine *engine.Engine
	bond   *engine.Bond
	way    *engine.Attachment
	out    deviceWriter
}

// NewImplicit checks the configuration. Nothing of the system is touched before Run.
func NewImplicit(cfg ImplicitConfig) (*Implicit, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	i := &Implicit{cfg: cfg, around: surroundings{rules: Rules{SMTP: cfg.AllowSMTP}, list: net.InterfaceAddrs}}
	p := engine.PathConfig{MTU: implicitMTU}
	for _, a := range cfg.Own {
		switch {
		case !a.IsGlobalUnicast() || a.Is4In6() || a.Zone() != "":
			return nil, fmt.Errorf("%v is no address that clients reach", a)
		case a.Is4() && p.Local4.IsValid(), a.Is6() && p.Local6.IsValid():
			return nil, fmt.Errorf("%v is the second address of its family: one is announced", a)
		case a.Is4():
			p.Local4 = a
		default:
			p.Local6 = a
		}
	}
	if len(cfg.Own) == 0 {
		return nil, errors.New("an implicit proxy needs an address of its own, to which further subflows come: name it with --announce")
	}
	if err := checkMetrics(cfg.Metrics); err != nil {
		return nil, err
	}
	i.dial = multipathDialer(func(address string) error { return reaches(&i.around, cfg.AllowLAN, address) })
	i.engine = engine.New(engine.Config{Log: cfg.Log, Limits: engine.Limits{Limits: mptcp.Limits{Connections: implicitConnections}}})
	i.bond = i.engine.Bond(engine.BondConfig{Name: "implicit", Config: cfg.machine()})
	i.way = i.bond.AttachWith(&i.out, p)
	i.proxy = implicit.New(implicit.Config{
		Own: cfg.Own, Deliver: i.way.Deliver, Forward: func(pkts [][]byte) { i.out.Send(pkts) }, Dial: i.reach,
		Flows: implicitFlows, Log: cfg.Log,
	})
	return i, nil
}

// machine is how the bond with all clients behaves.
func (cfg *ImplicitConfig) machine() mptcp.Config {
	idle := cfg.Inactivity
	if idle.Most == 0 && !idle.Fixed {
		idle.Most = ImplicitPatience
	}
	return mptcp.Config{
		AnyTarget: true, NoJoinsHere: true, Announce: true, Keepalive: implicitKeepalive, Inactivity: idle, Prototype: cfg.Prototype,
	}
}

// Counters returns what became of connections so far.
func (i *Implicit) Counters() implicit.Counters { return i.proxy.Counters() }

// tally is all that is counted.
func (i *Implicit) tally() tally.Tally {
	t := tally.Of(i.bond.Counters())
	t.AddAll("proxy_", i.Counters())
	return t
}

// Run makes the device and serves until ctx ends, which gives nil, or the device fails. It is called once. All connections
// have ended when it returns, and the system is as before.
func (i *Implicit) Run(ctx context.Context) (err error) {
	defer i.engine.Close()
	if i.cfg.Metrics != "" {
		m, err := listenMetrics(i.cfg.Metrics, tallied{metricImplicit, i.tally})
		if err != nil {
			return err
		}
		defer m.Close()
	}
	if i.host == nil {
		if i.host, err = platform.New(platform.Config{Log: i.cfg.Log}); err != nil {
			return err
		}
	}
	device, err := i.host.Tun(i.cfg.Device, implicitMTU)
	if err != nil {
		return err
	}
	defer device.Close()
	routing := platform.Routing{MTU: implicitMTU}
	if routing.Tun, err = device.Name(); err != nil {
		return err
	}
	for _, a := range i.cfg.Own {
		routing.Capture = append(routing.Capture, netip.PrefixFrom(a, a.BitLen()))
	}
	if err := i.host.Route(routing); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.host.Route(platform.Routing{})) }()
	i.out.use(device)
	i.cfg.Log.Info("implicit proxy runs", "device", routing.Tun, "announces", i.cfg.Own)
	return i.serve(ctx, device)
}

func (i *Implicit) serve(ctx context.Context, device platform.Tun) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var reading sync.WaitGroup
	reading.Go(func() {
		if err := i.read(device); ctx.Err() == nil {
			cancel(err)
		}
	})
	relay.Serve(ctx, i.accept, i.proxy, relay.Config{Rate: 2000, Log: i.cfg.Log})
	err := context.Cause(ctx)
	i.bond.Close()
	device.Close()
	reading.Wait()
	n := i.Counters()
	i.cfg.Log.Info("implicit proxy ends", "taken", n.Taken, "speaking", n.Stepped+n.Bypassed, "failed", n.Failed, "full", n.Full)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// read sorts what comes until the device is closed or broken.
func (i *Implicit) read(device platform.Tun) error {
	bufs := make([][]byte, max(device.BatchSize(), 1))
	sizes := make([]int, len(bufs))
	for n := range bufs {
		bufs[n] = make([]byte, implicitRoom+implicitMTU)
	}
	pkts := make([][]byte, 0, len(bufs))
	for failures := 0; ; {
		n, err := device.Read(bufs, sizes, implicitRoom)
		pkts = pkts[:0]
		for k := range n {
			pkts = append(pkts, bufs[k][implicitRoom:implicitRoom+sizes[k]])
		}
		i.proxy.Receive(pkts)
		switch {
		case err == nil, errors.Is(err, tun.ErrTooManySegments):
			failures = 0
		case errors.Is(err, os.ErrClosed), failures == readFailuresMax:
			return fmt.Errorf("reading the device: %w", err)
		default:
			failures++
		}
	}
}

func (i *Implicit) accept(ctx context.Context) (relay.Offer, error) {
	o, err := i.bond.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return i.proxy.Offer(passing{o}), nil
}

// reach connects to a target with the kernel's Multipath TCP.
func (i *Implicit) reach(ctx context.Context, target netip.AddrPort) (relay.Stream, bool, error) {
	conn, err := i.dial(ctx, "tcp", target.String())
	if err != nil {
		return nil, false, err
	}
	tcp := conn.(*net.TCPConn)
	speaks, err := tcp.MultipathTCP()
	return relay.NetStream(tcp), err == nil && speaks, nil
}

// A passing is an engine's offer as tunnel/implicit wants it.
type passing struct{ *engine.Offer }

// Accept is part of implicit.Asked.
func (p passing) Accept() (relay.Stream, error) {
	c, err := p.Offer.Accept()
	if err != nil {
		return nil, err
	}
	return c, nil
}

var _ implicit.Asked = passing{}

// A deviceWriter writes packets to a device, each behind the room that the device wants. Before it has one it drops them.
type deviceWriter struct {
	mu     sync.Mutex
	device platform.Tun
	bufs   [][]byte
}

func (w *deviceWriter) use(device platform.Tun) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.device, w.bufs = device, make([][]byte, max(device.BatchSize(), 1))
}

// Send is part of engine.Path.
func (w *deviceWriter) Send(pkts [][]byte) (first error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.device == nil {
		return os.ErrClosed
	}
	var room [implicitRoom]byte
	for len(pkts) > 0 {
		n := min(len(pkts), len(w.bufs))
		for k, pkt := range pkts[:n] {
			w.bufs[k] = append(append(w.bufs[k][:0], room[:]...), pkt...)
		}
		if _, err := w.device.Write(w.bufs[:n], implicitRoom); err != nil && first == nil {
			first = err
		}
		pkts = pkts[n:]
	}
	return first
}
