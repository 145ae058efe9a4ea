package sim

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// malloryPort is where mallory's connection goes.
const malloryPort = 666

// A mallory is a Machine with a connection of its own with the server, of which it knows all keys, and abuses it: it
// joins in others' names, announces addresses without end, maps what it never sends, sends out of order and in
// contradiction, acknowledges what never came, limits, and begins connections with cookies that it was never given.
type mallory struct {
	attacker *Attacker
	source   netip.AddrPort
	target   netip.AddrPort
	key      uint64
	peerKey  uint64
	token    uint32
	own, his wire.DSN // initial data sequence numbers
	iss      wire.Seq
	seq, ack wire.Seq // behind what was said and heard
	phase    uint8    // 0: no SYN yet, 1: SYN, 2: connected
	at       clock.Time
	queue    [][]byte
	segment  wire.Segment
}

// malloryAddr is mallory's address, or one of those that it says are.
func malloryAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}) }

// evilPeer adds mallory and its path to a stage.
func (s *Stage) evilPeer(a *Attacker) {
	m := &mallory{
		attacker: a, source: netip.AddrPortFrom(malloryAddr(0), 40000), target: netip.AddrPortFrom(serverAddr(0, false), malloryPort),
		key: a.Dice.Uint64(), iss: wire.Seq(a.Dice.Uint32()), at: a.From,
	}
	m.seq = m.iss
	_, m.own = wire.KeyToken(m.key)
	good := Conditions{Rate: 10e6, Delay: 5 * time.Millisecond, QueueTime: 50 * time.Millisecond}
	host := s.NewHost("mallory", m)
	host.Hostile = true
	p := s.NewPath("mallory", host, 0, s.Server.host, 0, good, good)
	for i := range 256 {
		p.Names = append(p.Names, malloryAddr(i))
	}
	s.Server.Hostile = malloryPort
}

// Receive: see mptcp.Machine.
func (m *mallory) Receive(now clock.Time, _ mptcp.PathID, pkt []byte) {
	s := &m.segment
	if s.Parse(pkt) != nil || s.Target != m.source || s.Flags.Has(wire.RST) {
		return
	}
	if c := &s.Options.Capable; s.Flags.Has(wire.SYN) && m.phase == 1 && s.Options.Has&wire.HasCapable != 0 {
		m.phase, m.seq, m.ack, m.peerKey = 2, m.seq+1, s.Seq+1, c.Sender
		m.token, m.his = wire.KeyToken(m.peerKey)
		m.say(func(s *wire.Segment) {
			s.Options.Has |= wire.HasCapable
			s.Options.Capable = wire.Capable{Length: 20, Version: 1, Flags: wire.HMACSHA256, Sender: m.key, Receiver: m.peerKey}
		})
		m.say(func(s *wire.Segment) { m.carry(s, 0, 0, 20) })
		m.seq = m.seq.Add(20)
	}
	if end := s.Seq.Add(s.Len()); m.phase == 2 && m.ack.Less(end) && m.attacker.Dice.IntN(2) == 0 {
		m.ack = end
	}
}

// say queues a segment of the connection.
func (m *mallory) say(what func(s *wire.Segment)) {
	s := wire.Segment{Source: m.source, Target: m.target, Seq: m.seq, Ack: m.ack, Flags: wire.ACK, Window: 65535}
	what(&s)
	m.queue = append(m.queue, s.Append(nil))
	m.attacker.Forged++
}

// carry gives a segment n octets at some place of the subflow, and another of the stream.
func (m *mallory) carry(s *wire.Segment, at, pos, n int) {
	s.Seq = m.iss.Add(1 + at)
	s.Payload = make([]byte, n)
	s.Options.Has |= wire.HasDSS
	s.Options.DSS = wire.DSS{
		HasAck: true, Ack64: true, Ack: m.his.Add(1), HasMap: true, Map64: true, DSN: m.own.Add(1 + pos), SSN: uint32(1 + at), DataLen: uint16(n),
	}
}

// Advance: see mptcp.Machine.
func (m *mallory) Advance(now clock.Time) {
	m.at = now.Add(m.attacker.Every)
	switch {
	case now > m.attacker.Until:
		m.at = clock.Never
	case m.phase < 2:
		m.phase = 1
		m.say(func(s *wire.Segment) {
			s.Flags, s.Ack, s.Options.Has = wire.SYN, 0, wire.HasCapable
			s.Options.Capable = wire.Capable{Length: 4, Version: 1, Flags: wire.HMACSHA256}
		})
	default:
		m.say(m.abuse)
	}
}

// abuse makes a segment that no honest peer sends.
func (m *mallory) abuse(s *wire.Segment) {
	dice := m.attacker.Dice
	o := &s.Options
	switch dice.IntN(12) {
	case 0, 1:
		m.join(dice, s)
	case 2:
		o.Has = wire.HasAddAddr
		o.AddAddr = wire.AddAddr{ID: byte(dice.Uint32()), Addr: malloryAddr(dice.IntN(256))}
		o.AddAddr.MAC = wire.AddAddrMAC(m.key, m.peerKey, o.AddAddr.ID, o.AddAddr.Addr, 0)
	case 3:
		m.carry(s, 20+dice.IntN(200_000), 20+dice.IntN(200_000), 1+dice.IntN(1000))
	case 4:
		m.carry(s, 20+2*dice.IntN(5000), 20+dice.IntN(10_000_000), 1)
		o.DSS.DataLen = uint16(1 + dice.IntN(65535))
		o.DSS.Fin = dice.IntN(4) == 0
	case 5:
		o.Has = wire.HasDSS
		o.DSS = wire.DSS{HasAck: true, Ack64: true, Ack: m.his.Add(dice.IntN(1 << 30))}
		s.Ack = s.Ack.Add(dice.IntN(1 << 20))
	case 6:
		o.Has = wire.HasRemoveAddr
		o.RemoveAddr = wire.RemoveAddr{N: 2, IDs: [8]uint8{byte(dice.IntN(256)), byte(dice.IntN(3))}}
	case 7:
		o.Has = wire.HasFastClose
		o.CloseKey = dice.Uint64()
	case 8, 9:
		m.attacker.draft([]Attack{Throttles, Idles, Misleads, Merges}[dice.IntN(4)], o)
	case 10:
		o.Has = wire.HasRateLimit // and that is none at all
	case 11:
		m.hasten(dice, s)
	}
}

// hasten begins another connection with octets at once.
func (m *mallory) hasten(dice *rand.Rand, s *wire.Segment) {
	s.Source = netip.AddrPortFrom(malloryAddr(1+dice.IntN(255)), uint16(1024+dice.IntN(60000)))
	s.Flags, s.Seq, s.Ack = wire.SYN, wire.Seq(dice.Uint32()), 0
	hasten(dice, s)
}

// join is MP_JOIN from another address: the SYN, or a third ACK that is made up.
func (m *mallory) join(dice *rand.Rand, s *wire.Segment) {
	s.Source = netip.AddrPortFrom(malloryAddr(1+dice.IntN(255)), uint16(1024+dice.IntN(60000)))
	s.Flags, s.Seq, s.Ack = wire.SYN, wire.Seq(dice.Uint32()), 0
	s.Options.Has = wire.HasJoin
	s.Options.Join = wire.Join{Length: 12, AddressID: byte(dice.Uint32()), Token: m.token, Nonce: dice.Uint32()}
}

// Deadline: see mptcp.Machine.
func (m *mallory) Deadline() clock.Time { return m.at }

// Transmit: see mptcp.Machine.
func (m *mallory) Transmit(_ clock.Time, buf []byte) (mptcp.PathID, []byte, bool) {
	if len(m.queue) == 0 {
		return 0, nil, false
	}
	pkt := append(buf[:0], m.queue[0]...)
	m.queue = m.queue[1:]
	return 0, pkt, true
}
