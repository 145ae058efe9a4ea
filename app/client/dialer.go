package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"tandem/app/control"
	"tandem/engine"
	"tandem/tunnel/relay"
)

// A dialer opens connections through a bond and keeps book of them.
type dialer struct {
	bond   *engine.Bond
	via    relay.Dialer // a proxy of another make, which is reached by open; nil: the bond's peer dials
	passed passage
	book   *book
	refuse func(netip.AddrPort) error // at once; nil error: not

	manner   *manner
	doubt    *doubt
	confiner *confiner
}

// doubtTime is how long a dial may go unanswered until the paths are asked for a sign of life: it may be the target that is
// slow, or all links that are dead, which nobody noticed while nothing was sent.
const doubtTime = 300 * time.Millisecond

// A doubt asks at most once in a while, for all dials.
type doubt struct {
	ping func()
	mu   sync.Mutex
	last time.Time
}

func (d *doubt) ask() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); now.Sub(d.last) > retryOften {
		d.last = now
		d.ping()
	}
}

// Dial is part of relay.Dialer.
func (d dialer) Dial(ctx context.Context, target netip.AddrPort) (relay.Stream, error) {
	return d.DialFrom(ctx, netip.AddrPort{}, target)
}

// DialFrom is part of relay.SourceDialer: who has bound itself to a link's address gets that link alone.
func (d dialer) DialFrom(ctx context.Context, source, target netip.AddrPort) (relay.Stream, error) {
	if err := d.refuse(target); err != nil {
		return nil, err
	}
	c, err := d.connect(withOnly(ctx, d.confiner.only(source.Addr())), target)
	if err != nil {
		return nil, explain(err)
	}
	via := control.ViaHub
	if d.passed != nil {
		via = d.passed(c, target)
	}
	s, err := d.book.enter(c, target, via)
	if err == nil {
		d.manner.teach(c)
	}
	return s, err
}

// A passage says which way a connection to a target went; nil: through the hub.
type passage func(c *engine.Conn, target netip.AddrPort) control.Via

// connect asks the proxy if there is one.
func (d dialer) connect(ctx context.Context, target netip.AddrPort) (*engine.Conn, error) {
	if d.via == nil {
		return d.open(ctx, target, engine.DialOptions{})
	}
	s, err := d.via.Dial(ctx, target)
	if err != nil {
		return nil, err
	}
	return s.(*engine.Conn), nil
}

// open opens a connection of the bond, and returns it even if it failed.
func (d dialer) open(ctx context.Context, to netip.AddrPort, opt engine.DialOptions) (*engine.Conn, error) {
	opt.Establish, opt.Address, opt.Only = d.manner.mode(), d.manner.wish(), onlyOf(ctx)
	opt.Paths = d.confiner.begin(opt.Paths, opt.Only)
	c, err := d.bond.Open(to, opt)
	if err == nil {
		doubt := time.AfterFunc(doubtTime, d.doubt.ask)
		err = c.Established(ctx)
		doubt.Stop()
	}
	if err != nil && c != nil {
		c.Abort(err)
	}
	return c, err
}

// explain adds to the engine's error what the application is told: what the system's own TCP would say. What
// the hub said of its own dial stands.
func explain(err error) error {
	var told error
	switch {
	case errors.Is(err, os.ErrPermission), errors.As(err, new(syscall.Errno)):
		return err
	case errors.Is(err, engine.ErrNoPath):
		told = syscall.ENETUNREACH
	case errors.Is(err, engine.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		told = syscall.ETIMEDOUT
	case errors.Is(err, engine.ErrRefused), errors.Is(err, engine.ErrReset), errors.Is(err, engine.ErrLimit):
		told = syscall.ECONNREFUSED
	default:
		return err
	}
	return fmt.Errorf("%w: %w", told, err)
}

// refuse says at once that the hub lacks a target's family.
func (f families) refuse(target netip.Addr) error {
	if target.Unmap().Is4() && !f.v4 || target.Unmap().Is6() && !f.v6 {
		return fmt.Errorf("the hub has no such addresses: %w", syscall.ENETUNREACH)
	}
	return nil
}

// A book holds the connections that are carried.
type book struct {
	mu   sync.Mutex
	last int // number given
	open map[int]*stream
	shut bool
}

func newBook() *book { return &book{open: map[int]*stream{}} }

// A stream is a connection in the book, until it is closed.
type stream struct {
	*engine.Conn
	book   *book
	number int
	target netip.AddrPort
	since  time.Time
	via    control.Via

	watched sync.Mutex // by who is told what happens to it
}

func (b *book) enter(c *engine.Conn, target netip.AddrPort, via control.Via) (relay.Stream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut {
		c.Abort(nil)
		return nil, ErrNotRunning
	}
	b.last++
	s := &stream{Conn: c, book: b, number: b.last, target: target, since: time.Now(), via: via}
	b.open[s.number] = s
	return s, nil
}

// Close is part of net.Conn.
func (s *stream) Close() error {
	s.book.leave(s.number)
	return s.Conn.Close()
}

// Abort is part of relay.Stream.
func (s *stream) Abort(why error) {
	s.book.leave(s.number)
	s.Conn.Abort(why)
}

func (b *book) leave(number int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, number)
}

// abort ends every connection, and those that come late.
func (b *book) abort() {
	b.mu.Lock()
	b.shut = true
	b.mu.Unlock()
	for _, s := range b.streams() {
		s.Abort(ErrNotRunning)
	}
}

func (b *book) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.open)
}

// streams returns all, in order of their numbers.
func (b *book) streams() []*stream {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*stream, 0, len(b.open))
	for _, s := range b.open {
		all = append(all, s)
	}
	slices.SortFunc(all, func(x, y *stream) int { return x.number - y.number })
	return all
}

func (b *book) find(number int) *stream {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open[number]
}
