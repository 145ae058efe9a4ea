package wire

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"testing"
)

// mend makes the checksums of a packet right as far as it has any, so that fuzzing gets past them.
func mend(pkt []byte) []byte {
	if len(pkt) >= ip4Len && pkt[0]>>4 == 4 && len(pkt) >= int(pkt[0]&15)*4 && pkt[0]&15 >= 5 {
		mendIP(pkt)
	}
	var e envelope
	if e.parse(pkt, false) != nil {
		return pkt
	}
	at := map[uint8]int{TCP: 16, ICMPv4: 2, ICMPv6: 2}[e.protocol]
	if at == 0 || len(e.body) < at+2 {
		return pkt
	}
	binary.BigEndian.PutUint16(e.body[at:], 0)
	check := ^e.sum()
	if e.protocol == ICMPv4 {
		check = ^slow(e.body)
	}
	binary.BigEndian.PutUint16(e.body[at:], check)
	return pkt
}

// What Parse understands, Append says again, and Parse understands the same.
func FuzzSegment(f *testing.F) {
	f.Fuzz(func(t *testing.T, pkt []byte) {
		Addresses(pkt)
		pkt = mend(pkt)
		var first, second Segment
		if err := first.Parse(pkt); err != nil {
			if !reflect.DeepEqual(first, Segment{}) {
				t.Fatalf("%v, but something is left of %v", err, &first)
			}
			return
		}
		first.TTL = max(first.TTL, 1) // a zero asks Append for 64
		again := first.Append(nil)
		if len(again) == 0 && first.HeaderLen()+len(first.Payload) > 0xffff {
			return
		}
		if len(again) != first.HeaderLen()+len(first.Payload) {
			t.Fatalf("%d octets of %v", len(again), &first)
		}
		if err := second.Parse(again); err != nil || !reflect.DeepEqual(second, first) {
			t.Fatalf("%v\nfirst  %+v\nsecond %+v", err, first, second)
		}
		_ = first.String()
	})
}

func FuzzOptions(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		var first, second Options
		first.Parse(b)
		again := first.Append(nil)
		if len(again) > MaxOptions || len(again)%4 != 0 {
			t.Fatalf("%d octets of %v", len(again), &first)
		}
		second.Parse(again)
		if first.Len() <= MaxOptions && second != first {
			t.Fatalf("first  %+v\nsecond %+v", first, second)
		}
		if first.Len() > len(b) || second.Has&^first.Has != 0 {
			t.Fatalf("%v came out of nothing", &second)
		}
		_ = first.String()
	})
}

func FuzzICMP(f *testing.F) {
	f.Fuzz(func(t *testing.T, pkt []byte) {
		m, err := ParseICMP(mend(pkt))
		if err != nil {
			if m != (ICMP{}) {
				t.Fatalf("%v, but something is left of %+v", err, m)
			}
			return
		}
		families := []bool{m.From.Is4(), m.Source.Addr().Is4(), m.Target.Addr().Is4()}
		if m.Kind < TooBig || m.Kind > NoPort || families[0] != families[1] || families[0] != families[2] {
			t.Fatalf("%+v", m)
		}
		if m.Kind != TooBig && m.MTU != 0 || m.Protocol != TCP && (m.Protocol != UDP || m.Seq != 0) {
			t.Fatalf("%+v", m)
		}
	})
}

func FuzzDatagram(f *testing.F) {
	f.Fuzz(func(t *testing.T, pkt []byte) {
		var first, second Datagram
		if err := first.Parse(mend(pkt)); err != nil {
			if !reflect.DeepEqual(first, Datagram{}) {
				t.Fatalf("%v, but something is left of %+v", err, first)
			}
			return
		}
		first.TTL = max(first.TTL, 1) // a zero asks Append for 64
		again := first.Append(nil)
		if err := second.Parse(again); err != nil || !reflect.DeepEqual(second, first) {
			t.Fatalf("%v\nfirst  %+v\nsecond %+v", err, first, second)
		}
	})
}

// Whatever a packet is, it can be given another address and its own again, and cut and joined.
func FuzzPacket(f *testing.F) {
	f.Fuzz(func(t *testing.T, pkt []byte, mtu uint16) {
		pkt = mend(pkt)
		var p, q Packet
		if err := p.Parse(pkt); err != nil {
			if p != (Packet{}) {
				t.Fatalf("%v, but something is left of %+v", err, p)
			}
			return
		}
		to := netip.MustParseAddr("192.0.2.200")
		if p.Source.Is6() {
			to = netip.MustParseAddr("2001:db8:ffff::200")
		}
		first := p
		p.Readdress(pkt, p.Source, to)
		if err := q.Parse(pkt); err != nil || q != p || q.Source != to {
			t.Fatalf("%v\nfirst  %+v\nsecond %+v", err, p, q)
		}
		p.Readdress(pkt, to, first.Source)
		if q.Parse(pkt); q != first && first.Target != to {
			t.Fatalf("first  %+v\nthen   %+v", first, q)
		}
		p.AppendTooBig(nil, pkt, to, int(mtu))
		got := 0
		for at, next := 0, 0; ; at = next {
			var piece []byte
			if piece, next = p.Cut(nil, pkt, at, int(mtu), 7); len(piece) > 0 {
				if err := q.Parse(piece); err != nil || len(piece) > int(mtu) || q.Offset != p.Offset+at {
					t.Fatalf("%v: %d octets of %+v\nat %d of %+v", err, len(piece), q, at, p)
				}
				got += q.Length() - q.Part()
			}
			if next == 0 {
				break
			}
		}
		if got > 0 && got != p.Length()-p.Part() {
			t.Fatalf("%d octets of %+v", got, p)
		}
	})
}
