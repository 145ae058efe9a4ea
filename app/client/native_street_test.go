package client

import (
	"context"
	"io"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"

	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
	"tandem/platform"
	"tandem/tunnel/carrier/native"
	"tandem/tunnel/packet"
)

// A street is a device with two native links, and hosts of other makes that its packets reach: engines too, but ones that
// know nothing of the device.
type street struct {
	*world
	mu    sync.Mutex
	links map[string]*nativeLink            // by device
	hosts map[netip.Addr]*engine.Attachment // by their addresses
	deaf  map[string]bool                   // links over which nobody answers a knock
	strip map[string]bool                   // links on which a middlebox takes the options of Multipath TCP away
	taken map[uint16]bool                   // first ports of ranges that others have
	hasty bool                              // hosts take octets with a SYN
	takes map[string]bool                   // links over which somebody answers SYNs in place of hosts, and whether with their octets; nil: none
	syns  map[string]int                    // that were so answered
	knock int
}

// A nativeLink is a raw carrier in memory.
type nativeLink struct {
	street *street
	cfg    native.Config
	n      native.Counters
	ports  map[uint16]bool // that packets left from
	closed bool
}

var (
	proxyAt = netip.MustParseAddrPort("203.0.113.7:1080")
	second  = netip.MustParseAddrPort("203.0.113.8:80") // speaks Multipath TCP
)

func newStreet(t *testing.T) *street {
	s := &street{world: newWorld(t), links: map[string]*nativeLink{}, hosts: map[netip.Addr]*engine.Attachment{},
		deaf: map[string]bool{}, strip: map[string]bool{}, taken: map[uint16]bool{}}
	return s
}

// foreign is the street as the client's system.
func (s *street) foreign() foreign {
	return foreign{
		free: func(first, _ uint16) bool { return !s.taken[first] },
		open: func(cfg native.Config) (rawCarrier, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if old := s.links[cfg.Link]; old != nil && !old.closed {
				return nil, syscall.EADDRINUSE
			}
			l := &nativeLink{street: s, cfg: cfg, ports: map[uint16]bool{}}
			s.links[cfg.Link] = l
			return l, nil
		},
		knock: func(_ platform.Host, link string, _ netip.AddrPort) func(context.Context) error {
			return func(ctx context.Context) error {
				s.mu.Lock()
				deaf := s.deaf[link]
				s.knock++
				s.mu.Unlock()
				if deaf {
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			}
		},
	}
}

func (s *street) silence(link string, silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf[link] = silent
}

// Send is part of rawCarrier.
func (l *nativeLink) Send(pkts [][]byte) error {
	for _, pkt := range pkts {
		var p packet.Packet
		if p.Parse(pkt) != nil || p.Source != l.cfg.Local4 {
			continue
		}
		port := uint16(p.Body[0])<<8 | uint16(p.Body[1])
		if port < l.cfg.First || port > l.cfg.Last {
			continue
		}
		l.street.mu.Lock()
		l.ports[port] = true
		l.n.Sent++
		l.n.SentOctets += uint64(len(pkt))
		to, deaf, strips := l.street.hosts[p.Target], l.street.deaf[l.cfg.Link], l.street.strip[l.cfg.Link]
		takes := l.street.takes
		l.street.mu.Unlock()
		if takes != nil {
			l.street.answer(l, pkt)
			continue
		}
		if to != nil && !deaf {
			to.Deliver([][]byte{passed(pkt, strips)})
		}
	}
	return nil
}

// used is how many ports packets have left a link from: who begins something there takes one more.
func (s *street) used(link string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.links[link].ports)
}

// Counters is part of rawCarrier.
func (l *nativeLink) Counters() native.Counters {
	l.street.mu.Lock()
	defer l.street.mu.Unlock()
	return l.n
}

// Close is part of rawCarrier.
func (l *nativeLink) Close() error {
	l.street.mu.Lock()
	defer l.street.mu.Unlock()
	l.closed = true
	return nil
}

// A way back takes packets of a host to the links.
type wayBack struct{ street *street }

// Send is part of engine.Path.
func (w wayBack) Send(pkts [][]byte) error {
	for _, pkt := range pkts {
		var p packet.Packet
		if p.Parse(pkt) != nil {
			continue
		}
		var deliver func([][]byte)
		strips := false
		w.street.mu.Lock()
		for _, l := range w.street.links {
			if !l.closed && l.cfg.Local4 == p.Target && !w.street.deaf[l.cfg.Link] {
				deliver, strips = l.cfg.Deliver, w.street.strip[l.cfg.Link]
				l.n.Received++
				l.n.ReceivedOctets += uint64(len(pkt))
			}
		}
		w.street.mu.Unlock()
		if deliver != nil {
			deliver([][]byte{passed(pkt, strips)})
		}
	}
	return nil
}

// passed is a packet as it comes out of a link.
func passed(pkt []byte, strips bool) []byte {
	var seg wire.Segment
	if !strips || seg.Parse(pkt) != nil {
		return append([]byte(nil), pkt...)
	}
	seg.Options.Has &^= wire.HasMPTCP
	return seg.Append(nil)
}

// host has a host answer each connection with talk.
func (s *street) host(at netip.AddrPort, plain bool, talk func(c *engine.Conn)) {
	e := engine.New(engine.Config{})
	b := e.Bond(engine.BondConfig{Config: mptcp.Config{Plain: plain, Passive: true, FastOpen: s.hasty}})
	a := b.Attach(wayBack{s}, at.Addr(), netip.Addr{}, 1500)
	s.mu.Lock()
	s.hosts[at.Addr()] = a
	s.mu.Unlock()
	b.Listen(at.Port())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			o, err := b.Accept(context.Background())
			if err != nil {
				return
			}
			running.Go(func() {
				if c, err := o.Accept(); err == nil {
					talk(c)
					c.Close()
				}
			})
		}
	})
	s.t.Cleanup(func() {
		e.Close()
		running.Wait()
	})
}

// run starts the daemon with an upstream.
func (s *street) run(hub string, change func(*Config)) {
	s.t.Helper()
	cfg := s.config()
	up, err := ParseUpstream(hub)
	if err != nil {
		s.t.Fatal(err)
	}
	cfg.Upstream, cfg.Bind = up, nil
	if change != nil {
		change(&cfg)
	}
	s.startWith(cfg, func(c *Client) { c.foreign = s.foreign() })
}

// socks5 talks as a SOCKS5 proxy that refuses port 81 and echoes in place of every other target.
func socks5(t *testing.T) func(*engine.Conn) {
	return func(c *engine.Conn) {
		read := func(n int) []byte {
			b := make([]byte, n)
			io.ReadFull(c, b)
			return b
		}
		hello := read(2)
		read(int(hello[1]))
		c.Write([]byte{5, 0})
		ask := read(10)
		reply := []byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}
		switch {
		case ask[1] != 1:
			reply[1] = 7
		case ask[9] == 81:
			reply[1] = 5
		}
		c.Write(reply)
		if reply[1] == 0 {
			io.Copy(c, c)
			c.CloseWrite()
		}
	}
}

// links counts over how many links a connection goes.
func (s *street) overLinks(number int) (names []string) {
	one, err := s.client.Connection(s.ctx(), number)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range one.Subflows {
		if f.State == "ESTABLISHED" || f.State == "established" {
			names = append(names, f.Link)
		}
	}
	slices.Sort(names)
	return names
}
