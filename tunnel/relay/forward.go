package relay

import (
	"net/netip"
	"time"

	"tandem/engine/wire"
	"tandem/tunnel/packet"
)

// forward takes a packet of the client as a router would: a hop less to live, and an answer if it goes no further.
func (d *Datagrams) forward(pkt []byte) {
	var p packet.Packet
	if err := p.Parse(pkt); err != nil || p.Fragment() || p.Source != d.host(p.Target.Is4()) {
		d.counts.malformed.Add(1)
		return
	}
	v4 := p.Target.Is4()
	toHub := p.Target == d.hub(v4)
	if !toHub && p.TTL <= 1 {
		d.complain(d.hub(v4), packet.Expired, 0, pkt)
		return
	}
	switch {
	case p.Protocol == wire.UDP:
		d.forwardUDP(&p, pkt, toHub)
	case p.Protocol == wire.ICMPv4 && v4, p.Protocol == wire.ICMPv6 && !v4:
		d.forwardEcho(&p, pkt, toHub)
	default:
		d.complain(d.hub(v4), packet.NoProtocol, 0, pkt)
	}
}

func (d *Datagrams) forwardUDP(p *packet.Packet, pkt []byte, toHub bool) {
	source, port, payload, err := p.UDP()
	switch {
	case err != nil || port == 0 || source == 0:
		d.counts.malformed.Add(1)
	case toHub && port == 53 && d.cfg.DNS != nil:
		d.ask(p, source, payload)
	case toHub:
		d.complain(p.Target, packet.NoPort, 0, pkt)
	default:
		k := key{v4: p.Target.Is4(), number: source}
		d.send(k, p, pkt, netip.AddrPortFrom(p.Target, port), "udp", payload, payload)
	}
}

func (d *Datagrams) forwardEcho(p *packet.Packet, pkt []byte, toHub bool) {
	e, err := p.Echo()
	switch {
	case err != nil || e.Reply:
		d.counts.malformed.Add(1)
	case toHub:
		e.Reply = true
		answer := packet.Packet{Source: p.Target, Target: p.Source, TOS: p.TOS, DF: true}
		b := d.batches.Get().(*batch)
		b.octets = answer.AppendEcho(b.octets, e)
		b.end()
		d.deliver(b)
	default:
		k := key{v4: p.Target.Is4(), echo: true, number: e.ID}
		// Errors tell of the message from its sequence number on: the identifier is another one outside.
		d.send(k, p, pkt, netip.AddrPortFrom(p.Target, 0), "icmp", p.Body, p.Body[6:])
	}
}

// send puts a message into the socket of k. Both it and what of it comes back in quotes are parts of pkt.
func (d *Datagrams) send(k key, p *packet.Packet, pkt []byte, target netip.AddrPort, network string, message, quoted []byte) {
	if err := d.cfg.Reach.allow(network, target); err != nil {
		d.counts.prohibited.Add(1)
		d.complain(d.hub(k.v4), packet.Prohibited, 0, pkt)
		return
	}
	now := time.Now()
	m, err := d.mapping(k, now)
	if err == nil {
		m.sends(now, target, pkt, cap(pkt)-cap(quoted), d.contacts())
		err = m.sock.send(message, target, hop{tos: p.TOS, ttl: p.TTL - 1, df: d.uncut(p, pkt)})
	}
	if err == nil {
		d.counts.sent.Add(1)
		d.counts.sentOctets.Add(uint64(len(message)))
		return
	}
	d.counts.failed.Add(1)
	kind, mtu := packet.Why(err), 0
	switch {
	case kind == packet.TooBig:
		mtu = mtuTo(target)
	case kind == 0, m == nil && kind == packet.Prohibited && !k.echo:
		return // for lack of something here
	}
	d.complain(d.hub(k.v4), kind, mtu, pkt)
}

// uncut reports whether a packet must not be cut on its way. IPv4 says so of itself. An IPv6 packet longer than the
// client's device takes came in fragments: its sender does already what it could be told, so here it is done again.
func (d *Datagrams) uncut(p *packet.Packet, pkt []byte) bool {
	return p.DF && (p.Target.Is4() || len(pkt) <= d.cfg.MTU)
}

// ask has the hub's resolver answer, beside everything else.
func (d *Datagrams) ask(p *packet.Packet, source uint16, query []byte) {
	select {
	case d.asking <- struct{}{}:
	default:
		d.counts.queueFull.Add(1)
		return
	}
	query = append([]byte(nil), query...)
	answer := packet.Packet{Source: p.Target, Target: p.Source, TOS: p.TOS, DF: true}
	d.running.Go(func() {
		defer func() { <-d.asking }()
		if text := d.cfg.DNS(d.ctx, query); text != nil {
			b := d.batches.Get().(*batch)
			b.octets = answer.AppendUDP(b.octets, 53, source, text)
			b.end()
			d.deliver(b)
		}
	})
}
