package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tandem/engine/mptcp"
)

// next fails the test unless this is the next event.
func next(t *testing.T, c *Conn, kind SubflowEventKind, id SubflowID) SubflowEvent {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := c.NextEvent(ctx)
	if err != nil || e.Kind != kind || e.Subflow != id {
		t.Fatalf("%v %d, %v; want %v %d\n%s", e.Kind, e.Subflow, err, kind, id, c.Trace())
	}
	return e
}

func TestSubflowsComeAndGo(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		for id := range SubflowID(2) {
			next(t, client, SubflowAdded, id+1)
			next(t, client, SubflowEstablished, id+1)
		}
		if !client.Multipath() || client.Token() != client.Info().Token || client.Token() == hub.Token() {
			t.Errorf("in use %v, token %x of %x", client.Multipath(), client.Token(), client.Info().Token)
		}
		f, err := client.Subflow(2)
		if err != nil || f.Path != 1 || f.State != "ESTABLISHED" || !f.Established || f.RTO == 0 || f.Window == 0 || f.MSS == 0 || f.Local.Addr().String() != "198.18.1.2" {
			t.Errorf("%+v, %v", f, err)
		}

		if f, err := client.Subflow(1); err != nil || f.RTT < 10*time.Millisecond || f.Joined || f.Sent != 1 {
			t.Errorf("%+v, %v", f, err)
		}

		t.Log("one is closed, and both ends say so")
		if err := client.CloseSubflow(2, ByFIN); err != nil {
			t.Fatal(err)
		}
		if e := next(t, client, SubflowRemoved, 2); e.Err != nil {
			t.Errorf("an orderly end: %v", e.Err)
		}
		go pour(client, 100_000, 1000)
		if n, err := drain(hub, 4096); n != 100_000 || err != nil {
			t.Errorf("%d octets, %v", n, err)
		}
		if f, _ := client.Subflow(2); f.Established || f.Sent != 0 {
			t.Errorf("%+v", f)
		}

		t.Log("and opened again")
		id, err := client.OpenSubflow(SubflowOptions{Path: 1, Backup: true})
		if err != nil || id != 3 {
			t.Fatal(id, err)
		}
		next(t, client, SubflowAdded, 3)
		next(t, client, SubflowEstablished, 3)
		if local, remote, err := client.SubflowPriority(3); !local || remote || err != nil {
			t.Errorf("backup here %v, there %v, %v", local, remote, err)
		}
		hub.Close()
		client.Close()
		if e, err := client.NextEvent(context.Background()); err != io.EOF {
			t.Errorf("in the end: %+v, %v", e, err)
		}
	})
}

// What one end wishes of a subflow the other sees, and both keep to it.
func TestSubflowPriority(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		if err := client.SetSubflowPriority(1, true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if local, remote, err := hub.SubflowPriority(1); local || !remote || err != nil {
			t.Errorf("at the hub: backup here %v, there %v, %v", local, remote, err)
		}
		before, _ := hub.Subflow(1)
		go pour(hub, 50_000, 1000)
		if n, err := drain(client, 4096); n != 50_000 || err != nil {
			t.Errorf("%d octets, %v", n, err)
		}
		if after, _ := hub.Subflow(1); after.Sent != before.Sent {
			t.Errorf("%d octets over the subflow that is to be spared", after.Sent-before.Sent)
		}
	})
}

func TestSubflowErrors(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		want := func(err, engine, system error) {
			t.Helper()
			is(t, "the engine", err, engine)
			is(t, "the system", err, system)
		}
		want(client.CloseSubflow(9, ByFIN), ErrNoSubflow, syscall.ENOENT)
		want(client.SetSubflowPriority(9, true), ErrNoSubflow, syscall.ENOENT)
		want(client.SetSubflowTOS(9, 0x20), ErrNoSubflow, syscall.ENOENT)
		want(client.SetSubflowUserTimeout(9, time.Second), ErrNoSubflow, syscall.ENOENT)
		if err := errors.Join(client.SetSubflowTOS(1, 0x20), client.SetSubflowUserTimeout(1, time.Minute)); err != nil {
			t.Error(err)
		}
		if f, err := client.Subflow(1); f.TOS != 0x20 || f.UserTimeout != time.Minute || err != nil {
			t.Errorf("%+v, %v", f, err)
		}
		_, _, err := client.SubflowPriority(9)
		want(err, ErrNoSubflow, syscall.ENOENT)
		_, err = client.OpenSubflow(SubflowOptions{Path: 0})
		want(err, ErrExists, syscall.EADDRINUSE)
		_, err = client.OpenSubflow(SubflowOptions{Path: 7})
		is(t, "no path", err, ErrNoPath)
		w.here[1].Detach()
		time.Sleep(time.Second)
		want(client.RemovePath(0), ErrLast, syscall.EBUSY)
		early, err := w.client.Open(netip.AddrPortFrom(target.Addr(), 1), DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		want(early.RemovePath(0), ErrEarly, syscall.EAGAIN)
		early.Abort(nil)
		is(t, "after the end", early.RemovePath(0), net.ErrClosed)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for err == nil {
			_, err = client.NextEvent(ctx)
		}
		is(t, "a context that ended", err, context.Canceled)
		w.client.Close()
		is(t, "a closed bond", client.RemovePath(0), net.ErrClosed)
		_, err = client.NextEvent(context.Background())
		if err == nil || !errors.Is(err, net.ErrClosed) {
			t.Errorf("events of a closed bond: %v", err)
		}
	})
}

// A connection that is dialled as one of TCP has one subflow, of which there is a picture and nothing else.
func TestSubflowsAfterFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCable(t, BondConfig{}, 5*time.Millisecond, 15*time.Millisecond)
		defer w.close()
		got := make(chan *Conn, 1)
		go func() {
			o, err := w.hub.Accept(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			c, _ := o.Accept()
			got <- c
		}()
		c, err := w.client.Open(target, DialOptions{DialOptions: mptcp.DialOptions{Plain: true, Only: []PathID{1}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Established(context.Background()); err != nil {
			t.Fatal(err)
		}
		hub := <-got
		go pour(c, 10_000, 1000)
		if n, err := drain(hub, 4096); n != 10_000 || err != nil {
			t.Errorf("%d octets, %v", n, err)
		}
		if c.Multipath() || hub.Multipath() {
			t.Error("MPTCP is in use")
		}
		if all := c.Subflows(); len(all) != 1 || all[0].Path != 1 || !all[0].Established {
			t.Errorf("%+v", all)
		}
		next(t, c, SubflowAdded, 1)
		next(t, c, FellBack, 1)
		next(t, c, SubflowEstablished, 1)
		_, err = c.OpenSubflow(SubflowOptions{Path: 0})
		is(t, "open", err, ErrFallback)
		is(t, "open", err, syscall.EOPNOTSUPP)
		is(t, "close", c.CloseSubflow(1, ByFIN), syscall.EOPNOTSUPP)
		_, _, err = c.SubflowPriority(1)
		is(t, "priority", err, syscall.EOPNOTSUPP)
		is(t, "add", c.AddPath(0), syscall.EOPNOTSUPP)
		is(t, "TOS", c.SetSubflowTOS(1, 0x20), syscall.EOPNOTSUPP)
		is(t, "user timeout", c.SetSubflowUserTimeout(1, time.Second), syscall.EOPNOTSUPP)
	})
}

// Two who wait for events get each a part of them, and none waits in vain.
func TestEventsForTwo(t *testing.T) {
	story(t, func(t *testing.T, w *cable, client, hub *Conn) {
		told := make(chan error, 10)
		for range 2 {
			go func() {
				for {
					_, err := client.NextEvent(context.Background())
					if told <- err; err != nil {
						return
					}
				}
			}()
		}
		for range 4 {
			if err := <-told; err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		client.Abort(nil)
		for range 2 {
			if err := <-told; err != io.EOF {
				t.Errorf("in the end %v", err)
			}
		}
	})
}
