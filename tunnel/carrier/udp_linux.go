package carrier

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

const (
	socketBatch = batchMax

	// Rooms of a socket. What is received may come in one burst while nobody reads: 8 MiB are 30 ms at
	// 2 Gbit/s. What waits to be sent is delay: 1 MiB, of which the system's own bookkeeping takes half, is
	// 4 ms at 1 Gbit/s.
	receiveRoom = 8 << 20
	sendRoom    = 1 << 20

	datagramMax = 1<<16 - 1

	// How many datagrams one read takes, coalesced or not.
	readsCoalesced = 16
	readsPlain     = 64
)

// prepare sets what a socket needs before it is bound.
func prepare(network string, c syscall.RawConn) error {
	var err error
	set := func(fd, level, name, value int) {
		if e := unix.SetsockoptInt(fd, level, name, value); err == nil {
			err = e
		}
	}
	e := c.Control(func(f uintptr) {
		fd := int(f)
		enlarge(fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, receiveRoom)
		enlarge(fd, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, sendRoom)
		unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) // without it, datagrams come one by one
		if network == "udp4" {
			set(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
			set(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		} else {
			set(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
			set(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
		}
	})
	return errors.Join(err, e)
}

// enlarge asks for room in a socket, beyond the system's limit if that is allowed.
func enlarge(fd, name, force, octets int) {
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, name, octets)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, octets)
}

// A socket is that of one family.
type socket struct {
	conn  *net.UDPConn
	is4   bool
	batch interface {
		ReadBatch(ms []ipv6.Message, flags int) (int, error)
		WriteBatch(ms []ipv6.Message, flags int) (int, error)
	}
	coalesces atomic.Bool // the system cuts what is sent (UDP_SEGMENT)
	coalesced bool        // and may hand over several datagrams as one (UDP_GRO)
	outgoing  sync.Pool   // of *outgoing
}

func newSocket(c *net.UDPConn, is4 bool) *socket {
	s := &socket{conn: c, is4: is4, outgoing: sync.Pool{New: func() any { return newOutgoing() }}}
	if is4 {
		s.batch = ipv4.NewPacketConn(c)
	} else {
		s.batch = ipv6.NewPacketConn(c)
	}
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			_, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
			s.coalesces.Store(err == nil)
			on, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO)
			s.coalesced = err == nil && on == 1
		})
	}
	return s
}

// An incoming is what a read brought and wireguard-go has not taken yet.
type incoming struct {
	socket   *socket
	messages []ipv6.Message
	waits    []ipv6.Message // of messages
	at       int            // octets of the first that were taken
	size     int            // of its datagrams, except the last
	from     conn.Endpoint
	known    known
}

// receiver returns a function that waits for datagrams. One goroutine may call it.
func (s *socket) receiver() conn.ReceiveFunc {
	n := readsPlain
	if s.coalesced {
		n = readsCoalesced
	}
	in := &incoming{socket: s, messages: make([]ipv6.Message, n)}
	for i := range in.messages {
		in.messages[i].Buffers = [][]byte{make([]byte, datagramMax)}
		in.messages[i].OOB = make([]byte, controlMax)
	}
	return in.receive
}

func (in *incoming) receive(bufs [][]byte, sizes []int, eps []conn.Endpoint) (n int, err error) {
	if len(in.waits) == 0 {
		got, err := in.socket.batch.ReadBatch(in.messages, 0)
		if err != nil {
			return 0, err
		}
		in.waits = in.messages[:got]
		in.begin()
	}
	for n < len(bufs) && len(in.waits) > 0 {
		m := &in.waits[0]
		octets := m.Buffers[0][in.at:m.N]
		octets = octets[:min(in.size, len(octets))]
		sizes[n], eps[n] = copy(bufs[n], octets), in.from
		n++
		if in.at += len(octets); in.at >= m.N {
			in.waits = in.waits[1:]
			in.begin()
		}
	}
	return n, nil
}

// begin looks at the first message that waits.
func (in *incoming) begin() {
	if len(in.waits) == 0 {
		return
	}
	m := &in.waits[0]
	var src netip.Addr
	src, in.size = parseControl(m.OOB[:m.NN])
	if in.at = 0; in.size == 0 {
		in.size = m.N
	}
	dst := m.Addr.(*net.UDPAddr).AddrPort()
	in.from = in.known.endpoint(netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port()), src)
}
