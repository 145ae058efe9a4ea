package native

import (
	"encoding/binary"

	"tandem/engine/wire"
)

const (
	// roomMax is how many octets of cut segments wait before they are handed on: what a few merged packets come to.
	roomMax = 256 << 10

	frameMax    = 1<<16 - 1 + 1<<10 // octets of an IP packet and what is before it
	ethernetLen = 14

	finPush = 0x09 // FIN and PSH, which only the last of merged segments may have had
	cwr     = 0x80
)

// An offload is what the kernel says of a frame: what was left to devices that here nobody does (struct virtio_net_hdr, in the
// byte order of this machine).
type offload struct {
	flags, kind   uint8
	size          uint16 // octets of payload in each of the segments merged, but the last
	start, offset uint16 // where what the checksum is of begins, from the frame's beginning, and from there where it stands
}

const (
	offloadLen = 10

	needsChecksum = 1 // of flags

	merged    = 1    // a kind: TCP over IPv4
	merged6   = 4    // TCP over IPv6
	mergedECN = 0x80 // with these: CWR was that of the first segment alone
)

func parseOffload(b *[offloadLen]byte) offload {
	return offload{flags: b[0], kind: b[1], size: binary.NativeEndian.Uint16(b[4:]),
		start: binary.NativeEndian.Uint16(b[6:]), offset: binary.NativeEndian.Uint16(b[8:])}
}

// An unpacker makes packets of what frames carry. Packets point into frames, or into its room.
type unpacker struct {
	deliver func(pkts [][]byte)
	tally   *tally
	pkts    [][]byte
	octets  int // of pkts
	room    []byte
}

func newUnpacker(deliver func([][]byte), t *tally) *unpacker {
	return &unpacker{deliver: deliver, tally: t, room: make([]byte, 0, roomMax)}
}

// flush hands on what waits.
func (u *unpacker) flush() {
	if len(u.pkts) > 0 {
		u.tally.received.Add(uint64(len(u.pkts)))
		u.tally.receivedOctets.Add(uint64(u.octets))
		u.deliver(u.pkts)
	}
	clear(u.pkts)
	u.pkts, u.octets, u.room = u.pkts[:0], 0, u.room[:0]
}

func (u *unpacker) keep(pkt []byte) {
	u.pkts = append(u.pkts, pkt)
	u.octets += len(pkt)
}

// add takes a frame whose IP header begins at an offset, with an IP packet that is no fragment. The frame must stay as it is until flush.
func (u *unpacker) add(frame []byte, at int, o offload) {
	if at > len(frame) {
		u.tally.malformed.Add(1)
		return
	}
	pkt := trim(frame[at:])
	switch kind := o.kind &^ mergedECN; {
	case pkt == nil:
		u.tally.malformed.Add(1)
	case kind == merged || kind == merged6:
		if !u.cut(pkt, o) {
			u.tally.malformed.Add(1)
		}
	case o.kind != 0 || o.flags&needsChecksum != 0 && !complete(pkt, int(o.start)-at, int(o.offset)):
		u.tally.malformed.Add(1)
	default:
		u.keep(pkt)
	}
}

// trim returns the packet without what devices pad it with, nil if there is none.
func trim(pkt []byte) []byte {
	total := 0
	switch {
	case len(pkt) < header4:
		return nil
	case pkt[0]>>4 == 4:
		total = int(binary.BigEndian.Uint16(pkt[2:]))
	case pkt[0]>>4 == 6 && len(pkt) >= header6:
		total = header6 + int(binary.BigEndian.Uint16(pkt[4:]))
	}
	if total < header4 || total > len(pkt) {
		return nil
	}
	return pkt[:total]
}

// complete makes the checksum of a packet's octets from start, where so far that of its pseudo-header stands.
func complete(pkt []byte, start, offset int) bool {
	if start < header4 || start+offset+2 > len(pkt) {
		return false
	}
	var s wire.Sum
	s.Add(pkt[start:])
	binary.BigEndian.PutUint16(pkt[start+offset:], s.Checksum())
	return true
}

// A pattern is a merged segment, seen as what its parts are made after.
type pattern struct {
	v4      bool
	ip      int    // octets of the IP header
	headers []byte // of IP and TCP
	payload []byte
	seq     uint32
	id      uint16 // of IPv4
	flags   uint8
	ecn     bool // CWR is the first's
}

func newPattern(pkt []byte, o offload) (p pattern, ok bool) {
	p = pattern{v4: pkt[0]>>4 == 4, ip: header6, ecn: o.kind&mergedECN != 0}
	protocol := 6
	if p.v4 {
		p.ip, protocol = int(pkt[0]&15)*4, 9
	}
	if p.ip < header4 || len(pkt) < p.ip+headerTCP || pkt[protocol] != protocolTCP {
		return p, false
	}
	n := p.ip + int(pkt[p.ip+12]>>4)*4
	if n < p.ip+headerTCP || n > len(pkt) {
		return p, false
	}
	p.headers, p.payload = pkt[:n], pkt[n:]
	p.id, p.seq, p.flags = binary.BigEndian.Uint16(pkt[4:]), binary.BigEndian.Uint32(pkt[p.ip+4:]), pkt[p.ip+13]
	return p, true
}

// cut makes segments of a merged one again, as they were before but for the identification of IPv4, which may have been anything.
func (u *unpacker) cut(pkt []byte, o offload) bool {
	p, ok := newPattern(pkt, o)
	size := int(o.size)
	if !ok || size == 0 {
		return false
	}
	n := max(1, (len(p.payload)+size-1)/size)
	for i := range n {
		from := i * size
		to := min(from+size, len(p.payload))
		if len(u.room)+len(p.headers)+to-from > cap(u.room) {
			u.flush()
		}
		begin := len(u.room)
		u.room = append(append(u.room, p.headers...), p.payload[from:to]...)
		part := u.room[begin:len(u.room):len(u.room)]
		p.write(part, i, from, i == n-1)
		u.keep(part)
	}
	u.tally.merged.Add(uint64(n))
	return true
}

// write makes the headers of a part whose payload begins at from in the whole.
func (p *pattern) write(part []byte, number, from int, last bool) {
	tcp := part[p.ip:]
	binary.BigEndian.PutUint32(tcp[4:], p.seq+uint32(from))
	flags := p.flags
	if !last {
		flags &^= finPush
	}
	if number > 0 && p.ecn {
		flags &^= cwr
	}
	tcp[13], tcp[16], tcp[17] = flags, 0, 0
	var s wire.Sum
	if p.v4 {
		binary.BigEndian.PutUint16(part[2:], uint16(len(part)))
		binary.BigEndian.PutUint16(part[4:], p.id+uint16(number))
		part[10], part[11] = 0, 0
		s.Add(part[:p.ip])
		binary.BigEndian.PutUint16(part[10:], s.Checksum())
		s = wire.Sum{}
		s.Add(part[12:20])
	} else {
		binary.BigEndian.PutUint16(part[4:], uint16(len(part)-header6))
		s.Add(part[8:40])
	}
	s.Add([]byte{0, protocolTCP, byte(len(tcp) >> 8), byte(len(tcp))})
	s.Add(tcp)
	binary.BigEndian.PutUint16(tcp[16:], s.Checksum())
}
