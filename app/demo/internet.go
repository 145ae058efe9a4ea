package demo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"tandem/tunnel/relay"
)

// internet is what the hub dials: every address answers with octets that a reader can foretell.
type internet struct{}

// Dial is part of relay.Dialer.
func (internet) Dial(_ context.Context, target netip.AddrPort) (relay.Stream, error) {
	return &source{target: target, octets: octets(), closed: make(chan struct{})}, nil
}

// octets is what a source says.
func octets() *rand.ChaCha8 { return rand.NewChaCha8([32]byte{'t', 'a', 'n', 'd', 'e', 'm'}) }

// A source is a stream that says octets without end, and listens to nothing.
type source struct {
	target netip.AddrPort
	octets *rand.ChaCha8
	once   sync.Once
	closed chan struct{}
}

func (s *source) over() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// Read is part of net.Conn. One goroutine calls it at a time.
func (s *source) Read(p []byte) (int, error) {
	if s.over() {
		return 0, net.ErrClosed
	}
	return s.octets.Read(p)
}

// Write is part of net.Conn.
func (s *source) Write(p []byte) (int, error) {
	if s.over() {
		return 0, net.ErrClosed
	}
	return len(p), nil
}

// Close is part of net.Conn.
func (s *source) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// CloseWrite is part of relay.Stream.
func (s *source) CloseWrite() error { return nil }

// Abort is part of relay.Stream.
func (s *source) Abort(error) { s.Close() }

// LocalAddr is part of net.Conn.
func (s *source) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr is part of net.Conn.
func (s *source) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.target) }

// SetDeadline is part of net.Conn: nothing here waits.
func (s *source) SetDeadline(time.Time) error { return nil }

// SetReadDeadline is part of net.Conn.
func (s *source) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline is part of net.Conn.
func (s *source) SetWriteDeadline(time.Time) error { return nil }

var errWrong = errors.New("octets differ from those that were sent")

// verify reads what a source says until its deadline or an error, and tells heard of each piece.
func verify(r io.Reader, heard func(n int)) error {
	want, got, expected := octets(), make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := r.Read(got)
		want.Read(expected[:n])
		if !bytes.Equal(got[:n], expected[:n]) {
			return errWrong
		}
		if n > 0 {
			heard(n)
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return err
		}
	}
}
