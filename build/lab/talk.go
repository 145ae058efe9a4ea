package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"
)

// A talk is what one end of a connection does with it.
type talk struct {
	Seed    byte  // of the octets it sends
	Send    int64 // octets to write before the end of the stream
	Answer  bool  // write only once the peer's stream has ended
	AbortAt int64 // abort when this many octets were read; 0: never

	early int64 // of those to write, how many were already
}

// A report is what came of a talk.
type report struct {
	Sent, Received int64
	Digest         string        // SHA-256 of what was received
	Elapsed        time.Duration // from the first octet wanted to the last one read
	Connected      time.Duration // from the wish for a connection to the answer; 0: who listened
	Multipath      bool          // Multipath TCP when established, as far as this end can tell
	Err            string
}

// stream is what the kernel's and the engine's connections have in common.
type stream interface {
	net.Conn
	CloseWrite() error
}

var errAborted = errors.New("aborted here, as asked")

// octets returns the stream that a talk with that seed sends.
func octets(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

// digest returns the SHA-256 of the first n octets of that stream.
func digest(seed byte, n int64) string {
	h := sha256.New()
	io.CopyN(h, octets(seed), n)
	return hex.EncodeToString(h.Sum(nil))
}

// converse carries a talk through: it writes and reads at once, and returns when both are over.
// progress counts the octets read.
func converse(ctx context.Context, s stream, t talk, progress *atomic.Int64) report {
	stop := context.AfterFunc(ctx, func() { s.SetDeadline(time.Now()) })
	defer stop()
	start := time.Now()
	var r report
	heard := make(chan struct{})
	wrote := make(chan error, 1)
	go func() {
		if t.Answer {
			<-heard
		}
		all := octets(t.Seed)
		io.CopyN(io.Discard, all, t.early)
		n, err := io.CopyBuffer(onlyWriter{s}, io.LimitReader(all, t.Send-t.early), make([]byte, 64<<10))
		r.Sent = t.early + n
		if err == nil {
			err = s.CloseWrite()
		}
		wrote <- err
	}()
	h := sha256.New()
	received, readErr := listen(s, h, t.AbortAt, progress)
	r.Received, r.Digest, r.Elapsed = received, hex.EncodeToString(h.Sum(nil)), time.Since(start)
	close(heard)
	if errors.Is(readErr, errAborted) {
		abort(s)
	}
	writeErr := <-wrote
	s.Close()
	switch {
	case readErr != nil:
		r.Err = "read: " + readErr.Error()
	case writeErr != nil:
		r.Err = "write: " + writeErr.Error()
	}
	return r
}

func listen(s stream, h hash.Hash, abortAt int64, progress *atomic.Int64) (received int64, err error) {
	buf := make([]byte, 256<<10)
	for {
		n, err := s.Read(buf)
		h.Write(buf[:n])
		received += int64(n)
		progress.Store(received)
		if abortAt > 0 && received >= abortAt {
			return received, errAborted
		}
		if err == io.EOF {
			return received, nil
		}
		if err != nil {
			return received, err
		}
	}
}

// abort ends a connection at once. The kernel sends MP_FASTCLOSE when a socket is closed with
// octets unread, so it waits until some must be there.
func abort(s stream) {
	if a, ok := s.(interface{ Abort(error) }); ok {
		a.Abort(errAborted)
		return
	}
	if c, ok := s.(*net.TCPConn); ok {
		awaitUnread(c)
	}
	s.Close()
}

// onlyWriter hides ReadFrom, which would bypass the buffer's size.
type onlyWriter struct{ io.Writer }

// check says what is wrong with a report: nothing, if the peer carried out its talk in full.
func (r report) check(peer talk) error {
	if r.Err != "" {
		return errors.New(r.Err)
	}
	if r.Received != peer.Send {
		return fmt.Errorf("received %d octets of %d", r.Received, peer.Send)
	}
	if want := digest(peer.Seed, peer.Send); r.Digest != want {
		return fmt.Errorf("digest of %d octets is %.12s…, not %.12s…", r.Received, r.Digest, want)
	}
	return nil
}
