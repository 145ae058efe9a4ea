package relay

import (
	"net/netip"
	"time"

	"tandem/tunnel/packet"
)

// An arrival is what a socket has heard: a datagram, or that one of ours went nowhere.
type arrival struct {
	from    netip.AddrPort // who sent it; of an error: whom ours was for. The port of echoes is 0.
	payload []byte         // of an error: what is left of ours. Valid until the next arrival.
	tos     uint8
	ttl     uint8 // 0: not known

	why      packet.Kind // not 0: an error
	mtu      int         // of TooBig
	offender netip.Addr  // who says so; may be unknown
}

// A batch is what one look at a socket brings the client.
type batch struct {
	octets []byte
	ends   []int // of packets in octets
	pkts   [][]byte
}

const (
	batchPackets = 32
	batchOctets  = 256 << 10 // kept in a pool
)

// hear is the goroutine of a mapping's socket.
func (d *Datagrams) hear(m *mapping) {
	for {
		var b *batch
		err := m.sock.read(batchPackets, func(a *arrival) {
			if b == nil {
				b = d.batches.Get().(*batch)
			}
			d.arrive(b, m, a)
		})
		if b != nil {
			d.deliver(b)
		}
		if err != nil {
			return
		}
	}
}

// deliver sends what is in a batch and gives the batch back.
func (d *Datagrams) deliver(b *batch) {
	at := 0
	for _, end := range b.ends {
		b.pkts = append(b.pkts, b.octets[at:end])
		at = end
	}
	if len(b.pkts) > 0 {
		d.cfg.Send(b.pkts)
	}
	if cap(b.octets) <= batchOctets {
		b.octets, b.ends, b.pkts = b.octets[:0], b.ends[:0], b.pkts[:0]
		d.batches.Put(b)
	}
}

// arrive adds to a batch the packet that the client gets of an arrival.
func (d *Datagrams) arrive(b *batch, m *mapping, a *arrival) {
	switch {
	case a.why != 0:
		d.arriveError(b, m, a)
		return
	case !m.wants(a.from.Addr()):
		d.counts.filtered.Add(1)
		return
	}
	m.use(time.Now())
	p := packet.Packet{Source: a.from.Addr(), Target: d.host(m.key.v4), TOS: a.tos, TTL: 64, DF: true}
	if a.ttl > 0 {
		p.TTL = max(a.ttl, 2) - 1
	}
	at := len(b.octets)
	if m.key.echo {
		b.octets = appendEcho(b.octets, &p, m.key.number, a.payload)
	} else {
		b.octets = p.AppendUDP(b.octets, a.from.Port(), m.key.number, a.payload)
	}
	if len(b.octets) == at {
		d.counts.malformed.Add(1)
		return
	}
	d.counts.received.Add(1)
	d.counts.receivedOctets.Add(uint64(len(a.payload)))
	b.end()
}

// appendEcho turns an ICMP echo reply as a socket gives it into a packet with the client's identifier.
func appendEcho(buf []byte, p *packet.Packet, id uint16, message []byte) []byte {
	if len(message) < 8 {
		return buf
	}
	seq := uint16(message[6])<<8 | uint16(message[7])
	return p.AppendEcho(buf, packet.Echo{Reply: true, ID: id, Seq: seq, Payload: message[8:]})
}

// end makes a packet of what was appended behind the last.
func (b *batch) end() { b.ends = append(b.ends, len(b.octets)) }

// arriveError tells the client what became of a packet of its, in the words of who complained. Without a
// quote that the client knows there is nothing to tell.
func (d *Datagrams) arriveError(b *batch, m *mapping, a *arrival) {
	about := m.quote(a.from, a.payload)
	from := a.offender
	if !from.IsValid() {
		from = d.hub(m.key.v4)
	}
	at := len(b.octets)
	b.octets = packet.AppendError(b.octets, from, a.why, a.mtu, about)
	if len(b.octets) == at {
		d.counts.filtered.Add(1)
		return
	}
	d.counts.errors.Add(1)
	b.end()
}
