package mptcp

import (
	"encoding/binary"
	"io"
	"net/netip"

	"tandem/engine/clock"
	"tandem/engine/datagram"
	"tandem/engine/path"
	"tandem/engine/wire"
)

// Bond is the set of paths between this host and its peer (or, unless Paired, all its peers), and
// every connection over them.
type Bond struct {
	cfg       Config
	paths     []*bondPath // in order of their numbers
	flows     map[flowKey]*subflow
	tokens    map[uint32]*Conn
	offers    offers
	fast      fastOpen
	ports     map[uint16]bool // Listen
	conns     int             // not over yet
	windows   budget          // octets that peers may send
	rooms     budget          // octets that applications may write
	lastPort  uint16
	pool      pool
	timers    timers
	ready     queue      // has something to transmit, as far as is known
	blocked   queue      // Paired: waits for room on a path
	misses    int        // blocked connections that tried in vain since something happened
	wakeAt    clock.Time // when pacing lets a blocked connection go on
	shareAt   clock.Time // unless Paired: when the shares of limits are reckoned anew
	changed   queue      // waits for Next
	strays    strays
	lane      *lane                      // Paired
	datagrams *datagrams                 // Paired
	load      load                       // of all connections
	measuring measuring                  // Paired
	events    []Event                    // wait for NextEvent
	asked     map[datagram.OfferID]*Conn // Paired: dialled and not answered
	lessons   lessons
	half      index[uint16] // asked by others and not established, by the fast hash of the own key
	keyed     index[uint64] // asked by others, by the peer's key
	counters  Counters
	seg       wire.Segment // the packet in hand
	scratch   [2048]byte   // for checksums
	current   *Conn        // whose invariants are at stake
}

// bondPath is a path as a bond keeps it.
type bondPath struct {
	id    PathID
	cfg   PathConfig
	state *path.Path // Paired: shared by all subflows

	early     int            // octets in SYNs that nobody has answered yet
	heardAt   clock.Time     // when a peer was last heard over it
	won       uint64         // races that it won
	grade     int            // how good it is for the connection in hand
	peerRole  Role           // what the peer wants it used for
	peerOff   bool           // the peer does not use it
	told      datagram.State // what the peer was told last of whether this end does
	peerPrice int            // what it costs in the peer's eyes
	gone      bool           // detached
	handover
	pathLimits
	liveness
	outgoing
}

// local returns the path's address of the family of remote; it is not valid if there is none.
func (p *bondPath) local(remote netip.Addr) netip.Addr {
	if remote.Is4() {
		return p.cfg.Local4
	}
	return p.cfg.Local6
}

// reaches reports whether the path leads to remote.
func (p *bondPath) reaches(remote netip.Addr) bool {
	if !p.local(remote).IsValid() || p.stage == expired {
		return false
	}
	for _, prefix := range p.cfg.Reaches {
		if prefix.Contains(remote) {
			return true
		}
	}
	return p.cfg.Reaches == nil
}

// NewBond returns a bond without paths.
func NewBond(cfg Config) *Bond {
	cfg.Limits = cfg.Limits.withDefaults()
	cfg.Inactivity = cfg.Inactivity.withDefaults()
	if cfg.Linger == 0 {
		cfg.Linger = defaultLinger
	}
	if cfg.FirstPort == 0 || cfg.LastPort < cfg.FirstPort {
		cfg.FirstPort, cfg.LastPort = portFirst, portLast
	}
	if cfg.Control == "" {
		cfg.Control = "lia"
		if cfg.Paired {
			cfg.Control = "bbr"
		}
	}
	b := &Bond{
		cfg:     cfg,
		windows: budget{size: cfg.Limits.Buffered},
		rooms:   budget{size: cfg.Limits.Buffered},
		flows:   make(map[flowKey]*subflow),
		tokens:  make(map[uint32]*Conn),
		ports:   make(map[uint16]bool),
		half:    make(index[uint16]),
		keyed:   make(index[uint64]),
	}
	b.wakeAt, b.shareAt = clock.Never, clock.Never
	b.load.debt.Rate = cfg.CostRate
	b.measuring = newMeasuring(&cfg, true)
	b.offers.init()
	b.fast.init()
	b.lessons.init()
	b.ready.id, b.blocked.id, b.changed.id = inReady, inBlocked, inChanged
	if cfg.Paired {
		b.lane = b.newLane()
		b.datagrams = newDatagrams(cfg.Datagrams)
		b.asked = make(map[datagram.OfferID]*Conn)
	}
	b.lastPort = b.randomPort()
	return b
}

// random returns octets of Entropy. A source of keys that fails leaves nothing that would be safe to do.
func (b *Bond) random(p []byte) {
	if _, err := io.ReadFull(b.cfg.Entropy, p); err != nil {
		panic("mptcp: entropy: " + err.Error())
	}
}

func (b *Bond) random32() uint32 {
	var p [4]byte
	b.random(p[:])
	return binary.BigEndian.Uint32(p[:])
}

// Attach adds a path. Connections that may use it join over it.
func (b *Bond) Attach(now clock.Time, id PathID, cfg PathConfig) {
	if cfg.MTU == 0 {
		cfg.MTU = 1500
	}
	cfg.Price = priced(cfg.Price)
	b.Detach(now, id)
	p := &bondPath{id: id, cfg: cfg, liveness: liveness{pingAt: clock.Never, since: now}, outgoing: outgoing{credit: creditMost}}
	p.heardAt = now.Add(-fresh)
	p.handover = planned(now, cfg.Lifetime)
	p.stage = p.due(now)
	if b.cfg.Paired {
		p.state = path.New(b.control(cfg.MTU), cfg.MTU)
		include(b.measuring.latency, p.state)
	}
	i := len(b.paths)
	for i > 0 && b.paths[i-1].id > id {
		i--
	}
	b.paths = append(b.paths[:i], append([]*bondPath{p}, b.paths[i:]...)...)
	clear(b.lessons.lulls) // they are of the paths that were there
	b.lane.attach(now, p)
	b.recall(p)
	b.limit(now, p)
	b.eachConn(func(c *Conn) {
		c.meet(now, p)
		b.touch(now, c)
	})
}

// control returns a controller for a path of a Paired bond.
func (b *Bond) control(mtu int) path.Control {
	c, ok := path.NewControl(b.cfg.Control, mtu)
	if !ok {
		c, _ = path.NewControl("cubic", mtu)
	}
	return c
}

// Detach removes a path: its address is gone, so its subflows end in silence and their octets go
// out elsewhere.
func (b *Bond) Detach(now clock.Time, id PathID) {
	p := b.path(id)
	if p == nil {
		return
	}
	kept := b.paths[:0:0]
	for _, q := range b.paths {
		if q != p {
			kept = append(kept, q)
		}
	}
	b.paths = kept
	p.gone = true
	exclude(b.measuring.latency, p.state)
	b.lessons.forget(id)
	b.lane.detach(now, p)
	b.reroute(now, p)
	b.eachConn(func(c *Conn) {
		c.lose(now, p)
		b.touch(now, c)
	})
}

func (b *Bond) path(id PathID) *bondPath {
	for _, p := range b.paths {
		if p.id == id {
			return p
		}
	}
	return nil
}

// eachConn calls do for every connection, in the order of their creation.
func (b *Bond) eachConn(do func(*Conn)) {
	for _, c := range b.timers.all() {
		b.current = c
		do(c)
	}
}

// Listen accepts offers for that port on the paths' own addresses; port 0: any port. A Paired bond
// takes offers for any address without it.
func (b *Bond) Listen(port uint16) { b.ports[port] = true }

// Next returns a connection to which something happened since it was last returned.
func (b *Bond) Next() (c *Conn, what Change, ok bool) {
	c = b.changed.pop()
	if c == nil {
		return nil, 0, false
	}
	what, c.changes = c.changes, 0
	return c, what, true
}

// Counters returns how many packets were dropped and limits hit, by reason.
func (b *Bond) Counters() Counters {
	c := b.counters
	c.LimitLessons = b.lessons.dropped
	return c
}
