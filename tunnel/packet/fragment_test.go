package packet

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var noon = time.Unix(1e9, 0)

func fragmentsOf(t *testing.T, pkt []byte, id uint32, mtu int) []Packet {
	t.Helper()
	p := parse(t, pkt)
	p.ID = id
	buf, ends := p.AppendFragments([]byte("before"), nil, mtu)
	var all []Packet
	for at, i := 6, 0; i < len(ends); at, i = ends[i], i+1 {
		if ends[i]-at > mtu {
			t.Fatalf("a fragment of %d octets", ends[i]-at)
		}
		all = append(all, parse(t, buf[at:ends[i]]))
	}
	return all
}

func datagramOf(four bool, n int) []byte {
	body := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(body)
	if four {
		return (&Packet{Source: a4, Target: b4, TOS: 3, TTL: 9}).AppendUDP(nil, 1, 2, body)
	}
	return (&Packet{Source: a6, Target: b6, TOS: 3, TTL: 9}).AppendUDP(nil, 1, 2, body)
}

// Whatever order fragments come in, and twice, the packet is the one that was cut.
func TestFragments(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 1))
	for _, four := range []bool{true, false} {
		for _, n := range []int{1300, 4000, 65000} {
			all := fragmentsOf(t, datagramOf(four, n), 77, 1280)
			if len(all) < 2 || all[0].ID != 77 || all[0].DF && four {
				t.Fatalf("%d fragments, %+v", len(all), all[0])
			}
			all = append(all, all[0])
			dice.Shuffle(len(all)-1, func(i, j int) { all[i], all[j] = all[j], all[i] })
			var a Assembly
			var got []byte
			for i := range all {
				if whole := a.Add(&all[i], noon); whole != nil {
					got = whole
				}
			}
			p := parse(t, got)
			if _, _, payload, err := p.UDP(); err != nil || len(payload) != n || p.TOS != 3 || p.TTL != 9 || p.Fragment() {
				t.Fatalf("%d octets, %v, %+v", len(payload), err, p.HeaderLen())
			}
		}
	}
	fits := datagramOf(true, 100)
	if all := fragmentsOf(t, fits, 5, 1280); len(all) != 1 || all[0].Fragment() {
		t.Errorf("cut without need: %d", len(all))
	}
}

func TestAssemblyDropsWhatIsSpoiled(t *testing.T) {
	part := func(offset, n int, more bool) Packet {
		return Packet{Source: a4, Target: b4, Protocol: 17, ID: 1, Offset: offset, More: more, Body: bytes.Repeat([]byte{byte(offset)}, n)}
	}
	other := part(0, 16, true)
	other.Body[0] = 1
	for _, c := range []struct {
		what  string
		parts []Packet
	}{
		{"overlap before", []Packet{part(0, 16, true), part(8, 16, false)}},
		{"overlap behind", []Packet{part(8, 16, false), part(0, 16, true)}},
		{"another of the same place", []Packet{part(0, 16, true), other}},
		{"odd length", []Packet{part(0, 15, true)}},
		{"empty", []Packet{part(8, 0, false)}},
		{"too long", []Packet{part(65528, 16, false)}},
		{"two ends", []Packet{part(8, 8, false), part(16, 8, false)}},
		{"behind the end", []Packet{part(8, 8, false), part(16, 8, true)}},
		{"end within", []Packet{part(16, 8, true), part(8, 4, false)}},
	} {
		var a Assembly
		for i := range c.parts {
			if whole := a.Add(&c.parts[i], noon); whole != nil {
				t.Errorf("%s: %x", c.what, whole)
			}
		}
		if len(a.partials) > 0 || a.octets != 0 {
			t.Errorf("%s: something is kept", c.what)
		}
	}
}

func TestAssemblyIsBounded(t *testing.T) {
	var a Assembly
	big := fragmentsOf(t, datagramOf(true, 60000), 0, 40000)[0]
	for id := range uint32(1000) {
		big.ID = id
		a.Add(&big, noon.Add(time.Duration(id)))
		if len(a.partials) > assemblyMax || a.octets > assemblyOctets {
			t.Fatalf("%d packets, %d octets", len(a.partials), a.octets)
		}
	}
	last := fragmentsOf(t, datagramOf(true, 60000), 999, 40000)[1]
	if a.Add(&last, noon) == nil {
		t.Error("the youngest was dropped, not the oldest")
	}
	a.Expire(noon.Add(assemblyLife - 1))
	if len(a.partials) == 0 {
		t.Error("dropped early")
	}
	a.Expire(noon.Add(assemblyLife + time.Microsecond))
	if len(a.partials) > 0 || a.octets != 0 {
		t.Error("kept for ever")
	}
}

func FuzzAssembly(f *testing.F) {
	f.Add([]byte{0, 16, 1, 16, 8, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		var a Assembly
		for part := range slices.Chunk(script, 3) {
			if len(part) < 3 {
				return
			}
			p := Packet{Source: a4, Target: b4, Protocol: 17, ID: uint32(part[2] >> 4),
				Offset: int(part[0]) * 8, More: part[2]&1 != 0, Body: make([]byte, part[1])}
			if whole := a.Add(&p, noon); whole != nil {
				parse(t, whole)
			}
			total := 0
			for _, q := range a.partials {
				total += q.octets
			}
			if total != a.octets {
				t.Fatalf("%d octets are %d", a.octets, total)
			}
		}
	})
}
