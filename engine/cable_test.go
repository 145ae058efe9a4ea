package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"tandem/engine/wire"
)

// A lane is one direction of a path between two bonds in memory. Packets keep their order; those that
// find laneMax batches on their way are dropped.
type lane struct {
	delay time.Duration
	queue chan batch
	done  chan struct{}

	mu   sync.Mutex
	to   *Attachment
	down bool
	sent int    // packets
	keep bool   // note the newest TCP segment
	last []byte // that segment
}

type batch struct {
	due  time.Time
	pkts [][]byte
}

const laneMax = 4096

func newLane(delay time.Duration) *lane {
	l := &lane{delay: delay}
	if delay > 0 {
		l.queue, l.done = make(chan batch, laneMax), make(chan struct{})
		go l.run()
	}
	return l
}

func (l *lane) Send(pkts [][]byte) error {
	l.mu.Lock()
	to, down := l.to, l.down
	l.sent += len(pkts)
	for _, p := range pkts {
		if l.keep && isTCP(p) {
			l.last = append(l.last[:0], p...)
		}
	}
	l.mu.Unlock()
	if to == nil || down {
		return errors.New("down")
	}
	if l.delay == 0 {
		to.Deliver(pkts)
		return nil
	}
	b := batch{due: time.Now().Add(l.delay)}
	for _, p := range pkts {
		b.pkts = append(b.pkts, slices.Clone(p))
	}
	select {
	case l.queue <- b:
	default:
	}
	return nil
}

func isTCP(pkt []byte) bool {
	_, _, protocol, _ := wire.Addresses(pkt)
	return protocol == wire.TCP
}

func (l *lane) run() {
	defer close(l.done)
	for b := range l.queue {
		time.Sleep(time.Until(b.due))
		l.to.Deliver(b.pkts)
	}
}

func (l *lane) connect(to *Attachment) {
	l.mu.Lock()
	l.to = to
	l.mu.Unlock()
}

func (l *lane) setDown(down bool) {
	l.mu.Lock()
	l.down = down
	l.mu.Unlock()
}

func (l *lane) close() {
	if l.queue != nil {
		close(l.queue)
		<-l.done
	}
}

// A cable is two bonds, client and hub, joined by lanes: one path per delay.
type cable struct {
	engine      *Engine
	client, hub *Bond
	up, down    []*lane
	here, there []*Attachment // of the client, of the hub
}

var target = netip.MustParseAddrPort("203.0.113.7:443")

func newCable(t testing.TB, cfg BondConfig, delays ...time.Duration) *cable {
	t.Helper()
	return newCableOf(t, cfg, cfg, delays...)
}

// newCableOf is a cable of which the ends differ.
func newCableOf(t testing.TB, client, hub BondConfig, delays ...time.Duration) *cable {
	t.Helper()
	client.Paired, hub.Paired = true, true
	w := &cable{engine: New(Config{})}
	w.client, w.hub = w.engine.Bond(client), w.engine.Bond(hub)
	for i, delay := range delays {
		up, down := newLane(delay), newLane(delay)
		at, hub := netip.AddrFrom4([4]byte{198, 18, byte(i), 2}), netip.AddrFrom4([4]byte{198, 18, 255, 1})
		here := w.client.AttachAs(PathID(i), up, PathConfig{Local4: at, Peer4: hub, MTU: 1400})
		there := w.hub.AttachAs(PathID(i), down, PathConfig{Local4: hub, Peer4: at, MTU: 1400})
		up.connect(there)
		down.connect(here)
		w.up, w.down = append(w.up, up), append(w.down, down)
		w.here, w.there = append(w.here, here), append(w.there, there)
	}
	return w
}

// close closes everything; what is left then shows as a goroutine that its bubble waits for in vain.
func (w *cable) close() {
	w.engine.Close()
	for _, l := range append(w.up, w.down...) {
		l.close()
	}
}

// accept takes the next offer at the hub; nil if that fails, and so does the test.
func (w *cable) accept(t testing.TB, ctx context.Context) *Conn {
	t.Helper()
	o, err := w.hub.Accept(ctx)
	if err != nil {
		t.Error(err)
		return nil
	}
	c, err := o.Accept()
	if err != nil {
		t.Error(err)
		return nil
	}
	return c
}

// dial returns the two ends of a new connection.
func (w *cable) dial(t testing.TB) (client, hub *Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	got := make(chan *Conn, 1)
	go func() {
		defer close(got)
		if c := w.accept(t, ctx); c != nil {
			got <- c
		}
	}()
	client, err := w.client.Dial(ctx, target)
	hub = <-got
	if err != nil || hub == nil {
		t.Fatal("no connection:", err)
	}
	return client, hub
}

// crowd opens n connections.
func (w *cable) crowd(t testing.TB, n int) (clients, hubs []*Conn) {
	t.Helper()
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for range n {
			c := w.accept(t, context.Background())
			if c == nil {
				return
			}
			hubs = append(hubs, c)
		}
	})
	for range n {
		c, err := w.client.Dial(context.Background(), target)
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	accepting.Wait()
	return clients, hubs
}

// pattern is the octet at place i of every stream that tests send.
func pattern(i int64) byte { return byte(i ^ i>>8*7 ^ i>>16*13) }

// pour writes n octets of the pattern, and then ends the stream.
func pour(c *Conn, n int64, piece int) error {
	buf := make([]byte, piece)
	for at := int64(0); at < n; {
		part := buf[:min(int64(piece), n-at)]
		for i := range part {
			part[i] = pattern(at + int64(i))
		}
		m, err := c.Write(part)
		if at += int64(m); err != nil {
			return err
		}
	}
	return c.CloseWrite()
}

// A checker is written to what should be the pattern.
type checker int64

func (n *checker) Write(p []byte) (int, error) {
	for i, x := range p {
		if x != pattern(int64(*n)) {
			return i, fmt.Errorf("octet %d is not what was sent", *n)
		}
		*n++
	}
	return len(p), nil
}

// drain reads to the end, at most piece octets at a time, and checks the pattern.
func drain(c *Conn, piece int) (int64, error) {
	var check checker
	return io.CopyBuffer(&check, struct{ io.Reader }{c}, make([]byte, piece))
}

// is fails the test unless err is want.
func is(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}
