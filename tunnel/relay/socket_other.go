//go:build !linux

package relay

import (
	"errors"
	"net"
	"net/netip"
)

var errNoEcho = errors.New("ICMP echo is relayed on Linux only")

// PingSupport says why ICMP echo cannot be relayed here; nil if it can.
func PingSupport() error { return errNoEcho }

// A plainSocket relays payloads; what packets say beside them is the system's choice, and errors are lost.
type plainSocket struct{ conn *net.UDPConn }

func openSocket(k key) (socket, error) {
	if k.echo {
		return nil, errNoEcho
	}
	network := "udp6"
	if k.v4 {
		network = "udp4"
	}
	c, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, err
	}
	return plainSocket{c}, nil
}

func (s plainSocket) send(message []byte, target netip.AddrPort, _ hop) error {
	_, err := s.conn.WriteToUDPAddrPort(message, target)
	return err
}

func (s plainSocket) read(_ int, each func(*arrival)) error {
	b := make([]byte, 64<<10)
	n, from, err := s.conn.ReadFromUDPAddrPort(b)
	switch {
	case err == nil:
		each(&arrival{from: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), payload: b[:n]})
	case errors.Is(err, net.ErrClosed):
		return err
	}
	return nil
}

func (s plainSocket) close() { s.conn.Close() }

func mtuTo(target netip.AddrPort) int { return 1280 }
