package platformtest

import (
	"context"
	"os"
	"sync"
)

// queueMax is how many packets wait each way. What finds no room is lost, as in a kernel.
const queueMax = 1024

// A Tun is a TUN device in memory. The test is the host's programs: it sends and receives whole IP packets.
type Tun struct {
	host *Host
	name string
	mtu  int

	out, in chan []byte // from programs, to programs
	closed  chan struct{}
	once    sync.Once
}

func newTun(h *Host, name string, mtu int) *Tun {
	return &Tun{host: h, name: name, mtu: mtu, out: make(chan []byte, queueMax), in: make(chan []byte, queueMax), closed: make(chan struct{})}
}

// Send has a program of the host send a packet into the device.
func (t *Tun) Send(pkt []byte) {
	select {
	case t.out <- append([]byte(nil), pkt...):
	default:
	}
}

// Receive waits for the next packet that came out of the device to the host's programs.
func (t *Tun) Receive(ctx context.Context) ([]byte, error) {
	select {
	case pkt := <-t.in:
		return pkt, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.closed:
		return nil, os.ErrClosed
	}
}

// Read implements platform.Tun: it waits for one packet and takes as many as are there.
func (t *Tun) Read(bufs [][]byte, sizes []int, offset int) (n int, err error) {
	if len(bufs) == 0 {
		return 0, nil
	}
	select {
	case pkt := <-t.out:
		sizes[0], n = copy(bufs[0][offset:], pkt), 1
	case <-t.closed:
		return 0, os.ErrClosed
	}
	for n < min(len(bufs), len(sizes)) {
		select {
		case pkt := <-t.out:
			sizes[n] = copy(bufs[n][offset:], pkt)
			n++
		default:
			return n, nil
		}
	}
	return n, nil
}

// Write implements platform.Tun.
func (t *Tun) Write(bufs [][]byte, offset int) (int, error) {
	for i, b := range bufs {
		select {
		case <-t.closed:
			return i, os.ErrClosed
		default:
		}
		select {
		case t.in <- append([]byte(nil), b[offset:]...):
		default:
		}
	}
	return len(bufs), nil
}

// MTU implements platform.Tun.
func (t *Tun) MTU() (int, error) { return t.mtu, nil }

// Name implements platform.Tun.
func (t *Tun) Name() (string, error) { return t.name, nil }

// BatchSize implements platform.Tun.
func (t *Tun) BatchSize() int { return 128 }

// Close implements platform.Tun. The device vanishes from the host.
func (t *Tun) Close() error {
	t.once.Do(func() {
		close(t.closed)
		t.host.remove(t)
	})
	return nil
}
