//go:build !linux

package carrier

import (
	"net"
	"net/netip"
	"syscall"

	"golang.zx2c4.com/wireguard/conn"
)

const socketBatch = 1

func prepare(string, syscall.RawConn) error { return nil }

func sourceControl(netip.Addr) []byte { return nil }

// A socket is that of one family.
type socket struct {
	conn *net.UDPConn
	is4  bool
}

func newSocket(c *net.UDPConn, is4 bool) *socket {
	c.SetReadBuffer(4 << 20)
	return &socket{conn: c, is4: is4}
}

// receiver returns a function that waits for datagrams. One goroutine may call it.
func (s *socket) receiver() conn.ReceiveFunc {
	var seen known
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		n, from, err := s.conn.ReadFromUDPAddrPort(bufs[0])
		if err != nil {
			return 0, err
		}
		sizes[0] = n
		eps[0] = seen.endpoint(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), netip.Addr{})
		return 1, nil
	}
}

// send sends packets, those that the network takes. It returns the first error if it takes none.
func (s *socket) send(bufs [][]byte, to *endpoint) error {
	var first error
	left := false
	for _, b := range bufs {
		_, err := s.conn.WriteToUDPAddrPort(b, to.dst)
		if left = left || err == nil; first == nil {
			first = err
		}
	}
	if left {
		return nil
	}
	return first
}
