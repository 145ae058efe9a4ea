package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// asked opens a connection and returns the offer that comes of it.
func (w *cable) asked(t *testing.T) (*Conn, *Offer) {
	t.Helper()
	c, err := w.client.Open(target, DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o, err := w.hub.Accept(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return c, o
}

func bubble(t *testing.T, tell func(t *testing.T, w *cable)) {
	synctest.Test(t, func(t *testing.T) {
		w := newCable(t, BondConfig{}, 5*time.Millisecond, 15*time.Millisecond)
		defer w.close()
		tell(t, w)
	})
}

func TestOfferIsAnsweredOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *cable) {
		c, o := w.asked(t)
		if o.Target() != target || o.Source().String() != c.LocalAddr().String() {
			t.Errorf("offer from %v for %v", o.Source(), o.Target())
		}
		if _, err := o.Accept(); err != nil {
			t.Fatal(err)
		}
		_, err := o.Accept()
		is(t, "second answer", err, ErrNotOffer)
		o.Refuse(ErrLimit)
		is(t, "the asker", c.Established(context.Background()), nil)
	})
}

// withdraw resets the connection whose SYN left the client last.
func (w *cable) withdraw(t *testing.T) {
	t.Helper()
	w.up[0].mu.Lock()
	last := slices.Clone(w.up[0].last)
	w.up[0].mu.Unlock()
	var syn wire.Segment
	if err := syn.Parse(last); err != nil || syn.Flags != wire.SYN {
		t.Fatalf("the last packet is no SYN: %v, %v", syn.Flags, err)
	}
	rst := wire.Segment{
		Source: syn.Source, Target: syn.Target,
		Seq:   syn.Seq + wire.Seq(syn.Len()),
		Flags: wire.RST,
	}
	w.there[0].Deliver([][]byte{rst.Append(nil)})
	synctest.Wait()
}

func TestAskerLeaves(t *testing.T) {
	bubble(t, func(t *testing.T, w *cable) {
		w.up[0].mu.Lock()
		w.up[0].keep = true
		w.up[0].mu.Unlock()
		_, o := w.asked(t)
		w.withdraw(t)
		select {
		case <-o.Gone():
		default:
			t.Error("the offer is not gone")
		}
		_, err := o.Accept()
		is(t, "accept", err, ErrReset)
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "accept" {
			t.Errorf("%v does not say what was being done", err)
		}

		t.Log("before Accept saw it")
		if _, err := w.client.Open(target, DialOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
		w.withdraw(t)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second/2)
		defer cancel()
		_, err = w.hub.Accept(ctx)
		is(t, "offer of one who left", err, context.DeadlineExceeded)
	})
}

func TestUnansweredOffersAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, w *cable) {
		held, o := w.asked(t)
		waiting, err := w.client.Open(target, DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.hub.Close()
		<-o.Gone()
		for _, c := range []*Conn{held, waiting} {
			is(t, "the asker", c.Established(context.Background()), ErrRefused)
		}
		_, err = o.Accept()
		is(t, "accept", err, net.ErrClosed)
		o.Refuse(nil)
	})
}

func TestOffersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCable(t, BondConfig{Limits: &Limits{Limits: mptcp.Limits{Offers: 3}}}, time.Millisecond)
		defer w.close()
		var refused int
		for range 5 {
			c, err := w.client.Open(target, DialOptions{})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
			if err := c.Established(ctx); errors.Is(err, ErrRefused) {
				refused++
			}
			cancel()
		}
		if refused != 2 {
			t.Errorf("%d of 5 were refused, with room for 3", refused)
		}
	})
}

func TestReason(t *testing.T) {
	cases := []struct {
		why  error
		want wire.Reason
	}{
		{nil, wire.Unspecified},
		{errors.New("connection refused"), wire.Unspecified},
		{context.Canceled, wire.Unspecified},
		{fmt.Errorf("budget: %w", ErrLimit), wire.LackOfResources},
		{&fs.PathError{Err: os.ErrPermission}, wire.Prohibited},
		{os.NewSyscallError("connect", syscall.EACCES), wire.Prohibited},
		{&net.OpError{Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, mptcp.HostRefused},
		{&net.OpError{Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}, mptcp.HostUnreachable},
		{&net.OpError{Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}, mptcp.NetworkUnreachable},
		{os.NewSyscallError("connect", syscall.EHOSTDOWN), mptcp.HostUnreachable},
		{os.NewSyscallError("connect", syscall.ENETDOWN), mptcp.NetworkUnreachable},
		{os.NewSyscallError("connect", syscall.ENOPROTOOPT), mptcp.HostRefused},
		{os.NewSyscallError("connect", syscall.EACCES), wire.Prohibited}, // by a filter on the way
		{os.NewSyscallError("connect", syscall.ETIMEDOUT), mptcp.TimedOut},
		{&net.OpError{Err: os.ErrDeadlineExceeded}, mptcp.TimedOut},
		{context.DeadlineExceeded, mptcp.TimedOut},
		{ErrTimeout, mptcp.TimedOut},
		{ErrRefused, mptcp.HostRefused},
		{fmt.Errorf("%w: %w", ErrRefused, syscall.EHOSTUNREACH), mptcp.HostUnreachable},
	}
	for _, c := range cases {
		if got := reason(c.why); got != c.want {
			t.Errorf("%v: reason %d, want %d", c.why, got, c.want)
		}
	}
}

// Who dials through a hub fails with what the hub's dial failed with, over one path or two, at once.
func TestRefusalTellsWhy(t *testing.T) {
	for _, c := range []struct{ why, want error }{
		{fmt.Errorf("budget: %w", ErrLimit), ErrLimit},
		{&fs.PathError{Err: os.ErrPermission}, os.ErrPermission},
		{os.NewSyscallError("connect", syscall.ECONNREFUSED), syscall.ECONNREFUSED},
		{os.NewSyscallError("connect", syscall.EHOSTUNREACH), syscall.EHOSTUNREACH},
		{os.NewSyscallError("connect", syscall.ENETUNREACH), syscall.ENETUNREACH},
		{context.DeadlineExceeded, syscall.ETIMEDOUT},
		{errors.New("whatever"), ErrRefused},
	} {
		bubble(t, func(t *testing.T, w *cable) {
			conn, err := w.client.Open(target, DialOptions{DialOptions: mptcp.DialOptions{Paths: []PathID{0, 1}}})
			if err != nil {
				t.Fatal(err)
			}
			go refuse(w, c.why)
			began := time.Now()
			err = conn.Established(context.Background())
			is(t, "dial", err, ErrRefused)
			is(t, "dial", err, c.want)
			if d := time.Since(began); d != 10*time.Millisecond {
				t.Errorf("refused after %v, a round trip is 10 ms", d)
			}
			_, err = conn.Read(make([]byte, 1))
			is(t, "read", err, c.want)
			is(t, "the end", conn.WaitEnd(), c.want)
			for _, other := range reasons {
				if told := errors.Is(err, other.err); told && other.err != ErrRefused && !errors.Is(c.want, other.err) {
					t.Errorf("%v for %v", err, c.why)
				}
			}
		})
	}
}
