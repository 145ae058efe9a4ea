package native

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"

	"tandem/engine/wire"
)

const (
	first = 61000
	last  = 61007
)

// A pair is two hosts of one family: ours, and another.
type pair struct {
	name        string
	here, there netip.Addr
	other       netip.Addr // another address here
	headerLen   int
	protocolAt  int // in a header
	sourceAt    int
	echo        byte // ICMP type
}

var pairs = []pair{
	{"IPv4", netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.3"), header4, 9, 12, 8},
	{"IPv6", netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::3"), header6, 6, 8, 128},
}

func (p pair) scope() scope { return newScope(p.here, first, last) }

// ports are those that a segment to here is from and for.
func (p pair) ports() (from, to netip.AddrPort) {
	return netip.AddrPortFrom(p.there, 80), netip.AddrPortFrom(p.here, first)
}

// segment is one from here, or to here.
func segment(from, to netip.Addr, fromPort, toPort uint16, payload string) []byte {
	s := wire.Segment{Source: netip.AddrPortFrom(from, fromPort), Target: netip.AddrPortFrom(to, toPort), Seq: 1000, Ack: 1,
		Flags: wire.ACK, Window: 1000, Payload: []byte(payload)}
	return s.Append(nil)
}

// tooBig is the ICMP error of a router about a packet.
func tooBig(t *testing.T, router netip.Addr, pkt []byte) []byte {
	var p wire.Packet
	if err := p.Parse(pkt); err != nil {
		t.Fatal(err)
	}
	return p.AppendTooBig(nil, pkt, router, 1280)
}

// with returns a copy of octets of which one is another.
func with(b []byte, at int, value byte) []byte {
	b = bytes.Clone(b)
	b[at] = value
	return b
}

func TestScopeSends(t *testing.T) {
	for _, p := range pairs {
		s := p.scope()
		good := segment(p.here, p.there, first, 80, "")
		for _, c := range []struct {
			what string
			pkt  []byte
			want bool
		}{
			{"first port", good, true},
			{"last port", segment(p.here, p.there, last, 80, "data"), true},
			{"port before", segment(p.here, p.there, first-1, 80, ""), false},
			{"port behind", segment(p.here, p.there, last+1, 80, ""), false},
			{"another's address", segment(p.other, p.there, first, 80, ""), false},
			{"UDP", with(good, p.protocolAt, 17), false},
			{"ICMP", tooBig(t, p.here, segment(p.there, p.here, 80, first, "")), false},
			{"half a TCP header", good[:len(good)-1], false},
			{"half an IP header", good[:p.headerLen-1], false},
			{"nothing", nil, false},
		} {
			if got := s.sends(c.pkt); got != c.want {
				t.Errorf("%s, %s: %v, want %v", p.name, c.what, got, c.want)
			}
		}
	}
	if s := pairs[0].scope(); s.sends(with(segment(pairs[0].here, pairs[0].there, first, 80, ""), 0, 0x44)) {
		t.Error("a packet whose header is shorter than any is sent")
	}
}

// machine runs a filter on frames with a header of that length.
func machine(t *testing.T, s scope, base int) func(pkt []byte) bool {
	t.Helper()
	vm, err := bpf.NewVM(s.filter(uint32(base)))
	if err != nil {
		t.Fatal(err)
	}
	return func(pkt []byte) bool {
		n, err := vm.Run(append(make([]byte, base), pkt...))
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
}

func TestFilter(t *testing.T) {
	for _, p := range pairs {
		ours := segment(p.here, p.there, first+1, 80, "some octets to quote")
		good := segment(p.there, p.here, 80, first, "")
		icmp := tooBig(t, p.there, ours)
		quote := p.headerLen + headerICMP
		cases := []struct {
			what string
			pkt  []byte
			want bool
		}{
			{"first port", good, true},
			{"last port", segment(p.there, p.here, 80, last, "data"), true},
			{"port before", segment(p.there, p.here, 80, first-1, ""), false},
			{"port behind", segment(p.there, p.here, 80, last+1, ""), false},
			{"our ports are theirs", segment(p.there, p.here, first, 80, ""), false},
			{"for another address", segment(p.there, p.other, 80, first, ""), false},
			{"from us", ours, false},
			{"error about ours", icmp, true},
			{"error about another port", tooBig(t, p.there, segment(p.here, p.there, 80, first, "some octets")), false},
			{"error about another address", with(icmp, quote+p.sourceAt+3, 9), false},
			{"error about UDP", with(icmp, quote+p.protocolAt, 17), false},
			{"echo", with(icmp, p.headerLen, p.echo), false},
			{"UDP", with(good, p.protocolAt, 17), false},
			{"cut", good[:p.headerLen], false},
		}
		for _, base := range []int{0, 14} {
			takes := machine(t, p.scope(), base)
			for _, c := range cases {
				if got := takes(c.pkt); got != c.want {
					t.Errorf("%s at %d, %s: %v, want %v", p.name, base, c.what, got, c.want)
				}
			}
		}
	}
}

// TestFilterOptions has headers of IPv4 with options, outside and quoted, and fragments.
func TestFilterOptions(t *testing.T) {
	p := pairs[0]
	takes := machine(t, p.scope(), 0)
	long := func(pkt []byte) []byte { // with four octets of options
		pkt = append(append(bytes.Clone(pkt[:header4]), 1, 1, 1, 0), pkt[header4:]...)
		pkt[0]++
		return pkt
	}
	ours := segment(p.here, p.there, first, 80, "some octets to quote")
	other := segment(p.here, p.there, 80, first, "some octets to quote")
	quoting := func(quote []byte) []byte { // whose checksums do not matter here
		icmp := tooBig(t, p.there, ours)
		return append(icmp[:header4+headerICMP], quote...)
	}
	good := segment(p.there, p.here, 80, last, "")
	fragment := bytes.Clone(good)
	binary.BigEndian.PutUint16(fragment[6:], 5)
	for _, c := range []struct {
		what string
		pkt  []byte
		want bool
	}{
		{"segment", long(good), true},
		{"segment for another port", long(segment(p.there, p.here, 80, 80, "")), false},
		{"quote", quoting(long(ours)), true},
		{"quote of another port", quoting(long(other)), false},
		{"both", long(quoting(long(ours))), true},
		{"later fragment", fragment, false},
		{"first fragment", with(good, 6, 0x20), false},
	} {
		if got := takes(c.pkt); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

func FuzzScope(f *testing.F) {
	for _, p := range pairs {
		f.Add(segment(p.here, p.there, first, 80, ""))
		f.Add(segment(p.there, p.here, 80, last, "data"))
	}
	f.Fuzz(func(t *testing.T, pkt []byte) {
		for _, p := range pairs {
			machine(t, p.scope(), 14)(pkt)
			s := p.scope()
			if len(pkt) == 0 || pkt[0]>>4 != segment(p.here, p.there, 1, 1, "")[0]>>4 || !s.sends(pkt) {
				continue
			}
			// What is sent has the addresses and ports that others read too.
			from, _, protocol, err := wire.Addresses(pkt)
			if err == nil && (protocol != wire.TCP || from.Addr() != p.here || from.Port() < first || from.Port() > last) {
				t.Errorf("sent %d from %v: %x", protocol, from, pkt)
			}
		}
	})
}
