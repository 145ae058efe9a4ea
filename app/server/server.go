// Package server is the hub: the devices that joined it and the invites for more, a bond for each device
// that is heard, and what it may reach through the hub.
//
//	tunnel/carrier.Hub ──► entrance ──► session: bond ──► relay ──► the Internet
//	one socket, a peer        │            │ datagrams, DNS
//	per slot and invite       └─ desk: enrolment
//	                                       registry ──► store: who may come, and where they were
//
// Goroutines: those of the carrier, which deliver packets and wait for nothing; those of each session;
// one for each carrier whose first packet has come; one for what is to be done from time to time; those
// of the sockets for its owner's commands and for metrics. All have ended when Run has returned.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"tandem/app/invite"
	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/engine/schedule"
	"tandem/tunnel/carrier"
	"tandem/tunnel/relay"
)

// DefaultScheduler is "cost": it does as devices wish. Those that want money saved tell what their paths cost, the others
// nothing, and among paths that cost the same it chooses as "earliest" does.
const DefaultScheduler = "cost"

// DefaultPort is the UDP port that a hub listens on unless told otherwise.
const DefaultPort = invite.DefaultPort

const (
	sweepEvery  = time.Second
	surveyEvery = 10 * time.Second
	flushEvery  = 5 * time.Minute // of usage: a crash forgets no more than that

	// pace is the time between two invitations to come back, after a start.
	pace = 10 * time.Millisecond

	// partingTime is how long the last packets have to leave before the socket closes.
	partingTime = 100 * time.Millisecond
)

// Config says what a hub is. Only State must be set.
type Config struct {
	State     string         // directory of the store and the command socket
	Listen    netip.AddrPort // of devices' UDP; the zero AddrPort: DefaultPort on all addresses
	Endpoints []string       // HOST:PORT where devices find the hub; nil: its own addresses
	AllowLAN  bool           // every device may reach the hub's local network
	AllowSMTP bool           // devices may reach TCP port 25
	Metrics   string         // loopback HOST:PORT for Prometheus; "": none
	Upstreams []string       // HOST:PORT of the resolvers to ask; nil: those of resolv.conf
	Scheduler string         // of what devices download, see schedule.New; "": DefaultScheduler
	CostV     int            // of the scheduler "cost", see schedule.Cost; 0: its default
	CostRate  int            // that it demands of dear links, octets a second; 0: none
	Bind      conn.Bind      // nil: UDP at Listen
	Dialer    relay.Dialer   // nil: this host's TCP
	Log       *slog.Logger   // nil: none

	Inactivity engine.Inactivity // how long connections may be idle, and what becomes of what devices ask for
}

// A Server is a running hub.
type Server struct {
	cfg      Config
	log      *slog.Logger
	registry *registry
	hub      *carrier.Hub
	engine   *engine.Engine
	public   carrier.Key
	doubt    string // why devices may not find the hub; "": nothing speaks against it

	inner4, inner6 netip.Addr // the hub's

	surroundings surroundings
	resolver     *resolver
	routed       routed
	budget       *budget // files of connections
	ports        *budget // files of datagrams
	memory       int     // octets that this process may use
	counters     struct{ limited atomic.Uint64 }

	ctx    context.Context // ends when the server does
	cancel context.CancelFunc

	changing sync.Mutex // one change of devices and invites at a time; locked before mu

	surveying sync.Mutex
	closing   func() error // does it once

	mu      sync.Mutex
	devices map[int]*device
	desks   map[int]*desk
	ended   bool
	running sync.WaitGroup
}

// New opens a hub: from now on devices can join it. Whoever does not Run it must Close it. The error
// says which file, address or port it is about.
func New(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	r, err := openRegistry(cfg.State)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, registry: r, public: r.hub.Key.Public(),
		engine:  engine.New(engine.Config{Log: cfg.Log}),
		memory:  memoryLimit("/proc/meminfo", "/sys/fs/cgroup/memory.max"),
		devices: map[int]*device{}, desks: map[int]*desk{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.closing = sync.OnceValue(s.end)
	s.inner4, s.inner6 = invite.HubAddrs(s.public)
	s.surroundings = surroundings{
		rules: Rules{LAN: cfg.AllowLAN, SMTP: cfg.AllowSMTP, Inner6: invite.Inner6(s.public)},
		list:  net.InterfaceAddrs,
	}
	s.routed.has = hasRoute
	s.resolver = newResolver(cfg.Upstreams, s.routed.ipv6)
	s.budget, s.ports = newBudgets(openFiles("/proc/self/limits"))
	if err := s.open(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (cfg *Config) validate() error {
	if _, ok := schedule.New(cfg.Scheduler); !ok {
		return fmt.Errorf("%q is not a scheduler", cfg.Scheduler)
	}
	for _, e := range cfg.Endpoints {
		if err := invite.CheckEndpoint(e); err != nil {
			return fmt.Errorf("endpoint: %w", err)
		}
	}
	if len(cfg.Endpoints) > invite.EndpointsMax {
		return fmt.Errorf("a hub has at most %d endpoints, not %d", invite.EndpointsMax, len(cfg.Endpoints))
	}
	return checkMetrics(cfg.Metrics)
}

// machine is how a device's bond behaves, but for what depends on the surroundings.
func (cfg *Config) machine() mptcp.Config {
	return mptcp.Config{Paired: true, Scheduler: cfg.scheduler(), CostV: cfg.CostV, CostRate: cfg.CostRate, Inactivity: cfg.Inactivity}
}

// scheduler returns what chooses paths for what devices download.
func (cfg *Config) scheduler() string {
	if cfg.Scheduler == "" {
		return DefaultScheduler
	}
	return cfg.Scheduler
}

// listen returns where the hub listens: "::" means both families.
func (cfg *Config) listen() netip.AddrPort {
	if cfg.Listen == (netip.AddrPort{}) {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), DefaultPort)
	}
	return cfg.Listen
}

// open makes the hub listen, and know everybody whom the store knows.
func (s *Server) open() (err error) {
	listen := s.cfg.listen()
	bind := s.cfg.Bind
	if bind == nil {
		bind = carrier.UDP(carrier.UDPConfig{Listen: listen})
	}
	s.hub, err = carrier.Listen(carrier.HubConfig{Private: s.registry.hub.Key, Bind: bind, MTU: mtuOver4, Log: s.log})
	if err != nil {
		return listenError(listen, err)
	}
	endpoints := s.cfg.endpoints(s.hub.Port(), s.surroundings.current(false).Own)
	s.doubt = s.cfg.doubt(s.hub.Port(), endpoints)
	kept := s.doubt
	if len(s.cfg.Endpoints) > 0 {
		kept = "" // who forwards a port need not hear of it with every invite
	}
	if err := s.registry.setEndpoints(endpoints, kept); err != nil {
		return err
	}
	if _, _, err := s.registry.sweep(time.Now()); err != nil {
		return err
	}
	p := s.registry.picture()
	for i, d := range p.devices {
		if time.Since(p.traffic[i].Seen) > endpointLife {
			p.traffic[i].Endpoints = [invite.Slots]netip.AddrPort{}
		}
		s.insert(s.add(d, p.traffic[i].Endpoints))
	}
	for _, i := range p.invites {
		if s.desks[i.Number], err = s.openDesk(i); err != nil {
			return fmt.Errorf("invite %d: %w", i.Number, err)
		}
	}
	return nil
}

func listenError(at netip.AddrPort, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("UDP port %d is taken by another program: stop that one, or choose another port with --listen", at.Port())
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("UDP port %d is for root only: choose one above 1023 with --listen", at.Port())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%v is no address of this machine: correct --listen", at.Addr())
	}
	return fmt.Errorf("listening on %v: %w", at, err)
}

// Port returns the UDP port that devices come to.
func (s *Server) Port() uint16 { return s.hub.Port() }

// Run serves the hub until ctx ends, and closes it. It returns an error when it could not begin, or
// could not write down what it knew at the end.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	commands, err := s.listenCommands()
	if err != nil {
		return err
	}
	defer commands.Close()
	if s.cfg.Metrics != "" {
		m, err := listenMetrics(s.cfg.Metrics, gauges{s})
		if err != nil {
			return err
		}
		defer m.Close()
	}
	s.start(s.callAll)
	s.log.Info("hub is up", "port", s.Port(), "endpoints", s.registry.picture().hub.Endpoints, "devices", len(s.all()))
	if s.doubt != "" {
		s.log.Warn(s.doubt)
	}
	if ping := checkPing(); !ping.OK {
		s.log.Warn(ping.Text)
	}
	s.tick(ctx)
	commands.Close() // what they ask for from now on would come too late
	return s.Close()
}

// tick does what is to be done from time to time, until ctx ends or the server is closed.
func (s *Server) tick(ctx context.Context) {
	sweep, survey, flush := time.NewTicker(sweepEvery), time.NewTicker(surveyEvery), time.NewTicker(flushEvery)
	defer sweep.Stop()
	defer survey.Stop()
	defer flush.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-s.ctx.Done():
			return
		case now := <-sweep.C:
			err = s.sweep(now)
		case now := <-survey.C:
			if s.survey(now) {
				err = s.registry.flush()
			}
		case <-flush.C:
			err = s.registry.flush()
		}
		if err != nil {
			s.log.Error("the store takes nothing: what changes is lost when the hub stops", "err", err)
		}
	}
}

// sweep forgets what is over.
func (s *Server) sweep(now time.Time) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	invites, tombs, err := s.registry.sweep(now)
	s.closeDesks(invites)
	for _, t := range tombs {
		s.mu.Lock()
		d := s.devices[t.Number]
		delete(s.devices, t.Number)
		s.mu.Unlock()
		if d != nil {
			d.remove()
		}
	}
	return err
}

// survey notes what devices did, and reports whether one of them is elsewhere than the store says.
func (s *Server) survey(now time.Time) (moved bool) {
	s.surveying.Lock()
	defer s.surveying.Unlock()
	families := s.routed.families()
	for _, d := range s.all() {
		moved = d.survey(now, families) || moved
	}
	return moved
}

// callAll invites devices back after a start, those first that were seen last.
func (s *Server) callAll() {
	p := s.registry.picture()
	seen := map[int]time.Time{}
	for i, d := range p.devices {
		seen[d.Number] = p.traffic[i].Seen
	}
	all := s.all()
	slices.SortFunc(all, func(a, b *device) int { return seen[b.record.Number].Compare(seen[a.record.Number]) })
	t := time.NewTicker(pace)
	defer t.Stop()
	for _, d := range all {
		d.call(t.C, s.ctx)
	}
}

// Close ends the hub: devices are told, their connections reset, and what is known of them is written
// down. It may be called more than once.
func (s *Server) Close() error { return s.closing() }

func (s *Server) end() error {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()
	if s.hub != nil {
		var parting sync.WaitGroup
		for _, d := range s.all() {
			parting.Go(func() { d.end(engine.ByeShutdown, func() { d.removed = true }) })
		}
		parting.Wait()
		time.Sleep(partingTime)
		s.survey(time.Now())
		s.hub.Close()
	}
	s.engine.Close()
	return s.registry.close()
}

// start runs f in a goroutine that Close waits for. It reports false, and does not, when the server has
// ended.
func (s *Server) start(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.running.Go(f)
	return true
}

func (s *Server) all() []*device {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.devices), func(a, b *device) int { return a.record.Number - b.record.Number })
}

func (s *Server) device(number int) *device {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.devices[number]
}

func (s *Server) insert(d *device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices[d.record.Number] = d
}

// inside reports whether a target is a port of the hub's own inside the tunnel.
func (s *Server) inside(target netip.AddrPort, port uint16) bool {
	a := target.Addr().Unmap()
	return target.Port() == port && (a == s.inner4 || a == s.inner6)
}
