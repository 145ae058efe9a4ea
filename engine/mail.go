package engine

import (
	"sync"

	"tandem/engine/clock"
)

const (
	// A block holds 64 packets of an ordinary MTU, and always one of any size.
	blockLen = 128 << 10

	// What a packet costs beside its octets: its entry in the block.
	packetCost = 64

	packetMax = 0xffff
)

// A block holds packets, one after the other.
type block struct {
	octets  [blockLen]byte
	used    int
	packets []packet
}

type packet struct {
	from   *Attachment
	at     clock.Time // when it was delivered
	octets []byte
}

// add copies a packet into the block, and reports whether it fitted.
func (b *block) add(from *Attachment, at clock.Time, pkt []byte) bool {
	if b.used+len(pkt) > blockLen {
		return false
	}
	to := b.octets[b.used : b.used+len(pkt)]
	copy(to, pkt)
	b.used += len(pkt)
	b.packets = append(b.packets, packet{from, at, to})
	return true
}

// getBlock returns an empty block.
func (e *Engine) getBlock() *block { return e.blocks.Get().(*block) }

// putBlock takes a block back. Its packets must not be used any more.
func (e *Engine) putBlock(b *block) {
	clear(b.packets)
	b.packets, b.used = b.packets[:0], 0
	e.blocks.Put(b)
}

// A call is a function for the loop to run, with the instant of its turn.
type call struct {
	f    func(now clock.Time)
	done chan<- error // with room for one: nil when f has run, or net.ErrClosed when it never will; may be nil
}

// letters are what a turn of the loop works through.
type letters struct {
	now    clock.Time // when they were taken: no earlier than any packet among them
	blocks []*block   // packets in the order in which they were delivered
	sends  []*block   // packets for the datagram lane, likewise
	calls  []call
	pokes  []*Conn
}

// mail is how everybody else reaches the loop. What is put in between two turns costs one wakeup,
// that of the first.
//
// Packets are stamped, and the instant of a turn is read, under the same lock: so the times with
// which the loop calls its machine never go back, although packets carry the time of their arrival.
type mail struct {
	engine *Engine
	inbox  int           // most octets of one path
	outbox int           // most octets for the datagram lane
	wake   chan struct{} // with room for one

	mu        sync.Mutex
	in        letters
	rung      bool // the loop has been woken for what is in
	closed    bool // nothing is taken any more
	overflows uint64

	sending    int // octets for the datagram lane, with packetCost for each packet
	outboxFull uint64
}

// ring wakes the loop unless it has been woken already. Preconditions: mu is held. The channel may be
// full still: of a wakeup for a turn that the loop began by itself, which will do as well.
func (m *mail) ring() {
	if !m.rung {
		m.rung = true
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
}

// deliver takes copies of packets that came in over a.
func (m *mail) deliver(a *Attachment, pkts [][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || a.detached {
		return
	}
	now := m.engine.now()
	for _, p := range pkts {
		cost := len(p) + packetCost
		if len(p) > packetMax || a.queued+cost > m.inbox {
			a.overflows++
			m.overflows++
			continue
		}
		a.queued += cost
		m.in.blocks = m.append(m.in.blocks, a, now, p)
	}
	if len(m.in.blocks) > 0 {
		m.ring()
	}
}

// call takes a call, and reports whether it will be answered.
func (m *mail) call(c call) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.in.calls = append(m.in.calls, c)
	m.ring()
	return true
}

// poke has the loop look at a connection.
func (m *mail) poke(c *Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.in.pokes = append(m.in.pokes, c)
	m.ring()
}

// take exchanges what has come in for letters that were worked through.
func (m *mail) take(done *letters) {
	for _, b := range done.blocks {
		m.engine.putBlock(b)
	}
	for _, b := range done.sends {
		m.engine.putBlock(b)
	}
	clear(done.blocks)
	clear(done.sends)
	clear(done.calls)
	clear(done.pokes)
	done.blocks, done.sends, done.calls, done.pokes = done.blocks[:0], done.sends[:0], done.calls[:0], done.pokes[:0]

	m.mu.Lock()
	defer m.mu.Unlock()
	*done, m.in = m.in, *done
	done.now = m.engine.now()
	for _, b := range done.blocks {
		for i := range b.packets {
			b.packets[i].from.queued = 0
		}
	}
	m.sending = 0
	m.rung = false
}

// close takes nothing any more. What came in before is left to take.
func (m *mail) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
}
