package relay

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// A Reach says whether a target may be reached over "tcp", "udp" or "icmp" (its port is then 0). Its error
// wraps os.ErrPermission. The address is the last one before the packet leaves, and never IPv4-mapped.
type Reach func(network string, target netip.AddrPort) error

// NetDialer dials with the host's own TCP what reach allows; nil allows everything.
func NetDialer(reach Reach) Dialer {
	d := &netDialer{dialer: net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 6},
	}}
	d.dialer.Control = func(_, address string, _ syscall.RawConn) error {
		target, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("address to dial: %w", err)
		}
		return reach.allow("tcp", target)
	}
	return d
}

func (r Reach) allow(network string, target netip.AddrPort) error {
	if r == nil {
		return nil
	}
	return r(network, netip.AddrPortFrom(target.Addr().Unmap(), target.Port()))
}

type netDialer struct{ dialer net.Dialer }

func (d *netDialer) Dial(ctx context.Context, target netip.AddrPort) (Stream, error) {
	c, err := d.dialer.DialContext(ctx, "tcp", target.String())
	if err != nil {
		return nil, err
	}
	return NetStream(c.(*net.TCPConn)), nil
}

// NetStream makes a Stream of a connection of the host's own TCP. Where the system allows it is a Waiter and
// an Ender too.
func NetStream(c *net.TCPConn) Stream { return newNetStream(c) }

// A tcpStream is what every system has of a net stream.
type tcpStream struct{ *net.TCPConn }

// Abort closes with a reset in place of an end: nobody is told why, TCP has no room for it.
func (s tcpStream) Abort(error) {
	s.SetLinger(0)
	s.Close()
}
