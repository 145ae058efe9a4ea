package engine

import (
	"os"
	"sync"
	"time"
)

// A half is one direction of a connection as seen by the goroutines that use it.
//
// No wakeup is lost. A goroutine that found nothing to do waits for ready, which keeps a signal that
// comes before the wait; the loop signals after it has changed the stream. So either the goroutine
// saw the change, or it looked before the change, and the signal comes after its look and finds it
// waiting or about to. A signal for what was seen already costs one look more. One goroutine waits at
// a time, the one whose turn it is, so one signal is enough.
//
// All waiting is on channels, which lets a testing/synctest bubble see it.
type half struct {
	turn     chan struct{} // full while a goroutine is inside
	ready    chan struct{} // full when there may be something to do
	shut     chan struct{} // closed by close
	once     sync.Once
	why      error // what operations return; set before shut is closed
	deadline deadline
}

func (h *half) init() {
	h.turn = make(chan struct{}, 1)
	h.ready = make(chan struct{}, 1)
	h.shut = make(chan struct{})
}

// signal says that there may be something to do.
func (h *half) signal() {
	select {
	case h.ready <- struct{}{}:
	default:
	}
}

// close has all operations, also those under way, return why, and waits until nobody is inside: the
// stream is then its owner's alone. Who is inside waits for nothing but shut, so the loop may call
// close too. The first why counts; close reports whether it was this one.
func (h *half) close(why error) (first bool) {
	h.once.Do(func() {
		first = true
		h.why = why
		close(h.shut)
		h.deadline.set(time.Time{})
		h.turn <- struct{}{}
		<-h.turn
	})
	return first
}

// begin waits for the caller's turn. After nil, end must follow.
func (h *half) begin() error {
	select {
	case h.turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case h.turn <- struct{}{}:
		return nil
	case <-h.shut:
		return h.why
	case <-h.deadline.passed():
		return os.ErrDeadlineExceeded
	}
}

func (h *half) end() { <-h.turn }

// check returns why nothing may be done now, or nil.
func (h *half) check() error {
	select {
	case <-h.shut:
		return h.why
	default:
	}
	select {
	case <-h.deadline.passed():
		return os.ErrDeadlineExceeded
	default:
		return nil
	}
}

// wait waits until there may be something to do. Preconditions: it is the caller's turn.
func (h *half) wait() error {
	select {
	case <-h.ready:
		return nil
	case <-h.shut:
		return h.why
	case <-h.deadline.passed():
		return os.ErrDeadlineExceeded
	}
}
