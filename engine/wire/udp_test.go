package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
)

func TestDatagramRoundTrip(t *testing.T) {
	bothFamilies(t, func(t *testing.T, source, target string) {
		for n := range 70 {
			want := Datagram{TOS: 0xb8, TTL: 9, Payload: bytes.Repeat([]byte{0xa5}, n)}
			want.Source, want.Target = ends(source, target)
			pkt := want.Append([]byte("before"))
			if string(pkt[:6]) != "before" || len(pkt) != 6+want.HeaderLen()+n {
				t.Fatalf("payload of %d: appended %d octets", n, len(pkt)-6)
			}
			var got Datagram
			if err := got.Parse(append(pkt[6:], 1, 2, 3)); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("got  %+v\nwant %+v", got, want)
			}
		}
	})
}

func TestDatagramGolden(t *testing.T) {
	d := Datagram{Payload: []byte("hi")}
	d.Source, d.Target = ends("198.18.0.2:1", "198.18.0.1:2")
	want := "4500001e000040004011aea7c6120002c612000100010002000a0b466869"
	if got := hex.EncodeToString(d.Append(nil)); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestDatagramInPlace(t *testing.T) {
	d := Datagram{}
	d.Source, d.Target = ends("[2001:db8::1]:5", "[2001:db8::2]:6")
	buf := make([]byte, 0, 100)
	d.Payload = append(buf[d.HeaderLen():d.HeaderLen()], "already there"...)
	if n := testing.AllocsPerRun(10, func() { d.Append(buf) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
	if err := new(Datagram).Parse(d.Append(buf)); err != nil {
		t.Fatal(err)
	}
}

// A sum of zero goes out as its other form, for a zero means that the sender made none (RFC 768).
func TestDatagramChecksumZero(t *testing.T) {
	d := Datagram{Payload: []byte{0, 0}}
	d.Source, d.Target = ends("198.18.0.2:1", "198.18.0.1:2")
	pkt := d.Append(nil)
	d.Payload = pkt[26:28:28] // what was the checksum makes the next sum zero
	pkt = d.Append(nil)
	if pkt[26] != 0xff || pkt[27] != 0xff {
		t.Fatalf("checksum %x", pkt[26:28])
	}
	pkt[26], pkt[27] = 0, 0
	pkt[29]++
	if err := d.Parse(pkt); err != nil {
		t.Fatalf("without a checksum anything goes: %v", err)
	}
}

// Over IPv6 there is no datagram without a checksum (RFC 8200 8.1), though it would fit.
func TestDatagramWithoutChecksum(t *testing.T) {
	d := Datagram{Payload: []byte{0, 0}}
	d.Source, d.Target = ends("[2001:db8::1]:5", "[2001:db8::2]:6")
	pkt := d.Append(nil)
	copy(pkt[48:], pkt[46:48]) // what was the checksum makes the next sum zero
	pkt[46], pkt[47] = 0, 0
	if err := d.Parse(pkt); !errors.Is(err, ErrChecksum) {
		t.Fatal(err)
	}
}

func TestDatagramRefused(t *testing.T) {
	d := Datagram{Payload: []byte("payload")}
	d.Source, d.Target = ends("198.18.0.2:1", "198.18.0.1:2")
	good := d.Append(nil)
	seg := dataSegment("198.18.0.2:1", "198.18.0.1:2", nil)
	cases := []struct {
		name string
		pkt  func() []byte
		want error
	}{
		{"empty", func() []byte { return nil }, ErrShort},
		{"cut", func() []byte { return good[:len(good)-1] }, ErrShort},
		{"TCP", func() []byte { return seg.Append(nil) }, ErrNotUDP},
		{"TTL altered", func() []byte { p := bytes.Clone(good); p[8]++; return p }, ErrHeaderChecksum},
		{"payload altered", func() []byte { p := bytes.Clone(good); p[30]++; return p }, ErrChecksum},
		{"length beyond the packet", func() []byte { p := bytes.Clone(good); p[25]++; return p }, ErrLength},
		{"length below the header", func() []byte { p := bytes.Clone(good); p[25] = 7; return p }, ErrLength},
	}
	for _, c := range cases {
		if err := d.Parse(c.pkt()); !errors.Is(err, c.want) || d.Payload != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	d = Datagram{}
	d.Source, d.Target = ends("198.18.0.2:1", "[2001:db8::1]:2")
	if len(d.Append(nil)) != 0 {
		t.Error("two families made a packet")
	}
}
