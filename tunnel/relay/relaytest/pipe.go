// Package relaytest has what tests of a relay and of its neighbours hand it: streams in memory with both
// half-closes and resets, and offers of them.
package relaytest

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"tandem/tunnel/relay"
)

// ErrReset is what operations fail with after the other end has called Abort.
var ErrReset = errors.New("reset by the other end")

const room = 64 << 10 // octets on their way

// Pipe returns two ends of a connection in memory, named by the addresses of their far ends.
func Pipe(asker, target netip.AddrPort) (*End, *End) {
	p := &pipe{}
	p.changed.L = &p.mu
	there, back := &half{}, &half{}
	return &End{pipe: p, in: back, out: there, local: asker, remote: target},
		&End{pipe: p, in: there, out: back, local: target, remote: asker}
}

type pipe struct {
	mu      sync.Mutex
	changed sync.Cond
}

// A half is one direction.
type half struct {
	octets  []byte
	written error // what the reader gets behind the octets
	read    error // what the writer gets
}

// An End is a relay.Stream. Deadlines do nothing.
type End struct {
	pipe          *pipe
	in, out       *half
	local, remote netip.AddrPort
	aborted       error
}

// Read returns what is there; io.EOF behind what was written before CloseWrite or Close.
func (e *End) Read(b []byte) (int, error) {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	for len(b) > 0 && len(e.in.octets) == 0 && e.in.written == nil {
		e.pipe.changed.Wait()
	}
	n := copy(b, e.in.octets)
	e.in.octets = e.in.octets[n:]
	e.pipe.changed.Broadcast()
	if n == 0 && len(b) > 0 {
		return 0, e.in.written
	}
	return n, nil
}

// Write waits while too much is on its way.
func (e *End) Write(b []byte) (n int, err error) {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	for {
		if e.out.written != nil || e.out.read != nil {
			return n, errors.Join(e.out.read, net.ErrClosed)
		}
		k := min(len(b)-n, room-len(e.out.octets))
		e.out.octets = append(e.out.octets, b[n:n+k]...)
		n += k
		e.pipe.changed.Broadcast()
		if n == len(b) {
			return n, nil
		}
		e.pipe.changed.Wait()
	}
}

// WaitRead is that of relay.Waiter.
func (e *End) WaitRead() error {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	for len(e.in.octets) == 0 && e.in.written == nil {
		e.pipe.changed.Wait()
	}
	return nil
}

// CloseWrite ends what is written.
func (e *End) CloseWrite() error {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	if e.out.read != nil {
		return e.out.read
	}
	if e.out.written == nil {
		e.out.written = io.EOF
	}
	e.pipe.changed.Broadcast()
	return nil
}

// Close ends what is written; what the other end writes after that fails.
func (e *End) Close() error {
	e.end(io.EOF, net.ErrClosed, ErrReset, false)
	return nil
}

// Abort drops what is on its way; the other end gets ErrReset.
func (e *End) Abort(why error) {
	if why == nil {
		why = ErrReset
	}
	if e.end(ErrReset, net.ErrClosed, ErrReset, true) {
		e.pipe.mu.Lock()
		e.aborted = why
		e.pipe.mu.Unlock()
	}
}

// end sets what is not set yet: what the other end reads, what this one reads, what the other one's writes give.
func (e *End) end(theyRead, weRead, theyWrite error, drop bool) (first bool) {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	first = e.in.read == nil
	if drop && first {
		e.out.octets = nil
	}
	if e.out.written == nil || drop && first {
		e.out.written = theyRead
	}
	if e.in.written == nil || first {
		e.in.written, e.in.octets = weRead, nil
	}
	if first {
		e.in.read = theyWrite
	}
	e.pipe.changed.Broadcast()
	return first
}

// Aborted is why Abort was called on this end before Close was; nil if it was not.
func (e *End) Aborted() error {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	return e.aborted
}

// LocalAddr is the address of this end.
func (e *End) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(e.local) }

// RemoteAddr is the address of the other end.
func (e *End) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(e.remote) }

// SetDeadline does nothing.
func (e *End) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (e *End) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (e *End) SetWriteDeadline(time.Time) error { return nil }

var _ relay.Stream = (*End)(nil)
