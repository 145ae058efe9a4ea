package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// extend puts extension headers into the IPv6 packet of families. The last one must name TCP.
func extend(t *testing.T, first uint8, headers string) []byte {
	good, ext := octets(t, families[1].wire), octets(t, headers)
	pkt := append(append(bytes.Clone(good[:ip6Len]), ext...), good[ip6Len:]...)
	pkt[6] = first
	binary.BigEndian.PutUint16(pkt[4:], uint16(len(pkt)-ip6Len))
	return pkt
}

func TestExtensionHeaders(t *testing.T) {
	for _, c := range []struct {
		name    string
		first   uint8
		headers string
		want    error
	}{
		{"none", TCP, "", nil},
		{"hop-by-hop options", 0, "0600 010400000000", nil},
		{"longer destination options", 60, "0601 0104000000000106000000000000", nil},
		{"routing done with", 43, "0600 0400 00000000", nil},
		{"routing not done with", 43, "0600 0401 00000000", ErrExtension},
		{"all of them", 0, "3c00 010400000000 2b00 010400000000 0600 0400 00000000", nil},
		{"a fragment that is the whole", 44, "0600 0000 12345678", nil},
		{"first fragment", 44, "0600 0001 12345678", ErrFragment},
		{"later fragment", 44, "0600 0008 12345678", ErrFragment},
		{"authentication", 51, "0604 0000 0000000000000000 0000000000000000 00000000", ErrNotTCP},
		{"no more headers", 60, "3b00 010400000000", ErrNotTCP},
		{"longer than the packet", 0, "06ff 010400000000", ErrShort},
		{"headers without end", 60, "3c00 010400000000 3c07 010400000000", ErrShort},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Segment
			err := s.Parse(extend(t, c.first, c.headers))
			if err != c.want || err == nil && string(s.Payload) != "hello" {
				t.Errorf("%v, %v; want %v", &s, err, c.want)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	v4, v6 := octets(t, families[0].wire), octets(t, families[1].wire)
	change := func(pkt []byte, at int, to byte) []byte {
		pkt = bytes.Clone(pkt)
		pkt[at] = to
		if pkt[0]>>4 == 4 {
			mendIP(pkt)
		}
		return pkt
	}
	for _, c := range []struct {
		name           string
		pkt            []byte
		source, target string
		protocol       uint8
		err            error
	}{
		{"TCP over IPv4", v4, "198.18.0.2:40000", "192.0.2.7:443", TCP, nil},
		{"TCP over IPv6", v6, "[2001:db8::1]:40000", "[2001:db8::2]:443", TCP, nil},
		{"UDP", change(v4, 9, UDP), "198.18.0.2:40000", "192.0.2.7:443", UDP, nil},
		{"ICMP has no ports", change(v4, 9, ICMPv4), "198.18.0.2:0", "192.0.2.7:0", ICMPv4, nil},
		{"behind options", extend(t, 60, "1100 010400000000"), "[2001:db8::1]:40000", "[2001:db8::2]:443", UDP, nil},
		{"payload altered", change(v6, len(v6)-1, 0), "[2001:db8::1]:40000", "[2001:db8::2]:443", TCP, nil},
		{"no room for ports", mendIP(change(v4, 3, 23)), "invalid AddrPort", "invalid AddrPort", 0, ErrShort},
		{"fragment", change(v4, 6, 0x20), "invalid AddrPort", "invalid AddrPort", 0, ErrFragment},
		{"nothing", nil, "invalid AddrPort", "invalid AddrPort", 0, ErrShort},
	} {
		source, target, protocol, err := Addresses(c.pkt)
		if source.String() != c.source || target.String() != c.target || protocol != c.protocol || err != c.err {
			t.Errorf("%s: %v > %v, %d, %v", c.name, source, target, protocol, err)
		}
	}
}
