package carrier

import (
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
)

// gaugeRest is how long a packet may be inside before it counts as lost there.
const gaugeRest = 50 * time.Millisecond

// A gauge holds back who gives packets to wireguard-go while too many are inside: its own queues take
// tens of thousands, each in a buffer of 64 KiB, which is delay and gigabytes when encryption cannot keep
// up. It is an estimate, because wireguard-go drops what it has no peer or session for and does not tell.
// What corrects it is a packet followed through, by its buffer: when that leaves, all before it are gone.
// One goroutine waits and enters; any may leave.
type gauge struct {
	max     int64
	entered int64
	gone    atomic.Int64  // of those
	some    chan struct{} // holds a token when some have left
	timer   *time.Timer

	followed atomic.Pointer[byte] // start of its buffer; nil: none
	upTo     atomic.Int64         // had entered with it
	since    time.Time            // when it entered
}

func newGauge(limit int) *gauge {
	g := &gauge{max: int64(limit), some: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	g.timer.Stop()
	return g
}

func (g *gauge) full() bool { return g.entered-g.gone.Load() >= g.max }

// wait waits while too many packets are inside, unless they stay there.
func (g *gauge) wait() {
	if !g.full() {
		return
	}
	g.timer.Reset(gaugeRest)
	for g.full() {
		select {
		case <-g.some:
		case <-g.timer.C:
			g.followed.Store(nil)
			g.gone.Store(g.entered)
		}
	}
	g.timer.Stop()
}

// enter notes packets that are given, each in its buffer.
func (g *gauge) enter(bufs [][]byte) {
	if len(bufs) == 0 {
		return
	}
	g.entered += int64(len(bufs))
	if now := time.Now(); g.followed.Load() == nil || now.Sub(g.since) >= gaugeRest {
		g.since = now
		g.upTo.Store(g.entered)
		g.followed.Store(&bufs[len(bufs)-1][0])
	}
}

// leave notes messages that are sent.
func (g *gauge) leave(messages [][]byte) {
	n, followed := 0, g.followed.Load()
	for _, m := range messages {
		if len(m) <= device.MessageKeepaliveSize || m[0] != device.MessageTransportType {
			continue
		}
		n++
		if &m[0] == followed && g.followed.CompareAndSwap(followed, nil) {
			g.gone.Store(g.upTo.Load() - int64(n))
		}
	}
	if n == 0 {
		return
	}
	g.gone.Add(int64(n))
	select {
	case g.some <- struct{}{}:
	default:
	}
}

// A meter is a Bind that tells a gauge what leaves.
type meter struct {
	conn.Bind
	gauge *gauge
}

func (m meter) Send(bufs [][]byte, to conn.Endpoint) error {
	err := m.Bind.Send(bufs, to)
	m.gauge.leave(bufs)
	return err
}
