package relay

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A netStream waits by its descriptor.
//
// The system tells of a reset once, to the first call that asks; later reads say that the stream ended in
// order. So what looks like an end is one only while the socket is not wholly shut, or was shut from here.
type netStream struct {
	tcpStream
	raw    syscall.RawConn
	shut   atomic.Bool // CloseWrite was called
	look   func(fd uintptr) bool
	peek   [1]byte
	failed error // of look
}

func newNetStream(c *net.TCPConn) Stream {
	raw, err := c.SyscallConn()
	if err != nil {
		return tcpStream{c}
	}
	s := &netStream{tcpStream: tcpStream{c}, raw: raw}
	s.look = s.lookAt // made once, not for each read
	return s
}

func (s *netStream) Read(b []byte) (int, error) {
	n, err := s.TCPConn.Read(b)
	if err == io.EOF && s.events()&unix.POLLHUP != 0 && !s.shut.Load() {
		err = errReset
	}
	return n, err
}

func (s *netStream) CloseWrite() error {
	s.shut.Store(true)
	return s.TCPConn.CloseWrite()
}

// Abort disconnects first: many kernels end a connection of Multipath TCP in order when it is closed, lingering or not.
func (s *netStream) Abort(why error) {
	disconnect(s.raw)
	s.tcpStream.Abort(why)
}

// disconnect takes a socket's connection away, which resets it: RST, MP_FASTCLOSE.
func disconnect(c syscall.RawConn) {
	c.Control(func(fd uintptr) {
		nowhere := unix.RawSockaddrInet4{Family: unix.AF_UNSPEC}
		unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&nowhere)), unix.SizeofSockaddrInet4)
	})
}

// WaitRead looks at the next octet without taking it. One goroutine calls it at a time.
func (s *netStream) WaitRead() error {
	s.failed = nil
	if err := s.raw.Read(s.look); err != nil {
		return err
	}
	return s.failed
}

func (s *netStream) lookAt(fd uintptr) bool {
	_, _, err := unix.Recvfrom(int(fd), s.peek[:], unix.MSG_PEEK)
	switch err {
	case unix.EAGAIN:
		return false
	case nil, unix.EINTR:
	default:
		s.failed = os.NewSyscallError("recvfrom", err)
	}
	return true
}

// WaitEnd is woken by the reset, or by the last end, of a stream whose octets were all read.
func (s *netStream) WaitEnd() (why error) {
	s.raw.Read(func(fd uintptr) bool {
		events := poll(fd)
		if events&unix.POLLERR != 0 {
			why = pending(fd)
		}
		return events != 0
	})
	return why
}

func (s *netStream) events() (events int16) {
	s.raw.Control(func(fd uintptr) { events = poll(fd) })
	return events
}

// poll asks for what poll(2) tells unasked: POLLERR, and POLLHUP when both directions are shut.
func poll(fd uintptr) int16 {
	p := []unix.PollFd{{Fd: int32(fd)}}
	unix.Poll(p, 0)
	return p[0].Revents
}

// pending takes the error that the next call would have given, unless another took it. A reset behind the
// other side's end is EPIPE to the system.
func pending(fd uintptr) error {
	n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && n != 0 && syscall.Errno(n) != syscall.EPIPE {
		return os.NewSyscallError("poll", syscall.Errno(n))
	}
	return errReset
}

var errReset = os.NewSyscallError("poll", syscall.ECONNRESET)
