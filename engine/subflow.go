package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// What is said of subflows and to them: RFC 6897, draft-hesmans-mptcp-socket and draft-samar-mptcp-socketapi have
// the same under names of their own.
type (
	SubflowID        = mptcp.SubflowID        // from 1, within a connection; none is used twice
	SubflowOptions   = mptcp.SubflowOptions   // which subflow is opened
	SubflowEvent     = mptcp.SubflowEvent     // what happened to one
	SubflowEventKind = mptcp.SubflowEventKind // in one word
	Ending           = mptcp.Ending           // how one is closed
)

// The ways to close a subflow, and what happens to them.
const (
	ByFIN   = mptcp.ByFIN
	ByReset = mptcp.ByReset

	SubflowAdded       = mptcp.SubflowAdded
	SubflowEstablished = mptcp.SubflowEstablished
	SubflowPriority    = mptcp.SubflowPriority
	SubflowRemoved     = mptcp.SubflowRemoved
	FellBack           = mptcp.FellBack
)

// Why an operation on a subflow is not done, beside ErrNoPath, ErrLimit and net.ErrClosed. Each is also the error of
// the system that says the same.
var (
	ErrNoSubflow = mptcp.ErrNoSubflow // syscall.ENOENT
	ErrFallback  = mptcp.ErrFallback  // syscall.EOPNOTSUPP: the connection is one of TCP
	ErrEarly     = mptcp.ErrEarly     // syscall.EAGAIN: the connection, or the subflow, is not established yet
	ErrExists    = mptcp.ErrExists    // syscall.EADDRINUSE
	ErrLast      = mptcp.ErrLast      // syscall.EBUSY: it is the only one, and no other path is there
	ErrNoJoins   = mptcp.ErrNoJoins   // syscall.EACCES: the peer asked for none to that address
)

// Token returns the connection's number at this end: no two of a bond that live have the same.
func (c *Conn) Token() uint32 { return c.machine.Token() }

// Multipath reports whether MPTCP is in use: not before the peer has answered, after a fallback, or in the end.
func (c *Conn) Multipath() (used bool) {
	c.bond.do(func(clock.Time) { used = c.machine.Multipath() })
	return used
}

// Subflow returns a picture of one subflow, or fails with ErrNoSubflow.
func (c *Conn) Subflow(id SubflowID) (SubflowInfo, error) {
	for _, f := range c.Subflows() {
		if f.ID == id {
			return f, nil
		}
	}
	return SubflowInfo{}, c.inability(ErrNoSubflow)
}

// OpenSubflow opens a subflow and does not wait for it to be established: see NextEvent.
func (c *Conn) OpenSubflow(o SubflowOptions) (id SubflowID, err error) {
	o.Local, o.Remote = unmap(o.Local), unmap(o.Remote)
	return id, c.operate(func(now clock.Time) (err error) {
		id, err = c.machine.OpenSubflow(now, o)
		return err
	})
}

// CloseSubflow closes a subflow as soon as another carries data, and opens one over another path if there is none.
// The bond opens none over its path for this connection again, unless nothing else is left. It fails with ErrLast
// where no other path is there: then Close the connection, or Abort it.
func (c *Conn) CloseSubflow(id SubflowID, how Ending) error {
	return c.operate(func(now clock.Time) error { return c.machine.CloseSubflow(now, id, how) })
}

// RemovePath closes all of the connection's subflows over a path in this way, and tells the peer not to use its addresses.
func (c *Conn) RemovePath(id PathID) error {
	return c.operate(func(now clock.Time) error { return c.machine.RemovePath(now, id) })
}

// AddPath lets the connection use a path that it was not to use, by DialOptions.Only, RemovePath or CloseSubflow.
func (c *Conn) AddPath(id PathID) error {
	return c.operate(func(now clock.Time) error { return c.machine.AddPath(now, id) })
}

// SubflowPriority reports whether either end wishes a subflow spared: to be used when nothing else works.
func (c *Conn) SubflowPriority(id SubflowID) (local, remote bool, err error) {
	return local, remote, c.operate(func(clock.Time) (err error) {
		local, remote, err = c.machine.Priority(id)
		return err
	})
}

// SetSubflowPriority spares a subflow, or does not any more, and asks the peer to do the same. What SetRole says of
// its path later counts instead.
func (c *Conn) SetSubflowPriority(id SubflowID, backup bool) error {
	return c.operate(func(now clock.Time) error { return c.machine.SetPriority(now, id, backup) })
}

// SetSubflowTOS changes the DSCP of what leaves over a subflow: the upper six bits of tos (IP_TOS).
func (c *Conn) SetSubflowTOS(id SubflowID, tos uint8) error {
	return c.operate(func(clock.Time) error { return c.machine.SetTOS(id, tos) })
}

// SetSubflowUserTimeout says how long octets that a subflow sent may be unacknowledged; then it ends, and others carry
// them (TCP_USER_TIMEOUT). 0: as long as TCP usually waits.
func (c *Conn) SetSubflowUserTimeout(id SubflowID, d time.Duration) error {
	return c.operate(func(clock.Time) error { return c.machine.SetUserTimeout(id, d) })
}

// NextEvent waits for the next thing that happens to the subflows. With the first call it begins to watch, and tells
// of those that there are as if they had just come. Of more than 64 that nobody fetches the oldest are lost, and the
// next says how many. It fails with ctx's error, with io.EOF when the connection is over, or with net.ErrClosed.
func (c *Conn) NextEvent(ctx context.Context) (SubflowEvent, error) {
	for {
		var e SubflowEvent
		var news bell
		var found, over bool
		err := c.bond.do(func(clock.Time) {
			if c.news == nil {
				c.news = make(bell, 1)
				c.machine.Watch()
			}
			news = c.news
			if e, found = c.machine.NextSubflowEvent(); found {
				news.signal() // for who else waits
			}
			select {
			case <-c.ended:
				over = true
			default:
			}
		})
		switch {
		case err != nil:
			return e, c.failure("watch", err)
		case found:
			return e, nil
		case over:
			return e, io.EOF
		}
		select {
		case <-news:
		case <-c.ended:
		case <-ctx.Done():
			return e, c.failure("watch", ctx.Err())
		}
	}
}

// A bell wakes one who waits, now or later.
type bell chan struct{}

func (b bell) signal() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// operate does something with the subflows in the loop.
func (c *Conn) operate(f func(clock.Time) error) error {
	var err error
	if closed := c.bond.do(func(now clock.Time) { err = f(now) }); closed != nil {
		err = closed
	}
	if err != nil {
		return c.inability(err)
	}
	return nil
}

// inabilities are what the system says where an operation cannot be done.
var inabilities = []struct {
	err   error
	errno syscall.Errno
}{
	{ErrNoSubflow, syscall.ENOENT},
	{ErrFallback, syscall.EOPNOTSUPP},
	{ErrEarly, syscall.EAGAIN},
	{ErrExists, syscall.EADDRINUSE},
	{ErrLast, syscall.EBUSY},
	{ErrNoJoins, syscall.EACCES},
}

// An inability is an error with what the system says for it.
type inability struct {
	error
	errno syscall.Errno
}

// Is reports whether target is what the system says.
func (i inability) Is(target error) bool { return target == error(i.errno) || i.errno.Is(target) }

// Unwrap returns the engine's error.
func (i inability) Unwrap() error { return i.error }

func (c *Conn) inability(err error) error {
	if errors.Is(err, mptcp.ErrClosed) {
		err = net.ErrClosed
	}
	for _, i := range inabilities {
		if err == i.err {
			err = inability{err, i.errno}
			break
		}
	}
	return c.failure("subflow", err)
}
