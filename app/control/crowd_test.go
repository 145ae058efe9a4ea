package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A town is the API over a socket, with callers whose right the test decides.
func town(t *testing.T, b Backend, r *atomic.Int32) string {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, &crowd{Listener: l, rightOf: func(net.Conn) right { return right(r.Load()) }}, b)
	}()
	t.Cleanup(func() {
		cancel()
		start := time.Now()
		if err := <-ended; err != nil || time.Since(start) > 3*time.Second {
			t.Errorf("Serve ended after %v with: %v", time.Since(start), err)
		}
	})
	return path
}

func connect(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Whoever may do nothing cannot keep out those who may, however often it calls.
func TestStrangersTakeNoPlace(t *testing.T) {
	var has atomic.Int32
	path := town(t, &fake{state: State{Phase: Connected}}, &has)
	var all []net.Conn
	for range 3 * callersMax {
		all = append(all, connect(t, path))
	}
	if _, err := NewClient(path).State(context.Background()); err == nil {
		t.Error("a stranger was served")
	}
	closed := 0
	for _, c := range all {
		c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); err != nil && !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
			closed++
		}
	}
	if want := 3*callersMax - strangersMax; closed < want {
		t.Errorf("%d of %d strangers were sent away, want %d", closed, len(all), want)
	}
	has.Store(int32(own))
	if s, err := NewClient(path).State(context.Background()); err != nil || s.Phase != Connected {
		t.Errorf("among strangers: %+v, %v", s, err)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// A watcher that does not read, one that says half of its call and one that says nothing are let go.
func TestSlowCallersAreLetGo(t *testing.T) {
	var has atomic.Int32
	has.Store(int32(own))
	f := &fake{state: State{Phase: Connected, Reason: strings.Repeat("long ", 1<<17)}}
	path := town(t, f, &has)
	mute, half, deaf := connect(t, path), connect(t, path), connect(t, path)
	fmt.Fprint(half, "POST /join HTTP/1.1\r\nHost: tandem\r\nContent-Length: 100\r\n\r\n\"tandem1-")
	fmt.Fprint(deaf, "GET /watch HTTP/1.1\r\nHost: tandem\r\n\r\n")
	time.Sleep(patience + WatchPeriod + 500*time.Millisecond)
	for what, c := range map[string]net.Conn{"mute": mute, "half a call": half, "does not read": deaf} {
		c.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := io.Copy(io.Discard, c); isTimeout(err) {
			t.Errorf("%s: still connected", what)
		}
	}
	if len(f.calls) > 0 {
		t.Errorf("half a call did %q", f.calls)
	}
}

func TestLongCall(t *testing.T) {
	f := &fake{}
	c, path := serveFake(t, f)
	if _, err := c.Join(context.Background(), strings.Repeat("x", bodyMax)); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("a long call: %v", err)
	}
	text := connect(t, path)
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
