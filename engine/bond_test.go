package engine

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/engine/clock"
)

func TestDialErrors(t *testing.T) {
	second := func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), time.Second)
	}
	cancelled := func() (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		return ctx, cancel
	}
	cases := []struct {
		name   string
		ctx    func() (context.Context, context.CancelFunc)
		target string
		hub    func(*cable)
		want   error
	}{
		{"nobody answers", second, "203.0.113.7:80", func(*cable) {}, context.DeadlineExceeded},
		{"cancelled", cancelled, "203.0.113.7:80", func(*cable) {}, context.Canceled},
		{"refused", second, "203.0.113.7:80", func(w *cable) { refuse(w, os.ErrPermission) }, ErrRefused},
		{"hub closed", second, "203.0.113.7:80", func(w *cable) { time.Sleep(100 * time.Millisecond); w.hub.Close() }, ErrRefused},
		{"client closed", second, "203.0.113.7:80", func(w *cable) { time.Sleep(100 * time.Millisecond); w.client.Close() }, net.ErrClosed},
		{"no path", second, "[2001:db8::1]:80", func(*cable) {}, ErrNoPath},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newCable(t, BondConfig{}, 5*time.Millisecond, 15*time.Millisecond)
				defer w.close()
				ctx, cancel := c.ctx()
				defer cancel()
				go c.hub(w)
				_, err := w.client.Dial(ctx, netip.MustParseAddrPort(c.target))
				is(t, "dial", err, c.want)
				var op *net.OpError
				if !errors.As(err, &op) || op.Op != "dial" {
					t.Errorf("%v does not say what was being done", err)
				}
			})
		})
	}
}

func refuse(w *cable, why error) {
	if o, err := w.hub.Accept(context.Background()); err == nil {
		o.Refuse(why)
	}
}

func TestAcceptEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCable(t, BondConfig{}, time.Millisecond)
		defer w.close()
		ctx, cancel := context.WithCancel(context.Background())
		var all sync.WaitGroup
		all.Go(func() {
			_, err := w.hub.Accept(ctx)
			is(t, "cancelled", err, context.Canceled)
		})
		all.Go(func() {
			_, err := w.hub.Accept(context.Background())
			is(t, "closed", err, net.ErrClosed)
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		w.hub.Close()
		all.Wait()
	})
}

func TestClosedBond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCable(t, BondConfig{}, time.Millisecond)
		client, _ := w.dial(t)
		w.close()
		late := w.engine.Bond(BondConfig{Name: "late"})
		for _, b := range []*Bond{w.client, w.hub, late} {
			b.Close()
			_, err := b.Dial(context.Background(), target)
			is(t, "dial", err, net.ErrClosed)
			_, err = b.Accept(context.Background())
			is(t, "accept", err, net.ErrClosed)
			a := b.Attach(w.up[0], netip.MustParseAddr("198.18.0.9"), netip.Addr{}, 0)
			a.Deliver([][]byte{make([]byte, 100)})
			a.SetRole(Backup)
			a.Detach()
			if b.Paths() != nil || b.Counters() != (Counters{}) {
				t.Error("a closed bond knows something")
			}
		}
		if client.Trace() != "" || client.Info().State != "" {
			t.Error("a connection of a closed bond knows something")
		}
		client.Close()
		client.Abort(nil)
	})
}

func TestCloseResetsEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCable(t, BondConfig{}, time.Millisecond)
		defer w.close()
		const n = turnMax + 100
		clients, _ := w.crowd(t, n)
		time.Sleep(100 * time.Millisecond)
		w.hub.Close()
		for _, c := range clients {
			c.SetReadDeadline(time.Now().Add(time.Second))
			_, err := c.Read(make([]byte, 1))
			is(t, "read", err, ErrReset)
		}
	})
}

func TestOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCable(t, BondConfig{Limits: &Limits{Inbox: 10 * (packetCost + 100)}}, time.Millisecond, time.Millisecond)
		defer w.close()
		gate := make(chan struct{})
		w.hub.post(func(clock.Time) { <-gate })
		synctest.Wait()
		for range 13 {
			w.there[1].Deliver([][]byte{make([]byte, 100)})
		}
		w.there[0].Deliver([][]byte{make([]byte, 100), make([]byte, 70_000)})
		close(gate)
		paths, n := w.hub.Paths(), w.hub.Counters()
		if n.Overflows != 4 || paths[0].Overflows != 1 || paths[1].Overflows != 3 {
			t.Errorf("dropped %d of both, %d and %d of each", n.Overflows, paths[0].Overflows, paths[1].Overflows)
		}
		if n.Malformed != 11 {
			t.Errorf("%d packets reached the machine", n.Malformed)
		}
		t.Log("there is room again")
		w.there[1].Deliver([][]byte{make([]byte, 100)})
		if n := w.hub.Counters(); n.Malformed != 12 || n.Overflows != 4 {
			t.Errorf("%d packets reached the machine, %d were dropped", n.Malformed, n.Overflows)
		}
	})
}

func TestDetachedPathIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCable(t, BondConfig{}, time.Millisecond, time.Millisecond)
		defer w.close()
		old, pkts := w.there[0], [][]byte{make([]byte, 100)}

		t.Log("a packet comes in the turn in which its path goes, and another path gets its number")
		first, second := make(chan struct{}), make(chan struct{})
		w.hub.post(func(clock.Time) { <-first })
		synctest.Wait()
		w.hub.post(func(clock.Time) { <-second })
		go old.Detach()
		synctest.Wait()
		var other *Attachment
		go func() { other = w.hub.Attach(w.down[0], netip.MustParseAddr("198.18.0.9"), netip.Addr{}, 1400) }()
		synctest.Wait()
		close(first)
		synctest.Wait()
		old.Deliver(pkts)
		close(second)
		synctest.Wait()
		if other.ID() != old.ID() {
			t.Errorf("number %d was free, and %d given", old.ID(), other.ID())
		}

		t.Log("and later")
		old.Deliver(pkts)
		old.Detach()
		if n := w.hub.Counters().Malformed; n != 0 {
			t.Errorf("%d packets of a detached path were handled", n)
		}
		if n := len(w.hub.Paths()); n != 2 {
			t.Errorf("%d paths after the second Detach", n)
		}
	})
}

func TestSendErrorsAreCounted(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		w.up[0].setDown(true)
		go pour(client, 100_000, 10_000)
		if n, err := drain(hub, 1000); n != 100_000 || err != nil {
			t.Errorf("read %d octets: %v", n, err)
		}
		if n := w.client.Counters().SendErrors; n == 0 || n != w.client.Paths()[0].SendErrors {
			t.Errorf("counted %d errors, %d of the path", n, w.client.Paths()[0].SendErrors)
		}
	})
}

func TestFailureIsLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	e := New(Config{Log: slog.New(slog.NewTextHandler(&out, nil))})
	b := e.Bond(BondConfig{Name: "home"})
	e.Close()
	a := &Attachment{bond: b, path: newLane(0), id: 3}
	for range 3 {
		a.out = append(a.out, []byte{1})
		a.flush()
	}
	log := out.String()
	if strings.Count(log, "does not send") != 1 || !strings.Contains(log, "bond=home") || !strings.Contains(log, "path=3") {
		t.Errorf("logged %q", log)
	}
	if a.sendErrors != 3 {
		t.Errorf("counted %d errors", a.sendErrors)
	}
}

// An acknowledgement that waits for a busy loop does not make the path look slow.
func TestRoundTripLeavesOutTheInbox(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		before := w.client.Paths()[0].RTT
		go hub.Read(make([]byte, 2))
		client.Write([]byte{1, 2})
		synctest.Wait()
		w.client.post(func(clock.Time) { time.Sleep(150 * time.Millisecond) })
		time.Sleep(200 * time.Millisecond)
		if after := w.client.Paths()[0].RTT; after > before+time.Millisecond {
			t.Errorf("the round trip grew from %v to %v", before, after)
		}
	})
}

func TestFirstOctetsMustFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCable(t, BondConfig{}, time.Millisecond)
		defer w.close()
		_, err := w.client.Open(target, DialOptions{First: make([]byte, 64<<20)})
		is(t, "open", err, ErrLimit)
	})
}

func TestTooManyPaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{})
		defer e.Close()
		b := e.Bond(BondConfig{})
		for i := range pathsMax + 1 {
			b.Attach(newLane(0), netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), netip.Addr{}, 0)
		}
		if n := len(b.Paths()); n != pathsMax {
			t.Errorf("%d paths", n)
		}
	})
}

// A path attached under the number of another takes its place: what still comes over that one is dropped.
func TestAttachAsTakesTheNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{}).Bond(BondConfig{})
		defer b.Close()
		cfg := PathConfig{Local4: netip.MustParseAddr("10.0.0.1")}
		first := b.AttachAs(7, newLane(0), cfg)
		second := b.AttachAs(7, newLane(0), cfg)
		first.Detach()
		first.Deliver([][]byte{{0x45}})
		second.Deliver([][]byte{{0x45}})
		synctest.Wait()
		if n := b.Counters().Malformed; n != 1 || first.ID() != 7 || second.ID() != 7 {
			t.Fatalf("%d packets taken, numbers %d and %d", n, first.ID(), second.ID())
		}
		if paths := b.Paths(); len(paths) != 1 || paths[0].ID != 7 {
			t.Fatalf("%+v", paths)
		}
		if other := b.AttachWith(newLane(0), cfg); other.ID() != 0 {
			t.Fatalf("number %d, want the least that is free", other.ID())
		}
	})
}
