package engine

import (
	"crypto/rand"
	"io"
	"log/slog"
	"net/netip"
	"sync"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// Config says what an engine takes from the world. The zero Config takes the system's clock and
// randomness, and logs nothing.
type Config struct {
	// Now is the engine's clock; nil means clock.System(). It must be safe for concurrent use and
	// never go back.
	Now func() clock.Time

	// Entropy gives keys, nonces and initial sequence numbers; nil means crypto/rand.Reader. The
	// engine never reads it from two goroutines at once.
	Entropy io.Reader

	Log    *slog.Logger // rare events only; nil: none
	Limits Limits       // of every bond that brings none of its own
}

// Limits bound what peers and applications can make a bond keep. A zero field means its default.
type Limits struct {
	mptcp.Limits

	// Inbox bounds the octets of packets that were delivered on one path and wait for the loop, a
	// packet costing 64 octets beyond its length. The default, 4 MiB, is what a link of 1 Gbit/s
	// brings in 32 ms: longer than a busy loop stays away, and as much again may be in the loop's hands.
	Inbox int
}

const (
	inboxDefault  = 4 << 20
	offersDefault = 512
)

// withDefaults fills in the limits that the engine itself enforces; the machine knows its own.
func (l Limits) withDefaults() Limits {
	if l.Inbox == 0 {
		l.Inbox = inboxDefault
	}
	if l.Offers == 0 {
		l.Offers = offersDefault
	}
	return l
}

// Engine is a set of bonds that share a clock, a source of randomness and buffers.
type Engine struct {
	now     func() clock.Time
	entropy io.Reader
	log     *slog.Logger
	limits  Limits
	blocks  sync.Pool // of *block: a bond holds one only while it is busy

	mu     sync.Mutex
	bonds  map[*Bond]struct{}
	closed bool
}

// New returns an engine without bonds. It starts no goroutine.
func New(cfg Config) *Engine {
	e := &Engine{
		now:    cfg.Now,
		log:    cfg.Log,
		limits: cfg.Limits,
		blocks: sync.Pool{New: func() any { return new(block) }},
		bonds:  make(map[*Bond]struct{}),
	}
	if e.now == nil {
		e.now = clock.System()
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Entropy == nil {
		cfg.Entropy = rand.Reader
	}
	e.entropy = &source{from: cfg.Entropy}
	return e
}

// BondConfig says how a bond behaves. The zero BondConfig speaks plain RFC 8684 with any host.
type BondConfig struct {
	// Config is the machine's. Its Entropy, if nil, and its Limits are the engine's.
	mptcp.Config

	Name   string  // for logs
	Limits *Limits // nil: the engine's

	// Packets takes what comes over the datagram lane, whole IP packets; nil: they are dropped and
	// counted. Event takes what happens to the peer and the paths; nil: nobody does. The loop calls both: they
	// must not wait, nor call the bond except for SendPackets and Ping, and Packets keeps nothing.
	Packets func(pkts [][]byte)
	Event   func(Event)
}

// Bond starts a bond without paths: one goroutine, which ends with its Close. A bond of a closed
// engine is closed already.
func (e *Engine) Bond(cfg BondConfig) *Bond {
	limits := e.limits
	if cfg.Limits != nil {
		limits = *cfg.Limits
	}
	cfg.Config.Limits = limits.Limits
	if cfg.Entropy == nil {
		cfg.Entropy = e.entropy
	}
	b := newBond(e, cfg, limits.withDefaults())
	e.mu.Lock()
	late := e.closed
	if !late {
		e.bonds[b] = struct{}{}
	}
	e.mu.Unlock()
	go b.run()
	if late {
		b.Close()
	}
	return b
}

// Close closes all bonds. When it returns no goroutine of the engine is left.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	bonds := make([]*Bond, 0, len(e.bonds))
	for b := range e.bonds {
		bonds = append(bonds, b)
	}
	e.mu.Unlock()
	for _, b := range bonds {
		b.Close()
	}
	return nil
}

func (e *Engine) forget(b *Bond) {
	e.mu.Lock()
	delete(e.bonds, b)
	e.mu.Unlock()
}

// A source lets the loops of all bonds draw from one reader.
type source struct {
	mu   sync.Mutex
	from io.Reader
}

func (s *source) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return io.ReadFull(s.from, p)
}

// unmap makes an IPv4 address out of one mapped into IPv6, as the machine wants it.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
