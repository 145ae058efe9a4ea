package implicit

import (
	"bytes"
	"net/netip"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// A verdict is what becomes of a packet.
type verdict uint8

const (
	forward verdict = iota
	deliver
	discard
)

// Receive sorts whole IP packets that came from clients: those of the proxy's connections, and subflows that come to its
// own addresses, are delivered, all others forwarded, in order. One goroutine at a time may call it.
func (p *Proxy) Receive(pkts [][]byte) {
	now := p.cfg.Now()
	from, was := 0, forward
	for i, pkt := range pkts {
		v := p.judge(now, pkt)
		if v != was {
			p.hand(pkts[from:i], was)
			from, was = i, v
		}
	}
	p.hand(pkts[from:], was)
}

// hand passes on packets that follow each other and have one verdict.
func (p *Proxy) hand(pkts [][]byte, v verdict) {
	switch {
	case len(pkts) == 0:
	case v == deliver:
		p.cfg.Deliver(pkts)
	case v == forward:
		p.cfg.Forward(pkts)
	}
}

func (p *Proxy) judge(now clock.Time, pkt []byte) verdict {
	source, target, protocol, err := wire.Addresses(pkt)
	p.mu.Lock()
	defer p.mu.Unlock()
	v := forward
	switch key := (flowKey{source, target}); {
	case p.own[target.Addr()]:
		v = own(pkt, protocol, err)
	case err != nil: // it is not the proxy's to judge
	case protocol == wire.TCP && p.takes(now, key, pkt), protocol != wire.TCP && p.complains(pkt):
		v = deliver
	}
	switch v {
	case deliver:
		p.counters.Delivered++
	case forward:
		p.counters.Forwarded++
	}
	return v
}

// own is what becomes of a packet for the proxy's own addresses. At these there is nothing but subflows: forwarded it
// would come back.
func own(pkt []byte, protocol uint8, err error) verdict {
	var seg wire.Segment
	switch {
	case err != nil:
		return discard
	case protocol != wire.TCP:
		if m, err := wire.ParseICMP(pkt); err != nil || m.Protocol != wire.TCP {
			return discard
		}
		return deliver
	case seg.Parse(pkt) != nil:
		return discard
	case seg.Flags&(wire.SYN|wire.ACK) == wire.SYN && seg.Options.Has&wire.HasJoin == 0:
		return discard
	}
	return deliver
}

// takes reports whether a segment is of a connection of the proxy's, and makes it one that opens such a one.
func (p *Proxy) takes(now clock.Time, key flowKey, pkt []byte) bool {
	f, syn := p.flows[key], opens(pkt)
	if f != nil && syn && f.over() {
		p.drop(key, f)
		f = nil
	}
	if f != nil {
		f.heard = now
		return true
	}
	if !syn || !asks(key, pkt) {
		return false
	}
	p.sweep(now)
	switch {
	case !p.cache.Via(now, netip.AddrPort{}, key.target): // of converters it knows none
		p.counters.Bypassed++
	case p.full(key.client.Addr()):
		p.counters.Full++
	default:
		p.flows[key] = &flow{syn: bytes.Clone(pkt), heard: now}
		p.bear(key.client.Addr(), 1, 1)
		return true
	}
	return false
}

// opens reports whether a TCP segment is a SYN without ACK. Behind extension headers of IPv6 it is not looked for.
func opens(pkt []byte) bool {
	const header4, header6, flags = 20, 40, 13
	at := header6
	if pkt[0]>>4 == 4 {
		at = max(int(pkt[0]&15)*4, header4)
	} else if pkt[6] != wire.TCP {
		return false
	}
	return len(pkt) > at+flags && wire.Flags(pkt[at+flags])&(wire.SYN|wire.ACK|wire.RST|wire.FIN) == wire.SYN
}

// asks reports whether a SYN is that of a client that speaks Multipath TCP, to one single target.
func asks(key flowKey, pkt []byte) bool {
	var seg wire.Segment
	if seg.Parse(pkt) != nil || !key.target.Addr().IsGlobalUnicast() || key.target.Port() == 0 {
		return false
	}
	o := &seg.Options
	const must, mustNot = wire.HMACSHA256, wire.Extensible
	return o.Has&wire.HasCapable != 0 && o.Has&wire.HasJoin == 0 && o.Capable.Length == 4 && o.Capable.Version >= 1 &&
		o.Capable.Flags&(must|mustNot) == must
}

// complains reports whether a packet is an ICMP error about a segment that was sent in a target's name.
func (p *Proxy) complains(pkt []byte) bool {
	m, err := wire.ParseICMP(pkt)
	return err == nil && m.Protocol == wire.TCP && p.flows[flowKey{m.Target, m.Source}] != nil
}

// over reports whether the connection has ended.
func (f *flow) over() bool {
	select {
	case <-f.gone:
		return true
	default:
		return false
	}
}

// sweep forgets flows that have been over for long enough, and those of which no bond made an offer.
func (p *Proxy) sweep(now clock.Time) {
	if now.Sub(p.swept) < sweepTime {
		return
	}
	p.swept = now
	for key, f := range p.flows {
		if now.Sub(f.heard) >= flowTime && (f.gone == nil || f.over()) {
			p.drop(key, f)
		}
	}
}
