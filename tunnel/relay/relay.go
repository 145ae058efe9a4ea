// Package relay joins what somebody asks for with what answers: offers of connections with dials, and the
// datagrams of a bond with sockets. Client and hub run the same relay with the ends swapped.
//
//	asker ─► Offer ──────► Dial ─► target      nobody is answered before the target has answered
//	asker ◄═ Accept, copies both ways ═► target
//	asker ◄─ Refuse(why) ◄─ failed
package relay

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// An Offer is a connection that somebody has asked for and nobody has answered. It wants one answer.
type Offer interface {
	Source() netip.AddrPort
	Target() netip.AddrPort
	Accept() (Stream, error) // completes the handshake with the asker
	Refuse(why error)        // answers as a host would for which dialing failed with why; nothing when the asker has left
}

// A Leaver is an Offer that tells when its asker has left, or the connection that came of it is over.
type Leaver interface {
	Gone() <-chan struct{}
}

// A Stream is one end of a connection. Once an operation has failed Write fails for good, and Read gives
// what had come before and ends. Close is safe beside everything, more than once, and after Abort.
type Stream interface {
	net.Conn
	CloseWrite() error // the other end reads io.EOF behind what was written; reading goes on
	Abort(why error)   // resets the connection at once: RST, MP_FASTCLOSE; what was not sent yet is dropped
}

// A Waiter is a Stream that needs no buffer to wait: WaitRead returns when Read would not block, be it for
// octets, the end or an error.
type Waiter interface {
	WaitRead() error
}

// An Ender is a Stream that tells of its end when nobody reads it any more: WaitEnd returns when neither
// direction is alive, with the reason if that was not in order, or when the stream is closed.
type Ender interface {
	WaitEnd() error
}

// A Dialer makes the connections that were asked for. Its errors tell what the asker is told: ECONNREFUSED,
// EHOSTUNREACH, ENETUNREACH, os.ErrPermission, or a timeout.
type Dialer interface {
	Dial(ctx context.Context, target netip.AddrPort) (Stream, error)
}

// A SourceDialer is a Dialer to whom it matters who asks.
type SourceDialer interface {
	Dialer
	DialFrom(ctx context.Context, source, target netip.AddrPort) (Stream, error)
}

// Config is how Serve goes about it. The zero Config works.
type Config struct {
	Dialing     int           // dials at a time; offers wait beyond that; 0: 512
	Rate        int           // dials per second in the long run, Dialing of them at once; 0: 200
	DialTimeout time.Duration // 0: 30 s, after which a SYN was repeated four times
	Buffers     int           // octets lent to copies at a time, beyond which they go in small pieces; 0: 16 MiB
	Counters    *Counters     // nil: not counted
	Log         *slog.Logger  // nil: silent
}

// Counters count what a relay does while it does it. They may be shared by relays.
type Counters struct {
	Open     atomic.Int64  // connections
	Offers   atomic.Uint64 // in all
	Joined   atomic.Uint64 // of them accepted
	Refused  atomic.Uint64 // of them refused, or left while they were dialled
	Aborted  atomic.Uint64 // of the joined ended otherwise than by both ends closing
	Sent     atomic.Uint64 // octets to targets
	Received atomic.Uint64 // octets from targets
}

// Serve joins every offer that accept gives with a dial, until ctx ends or accept fails. Then it aborts what
// is left, waits for it, and returns why it ended.
func Serve(ctx context.Context, accept func(context.Context) (Offer, error), d Dialer, cfg Config) error {
	r := newRelay(d, cfg)
	ctx, cancel := context.WithCancelCause(ctx)
	err := r.accept(ctx, accept)
	cancel(err)
	r.end(err)
	return err
}

// A relay is what the goroutines of one Serve share.
type relay struct {
	cfg     Config
	dialer  Dialer
	dialing chan struct{} // full of who dials
	rate    *rate.Limiter
	buffers *lender
	running sync.WaitGroup

	mu    sync.Mutex
	ended error // set when no join may begin any more
	live  map[*join]struct{}
}

func newRelay(d Dialer, cfg Config) *relay {
	if cfg.Dialing <= 0 {
		cfg.Dialing = 512
	}
	if cfg.Rate <= 0 {
		cfg.Rate = 200
	}
	if cfg.DialTimeout <= 0 {
		cfg.DialTimeout = 30 * time.Second
	}
	if cfg.Buffers <= 0 {
		cfg.Buffers = 16 << 20
	}
	if cfg.Counters == nil {
		cfg.Counters = new(Counters)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &relay{
		cfg:     cfg,
		dialer:  d,
		dialing: make(chan struct{}, cfg.Dialing),
		rate:    rate.NewLimiter(rate.Limit(cfg.Rate), cfg.Dialing),
		buffers: newLender(cfg.Buffers),
		live:    map[*join]struct{}{},
	}
}

func (r *relay) accept(ctx context.Context, accept func(context.Context) (Offer, error)) error {
	for {
		select {
		case r.dialing <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := r.rate.Wait(ctx); err != nil {
			return context.Cause(ctx)
		}
		o, err := accept(ctx)
		if err != nil {
			return err
		}
		r.cfg.Counters.Offers.Add(1)
		r.running.Go(func() { r.answer(ctx, o) })
	}
}

// answer lets go of its place among who dials when the dial is over.
func (r *relay) answer(ctx context.Context, o Offer) {
	target, err := r.dial(ctx, o)
	<-r.dialing
	if err != nil {
		r.cfg.Counters.Refused.Add(1)
		o.Refuse(err)
		r.cfg.Log.Debug("refused", "target", o.Target(), "why", err)
		return
	}
	asker, err := o.Accept()
	if err != nil {
		r.cfg.Counters.Refused.Add(1)
		target.Abort(err)
		return
	}
	r.join(asker, target, o)
}

// dial gives up when the asker leaves.
func (r *relay) dial(ctx context.Context, o Offer) (Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.DialTimeout)
	defer cancel()
	if l, ok := o.(Leaver); ok {
		r.running.Go(func() {
			select {
			case <-l.Gone():
				cancel()
			case <-ctx.Done():
			}
		})
	}
	if d, ok := r.dialer.(SourceDialer); ok {
		return d.DialFrom(ctx, o.Source(), o.Target())
	}
	return r.dialer.Dial(ctx, o.Target())
}

func (r *relay) join(asker, target Stream, o Offer) {
	c := r.cfg.Counters
	j := newJoin(asker, target, r.buffers, c)
	if l, ok := o.(Leaver); ok {
		j.asker.gone = l.Gone()
	}
	if err := r.begin(j); err != nil {
		j.abort(err)
	}
	c.Open.Add(1)
	c.Joined.Add(1)
	err := j.run()
	c.Open.Add(-1)
	r.mu.Lock()
	delete(r.live, j)
	r.mu.Unlock()
	if err != nil {
		c.Aborted.Add(1)
		r.cfg.Log.Debug("aborted", "target", o.Target(), "why", err)
	}
}

func (r *relay) begin(j *join) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil {
		return r.ended
	}
	r.live[j] = struct{}{}
	return nil
}

func (r *relay) end(err error) {
	r.mu.Lock()
	r.ended = err
	for j := range r.live {
		j.abort(err)
	}
	r.mu.Unlock()
	r.running.Wait()
}
