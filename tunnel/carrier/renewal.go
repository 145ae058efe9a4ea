package carrier

import (
	"sync/atomic"
	"time"
)

// renewPause is how long a handshake is let alone once it has begun. A second initiation makes the answer
// to the first worthless, and is itself ignored if it comes within 20 ms.
const renewPause = 500 * time.Millisecond

// A renewal knows of one peer when a handshake was begun, as far as WireGuard lets us know.
type renewal struct {
	origin time.Time
	began  atomic.Int64 // nanoseconds since origin; 0: not yet
	again  atomic.Bool  // asked for, and nothing was received since
}

// sent notes that a packet was sent, of which the first begins a handshake.
func (r *renewal) sent() {
	if r.began.Load() == 0 {
		r.began.Store(r.now())
	}
}

// received notes that a packet was received.
func (r *renewal) received() {
	if r.again.Load() {
		r.again.Store(false)
	}
}

// forget makes the next renewal begin at once, because nobody can have heard the last.
func (r *renewal) forget() { r.began.Store(0) }

func (r *renewal) now() int64 { return max(1, int64(time.Since(r.origin))) }

// renew forgets the session with a peer and shakes hands anew, unless that has just begun. What waits
// for a handshake that is asked for again is stale.
func (g guard) renew(peer Key, r *renewal) {
	now, began := r.now(), r.began.Load()
	if began > 0 && time.Duration(now-began) < renewPause {
		return
	}
	p := g.device.LookupPeer(peer.noise())
	if p == nil || !r.began.CompareAndSwap(began, now) {
		return
	}
	if r.again.Swap(true) {
		p.FlushStagedPackets()
	}
	p.ExpireCurrentKeypairs()
	p.SendHandshakeInitiation(false) // its error is logged; whoever waits for an answer asks again
}
