package capture

import (
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

const (
	synMax = 2048 // octets of a packet with a SYN; there is no TFO cookie for which it would carry much

	sweepEvery = time.Second

	// A SYN is repeated after 1 s, or 3 s on old systems, and then after twice as long each time, or as
	// long (RFC 6298 2). An application whose SYN is not, is gone.
	patience = 4 * time.Second
)

// flow is a connection as gVisor names it: local is the target.
type flow = stack.TransportEndpointID

// offers are the SYNs that nobody answered yet, those whose handshake goes on included.
type offers struct {
	max, perTargetMax int
	counters          *counters
	ready             chan *Offer // to be accepted by the caller; some may be gone

	mu      sync.Mutex
	waiting map[flow]*Offer
	targets map[netip.AddrPort]int // offers of each
	sweeper *time.Timer            // runs while any are waiting
	closed  bool
}

func newOffers(limit, perTarget int, n *counters) *offers {
	t := &offers{max: limit, perTargetMax: perTarget, counters: n, ready: make(chan *Offer, limit),
		waiting: map[flow]*Offer{}, targets: map[netip.AddrPort]int{}}
	t.sweeper = time.AfterFunc(sweepEvery, func() { t.sweep(time.Now()) })
	t.sweeper.Stop()
	return t
}

// segment is what gVisor does with a segment of no connection. It answers with a reset if that is false.
func (c *Capture) segment(id flow, pkt *stack.PacketBuffer) bool {
	segment := header.TCP(pkt.TransportHeader().Slice())
	switch flags := segment.Flags(); {
	case flags.Contains(header.TCPFlagRst):
		c.offers.reset(id, segment.SequenceNumber())
		return true
	case !flags.Contains(header.TCPFlagSyn) || flags.Contains(header.TCPFlagAck):
		return false
	}
	target, source := addrPort(id.LocalAddress, id.LocalPort), addrPort(id.RemoteAddress, id.RemotePort)
	switch {
	case pkt.Size() > synMax || source.Port() == 0 || target.Port() == 0:
		c.counters.malformed.Add(1)
		return true
	case target.Addr() == c.cfg.Addr4 || target.Addr() == c.cfg.Addr6:
		c.counters.own.Add(1)
		return true
	}
	o := &Offer{capture: c, id: id, source: source, target: target, isn: segment.SequenceNumber(),
		last: time.Now(), gone: make(chan struct{})}
	if !c.offers.add(o) {
		return true
	}
	view := pkt.ToView()
	o.syn = view.ToSlice()
	view.Release()
	if !c.forwarder.HandlePacket(id, pkt) {
		c.offers.remove(o)
		return false
	}
	return true
}

// asked is called by the forwarder, in a goroutine of its own, with a SYN that segment let pass.
func (c *Capture) asked(r *tcp.ForwarderRequest) {
	o := c.offers.hold(r)
	if o == nil {
		r.Complete(false)
		return
	}
	if why := c.refuses(o.target); why != nil {
		c.counters.refused.Add(1)
		o.Refuse(why)
		return
	}
	select {
	case c.offers.ready <- o:
		c.counters.offers.Add(1)
	default: // gone ones fill it, because nobody accepts
		c.counters.syns.Add(1)
		if o.take() {
			o.finish(false)
			c.handshakes.Done()
		}
	}
}

// add reports whether o is new and within the bounds. A SYN with another sequence number is of an
// application that gave the old connection up and took its port again.
func (t *offers) add(o *Offer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.waiting[o.id]; old != nil {
		if old.isn == o.isn || old.request == nil || old.answered {
			old.gap, old.last = o.last.Sub(old.last), o.last
			return false
		}
		t.withdraw(old)
	}
	switch {
	case t.closed:
		return false
	case len(t.waiting) >= t.max:
		t.counters.syns.Add(1)
		return false
	case t.targets[o.target] >= t.perTargetMax:
		t.counters.synsPerTarget.Add(1)
		return false
	}
	if len(t.waiting) == 0 {
		t.sweeper.Reset(sweepEvery)
	}
	t.waiting[o.id] = o
	t.targets[o.target]++
	return true
}

// hold gives the forwarder's request to its offer; nil if that is gone by now.
func (t *offers) hold(r *tcp.ForwarderRequest) *Offer {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.waiting[r.ID()]
	if o == nil || o.request != nil {
		return nil
	}
	o.request = r
	return o
}

// reset is the end of an offer that its application takes back.
func (t *offers) reset(id flow, seq uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o := t.waiting[id]; o != nil && !o.answered && seq-o.isn <= 1 {
		t.withdraw(o)
	}
}

// sweep withdraws offers whose SYNs are not repeated any more.
func (t *offers) sweep(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.waiting {
		if !o.answered && now.Sub(o.last) > patience+2*o.gap {
			t.withdraw(o)
		}
	}
	if len(t.waiting) > 0 && !t.closed {
		t.sweeper.Reset(sweepEvery)
	}
}

// withdraw: mu is held, and o waits.
func (t *offers) withdraw(o *Offer) {
	t.counters.gone.Add(1)
	t.drop(o)
	o.answered = true
	close(o.gone)
	if o.request != nil {
		o.request.Complete(false)
	}
}

// drop: mu is held.
func (t *offers) drop(o *Offer) {
	if t.waiting[o.id] != o {
		return
	}
	delete(t.waiting, o.id)
	if t.targets[o.target]--; t.targets[o.target] == 0 {
		delete(t.targets, o.target)
	}
}

// waits reports whether o can be answered.
func (t *offers) waits(o *Offer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !o.answered
}

func (t *offers) remove(o *Offer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(o)
}

func (t *offers) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.sweeper.Stop()
	for _, o := range t.waiting {
		if !o.answered {
			t.withdraw(o)
		}
	}
}

func addrPort(a tcpip.Address, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return netip.AddrPortFrom(addr, port)
}
