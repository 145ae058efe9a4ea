package wire

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// complain builds the ICMP error that a router at the address from sends about quote.
func complain(from string, kind, code uint8, info uint32, quote []byte) []byte {
	e := envelope{source: netip.MustParseAddr(from), ttl: 250, protocol: ICMPv4}
	e.target = netip.MustParseAddr("198.18.0.2")
	header := ip4Len
	if e.source.Is6() {
		e.target, e.protocol, header = netip.MustParseAddr("2001:db8::1"), ICMPv6, ip6Len
	}
	pkt := append(make([]byte, header+8), quote...)
	e.body = pkt[header:]
	e.body[0], e.body[1] = kind, code
	binary.BigEndian.PutUint32(e.body[4:], info)
	e.write(pkt)
	check := ^slow(e.body)
	if e.source.Is6() {
		pseudo := append(bytes.Clone(e.addresses), 0, ICMPv6, byte(len(e.body)>>8), byte(len(e.body)))
		check = ^slow(append(pseudo, e.body...))
	}
	binary.BigEndian.PutUint16(e.body[2:], check)
	return pkt
}

func TestParseICMP(t *testing.T) {
	const r4, r6 = "203.0.113.1", "2001:db8:ffff::1"
	v4, v6 := octets(t, families[0].wire), octets(t, families[1].wire)
	for _, c := range []struct {
		name string
		pkt  []byte
		kind ICMPKind
		mtu  int
	}{
		{"IPv4 too big", complain(r4, 3, 4, 1400, v4[:28]), TooBig, 1400},
		{"IPv4 too big, size not told", complain(r4, 3, 4, 0, v4[:28]), TooBig, 0},
		{"IPv4 too big, unused half set", complain(r4, 3, 4, 0xffff0240, v4), TooBig, 576},
		{"IPv4 network unreachable", complain(r4, 3, 0, 0, v4[:28]), NoRoute, 0},
		{"IPv4 host unreachable", complain(r4, 3, 1, 0, v4), NoRoute, 0},
		{"IPv4 protocol unreachable", complain(r4, 3, 2, 0, v4), NoPort, 0},
		{"IPv4 port unreachable", complain(r4, 3, 3, 0, v4), NoPort, 0},
		{"IPv4 network prohibited", complain(r4, 3, 9, 0, v4), Filtered, 0},
		{"IPv4 host prohibited", complain(r4, 3, 10, 0, v4), Filtered, 0},
		{"IPv4 communication prohibited", complain(r4, 3, 13, 0, v4), Filtered, 0},
		{"IPv4 code of the future", complain(r4, 3, 77, 0, v4), NoRoute, 0},
		{"IPv6 too big", complain(r6, 2, 0, 1280, v6), TooBig, 1280},
		{"IPv6 too big for any packet", complain(r6, 2, 0, 0xffffffff, v6), TooBig, 65575},
		{"IPv6 no route", complain(r6, 1, 0, 0, v6[:48]), NoRoute, 0},
		{"IPv6 prohibited", complain(r6, 1, 1, 0, v6), Filtered, 0},
		{"IPv6 beyond scope", complain(r6, 1, 2, 0, v6), NoRoute, 0},
		{"IPv6 address unreachable", complain(r6, 1, 3, 0, v6), NoRoute, 0},
		{"IPv6 port unreachable", complain(r6, 1, 4, 0, v6), NoPort, 0},
		{"IPv6 source failed policy", complain(r6, 1, 5, 0, v6), Filtered, 0},
		{"IPv6 route rejected", complain(r6, 1, 6, 0, v6), Filtered, 0},
		{"IPv6 about extension headers", complain(r6, 1, 4, 0, extend(t, 0, "0600 010400000000")), NoPort, 0},
		{"IPv6 before routing is done", complain(r6, 1, 4, 0, extend(t, 43, "0600 0401 00000000")), NoPort, 0},
		{"IPv6 about a first fragment", complain(r6, 1, 4, 0, extend(t, 44, "0600 0001 12345678")), NoPort, 0},
	} {
		want := ICMP{Kind: c.kind, MTU: c.mtu, Protocol: TCP, Seq: 0xfffffff0, From: netip.MustParseAddr(r4)}
		want.Source, want.Target = ends(families[0].source, families[0].target)
		if c.pkt[0]>>4 == 6 {
			want.From = netip.MustParseAddr(r6)
			want.Source, want.Target = ends(families[1].source, families[1].target)
		}
		if got, err := ParseICMP(c.pkt); err != nil || got != want {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

// Routers quote what they had: another TTL, a wrong checksum, a fragment.
func TestICMPQuoteAltered(t *testing.T) {
	quote := octets(t, families[0].wire)
	quote[8], quote[10] = 1, 0xff
	quote[6] = 0x20 // the first fragment
	if m, err := ParseICMP(complain("203.0.113.1", 3, 4, 1400, quote)); err != nil || m.MTU != 1400 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestICMPAboutDatagram(t *testing.T) {
	quote := octets(t, families[0].wire)
	quote[9] = UDP
	m, err := ParseICMP(complain("203.0.113.1", 3, 3, 0, quote))
	if err != nil || m.Protocol != UDP || m.Seq != 0 || m.Target.String() != families[0].target {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestICMPReasons(t *testing.T) {
	const r4, r6 = "203.0.113.1", "2001:db8:ffff::1"
	v4, v6 := octets(t, families[0].wire), octets(t, families[1].wire)
	good := complain(r4, 3, 3, 0, v4)
	later, about := bytes.Clone(v4), bytes.Clone(v4)
	later[7], about[9] = 1, ICMPv4
	v6in4 := bytes.Clone(good)
	v6in4[9] = ICMPv6
	half := complain(r4, 3, 3, 0, nil)
	half[3] = ip4Len + 7
	for _, c := range []struct {
		name string
		pkt  []byte
		want error
	}{
		{"nothing", nil, ErrShort},
		{"cut", good[:len(good)-1], ErrShort},
		{"TCP", v4, ErrNotICMP},
		{"TCP over IPv6", v6, ErrNotICMP},
		{"echo", complain(r4, 8, 0, 0, v4), ErrNotICMP},
		{"echo over IPv6", complain(r6, 128, 0, 0, v6), ErrNotICMP},
		{"time exceeded", complain(r4, 11, 0, 0, v4), ErrNotICMP},
		{"ICMPv6 over IPv4", mendIP(v6in4), ErrNotICMP},
		{"half a header", mendIP(half), ErrShort},
		{"without a quote", complain(r4, 3, 3, 0, nil), ErrShort},
		{"quote without ports", complain(r4, 3, 3, 0, v4[:27]), ErrShort},
		{"quote without ports over IPv6", complain(r6, 1, 4, 0, v6[:47]), ErrShort},
		{"quote of the other family", complain(r4, 3, 3, 0, v6), ErrNotICMP},
		{"quote of a later fragment", complain(r4, 3, 3, 0, later), ErrFragment},
		{"quote of ICMP", complain(r4, 3, 3, 0, about), ErrNotICMP},
		{"quote of nonsense", complain(r4, 3, 3, 0, make([]byte, 40)), ErrVersion},
		{"quote of an impossible header", complain(r4, 3, 3, 0, append([]byte{0x4f}, v4[1:28]...)), ErrShort},
	} {
		if m, err := ParseICMP(c.pkt); err != c.want || m != (ICMP{}) {
			t.Errorf("%s: %+v, %v; want %v", c.name, m, err, c.want)
		}
	}
	for i := range good[ip4Len:] {
		bad := bytes.Clone(good)
		bad[ip4Len+i] ^= 0x10
		if _, err := ParseICMP(bad); err == nil {
			t.Errorf("octet %d altered: nobody noticed", i)
		}
	}
}
