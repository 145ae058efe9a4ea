package carrier

import (
	"net"
	"os"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/tun"
)

// batchMax is how many packets wireguard-go moves at once. For each of its readers it keeps as many buffers
// of 64 KiB. Measured over loopback, 32, 64 and 128 are equally fast, and a carrier with its hub has a heap
// of 16, 28 and 52 MiB.
const batchMax = 32

// An inner is the TUN device that wireguard-go sees.
//
//	send ─► queue ─► Read ─► encryption ─► Bind
//	        full: dropped  └── outbound ──┘  full: Read waits
//	receive ◄─ Write ◄─ decryption ◄─ Bind
//	          └────── inbound ────────┘  full: the Bind is not asked
//
// The queue only spans the time until wireguard-go's reader runs.
type inner struct {
	mtu     int
	receive func(pkts [][]byte)
	events  chan tun.Event
	wake    chan struct{} // holds a token when the queue has become longer; closed with the device

	outbound, inbound *gauge
	patience          *time.Timer // of Read

	mu     sync.Mutex
	slots  []queued // a ring
	first  int      // of those that wait
	waits  int
	closed bool
}

// A queued is a packet that waits, or room for one.
type queued struct {
	octets []byte
	of     *share // nil: nobody's
}

// A share is what one of several senders has in a queue: never more than half of what the others leave.
type share struct{ waits int } // guarded by the queue's mutex

// over reports whether a sender may have no more in a queue in which so many wait.
func (s *share) over(waits, room int) bool {
	return s != nil && 2*s.waits >= room-(waits-s.waits)
}

func newInner(mtu, queue int, receive func([][]byte)) *inner {
	return &inner{
		mtu:      mtu,
		receive:  receive,
		events:   make(chan tun.Event),
		wake:     make(chan struct{}, 1),
		outbound: newGauge(2 * queue),
		patience: newPatience(),
		inbound:  newGauge(inboundMax),
		slots:    make([]queued, queue),
	}
}

// send queues copies of packets and returns how many found no room or were longer than the MTU. Without a
// share all of the queue may be theirs.
func (d *inner) send(pkts [][]byte, of *share) (dropped int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return len(pkts), net.ErrClosed
	}
	for _, pkt := range pkts {
		if d.waits == len(d.slots) || len(pkt) > d.mtu || of.over(d.waits, len(d.slots)) {
			dropped++
			continue
		}
		q := &d.slots[(d.first+d.waits)%len(d.slots)]
		q.octets, q.of = append(q.octets[:0], pkt...), of
		if d.waits++; of != nil {
			of.waits++
		}
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
	return dropped, nil
}

// Read waits for packets. One goroutine may call it.
func (d *inner) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	d.outbound.wait(d.patience)
	for {
		if n, err := d.take(bufs, sizes, offset); n > 0 || err != nil {
			if n > 0 {
				d.outbound.enter(n, &bufs[n-1][0])
			}
			return n, err
		}
		<-d.wake
	}
}

func (d *inner) take(bufs [][]byte, sizes []int, offset int) (n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return 0, os.ErrClosed
	}
	for ; n < len(bufs) && d.waits > 0; n++ {
		q := &d.slots[d.first]
		sizes[n] = copy(bufs[n][offset:], q.octets)
		if q.of != nil {
			q.of.waits--
			q.of = nil
		}
		d.first = (d.first + 1) % len(d.slots)
		d.waits--
	}
	return n, nil
}

// Write hands packets on. All come from one peer, and from an inner source that is the peer's.
func (d *inner) Write(bufs [][]byte, offset int) (int, error) {
	at := 0
	for i := range bufs {
		if d.inbound.passed(bufs[i]) {
			at = i + 1
		}
		bufs[i] = bufs[i][offset:]
	}
	d.receive(bufs)
	d.inbound.leave(len(bufs), at)
	return len(bufs), nil
}

func (d *inner) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.closed = true
		close(d.wake)
		close(d.events)
	}
	return nil
}

func (d *inner) MTU() (int, error)        { return d.mtu, nil }
func (d *inner) Name() (string, error)    { return "inner", nil }
func (d *inner) File() *os.File           { return nil }
func (d *inner) Events() <-chan tun.Event { return d.events }
func (d *inner) BatchSize() int           { return batchMax }
