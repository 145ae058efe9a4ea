package capture

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"tandem/tunnel/relay"
)

var (
	_ relay.Offer  = (*Offer)(nil)
	_ relay.Leaver = (*Offer)(nil)
	_ relay.Stream = (*Stream)(nil)
	_ relay.Waiter = (*Stream)(nil)
	_ relay.Ender  = (*Stream)(nil)
)

var (
	host4, host6     = netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("fd00::2")
	target4, target6 = netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("[2001:db8::1]:80")
)

func network(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}

// A memory is a device without a system behind it.
type memory struct {
	mtu    int
	in     chan []byte
	out    func(pkt []byte) // what the capture writes; called one at a time
	closed chan struct{}
	once   sync.Once
}

func newMemory(mtu int, out func(pkt []byte)) *memory {
	return &memory{mtu: mtu, in: make(chan []byte, 4096), out: out, closed: make(chan struct{})}
}

func (m *memory) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	select {
	case <-m.closed:
		return 0, os.ErrClosed
	case pkt := <-m.in:
		sizes[0] = copy(bufs[0][offset:], pkt)
	}
	for n := 1; n < len(bufs); n++ {
		select {
		case pkt := <-m.in:
			sizes[n] = copy(bufs[n][offset:], pkt)
		default:
			return n, nil
		}
	}
	return len(bufs), nil
}

func (m *memory) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		m.out(b[offset:])
	}
	return len(bufs), nil
}

func (m *memory) MTU() (int, error) { return m.mtu, nil }
func (m *memory) BatchSize() int    { return 128 }
func (m *memory) Close() error      { m.once.Do(func() { close(m.closed) }); return nil }

// A host is a machine with applications, whose TCP is gVisor's too.
type host struct {
	t       testing.TB
	stack   *stack.Stack
	device  *memory
	capture *Capture
	stop    func() // ends the capture, and waits for it
}

// newHost returns a host all of whose packets are captured until the test is over.
func newHost(t testing.TB, mtu int, change func(*Config)) *host {
	h := &host{t: t}
	wire := channel.New(4096, uint32(mtu), "")
	h.device = newMemory(mtu, func(pkt []byte) {
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(pkt)})
		defer p.DecRef()
		if len(pkt) > mtu {
			t.Errorf("a packet of %d octets", len(pkt))
		}
		if pkt[0]>>4 == 4 {
			wire.InjectInbound(header.IPv4ProtocolNumber, p)
		} else {
			wire.InjectInbound(header.IPv6ProtocolNumber, p)
		}
	})
	h.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	if err := h.stack.CreateNIC(1, wire); err != nil {
		t.Fatal(err)
	}
	for _, a := range []netip.Addr{host4, host6} {
		address := tcpip.AddrFromSlice(a.AsSlice()).WithPrefix()
		if err := h.stack.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: network(a), AddressWithPrefix: address},
			stack.AddressProperties{}); err != nil {
			t.Fatal(err)
		}
	}
	h.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}, {Destination: header.IPv6EmptySubnet, NIC: 1}})
	ctx, stop := context.WithCancel(t.Context())
	h.capture, h.stop = start(t, h.device, change)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for p := wire.ReadContext(ctx); p != nil; p = wire.ReadContext(ctx) {
			view := p.ToView()
			h.device.in <- view.ToSlice()
			view.Release()
			p.DecRef()
		}
	}()
	t.Cleanup(func() {
		stop()
		<-ended
		h.stack.Destroy()
	})
	return h
}

// start runs a capture until it is stopped, or the test is over.
func start(t testing.TB, device Device, change func(*Config)) (*Capture, func()) {
	cfg := Config{Device: device, Addr4: host4, Addr6: host6}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return c, stop
}

// An app is an application's connection, or what became of asking for it.
type app struct {
	*gonet.TCPConn
	queue *waiter.Queue
	ep    tcpip.Endpoint
	err   tcpip.Error
}

// over returns when the connection is.
func (a app) over() {
	entry, ready := waiter.NewChannelEntry(waiter.EventHUp)
	a.queue.EventRegister(&entry)
	defer a.queue.EventUnregister(&entry)
	for a.ep.Readiness(waiter.EventHUp)&waiter.EventHUp == 0 {
		<-ready
	}
}

// dial asks for a connection; the answer comes when there is one.
func (h *host) dial(target netip.AddrPort) <-chan app {
	answer := make(chan app, 1)
	queue := new(waiter.Queue)
	ep, err := h.stack.NewEndpoint(tcp.ProtocolNumber, network(target.Addr()), queue)
	if err != nil {
		h.t.Fatal(err)
	}
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents)
	queue.EventRegister(&entry)
	to := tcpip.FullAddress{Addr: tcpip.AddrFromSlice(target.Addr().AsSlice()), Port: target.Port()}
	if err := ep.Connect(to); err.String() != (&tcpip.ErrConnectStarted{}).String() {
		h.t.Fatal(err)
	}
	go func() {
		<-ready
		queue.EventUnregister(&entry)
		if err := ep.LastError(); err != nil {
			ep.Close()
			answer <- app{err: err}
			return
		}
		answer <- app{TCPConn: gonet.NewTCPConn(queue, ep), queue: queue, ep: ep}
	}()
	return answer
}

func (h *host) offer() *Offer { return next(h.t, h.capture) }

func next(t testing.TB, c *Capture) *Offer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	o, err := c.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// connect is an application's connection and ours.
func (h *host) connect(target netip.AddrPort) (app, *Stream) {
	h.t.Helper()
	answer := h.dial(target)
	s, err := h.offer().Accept()
	if err != nil {
		h.t.Fatal(err)
	}
	a := <-answer
	if a.err != nil {
		h.t.Fatal(a.err)
	}
	h.t.Cleanup(func() { a.Close() })
	h.t.Cleanup(func() { s.Close() })
	return a, s.(*Stream)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}
