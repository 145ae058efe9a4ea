package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A town is the API over pipes, in a bubble, with callers whose right the test decides.
type town struct {
	t    *testing.T
	has  right
	come chan net.Conn
}

func newTown(t *testing.T, b Backend, has right) *town {
	w := &town{t, has, make(chan net.Conn)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, &crowd{Listener: w, rightOf: func(net.Conn) right { return w.has }}, b) }()
	t.Cleanup(func() {
		cancel()
		start := time.Now()
		if err := <-ended; err != nil || time.Since(start) > time.Second {
			t.Errorf("Serve ended after %v with: %v", time.Since(start), err)
		}
	})
	return w
}

// Accept is part of net.Listener.
func (w *town) Accept() (net.Conn, error) {
	c, ok := <-w.come
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

// Close is part of net.Listener.
func (w *town) Close() error {
	close(w.come)
	return nil
}

// Addr is part of net.Listener.
func (w *town) Addr() net.Addr { return &net.UnixAddr{} }

// connect calls, and returns when the call was let in or sent away.
func (w *town) connect() net.Conn {
	c, there := net.Pipe()
	w.t.Cleanup(func() { c.Close() })
	w.come <- there
	synctest.Wait()
	return c
}

// state asks how things are.
func (w *town) state() (State, error) {
	c := NewClient("")
	c.http.Transport = &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return w.connect(), nil },
		DisableKeepAlives: true,
	}
	return c.State(w.t.Context())
}

// closed reports whether a call has been ended from the other side.
func closed(c net.Conn) bool {
	c.SetReadDeadline(time.Now().Add(time.Nanosecond))
	_, err := io.Copy(io.Discard, c)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// Nobody can keep out those who may do more, however often it calls.
func TestCallersTakeNoPlaceOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, &fake{state: State{Phase: Connected}}, nothing)
		for has := nothing; has <= own; has++ {
			w.has = has
			if s, err := w.state(); (err == nil && s.Phase == Connected) != (has > nothing) {
				t.Errorf("right %d, among those who may do less: %+v, %v", has, s, err)
			}
			var all []net.Conn
			for range 3 * placesMax[own] {
				all = append(all, w.connect())
			}
			if _, err := w.state(); err == nil {
				t.Errorf("right %d: there is a place beyond the last", has)
			}
			away := 0
			for _, c := range all {
				if closed(c) {
					away++
				}
			}
			if want := len(all) - placesMax[has]; away != want {
				t.Errorf("right %d: %d of %d were sent away, want %d", has, away, len(all), want)
			}
		}
	})
}

// A watcher that does not read, one that says half of its call and one that says nothing are let go.
func TestSlowCallersAreLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{state: State{Phase: Connected}}
		w := newTown(t, f, own)
		mute, half, deaf := w.connect(), w.connect(), w.connect()
		fmt.Fprint(half, "POST /join HTTP/1.1\r\nHost: tandem\r\nContent-Length: 100\r\n\r\n\"tandem1-")
		fmt.Fprint(deaf, "GET /watch HTTP/1.1\r\nHost: tandem\r\n\r\n")
		time.Sleep(patience + time.Millisecond) // of the bubble
		for what, c := range map[string]net.Conn{"mute": mute, "half a call": half, "does not read": deaf} {
			if !closed(c) {
				t.Errorf("%s: still connected", what)
			}
		}
		if len(f.calls) > 0 {
			t.Errorf("half a call did %q", f.calls)
		}
	})
}

func TestLongCall(t *testing.T) {
	f := &fake{}
	c, path := serveFake(t, f)
	if _, err := c.Join(context.Background(), strings.Repeat("x", bodyMax)); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("a long call: %v", err)
	}
	text, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	fmt.Fprintf(text, "POST /links/a HTTP/1.1\r\nHost: tandem\r\nContent-Length: 9\r\n\r\n{\"on\": 3}")
	answer := make([]byte, 4096)
	n, _ := text.Read(answer)
	if s := string(answer[:n]); !strings.Contains(s, fmt.Sprint(http.StatusConflict)) || !strings.Contains(s, "not understood") {
		t.Errorf("a call of wrong types: %s", s)
	}
	if len(f.calls) > 0 {
		t.Errorf("bad calls did %q", f.calls)
	}
}
