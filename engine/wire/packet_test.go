package wire

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
)

// echo builds an ICMP echo request.
func echo(source, target netip.Addr, id uint16, n int) []byte {
	e := envelope{source: source, target: target, ttl: 64, protocol: ICMPv4}
	header, kind := ip4Len, byte(8)
	if source.Is6() {
		e.protocol, header, kind = ICMPv6, ip6Len, 128
	}
	pkt := make([]byte, header+8+n)
	e.body = pkt[header:]
	e.write(pkt)
	e.body[0] = kind
	binary.BigEndian.PutUint16(e.body[4:], id)
	check := ^slow(e.body)
	if source.Is6() {
		check = ^e.sum()
	}
	binary.BigEndian.PutUint16(e.body[2:], check)
	return pkt
}

// right reports whether every checksum that covers addresses is as it must be, in a quote too.
func right(t *testing.T, pkt []byte) bool {
	t.Helper()
	var e envelope
	if err := e.parse(pkt, false); err != nil {
		t.Fatal(err)
	}
	switch {
	case e.protocol == ICMPv4:
		if slow(e.body) != 0xffff {
			return false
		}
	case e.protocol == UDP && e.body[6] == 0 && e.body[7] == 0:
	case e.sum() != 0xffff:
		return false
	}
	if (e.protocol == ICMPv4 || e.protocol == ICMPv6) && icmpError(e.protocol, e.body[0]) {
		return right(t, e.body[8:])
	}
	return true
}

func TestPacketSaysWhoseItIs(t *testing.T) {
	bothFamilies(t, func(t *testing.T, source, target string) {
		d := Datagram{Payload: []byte("payload")}
		d.Source, d.Target = ends(source, target)
		from, to := d.Source.Addr(), d.Target.Addr()
		var p Packet
		if err := p.Parse(append(d.Append(nil), 1, 2)); err != nil || p.Source != from || p.Target != to ||
			p.From != d.Source.Port() || p.To != d.Target.Port() || p.Protocol != UDP || !p.Whole || p.Fragment || p.Length() != d.HeaderLen()+7 {
			t.Errorf("%+v, %v", p, err)
		}
		if err := p.Parse(echo(from, to, 7, 0)); err != nil || p.From != 7 || p.To != 7 || p.Error {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

// quoting is an ICMP error that target sends about pkt.
func quoting(pkt []byte) []byte {
	var p Packet
	p.Parse(pkt)
	return p.AppendTooBig(nil, pkt, p.Target, 1300)
}

// Whatever names the address names the other one afterwards, and all checksums are right.
func TestReaddress(t *testing.T) {
	bothFamilies(t, func(t *testing.T, source, target string) {
		d := Datagram{Payload: []byte("odd")}
		d.Source, d.Target = ends(source, target)
		from, far := d.Source.Addr(), d.Target.Addr()
		to := netip.MustParseAddr("198.18.255.77")
		if from.Is6() {
			to = netip.MustParseAddr("fd00::ffff:0:77")
		}
		seg := dataSegment(source, target, nil)
		bare := d.Append(nil)
		if from.Is4() {
			bare[26], bare[27] = 0, 0
		}
		back := d
		back.Source, back.Target = d.Target, d.Source
		for name, pkt := range map[string][]byte{
			"datagram": d.Append(nil), "answer": back.Append(nil), "without a checksum": bare, "echo": echo(from, far, 1, 5), "segment": seg.Append(nil),
			"error about a datagram": quoting(d.Append(nil)), "about an answer": quoting(back.Append(nil)),
			"about an echo": quoting(echo(from, far, 9, 3)), "about a segment": quoting(seg.Append(nil)),
		} {
			before := bytes.Clone(pkt)
			var p, after Packet
			if err := p.Parse(pkt); err != nil {
				t.Fatal(name, err)
			}
			if n := testing.AllocsPerRun(100, func() { p.Readdress(pkt, from, to); p.Readdress(pkt, to, from) }); n != 0 {
				t.Errorf("%s: %v allocations", name, n)
			}
			if !bytes.Equal(pkt, before) {
				t.Errorf("%s: there and back\n%x\n%x", name, before, pkt)
			}
			p.Readdress(pkt, from, to)
			if err := after.Parse(pkt); err != nil || after != p || p.Source == from || p.Target == from || !right(t, pkt) {
				t.Errorf("%s: %+v, %v", name, after, err)
			}
			if bytes.Contains(pkt, from.AsSlice()) || !bytes.Contains(pkt, to.AsSlice()) {
				t.Errorf("%s: the address is still there: %x", name, pkt)
			}
		}
	})
}

// A checksum that comes out as zero is sent as its other form (RFC 768).
func TestReaddressToZero(t *testing.T) {
	d := Datagram{Payload: []byte{0, 0}}
	d.Source, d.Target = ends("198.18.0.2:1", "198.18.0.1:2")
	from := d.Source.Addr()
	for last := range 256 {
		for high := range 256 {
			pkt := d.Append(nil)
			to := netip.AddrFrom4([4]byte{10, 0, byte(high), byte(last)})
			var p Packet
			p.Parse(pkt)
			p.Readdress(pkt, from, to)
			if pkt[26] == 0 && pkt[27] == 0 || d.Parse(pkt) != nil {
				t.Fatalf("to %v: checksum %x", to, pkt[26:28])
			}
			d.Source, d.Payload = netip.AddrPortFrom(from, 1), []byte{0, 0}
		}
	}
}

// What was damaged stays damaged.
func TestReaddressMendsNothing(t *testing.T) {
	d := Datagram{Payload: []byte("payload")}
	d.Source, d.Target = ends("198.18.0.2:1", "198.18.0.1:2")
	pkt := d.Append(nil)
	pkt[30]++
	var p Packet
	p.Parse(pkt)
	p.Readdress(pkt, d.Source.Addr(), netip.MustParseAddr("10.9.8.7"))
	if d.Parse(pkt) != ErrChecksum {
		t.Error("nobody will notice")
	}
}

// cut returns the fragments of a packet.
func cut(t *testing.T, pkt []byte, mtu int, id uint32) (all [][]byte) {
	t.Helper()
	var p, q Packet
	if err := p.Parse(pkt); err != nil {
		t.Fatal(err)
	}
	for at, next := 0, 0; ; at = next {
		var piece []byte
		piece, next = p.Cut(nil, pkt, at, mtu, id)
		if err := q.Parse(piece); err != nil || len(piece) > mtu || !q.Fragment {
			t.Fatalf("fragment at %d of %d octets: %+v, %v", at, len(piece), q, err)
		}
		all = append(all, piece)
		if next == 0 {
			return all
		}
	}
}

// join puts fragments together that are all there.
func join(t *testing.T, pieces [][]byte) []byte {
	t.Helper()
	var first, p Packet
	if err := first.Parse(pieces[0]); err != nil || first.Offset != 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	whole := bytes.Clone(pieces[0][:first.Part()])
	for _, piece := range pieces {
		p.Parse(piece)
		if p.ID != first.ID || p.Offset != len(whole)-first.Part() {
			t.Fatalf("%+v does not follow", p)
		}
		whole = append(whole, piece[p.Part():]...)
	}
	return first.Join(whole)
}

func TestCutAndJoin(t *testing.T) {
	bothFamilies(t, func(t *testing.T, source, target string) {
		d := Datagram{Payload: make([]byte, 3000)}
		d.Source, d.Target = ends(source, target)
		for i := range d.Payload {
			d.Payload[i] = byte(i * 7)
		}
		pkt := d.Append(nil)
		for _, mtu := range []int{68 + fragmentLen, 1280, 1400, 1500} {
			var got Datagram
			if err := got.Parse(join(t, cut(t, pkt, mtu, 77))); err != nil || !bytes.Equal(got.Payload, d.Payload) || got.Source != d.Source {
				t.Errorf("mtu %d: %v", mtu, err)
			}
		}
		var again [][]byte
		for _, piece := range cut(t, pkt, 1480, 77) {
			var p Packet
			if p.Parse(piece); p.ID != 77 {
				t.Errorf("named %d", p.ID)
			}
			again = append(again, cut(t, piece, 700, 99)...)
		}
		var got Datagram
		if err := got.Parse(join(t, again)); err != nil || !bytes.Equal(got.Payload, d.Payload) {
			t.Errorf("cut twice: %v", err)
		}
	})
}

// Who may be cut by anybody has a name, which the fragments keep.
func TestCutKeepsTheName(t *testing.T) {
	d := Datagram{Payload: make([]byte, 100)}
	d.Source, d.Target = ends("198.18.0.2:1", "198.18.0.1:2")
	pkt := d.Append(nil)
	binary.BigEndian.PutUint32(pkt[4:], 0xabcd0000)
	pkt = mendIP(pkt)
	var p Packet
	p.Parse(cut(t, pkt, 76, 1)[1])
	if p.ID != 0xabcd || p.Offset != 56 || p.Whole {
		t.Errorf("%+v", p)
	}
}

// Of the options only those marked so go into every fragment (RFC 791 3.1).
func TestCutOptions(t *testing.T) {
	d := Datagram{Payload: make([]byte, 100)}
	d.Source, d.Target = ends("198.18.0.2:1", "198.18.0.1:2")
	flat := d.Append(nil)
	options := []byte{7, 3, 4, 0x94, 4, 0, 0, 0}
	pkt := append(append(bytes.Clone(flat[:20]), options...), flat[20:]...)
	pkt[0] = 0x47
	binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
	pieces := cut(t, mendIP(pkt), 80, 1)
	if want := []byte{1, 1, 1, 0x94, 4, 0, 0, 0}; !bytes.Equal(pieces[0][20:28], options) || !bytes.Equal(pieces[1][20:28], want) {
		t.Errorf("%x, then %x", pieces[0][20:28], pieces[1][20:28])
	}
}

// The first fragment has all headers, and enough behind them to tell whose it is (RFC 7112 5).
func TestCutLeavesHeadersTogether(t *testing.T) {
	d := Datagram{Payload: make([]byte, 100)}
	d.Source, d.Target = ends("[2001:db8::1]:7", "[2001:db8::2]:9")
	flat := d.Append(nil)
	options := make([]byte, 48)
	options[0], options[1] = flat[6], 5
	pkt := slices.Concat(flat[:ip6Len], options, flat[ip6Len:])
	pkt[6] = extDestination
	binary.BigEndian.PutUint16(pkt[4:], uint16(len(pkt)-ip6Len))
	var p, q Packet
	if err := p.Parse(pkt); err != nil {
		t.Fatal(err)
	}
	enough := ip6Len + fragmentLen + len(options) + 8
	if piece, next := p.Cut(nil, pkt, 0, enough-1, 1); len(piece) > 0 || next != 0 {
		t.Errorf("%d octets of which some are headers, then %d", len(piece), next)
	}
	piece, next := p.Cut(nil, pkt, 0, enough, 1)
	if err := q.Parse(piece); err != nil || q.From != 7 || q.To != 9 || next != len(options)+8 {
		t.Errorf("%v: %+v, then %d", err, q, next)
	}
	if later, _ := p.Cut(nil, pkt, next, enough-1, 1); len(later) != enough-8 {
		t.Errorf("the next has %d octets", len(later))
	}
}

func TestTooBigIsForTheSender(t *testing.T) {
	bothFamilies(t, func(t *testing.T, source, target string) {
		d := Datagram{Payload: make([]byte, 1452)}
		d.Source, d.Target = ends(source, target)
		pkt := d.Append(nil)
		e := quoting(pkt)
		m, err := ParseICMP(e)
		if err != nil || m.Kind != TooBig || m.MTU != 1300 || m.Source != d.Source || m.Target != d.Target || m.From != d.Target.Addr() || len(e) > 1280 {
			t.Errorf("%+v, %v", m, err)
		}
		if len(quoting(e)) != 0 {
			t.Error("an error about an error")
		}
		if later := cut(t, pkt, 600, 1)[1]; len(quoting(later)) != 0 {
			t.Error("an error about a later fragment")
		}
	})
}

func TestPacketRefused(t *testing.T) {
	v6 := octets(t, families[1].wire)
	good := octets(t, families[0].wire)
	frag := func(where uint16) []byte {
		p := bytes.Clone(good)
		binary.BigEndian.PutUint16(p[6:], where)
		return mendIP(p)
	}
	for _, c := range []struct {
		name string
		pkt  []byte
		want error
	}{
		{"nothing", nil, ErrShort},
		{"neither", []byte{0x55}, ErrVersion},
		{"cut", good[:len(good)-1], ErrShort},
		{"half a header", good[:19], ErrShort},
		{"TTL altered", append(append(bytes.Clone(good[:8]), good[8]+1), good[9:]...), ErrHeaderChecksum},
		{"beyond the end", frag(0x1fff), ErrLength},
		{"IPv6 cut", v6[:39], ErrShort},
		{"fragment of a fragment", extend(t, 44, "2c00 0000 00000001 0600 0000 00000002"), ErrExtension},
		{"extension beyond the end", extend(t, 0, "06ff 0104 00000000"), ErrShort},
	} {
		var p Packet
		if err := p.Parse(c.pkt); err != c.want || p != (Packet{}) {
			t.Errorf("%s: %v, want %v: %+v", c.name, err, c.want, p)
		}
	}
}
