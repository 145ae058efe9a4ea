package carriertest

import (
	"net"
	"net/netip"
	"sync"

	"golang.zx2c4.com/wireguard/conn"
)

const (
	hubPort    = 51820
	clientPort = 40000
)

// A bind is the socket of one host of the network.
type bind struct {
	port uint16
	put  func(pkts [][]byte) // to the network
	quit <-chan struct{}     // the network's

	mu     sync.Mutex
	addr   netip.Addr
	closed chan struct{} // nil: not open

	arrived chan [][]byte // handed over, not queued: what waits, waits on the link
	taken   chan struct{}

	sending sync.Mutex
	octets  []byte
	pkts    [][]byte
}

func newBind(quit <-chan struct{}, addr netip.Addr, port uint16, put func([][]byte)) *bind {
	return &bind{port: port, put: put, quit: quit, addr: addr, arrived: make(chan [][]byte), taken: make(chan struct{})}
}

func (b *bind) address() netip.Addr {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.addr
}

// move takes the next address and returns the last.
func (b *bind) move() (old netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old = b.addr
	a := old.As4()
	a[3]++
	b.addr = netip.AddrFrom4(a)
	return old
}

// arrive hands packets to whoever receives, and drops them if the bind is not open.
func (b *bind) arrive(pkts [][]byte) {
	b.mu.Lock()
	closed := b.closed
	b.mu.Unlock()
	if closed == nil {
		return
	}
	select {
	case b.arrived <- pkts:
		<-b.taken
	case <-closed:
	case <-b.quit:
	}
}

func (b *bind) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	closed := make(chan struct{})
	b.closed = closed
	return []conn.ReceiveFunc{func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		select {
		case <-closed:
			return 0, net.ErrClosed
		case pkts := <-b.arrived:
			n := b.take(pkts, bufs, sizes, eps)
			b.taken <- struct{}{}
			return n, nil
		}
	}}, b.port, nil
}

// take copies packets that are for this host, as it is addressed now.
func (b *bind) take(pkts, bufs [][]byte, sizes []int, eps []conn.Endpoint) (n int) {
	here := netip.AddrPortFrom(b.address(), b.port)
	for _, pkt := range pkts {
		h := header(pkt)
		if h.destination() != here {
			continue
		}
		sizes[n], eps[n] = copy(bufs[n], pkt[headerLen:]), endpoint{h.source()}
		n++
	}
	return n
}

// Send never fails: what the network does not take is lost on its way.
func (b *bind) Send(bufs [][]byte, to conn.Endpoint) error {
	dst, ok := to.(endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	b.mu.Lock()
	from, open := netip.AddrPortFrom(b.addr, b.port), b.closed != nil
	b.mu.Unlock()
	if !open {
		return net.ErrClosed
	}
	if !dst.at.Addr().Is4() || len(bufs) == 0 {
		return nil
	}
	b.sending.Lock()
	defer b.sending.Unlock()
	b.octets, b.pkts = b.octets[:0], b.pkts[:0]
	for _, buf := range bufs {
		at := len(b.octets)
		b.octets = append(appendHeader(b.octets, from, dst.at, len(buf)), buf...)
		b.pkts = append(b.pkts, b.octets[at:])
	}
	b.put(b.pkts)
	return nil
}

func (b *bind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		close(b.closed)
		b.closed = nil
	}
	return nil
}

func (b *bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	at, err := netip.ParseAddrPort(s)
	return endpoint{netip.AddrPortFrom(at.Addr().Unmap(), at.Port())}, err
}

func (b *bind) SetMark(uint32) error { return nil }
func (b *bind) BatchSize() int       { return batchMax }

// kept holds peers of WireGuard until the process ends: their finalizers would run at any time after the test that
// made them, so nothing that ends with a test can own them.
var kept struct {
	sync.Mutex
	peers []any
}

// Keep is called by package carrier, which says why.
func (b *bind) Keep(peer any) {
	kept.Lock()
	defer kept.Unlock()
	kept.peers = append(kept.peers, peer)
}

// An endpoint is a host of the network, or an address where nobody is.
type endpoint struct{ at netip.AddrPort }

func (e endpoint) ClearSrc()           {}
func (e endpoint) SrcToString() string { return "" }
func (e endpoint) SrcIP() netip.Addr   { return netip.Addr{} }
func (e endpoint) DstIP() netip.Addr   { return e.at.Addr() }
func (e endpoint) DstToString() string { return e.at.String() }

// DstToBytes is what cookies are bound to.
func (e endpoint) DstToBytes() []byte {
	octets, _ := e.at.MarshalBinary()
	return octets
}
