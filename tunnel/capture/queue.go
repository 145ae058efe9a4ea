package capture

import (
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	segmentsMax = 4096 // of up to 64 KiB each, which the streams' buffers hold anyway
	injectMax   = 1024 // packets, copied
)

// A queue holds packets on their way to the device.
type queue struct {
	counters *counters
	wake     chan struct{} // holds one when there may be something to take

	mu       sync.Mutex
	packets  []*stack.PacketBuffer
	injected int // of packets
	closed   bool
}

func newQueue(n *counters) *queue { return &queue{counters: n, wake: make(chan struct{}, 1)} }

// put takes a segment, which the caller keeps; it reports whether there was room.
func (q *queue) put(pkt *stack.PacketBuffer) bool {
	q.mu.Lock()
	if q.closed || len(q.packets)-q.injected >= segmentsMax {
		q.mu.Unlock()
		q.counters.segments.Add(1)
		return false
	}
	q.packets = append(q.packets, pkt.IncRef())
	q.mu.Unlock()
	q.signal()
	return true
}

func (q *queue) inject(pkts [][]byte) {
	dropped := 0
	q.mu.Lock()
	for _, pkt := range pkts {
		if q.closed || q.injected >= injectMax || len(pkt) == 0 || len(pkt) > mtuMax {
			dropped++
			continue
		}
		payload := buffer.MakeWithData(pkt)
		q.packets = append(q.packets, stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: payload}))
		q.injected++
	}
	q.mu.Unlock()
	q.counters.inject.Add(uint64(dropped))
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take waits for packets and gives all there are, in place of the empty spare; ok is false when the queue
// is closed and empty.
func (q *queue) take(spare []*stack.PacketBuffer) (packets []*stack.PacketBuffer, ok bool) {
	for {
		q.mu.Lock()
		packets, ok = q.packets, len(q.packets) > 0
		if ok || q.closed {
			q.packets, q.injected = spare, 0
			q.mu.Unlock()
			return packets, ok
		}
		q.mu.Unlock()
		<-q.wake
	}
}

// close lets what is in the queue still be taken.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}
