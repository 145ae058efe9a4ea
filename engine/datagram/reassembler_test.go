package datagram

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// pieces returns the fragments of a datagram of n octets with that number.
func pieces(t *testing.T, six bool, n int, id uint32) (whole []byte, all [][]byte) {
	t.Helper()
	d := wire.Datagram{Payload: make([]byte, n)}
	for i := range d.Payload {
		d.Payload[i] = byte(i) ^ byte(i>>8) ^ byte(id)
	}
	from, to := netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("192.0.2.1")
	if six {
		from, to = netip.MustParseAddr("fd00::2"), netip.MustParseAddr("2001:db8::1")
	}
	d.Source, d.Target = netip.AddrPortFrom(from, 1000), netip.AddrPortFrom(to, 2000)
	whole = d.Append(nil)
	var p wire.Packet
	if err := p.Parse(whole); err != nil {
		t.Fatal(err)
	}
	for at, next := 0, 0; ; at = next {
		var piece []byte
		piece, next = p.Cut(nil, whole, at, 1280, id)
		all = append(all, piece)
		if next == 0 {
			return whole, all
		}
	}
}

// give gives the reassembler fragments, and returns what became whole.
func give(t *testing.T, r *Reassembler, now clock.Time, all ...[]byte) (whole [][]byte) {
	t.Helper()
	for _, piece := range all {
		var p wire.Packet
		if err := p.Parse(piece); err != nil {
			t.Fatal(err)
		}
		if pkt, ok := r.Add(now, &p, piece); ok {
			whole = append(whole, bytes.Clone(pkt))
		}
	}
	return whole
}

// isWhole fails the test unless it is the one datagram, of the length and octets that it had.
func isWhole(t *testing.T, got [][]byte, want []byte) {
	t.Helper()
	var a, b wire.Datagram
	if len(got) != 1 || a.Parse(got[0]) != nil || b.Parse(want) != nil || !bytes.Equal(a.Payload, b.Payload) || len(got[0]) != len(want) {
		t.Fatalf("%d datagrams", len(got))
	}
}

func TestReassembly(t *testing.T) {
	for _, six := range []bool{false, true} {
		whole, all := pieces(t, six, 4000, 1)
		backwards := slices.Clone(all)
		slices.Reverse(backwards)
		var r Reassembler
		isWhole(t, give(t, &r, 0, all...), whole)
		isWhole(t, give(t, &r, 0, backwards...), whole)
		t.Log("a fragment that comes twice does no harm, even for another datagram at the same time")
		other, more := pieces(t, six, 2000, 2)
		got := give(t, &r, 0, all[0], more[0], all[0], all[1], all[1], all[2])
		isWhole(t, append(got, give(t, &r, 0, all[3])...), whole)
		isWhole(t, give(t, &r, 0, more[1]), other)
		longest, all := pieces(t, six, 65000, 3)
		isWhole(t, give(t, &r, 0, all...), longest)
		if r.Lost() != 0 || r.octets != 0 || len(r.parts) != 0 {
			t.Errorf("%d lost, %d octets in %d datagrams kept", r.Lost(), r.octets, len(r.parts))
		}
	}
}

// Fragments that overlap are an attack, and cost the datagram (RFC 5722).
func TestOverlap(t *testing.T) {
	_, all := pieces(t, false, 4000, 1)
	_, shorter := pieces(t, false, 3000, 1)
	var second wire.Packet
	second.Parse(all[1])
	part, _ := second.Cut(nil, all[1], 8, 600, 1)
	for name, story := range map[string][][]byte{
		"other borders": {all[0], part, all[1]}, "another end": {all[0], shorter[2], all[3]}, "beyond the end": {shorter[2], all[2]},
		"an end before what came": {all[2], shorter[1], shorter[2]},
	} {
		var r Reassembler
		if got := give(t, &r, 0, story...); len(got) > 0 || r.Lost() != 1 {
			t.Errorf("%s: %d datagrams, %d lost", name, len(got), r.Lost())
		}
	}
}

func TestReassemblyIsBounded(t *testing.T) {
	var r Reassembler
	for id := range uint32(3 * partsMax) {
		_, all := pieces(t, false, 60000, id)
		give(t, &r, 0, all[:len(all)-1]...)
		if len(r.parts) > partsMax || r.octets > partsBytes {
			t.Fatalf("%d datagrams, %d octets", len(r.parts), r.octets)
		}
	}
	t.Log("what is incomplete is forgotten, so that its number means another one")
	whole, all := pieces(t, false, 4000, 500)
	later := clock.Time(partLife + time.Second)
	give(t, &r, 0, all[0])
	if got := give(t, &r, later, all[1:]...); len(got) != 0 {
		t.Fatal("made of fragments that are too old")
	}
	isWhole(t, give(t, &r, later, all[0]), whole)
	if len(r.parts) != 0 || r.octets != 0 {
		t.Errorf("%d octets in %d datagrams kept", r.octets, len(r.parts))
	}
}

// Fragments of some datagrams, cut anywhere and mixed, become one of those or nothing, and what waits keeps its bounds.
func FuzzReassembly(f *testing.F) {
	for seed := range byte(4) {
		story := make([]byte, 256)
		for i := range story {
			story[i] = byte(i) * (2*seed + 3) >> (i % 4)
		}
		f.Add(story)
	}
	f.Fuzz(func(t *testing.T, story []byte) {
		var r Reassembler
		var wholes [8][]byte
		for i := range wholes {
			wholes[i], _ = pieces(t, i%2 == 1, 1500+700*(i/2), uint32(i))
		}
		for now := clock.Time(0); len(story) >= 4; story = story[4:] {
			now = now.Add(time.Duration(story[3]) * time.Millisecond)
			i := int(story[0]) % len(wholes)
			var p wire.Packet
			if p.Parse(wholes[i]) != nil {
				t.Fatal("no packet")
			}
			at := 8 * int(story[1]) % (p.Length() - p.Part()) / 8 * 8
			piece, _ := p.Cut(nil, wholes[i], at, 200+8*int(story[2]), uint32(i))
			if p.Parse(piece) != nil || p.Offset == 0 && !p.More {
				continue
			}
			if whole, ok := r.Add(now, &p, piece); ok {
				isWhole(t, [][]byte{whole}, wholes[i])
			}
			octets := 0
			for _, x := range r.parts {
				octets += len(x.buf)
			}
			if octets != r.octets || octets > partsBytes || len(r.parts) > partsMax {
				t.Fatalf("%d octets in %d parts, counted %d", octets, len(r.parts), r.octets)
			}
		}
	})
}
