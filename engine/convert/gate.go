package convert

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"
	"time"

	"tandem/engine/clock"
)

// GateConfig is what a converter wants of its clients and does for them. Zero bounds are replaced by the
// defaults.
type GateConfig struct {
	Supported []uint8  // options that clients may ask for, of SACKPermitted, Timestamps, MPTCP and FastOpen
	Cookies   bool     // clients need a cookie
	Secret    [32]byte // of which cookies are made, hard to guess; see Rotate

	Pending    int           // requests of one client that wait for servers, at most half of what others leave: 256
	PendingAll int           // of all clients: 4096
	EntryEvery time.Duration // one request of each client, on average: 5 ms
	EntryBurst int           // at once: 256
	Wait       time.Duration // what clients are told to wait when there are more: 5 s
	ErrorEvery time.Duration // one error for each client, on average: 10 ms
	ErrorBurst int           // at once: 100
	Clients    int           // whose requests and errors are counted, some 200 octets each: 4096
}

// A Gate is what the connections to one converter share. One goroutine at a time may use it and what it opens.
type Gate struct {
	cfg      GateConfig
	secrets  [2][32]byte // the current one, and the one before
	epochs   int         // of these
	pending  map[netip.Addr]int
	all      int
	entries  pace // of requests
	errors   pace
	counters GateCounters
}

// GateCounters count what came of connections since the gate was made.
type GateCounters struct {
	Requests  uint64      // handed out to dial
	Infos     uint64      // answered with what is supported
	Connected uint64      // answered well
	Ignored   uint64      // not of this protocol
	Broken    uint64      // reset: without a length, or an error sent to us
	Full      uint64      // over Pending or PendingAll
	Hurried   uint64      // over EntryEvery and EntryBurst
	Silenced  uint64      // errors not sent because there were too many
	Forgotten uint64      // clients that had to make room for others
	Errors    [256]uint64 // by Code, sent or not
}

// NewGate returns a gate. It panics if it is to support an option that clients cannot ask for.
func NewGate(cfg GateConfig) *Gate {
	for _, kind := range cfg.Supported {
		if kind != SACKPermitted && kind != Timestamps && kind != MPTCP && kind != FastOpen {
			panic("convert: no converter supports that option")
		}
	}
	for _, d := range []struct {
		bound *int
		value int
	}{{&cfg.Pending, 256}, {&cfg.PendingAll, 4096}, {&cfg.EntryBurst, 256}, {&cfg.ErrorBurst, 100}, {&cfg.Clients, 4096}} {
		if *d.bound == 0 {
			*d.bound = d.value
		}
	}
	if cfg.Wait == 0 {
		cfg.Wait = 5 * time.Second
	}
	if cfg.EntryEvery == 0 {
		cfg.EntryEvery = 5 * time.Millisecond
	}
	if cfg.ErrorEvery == 0 {
		cfg.ErrorEvery = 10 * time.Millisecond
	}
	return &Gate{
		cfg: cfg, secrets: [2][32]byte{cfg.Secret}, epochs: 1,
		pending: map[netip.Addr]int{},
		entries: newPace(cfg.EntryEvery, cfg.EntryBurst, cfg.Clients),
		errors:  newPace(cfg.ErrorEvery, cfg.ErrorBurst, cfg.Clients),
	}
}

// Rotate makes cookies of another secret from now on. Those of the secret before are good until the next call.
func (g *Gate) Rotate(secret [32]byte) {
	g.secrets = [2][32]byte{secret, g.secrets[0]}
	g.epochs = 2
}

// Open returns the machine for a connection that came from client.
func (g *Gate) Open(client netip.Addr) *Converter {
	return &Converter{gate: g, client: client.Unmap().WithZone("")}
}

// Pending returns how many requests wait for servers.
func (g *Gate) Pending() int { return g.all }

// Counters returns the counters.
func (g *Gate) Counters() GateCounters {
	n := g.counters
	n.Forgotten = g.entries.clients.forgotten + g.errors.clients.forgotten
	return n
}

// cookieLen is as long as the longest cookie of TFO.
const cookieLen = 16

// cookie is what proves that a client was told something at its address (RFC 8803 6.2.7).
func (g *Gate) cookie(epoch int, client netip.Addr) []byte {
	h := hmac.New(sha256.New, g.secrets[epoch][:])
	addr := client.As16()
	h.Write(addr[:])
	return h.Sum(nil)[:cookieLen]
}

func (g *Gate) accepts(cookie []byte, client netip.Addr) bool {
	for epoch := range g.epochs {
		if hmac.Equal(cookie, g.cookie(epoch, client)) {
			return true
		}
	}
	return false
}

// enter counts a request that begins to wait, if there is room for it and the client does not ask too often.
func (g *Gate) enter(now clock.Time, client netip.Addr) bool {
	who := site(client)
	mine := g.pending[who]
	left := g.cfg.PendingAll - (g.all - mine) // by others
	if g.all >= g.cfg.PendingAll || mine >= min(g.cfg.Pending, max(left/2, 1)) {
		g.counters.Full++
		return false
	}
	if !g.entries.take(now, who) {
		g.counters.Hurried++
		return false
	}
	g.all++
	g.pending[who]++
	return true
}

func (g *Gate) leave(client netip.Addr) {
	who := site(client)
	g.all--
	if g.pending[who]--; g.pending[who] == 0 {
		delete(g.pending, who)
	}
}

// mayTell reports whether a client may be sent one error more (RFC 8803 6.2.8).
func (g *Gate) mayTell(now clock.Time, client netip.Addr) bool {
	if !g.errors.take(now, site(client)) {
		g.counters.Silenced++
		return false
	}
	return true
}

// A pace is how often something may be done for each client: once in a while on average, and a number of times at once.
type pace struct {
	every, ahead time.Duration
	clients      *recent[netip.Addr, clock.Time] // when the client will have been quiet long enough
}

func newPace(every time.Duration, burst, clients int) pace {
	return pace{every, time.Duration(burst-1) * every, newRecent[netip.Addr, clock.Time](clients)}
}

// take does it once, if it may be done.
func (p *pace) take(now clock.Time, who netip.Addr) bool {
	calm := p.clients.make(who)
	if calm.Sub(now) > p.ahead {
		return false
	}
	*calm = max(*calm, now).Add(p.every)
	return true
}

// site is who limits are for: a host has as many addresses of an IPv6 /64 as it likes.
func site(client netip.Addr) netip.Addr {
	if client.Is6() {
		p, _ := client.Prefix(64)
		return p.Addr()
	}
	return client
}
