package mptcp

import (
	"net/netip"
	"time"

	"tandem/engine/clock"
	"tandem/engine/datagram"
	"tandem/engine/wire"
)

// DatagramConfig says how a Paired bond carries packets that are none of TCP: the datagram lane.
//
// Whatever path they take, the client's address in them is Host4 or Host6 for those who give packets to the
// bond and take them from it, at both ends. On its way a packet has the path's instead: Local at the client,
// Peer at the hub, and so have the packets that ICMP errors quote.
type DatagramConfig struct {
	Near         bool       // this end is the client
	Host4, Host6 netip.Addr // a family without is not carried
	Queue        int        // octets, with 64 for each packet, that wait to leave, and as many to be taken; 0 means 256 KiB
	Flows        int        // whose path is remembered; 0 means 4096
}

// datagrams is the datagram lane of a Paired bond.
//
//	SendPacket ─► flow ─► path ─► queue of the path ─► Host becomes the path's address ─► Transmit
//	Receive ─► source is the path's? ─► Host again ─► (hub: whole again) ─► NextPacket
type datagrams struct {
	cfg     DatagramConfig
	flows   flowTable
	queued  int            // cost of what waits to leave, over all paths
	in      datagram.Queue // waits for NextPacket
	held    int            // its cost
	parts   datagram.Reassembler
	id      uint32     // of what is cut next
	wokenAt clock.Time // when a connection that waited had its turn last
	view    wire.Packet
	buf     []byte // of a packet in the making
}

const (
	datagramQueue = 256 << 10 // what 20 Mbit/s bring in 100 ms
	datagramFlows = 4096

	// datagramWait is how long a packet may wait to leave: later most have been given up by who sent them.
	datagramWait = 100 * time.Millisecond
)

func newDatagrams(cfg DatagramConfig) *datagrams {
	if cfg.Queue == 0 {
		cfg.Queue = datagramQueue
	}
	if cfg.Flows == 0 {
		cfg.Flows = datagramFlows
	}
	return &datagrams{cfg: cfg, flows: newFlowTable(cfg.Flows)}
}

// DatagramCounters count the packets of the datagram lane, by what became of them.
type DatagramCounters struct {
	Sent, Received uint64 // carried; fragments count by themselves
	Malformed      uint64
	Refused        uint64 // TCP, the control lane, or an address that is not the host's
	Spoofed        uint64 // came with an address that is not the path's
	NoPath         uint64 // no path for its family works
	TooBig         uint64 // longer than the path takes and not to be cut: its sender was told
	Full           uint64 // found no room, or had to give way to what came later
	Late           uint64 // waited too long
	Incomplete     uint64 // datagrams of which a fragment was missing
	Untaken        uint64 // found no room for want of NextPacket
}

// host is the client's address of the family for those outside.
func (d *datagrams) host(four bool) netip.Addr {
	if four {
		return d.cfg.Host4
	}
	return d.cfg.Host6
}

// alias is the client's address of the family on a path, and whether the path carries the family.
func (d *datagrams) alias(p *bondPath, four bool) (client, hub netip.Addr, ok bool) {
	client, hub = p.cfg.Local6, p.cfg.Peer6
	if four {
		client, hub = p.cfg.Local4, p.cfg.Peer4
	}
	ok = client.IsValid() && hub.IsValid()
	if !d.cfg.Near {
		client, hub = hub, client
	}
	return client, hub, ok
}

// SendPacket has the datagram lane carry a whole IP packet, of which it takes a copy, to the other end. What
// it cannot carry is dropped and counted.
func (b *Bond) SendPacket(now clock.Time, pkt []byte) {
	d, n := b.datagrams, &b.counters.Datagrams
	if d == nil {
		n.NoPath++
		return
	}
	v := &d.view
	if v.Parse(pkt) != nil {
		n.Malformed++
		return
	}
	pkt = pkt[:v.Length()]
	host := v.Target
	if d.cfg.Near {
		host = v.Source
	}
	if v.Protocol == wire.TCP || host != d.host(v.Source.Is4()) {
		n.Refused++
		return
	}
	p := b.route(now, v)
	if p == nil {
		n.NoPath++
		return
	}
	if _, hub, _ := d.alias(p, v.Source.Is4()); v.Target == hub && v.Protocol == wire.UDP && v.To == datagram.Port {
		n.Refused++
		return
	}
	if most := p.mtu(); len(pkt) > most {
		b.divide(now, p, pkt, most)
		return
	}
	b.enqueue(now, p, pkt)
}

// mtu is the longest packet that the path takes.
func (p *bondPath) mtu() int { return p.state.MTU() }

// divide deals with a packet that is longer than its path takes: it is cut, unless its sender can be told
// and wants to be.
func (b *Bond) divide(now clock.Time, p *bondPath, pkt []byte, most int) {
	d, v := b.datagrams, &b.datagrams.view
	if d.cfg.Near && v.Whole && !(v.Source.Is6() && most < leastMTU6) {
		b.counters.Datagrams.TooBig++
		_, hub, _ := d.alias(p, v.Source.Is4())
		if d.buf = v.AppendTooBig(d.buf[:0], pkt, hub, most); len(d.buf) > 0 {
			b.arrived(now, d.buf)
		}
		return
	}
	d.id++
	for at, next := 0, 0; ; at = next {
		d.buf, next = v.Cut(d.buf[:0], pkt, at, most, d.id)
		if len(d.buf) == 0 {
			b.counters.Datagrams.Malformed++ // more headers than a fragment holds
			return
		}
		b.enqueue(now, p, d.buf)
		if next == 0 {
			return
		}
	}
}

// leastMTU6 is what every path takes for those who send IPv6 (RFC 8200 5).
const leastMTU6 = 1280

// NextPacket returns the oldest packet that came over the lane and was not returned yet. It may be used
// until the next call of Receive or SendPacket.
func (b *Bond) NextPacket() (pkt []byte, ok bool) {
	d := b.datagrams
	if d == nil {
		return nil, false
	}
	if pkt, _, ok = d.in.Front(); ok {
		d.in.Pop()
		d.held -= datagram.Cost(len(pkt))
	}
	return pkt, ok
}

// arrived keeps a packet for NextPacket, and returns the copy.
func (b *Bond) arrived(now clock.Time, pkt []byte) []byte {
	d := b.datagrams
	if d.held+datagram.Cost(len(pkt)) > d.cfg.Queue {
		b.counters.Datagrams.Untaken++
		return nil
	}
	d.held += datagram.Cost(len(pkt))
	return d.in.Push(now, pkt)
}

// receiveOther takes a packet that is no segment: of one of the lanes, or of ICMP about a segment. It reports
// whether it was for anybody.
func (b *Bond) receiveOther(now clock.Time, p *bondPath, pkt []byte) bool {
	if b.lane == nil {
		return b.tooBig(now, pkt)
	}
	v := &b.datagrams.view
	switch {
	case v.Parse(pkt) != nil || v.Protocol == wire.TCP:
		return false
	case p.hears(v):
		if !b.lane.receive(now, p, pkt) {
			return false
		}
		b.hear(now)
	case !v.Error || !b.tooBig(now, pkt):
		b.receiveDatagram(now, p, pkt[:v.Length()])
	}
	return true
}

// receiveDatagram takes a packet of the datagram lane, which was parsed.
func (b *Bond) receiveDatagram(now clock.Time, p *bondPath, pkt []byte) {
	d, v, n := b.datagrams, &b.datagrams.view, &b.counters.Datagrams
	four := v.Source.Is4()
	client, _, ok := d.alias(p, four)
	host := d.host(four)
	claimed := v.Source
	if d.cfg.Near {
		claimed = v.Target
	}
	if !ok || !host.IsValid() || claimed != client {
		n.Spoofed++
		return
	}
	n.Received++
	b.lane.control.Got(datagram.PathID(p.id), len(pkt))
	b.alive(now, p)
	if v.Fragment && !d.cfg.Near {
		before := d.parts.Lost()
		whole, ok := d.parts.Add(now, v, pkt)
		n.Incomplete += d.parts.Lost() - before
		if !ok || v.Parse(whole) != nil {
			return
		}
		pkt = whole
	}
	if own := b.arrived(now, pkt); own != nil {
		v.Readdress(own, client, host)
	}
}
