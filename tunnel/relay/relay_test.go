package relay_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tandem/tunnel/relay"
	"tandem/tunnel/relay/relaytest"
)

var (
	laptop = netip.MustParseAddrPort("198.18.0.2:40000")
	server = netip.MustParseAddrPort("192.0.2.1:80")
)

// A world is a running relay, what is asked of it, and the far ends of what it dials.
type world struct {
	t        *testing.T
	offers   chan *relaytest.Offer
	dialled  chan *relaytest.End
	dial     func(ctx context.Context) error // before a dial succeeds
	plain    bool                            // streams dialled are no Waiters
	counters relay.Counters
	stop     context.CancelCauseFunc
	served   chan error
}

func begin(t *testing.T, cfg relay.Config) *world {
	ctx, stop := context.WithCancelCause(t.Context())
	w := &world{t: t, offers: make(chan *relaytest.Offer, 100), dialled: make(chan *relaytest.End, 100), stop: stop, served: make(chan error)}
	cfg.Counters = &w.counters
	go func() { w.served <- relay.Serve(ctx, w.accept, w, cfg) }()
	return w
}

var errStop = errors.New("enough")

func (w *world) end() {
	w.stop(errStop)
	if err := <-w.served; err != errStop {
		w.t.Errorf("Serve: %v", err)
	}
	if n := w.counters.Open.Load(); n != 0 {
		w.t.Errorf("%d connections are left", n)
	}
}

func (w *world) accept(ctx context.Context) (relay.Offer, error) {
	select {
	case o := <-w.offers:
		return o, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (w *world) Dial(ctx context.Context, target netip.AddrPort) (relay.Stream, error) {
	if w.dial != nil {
		if err := w.dial(ctx); err != nil {
			return nil, err
		}
	}
	near, far := relaytest.Pipe(netip.AddrPort{}, target)
	w.dialled <- far
	if w.plain {
		return struct{ relay.Stream }{near}, nil
	}
	return near, nil
}

func (w *world) ask() *relaytest.Offer {
	o := relaytest.NewOffer(laptop, server)
	w.offers <- o
	return o
}

// connect asks and is answered: both far ends.
func (w *world) connect() (o *relaytest.Offer, asker, target *relaytest.End) {
	w.t.Helper()
	o = w.ask()
	asker, err := o.Asker(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return o, asker, <-w.dialled
}

func say(t *testing.T, s io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(s, text); err != nil {
		t.Fatalf("write %.20q: %v", text, err)
	}
}

func hear(t *testing.T, s io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(s, b); err != nil || string(b) != want {
		t.Fatalf("read %q, %v, want %q", b, err, want)
	}
}

func hearEnd(t *testing.T, s io.Reader, want error) {
	t.Helper()
	if n, err := s.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Fatalf("read %d octets, %v, want %v", n, err, want)
	}
}

// A speaker is one end of a connection, of either kind.
type speaker interface {
	io.ReadWriter
	CloseWrite() error
}

// converse is what both say, of whom the asker ends first.
func converse(t *testing.T, asker, target speaker) {
	t.Helper()
	say(t, asker, "hello")
	hear(t, target, "hello")
	say(t, target, "and hello")
	hear(t, asker, "and hello")
	asker.CloseWrite()
	hearEnd(t, target, io.EOF)
	say(t, target, "still here")
	hear(t, asker, "still here")
	target.CloseWrite()
	hearEnd(t, asker, io.EOF)
}

// exchange has both send n octets at once, in pieces of any length, and hear all of the other's, in order.
func exchange(t *testing.T, asker, target speaker, n int) {
	t.Helper()
	var all sync.WaitGroup
	for i, way := range [][2]speaker{{asker, target}, {target, asker}} {
		octets := make([]byte, n)
		rand.NewChaCha8([32]byte{byte(i)}).Read(octets)
		all.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(i), 0))
			for rest := octets; len(rest) > 0; {
				n := min(len(rest), 1+dice.IntN(1<<dice.IntN(18)))
				way[0].Write(rest[:n])
				rest = rest[n:]
			}
			way[0].CloseWrite()
		})
		all.Go(func() {
			if got, err := io.ReadAll(way[1]); err != nil || !bytes.Equal(got, octets) {
				t.Errorf("%d octets of %d, %v", len(got), len(octets), err)
			}
		})
	}
	all.Wait()
}

func bubble(t *testing.T, cfg relay.Config, story func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, cfg)
		defer w.end()
		story(t, w)
	})
}

func TestBothWaysAndHalfClose(t *testing.T) {
	bubble(t, relay.Config{}, func(t *testing.T, w *world) {
		_, asker, target := w.connect()
		converse(t, asker, target)
		synctest.Wait()
		if w.counters.Open.Load() != 0 || w.counters.Joined.Load() != 1 || w.counters.Aborted.Load() != 0 {
			t.Error("not counted as over in order")
		}
		if w.counters.Sent.Load() != 5 || w.counters.Received.Load() != 19 {
			t.Errorf("counted %d, %d", w.counters.Sent.Load(), w.counters.Received.Load())
		}
	})
}

func TestTargetEndsFirst(t *testing.T) {
	bubble(t, relay.Config{}, func(t *testing.T, w *world) {
		_, asker, target := w.connect()
		say(t, target, "220 ready")
		target.CloseWrite()
		hear(t, asker, "220 ready")
		hearEnd(t, asker, io.EOF)
		say(t, asker, "thanks")
		hear(t, target, "thanks")
		asker.CloseWrite()
		hearEnd(t, target, io.EOF)
	})
}

// Nobody is answered before the target has answered, and the asker is told what dialing failed with.
func TestRefusal(t *testing.T) {
	for _, why := range []error{syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, os.ErrPermission, os.ErrDeadlineExceeded} {
		bubble(t, relay.Config{}, func(t *testing.T, w *world) {
			w.dial = func(context.Context) error { return why }
			if _, err := w.ask().Asker(t.Context()); !errors.Is(err, why) {
				t.Errorf("refused for %v, want %v", err, why)
			}
			synctest.Wait()
			if w.counters.Refused.Load() != 1 || w.counters.Joined.Load() != 0 {
				t.Error("not counted")
			}
		})
	}
}

func TestDialTimeout(t *testing.T) {
	bubble(t, relay.Config{DialTimeout: 7 * time.Second}, func(t *testing.T, w *world) {
		w.dial = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		began := time.Now()
		_, err := w.ask().Asker(t.Context())
		var timeout interface{ Timeout() bool }
		if !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(began) != 7*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestLeavingCancelsTheDial(t *testing.T) {
	bubble(t, relay.Config{}, func(t *testing.T, w *world) {
		cancelled := make(chan struct{})
		w.dial = func(ctx context.Context) error { <-ctx.Done(); close(cancelled); return ctx.Err() }
		began := time.Now()
		w.ask().Leave()
		<-cancelled
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the dial went on for %v", waited)
		}
	})
}

// Who leaves between the dial and the answer leaves no connection to the target.
func TestLeavingBeforeTheAnswer(t *testing.T) {
	bubble(t, relay.Config{}, func(t *testing.T, w *world) {
		o := relaytest.NewOffer(laptop, server)
		w.dial = func(context.Context) error { o.Leave(); return nil }
		w.offers <- o
		hearEnd(t, <-w.dialled, relaytest.ErrReset)
	})
}

func TestDialsAtATime(t *testing.T) {
	bubble(t, relay.Config{Dialing: 2}, func(t *testing.T, w *world) {
		var mu sync.Mutex
		dials := 0
		next := make(chan struct{})
		w.dial = func(context.Context) error {
			mu.Lock()
			dials++
			mu.Unlock()
			<-next
			return nil
		}
		for range 5 {
			w.ask()
		}
		for _, want := range []int{2, 3, 4} {
			synctest.Wait()
			mu.Lock()
			if dials != want {
				t.Errorf("%d dials, want %d", dials, want)
			}
			mu.Unlock()
			next <- struct{}{}
			time.Sleep(time.Second) // the rate allows it
		}
		close(next)
		time.Sleep(time.Second)
	})
}

func TestDialsPerSecond(t *testing.T) {
	bubble(t, relay.Config{Dialing: 3, Rate: 10}, func(t *testing.T, w *world) {
		began := time.Now()
		for range 13 {
			w.connect()
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("13 dials took %v, want 3 at once and 10 in a second", took)
		}
	})
}

// A reset on one side resets the other, for its reason, whatever was going on.
func TestReset(t *testing.T) {
	for _, c := range []struct {
		what   string
		before func(asker, target *relaytest.End)
	}{
		{"idle", func(_, _ *relaytest.End) {}},
		{"the asker had ended", func(asker, _ *relaytest.End) { asker.CloseWrite() }},
	} {
		bubble(t, relay.Config{}, func(t *testing.T, w *world) {
			o, asker, target := w.connect()
			c.before(asker, target)
			synctest.Wait()
			target.Abort(nil)
			hearEnd(t, asker, relaytest.ErrReset)
			if err := o.Relayed().Aborted(); err != relaytest.ErrReset {
				t.Errorf("%s: aborted for %v", c.what, err)
			}
			synctest.Wait()
			if w.counters.Aborted.Load() != 1 || w.counters.Open.Load() != 0 {
				t.Errorf("%s: not counted", c.what)
			}
		})
	}
}

func TestResetByTheAsker(t *testing.T) {
	bubble(t, relay.Config{}, func(t *testing.T, w *world) {
		_, asker, target := w.connect()
		target.CloseWrite()
		synctest.Wait()
		asker.Abort(nil)
		hearEnd(t, target, relaytest.ErrReset)
	})
}

// An asker that has ended what it sends, and then is no more, is noticed though nobody reads it.
func TestGoneAfterItsEnd(t *testing.T) {
	bubble(t, relay.Config{}, func(t *testing.T, w *world) {
		o, asker, target := w.connect()
		asker.CloseWrite()
		hearEnd(t, target, io.EOF)
		asker.Abort(nil)
		o.Leave()
		synctest.Wait()
		hearEnd(t, target, relaytest.ErrReset)
	})
}

// A target that answers early and takes no more has its answer delivered; then the asker is reset.
func TestAnswerBeforeTheReset(t *testing.T) {
	bubble(t, relay.Config{}, func(t *testing.T, w *world) {
		_, asker, target := w.connect()
		say(t, target, "413 too large")
		target.Close()
		// The asker sends all before it reads: more than lies on the way.
		for range 10 {
			say(t, asker, string(make([]byte, 64<<10)))
		}
		hear(t, asker, "413 too large")
		time.Sleep(2 * time.Second)
		if _, err := asker.Write([]byte("more")); !errors.Is(err, relaytest.ErrReset) {
			t.Errorf("write: %v", err)
		}
	})
}

// A reset is no end in order, and does not overtake what was said before.
func TestWordsBeforeTheReset(t *testing.T) {
	bubble(t, relay.Config{}, func(t *testing.T, w *world) {
		_, asker, target := w.connect()
		say(t, target, "last words")
		synctest.Wait()
		target.Abort(nil)
		began := time.Now()
		time.Sleep(500 * time.Millisecond)
		hear(t, asker, "last words")
		hearEnd(t, asker, relaytest.ErrReset)
		if took := time.Since(began); took != time.Second {
			t.Errorf("reset after %v", took)
		}
	})
}

// What the asker sends to a target that has ended and is no more gets a reset, as from the target itself.
func TestSendingToWhoLeft(t *testing.T) {
	bubble(t, relay.Config{}, func(t *testing.T, w *world) {
		_, asker, target := w.connect()
		target.CloseWrite()
		hearEnd(t, asker, io.EOF)
		synctest.Wait()
		target.Close()
		say(t, asker, "are you there?")
		time.Sleep(time.Second)
		synctest.Wait()
		if _, err := asker.Write([]byte("no?")); !errors.Is(err, relaytest.ErrReset) {
			t.Errorf("write: %v", err)
		}
	})
}

func TestStopResetsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, relay.Config{})
		o, asker, target := w.connect()
		w.end()
		hearEnd(t, asker, relaytest.ErrReset)
		hearEnd(t, target, relaytest.ErrReset)
		if err := o.Relayed().Aborted(); err != errStop {
			t.Errorf("aborted for %v", err)
		}
	})
}

// When no offers come any more, Serve returns why.
func TestNoMoreOffers(t *testing.T) {
	err := relay.Serve(t.Context(), func(context.Context) (relay.Offer, error) { return nil, io.ErrClosedPipe }, &world{}, relay.Config{})
	if err != io.ErrClosedPipe {
		t.Errorf("Serve: %v", err)
	}
}

// Everything arrives, once and in order, both ways at once, also when buffers are few.
func TestBulk(t *testing.T) {
	for _, c := range []struct {
		buffers int
		plain   bool
	}{{0, false}, {1, false}, {0, true}} {
		bubble(t, relay.Config{Buffers: c.buffers}, func(t *testing.T, w *world) {
			w.plain = c.plain
			_, asker, target := w.connect()
			exchange(t, asker, target, 3<<20)
		})
	}
}
