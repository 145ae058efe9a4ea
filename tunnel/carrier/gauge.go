package carrier

import (
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
)

// gaugeRest is how long a packet may be inside before it counts as lost there.
const gaugeRest = 50 * time.Millisecond

// inboundMax is how many packets may wait to be decrypted and received. What does not fit waits in the
// socket, whose room is in octets.
const inboundMax = 2048

// A gauge holds back who gives packets to wireguard-go while too many are inside: its own queues take
// tens of thousands, each in a buffer of 64 KiB, which is delay and gigabytes when the processor cannot keep
// up. It is an estimate, because wireguard-go does not tell what it drops.
// What corrects it is a packet followed through, by its buffer: when that leaves, all before it are gone.
type gauge struct {
	max     int64
	entered atomic.Int64
	gone    atomic.Int64  // of those
	some    chan struct{} // holds a token when some have left

	followed atomic.Pointer[byte] // start of its buffer; nil: none
	upTo     atomic.Int64         // had entered with it
	origin   time.Time
	since    atomic.Int64 // when it entered, in nanoseconds after origin
}

func newGauge(limit int) *gauge {
	return &gauge{max: int64(limit), some: make(chan struct{}, 1), origin: time.Now()}
}

// newPatience returns what one goroutine waits with.
func newPatience() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

func (g *gauge) full() bool { return g.entered.Load()-g.gone.Load() >= g.max }

// wait waits while too many packets are inside, unless they stay there.
func (g *gauge) wait(patience *time.Timer) {
	if !g.full() {
		return
	}
	patience.Reset(gaugeRest)
	for g.full() {
		select {
		case <-g.some:
		case <-patience.C:
			g.followed.Store(nil)
			g.gone.Store(g.entered.Load())
			patience.Reset(gaugeRest)
		}
	}
	patience.Stop()
}

// enter notes packets that are given, of which last is the start of the last one's buffer.
func (g *gauge) enter(n int, last *byte) {
	entered := g.entered.Add(int64(n))
	now := int64(time.Since(g.origin))
	if g.followed.Load() == nil || time.Duration(now-g.since.Load()) >= gaugeRest {
		g.since.Store(now)
		g.upTo.Store(entered)
		g.followed.Store(last)
	}
}

// passed reports whether a buffer is the one that is followed, which it then is no more.
func (g *gauge) passed(buf []byte) bool {
	followed := g.followed.Load()
	return followed != nil && &buf[0] == followed && g.followed.CompareAndSwap(followed, nil)
}

// leave notes that n packets have left, of which the one followed was the at-th, 0: none was.
func (g *gauge) leave(n, at int) {
	if at > 0 {
		g.gone.Store(g.upTo.Load() - int64(at))
	}
	g.gone.Add(int64(n))
	select {
	case g.some <- struct{}{}:
	default:
	}
}

// A meter is a Bind that tells an inner's gauges what passes.
type meter struct {
	conn.Bind
	inner *inner
}

func (m meter) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	receivers, port, err := m.Bind.Open(port)
	measured := make([]conn.ReceiveFunc, len(receivers))
	for i, receive := range receivers {
		measured[i] = m.measure(receive)
	}
	return measured, port, err
}

func (m meter) measure(receive conn.ReceiveFunc) conn.ReceiveFunc {
	g, patience := m.inner.inbound, newPatience()
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		g.wait(patience)
		n, err := receive(bufs, sizes, eps)
		data, last := 0, 0
		for i := range n {
			if isData(bufs[i][:sizes[i]]) {
				data, last = data+1, i
			}
		}
		if data > 0 {
			g.enter(data, &bufs[last][0])
		}
		return n, err
	}
}

func (m meter) Send(bufs [][]byte, to conn.Endpoint) error {
	err := m.Bind.Send(bufs, to)
	g, data, at := m.inner.outbound, 0, 0
	for _, b := range bufs {
		if isData(b) {
			if data++; g.passed(b) {
				at = data
			}
		}
	}
	if data > 0 {
		g.leave(data, at)
	}
	return err
}

// isData reports whether a message of WireGuard carries a packet.
func isData(message []byte) bool {
	return len(message) > device.MessageKeepaliveSize && message[0] == device.MessageTransportType
}
