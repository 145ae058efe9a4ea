package capture

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A Stream is a connection with an application; it is a relay.Stream. Its errors are *net.OpError around
// net.ErrClosed, os.ErrDeadlineExceeded, or a syscall.Errno as the system would give it.
type Stream struct {
	conn           *gonet.TCPConn
	ep             tcpip.Endpoint
	source, target net.Addr
	queue          *waiter.Queue
	closing        sync.Once
	closed         chan struct{}
	failure        atomic.Uint32 // the syscall.Errno that ended it, once known
}

func newStream(queue *waiter.Queue, ep tcpip.Endpoint, source, target netip.AddrPort) *Stream {
	return &Stream{conn: gonet.NewTCPConn(queue, ep), ep: ep, queue: queue, closed: make(chan struct{}),
		source: net.TCPAddrFromAddrPort(source), target: net.TCPAddrFromAddrPort(target)}
}

// Read reads what the application wrote. io.EOF means that it closed its direction, never that it reset.
func (s *Stream) Read(b []byte) (int, error) {
	n, err := s.conn.Read(b)
	if err == nil || err == io.EOF && !s.failed() {
		return n, err
	}
	return n, s.wrap("read", err)
}

// Write writes to the application.
func (s *Stream) Write(b []byte) (int, error) {
	n, err := s.conn.Write(b)
	if err != nil {
		err = s.wrap("write", err)
	}
	return n, err
}

// CloseWrite tells the application that nothing follows; it may go on writing.
func (s *Stream) CloseWrite() error {
	if err := s.conn.CloseWrite(); err != nil {
		return s.wrap("close", err)
	}
	return nil
}

// Close closes both directions. What was written is still delivered; what was not read is a reason to reset.
func (s *Stream) Close() error {
	s.close()
	s.ep.Close()
	return nil
}

// Abort resets the connection.
func (s *Stream) Abort(error) {
	s.close()
	s.ep.Abort()
}

func (s *Stream) close() { s.closing.Do(func() { close(s.closed) }) }

func (s *Stream) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// WaitRead returns when Read would not block.
func (s *Stream) WaitRead() error {
	s.wait(waiter.ReadableEvents)
	return nil
}

// WaitEnd returns when both directions have ended, with the error if not by FINs, or when the stream is closed.
func (s *Stream) WaitEnd() error {
	s.wait(waiter.EventHUp)
	if s.isClosed() {
		return s.wrap("read", io.EOF)
	}
	if err := s.ep.LastError(); err != nil || s.failed() {
		s.reason(err)
		return s.wrap("read", io.EOF)
	}
	return nil
}

// wait for one of events, or Close. gVisor tells of other events too.
func (s *Stream) wait(events waiter.EventMask) {
	if s.ep.Readiness(events)&events != 0 {
		return
	}
	entry, ready := waiter.NewChannelEntry(events)
	s.queue.EventRegister(&entry)
	defer s.queue.EventUnregister(&entry)
	for s.ep.Readiness(events)&events == 0 {
		select {
		case <-ready:
		case <-s.closed:
			return
		}
	}
}

// LocalAddr is the offer's target.
func (s *Stream) LocalAddr() net.Addr { return s.target }

// RemoteAddr is the application's address.
func (s *Stream) RemoteAddr() net.Addr { return s.source }

// SetDeadline is that of Read and Write.
func (s *Stream) SetDeadline(t time.Time) error { return s.conn.SetDeadline(t) }

// SetReadDeadline makes Read fail from t on.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.conn.SetReadDeadline(t) }

// SetWriteDeadline makes Write fail from t on.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.conn.SetWriteDeadline(t) }

// failed reports whether the connection ended otherwise than by FINs. gVisor tells its error once only, and
// io.EOF ever after.
func (s *Stream) failed() bool {
	return s.isClosed() || tcp.EndpointState(s.ep.State()) == tcp.StateError
}

func (s *Stream) wrap(op string, err error) error {
	var timeout interface{ Timeout() bool }
	var inner *net.OpError
	switch {
	case s.isClosed():
		err = net.ErrClosed
	case errors.As(err, &timeout) && timeout.Timeout():
		err = os.ErrDeadlineExceeded
	case errors.As(err, &inner) && inner.Err.Error() == (&tcpip.ErrTimeout{}).String():
		err = s.reason(&tcpip.ErrTimeout{})
	case s.failed() || s.failure.Load() != 0:
		err = s.reason(nil)
	default:
		err = syscall.EPIPE // our direction is closed
	}
	return &net.OpError{Op: op, Net: "tcp", Source: s.target, Addr: s.source, Err: err}
}

// reason keeps the first error, because gVisor tells it once.
func (s *Stream) reason(err tcpip.Error) error {
	why := syscall.ECONNRESET
	if _, ok := err.(*tcpip.ErrTimeout); ok {
		why = syscall.ETIMEDOUT
	}
	s.failure.CompareAndSwap(0, uint32(why))
	return syscall.Errno(s.failure.Load())
}

// errno is how the system names an error of gVisor's that ends a handshake.
func errno(err tcpip.Error) error {
	switch err.(type) {
	case *tcpip.ErrTimeout:
		return syscall.ETIMEDOUT
	case *tcpip.ErrConnectionReset, *tcpip.ErrConnectionRefused:
		return syscall.ECONNRESET
	case *tcpip.ErrAborted, *tcpip.ErrConnectionAborted:
		return syscall.ECONNABORTED
	}
	return errors.New(err.String())
}

func closed(op string, source netip.AddrPort) error {
	return &net.OpError{Op: op, Net: "tcp", Source: net.TCPAddrFromAddrPort(source), Err: net.ErrClosed}
}
