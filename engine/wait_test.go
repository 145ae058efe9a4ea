package engine

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// later runs f and returns what it returns, once it does.
func later(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	synctest.Wait()
	return done
}

// waits fails the test if the other goroutine does not wait any more.
func waits(t *testing.T, what string, done <-chan error) {
	t.Helper()
	synctest.Wait()
	if len(done) > 0 {
		t.Fatalf("%s: returned %v", what, <-done)
	}
}

// WaitRead returns with the first octet and takes none, and so with the end.
func TestWaitRead(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		done := later(client.WaitRead)
		time.Sleep(time.Hour)
		waits(t, "nothing came", done)
		hub.Write([]byte("hello"))
		is(t, "octets came", <-done, nil)
		is(t, "they are there still", client.WaitRead(), nil)
		p := make([]byte, 10)
		if n, err := client.Read(p); string(p[:n]) != "hello" || err != nil {
			t.Errorf("read %q, %v", p[:n], err)
		}
		done = later(client.WaitRead)
		waits(t, "all were read", done)
		hub.CloseWrite()
		is(t, "the end came", <-done, nil)
		if _, err := client.Read(p); err != io.EOF {
			t.Errorf("read %v", err)
		}
		is(t, "behind the end", client.WaitRead(), nil)
	})
}

// It returns when Read would fail.
func TestWaitReadFails(t *testing.T) {
	for name, c := range map[string]struct {
		happen func(w *cable, client, hub *Conn)
		want   error // of WaitRead; nil: Read's is another
		read   error
	}{
		"a deadline": {func(_ *cable, client, _ *Conn) { client.SetReadDeadline(time.Now().Add(time.Second)) }, os.ErrDeadlineExceeded, os.ErrDeadlineExceeded},
		"Close":      {func(_ *cable, client, _ *Conn) { client.Close() }, net.ErrClosed, net.ErrClosed},
		"Abort":      {func(_ *cable, client, _ *Conn) { client.Abort(nil) }, ErrAborted, ErrAborted},
		"the bond":   {func(w *cable, _, _ *Conn) { w.client.Close() }, net.ErrClosed, net.ErrClosed},
		"a reset":    {func(_ *cable, _, hub *Conn) { hub.Abort(nil) }, nil, ErrReset},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, w *cable, client, hub *Conn) {
				done := later(client.WaitRead)
				c.happen(w, client, hub)
				is(t, "wait", <-done, c.want)
				_, err := client.Read(make([]byte, 1))
				is(t, "read", err, c.read)
			})
		})
	}
}

// WaitEnd waits for both directions, read or not.
func TestWaitEnd(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		done := later(client.WaitEnd)
		client.SetReadDeadline(time.Now())
		hub.Write([]byte("never read"))
		client.CloseWrite()
		time.Sleep(time.Hour)
		waits(t, "the hub may go on", done)
		hub.CloseWrite()
		is(t, "both have ended", <-done, nil)
		is(t, "and for ever", client.WaitEnd(), nil)
		is(t, "at the hub too", hub.WaitEnd(), nil)
		client.Close()
		is(t, "closed", client.WaitEnd(), net.ErrClosed)
	})
}

// It tells why there was another end.
func TestWaitEndTellsWhy(t *testing.T) {
	why := errors.New("enough")
	for name, c := range map[string]struct {
		happen func(w *cable, client, hub *Conn)
		want   error
	}{
		"Close":    {func(_ *cable, client, _ *Conn) { client.Close() }, net.ErrClosed},
		"Abort":    {func(_ *cable, client, _ *Conn) { client.Abort(why) }, why},
		"the bond": {func(w *cable, _, _ *Conn) { w.client.Close() }, net.ErrClosed},
		"a reset":  {func(_ *cable, _, hub *Conn) { hub.Abort(nil) }, ErrReset},
		"a reset behind the end": {func(_ *cable, _, hub *Conn) {
			hub.CloseWrite()
			time.Sleep(time.Second)
			hub.Abort(nil)
		}, ErrReset},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, w *cable, client, hub *Conn) {
				done := later(client.WaitEnd)
				c.happen(w, client, hub)
				is(t, "end", <-done, c.want)
			})
		})
	}
}

// Waiting loses no octet and no wakeup, whoever else reads, writes and waits.
func TestWaitingBesideReading(t *testing.T) {
	w := newCable(t, BondConfig{}, 0, 0)
	defer w.close()
	client, hub := w.dial(t)
	const octets = 1 << 20
	var all sync.WaitGroup
	all.Go(func() {
		if err := pour(hub, octets, 1000); err != nil {
			t.Error(err)
		}
	})
	all.Go(func() { is(t, "end", client.WaitEnd(), nil) })
	all.Go(func() {
		for range 1000 {
			is(t, "wait", client.WaitRead(), nil)
		}
	})
	all.Go(func() {
		var check checker
		p := make([]byte, 1500)
		for {
			is(t, "wait", client.WaitRead(), nil)
			n, err := client.Read(p)
			if _, wrong := check.Write(p[:n]); wrong != nil {
				t.Error(wrong)
			}
			if err != nil {
				break
			}
		}
		if check != octets {
			t.Errorf("%d octets", check)
		}
		client.CloseWrite()
	})
	all.Wait()
}
