package carriertest_test

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"tandem/engine/clock"
	"tandem/tunnel/carrier/carriertest"

	"golang.zx2c4.com/wireguard/conn"
)

// A way delivers what its link delivers, when its link says so.
func TestWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := clock.System()
		type arrival struct {
			at      time.Duration
			packets int
		}
		arrived := make(chan arrival, 4)
		w := carriertest.NewWay(carriertest.Conditions{Rate: 8e6, Delay: 10 * time.Millisecond}, now, nil, func(pkts [][]byte) {
			arrived <- arrival{time.Duration(now()), len(pkts)}
		})
		defer w.Close()
		w.Put([][]byte{make([]byte, 1000), make([]byte, 1000)})
		for i, want := range []arrival{{11 * time.Millisecond, 1}, {12 * time.Millisecond, 1}} {
			if got := <-arrived; got != want {
				t.Errorf("packet %d: %v, want %v", i, got, want)
			}
		}
		w.Change(func(c *carriertest.Conditions) { c.Down = true })
		w.Put([][]byte{make([]byte, 1000)})
		w.Change(func(c *carriertest.Conditions) { *c = carriertest.Conditions{} })
		w.Put([][]byte{{1}, {2}})
		if got := <-arrived; got != (arrival{12 * time.Millisecond, 2}) {
			t.Errorf("over a perfect link: %v", got)
		}
		if n := w.Counts().Down.Packets; n != 1 {
			t.Errorf("%d packets were lost while the link was down", n)
		}
	})
}

// A host is an open Bind and the next thing it hears.
type host struct {
	conn.Bind
	heard chan message
	ended chan error
}

type message struct {
	text string
	from conn.Endpoint
	at   time.Time
}

func open(t *testing.T, b conn.Bind) *host {
	t.Helper()
	h := &host{b, make(chan message, 64), make(chan error, 1)}
	receivers, _, err := b.Open(0)
	if err != nil || len(receivers) != 1 {
		t.Fatalf("%d receivers, %v", len(receivers), err)
	}
	go func() {
		bufs, sizes, eps := make([][]byte, b.BatchSize()), make([]int, b.BatchSize()), make([]conn.Endpoint, b.BatchSize())
		for i := range bufs {
			bufs[i] = make([]byte, 2000)
		}
		for {
			n, err := receivers[0](bufs, sizes, eps)
			if err != nil {
				h.ended <- err
				return
			}
			for i := range n {
				h.heard <- message{string(bufs[i][:sizes[i]]), eps[i], time.Now()}
			}
		}
	}()
	return h
}

// says sends a text and reports whether, and how, it is heard within a second.
func (h *host) says(text string, to conn.Endpoint, other *host) (m message, heard bool) {
	h.Send([][]byte{[]byte(text)}, to)
	select {
	case m = <-other.heard:
		return m, m.text == text
	case <-time.After(time.Second):
		return m, false
	}
}

// Each client has a link of its own, with the conditions of its directions.
func TestNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := carriertest.Link{
			Up:   carriertest.Conditions{Delay: 10 * time.Millisecond},
			Down: carriertest.Conditions{Delay: 30 * time.Millisecond, Rate: 8e5}, // a packet of 100 octets in 1 ms
		}
		n := carriertest.New(carriertest.Link{}, slow)
		defer n.Close()
		hub, a, b := open(t, n.Hub()), open(t, n.Client(0)), open(t, n.Client(1))
		defer hub.Close()
		defer a.Close()
		defer b.Close()
		there, err := a.ParseEndpoint(n.Endpoint().String())
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		fromA, ok1 := a.says("a", there, hub)
		fromB, ok2 := b.says("b", there, hub)
		if !ok1 || !ok2 || fromA.at != start || fromB.at != start.Add(10*time.Millisecond) {
			t.Fatalf("a after %v, b after %v", fromA.at.Sub(start), fromB.at.Sub(start))
		}
		if fromA.from.DstToString() == fromB.from.DstToString() {
			t.Error("both are at one address")
		}
		start = time.Now()
		if m, ok := hub.says(string(make([]byte, 100-28)), fromB.from, b); !ok || m.at.Sub(start) != 31*time.Millisecond {
			t.Errorf("b heard it after %v", m.at.Sub(start))
		}
		up, down := n.Counts(1)
		if up.Forwarded.Octets != 29 || down.Forwarded.Octets != 100 {
			t.Errorf("%d octets up and %d down", up.Forwarded.Octets, down.Forwarded.Octets)
		}

		n.Change(1, func(up, down *carriertest.Conditions) { up.Down = true })
		if _, ok := b.says("lost", there, hub); ok {
			t.Error("heard over a link that is down")
		}
		if _, ok := a.says("not lost", there, hub); !ok {
			t.Error("a change of one link changed another")
		}
		n.Change(1, func(up, down *carriertest.Conditions) { up.Down = false })
		if _, ok := b.says("back", there, hub); !ok {
			t.Error("not heard over a link that is up again")
		}
		if up, _ := n.Counts(1); up.Down.Packets != 1 {
			t.Errorf("%d packets met a link that is down", up.Down.Packets)
		}
	})
}

// Who has moved is not found where it was, and speaks from elsewhere.
func TestMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := carriertest.New(carriertest.Link{Down: carriertest.Conditions{Delay: time.Millisecond}})
		defer n.Close()
		hub, a := open(t, n.Hub()), open(t, n.Client(0))
		defer hub.Close()
		defer a.Close()
		there, _ := a.ParseEndpoint(n.Endpoint().String())
		before, _ := a.says("before", there, hub)
		hub.Send([][]byte{[]byte("on its way")}, before.from)
		n.Move(0)
		if _, ok := hub.says("to where it was", before.from, a); ok {
			t.Error("found where it was")
		}
		after, _ := a.says("after", there, hub)
		if after.from.DstToString() == before.from.DstToString() {
			t.Error("seen where it was")
		}
		if _, ok := hub.says("to where it is", after.from, a); !ok {
			t.Error("not found where it is")
		}
		select {
		case m := <-a.heard:
			t.Errorf("heard %q", m.text)
		default:
		}
	})
}

// A Bind can be opened again; what arrives in between is lost and holds nothing up.
func TestOpenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := carriertest.New(carriertest.Link{})
		hub, a := open(t, n.Hub()), open(t, n.Client(0))
		defer a.Close()
		there, _ := a.ParseEndpoint(n.Endpoint().String())
		if _, _, err := hub.Open(0); !errors.Is(err, conn.ErrBindAlreadyOpen) {
			t.Errorf("opened twice: %v", err)
		}
		hub.Close()
		if err := <-hub.ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("ended with %v", err)
		}
		if _, ok := a.says("to nobody", there, hub); ok {
			t.Error("heard after Close")
		}
		if err := hub.Send([][]byte{{1}}, there); !errors.Is(err, net.ErrClosed) {
			t.Errorf("sending after Close: %v", err)
		}
		again := open(t, n.Hub())
		defer again.Close()
		if _, ok := a.says("to somebody", there, again); !ok {
			t.Error("not heard again")
		}
		n.Close()
		if _, ok := a.says("after the end", there, again); ok {
			t.Error("heard after the end of the network")
		}
		if err := a.Send([][]byte{{1}}, &conn.StdNetEndpoint{}); !errors.Is(err, conn.ErrWrongEndpointType) {
			t.Errorf("a foreign endpoint: %v", err)
		}
	})
}
