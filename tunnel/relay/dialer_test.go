package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/tunnel/relay"
	"tandem/tunnel/relay/relaytest"
)

// patience bounds what a test waits for on the real clock.
const patience = 10 * time.Second

// listen is a server on the loopback.
func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

func addressOf(l net.Listener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }

// A site is a relay with a NetDialer before a server.
type site struct {
	t        *testing.T
	server   *net.TCPListener
	offers   chan *relaytest.Offer
	counters relay.Counters
}

func open(t *testing.T) *site {
	s := &site{t: t, server: listen(t), offers: make(chan *relaytest.Offer)}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan struct{})
	before := runtime.NumGoroutine()
	go func() {
		defer close(served)
		relay.Serve(ctx, func(ctx context.Context) (relay.Offer, error) {
			select {
			case o := <-s.offers:
				return o, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}, relay.NetDialer(nil), relay.Config{Counters: &s.counters})
	}()
	t.Cleanup(func() {
		stop()
		<-served
		for began := time.Now(); runtime.NumGoroutine() > before; runtime.Gosched() {
			if time.Since(began) > patience {
				t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
			}
		}
	})
	return s
}

// connect is an asker that was accepted and the server's end.
func (s *site) connect() (o *relaytest.Offer, asker *relaytest.End, target *net.TCPConn) {
	s.t.Helper()
	o = relaytest.NewOffer(laptop, addressOf(s.server))
	s.offers <- o
	target, err := s.server.AcceptTCP()
	if err != nil {
		s.t.Fatal(err)
	}
	target.SetDeadline(time.Now().Add(patience))
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	asker, err = o.Asker(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { target.Close() })
	return o, asker, target
}

func TestNetBothWaysAndHalfClose(t *testing.T) {
	_, asker, target := open(t).connect()
	converse(t, asker, target)
}

func TestNetBulk(t *testing.T) {
	_, asker, target := open(t).connect()
	exchange(t, asker, target, 8<<20)
}

// A target's reset reaches the asker as one, also after the asker has ended, and after the target was written to.
func TestNetReset(t *testing.T) {
	for _, c := range []struct {
		what   string
		before func(asker *relaytest.End, target *net.TCPConn)
	}{
		{"idle", func(_ *relaytest.End, _ *net.TCPConn) {}},
		{"the asker had ended", func(asker *relaytest.End, target *net.TCPConn) {
			asker.CloseWrite()
			hearEnd(t, target, io.EOF)
		}},
		{"octets unread", func(asker *relaytest.End, _ *net.TCPConn) { say(t, asker, "hello") }},
	} {
		o, asker, target := open(t).connect()
		c.before(asker, target)
		target.SetLinger(0)
		target.Close()
		hearEnd(t, asker, relaytest.ErrReset)
		if err := o.Relayed().Aborted(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: aborted for %v", c.what, err)
		}
	}
}

// While somebody writes, the system may tell of the reset to him alone.
func TestNetResetWhileWriting(t *testing.T) {
	s := open(t)
	for range 50 {
		_, asker, target := s.connect()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				if _, err := asker.Write([]byte("more")); err != nil {
					return
				}
			}
		}()
		hear(t, target, "more")
		target.SetLinger(0)
		target.Close()
		hearEnd(t, asker, relaytest.ErrReset)
		<-done
	}
}

// A server that answers and resets what it was still being sent.
func TestNetAnswerBeforeTheReset(t *testing.T) {
	_, asker, target := open(t).connect()
	go func() {
		for {
			if _, err := asker.Write(make([]byte, 10000)); err != nil {
				return
			}
		}
	}()
	hear(t, target, "\x00")
	say(t, target, "413 too large")
	target.Close() // with octets unread: a reset
	hear(t, asker, "413 too large")
	hearEnd(t, asker, relaytest.ErrReset)
}

func TestNetResetByTheAsker(t *testing.T) {
	for _, ended := range []bool{false, true} {
		s := open(t)
		_, asker, target := s.connect()
		if ended {
			target.CloseWrite()
			hearEnd(t, asker, io.EOF)
		}
		asker.Abort(nil)
		if !ended {
			hearEnd(t, target, syscall.ECONNRESET)
			continue
		}
		for began := time.Now(); time.Since(began) < patience; {
			if _, err := target.Write([]byte("x")); err != nil {
				return
			}
		}
		t.Error("no reset came")
	}
}

// A target that has ended what it sends and then resets is noticed though there is nothing to read or write.
func TestNetResetAfterItsEnd(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs poll")
	}
	o, asker, target := open(t).connect()
	target.CloseWrite()
	hearEnd(t, asker, io.EOF)
	target.SetLinger(0)
	target.Close()
	for began := time.Now(); o.Relayed().Aborted() == nil; runtime.Gosched() {
		if time.Since(began) > patience {
			t.Fatal("not noticed")
		}
	}
	if err := o.Relayed().Aborted(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("aborted for %v", err)
	}
}

func TestNetRefused(t *testing.T) {
	s := open(t)
	gone := addressOf(s.server)
	s.server.Close()
	o := relaytest.NewOffer(laptop, gone)
	s.offers <- o
	if _, err := o.Asker(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refused for %v", err)
	}
}

// What may not be reached is not dialled, and looked at as it will be dialled.
func TestNetReach(t *testing.T) {
	l := listen(t)
	var asked []string
	d := relay.NetDialer(func(network string, target netip.AddrPort) error {
		asked = append(asked, network+" "+target.String())
		if target.Addr() == netip.MustParseAddr("127.0.0.1") {
			return fmt.Errorf("loopback: %w", os.ErrPermission)
		}
		return nil
	})
	for _, target := range []netip.AddrPort{addressOf(l), netip.AddrPortFrom(netip.MustParseAddr("::ffff:127.0.0.1"), addressOf(l).Port())} {
		if _, err := d.Dial(t.Context(), target); !errors.Is(err, os.ErrPermission) {
			t.Errorf("%v: %v", target, err)
		}
	}
	if want := "tcp " + addressOf(l).String(); strings.Join(asked, ",") != want+","+want {
		t.Errorf("asked %q", asked)
	}
	l.SetDeadline(time.Now())
	if _, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("accept: %v", err)
	}
}

func TestNetDialCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := relay.NetDialer(nil).Dial(ctx, addressOf(listen(t))); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A curious dialer wants to know who asks.
type curious struct {
	*world
	asked chan netip.AddrPort
}

func (c curious) DialFrom(ctx context.Context, source, target netip.AddrPort) (relay.Stream, error) {
	c.asked <- source
	return c.Dial(ctx, target)
}

// A dialer to whom it matters is told who asks.
func TestWhoAsks(t *testing.T) {
	w := &world{t: t, offers: make(chan *relaytest.Offer, 1), dialled: make(chan *relaytest.End, 1)}
	c := curious{w, make(chan netip.AddrPort, 1)}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- relay.Serve(ctx, w.accept, c, relay.Config{}) }()
	w.connect()
	select {
	case from := <-c.asked:
		if from != laptop {
			t.Errorf("asked by %v, not %v", from, laptop)
		}
	default:
		t.Error("the dialer was not told")
	}
	stop()
	<-served
}
