package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/engine/mptcp"
)

// story runs a test in a bubble with a connection over two paths, both of which it uses already.
func story(t *testing.T, tell func(t *testing.T, w *cable, client, hub *Conn)) {
	synctest.Test(t, func(t *testing.T) {
		w := newCable(t, BondConfig{}, 5*time.Millisecond, 15*time.Millisecond)
		defer w.close()
		client, hub := w.dial(t)
		client.Write([]byte{1})
		hub.Read(make([]byte, 1))
		time.Sleep(200 * time.Millisecond)
		if n := len(client.Subflows()); n != 2 {
			t.Fatalf("%d subflows", n)
		}
		tell(t, w, client, hub)
	})
}

func TestHalfClose(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		go func() {
			// The hub answers only after it has read everything.
			n, err := drain(hub, 1000)
			if n != 300_000 || err != nil {
				t.Errorf("hub read %d octets: %v", n, err)
			}
			if err := pour(hub, 200_000, 7000); err != nil {
				t.Error(err)
			}
		}()
		if err := pour(client, 300_000, 10_000); err != nil {
			t.Error(err)
		}
		if _, err := client.Write([]byte("late")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write after CloseWrite: %v", err)
		}
		is(t, "second CloseWrite", client.CloseWrite(), net.ErrClosed)
		if n, err := drain(client, 4096); n != 200_000 || err != nil {
			t.Errorf("client read %d octets: %v", n, err)
		}
		if n, err := client.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("read after the end: %d, %v", n, err)
		}
	})
}

func TestAddresses(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		if got := client.RemoteAddr().(*net.TCPAddr).AddrPort(); got != target {
			t.Errorf("client's remote address is %v", got)
		}
		if got := hub.LocalAddr().String(); got != target.String() {
			t.Errorf("hub's local address is %v", got)
		}
		if here, there := client.LocalAddr().String(), hub.RemoteAddr().String(); here != there {
			t.Errorf("client is at %v, and at %v for the hub", here, there)
		}
		if client.Trace() == "" {
			t.Error("no trace")
		}
	})
}

func TestReadWaitsForData(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		got := make(chan string, 1)
		go func() {
			p := make([]byte, 10)
			n, _ := client.Read(p)
			got <- string(p[:n])
		}()
		synctest.Wait()
		if len(got) > 0 {
			t.Fatal("read something before anything was sent")
		}
		hub.Write([]byte("hello"))
		if s := <-got; s != "hello" {
			t.Errorf("read %q", s)
		}
	})
}

func TestReadDeadline(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		start := time.Now()
		after := func(what string, want time.Duration) {
			t.Helper()
			_, err := client.Read(make([]byte, 1))
			is(t, what, err, os.ErrDeadlineExceeded)
			if got := time.Since(start); got != want {
				t.Errorf("%s: read returned after %v, want %v", what, got, want)
			}
		}
		client.SetReadDeadline(start.Add(time.Second))
		after("set", time.Second)
		after("passed", time.Second)

		t.Log("moved while somebody waits, first later, then earlier")
		client.SetReadDeadline(start.Add(5 * time.Second))
		time.AfterFunc(time.Second, func() { client.SetReadDeadline(start.Add(9 * time.Second)) })
		time.AfterFunc(2*time.Second, func() { client.SetReadDeadline(start.Add(4 * time.Second)) })
		after("moved", 4*time.Second)

		t.Log("set while somebody waits without one")
		client.SetDeadline(time.Time{})
		time.AfterFunc(time.Second, func() { client.SetReadDeadline(time.Now()) })
		after("set to now", 5*time.Second)

		t.Log("a deadline is no end")
		client.SetReadDeadline(time.Time{})
		hub.Write([]byte("x"))
		if n, err := client.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("read %d, %v after the deadline was lifted", n, err)
		}
	})
}

func TestBackpressure(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		client.SetWriteDeadline(time.Now().Add(time.Minute))
		n, err := client.Write(make([]byte, 64<<20))
		is(t, "write that nobody reads", err, os.ErrDeadlineExceeded)
		if limit := 4<<20 + 6<<20; n == 0 || n > limit {
			t.Errorf("took %d octets, want at most %d", n, limit)
		}
		t.Log("the reader comes back: everything taken arrives, and there is room again")
		client.SetWriteDeadline(time.Time{})
		go func() {
			client.Write([]byte{1})
			client.CloseWrite()
		}()
		m, err := io.Copy(io.Discard, hub)
		if m != int64(n)+1 || err != nil {
			t.Errorf("read %d octets, %v; %d were taken", m, err, n+1)
		}
	})
}

func TestCloseUnblocks(t *testing.T) {
	ends := []struct {
		name string
		end  func(*Conn)
		want error
	}{
		{"Close", func(c *Conn) { c.Close() }, net.ErrClosed},
		{"Abort", func(c *Conn) { c.Abort(io.ErrNoProgress) }, ErrAborted},
		{"Abort with a reason", func(c *Conn) { c.Abort(io.ErrNoProgress) }, io.ErrNoProgress},
		{"Bond.Close", func(c *Conn) { c.bond.Close() }, net.ErrClosed},
	}
	for _, e := range ends {
		t.Run(e.name, func(t *testing.T) {
			story(t, func(t *testing.T, w *cable, client, hub *Conn) {
				var all sync.WaitGroup
				for range 3 {
					all.Go(func() {
						_, err := client.Read(make([]byte, 1))
						is(t, "read", err, e.want)
					})
					all.Go(func() {
						_, err := client.Write(make([]byte, 64<<20))
						is(t, "write", err, e.want)
					})
				}
				time.Sleep(time.Second)
				e.end(client)
				all.Wait()
				_, err := client.Read(make([]byte, 1))
				is(t, "read afterwards", err, e.want)
			})
		})
	}
}

func TestAbortReachesThePeer(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		time.AfterFunc(time.Second, func() { client.Abort(nil) })
		_, err := hub.Read(make([]byte, 1))
		is(t, "read", err, ErrReset)
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "read" || op.Addr.String() != hub.RemoteAddr().String() {
			t.Errorf("the error does not say what was being done: %v", err)
		}
		_, err = hub.Write([]byte("x"))
		is(t, "write", err, ErrReset)
	})
}

func TestCloseDeliversWhatWasWritten(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		if err := pour(client, 100_000, 50_000); err != nil {
			t.Error(err)
		}
		client.Close()
		go func() {
			<-client.Done()
			w.client.Close()
		}()
		if n, err := drain(hub, 4096); n != 100_000 || err != nil {
			t.Errorf("read %d octets: %v", n, err)
		}
		hub.Close()
		<-hub.Done()
	})
}

func TestManyReadersAndWriters(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		const writers, pieces, size = 8, 50, 1000
		var writing, reading sync.WaitGroup
		for i := range writers {
			writing.Go(func() {
				p := make([]byte, size)
				for j := range p {
					p[j] = byte(i)
				}
				for range pieces {
					if _, err := client.Write(p); err != nil {
						t.Error(err)
					}
				}
			})
		}
		var mu sync.Mutex
		var count [writers]int
		for range 4 {
			reading.Go(func() {
				p := make([]byte, 700)
				for {
					n, err := hub.Read(p)
					mu.Lock()
					for _, x := range p[:n] {
						count[x]++
					}
					mu.Unlock()
					if err != nil {
						is(t, "read", err, io.EOF)
						return
					}
				}
			})
		}
		writing.Wait()
		client.CloseWrite()
		reading.Wait()
		for i, n := range count {
			if n != pieces*size {
				t.Errorf("%d octets of writer %d arrived", n, i)
			}
		}
	})
}

// A wakeup that is lost makes a side wait for ever: then nothing moves in the bubble any more, or only
// retransmissions, and the exchange takes seconds of its time.
func TestNoWakeupIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCable(t, BondConfig{}, 0, 0)
		defer w.close()
		client, hub := w.dial(t)
		go io.Copy(struct{ io.Writer }{hub}, struct{ io.Reader }{hub})
		start := time.Now()
		client.SetDeadline(start.Add(time.Minute))
		p := make([]byte, 3)
		for i := range 3000 {
			p[0] = byte(i)
			if _, err := client.Write(p); err != nil {
				t.Fatal(i, err)
			}
			p[0]++
			if _, err := io.ReadFull(client, p); err != nil || p[0] != byte(i) {
				t.Fatal(i, err, p)
			}
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("3000 echoes without delay took %v", d)
		}
	})
}

// With room for hardly more than a segment both sides wait for each other all the time.
func TestTinyBuffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCable(t, BondConfig{Limits: &Limits{Limits: mptcp.Limits{SendBuffer: 1500, RecvBuffer: 3000}}}, 0, 0)
		defer w.close()
		client, hub := w.dial(t)
		end := time.Now().Add(time.Hour)
		client.SetDeadline(end)
		hub.SetDeadline(end)
		go pour(client, 200_000, 4000)
		if n, err := drain(hub, 900); n != 200_000 || err != nil {
			t.Errorf("read %d octets: %v", n, err)
		}
	})
}

func TestDetachDuringTransfer(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		go pour(client, 8<<20, 20_000)
		var check checker
		if _, err := io.CopyN(&check, hub, 1<<20); err != nil {
			t.Fatal(err)
		}
		w.here[0].Detach()
		w.there[0].Detach()
		if _, err := io.Copy(&check, hub); check != 8<<20 || err != nil {
			t.Errorf("read %d octets: %v", check, err)
		}
		if n := len(w.client.Paths()); n != 1 {
			t.Errorf("%d paths are left", n)
		}
	})
}

func TestAttachDuringTransfer(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		for _, a := range w.here {
			a.Detach()
		}
		go pour(client, 100_000, 20_000)
		time.Sleep(time.Second)
		again := w.client.Attach(w.up[0], netip.MustParseAddr("198.18.0.2"), netip.Addr{}, 1400)
		w.down[0].connect(again)
		n, err := drain(hub, 4096)
		if n != 100_000 || err != nil {
			t.Errorf("read %d octets: %v", n, err)
		}
	})
}

func TestEstablishedHearsTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCable(t, BondConfig{}, 5*time.Millisecond)
		defer w.close()
		c, err := w.client.Open(target, DialOptions{First: []byte("GET")})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		is(t, "nobody answers", c.Established(ctx), context.DeadlineExceeded)

		t.Log("the connection is as it was")
		o, err := w.hub.Accept(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		hub, err := o.Accept()
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 3)
		if _, err := io.ReadFull(hub, p); err != nil || string(p) != "GET" {
			t.Errorf("read %q, %v", p, err)
		}
		is(t, "answered", c.Established(context.Background()), nil)
	})
}
