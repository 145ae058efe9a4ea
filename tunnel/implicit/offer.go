package implicit

import (
	"errors"
	"net/netip"

	"tandem/tunnel/relay"
)

// An Asked is what a bond makes of a SYN that was delivered to it.
type Asked interface {
	Source() netip.AddrPort
	Target() netip.AddrPort
	Accept() (relay.Stream, error)
	Ignore() error // forgets it without a word
	Gone() <-chan struct{}
}

// Offer returns what is asked for as an offer for a relay, which in place of refusing it steps aside.
func (p *Proxy) Offer(a Asked) relay.Offer {
	key := flowKey{a.Source(), a.Target()}
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.flows[key]
	if f != nil {
		f.gone = a.Gone()
	}
	return &offer{a, p, key, f}
}

// An offer is one that can be given back to the target.
type offer struct {
	Asked
	proxy *Proxy
	key   flowKey
	flow  *flow // nil: it was given back before it came here
}

var errGivenBack = errors.New("the connection is the target's by now")

// Accept is part of relay.Offer.
func (o *offer) Accept() (relay.Stream, error) {
	if !o.proxy.keep(o.key, o.flow) {
		o.Ignore()
		return nil, errGivenBack
	}
	return o.Asked.Accept()
}

// keep makes a flow the proxy's for good, unless it is not any more.
func (p *Proxy) keep(key flowKey, f *flow) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f == nil || p.flows[key] != f || f.syn == nil {
		return false
	}
	f.syn = nil
	p.bear(key.client.Addr(), 0, -1)
	p.counters.Taken++
	return true
}

// Refuse is part of relay.Offer: the target shall answer itself. A SYN that is repeated meanwhile may make another offer of
// the same flow; that one is then given back too.
func (o *offer) Refuse(why error) {
	left := o.Ignore() != nil
	if syn := o.proxy.giveBack(o.key, o.flow, why); syn != nil && !left {
		o.proxy.cfg.Forward([][]byte{syn})
	}
}

// giveBack returns the SYN of a flow that is the proxy's no more.
func (p *Proxy) giveBack(key flowKey, f *flow, why error) (syn []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f == nil || p.flows[key] != f || f.syn == nil {
		return nil
	}
	p.drop(key, f)
	if errors.Is(why, errSpeaks) {
		p.counters.Stepped++
	} else {
		p.counters.Failed++
		p.cfg.Log.Debug("a target was not connected to, and its client is on its own", "target", key.target, "err", why)
	}
	return f.syn
}

// drop forgets a flow. mu is held.
func (p *Proxy) drop(key flowKey, f *flow) {
	delete(p.flows, key)
	pending := 0
	if f.syn != nil {
		pending = 1
	}
	p.bear(key.client.Addr(), -1, -pending)
}
