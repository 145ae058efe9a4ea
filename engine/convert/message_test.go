package convert

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// octets reads hex with blanks; "00*n" is n zeros.
func octets(t testing.TB, text string) []byte {
	t.Helper()
	var b []byte
	for _, w := range strings.Fields(text) {
		if n, ok := strings.CutPrefix(w, "00*"); ok {
			k := 0
			for _, d := range n {
				k = k*10 + int(d-'0')
			}
			b = append(b, make([]byte, k)...)
			continue
		}
		part, err := hex.DecodeString(w)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, part...)
	}
	return b
}

var (
	server4 = netip.MustParseAddrPort("192.0.2.1:443")
	server6 = netip.MustParseAddrPort("[2001:db8::1]:80")
)

const (
	toServer4 = "01bb 00*10 ffff c0000201"
	toServer6 = "0050 20010db8 00*8 00000001"
)

var golden = []struct {
	name string
	wire string
	m    Message
}{
	{"header alone", "01 01 2263", Message{}},
	{"Info", "01 02 2263 01 01 0000", Message{Has: HasInfo}},
	{"Supported", "01 03 2263 15 02 0000 1e 04 08 22", Message{Has: HasSupported, Supported: []byte{30, 4, 8, 34}}},
	{"Supported, padded", "01 03 2263 15 02 0000 1e 00 00 00", Message{Has: HasSupported, Supported: []byte{30}}},
	{"Supported, none", "01 02 2263 15 01 0000", Message{Has: HasSupported, Supported: []byte{}}},
	{"Connect, IPv4", "01 06 2263 0a 05 " + toServer4, Message{Has: HasConnect, Target: server4}},
	{"Connect, IPv6", "01 06 2263 0a 05 " + toServer6, Message{Has: HasConnect, Target: server6}},
	{"Connect, MPTCP and SACK permitted", "01 07 2263 0a 06 " + toServer4 + "1e 02 04 02",
		Message{Has: HasConnect, Target: server4, Options: Options{30, 2, 4, 2}}},
	{"Connect, padded", "01 08 2263 0a 07 " + toServer4 + "22 06 01020304 0000",
		Message{Has: HasConnect, Target: server4, Options: Options{34, 6, 1, 2, 3, 4}}},
	{"answer", "01 04 2263 14 03 0000 02 04 05b4 04 02 01 01",
		Message{Has: HasExtended, SYNACK: []byte{2, 4, 5, 0xb4, 4, 2, 1, 1}}},
	{"answer without options", "01 02 2263 14 01 0000", Message{Has: HasExtended, SYNACK: []byte{}}},
	{"Cookie and Connect", "01 08 2263 16 02 0000 c0ffee00 0a 05 " + toServer4,
		Message{Has: HasCookie | HasConnect, Cookie: []byte{0xc0, 0xff, 0xee, 0}, Target: server4}},
	{"Info and Connect", "01 07 2263 01 01 0000 0a 05 " + toServer4, Message{Has: HasInfo | HasConnect, Target: server4}},
	{"answer and Supported", "01 05 2263 14 02 0000 04 02 01 01 15 02 0000 1e 04 08 22",
		Message{Has: HasExtended | HasSupported, SYNACK: []byte{4, 2, 1, 1}, Supported: []byte{30, 4, 8, 34}}},
	{"Error 0, version 1", "01 02 2263 1e 01 00 01", Message{Has: HasError, Error: Failure{UnsupportedVersion, []byte{1}}}},
	{"Error 1", "01 04 2263 1e 03 01 00 01 02 2263 63 01 0000",
		Message{Has: HasError, Error: Failure{MalformedMessage, []byte{0, 1, 2, 0x22, 0x63, 0x63, 1, 0, 0}}}},
	{"Error 3", "01 03 2263 1e 02 03 00 c0ffee00", Message{Has: HasError, Error: Failure{MissingCookie, []byte{0, 0xc0, 0xff, 0xee, 0}}}},
	{"Error 32", "01 02 2263 1e 01 20 00", Message{Has: HasError, Error: Failure{NotAuthorized, []byte{0}}}},
	{"Error 33, kind 29", "01 02 2263 1e 01 21 1d", Message{Has: HasError, Error: Failure{UnsupportedOption, []byte{29}}}},
	{"Error 33, two kinds", "01 03 2263 1e 02 21 1d fd 000000",
		Message{Has: HasError, Error: Failure{UnsupportedOption, []byte{29, 253, 0, 0, 0}}}},
	{"Error 64, 30 s", "01 02 2263 1e 01 40 1e", Message{Has: HasError, Error: Failure{ResourceExceeded, []byte{30}}}},
	{"Error 96", "01 02 2263 1e 01 60 00", Message{Has: HasError, Error: Failure{ConnectionReset, []byte{0}}}},
	{"Error 97, port unreachable", "01 02 2263 1e 01 61 03", Message{Has: HasError, Error: Failure{DestinationUnreachable, []byte{3}}}},
}

func TestGolden(t *testing.T) {
	for _, c := range golden {
		want := octets(t, c.wire)
		if got := c.m.Append([]byte("x")); !bytes.Equal(got[1:], want) || c.m.Len() != len(want) {
			t.Errorf("%s: %x, %d octets, want %x", c.name, got[1:], c.m.Len(), want)
		}
		var m Message
		if err := m.Parse(append(want, "user data"...)); err != nil || !same(m, c.m) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", c.name, err, m, c.m)
		}
	}
}

// same: empty slices are as good as none.
func same(a, b Message) bool {
	return bytes.Equal(a.Append(nil), b.Append(nil)) && a.Has == b.Has && a.Target == b.Target &&
		bytes.Equal(a.Options, b.Options) && bytes.Equal(a.Supported, b.Supported)
}

// What fails wants no more than the parts without zeros at their end.
func TestAppendPads(t *testing.T) {
	for _, c := range []struct {
		name string
		m    Message
		want string
	}{
		{"kinds", Message{Has: HasError, Error: Failure{UnsupportedOption, []byte{29, 253}}}, "01 03 2263 1e 02 21 1d fd 000000"},
		{"no value", Message{Has: HasError, Error: Failure{Code: ConnectionReset}}, "01 02 2263 1e 01 60 00"},
		{"cookie", Message{Has: HasCookie, Cookie: []byte{1, 2, 3, 4, 5}}, "01 04 2263 16 03 0000 01020304 05 000000"},
		{"options of the SYN/ACK", Message{Has: HasExtended, SYNACK: []byte{4, 2}}, "01 03 2263 14 02 0000 04 02 00 00"},
	} {
		if got, want := c.m.Append(nil), octets(t, c.want); !bytes.Equal(got, want) || c.m.Len() != len(want) {
			t.Errorf("%s: %x, %d octets, want %x", c.name, got, c.m.Len(), want)
		}
	}
}

func TestMessageIsBounded(t *testing.T) {
	m := Message{Has: HasCookie, Cookie: make([]byte, MaxLen-HeaderLen-tlvLen)}
	if b := m.Append(nil); len(b) != MaxLen || b[1] != 255 || b[5] != 254 {
		t.Errorf("%d octets, % x", len(b), b[:6])
	}
	m.Cookie = append(m.Cookie, 1)
	if b := m.Append([]byte("x")); string(b) != "x" {
		t.Errorf("%d octets", len(b)-1)
	}
}

func TestMalformed(t *testing.T) {
	for _, c := range []struct {
		name string
		wire string
		want error
	}{
		{"nothing", "", ErrShort},
		{"half a header", "01 01 22", ErrShort},
		{"another protocol", "47 45 54 20", ErrMagic},
		{"version 0", "00 01 2263", ErrVersion},
		{"version 2", "02 01 2263", ErrVersion},
		{"Total Length 0", "01 00 2263", ErrLength},
		{"Total Length beyond what is here", "01 03 2263 01 01 0000", ErrShort},
		{"Total Length 255 beyond what is here", "01 ff 2263 01 01 0000", ErrShort},
		{"TLV of length 0", "01 02 2263 01 00 0000", ErrFraming},
		{"TLV across the end, though more follows", "01 02 2263 15 02 0000 1e000000", ErrFraming},
		{"TLV of length 255", "01 02 2263 15 ff 0000", ErrFraming},
		{"last TLV of length 0", "01 03 2263 01 01 0000 15 00 0000", ErrFraming},
		{"type 0", "01 02 2263 00 01 0000", ErrType},
		{"type 0 for padding", "01 03 2263 01 01 0000 00000000", ErrFraming},
		{"unknown type", "01 02 2263 63 01 0000", ErrType},
		{"long Info", "01 03 2263 01 02 0000 00000000", ErrFraming},
		{"short Connect", "01 05 2263 0a 04 01bb 00*10 ffff", ErrFraming},
		{"option of length 0", "01 07 2263 0a 06 " + toServer4 + "1e 00 00 00", ErrFraming},
		{"option of length 1", "01 07 2263 0a 06 " + toServer4 + "1e 01 00 00", ErrFraming},
		{"option across the end", "01 07 2263 0a 06 " + toServer4 + "22 06 01 02", ErrFraming},
		{"half an option", "01 07 2263 0a 06 " + toServer4 + "04 02 01 1e", ErrFraming},
		{"Info twice", "01 03 2263 01 01 0000 01 01 0000", ErrDuplicate},
		{"Connect twice", "01 0b 2263 0a 05 " + toServer4 + " 0a 05 " + toServer4, ErrDuplicate},
		{"Extended TCP Header twice", "01 03 2263 14 01 0000 14 01 0000", ErrDuplicate},
		{"Supported twice", "01 03 2263 15 01 0000 15 01 0000", ErrDuplicate},
		{"Cookie twice", "01 03 2263 16 01 0000 16 01 0000", ErrDuplicate},
		{"Error twice", "01 03 2263 1e 01 6000 1e 01 6000", ErrDuplicate},
	} {
		m := Message{Has: HasInfo}
		if err := m.Parse(octets(t, c.wire)); !errors.Is(err, c.want) || !reflect.DeepEqual(m, Message{}) {
			t.Errorf("%s: %v, %+v, want %v", c.name, err, m, c.want)
		}
	}
}

// The 16 bits that are unassigned are ignored.
func TestUnassignedBits(t *testing.T) {
	for _, wire := range []string{"01 02 2263 01 01 ffff", "01 03 2263 14 02 ffff 04020101", "01 03 2263 15 02 ffff 1e000000", "01 03 2263 16 02 ffff 01020304"} {
		var m Message
		if err := m.Parse(octets(t, wire)); err != nil || m.Len() != len(octets(t, wire)) {
			t.Errorf("%s: %v", wire, err)
		}
	}
}

// No cut of a message is a message, and nothing behind it is looked at.
func TestCutAnywhere(t *testing.T) {
	for _, c := range golden {
		b := octets(t, c.wire)
		for n := range b {
			var m Message
			if err := m.Parse(b[:n:n]); !errors.Is(err, ErrShort) {
				t.Errorf("%s: %v after %d octets", c.name, err, n)
			}
		}
	}
}

func TestCodecAllocatesNothing(t *testing.T) {
	b := octets(t, "01 09 2263 16 02 0000 c0ffee00 0a 06 "+toServer4+"1e 02 04 02")
	buf := make([]byte, 0, MaxLen)
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		if m.Parse(b) != nil || len(m.Append(buf)) != len(b) {
			t.Error(m)
		}
		for kind := range m.Options.All() {
			buf[:1][0] = kind
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A reader gives the same however a stream is cut.
func TestReaderInPieces(t *testing.T) {
	for _, c := range golden {
		message := octets(t, c.wire)
		stream := append(bytes.Clone(message), "user"...)
		for at := range len(stream) + 1 {
			var r reader
			rest, done, err := r.read(stream[:at])
			if err != nil || done != (at >= len(message)) {
				t.Fatalf("%s: %v, %v after %d", c.name, done, err, at)
			}
			more, done, err := r.read(stream[at:])
			if got := string(rest) + string(more); err != nil || !done || got != "user" || !bytes.Equal(r.got, message) {
				t.Fatalf("%s: %v, %v, %q, %x, cut at %d", c.name, done, err, got, r.got, at)
			}
		}
	}
}
