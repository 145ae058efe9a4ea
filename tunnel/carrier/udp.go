package carrier

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

// portTries is how often a port is drawn until one is free in both families.
const portTries = 100

// UDPConfig says where a Bind listens.
type UDPConfig struct {
	// Listen is the local address. Port 0: any. An address of one family, unspecified or not, listens in
	// that family alone, except "::", which like the zero Listen means both families on one port; of
	// those, one that the system lacks is left out.
	Listen netip.AddrPort
	// Pin ties each socket to a link before it is bound, as in net.ListenConfig. Nil: none.
	Pin func(network, address string, c syscall.RawConn) error
}

// UDP returns a Bind over the system's sockets. A packet that the network does not take is lost, as
// anywhere else on its way; no fault of the network ends the Bind. It answers from the address that it
// was asked at, sends and takes many packets in a system call where the system can, and lets nobody
// fragment what it sends. It never waits for room in a socket.
func UDP(cfg UDPConfig) conn.Bind { return &udp{config: cfg} }

type udp struct {
	config UDPConfig

	mu      sync.RWMutex
	sockets []*socket
}

// Open listens on cfg.Listen's port if it has one, else on that.
func (u *udp) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sockets != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	if p := u.config.Listen.Port(); p != 0 {
		port = p
	}
	var err error
	for range portTries {
		u.sockets, err = u.listen(port)
		if port != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return nil, 0, err
	}
	var receive []conn.ReceiveFunc
	for _, s := range u.sockets {
		receive = append(receive, survive(s.receiver()))
	}
	return receive, localPort(u.sockets[0].conn), nil
}

// listen opens the sockets of all families on one port.
func (u *udp) listen(port uint16) (sockets []*socket, err error) {
	defer func() {
		if err != nil {
			closeAll(sockets)
			sockets = nil
		}
	}()
	addr := u.config.Listen.Addr()
	both := !addr.IsValid() || addr == netip.IPv6Unspecified()
	for _, network := range []string{"udp4", "udp6"} {
		at := addr
		switch {
		case both && network == "udp4":
			at = netip.IPv4Unspecified()
		case both:
			at = netip.IPv6Unspecified()
		case addr.Unmap().Is4() != (network == "udp4"):
			continue
		}
		s, err := u.open(network, netip.AddrPortFrom(at.Unmap(), port))
		if both && missing(err) {
			continue
		}
		if err != nil {
			return sockets, fmt.Errorf("carrier: listen: %w", err)
		}
		sockets = append(sockets, s)
		port = localPort(s.conn)
	}
	if len(sockets) == 0 {
		return nil, fmt.Errorf("carrier: listen: %w", syscall.EAFNOSUPPORT)
	}
	return sockets, nil
}

// missing reports whether the system lacks a family.
func missing(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EPROTONOSUPPORT) ||
		errors.Is(err, syscall.EADDRNOTAVAIL)
}

func (u *udp) open(network string, at netip.AddrPort) (*socket, error) {
	listen := net.ListenConfig{Control: func(network, address string, c syscall.RawConn) error {
		if err := prepare(network, c); err != nil || u.config.Pin == nil {
			return err
		}
		return u.config.Pin(network, address, c)
	}}
	c, err := listen.ListenPacket(context.Background(), network, at.String())
	if err != nil {
		return nil, err
	}
	return newSocket(c.(*net.UDPConn), network == "udp4"), nil
}

func localPort(c *net.UDPConn) uint16 { return c.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

// Send sends packets to an endpoint. It returns an error if none of them left.
func (u *udp) Send(bufs [][]byte, to conn.Endpoint) error {
	ep, ok := to.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	u.mu.RLock()
	defer u.mu.RUnlock()
	if u.sockets == nil {
		return net.ErrClosed
	}
	for _, s := range u.sockets {
		if s.is4 == ep.dst.Addr().Is4() {
			return s.send(bufs, ep)
		}
	}
	return syscall.EAFNOSUPPORT
}

// Close closes the sockets. What receives from them returns.
func (u *udp) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	sockets := u.sockets
	u.sockets = nil
	return closeAll(sockets)
}

func closeAll(sockets []*socket) error {
	var errs []error
	for _, s := range sockets {
		errs = append(errs, s.conn.Close())
	}
	return errors.Join(errs...)
}

// SetMark is refused: marks are for Pin to set.
func (u *udp) SetMark(mark uint32) error {
	if mark != 0 {
		return errors.ErrUnsupported
	}
	return nil
}

// ParseEndpoint reads an address and port.
func (u *udp) ParseEndpoint(s string) (conn.Endpoint, error) {
	at, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, err
	}
	return newEndpoint(at, netip.Addr{}), nil
}

// BatchSize returns how many packets move at once.
func (u *udp) BatchSize() int { return socketBatch }

// survive makes a receiver outlive everything but its socket: wireguard-go gives up on one that fails.
// A link that goes down and comes back is an error in between.
func survive(receive conn.ReceiveFunc) conn.ReceiveFunc {
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		for failures := 0; ; failures++ {
			n, err := receive(bufs, sizes, eps)
			if err == nil || errors.Is(err, net.ErrClosed) {
				return n, err
			}
			time.Sleep(time.Duration(min(failures, 20)) * time.Millisecond)
		}
	}
}
