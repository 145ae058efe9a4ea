package engine

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// How fast a path carries can be said while it carries, at either end: the lower limit counts.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCable(t, BondConfig{}, 5*time.Millisecond)
		defer w.close()
		client, hub := w.dial(t)
		go pour(hub, 1<<30, 64<<10)
		go io.Copy(io.Discard, client)
		second := func() int {
			time.Sleep(500 * time.Millisecond) // until the peer knows, and what was on its way has come
			before := client.Info().Received
			time.Sleep(time.Second)
			return int(client.Info().Received - before)
		}
		for _, c := range []struct{ down, up, least, most int }{
			{0, 0, 2e6, 1e9}, {1e6, 0, 9e5, 1e6}, {1e6, 2e5, 18e4, 2e5}, {0, 2e5, 18e4, 2e5}, {0, 0, 2e6, 1e9},
		} {
			w.here[0].SetLimit(c.down, 0)
			w.there[0].SetLimit(0, c.up)
			if got := second(); got < c.least || got > c.most {
				t.Errorf("%+v: %d octets in a second", c, got)
			}
			if p := w.client.Paths()[0]; p.LimitDown != c.down || p.PeerUp != c.up || !p.Granted {
				t.Errorf("%+v: %+v", c, p)
			}
		}
		w.here[0].Detach()
		w.here[0].SetLimit(1, 1) // of nobody
		w.here[0].SetPrice(1)
	})
}

// What a path costs decides whether it carries what another can, as soon as somebody says so.
func TestPrice(t *testing.T) {
	cost := BondConfig{}
	cost.Scheduler = "cost"
	synctest.Test(t, func(t *testing.T) {
		w := newCable(t, cost, 5*time.Millisecond, 5*time.Millisecond)
		defer w.close()
		client, hub := w.dial(t)
		go io.Copy(io.Discard, hub)
		dear := func() (share float64) {
			before := client.Info()
			for range 100 {
				client.Write(make([]byte, 1000))
				time.Sleep(10 * time.Millisecond)
			}
			var of [2]uint64
			for _, f := range client.Info().Subflows {
				of[f.Path] += f.Sent
			}
			for _, f := range before.Subflows {
				of[f.Path] -= f.Sent
			}
			return float64(of[0]) / float64(of[0]+of[1])
		}
		time.Sleep(time.Second)
		w.here[0].SetPrice(5000)
		if share := dear(); share > 0.01 {
			t.Errorf("the dear path carried %.2f", share)
		}
		w.here[0].SetPrice(0)
		w.here[1].SetPrice(5000)
		if share := dear(); share < 0.99 {
			t.Errorf("the path that became cheap carried %.2f", share)
		}
	})
}

// How long a connection may be idle can be said while it lives.
func TestSetInactivity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := BondConfig{}
		cfg.Inactivity = Inactivity{Time: time.Hour}
		w := newCableOf(t, cfg, BondConfig{}, 5*time.Millisecond)
		defer w.close()
		client, hub := w.dial(t)
		if i := client.Info().Inactivity; i.Own != time.Hour || i.Request {
			t.Errorf("%+v", i)
		}
		client.SetInactivity(200*time.Second, true)
		time.Sleep(time.Second)
		if i := hub.Info().Inactivity; i.Peer != 200*time.Second || !i.PeerRequests || i.Used != 200*time.Second {
			t.Errorf("the peer knows %+v", i)
		}
		begun := time.Now()
		for _, c := range []*Conn{client, hub} {
			if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
				t.Errorf("%v", err)
			}
		}
		_, err := client.Read(make([]byte, 1))
		if took := time.Since(begun); !errors.Is(err, ErrTimeout) || took < 198*time.Second || took > 201*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}
