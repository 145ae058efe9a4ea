package engine

import (
	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// Event is something that the owner of a Paired bond should know, EventKind says what; ByeReason is why an
// end stops. DatagramConfig says how a bond carries packets that are none of TCP. Families are the address
// families that an end has a tested route for.
type (
	Event          = mptcp.Event
	EventKind      = mptcp.EventKind
	ByeReason      = mptcp.ByeReason
	DatagramConfig = mptcp.DatagramConfig
	Families       = mptcp.Families
)

// The events.
const (
	HelloHeard = mptcp.HelloHeard // the peer says who it is, or something new; Changed: another process than before; Families
	ByeHeard   = mptcp.ByeHeard   // the peer stops; Bye: why
	PathSilent = mptcp.PathSilent // a sign of life was asked for, and none came in time
	PathAlive  = mptcp.PathAlive  // one came: after a silence, or because of Ping; RTT: smoothed
)

// The reasons to stop.
const (
	ByeShutdown = mptcp.ByeShutdown
	ByeRevoked  = mptcp.ByeRevoked // this peer is not welcome any more
)

// The families.
const (
	IPv4 = mptcp.IPv4
	IPv6 = mptcp.IPv6
)

// packetsDefault is how many octets of packets wait for the loop, unless DatagramConfig.Queue says.
const packetsDefault = 256 << 10

// SendPackets has a Paired bond carry whole IP packets that are none of TCP to the other end, of which it takes
// copies: see DatagramConfig. It does not wait: what finds no room is dropped and counted.
func (b *Bond) SendPackets(pkts [][]byte) { b.mail.send(pkts) }

// Ping asks every path for a sign of life now. Events tell the results. It does not wait.
func (b *Bond) Ping() { b.post(b.machine.Ping) }

// SetFamilies tells a Paired peer which families this end has a tested route for now; 0: both. The peer's
// come with HelloHeard. It does not wait.
func (b *Bond) SetFamilies(f Families) {
	b.post(func(now clock.Time) { b.machine.SetFamilies(now, f) })
}

// send takes copies of packets for the datagram lane.
func (m *mail) send(pkts [][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	now := m.engine.now()
	for _, p := range pkts {
		cost := len(p) + packetCost
		if len(p) > packetMax || m.sending+cost > m.outbox {
			m.outboxFull++
			continue
		}
		m.sending += cost
		m.in.sends = m.append(m.in.sends, nil, now, p)
	}
	if len(m.in.sends) > 0 {
		m.ring()
	}
}

// append copies a packet to the end of blocks.
func (m *mail) append(blocks []*block, from *Attachment, at clock.Time, pkt []byte) []*block {
	if n := len(blocks); n > 0 && blocks[n-1].add(from, at, pkt) {
		return blocks
	}
	b := m.engine.getBlock()
	b.add(from, at, pkt)
	return append(blocks, b)
}

// carry gives the machine the packets that are to be sent.
func (b *Bond) carry(in *letters) {
	for _, block := range in.sends {
		for _, p := range block.packets {
			b.machine.SendPacket(in.now, p.octets)
		}
		b.hand()
	}
}

// hand passes on the packets that came over the datagram lane.
func (b *Bond) hand() {
	for {
		pkt, ok := b.machine.NextPacket()
		if !ok {
			break
		}
		b.handed = append(b.handed, pkt)
	}
	if len(b.handed) == 0 {
		return
	}
	if b.packets != nil {
		b.packets(b.handed)
	} else {
		b.packetsLost += uint64(len(b.handed))
	}
	clear(b.handed)
	b.handed = b.handed[:0]
}

// news passes on what the machine has to tell of the peer and the paths.
func (b *Bond) news() {
	for {
		e, ok := b.machine.NextEvent()
		if !ok {
			return
		}
		if b.event != nil {
			b.event(e)
		}
	}
}
