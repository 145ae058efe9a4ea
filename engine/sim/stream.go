package sim

import (
	"errors"
	"fmt"
	"io"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// A Stream is one end of a connection and the application there: it writes its pattern, and what it
// reads must be the other end's.
type Stream struct {
	Plan  *Plan
	Conn  *mptcp.Conn
	Began clock.Time // dialled or offered
	Done  clock.Time // when all was written and all read, the end included; Never before that
	Over  bool       // the connection has told that it ended
	Err   error      // that Read gave, or Dial

	Wrote, Read int64

	server        bool
	out, in       pattern
	write, expect int64
	aborts        bool
	closed, end   bool // our direction, theirs
	canRead       bool
	canWrite      bool
	readAt        clock.Time // of a slow reader
	writeAt       clock.Time // of a slow writer
	buf           []byte
}

func newStream(now clock.Time, plan *Plan, conn *mptcp.Conn, server bool, buf []byte) *Stream {
	s := &Stream{
		Plan: plan, Conn: conn, Began: now, Done: clock.Never, server: server, buf: buf,
		out: plan.up(), in: plan.down(), write: plan.Up, expect: plan.Down, aborts: plan.Manner == ClientAborts,
		canRead: true, canWrite: true,
	}
	if server {
		s.out, s.in, s.write, s.expect = s.in, s.out, s.expect, s.write
		s.aborts = plan.Manner == ServerAborts
	}
	return s
}

// note takes in what the connection says happened.
func (s *Stream) note(what mptcp.Change) {
	if what&(mptcp.Readable|mptcp.Established|mptcp.Ended) != 0 {
		s.canRead = true
	}
	if what&(mptcp.Writable|mptcp.Established) != 0 {
		s.canWrite = true
	}
	if what&mptcp.Ended != 0 {
		s.Over = true
	}
}

// waits reports whether this end writes nothing yet.
func (s *Stream) waits() bool {
	return !s.end && (s.server && s.Plan.Manner == ServerLast || !s.server && s.Plan.Manner == ClientLast)
}

// idle reports whether there is nothing to do any more.
func (s *Stream) idle() bool {
	return s.Conn == nil || s.Done != clock.Never && (s.Over || s.aborts)
}

// turn reads and writes what can be, and reports whether that was anything.
func (s *Stream) turn(now clock.Time) (changed bool, err error) {
	if s.idle() {
		return false, nil
	}
	read, wrote := s.Read, s.Wrote
	if err := s.readAll(now); err != nil {
		return false, err
	}
	if err := s.writeAll(now); err != nil {
		return false, err
	}
	changed = s.Read != read || s.Wrote != wrote
	if changed {
		s.Conn.Poke(now)
	}
	if s.aborts && s.Done == clock.Never && (s.Wrote >= s.write/2 && s.Read >= s.expect/2) {
		s.Conn.Abort(now)
		s.Done = now
		return true, nil
	}
	if s.Wrote == s.write && !s.closed && !s.aborts && !s.waits() && s.Err == nil {
		s.closed = true
		s.Conn.CloseWrite(now)
		changed = true
	}
	if s.Done == clock.Never && s.end && s.closed {
		s.Done = now
	}
	return changed, nil
}

func (s *Stream) readAll(now clock.Time) error {
	for s.canRead && !s.end && s.Err == nil {
		p := s.buf
		if s.Plan.Sip > 0 {
			if now < s.readAt {
				return nil
			}
			p = p[:min(len(p), s.Plan.Sip)]
			s.readAt = now.Add(s.Plan.Rest)
		}
		n, err := s.Conn.Read(p)
		if n < 0 || n > len(p) {
			return fmt.Errorf("Read of %d octets returned %d", len(p), n)
		}
		if at := s.in.differs(p[:n], s.Read); at >= 0 && !s.mayDiffer(now) {
			return fmt.Errorf("octet %d read is not the one written", at)
		}
		s.Read += int64(n)
		if s.Read > s.expect {
			return fmt.Errorf("%d octets read where %d were written", s.Read, s.expect)
		}
		switch {
		case errors.Is(err, io.EOF):
			if s.Read != s.expect && !s.Plan.violent() {
				return fmt.Errorf("the end came after %d octets of %d", s.Read, s.expect)
			}
			s.end = true
		case err != nil:
			s.Err = err
		case n == 0:
			s.canRead = false
		}
	}
	return nil
}

// mayDiffer reports whether wrong octets are nobody's fault: a middlebox alters them, and the
// connection fell back to TCP, which has no checksum that would tell (RFC 8684 3.7).
func (s *Stream) mayDiffer(now clock.Time) bool {
	return s.Plan.Altered && (s.Over || s.Conn.Info(now).Fallback)
}

func (s *Stream) writeAll(now clock.Time) error {
	for s.canWrite && s.Wrote < s.write && !s.waits() && s.Err == nil {
		more := s.write - s.Wrote
		if s.Plan.Crumb > 0 {
			if now < s.writeAt {
				return nil
			}
			more = min(more, int64(s.Plan.Crumb))
			s.writeAt = now.Add(s.Plan.Pause)
		}
		p := s.out.at(s.Wrote, more)
		n, err := s.Conn.Write(p)
		if n < 0 || n > len(p) {
			return fmt.Errorf("a Write of %d octets returned %d", len(p), n)
		}
		s.Wrote += int64(n)
		if n < len(p) || err != nil {
			s.canWrite = false
		}
	}
	return nil
}

// next returns when turn must be called though nothing happens.
func (s *Stream) next() clock.Time {
	at := clock.Never
	if s.idle() || s.Err != nil {
		return at
	}
	if s.Plan.Sip > 0 && s.canRead && !s.end {
		at = s.readAt
	}
	if s.Plan.Crumb > 0 && s.canWrite && s.Wrote < s.write && !s.waits() {
		at = min(at, s.writeAt)
	}
	return at
}

// finished reports whether the plan was carried out as far as this end can tell.
func (s *Stream) finished() bool {
	if s.Plan.violent() {
		return s.Done != clock.Never || s.Err != nil || s.end || s.Over
	}
	return s.Done != clock.Never
}

func (s *Stream) String() string {
	who := "client"
	if s.server {
		who = "server"
	}
	return fmt.Sprintf("\n\t%s of %v, %v: wrote %d of %d, read %d of %d, end written %v, read %v, over %v, error %v\n%s",
		who, s.Plan.Target, s.Plan.Manner, s.Wrote, s.write, s.Read, s.expect, s.closed, s.end, s.Over, s.Err, s.Conn.Trace())
}
