package lab

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"sync"

	"tandem/engine/wire"
)

// A spy hears what crosses a rig, and forges segments that fit there.
type spy struct {
	mu   sync.Mutex
	last [2][2]heardOf // by link, and by direction: away from the near end, towards it
	keys [2]uint64     // of the latest connection that began: the near end's, the far end's
	old  [2]uint64     // of the one before
	syns []wire.Segment
}

// heardOf is what is known of one direction of a subflow.
type heardOf struct {
	segment wire.Segment // the last one, without payload
	next    wire.Seq     // behind it
}

func direction(toNear bool) int {
	if toNear {
		return 1
	}
	return 0
}

// hear is for rigging.tap.
func (s *spy) hear(link int, toNear bool, pkt []byte) {
	var seg wire.Segment
	if seg.Parse(pkt) != nil || link > 1 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if seg.Flags.Has(wire.SYN|wire.ACK) && toNear && len(s.syns) < 1000 {
		s.syns = append(s.syns, seg)
	}
	if c := seg.Options.Capable; seg.Options.Has&wire.HasCapable != 0 && c.Length >= 20 && !toNear {
		if now := [2]uint64{c.Sender, c.Receiver}; now != s.keys {
			s.old, s.keys = s.keys, now
		}
	}
	if seg.Flags.Has(wire.RST) || toNear && seg.Target.Addr() != address(link, near, false) {
		return
	}
	next := seg.Seq.Add(seg.Len())
	if seg.Payload = nil; !seg.Flags.Has(wire.SYN) && s.last[link][direction(toNear)].next-next < 1<<31 {
		next = s.last[link][direction(toNear)].next
	}
	s.last[link][direction(toNear)] = heardOf{seg, next}
}

// forge returns an acknowledgement that fits into a subflow, with what change makes of it.
func (s *spy) forge(link int, toNear bool, change func(seg *wire.Segment)) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	like := s.last[link][direction(toNear)]
	seg := like.segment
	seg.Flags, seg.Options, seg.Payload = wire.ACK, wire.Options{}, nil
	seg.Seq, seg.Ack = like.next, s.last[link][direction(!toNear)].next
	change(&seg)
	return seg.Append(nil)
}

// stranger returns an address of which nobody has heard.
func stranger(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(113 + i>>8), byte(i)}), uint16(1024+i))
}

// asks returns a SYN with MP_JOIN from a stranger to the far end.
func (s *spy) asks(i int, token, nonce uint32) []byte {
	seg := wire.Segment{Source: stranger(i), Target: target, Seq: wire.Seq(1000 * i), Flags: wire.SYN, Window: 65535}
	seg.Options = wire.Options{Has: wire.HasMSS | wire.HasJoin, MSS: 1460, Join: wire.Join{Length: 12, AddressID: byte(100 + i), Token: token, Nonce: nonce}}
	return seg.Append(nil)
}

// answers returns the SYN/ACKs that went to an address, which none of both ends has.
func (s *spy) answers(to netip.AddrPort) (all []wire.Segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range s.syns {
		if seg.Target == to {
			all = append(all, seg)
		}
	}
	return all
}

// known returns the keys of the latest connection, or of the one before.
func (s *spy) known(before bool) (own, peer uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before {
		return s.old[0], s.old[1]
	}
	return s.keys[0], s.keys[1]
}

// replace puts other octets, as many, in place of an option, and mends the checksum.
func replace(pkt, option, by []byte) []byte {
	i := bytes.Index(pkt[40:], option)
	if i < 0 {
		return pkt
	}
	copy(pkt[40+i:], by)
	clear(pkt[36:38])
	var sum wire.Sum
	sum.Add(pkt[12:20])
	sum.Add([]byte{0, wire.TCP, byte((len(pkt) - 20) >> 8), byte(len(pkt) - 20)})
	sum.Add(pkt[20:])
	binary.BigEndian.PutUint16(pkt[36:], sum.Checksum())
	return pkt
}
