package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"tandem/tunnel/packet"
)

const (
	datagramMax = 65535
	sendMax     = 64 // datagrams on their way to a client
	namesMax    = 64 // that an association remembers
	namesLife   = time.Minute
)

// An association is a client's socket for datagrams (RFC 1928 7). It lives as long as the connection that
// asked for it, and is known to the outer world by its port.
type association struct {
	proxy  *Proxy
	socket *net.UDPConn
	from   netip.Addr                     // the client's
	client atomic.Pointer[netip.AddrPort] // where its datagrams come from; nil: not known
	port   uint16
	send   chan []byte
	ids    uint32 // of packets

	mu    sync.Mutex
	names map[string]name
}

// A name is what a client called a target.
type name struct {
	addr  netip.Addr // zero while it is resolved, or cannot be
	until time.Time
}

// associate serves an association until its client closes conn.
func (p *Proxy) associate(conn *net.TCPConn, r request) {
	defer p.forget(conn)
	defer conn.Close()
	local, remote := conn.LocalAddr().(*net.TCPAddr), conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	if p.cfg.Packets == nil {
		reply(conn, replyNoCommand, netip.AddrPort{})
		return
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: local.IP, Zone: local.Zone})
	if err != nil {
		socks{}.refuse(conn, err)
		return
	}
	defer socket.Close()
	bound := socket.LocalAddr().(*net.UDPAddr).AddrPort()
	a := &association{proxy: p, socket: socket, from: remote.Addr().Unmap(), port: bound.Port(),
		send: make(chan []byte, sendMax), names: map[string]name{}}
	if r.port != 0 {
		a.client.Store(new(netip.AddrPortFrom(a.from, r.port)))
	}
	if !p.register(a) {
		reply(conn, replyFailed, netip.AddrPort{})
		return
	}
	defer p.unregister(a)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	defer group.Wait()
	defer socket.Close()
	defer cancel()
	group.Go(func() { a.read(ctx, &group) })
	group.Go(func() { a.write(ctx) })
	if err := reply(conn, replySucceeded, netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port())); err != nil {
		return
	}
	conn.SetDeadline(time.Time{})
	io.Copy(io.Discard, conn)
}

func (p *Proxy) register(a *association) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.associations) >= p.cfg.Associations || p.associations[a.port] != nil {
		return false
	}
	p.associations[a.port] = a
	p.counters.associations.Add(1)
	return true
}

func (p *Proxy) unregister(a *association) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.associations, a.port)
}

// read makes packets of what the client sends.
func (a *association) read(ctx context.Context, group *sync.WaitGroup) {
	b := make([]byte, datagramMax)
	for {
		n, from, err := a.socket.ReadFromUDPAddrPort(b)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error about what was sent
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if a.client.Load() == nil && from.Addr() == a.from {
			a.client.Store(&from)
		}
		host, port, payload, ok := cutHeader(b[:n])
		if client := a.client.Load(); !ok || client == nil || *client != from {
			a.drop()
			continue
		}
		addr, err := netip.ParseAddr(host)
		if err != nil {
			addr = a.lookup(ctx, group, host, port, payload)
		}
		if addr.IsValid() {
			a.emit(addr.Unmap(), port, payload)
		}
	}
}

func (a *association) drop() { a.proxy.counters.dropped.Add(1) }

// lookup gives a name's address if it is known. Else the datagram that asks is sent when it is; others in
// the meantime are dropped.
func (a *association) lookup(ctx context.Context, group *sync.WaitGroup, host string, port uint16, payload []byte) netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	known, ok := a.names[host]
	switch {
	case ok && now.Before(known.until):
		if !known.addr.IsValid() {
			a.drop()
		}
		return known.addr
	case !ok && len(a.names) >= namesMax:
		for other, n := range a.names {
			if !now.Before(n.until) {
				delete(a.names, other)
			}
		}
		if len(a.names) >= namesMax {
			a.drop()
			return netip.Addr{}
		}
	}
	a.names[host] = name{until: now.Add(a.proxy.cfg.Handshake)}
	payload = append([]byte(nil), payload...)
	group.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, a.proxy.cfg.Handshake)
		defer cancel()
		found, err := a.proxy.cfg.Resolve(ctx, host)
		if err != nil || len(found) == 0 {
			a.drop()
			return
		}
		a.mu.Lock()
		a.names[host] = name{found[0], time.Now().Add(namesLife)}
		a.mu.Unlock()
		a.emit(found[0].Unmap(), port, payload)
	})
	return netip.Addr{}
}

// emit hands a datagram on as a packet of the host's, or as fragments of one.
func (a *association) emit(target netip.Addr, port uint16, payload []byte) {
	p := packet.Packet{Source: a.proxy.cfg.Host4, Target: target, ID: atomic.AddUint32(&a.ids, 1)}
	if target.Is6() {
		p.Source = a.proxy.cfg.Host6
	}
	pkt := p.AppendUDP(nil, a.port, port, payload)
	if len(pkt) == 0 || port == 0 {
		a.drop()
		return
	}
	if len(pkt) <= a.proxy.cfg.MTU {
		a.proxy.cfg.Packets([][]byte{pkt})
		return
	}
	id := p.ID
	if p.Parse(pkt) != nil {
		return
	}
	p.ID = id
	all, ends := p.AppendFragments(nil, nil, a.proxy.cfg.MTU)
	pkts := make([][]byte, len(ends))
	for i, at := 0, 0; i < len(ends); i++ {
		pkts[i], at = all[at:ends[i]], ends[i]
	}
	a.proxy.cfg.Packets(pkts)
}

// write sends the client what comes for it.
func (a *association) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-a.send:
			if client := a.client.Load(); client != nil {
				a.socket.WriteToUDPAddrPort(b, *client)
			}
		}
	}
}

// Inject gives clients the datagrams in whole IP packets for the host. It copies them and does not wait: what
// is for no association, or too much for one, is dropped and counted, as is what is not UDP.
func (p *Proxy) Inject(pkts [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pkt := range pkts {
		if !p.inject(pkt) {
			p.counters.dropped.Add(1)
		}
	}
}

// inject: mu is held.
func (p *Proxy) inject(pkt []byte) bool {
	var h packet.Packet
	if h.Parse(pkt) != nil {
		return false
	}
	if h.Fragment() {
		now := time.Now()
		p.assembly.Expire(now)
		whole := p.assembly.Add(&h, now)
		return whole == nil || p.inject(whole)
	}
	from, to, payload, err := h.UDP()
	a := p.associations[to]
	if err != nil || a == nil || h.Target != p.cfg.Host4 && h.Target != p.cfg.Host6 {
		return false
	}
	b := appendAddress([]byte{0, 0, 0}, netip.AddrPortFrom(h.Source, from))
	select {
	case a.send <- append(b, payload...):
		return true
	default:
		return false
	}
}
