package engine

import (
	"sync"
	"time"
)

// A deadline is an instant that may be moved while others wait for it. The zero deadline never passes.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer   // nil unless the instant is to come
	done  chan struct{} // closed when the instant has passed
	over  bool          // done is closed
}

// passed returns a channel that is closed once the deadline has passed, however often it was moved
// before that.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done == nil {
		d.done = make(chan struct{})
	}
	return d.done
}

// set moves the deadline to t; the zero Time is never.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.over {
		d.done, d.over = nil, false
	}
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.pass()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		// A timer that could not be stopped in time finds that it was replaced.
		if d.timer == timer {
			d.timer = nil
			d.pass()
		}
	})
	d.timer = timer
}

// pass lets the deadline have passed. Preconditions: mu is held, over is false.
func (d *deadline) pass() {
	if d.done == nil {
		d.done = make(chan struct{})
	}
	close(d.done)
	d.over = true
}
