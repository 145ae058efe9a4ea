package native

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"tandem/engine/wire"
)

// A taker unpacks frames and keeps what is delivered.
type taker struct {
	*unpacker
	pkts [][]byte
	t    tally
}

func newTaker() *taker {
	k := &taker{}
	k.unpacker = newUnpacker(func(pkts [][]byte) {
		for _, pkt := range pkts {
			k.pkts = append(k.pkts, bytes.Clone(pkt))
		}
	}, &k.t)
	return k
}

// take unpacks a packet behind 14 octets, and returns the segments that come of it.
func (k *taker) take(t *testing.T, pkt []byte, o offload) []wire.Segment {
	t.Helper()
	k.pkts = nil
	k.add(append(make([]byte, ethernetLen), pkt...), ethernetLen, o)
	k.flush()
	var segments []wire.Segment
	for i, pkt := range k.pkts {
		var s wire.Segment
		if err := s.Parse(pkt); err != nil {
			t.Fatalf("segment %d of %d: %v", i, len(k.pkts), err)
		}
		segments = append(segments, s)
	}
	return segments
}

// big is a segment to here as it is when n octets of payload have been merged, with timestamps. Its checksum is unfinished.
func (p pair) big(n int, flags wire.Flags) (pkt []byte, payload string) {
	payload = strings.Repeat("0123456789ABCDE", n/15+1)[:n]
	s := wire.Segment{Seq: 1<<32 - 1000, Ack: 77, Flags: flags, Window: 500, TOS: 2, Payload: []byte(payload)}
	s.Source, s.Target = p.ports()
	s.Options.Has, s.Options.TSVal = wire.HasTimestamps, 99
	pkt = s.Append(nil)
	p.unfinish(pkt)
	return pkt, payload
}

// unfinish leaves the checksum to a device: so far it is that of the pseudo-header.
func (p pair) unfinish(pkt []byte) {
	tcp := pkt[p.headerLen:]
	var s wire.Sum
	s.Add(pkt[p.headerLen-2*p.here.BitLen()/8 : p.headerLen])
	s.Add([]byte{0, protocolTCP, byte(len(tcp) >> 8), byte(len(tcp))})
	binary.BigEndian.PutUint16(tcp[16:], ^s.Checksum())
}

// left is what the kernel says of a segment with payload in parts of size; 0: that is not merged.
func (p pair) left(size int) offload {
	o := offload{flags: needsChecksum, start: uint16(ethernetLen + p.headerLen), offset: 16, size: uint16(size)}
	if size > 0 {
		o.kind = map[bool]uint8{true: merged, false: merged6}[p.here.Is4()]
	}
	return o
}

func TestUnfinishedChecksum(t *testing.T) {
	for _, p := range pairs {
		for _, n := range []int{0, 1, 1399, 1400} {
			k := newTaker()
			pkt, payload := p.big(n, wire.ACK)
			length := len(pkt)
			got := k.take(t, append(pkt, "padding"...), p.left(0))
			if len(got) != 1 || len(k.pkts[0]) != length || string(got[0].Payload) != payload || got[0].Seq != 1<<32-1000 {
				t.Errorf("%s, %d octets: %+v", p.name, n, got)
			}
		}
	}
}

// TestFinishedChecksum: what came with a wrong checksum keeps it, for the engine to count.
func TestFinishedChecksum(t *testing.T) {
	for _, p := range pairs {
		k := newTaker()
		pkt := segment(p.there, p.here, 80, first, "data")
		pkt[len(pkt)-1]++
		k.add(pkt, 0, offload{})
		k.flush()
		if len(k.pkts) != 1 || !bytes.Equal(k.pkts[0], pkt) {
			t.Errorf("%s: %x, want %x", p.name, k.pkts, pkt)
		}
	}
}

func TestCut(t *testing.T) {
	const everything = wire.ACK | wire.PSH | wire.FIN | wire.CWR
	for _, p := range pairs {
		for _, c := range []struct {
			n, size int
			want    []int
		}{
			{4000, 1448, []int{1448, 1448, 1104}},
			{2896, 1448, []int{1448, 1448}},
			{100, 1448, []int{100}},
			{0, 1448, []int{0}},
			{3, 1, []int{1, 1, 1}},
			{64000, 1448, nil},
		} {
			k := newTaker()
			pkt, payload := p.big(c.n, everything)
			o := p.left(c.size)
			o.kind |= mergedECN
			got := k.take(t, pkt, o)
			seq := wire.Seq(1<<32 - 1000)
			text := ""
			for i, s := range got {
				want := wire.ACK
				if i == 0 {
					want |= wire.CWR
				}
				if i == len(got)-1 {
					want |= wire.PSH | wire.FIN
				}
				if s.Seq != seq || s.Flags != want || s.Ack != 77 || s.Window != 500 || s.Options.TSVal != 99 || s.TOS != 2 {
					t.Errorf("%s, %d in %d: segment %d is %+v", p.name, c.n, c.size, i, s)
				}
				if c.want != nil && len(s.Payload) != c.want[i] {
					t.Errorf("%s, %d in %d: segment %d has %d octets", p.name, c.n, c.size, i, len(s.Payload))
				}
				seq += wire.Seq(len(s.Payload))
				text += string(s.Payload)
			}
			if text != payload || c.want != nil && len(got) != len(c.want) {
				t.Errorf("%s, %d in %d: %d segments with %d octets", p.name, c.n, c.size, len(got), len(text))
			}
			if n := k.t.counters(); n.Merged != uint64(len(got)) || n.Received != uint64(len(got)) {
				t.Errorf("%s, %d in %d: %+v", p.name, c.n, c.size, n)
			}
		}
	}
}

// TestCutKeepsCWR: without word that it was the first's alone, CWR was that of all (accurate ECN).
func TestCutKeepsCWR(t *testing.T) {
	pkt, _ := pairs[0].big(2000, wire.ACK|wire.CWR)
	for i, s := range newTaker().take(t, pkt, pairs[0].left(1000)) {
		if !s.Flags.Has(wire.CWR) {
			t.Errorf("segment %d has no CWR", i)
		}
	}
}

// TestCutNumbers: the parts of a merged packet of IPv4 have numbers of their own.
func TestCutNumbers(t *testing.T) {
	pkt, _ := pairs[0].big(3000, wire.ACK)
	binary.BigEndian.PutUint16(pkt[4:], 0xffff)
	k := newTaker()
	k.take(t, pkt, pairs[0].left(1000))
	for i, want := range []uint16{0xffff, 0, 1} {
		if got := binary.BigEndian.Uint16(k.pkts[i][4:]); got != want {
			t.Errorf("segment %d has number %d, want %d", i, got, want)
		}
	}
}

// TestRoom: many merged packets at once are handed on before there is no room, in order.
func TestRoom(t *testing.T) {
	k := newTaker()
	deliveries := 0
	deliver := k.deliver
	k.deliver = func(pkts [][]byte) { deliveries++; deliver(pkts) }
	pkt, payload := pairs[0].big(64000, wire.ACK)
	for range 10 {
		k.add(pkt, 0, pairs[0].left(1000))
		k.add(segment(pairs[0].there, pairs[0].here, 80, first, "between"), 0, offload{})
	}
	k.flush()
	if cap(k.room) != roomMax || deliveries < 3 {
		t.Errorf("room grew to %d, %d deliveries", cap(k.room), deliveries)
	}
	if n := k.t.counters(); n.Merged != 640 || n.Received != 650 || len(k.pkts) != 650 {
		t.Fatalf("%+v, %d delivered", n, len(k.pkts))
	}
	for i, pkt := range k.pkts {
		var s wire.Segment
		if err := s.Parse(pkt); err != nil {
			t.Fatal(err)
		}
		want := "between"
		if i%65 < 64 {
			want = payload[i%65*1000:][:1000]
		}
		if string(s.Payload) != want {
			t.Fatalf("packet %d is %q", i, s.Payload)
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, p := range pairs {
		pkt, _ := p.big(3000, wire.ACK)
		o := p.left(1000)
		for _, c := range []struct {
			what string
			pkt  []byte
			at   int
			o    offload
		}{
			{"header behind the end", pkt, len(pkt) + 1, offload{}},
			{"nothing", nil, 0, offload{}},
			{"shorter than it says", pkt[:len(pkt)-1], 0, offload{}},
			{"neither family", with(pkt, 0, 0x55), 0, offload{}},
			{"in parts of nothing", pkt, 0, offload{kind: o.kind}},
			{"merged UDP", with(pkt, p.protocolAt, 17), 0, o},
			{"of no known kind", pkt, 0, offload{kind: 3, size: 1000}},
			{"TCP header too short", with(pkt, p.headerLen+12, 0x40), 0, o},
			{"TCP header too long", with(segment(p.there, p.here, 80, first, ""), p.headerLen+12, 0xf0), 0, o},
			{"checksum before the packet", append(make([]byte, 14), pkt...), 14, offload{flags: needsChecksum, start: 0, offset: 16}},
			{"checksum behind the packet", pkt, 0, offload{flags: needsChecksum, start: 0, offset: uint16(len(pkt))}},
			{"checksum of what is behind the packet", pkt, 0, offload{flags: needsChecksum, start: uint16(len(pkt)), offset: 0}},
		} {
			k := newTaker()
			k.add(c.pkt, c.at, c.o)
			k.flush()
			if n := k.t.counters(); n.Malformed != 1 || n.Received != 0 || len(k.pkts) != 0 {
				t.Errorf("%s, %s: %+v", p.name, c.what, n)
			}
		}
	}
}

func FuzzUnpack(f *testing.F) {
	for _, p := range pairs {
		pkt, _ := p.big(3000, wire.ACK)
		o := p.left(1000)
		f.Add(pkt, 0, o.flags, o.kind, o.size, o.start-ethernetLen, o.offset)
		f.Add(segment(p.there, p.here, 80, first, "data"), 0, uint8(0), uint8(0), uint16(0), uint16(0), uint16(0))
		f.Add(append(make([]byte, 14), pkt...), 14, uint8(needsChecksum), uint8(0), uint16(0), o.start, o.offset)
	}
	f.Fuzz(func(t *testing.T, frame []byte, at int, flags, kind uint8, size, start, offset uint16) {
		if len(frame) > frameMax || at < 0 {
			return
		}
		k := newTaker()
		k.add(frame, at, offload{flags, kind, size, start, offset})
		k.flush()
		n := k.t.counters()
		if n.Malformed+n.Received == 0 || n.Malformed > 0 && n.Received > 0 || int(n.Received) != len(k.pkts) {
			t.Fatalf("%+v, %d delivered", n, len(k.pkts))
		}
		for _, pkt := range k.pkts {
			if got := trim(pkt); len(got) != len(pkt) {
				t.Fatalf("delivered %d octets that say they are %d", len(pkt), len(got))
			}
		}
		// Segments that were cut are whole, and their checksums are right.
		for _, pkt := range k.pkts {
			var s wire.Segment
			if err := s.Parse(pkt); n.Merged > 0 && err == wire.ErrChecksum {
				t.Fatalf("wrong checksum: %x", pkt)
			}
		}
	})
}
