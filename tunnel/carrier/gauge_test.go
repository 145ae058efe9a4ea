package carrier

import (
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

// packets makes as many buffers, and what they become.
func packets(n int) [][]byte {
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = make([]byte, 64)
		bufs[i][0] = 4
	}
	return bufs
}

// waited tells how long a gauge holds back.
func waited(g *gauge) time.Duration {
	start := time.Now()
	g.wait()
	return time.Since(start)
}

// Who gives too much waits until enough has left, and no longer.
func TestGaugeHoldsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, bufs := newGauge(10), packets(12)
		for i := range 3 {
			if d := waited(g); d != 0 {
				t.Fatalf("waited %v while there was room", d)
			}
			g.enter(bufs[4*i : 4*i+4])
		}
		time.AfterFunc(time.Millisecond, func() { g.leave(bufs[:2]) }) // 10 are inside still
		time.AfterFunc(3*time.Millisecond, func() { g.leave(bufs[2:3]) })
		if d := waited(g); d != 3*time.Millisecond {
			t.Errorf("waited %v", d)
		}
	})
}

// What is lost inside, all of it, holds nobody back for long; what leaves late makes room only for a while.
func TestGaugeForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, late := newGauge(10), packets(10)
		for range 20 {
			g.enter(late)
			if d := waited(g); d != gaugeRest {
				t.Fatalf("waited %v for what is lost", d)
			}
		}
		g.leave(late)
		for range 2 {
			next := packets(1)
			g.enter(next)
			g.leave(next)
		}
		g.enter(packets(9))
		if d := waited(g); d != 0 {
			t.Errorf("waited %v while there was room", d)
		}
		g.enter(packets(1))
		if d := waited(g); d == 0 {
			t.Error("what had been taken for lost made room twice")
		}
	})
}

// Of many packets one in a thousand is lost, and 8 are inside all the time: nobody is slowed down.
func TestGaugeUnderTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGauge(10)
		var inside [][]byte
		var held time.Duration
		for i := range 100_000 {
			held += waited(g)
			next := packets(1)
			g.enter(next)
			if i%1000 != 7 {
				inside = append(inside, next...)
			}
			if len(inside) > 8 {
				g.leave(inside[:1])
				inside = inside[1:]
			}
			time.Sleep(50 * time.Microsecond)
		}
		if held > 0 {
			t.Errorf("held back for %v", held)
		}
	})
}

// Only packets count, not what WireGuard says itself.
func TestMeter(t *testing.T) {
	g := newGauge(10)
	bufs := packets(3)
	g.enter(bufs)
	keepalive, initiation := make([]byte, 32), make([]byte, 148)
	keepalive[0], initiation[0] = 4, 1
	m := meter{nowhere{}, g}
	m.Send([][]byte{bufs[0], keepalive, bufs[1]}, nil)
	m.Send([][]byte{initiation}, nil)
	m.Send(nil, nil)
	if n := g.gone.Load(); n != 2 {
		t.Errorf("%d left", n)
	}
}

type nowhere struct{ conn.Bind }

func (nowhere) Send([][]byte, conn.Endpoint) error { return nil }
