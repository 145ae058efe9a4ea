package engine

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// Info is a picture of a connection, SubflowInfo of one of its subflows.
type (
	Info        = mptcp.Info
	SubflowInfo = mptcp.SubflowInfo
)

// Write hands octets over in pieces of this size, so that the first leave while the next are copied.
const pieceMax = 64 << 10

// Conn is a connection. It is a net.Conn, with half-close and abort. All methods may be called by
// many goroutines at once; of those that read, and of those that write, one proceeds at a time.
//
// Octets are copied in the caller's goroutine. Afterwards the loop is told once, however many calls
// there were since its last turn: queued is set before the Conn goes into the mail, and the loop
// clears it before it looks, so what is done after that look comes with another letter.
type Conn struct {
	bond          *Bond
	machine       *mptcp.Conn // Read with CanRead, and Write, in turn; the rest is the loop's
	local, remote netip.AddrPort

	in, out     half
	queued      atomic.Bool   // in the mail
	established chan struct{} // closed when data can flow
	ended       chan struct{} // closed when the connection is over
	err         error         // why it ended; set before ended is closed

	// The loop's.
	offered bool // somebody asks for it and has no answer
	flowing bool // established is closed
	news    bell // something happened to its subflows; nil: nobody watches
}

var _ net.Conn = (*Conn)(nil)

func newConn(b *Bond, m *mptcp.Conn, local, remote netip.AddrPort) *Conn {
	c := &Conn{
		bond: b, machine: m, local: local, remote: remote,
		established: make(chan struct{}),
		ended:       make(chan struct{}),
	}
	c.in.init()
	c.out.init()
	return c
}

// changed tells the goroutines that use the connection what happened to it. It runs in the loop.
func (c *Conn) changed(what mptcp.Change) {
	if what&mptcp.Established != 0 && !c.flowing {
		c.flowing = true
		close(c.established)
	}
	if what&mptcp.Ended != 0 {
		c.offered = false
		c.err = c.machine.Err()
		close(c.ended)
	}
	if what&mptcp.News != 0 {
		c.news.signal()
	}
	if what&(mptcp.Readable|mptcp.Ended) != 0 {
		c.in.signal()
	}
	if what&(mptcp.Writable|mptcp.Ended) != 0 {
		c.out.signal()
	}
}

// Established waits until the peer has answered. The error says why it will not, or is ctx's, which
// leaves the connection as it is. Read and Write need not wait for it.
func (c *Conn) Established(ctx context.Context) error {
	select {
	case <-c.established:
		return nil
	case <-c.in.shut:
		return c.failure("dial", c.in.why)
	case <-c.ended:
		select {
		case <-c.established:
			return nil
		default:
		}
		if c.err == nil {
			return c.failure("dial", ErrReset)
		}
		return c.failure("dial", c.err)
	case <-ctx.Done():
		return c.failure("dial", ctx.Err())
	}
}

// Done is closed when the connection is over: the peer has everything, and so has this end, or it
// ended with an error. Whoever closes the bond after it has lost nothing.
func (c *Conn) Done() <-chan struct{} { return c.ended }

// WaitEnd waits until the connection is over in both directions, read or not. It returns nil after an orderly
// end, why there was another, or net.ErrClosed or what Abort was told as soon as one of these was called.
func (c *Conn) WaitEnd() error {
	select {
	case <-c.ended:
	case <-c.in.shut:
	}
	select {
	case <-c.in.shut:
		return c.failure("read", c.in.why)
	default:
	}
	if c.err != nil {
		return c.failure("read", c.err)
	}
	return nil
}

// WaitRead waits until Read would not: there are octets, or the end, or an error. It takes its turn with
// Read, and fails as Read does when the deadline passes or the connection is closed here.
func (c *Conn) WaitRead() error {
	err := c.in.begin()
	if err == nil {
		defer c.in.end()
		err = c.in.check()
	}
	for err == nil && !c.machine.CanRead() {
		err = c.in.wait()
	}
	if err != nil {
		return c.failure("read", err)
	}
	return nil
}

// Read reads received octets: at least one, unless p is empty. After the last one it returns io.EOF,
// or why the connection ended.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.in.begin(); err != nil {
		return 0, c.failure("read", err)
	}
	defer c.in.end()
	if err := c.in.check(); err != nil {
		return 0, c.failure("read", err)
	}
	for len(p) > 0 {
		n, err := c.machine.Read(p)
		if n > 0 {
			c.poke()
			return n, nil
		}
		if err == io.EOF {
			return 0, io.EOF
		}
		if err == nil {
			err = c.in.wait()
		}
		if err != nil {
			return 0, c.failure("read", err)
		}
	}
	return 0, nil
}

// Write hands all of p to the connection, which has not sent it when Write returns. It waits while
// as much is kept unacknowledged as Limits.SendBuffer allows. With an error it returns how many
// octets were taken.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.out.begin(); err != nil {
		return 0, c.failure("write", err)
	}
	defer c.out.end()
	if err := c.out.check(); err != nil {
		return 0, c.failure("write", err)
	}
	taken := 0
	for taken < len(p) {
		piece := p[taken:min(len(p), taken+pieceMax)]
		n, err := c.machine.Write(piece)
		taken += n
		if n > 0 {
			c.poke()
		}
		// Room that comes between the look and the wait is not missed: the machine's Write has noted
		// that somebody waits before it looked a second time, and who makes room looks at the note after.
		if err == nil && n < len(piece) {
			err = c.out.wait()
		}
		if err != nil {
			return taken, c.failure("write", err)
		}
	}
	return taken, nil
}

func (c *Conn) poke() {
	if !c.queued.Swap(true) {
		c.bond.mail.poke(c)
	}
}

// CloseWrite says that nothing more will be written: the peer reads io.EOF after what was. A Write
// under way returns net.ErrClosed.
func (c *Conn) CloseWrite() error {
	if !c.out.close(net.ErrClosed) {
		return c.failure("close", c.out.why)
	}
	c.bond.post(c.machine.CloseWrite)
	return nil
}

// Close says that nothing more will be written or read. What was written is still delivered, as long
// as the bond lives. Read and Write under way return net.ErrClosed. It returns nil, also when called again.
func (c *Conn) Close() error {
	c.in.close(net.ErrClosed)
	c.out.close(net.ErrClosed)
	c.bond.post(c.machine.Close)
	return nil
}

// Abort ends the connection at once: MP_FASTCLOSE for the peer, ErrAborted, joined with why, for those
// who use it here. What was not delivered is lost, even after Close.
func (c *Conn) Abort(why error) {
	if why == nil {
		why = ErrAborted
	} else {
		why = fmt.Errorf("%w: %w", ErrAborted, why)
	}
	c.in.close(why)
	c.out.close(why)
	c.bond.post(c.machine.Abort)
}

// LocalAddr returns a *net.TCPAddr: of the first subflow, or for an accepted connection the address
// it was asked for, which need not be this host's.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr returns a *net.TCPAddr: the address dialled, or the one that asked.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	c.in.deadline.set(t)
	c.out.deadline.set(t)
	return nil
}

// SetReadDeadline sets the instant from which on Read returns os.ErrDeadlineExceeded; zero means never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.deadline.set(t)
	return nil
}

// SetWriteDeadline sets the instant from which on Write returns os.ErrDeadlineExceeded, with how many
// octets were taken; zero means never.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.deadline.set(t)
	return nil
}

// Info returns a picture of the connection, the zero Info after the bond was closed.
func (c *Conn) Info() (info Info) {
	c.bond.do(func(now clock.Time) { info = c.machine.Info(now) })
	return info
}

// Subflows returns a picture of each subflow.
func (c *Conn) Subflows() []SubflowInfo { return c.Info().Subflows }

// Trace returns the connection's last events as text, one a line; nothing after the bond was closed.
func (c *Conn) Trace() (trace string) {
	c.bond.do(func(clock.Time) { trace = c.machine.Trace() })
	return trace
}

func (c *Conn) failure(op string, err error) error { return failure(op, c.local, c.remote, err) }
