package relay

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// A join is two streams with a copy each way.
//
// The end of what one side sends becomes the end of what the other is sent. Everything else that ends a
// side resets the other, for the same reason, and never looks like an end in order. The reset does not
// overtake an answer: a target may answer and take no more, so what it said is delivered first, and
// meanwhile what it is sent is read and dropped, lest the asker waits to be read before it reads.
type join struct {
	asker, target side
	buffers       *lender
	origin        time.Time
	stopped       chan struct{}
}

// lingering is how long a reset follows the last octets that were written: no stream tells when they have
// arrived.
const lingering = time.Second

// A side is a stream as its two copies share it.
type side struct {
	Stream
	gone    <-chan struct{} // closed when the stream is over; nil: it does not tell
	octets  *atomic.Uint64  // read from it
	wrote   atomic.Int64    // when octets were last written to it, in nanoseconds after the join's origin
	drained chan struct{}   // closed when nothing more is read from it
	broken  chan struct{}   // closed when it failed

	once sync.Once
	err  error // why it failed; set before broken is closed
}

func newJoin(asker, target Stream, buffers *lender, c *Counters) *join {
	return &join{
		asker:   side{Stream: asker, octets: &c.Sent, drained: make(chan struct{}), broken: make(chan struct{})},
		target:  side{Stream: target, octets: &c.Received, drained: make(chan struct{}), broken: make(chan struct{})},
		buffers: buffers,
		origin:  time.Now().Add(-lingering),
		stopped: make(chan struct{}),
	}
}

// run copies until both sides are over, and returns why one failed, if one did.
func (j *join) run() error {
	var other sync.WaitGroup
	other.Go(func() { j.carry(&j.target, &j.asker) })
	j.carry(&j.asker, &j.target)
	other.Wait()
	if err := j.target.failed(); err != nil {
		return err
	}
	return j.asker.failed()
}

// abort resets both sides. It is called once.
func (j *join) abort(why error) {
	close(j.stopped)
	j.asker.abort(why)
	j.target.abort(why)
}

// carry brings what from sends to to, and then how it ended. It is there until from has failed or both are
// over, so a failure of from, whoever met it, is its to tell.
func (j *join) carry(from, to *side) {
	if err := j.copy(from, to); err != io.EOF {
		from.fail(err)
	}
	if from.failed() == nil {
		if err := to.CloseWrite(); err != nil {
			to.fail(err)
		}
	}
	close(from.drained)
	if from.failed() == nil {
		j.watch(from, to)
	}
	switch err := from.failed(); {
	case err != nil:
		j.linger(to)
		to.abort(err)
		from.abort(err)
	case to.failed() == nil:
		from.Close()
		to.Close()
	}
}

// copy returns what reading ended with. What to does not take any more is dropped.
func (j *join) copy(from, to *side) error {
	for full := false; ; {
		b, err := j.buffers.wait(from.Stream, full)
		if err != nil {
			return err
		}
		n, err := from.Read(b)
		from.octets.Add(uint64(n))
		full = n == len(b)
		if n > 0 && to.failed() == nil {
			if _, err := to.Write(b[:n]); err != nil {
				to.fail(err)
			}
			to.wrote.Store(int64(time.Since(j.origin)))
		}
		j.buffers.giveBack(b)
		if err != nil {
			return err
		}
	}
}

// watch looks after a side that has sent all, until the other has or this one is no more.
func (j *join) watch(from, to *side) {
	if e, ok := from.Stream.(Ender); ok {
		if err := e.WaitEnd(); err != nil && !to.over() {
			from.fail(err)
		}
	}
	select {
	case <-to.drained:
	case <-from.broken:
	case <-from.gone:
		_, err := from.Write(nil)
		if err == nil {
			err = errLeft
		}
		if !to.over() {
			from.fail(err)
		}
	}
}

var errLeft = errors.New("the other end left")

// linger waits until what was written to s should have arrived.
func (j *join) linger(s *side) {
	wait := lingering - (time.Since(j.origin) - time.Duration(s.wrote.Load()))
	if wait <= 0 || s.failed() != nil {
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.broken:
	case <-j.stopped:
	}
}

// over reports whether all that the side sent was carried.
func (s *side) over() bool {
	select {
	case <-s.drained:
		return true
	default:
		return false
	}
}

// abort resets the side; operations under way then fail for that reason.
func (s *side) abort(why error) {
	s.fail(why)
	s.Abort(why)
}

// fail tells why the side is no more; the first reason counts.
func (s *side) fail(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.broken)
	})
}

func (s *side) failed() error {
	select {
	case <-s.broken:
		return s.err
	default:
		return nil
	}
}
