package packet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"tandem/engine/wire"
)

var (
	a4, b4, r4 = netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.18.0.1")
	a6, b6, r6 = netip.MustParseAddr("fd00::2"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fd00::1")
)

func octets(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t *testing.T, pkt []byte) Packet {
	t.Helper()
	var p Packet
	if err := p.Parse(pkt); err != nil {
		t.Fatalf("%v of %x", err, pkt)
	}
	return p
}

// Golden packets: headers and checksums were worked out apart from this code.
func TestGolden(t *testing.T) {
	for _, c := range []struct {
		what string
		got  []byte
		want string
	}{
		{"UDP over IPv4",
			(&Packet{Source: a4, Target: b4, TOS: 0xb8, TTL: 9, DF: true}).AppendUDP(nil, 4000, 53, []byte("hi!")),
			"45b8001f 00004000 0911e900 c6120002 c0000201  0fa00035 000bde83 686921"},
		{"UDP over IPv6",
			(&Packet{Source: a6, Target: b6, TOS: 0xb8, TTL: 9}).AppendUDP(nil, 4000, 53, []byte("hi!")),
			"6b800000 000b1109 fd000000000000000000000000000002 20010db8000000000000000000000001  0fa00035 000b3bdd 686921"},
		{"echo request of IPv4",
			(&Packet{Source: a4, Target: b4}).AppendEcho(nil, Echo{ID: 0x1234, Seq: 7, Payload: []byte("ab")}),
			"4500001e 00000000 4001f2c9 c6120002 c0000201  08008462 12340007 6162"},
		{"echo reply of IPv6",
			(&Packet{Source: b6, Target: a6}).AppendEcho(nil, Echo{Reply: true, ID: 0x1234, Seq: 7, Payload: []byte("ab")}),
			"60000000 000a3a40 20010db8000000000000000000000001 fd000000000000000000000000000002  8100e060 12340007 6162"},
	} {
		if want := octets(t, c.want); !bytes.Equal(c.got, want) {
			t.Errorf("%s:\ngot  %x\nwant %x", c.what, c.got, want)
		}
	}
}

// engine/wire, which knows these packets from another side, agrees.
func TestWireAgrees(t *testing.T) {
	for _, p := range []Packet{{Source: a4, Target: b4, TOS: 3, TTL: 5, DF: true}, {Source: a6, Target: b6, TOS: 0xfd, TTL: 5}} {
		pkt := p.AppendUDP(nil, 1000, 2000, []byte("payload"))
		var d wire.Datagram
		if err := d.Parse(pkt); err != nil {
			t.Fatal(err)
		}
		want := wire.Datagram{Source: netip.AddrPortFrom(p.Source, 1000), Target: netip.AddrPortFrom(p.Target, 2000),
			TOS: p.TOS, TTL: 5, Payload: []byte("payload")}
		if !reflect.DeepEqual(d, want) {
			t.Errorf("got %+v, want %+v", d, want)
		}
		if !bytes.Equal(d.Append(nil), pkt) {
			t.Errorf("got %x, want %x", pkt, d.Append(nil))
		}
	}
}

// What is written is read again as it was.
func TestRoundTrip(t *testing.T) {
	for _, c := range []Packet{
		{Source: a4, Target: b4, TOS: 1, TTL: 2, DF: true, Protocol: 47, Body: []byte("x")},
		{Source: a4, Target: b4, TTL: 255, ID: 0xbeef, Offset: 1480, More: true, Protocol: 17, Body: make([]byte, 16)},
		{Source: a6, Target: b6, TOS: 0xff, TTL: 2, DF: true, Protocol: 47, Body: []byte("x")},
		{Source: a6, Target: b6, TTL: 2, DF: true, ID: 0xdeadbeef, Offset: 1232, Protocol: 17, Body: []byte("last")},
		{Source: a6, Target: b6, TTL: 2, DF: true, ID: 0xdeadbeef, More: true, Protocol: 17, Body: make([]byte, 16)},
	} {
		pkt := c.Append([]byte("before"))
		if !bytes.HasPrefix(pkt, []byte("before")) || len(pkt) != 6+c.HeaderLen()+len(c.Body) {
			t.Fatalf("%x", pkt)
		}
		if got := parse(t, append(pkt[6:], "behind"...)); !reflect.DeepEqual(got, c) {
			t.Errorf("got  %+v\nwant %+v", got, c)
		}
	}
}

// Extension headers are passed: hop-by-hop, destination, a routing header that is spent, a fragment that is the whole.
func TestExtensions(t *testing.T) {
	head := (&Packet{Source: a6, Target: b6, Protocol: 0}).Append(nil)
	with := func(extensions string) []byte {
		pkt := append(bytes.Clone(head), octets(t, extensions)...)
		pkt[5] = byte(len(pkt) - header6)
		return pkt
	}
	for _, c := range []struct {
		what, extensions string
		want             error
	}{
		{"all", "3c00000000000000 2b01000000000000 0000000000000000 2c00000000000000 1100000000000009 aabb", nil},
		{"route not done", "2b00000000000000 1100000100000000 aabb", wire.ErrExtension},
		{"cut", "3c00000000", wire.ErrShort},
		{"too long", "1101000000000000 aabb", wire.ErrShort},
		{"cut route", "2b04000000000000 aabb", wire.ErrShort},
	} {
		var p Packet
		if err := p.Parse(with(c.extensions)); err != c.want {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
		if c.want == nil && (p.Protocol != wire.UDP || string(p.Body) != "\xaa\xbb" || p.ID != 9 || p.Fragment()) {
			t.Errorf("%s: %+v", c.what, p)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good4 := (&Packet{Source: a4, Target: b4}).AppendUDP(nil, 1, 2, []byte("abc"))
	good6 := (&Packet{Source: a6, Target: b6}).AppendUDP(nil, 1, 2, []byte("abc"))
	broken := func(pkt []byte, at int, with byte) []byte {
		pkt = bytes.Clone(pkt)
		pkt[at] = with
		return pkt
	}
	for _, c := range []struct {
		what string
		pkt  []byte
		want error
	}{
		{"nothing", nil, wire.ErrShort},
		{"version", []byte{0x55}, wire.ErrVersion},
		{"short 4", good4[:19], wire.ErrShort},
		{"short 6", good6[:39], wire.ErrShort},
		{"cut 4", good4[:30], wire.ErrShort},
		{"cut 6", good6[:50], wire.ErrShort},
		{"header length", broken(good4, 0, 0x44), wire.ErrLength},
		{"header checksum", broken(good4, 8, 63), wire.ErrHeaderChecksum},
		{"mapped", (&Packet{Source: netip.MustParseAddr("::ffff:1.2.3.4"), Target: b6}).Append(nil), wire.ErrAddress},
	} {
		p := Packet{TOS: 1}
		if err := p.Parse(c.pkt); err != c.want || !reflect.DeepEqual(p, Packet{}) {
			t.Errorf("%s: %v, want %v; left %+v", c.what, err, c.want, p)
		}
	}
	for _, c := range []struct {
		what string
		p    Packet
		want error
	}{
		{"UDP checksum", parse(t, broken(good4, 30, 'x')), wire.ErrChecksum},
		{"UDP without checksum over IPv6", parse(t, broken(broken(good6, 46, 0), 47, 0)), wire.ErrChecksum},
		{"UDP length", parse(t, broken(good6, 45, 200)), wire.ErrLength},
		{"UDP cut", Packet{Source: a4, Target: b4, Protocol: wire.UDP, Body: make([]byte, 7)}, wire.ErrShort},
		{"fragment", Packet{Source: a4, Target: b4, Protocol: wire.UDP, More: true}, wire.ErrFragment},
		{"no UDP", Packet{Source: a4, Target: b4, Protocol: 6}, wire.ErrNotUDP},
	} {
		if _, _, _, err := c.p.UDP(); err != c.want {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
	p := parse(t, broken(broken(good4, 26, 0), 27, 0))
	if _, _, payload, err := p.UDP(); err != nil || string(payload) != "abc" {
		t.Errorf("UDP without checksum over IPv4: %q, %v", payload, err)
	}
}

func TestEcho(t *testing.T) {
	for _, h := range []Packet{{Source: a4, Target: b4}, {Source: a6, Target: b6}} {
		for _, want := range []Echo{{ID: 7, Seq: 0xffff, Payload: []byte("abc")}, {Reply: true, Seq: 1, Payload: []byte{}}} {
			pkt := h.AppendEcho(nil, want)
			p := parse(t, pkt)
			if got, err := p.Echo(); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
			pkt[len(pkt)-1] ^= 1
			if _, err := p.Echo(); err != wire.ErrChecksum {
				t.Errorf("altered: %v", err)
			}
		}
		if p := parse(t, h.AppendUDP(nil, 1, 2, nil)); true {
			if _, err := p.Echo(); err != ErrNotEcho {
				t.Errorf("UDP: %v", err)
			}
		}
		if p := parse(t, AppendError(nil, h.Target, NoPort, 0, h.AppendUDP(nil, 1, 2, nil))); true {
			if _, err := p.Echo(); err != ErrNotEcho {
				t.Errorf("an error: %v", err)
			}
		}
	}
}

// What can be no packet is none.
func TestImpossible(t *testing.T) {
	for _, c := range [][]byte{
		(&Packet{Source: a4, Target: b6}).Append(nil),
		(&Packet{Source: a4}).Append(nil),
		(&Packet{}).AppendUDP(nil, 1, 2, nil),
		(&Packet{Source: a4, Target: b4}).AppendUDP(nil, 1, 2, make([]byte, 65508)),
		(&Packet{Source: a6, Target: b6}).AppendUDP(nil, 1, 2, make([]byte, 65528)),
		(&Packet{Source: a6, Target: b6}).AppendEcho(nil, Echo{Payload: make([]byte, 65528)}),
	} {
		if len(c) > 0 {
			t.Errorf("%d octets: %x", len(c), c[:20])
		}
	}
	for _, n := range []int{
		len((&Packet{Source: a4, Target: b4}).AppendUDP(nil, 1, 2, make([]byte, 65507))) - 65535,
		len((&Packet{Source: a6, Target: b6}).AppendUDP(nil, 1, 2, make([]byte, 65527))) - 65575,
	} {
		if n != 0 {
			t.Errorf("the longest packet is off by %d", n)
		}
	}
}

func TestErrors(t *testing.T) {
	udp4 := (&Packet{Source: a4, Target: b4, TOS: 8, TTL: 1}).AppendUDP(nil, 1000, 2000, make([]byte, 900))
	udp6 := (&Packet{Source: a6, Target: b6, TOS: 8, TTL: 1}).AppendUDP(nil, 1000, 2000, make([]byte, 1400))
	for _, c := range []struct {
		kind   Kind
		v4, v6 string // type, code and the four octets behind the checksum
	}{
		{NoNet, "0300 00000000", "0100 00000000"},
		{NoHost, "0301 00000000", "0103 00000000"},
		{NoProtocol, "0302 00000000", "0401 00000006"},
		{NoPort, "0303 00000000", "0104 00000000"},
		{Prohibited, "030d 00000000", "0101 00000000"},
		{Expired, "0b00 00000000", "0300 00000000"},
		{TooBig, "0304 00000550", "0200 00000550"},
	} {
		for _, f := range []struct {
			from  netip.Addr
			about []byte
			want  string
			max   int
		}{{r4, udp4, c.v4, 576}, {r6, udp6, c.v6, 1280}} {
			pkt := AppendError(nil, f.from, c.kind, 1360, f.about)
			p := parse(t, pkt)
			if p.Source != f.from || p.Target != parse(t, f.about).Source || p.TOS != 0xc0 || p.TTL != 64 || len(pkt) != f.max {
				t.Fatalf("%d: %+v", c.kind, p)
			}
			if got := append(bytes.Clone(p.Body[:2]), p.Body[4:8]...); !bytes.Equal(got, octets(t, f.want)) {
				t.Errorf("%d: %x, want %s", c.kind, got, f.want)
			}
			if !bytes.Equal(p.Body[8:], f.about[:len(p.Body)-8]) || p.icmpSum(p.Body) != 0 {
				t.Errorf("%d: the quote or the checksum is wrong", c.kind)
			}
			if got := KindOf(f.from.Is4(), p.Body[0], p.Body[1]); got != c.kind {
				t.Errorf("%d is read as %d", c.kind, got)
			}
			m, err := wire.ParseICMP(pkt)
			if c.kind != NoProtocol && c.kind != Expired && (err != nil || m.From != f.from || m.Source.Port() != 1000) {
				t.Errorf("%d: engine/wire reads %+v, %v", c.kind, m, err)
			}
		}
	}
}

func TestErrorsAboutWhatNobodyMayComplain(t *testing.T) {
	udp := func(p Packet) []byte { return p.AppendUDP(nil, 1, 2, nil) }
	raw := func(p Packet, protocol uint8, body ...byte) []byte {
		p.Protocol, p.Body = protocol, body
		return p.Append(nil)
	}
	four, six := Packet{Source: a4, Target: b4}, Packet{Source: a6, Target: b6}
	multicast4, multicast6 := netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("ff02::fb")
	for _, c := range []struct {
		what  string
		from  netip.Addr
		kind  Kind
		about []byte
		want  bool
	}{
		{"UDP", r4, NoPort, udp(four), true},
		{"another family", r6, NoPort, udp(four), false},
		{"no kind", r4, 0, udp(four), false},
		{"no such kind", r4, TooBig + 1, udp(four), false},
		{"no packet", r4, NoPort, []byte("nonsense"), false},
		{"an error", r4, NoPort, AppendError(nil, b4, NoPort, 0, udp(Packet{Source: a4, Target: b4})), false},
		{"an error of IPv6", r6, NoPort, AppendError(nil, b6, NoPort, 0, udp(six)), false},
		{"a redirect", r6, NoPort, raw(six, wire.ICMPv6, 137, 0, 0, 0), false},
		{"empty ICMP", r4, NoPort, raw(four, wire.ICMPv4), false},
		{"what is left of a packet", r4, NoPort, udp(four)[:28], true},
		{"what is left of a header", r4, NoPort, udp(four)[:19], false},
		{"an echo", r4, NoHost, four.AppendEcho(nil, Echo{}), true},
		{"an echo of IPv6", r6, NoHost, six.AppendEcho(nil, Echo{}), true},
		{"the first fragment", r4, NoHost, raw(Packet{Source: a4, Target: b4, More: true}, wire.UDP, make([]byte, 8)...), true},
		{"the second fragment", r4, NoHost, raw(Packet{Source: a4, Target: b4, Offset: 8}, wire.UDP, make([]byte, 8)...), false},
		{"to a group", r4, TooBig, udp(Packet{Source: a4, Target: multicast4}), false},
		{"to a group of IPv6", r6, NoHost, udp(Packet{Source: a6, Target: multicast6}), false},
		{"too big to a group of IPv6", r6, TooBig, udp(Packet{Source: a6, Target: multicast6}), true},
		{"to all", r4, NoHost, udp(Packet{Source: a4, Target: broadcast}), false},
		{"from nobody", r4, NoHost, udp(Packet{Source: netip.IPv4Unspecified(), Target: b4}), false},
		{"from all", r4, NoHost, udp(Packet{Source: broadcast, Target: b4}), false},
		{"from a group", r6, NoHost, udp(Packet{Source: multicast6, Target: b6}), false},
	} {
		if got := AppendError(nil, c.from, c.kind, 1280, c.about); len(got) > 0 != c.want {
			t.Errorf("%s: %x", c.what, got)
		}
	}
}

func TestKindOf(t *testing.T) {
	for _, c := range []struct {
		v4         bool
		kind, code uint8
		want       Kind
	}{
		{true, 3, 6, NoNet}, {true, 3, 11, NoNet}, {true, 3, 5, NoHost}, {true, 3, 7, NoHost}, {true, 3, 9, Prohibited},
		{true, 3, 10, Prohibited}, {true, 11, 1, 0}, {true, 0, 0, 0}, {true, 12, 0, 0},
		{false, 1, 2, NoHost}, {false, 1, 5, Prohibited}, {false, 1, 6, Prohibited}, {false, 3, 1, 0}, {false, 4, 0, 0}, {false, 128, 0, 0},
	} {
		if got := KindOf(c.v4, c.kind, c.code); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

func TestWhy(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Kind
	}{
		{nil, 0},
		{syscall.EAGAIN, 0},
		{errors.New("other"), 0},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, NoPort},
		{syscall.ENETUNREACH, NoNet},
		{syscall.EAFNOSUPPORT, NoNet},
		{syscall.EHOSTUNREACH, NoHost},
		{syscall.ETIMEDOUT, NoHost},
		{os.ErrDeadlineExceeded, NoHost},
		{fmt.Errorf("reach: %w", os.ErrPermission), Prohibited},
		{syscall.EACCES, Prohibited},
		{syscall.EMSGSIZE, TooBig},
	} {
		if got := Why(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

// A packet that is understood is written again as it was, however it came; answers about it are packets.
func FuzzPacket(f *testing.F) {
	f.Add((&Packet{Source: a4, Target: b4}).AppendUDP(nil, 1, 2, []byte("abc")))
	f.Add((&Packet{Source: a6, Target: b6}).AppendEcho(nil, Echo{ID: 1, Payload: []byte("abc")}))
	f.Add((&Packet{Source: a6, Target: b6, More: true, Protocol: 17, Body: make([]byte, 8)}).Append(nil))
	f.Fuzz(func(t *testing.T, pkt []byte) {
		if len(pkt) >= header4 && pkt[0] == 0x45 {
			pkt = bytes.Clone(pkt)
			pkt[10], pkt[11] = 0, 0
			check := checksum(pkt[:header4])
			pkt[10], pkt[11] = byte(check>>8), byte(check)
		}
		var first, second Packet
		if err := first.Parse(pkt); err != nil {
			return
		}
		p := first
		p.UDP()
		p.Echo()
		for _, from := range []netip.Addr{r4, r6} {
			if answer := AppendError(nil, from, NoPort, 0, pkt); len(answer) > 0 {
				if err := new(Packet).Parse(answer); err != nil || from.Is4() != first.Target.Is4() {
					t.Fatalf("%v: %x", err, answer)
				}
			}
		}
		first.TTL = max(first.TTL, 1)
		again := first.Append(nil)
		if err := second.Parse(again); err != nil {
			t.Fatal(err)
		}
		if !first.Fragment() && first.Target.Is6() {
			first.ID = 0 // went with the extension header
		}
		if !bytes.Equal(second.Body, first.Body) || second.Fragment() != first.Fragment() || second.ID != first.ID ||
			second.Source != first.Source || second.Target != first.Target || second.TOS != first.TOS || second.Offset != first.Offset {
			t.Fatalf("first  %+v\nsecond %+v", first, second)
		}
	})
}
