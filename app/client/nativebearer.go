package client

import (
	"context"
	"sync"
	"time"

	"tandem/tunnel/carrier"
)

// A nativeBearer is the carrier of a link to a proxy of another make. No lane tells whether such a link is alive, so now
// and then a connection to the proxy is made over it, and left again.
type nativeBearer struct {
	raw   rawCarrier
	pipe  *pipe
	knock func(context.Context) error

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	asking  bool
	answer  time.Time // the first
	rtt     time.Duration
	trouble string // why the last question had no answer; "": it had one
}

// knockTime is how long the proxy may take to answer over a link.
const knockTime = 3 * time.Second

func newNativeBearer(raw rawCarrier, p *pipe, knock func(context.Context) error) *nativeBearer {
	b := &nativeBearer{raw: raw, pipe: p, knock: knock}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// Send is part of bearer.
func (b *nativeBearer) Send(pkts [][]byte) error { return b.raw.Send(pkts) }

// Stats is part of bearer. What asks for signs of life is not counted.
func (b *nativeBearer) Stats() carrier.Stats {
	n := b.raw.Counters()
	b.mu.Lock()
	defer b.mu.Unlock()
	return carrier.Stats{
		Received: n.ReceivedOctets, Sent: n.SentOctets, Dropped: n.NoRoom + n.TooLong + n.Unsent, Handshake: b.answer,
	}
}

// Renew is part of bearer.
func (b *nativeBearer) Renew() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asking || b.ctx.Err() != nil {
		return
	}
	b.asking = true
	b.running.Go(b.ask)
}

// ask asks until there is an answer, or nothing has come beside a question: the link may have died after what came.
func (b *nativeBearer) ask() {
	for b.once() {
	}
}

// once asks one question, and reports whether to ask another.
func (b *nativeBearer) once() (again bool) {
	ctx, cancel := context.WithTimeout(b.ctx, knockTime)
	defer cancel()
	start, came := time.Now(), b.pipe.came.Load()
	err := b.knock(ctx)
	carries := b.pipe.came.Load() != came
	if err != nil && carries {
		<-ctx.Done()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil:
		b.rtt, b.trouble = time.Since(start), ""
		if b.answer.IsZero() {
			b.answer = time.Now()
		}
	case carries && b.ctx.Err() == nil:
		return true
	default:
		b.trouble = err.Error()
	}
	b.asking = false
	return false
}

// health returns the last round trip, and why the proxy does not answer; "": it does.
func (b *nativeBearer) health() (rtt time.Duration, trouble string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rtt, b.trouble
}

// Close is part of bearer. Nothing goes on when it returns.
func (b *nativeBearer) Close() error {
	b.mu.Lock()
	b.cancel()
	b.mu.Unlock()
	b.running.Wait()
	return b.raw.Close()
}
