package capture

import (
	"fmt"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"tandem/tunnel/packet"
	"tandem/tunnel/relay"
)

// An Offer is a connection that an application asked for; it is a relay.Offer. It is answered once, with
// Accept or Refuse, by its application itself by going away, or at the end of Run.
type Offer struct {
	capture        *Capture
	id             flow
	source, target netip.AddrPort
	isn            uint32
	syn            []byte // the packet
	gone           chan struct{}

	// Under the lock of offers:
	last     time.Time     // when a SYN came
	gap      time.Duration // between the last two
	request  *tcp.ForwarderRequest
	answered bool
}

// Source is the application's address.
func (o *Offer) Source() netip.AddrPort { return o.source }

// Target is whom the application wants.
func (o *Offer) Target() netip.AddrPort { return o.target }

// Gone is closed when the application gave up, before the offer was answered.
func (o *Offer) Gone() <-chan struct{} { return o.gone }

// Accept completes the handshake with the application and waits for its end. It fails with an error that is
// net.ErrClosed when the offer is gone or was answered, and as Stream does when the handshake fails.
func (o *Offer) Accept() (relay.Stream, error) {
	if !o.take() {
		return nil, closed("accept", o.source)
	}
	defer o.capture.handshakes.Done()
	queue := new(waiter.Queue)
	ep, failed := o.request.CreateEndpoint(queue)
	o.finish(failed != nil)
	if failed != nil {
		return nil, fmt.Errorf("handshake with %v: %w", o.source, errno(failed))
	}
	o.capture.counters.accepted.Add(1)
	return newStream(queue, ep, o.source, o.target), nil
}

// Refuse answers the application as a host would for which dialing failed with why: with a reset, or with
// the ICMP error that says so.
func (o *Offer) Refuse(why error) {
	if !o.take() {
		return
	}
	defer o.capture.handshakes.Done()
	kind := packet.Why(why)
	reset := kind == 0 || kind == packet.NoPort || kind == packet.TooBig
	o.finish(reset || !o.capture.explain(o.target.Addr(), why, o.syn))
}

// take: Run waits for those who answer.
func (o *Offer) take() bool {
	t := o.capture.offers
	t.mu.Lock()
	defer t.mu.Unlock()
	if o.answered || t.closed {
		return false
	}
	o.answered = true
	o.capture.handshakes.Add(1)
	return true
}

// finish forgets the offer, with a reset or without.
func (o *Offer) finish(reset bool) {
	o.request.Complete(reset)
	o.capture.offers.remove(o)
}
