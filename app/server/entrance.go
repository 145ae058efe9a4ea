package server

import (
	"bytes"
	"sync"
	"sync/atomic"

	"tandem/engine"
)

// heldMax is how many packets are kept while the path that is to have them is attached.
const heldMax = 64

// An entrance is where packets of one carrier come in. The first ones have the path attached that is to
// take them: that takes a while, and who delivers must not wait, so it happens elsewhere.
type entrance struct {
	path atomic.Pointer[engine.Attachment] // nil: closed

	open  func()            // attaches the path and calls admit, in a goroutine of its own, one at a time
	start func(func()) bool // starts a goroutine, unless the server ends

	mu      sync.Mutex
	opening bool
	held    [][]byte
}

// receive is a carrier's Receive.
func (e *entrance) receive(pkts [][]byte) {
	if a := e.path.Load(); a != nil {
		a.Deliver(pkts)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := e.path.Load(); a != nil {
		a.Deliver(pkts)
		return
	}
	for _, p := range pkts[:min(len(pkts), heldMax-len(e.held))] {
		e.held = append(e.held, bytes.Clone(p))
	}
	if !e.opening {
		e.opening = e.start(e.enter)
	}
}

func (e *entrance) enter() {
	e.open()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opening, e.held = false, nil
}

// admit lets a path have what came in and what comes.
func (e *entrance) admit(a *engine.Attachment) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a.Deliver(e.held)
	e.held = nil
	e.path.Store(a)
}

// shut lets nobody have what comes.
func (e *entrance) shut() { e.path.Store(nil) }
