package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// octets reads hex digits, with any white space between them.
func octets(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ends(source, target string) (netip.AddrPort, netip.AddrPort) {
	return netip.MustParseAddrPort(source), netip.MustParseAddrPort(target)
}

// dataSegment is what a loaded subflow sends most: data, an acknowledgement and a mapping.
func dataSegment(source, target string, payload []byte) Segment {
	s := Segment{TOS: ECT0, TTL: 64, Seq: 0xfffffff0, Ack: 7, Flags: ACK | PSH, Window: 4096, Payload: payload}
	s.Source, s.Target = ends(source, target)
	s.Options.Has = HasTimestamps | HasDSS
	s.Options.TSVal, s.Options.TSEcr = 100, 200
	s.Options.DSS = DSS{HasAck: true, HasMap: true, Map64: true, Ack: 5, DSN: 1 << 40, SSN: 1, DataLen: uint16(len(payload))}
	return s
}

// families are both, with the packet that dataSegment of "hello" makes there.
var families = []struct{ name, source, target, wire string }{
	{"IPv4", "198.18.0.2:40000", "192.0.2.7:443",
		"4502004d 00004000 4006b28d c6120002 c0000207" +
			"9c4001bb fffffff0 00000007 d0181000 6d610000" +
			"080a 00000064 000000c8 1e16200d 00000005 0000010000000000 00000001 0005 68656c6c6f"},
	{"IPv6", "[2001:db8::1]:40000", "[2001:db8::2]:443",
		"60200000 00390640 20010db8000000000000000000000001 20010db8000000000000000000000002" +
			"9c4001bb fffffff0 00000007 d0181000 9a080000" +
			"080a 00000064 000000c8 1e16200d 00000005 0000010000000000 00000001 0005 68656c6c6f"},
}

// bothFamilies runs f with addresses of each family.
func bothFamilies(t *testing.T, f func(t *testing.T, source, target string)) {
	for _, c := range families {
		t.Run(c.name, func(t *testing.T) { f(t, c.source, c.target) })
	}
}

func TestSegmentGolden(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			want := octets(t, f.wire)
			s := dataSegment(f.source, f.target, []byte("hello"))
			if got := s.Append(nil); !bytes.Equal(got, want) {
				t.Errorf("appended % x\nwant     % x", got, want)
			}
			got := Segment{Urgent: 9, Options: Options{Has: HasMSS}} // Parse must forget what was there
			if err := got.Parse(want); err != nil || !reflect.DeepEqual(got, s) {
				t.Errorf("parsed %v, %v\nwant   %v", &got, err, &s)
			}
		})
	}
}

func TestRoundTrip(t *testing.T) {
	bothFamilies(t, func(t *testing.T, source, target string) {
		for n := range 70 {
			want := dataSegment(source, target, noise(7, n))
			want.Urgent, want.Flags, want.TOS, want.TTL = uint16(n), Flags(n*3), uint8(n*5), uint8(n+1)
			pkt := want.Append([]byte("before"))
			if string(pkt[:6]) != "before" || len(pkt) != 6+want.HeaderLen()+n {
				t.Fatalf("payload of %d: appended %d octets", n, len(pkt)-6)
			}
			var got Segment
			if err := got.Parse(append(pkt[6:], "padding"...)); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("got  %v, %v\nwant %v", &got, err, &want)
			}
		}
	})
}

// A bit changed anywhere is noticed: by the checksums, or because it is a field they do not cover.
func TestBitErrors(t *testing.T) {
	for _, f := range families {
		good := octets(t, f.wire)
		for i := range good {
			for bit := range 8 {
				pkt := bytes.Clone(good)
				pkt[i] ^= 1 << bit
				var s Segment
				err := s.Parse(pkt)
				free := f.name == "IPv6" && (i < 4 && (i > 0 || bit < 4) || i == 7) // class, label, hop limit
				if (err == nil) != free {
					t.Fatalf("%s, octet %d, bit %d: %v", f.name, i, bit, err)
				}
				if err != nil && !reflect.DeepEqual(s, Segment{}) {
					t.Fatalf("%s, octet %d, bit %d: something is left of %v", f.name, i, bit, &s)
				}
			}
		}
	}
}

func TestTruncated(t *testing.T) {
	for _, f := range families {
		good := octets(t, f.wire)
		for n := range good {
			var s Segment
			if err := s.Parse(good[:n]); err != ErrShort {
				t.Errorf("%s cut to %d octets: %v", f.name, n, err)
			}
		}
	}
}

// mendIP makes the checksum of an IPv4 header right again, after a test changed it.
func mendIP(pkt []byte) []byte {
	header := pkt[:int(pkt[0]&15)*4]
	binary.BigEndian.PutUint16(header[10:], 0)
	binary.BigEndian.PutUint16(header[10:], ^slow(header))
	return pkt
}

func TestReasons(t *testing.T) {
	v4, v6 := octets(t, families[0].wire), octets(t, families[1].wire)
	for _, c := range []struct {
		name   string
		pkt    []byte
		change func(p []byte)
		want   error
	}{
		{"IP version 5", v4, func(p []byte) { p[0] = 0x55 }, ErrVersion},
		{"IPv4 header of 16 octets", v4, func(p []byte) { p[0] = 0x44 }, ErrLength},
		{"IPv4 total below the header", v4, func(p []byte) { p[2], p[3] = 0, 19 }, ErrLength},
		{"IPv4 total above the packet", v4, func(p []byte) { p[3]++ }, ErrShort},
		{"IPv4 total below a TCP header", v4, func(p []byte) { p[3] = 39; mendIP(p) }, ErrShort},
		{"IPv4 header checksum", v4, func(p []byte) { p[8]-- }, ErrHeaderChecksum},
		{"IPv4 more fragments", v4, func(p []byte) { p[6] = 0x20; mendIP(p) }, ErrFragment},
		{"IPv4 later fragment", v4, func(p []byte) { p[7] = 1; mendIP(p) }, ErrFragment},
		{"IPv4 UDP", v4, func(p []byte) { p[9] = UDP; mendIP(p) }, ErrNotTCP},
		{"IPv6 UDP", v6, func(p []byte) { p[6] = UDP }, ErrNotTCP},
		{"IPv6 no next header", v6, func(p []byte) { p[6] = 59 }, ErrNotTCP},
		{"IPv6 jumbogram", v6, func(p []byte) { p[4], p[5] = 0, 0 }, ErrShort},
		{"IPv4-mapped source", v6, func(p []byte) { copy(p[8:], "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff") }, ErrAddress},
		{"IPv4-mapped target", v6, func(p []byte) { copy(p[24:], "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff") }, ErrAddress},
		{"TCP header of 16 octets", v6, func(p []byte) { p[52] = 0x40 }, ErrLength},
		{"TCP header beyond the packet", v6, func(p []byte) { p[52] = 0xf0 }, ErrLength},
		{"TCP checksum", v6, func(p []byte) { p[len(p)-1]++ }, ErrChecksum},
	} {
		pkt := bytes.Clone(c.pkt)
		c.change(pkt)
		var s Segment
		if err := s.Parse(pkt); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestIPv4Options(t *testing.T) {
	good := octets(t, families[0].wire)
	pkt := append(append(bytes.Clone(good[:20]), 1, 1, 1, 0), good[20:]...)
	pkt[0], pkt[3] = 0x46, pkt[3]+4
	var s Segment
	if err := s.Parse(mendIP(pkt)); err != nil || string(s.Payload) != "hello" {
		t.Errorf("%v, %v", &s, err)
	}
}

// The payload may wait in the buffer where it will be sent from.
func TestAppendInPlace(t *testing.T) {
	for _, f := range families {
		want := octets(t, f.wire)
		buf := make([]byte, 3, 200)
		s := dataSegment(f.source, f.target, nil)
		s.Payload = buf[3:200][s.HeaderLen():][:5]
		s.Options.DSS.DataLen = uint16(copy(s.Payload, "hello"))
		pkt := s.Append(buf)
		if &pkt[0] != &buf[0] || !bytes.Equal(pkt[3:], want) {
			t.Errorf("in place: % x", pkt)
		}
		// Some octets off, the headers must not overwrite it before it is moved.
		off := buf[3:200][s.HeaderLen()-9:][:5]
		copy(off, "hello")
		s.Payload = off
		if pkt := s.Append(buf); !bytes.Equal(pkt[3:], want) {
			t.Errorf("out of place: % x", pkt)
		}
	}
}

func TestAppendDefaults(t *testing.T) {
	var s, got Segment
	s.Source, s.Target = ends("10.0.0.1:1", "10.0.0.2:2")
	if err := got.Parse(s.Append(nil)); err != nil || got.TTL != 64 {
		t.Errorf("TTL %d, %v", got.TTL, err)
	}
}

func TestAppendNothing(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("[2001:db8::1]:1")
	for name, s := range map[string]Segment{
		"no addresses": {},
		"no source":    {Target: v6},
		"no target":    {Source: v4},
		"two families": {Source: v4, Target: v6},
		"too long":     {Source: v4, Target: v4, Payload: make([]byte, 0xffff-39)},
	} {
		if got := s.Append([]byte("x")); string(got) != "x" {
			t.Errorf("%s: %d octets", name, len(got))
		}
	}
	s := Segment{Source: v4, Target: v4, Payload: make([]byte, 0xffff-40)}
	if got := s.Append(nil); len(got) != 0xffff {
		t.Errorf("the longest packet: %d octets", len(got))
	}
}

func TestFlagsHas(t *testing.T) {
	if f := SYN | ACK; !f.Has(ACK) || !f.Has(SYN|ACK) || f.Has(FIN) || f.Has(SYN|FIN) {
		t.Error("a flag too many or too few")
	}
}

func TestSegmentLen(t *testing.T) {
	for want, s := range []Segment{{Flags: ACK}, {Flags: SYN | ACK}, {Flags: SYN | FIN}, {Flags: FIN, Payload: []byte("ab")}} {
		if got := s.Len(); got != want {
			t.Errorf("%v: %d, want %d", &s, got, want)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	for _, f := range families {
		s := dataSegment(f.source, f.target, make([]byte, 1300))
		s.Options.Has |= HasSACK
		s.Options.SACKs = 1
		pkt := s.Append(nil)
		buf := make([]byte, 0, 2000)
		var got Segment
		if n := testing.AllocsPerRun(100, func() {
			if got.Parse(pkt) != nil {
				t.Error("not parsed")
			}
			buf = got.Append(buf[:0])
			if _, _, _, err := Addresses(buf); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", f.name, n)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	s := dataSegment(families[0].source, families[0].target, make([]byte, 1340))
	pkt := s.Append(nil)
	b.SetBytes(int64(len(pkt)))
	for b.Loop() {
		if err := s.Parse(pkt); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	s := dataSegment(families[0].source, families[0].target, nil)
	buf := make([]byte, 0, 1500)
	s.Payload = buf[s.HeaderLen():1400]
	b.SetBytes(1400)
	for b.Loop() {
		buf = s.Append(buf[:0])
	}
}

func BenchmarkChecksum1400(b *testing.B) {
	p := noise(1, 1400)
	b.SetBytes(1400)
	for b.Loop() {
		sum(p)
	}
}
