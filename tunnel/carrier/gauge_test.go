package carrier

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"tandem/tunnel/carrier/carriertest"

	"golang.zx2c4.com/wireguard/conn"
)

// A pipe is a gauge, and packets that are inside.
type pipe struct {
	*gauge
	patience *time.Timer
	inside   [][]byte
}

func newPipe(limit int) *pipe { return &pipe{gauge: newGauge(limit), patience: newPatience()} }

// give tells how long the gauge holds back, and gives it n packets, at once.
func (p *pipe) give(n int) (held time.Duration) {
	start := time.Now()
	p.wait(p.patience)
	held = time.Since(start)
	for range n {
		p.inside = append(p.inside, make([]byte, 64))
	}
	p.enter(n, &p.inside[len(p.inside)-1][0])
	return held
}

// take lets the first n leave.
func (p *pipe) take(n int) {
	at := 0
	for i, buf := range p.inside[:n] {
		if p.passed(buf) {
			at = i + 1
		}
	}
	p.inside = p.inside[n:]
	p.leave(n, at)
}

// lose drops the last that was given.
func (p *pipe) lose() { p.inside = p.inside[:len(p.inside)-1] }

// Who gives too much waits until enough has left, and no longer.
func TestGaugeHoldsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipe(10)
		for range 3 {
			if d := p.give(4); d != 0 {
				t.Fatalf("waited %v while there was room", d)
			}
		}
		go func() {
			time.Sleep(time.Millisecond)
			p.take(2) // 10 are inside still
			time.Sleep(2 * time.Millisecond)
			p.take(1)
		}()
		if d := p.give(1); d != 3*time.Millisecond {
			t.Errorf("waited %v", d)
		}
	})
}

// What is lost inside, all of it, holds nobody back for long; what leaves late makes room only for a while.
func TestGaugeForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipe(10)
		p.give(10)
		for range 20 {
			if d := p.give(10); d != gaugeRest {
				t.Fatalf("waited %v for what is lost", d)
			}
		}
		p.take(len(p.inside))
		for range 2 {
			p.give(1)
			p.take(1)
		}
		if d := p.give(9); d != 0 {
			t.Errorf("waited %v while there was room", d)
		}
		p.give(1)
		if d := p.give(1); d == 0 {
			t.Error("what had been taken for lost made room twice")
		}
	})
}

// Of many packets one in a thousand is lost, and 8 are inside all the time: nobody is slowed down.
func TestGaugeUnderTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipe(10)
		var held time.Duration
		for i := range 100_000 {
			held += p.give(1)
			if i%1000 == 7 {
				p.lose()
			}
			if len(p.inside) > 8 {
				p.take(1)
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
	in := newInner(100, 10, func([][]byte) {})
	data, keepalive, initiation := make([]byte, 64), make([]byte, 32), make([]byte, 148)
	data[0], keepalive[0], initiation[0] = 4, 4, 1
	m := meter{nowhere{}, in}
	m.Send([][]byte{data, keepalive, data}, nil)
	m.Send([][]byte{initiation}, nil)
	m.Send(nil, nil)
	if n := in.outbound.gone.Load(); n != 2 {
		t.Errorf("%d left", n)
	}
	bufs := [][]byte{initiation, data, data, keepalive, nil}
	receive := m.measure(func(_ [][]byte, sizes []int, _ []conn.Endpoint) (int, error) {
		for i, b := range bufs {
			sizes[i] = len(b)
		}
		return len(bufs), nil
	})
	if n, err := receive(bufs, make([]int, 5), nil); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	if n := in.inbound.entered.Load(); n != 2 {
		t.Errorf("%d entered", n)
	}
}

// WireGuard sends from the buffers that it was given, so what is followed is found, and what it drops is forgotten.
func TestGaugeInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := carriertest.New(carriertest.Link{})
		defer network.Close()
		hubKey, key := NewKey(), NewKey()
		hub, err := Listen(HubConfig{Private: hubKey, Bind: network.Hub()})
		if err != nil {
			t.Fatal(err)
		}
		defer hub.Close()
		if _, err := hub.Add(PeerConfig{Key: key.Public(), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{198, 18, 0, 2})}}); err != nil {
			t.Fatal(err)
		}
		c, err := Open(Config{Private: key, Peer: hubKey.Public(), Endpoint: network.Endpoint(), Bind: network.Client(0)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		pkt := make([]byte, 100)
		copy(pkt[12:], []byte{198, 18, 0, 2})
		pkt[3] = 100
		for i := range 21 {
			pkt[0] = 0x45
			if i%2 == 0 && i < 20 {
				pkt[0] = 0 // no packet at all
			}
			c.Send([][]byte{pkt})
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		for name, g := range map[string]*gauge{"outbound": c.inner.outbound, "inbound": hub.inner.inbound} {
			entered, gone := g.entered.Load(), g.gone.Load()
			if g.followed.Load() != nil || entered != gone || entered < 11 {
				t.Errorf("%s: of %d packets %d are gone, and one is followed: %v", name, entered, gone, g.followed.Load() != nil)
			}
		}
	})
}

type nowhere struct{ conn.Bind }

func (nowhere) Send([][]byte, conn.Endpoint) error { return nil }
