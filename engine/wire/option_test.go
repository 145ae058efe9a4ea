package wire

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
)

// Values of the vectors below.
const (
	keyA   = 0x0102030405060708
	keyB   = 0x1112131415161718
	otherB = 0x2122232425262728
)

// golden holds every option at every length.
var golden = []struct {
	name string
	wire string
	o    Options
}{
	{"MSS", "02 04 05b4", Options{Has: HasMSS, MSS: 1460}},
	{"window scale", "03 03 07", Options{Has: HasWindowScale, WindowScale: 7}},
	{"SACK permitted", "04 02", Options{Has: HasSACKPermitted}},
	{"timestamps", "08 0a 00000064 ffffffff", Options{Has: HasTimestamps, TSVal: 100, TSEcr: 0xffffffff}},
	{"SACK, 1", "05 0a 00000001 00000002", Options{Has: HasSACK, SACKs: 1, SACK: [4]Block{{1, 2}}}},
	{"SACK, 2", "05 12 00000001 00000002 fffffffe 00000004",
		Options{Has: HasSACK, SACKs: 2, SACK: [4]Block{{1, 2}, {0xfffffffe, 4}}}},
	{"SACK, 3", "05 1a 00000001 00000002 00000003 00000004 00000005 00000006",
		Options{Has: HasSACK, SACKs: 3, SACK: [4]Block{{1, 2}, {3, 4}, {5, 6}}}},
	{"SACK, 4", "05 22 00000001 00000002 00000003 00000004 00000005 00000006 00000007 00000008",
		Options{Has: HasSACK, SACKs: 4, SACK: [4]Block{{1, 2}, {3, 4}, {5, 6}, {7, 8}}}},
	{"TFO, request", "22 02", Options{Has: HasFastOpen}},
	{"TFO, shortest", "22 06 01020304", Options{Has: HasFastOpen, Cookie: FastOpen{Len: 4, Cookie: [16]byte{1, 2, 3, 4}}}},
	{"TFO, usual", "22 0a 0102030405060708",
		Options{Has: HasFastOpen, Cookie: FastOpen{Len: 8, Cookie: [16]byte{1, 2, 3, 4, 5, 6, 7, 8}}}},
	{"TFO, longest", "22 12 0102030405060708 090a0b0c0d0e0f10",
		Options{Has: HasFastOpen, Cookie: FastOpen{Len: 16, Cookie: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}}}},

	{"MP_CAPABLE, SYN", "1e 04 01 81",
		Options{Has: HasCapable, Capable: Capable{Length: 4, Version: 1, Flags: ChecksumRequired | HMACSHA256}}},
	{"MP_CAPABLE, SYN/ACK", "1e 0c 01 21 1112131415161718",
		Options{Has: HasCapable, Capable: Capable{Length: 12, Version: 1, Flags: NoJoinsHere | HMACSHA256, Sender: keyB}}},
	{"MP_CAPABLE, ACK", "1e 14 01 01 0102030405060708 1112131415161718",
		Options{Has: HasCapable, Capable: Capable{Length: 20, Version: 1, Flags: HMACSHA256, Sender: keyA, Receiver: keyB}}},
	{"MP_CAPABLE, data", "1e 16 01 01 0102030405060708 1112131415161718 0005",
		Options{Has: HasCapable, Capable: Capable{Length: 22, Version: 1, Flags: HMACSHA256, Sender: keyA, Receiver: keyB, DataLen: 5}}},
	{"MP_CAPABLE, data and checksum", "1e 18 01 41 0102030405060708 1112131415161718 0005 fc0d",
		Options{Has: HasCapable, Capable: Capable{Length: 24, Version: 1, Flags: Extensible | HMACSHA256, Sender: keyA, Receiver: keyB, DataLen: 5, Checksum: 0xfc0d}}},

	{"MP_JOIN, SYN", "1e 0c 11 02 ccad45ac aabbccdd",
		Options{Has: HasJoin, Join: Join{Length: 12, Backup: true, AddressID: 2, Token: 0xccad45ac, Nonce: 0xaabbccdd}}},
	{"MP_JOIN, SYN/ACK", "1e 10 10 03 dcac2119689b29a8 01234567",
		Options{Has: HasJoin, Join: Join{Length: 16, AddressID: 3, Nonce: 0x01234567,
			MAC: [20]byte{0xdc, 0xac, 0x21, 0x19, 0x68, 0x9b, 0x29, 0xa8}}}},
	{"MP_JOIN, ACK", "1e 18 10 00 5a9926ba a64667a9 15ecb368 29022bf5 ebc0c2fb",
		Options{Has: HasJoin, Join: Join{Length: 24, MAC: [20]byte{0x5a, 0x99, 0x26, 0xba, 0xa6, 0x46, 0x67, 0xa9,
			0x15, 0xec, 0xb3, 0x68, 0x29, 0x02, 0x2b, 0xf5, 0xeb, 0xc0, 0xc2, 0xfb}}}},

	{"DSS, empty", "1e 04 20 00", Options{Has: HasDSS}},
	{"DSS, ack4", "1e 08 20 01 00000005", Options{Has: HasDSS, DSS: DSS{HasAck: true, Ack: 5}}},
	{"DSS, ack8", "1e 0c 20 03 1122334455667788",
		Options{Has: HasDSS, DSS: DSS{HasAck: true, Ack64: true, Ack: 0x1122334455667788}}},
	{"DSS, map4", "1e 0e 20 04 00000006 00000001 0578",
		Options{Has: HasDSS, DSS: DSS{HasMap: true, DSN: 6, SSN: 1, DataLen: 1400}}},
	{"DSS, map4 and checksum", "1e 10 20 04 00000006 00000001 0578 abcd",
		Options{Has: HasDSS, DSS: DSS{HasMap: true, HasChecksum: true, DSN: 6, SSN: 1, DataLen: 1400, Checksum: 0xabcd}}},
	{"DSS, map8, DATA_FIN", "1e 12 20 1c 112233445566778d 00000000 0001",
		Options{Has: HasDSS, DSS: DSS{HasMap: true, Map64: true, Fin: true, DSN: 0x112233445566778d, DataLen: 1}}},
	{"DSS, map8 and checksum", "1e 14 20 0c 1122334455667788 00000001 0005 aad2",
		Options{Has: HasDSS, DSS: DSS{HasMap: true, Map64: true, HasChecksum: true, DSN: 0x1122334455667788, SSN: 1, DataLen: 5, Checksum: 0xaad2}}},
	{"DSS, ack4, map4", "1e 12 20 05 00000005 00000006 00000001 0578",
		Options{Has: HasDSS, DSS: DSS{HasAck: true, HasMap: true, Ack: 5, DSN: 6, SSN: 1, DataLen: 1400}}},
	{"DSS, ack4, map4 and checksum", "1e 14 20 05 00000005 00000006 00000001 0578 abcd",
		Options{Has: HasDSS, DSS: DSS{HasAck: true, HasMap: true, HasChecksum: true, Ack: 5, DSN: 6, SSN: 1, DataLen: 1400, Checksum: 0xabcd}}},
	{"DSS, ack8, map4", "1e 16 20 07 0000000000000005 00000006 00000001 0578",
		Options{Has: HasDSS, DSS: DSS{HasAck: true, Ack64: true, HasMap: true, Ack: 5, DSN: 6, SSN: 1, DataLen: 1400}}},
	{"DSS, ack4, map8", "1e 16 20 0d 00000005 0000000000000006 00000001 0578",
		Options{Has: HasDSS, DSS: DSS{HasAck: true, HasMap: true, Map64: true, Ack: 5, DSN: 6, SSN: 1, DataLen: 1400}}},
	{"DSS, ack8, map8", "1e 1a 20 0f 0000000000000005 0000000000000006 00000001 0578",
		Options{Has: HasDSS, DSS: DSS{HasAck: true, Ack64: true, HasMap: true, Map64: true, Ack: 5, DSN: 6, SSN: 1, DataLen: 1400}}},
	{"DSS, ack8, map8 and checksum", "1e 1c 20 0f 0000000000000005 0000000000000006 00000001 0578 abcd",
		Options{Has: HasDSS, DSS: DSS{HasAck: true, Ack64: true, HasMap: true, Map64: true, HasChecksum: true, Ack: 5, DSN: 6, SSN: 1, DataLen: 1400, Checksum: 0xabcd}}},

	{"ADD_ADDR, IPv4", "1e 10 30 01 0a000002 f703ec3efc2f29dd",
		Options{Has: HasAddAddr, AddAddr: AddAddr{ID: 1, Addr: netip.MustParseAddr("10.0.0.2"), MAC: 0xf703ec3efc2f29dd}}},
	{"ADD_ADDR, IPv4 and port", "1e 12 30 01 0a000002 1f90 8417eeb9fa366047",
		Options{Has: HasAddAddr, AddAddr: AddAddr{ID: 1, Addr: netip.MustParseAddr("10.0.0.2"), Port: 8080, MAC: 0x8417eeb9fa366047}}},
	{"ADD_ADDR, IPv6", "1e 1c 30 02 20010db8000000000000000000000002 159be09654b13583",
		Options{Has: HasAddAddr, AddAddr: AddAddr{ID: 2, Addr: netip.MustParseAddr("2001:db8::2"), MAC: 0x159be09654b13583}}},
	{"ADD_ADDR, IPv6 and port", "1e 1e 30 02 20010db8000000000000000000000002 01bb 0000000000000001",
		Options{Has: HasAddAddr, AddAddr: AddAddr{ID: 2, Addr: netip.MustParseAddr("2001:db8::2"), Port: 443, MAC: 1}}},
	{"ADD_ADDR, echo of IPv4", "1e 08 31 01 0a000002",
		Options{Has: HasAddAddr, AddAddr: AddAddr{Echo: true, ID: 1, Addr: netip.MustParseAddr("10.0.0.2")}}},
	{"ADD_ADDR, echo of IPv4 and port", "1e 0a 31 01 0a000002 1f90",
		Options{Has: HasAddAddr, AddAddr: AddAddr{Echo: true, ID: 1, Addr: netip.MustParseAddr("10.0.0.2"), Port: 8080}}},
	{"ADD_ADDR, echo of IPv4 and port 0", "1e 0a 31 01 0a000002 0000",
		Options{Has: HasAddAddr, AddAddr: AddAddr{Echo: true, ID: 1, Addr: netip.MustParseAddr("10.0.0.2"), ZeroPort: true}}},
	{"ADD_ADDR, echo of IPv6", "1e 14 31 02 20010db8000000000000000000000002",
		Options{Has: HasAddAddr, AddAddr: AddAddr{Echo: true, ID: 2, Addr: netip.MustParseAddr("2001:db8::2")}}},
	{"ADD_ADDR, echo of IPv6 and port", "1e 16 31 02 20010db8000000000000000000000002 01bb",
		Options{Has: HasAddAddr, AddAddr: AddAddr{Echo: true, ID: 2, Addr: netip.MustParseAddr("2001:db8::2"), Port: 443}}},

	{"REMOVE_ADDR, 1", "1e 04 40 07", Options{Has: HasRemoveAddr, RemoveAddr: RemoveAddr{N: 1, IDs: [8]uint8{7}}}},
	{"REMOVE_ADDR, 8", "1e 0b 40 0102030405060708",
		Options{Has: HasRemoveAddr, RemoveAddr: RemoveAddr{N: 8, IDs: [8]uint8{1, 2, 3, 4, 5, 6, 7, 8}}}},
	{"MP_PRIO", "1e 03 51", Options{Has: HasPrio, Backup: true}},
	{"MP_PRIO, no backup", "1e 03 50", Options{Has: HasPrio}},
	{"MP_FAIL", "1e 0c 60 00 1122334455667788", Options{Has: HasFail, FailDSN: 0x1122334455667788}},
	{"MP_FASTCLOSE", "1e 0c 70 00 1112131415161718", Options{Has: HasFastClose, CloseKey: keyB}},
	{"MP_TCPRST", "1e 04 81 06", Options{Has: HasReset, Reset: Reset{Transient: true, Reason: Middlebox}}},
	{"MP_TCPRST, permanent", "1e 04 80 03", Options{Has: HasReset, Reset: Reset{Reason: Prohibited}}},

	{"ROBE_eSIM_EN", "1e 04 90 00", Options{Has: HasRobE}},
	{"MP_JOIN_CAP", "1e 18 a0 02 0102030405060708 0014ec80c8c1d73443163a05",
		Options{Has: HasJoinCap, JoinCap: JoinCap{Length: 24, AddressID: 2, Key: keyA, MAC: joinCapMAC}}},
	{"MP_JOIN_CAP, MAC of 104 bits", "1e 19 a0 02 0102030405060708 0014ec80c8c1d73443163a05 01",
		Options{Has: HasJoinCap, JoinCap: JoinCap{Length: 25, AddressID: 2, Key: keyA, MAC: longer(joinCapMAC, 1)}}},
	{"MP_JOIN_CAP, MAC of 112 bits", "1e 1a a0 02 0102030405060708 0014ec80c8c1d73443163a05 0102",
		Options{Has: HasJoinCap, JoinCap: JoinCap{Length: 26, AddressID: 2, Key: keyA, MAC: longer(joinCapMAC, 1, 2)}}},
	{"MP_JOIN_CAP, MAC of 120 bits", "1e 1b a0 02 0102030405060708 0014ec80c8c1d73443163a05 010203",
		Options{Has: HasJoinCap, JoinCap: JoinCap{Length: 27, AddressID: 2, Key: keyA, MAC: longer(joinCapMAC, 1, 2, 3)}}},
	{"MP_JOIN_CAP, MAC of 128 bits", "1e 1c a0 02 0102030405060708 0014ec80c8c1d73443163a05 01020304",
		Options{Has: HasJoinCap, JoinCap: JoinCap{Length: 28, AddressID: 2, Key: keyA, MAC: longer(joinCapMAC, 1, 2, 3, 4)}}},
	{"L_RTT_EN", "1e 04 b0 00", Options{Has: HasLatestRTT, LatestRTT: LatestRTT{Length: 4}}},
	{"L_RTT_EN, value", "1e 08 b0 00 00004e20", Options{Has: HasLatestRTT, LatestRTT: LatestRTT{Length: 8, RTT: 20000}}},
	{"L_RTT_EN, unknown", "1e 08 b0 00 00000000", Options{Has: HasLatestRTT, LatestRTT: LatestRTT{Length: 8}}},
	{"L_RTT_EN, highest", "1e 08 b0 00 ffffffff", Options{Has: HasLatestRTT, LatestRTT: LatestRTT{Length: 8, RTT: 0xffffffff}}},
	{"INACTIVITY_TIME, told in seconds", "1e 08 f0 10 00f0 0000",
		Options{Has: HasInactivityTime, InactivityTime: InactivityTime{Value: 240}}},
	{"INACTIVITY_TIME, told in minutes", "1e 08 f4 10 0004 0000",
		Options{Has: HasInactivityTime, InactivityTime: InactivityTime{Minutes: true, Value: 4}}},
	{"INACTIVITY_TIME, requested in seconds", "1e 08 f8 10 ffff 0000",
		Options{Has: HasInactivityTime, InactivityTime: InactivityTime{Request: true, Value: 0xffff}}},
	{"INACTIVITY_TIME, requested in minutes", "1e 08 fc 10 05a0 0000",
		Options{Has: HasInactivityTime, InactivityTime: InactivityTime{Request: true, Minutes: true, Value: 1440}}},
	{"SUB_RATE_LIMIT", "1e 08 f0 11 00001388", Options{Has: HasRateLimit, RateLimit: 5000}},
	{"SUB_RATE_LIMIT, nothing", "1e 08 f0 11 00000000", Options{Has: HasRateLimit}},
	{"SUB_RATE_LIMIT, no limit", "1e 08 f0 11 ffffffff", Options{Has: HasRateLimit, RateLimit: Unlimited}},
	{"a prototype", "1e 04 f0 f0", Options{Has: HasPrototype, Prototype: 240}},
	{"a prototype that looks like an ExpID", "1e 04 f0 10", Options{Has: HasPrototype, Prototype: 0x10}},
	{"a prototype of nothing", "1e 04 f0 00", Options{Has: HasPrototype}},
}

// joinCapMAC proves the knowledge of keyA and keyB to who has given otherB.
var joinCapMAC = [16]byte{0x00, 0x14, 0xec, 0x80, 0xc8, 0xc1, 0xd7, 0x34, 0x43, 0x16, 0x3a, 0x05}

func longer(mac [16]byte, more ...byte) [16]byte {
	copy(mac[12:], more)
	return mac
}

func TestGolden(t *testing.T) {
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			want := octets(t, g.wire)
			var o Options
			o.Parse(want)
			if o != g.o {
				t.Errorf("parsed %+v\nwant   %+v", o, g.o)
			}
			if n := g.o.Len(); n != len(want) {
				t.Errorf("Len is %d, want %d", n, len(want))
			}
			padded := g.o.Append(nil)
			if len(padded) != (len(want)+3)&^3 {
				t.Errorf("padded to %d octets", len(padded))
			}
			if got := bytes.TrimLeft(padded, "\x01"); !bytes.Equal(got, want) {
				t.Errorf("appended % x\nwant     % x", got, want)
			}
		})
	}
}

// A length that an option cannot have makes it as good as absent, and what follows it is read.
func TestLengths(t *testing.T) {
	for _, c := range []struct {
		name        string
		kind        byte
		third, four byte // octets 2 and 3
		has         OptionSet
		legal       []int
	}{
		{"MSS", kindMSS, 0, 0, HasMSS, []int{4}},
		{"window scale", kindWindowScale, 0, 0, HasWindowScale, []int{3}},
		{"SACK permitted", kindSACKPermitted, 0, 0, HasSACKPermitted, []int{2}},
		{"SACK", kindSACK, 0, 0, HasSACK, []int{10, 18, 26, 34}},
		{"timestamps", kindTimestamps, 0, 0, HasTimestamps, []int{10}},
		{"TFO", kindFastOpen, 0, 0, HasFastOpen, []int{2, 6, 8, 10, 12, 14, 16, 18}},
		{"MP_CAPABLE", kindMPTCP, 0x01, 1, HasCapable, []int{4, 12, 20, 22, 24}},
		{"MP_JOIN", kindMPTCP, 0x10, 1, HasJoin, []int{12, 16, 24}},
		{"DSS", kindMPTCP, 0x20, 0, HasDSS, []int{4}},
		{"DSS A", kindMPTCP, 0x20, dssAck, HasDSS, []int{8}},
		{"DSS Aa", kindMPTCP, 0x20, dssAck | dssAck64, HasDSS, []int{12}},
		{"DSS M", kindMPTCP, 0x20, dssMap, HasDSS, []int{14, 16}},
		{"DSS Mm", kindMPTCP, 0x20, dssMap | dssMap64, HasDSS, []int{18, 20}},
		{"DSS AM", kindMPTCP, 0x20, dssAck | dssMap, HasDSS, []int{18, 20}},
		{"DSS AaM", kindMPTCP, 0x20, dssAck | dssAck64 | dssMap, HasDSS, []int{22, 24}},
		{"DSS AMm", kindMPTCP, 0x20, dssAck | dssMap | dssMap64, HasDSS, []int{22, 24}},
		{"DSS AaMm", kindMPTCP, 0x20, dssAck | dssAck64 | dssMap | dssMap64, HasDSS, []int{26, 28}},
		{"DSS am", kindMPTCP, 0x20, dssAck64 | dssMap64, HasDSS, []int{4}},
		{"DSS Am", kindMPTCP, 0x20, dssAck | dssMap64, HasDSS, []int{8}},
		{"ADD_ADDR", kindMPTCP, 0x30, 1, HasAddAddr, []int{16, 18, 28, 30}},
		{"ADD_ADDR echo", kindMPTCP, 0x31, 1, HasAddAddr, []int{8, 10, 20, 22}},
		{"REMOVE_ADDR", kindMPTCP, 0x40, 1, HasRemoveAddr, []int{4, 5, 6, 7, 8, 9, 10, 11}},
		{"MP_PRIO", kindMPTCP, 0x50, 0, HasPrio, []int{3}},
		{"MP_FAIL", kindMPTCP, 0x60, 0, HasFail, []int{12}},
		{"MP_FASTCLOSE", kindMPTCP, 0x70, 0, HasFastClose, []int{12}},
		{"MP_TCPRST", kindMPTCP, 0x80, 0, HasReset, []int{4}},
		{"ROBE_eSIM_EN", kindMPTCP, 0x90, 0, HasRobE, []int{4}},
		{"MP_JOIN_CAP", kindMPTCP, 0xa0, 1, HasJoinCap, []int{24, 25, 26, 27, 28}},
		{"L_RTT_EN", kindMPTCP, 0xb0, 0, HasLatestRTT, []int{4, 8}},
		{"INACTIVITY_TIME", kindMPTCP, 0xf8, expInactivity, HasInactivityTime, []int{8}},
		{"SUB_RATE_LIMIT", kindMPTCP, 0xf8, expRateLimit, HasRateLimit, []int{8}},
		{"a prototype", kindMPTCP, 0xf0, 0, HasPrototype, []int{4}},
		{"a prototype that looks like flags", kindMPTCP, 0xf8, 100, 0, nil},
		{"another experiment", kindMPTCP, 0xf8, 1, 0, nil},
		{"subtype 12", kindMPTCP, 0xc0, 0, 0, nil},
		{"subtype 13", kindMPTCP, 0xd0, 0, 0, nil},
		{"subtype 14", kindMPTCP, 0xe0, 0, 0, nil},
		{"unknown kind", 253, 0, 0, 0, nil},
	} {
		for n := 2; n <= 50; n++ {
			option := make([]byte, max(n, 6))
			copy(option, []byte{c.kind, byte(n), c.third, c.four, 0, 1})
			var want OptionSet
			if slices.Contains(c.legal, n) {
				want = c.has
			}
			after := []byte{kindWindowScale, 3, 9}
			if c.kind == kindWindowScale {
				after = []byte{kindSACKPermitted, 2}
				want |= HasSACKPermitted
			} else {
				want |= HasWindowScale
			}
			var o Options
			o.Parse(append(option[:n:n], after...))
			if o.Has != want {
				t.Errorf("%s of length %d: has %b, want %b", c.name, n, o.Has, want)
			}
		}
	}
}

// Real stacks and middleboxes pad, repeat, cut and invent options.
func TestOptionWalk(t *testing.T) {
	for _, c := range []struct{ name, wire, want string }{
		{"nothing", "", ""},
		{"padding alone", "01010101", ""},
		{"as Linux has it", "0204 05b4 0402 080a 0000000100000000 01 0303 07 1e04 0101", "mss 1460, wscale 7, sackOK, ts 1 ecr 0, capable v1 flags 01"},
		{"NOPs between and behind", "01 0402 01 01 0303 07 01", "wscale 7, sackOK"},
		{"end of list", "0303 07 00 0402", "wscale 7"},
		{"an unknown kind", "fd06 01020304 0303 07", "wscale 7"},
		{"the first of two counts", "0303 07 0303 09 0204 05b4 0204 0200", "mss 1460, wscale 7"},
		{"the first that can be read counts", "0302 0303 09", "wscale 9"},
		{"the first MPTCP option of two counts", "1e0c7000 0000000000000001 1e0c7000 0000000000000002", "fastclose 0000000000000001"},
		{"two MPTCP options of two subtypes", "1e0c7000 0000000000000001 1e04 8002", "fastclose 0000000000000001, reset lack of resources"},
		{"length 0", "0303 07 0500 0402", "wscale 7"},
		{"length 1", "0303 07 0501 0402", "wscale 7"},
		{"length beyond the header", "0303 07 080a 00000001", "wscale 7"},
		{"kind without length", "0303 07 08", "wscale 7"},
		{"MP_PRIO of version 0", "1e04 5101", ""},
		{"unassigned bits of a DSS", "1e08 2f e1 00000005", "dss ack4 5"},
		{"a DATA_FIN without a mapping", "1e04 20 10", "dss"},
		{"a race with RobE: SYN", "0204 05b4 1e04 0101 1e04 9000 1e04 b000", "mss 1460, capable v1 flags 01, robe, latest_rtt"},
		{"NOPs around drafts", "01 1e04 9000 01 01 1e04 b000 01", "robe, latest_rtt"},
		{"end of list before a draft", "1e04 9000 00 1e04 b000", "robe"},
		{"unassigned bits of drafts", "1e04 9f ff 1e04 bf ff 1e08 f3 10 003c ffff 1e08 ff 11 00000064",
			"robe, latest_rtt, inactivity_time 60 s, rate_limit 100 kbit/s"},
		{"unassigned bits of MP_JOIN_CAP", "1e18 af 02 0102030405060708 0014ec80c8c1d73443163a05",
			"join_cap id 2 key 0102030405060708 mac 0014ec80c8c1d73443163a05"},
		{"the experiments and a prototype", "1e04 f0 64 1e08 f0 11 00000001 1e08 f0 10 0001 0000",
			"inactivity_time 1 s, rate_limit 1 kbit/s, prototype 100"},
		{"an inactivity time of nothing", "1e08 fc 10 0000 ffff 1e08 f8 10 003c 0000", "inactivity_time 60 s request"},
		{"an MP_JOIN_CAP that is too short", "1e17 a0 02 0102030405060708 0014ec80c8c1d73443163a 1e04 9000", "robe"},
		{"an MP_JOIN_CAP cut short", "1e04 9000 1e18 a0 02 0102030405060708 0014ec80c8c1d73443163a", "robe"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := Options{Has: HasFail, FailDSN: 1}
			o.Parse(octets(t, c.wire))
			if got := o.String(); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// Of every two options of one kind the first counts.
func TestDuplicates(t *testing.T) {
	for _, a := range golden {
		for _, b := range golden {
			if a.o.Has != b.o.Has {
				continue
			}
			var o Options
			o.Parse(octets(t, a.wire+b.wire))
			if o != a.o {
				t.Errorf("%s before %s: %v", a.name, b.name, &o)
			}
		}
	}
}

// The flags a, m and F mean nothing without A and M, coming in or going out.
func TestMeaninglessFlags(t *testing.T) {
	var o Options
	o.Parse(octets(t, "1e04 20 1a"))
	if o != (Options{Has: HasDSS}) {
		t.Errorf("parsed %+v", o.DSS)
	}
	o = Options{Has: HasDSS, DSS: DSS{Ack64: true, Map64: true, Fin: true, HasChecksum: true}}
	if got, want := o.Append(nil), octets(t, "1e04 20 00"); !bytes.Equal(got, want) {
		t.Errorf("appended % x", got)
	}
	o = Options{Has: HasCapable, Capable: Capable{Length: 4, Version: 0xf1}}
	if got, want := o.Append(nil), octets(t, "1e04 01 00"); !bytes.Equal(got, want) {
		t.Errorf("a version that does not fit: % x", got)
	}
}

func TestPadding(t *testing.T) {
	o := Options{Has: HasTimestamps, TSVal: 1, TSEcr: 2}
	if got, want := o.Append(nil), octets(t, "0101 080a 00000001 00000002"); !bytes.Equal(got, want) {
		t.Errorf("timestamps: % x", got)
	}
	o = Options{Has: HasMSS | HasWindowScale | HasSACKPermitted | HasCapable, MSS: 1400, WindowScale: 8,
		Capable: Capable{Length: 4, Version: 1, Flags: HMACSHA256}}
	if got, want := o.Append(nil), octets(t, "0204 0578 010101 0303 08 0402 1e04 0101"); !bytes.Equal(got, want) {
		t.Errorf("SYN: % x", got)
	}
}

// What does not fit is left out, and the header says the truth about its length.
func TestOptionSpace(t *testing.T) {
	ack := DSS{HasAck: true, Ack64: true}
	long := AddAddr{ID: 1, Addr: netip.MustParseAddr("2001:db8::2"), Port: 443}
	for _, c := range []struct {
		name   string
		o      Options
		len    int
		has    OptionSet
		blocks int
	}{
		{"DSS at its longest beside timestamps", Options{Has: HasTimestamps | HasDSS,
			DSS: DSS{HasAck: true, Ack64: true, HasMap: true, Map64: true, HasChecksum: true}}, 38, HasTimestamps | HasDSS, 0},
		{"SACK takes what is left", Options{Has: HasTimestamps | HasDSS | HasSACK, DSS: ack, SACKs: 4}, 56, HasTimestamps | HasDSS | HasSACK, 2},
		{"SACK alone", Options{Has: HasSACK, SACKs: 4}, 34, HasSACK, 4},
		{"no room for a block", Options{Has: HasTimestamps | HasJoin | HasSACK, Join: Join{Length: 24}, SACKs: 1}, 44, HasTimestamps | HasJoin, 0},
		{"the longest ADD_ADDR fits to the octet", Options{Has: HasTimestamps | HasAddAddr, AddAddr: long}, 40, HasTimestamps | HasAddAddr, 0},
		{"and not beside DSS", Options{Has: HasDSS | HasAddAddr | HasPrio, DSS: ack, AddAddr: long}, 45, HasDSS | HasPrio, 0},
		{"MP_CAPABLE with data, MP_FASTCLOSE, MP_TCPRST", Options{Has: HasCapable | HasFastClose | HasReset,
			Capable: Capable{Length: 24}}, 40, HasCapable | HasFastClose | HasReset, 0},
		{"the longest MP_JOIN_CAP beside timestamps", Options{Has: HasTimestamps | HasJoinCap | HasSACK, SACKs: 1,
			JoinCap: JoinCap{Length: 28}}, 48, HasTimestamps | HasJoinCap, 0},
		{"all that a SYN/ACK of RobE offers", Options{Has: HasMSS | HasWindowScale | HasSACKPermitted | HasTimestamps | HasCapable | HasRobE | HasLatestRTT,
			Capable: Capable{Length: 12}, LatestRTT: LatestRTT{Length: 4}},
			39, HasMSS | HasWindowScale | HasSACKPermitted | HasTimestamps | HasCapable | HasRobE | HasLatestRTT, 0},
		{"a cookie leaves no room for RobE in a SYN/ACK", Options{Has: HasMSS | HasWindowScale | HasSACKPermitted | HasFastOpen | HasCapable | HasRobE | HasPrio,
			Cookie: FastOpen{Len: 16}, Capable: Capable{Length: 12}}, 46, HasMSS | HasWindowScale | HasSACKPermitted | HasFastOpen | HasCapable, 0},
		{"an RTT beside timestamps and DSS", Options{Has: HasTimestamps | HasDSS | HasLatestRTT,
			DSS: DSS{HasAck: true, HasMap: true, HasChecksum: true}, LatestRTT: LatestRTT{Length: 8}},
			38, HasTimestamps | HasDSS | HasLatestRTT, 0},
		{"and not beside longer numbers", Options{Has: HasTimestamps | HasDSS | HasLatestRTT | HasInactivityTime | HasRateLimit,
			DSS: DSS{HasAck: true, HasMap: true, Map64: true, HasChecksum: true}, LatestRTT: LatestRTT{Length: 8}, InactivityTime: InactivityTime{Value: 1}},
			58, HasTimestamps | HasDSS, 0},
		{"both experiments on a pure ACK", Options{Has: HasTimestamps | HasDSS | HasInactivityTime | HasRateLimit, DSS: ack,
			InactivityTime: InactivityTime{Value: 1}}, 38, HasTimestamps | HasDSS | HasInactivityTime | HasRateLimit, 0},
		{"a prototype where nothing else fits", Options{Has: HasTimestamps | HasDSS | HasRateLimit | HasPrototype, DSS: DSS{HasAck: true, Ack64: true, HasMap: true}},
			44, HasTimestamps | HasDSS | HasRateLimit, 0},
		{"drafts that say nothing", Options{Has: HasJoinCap | HasLatestRTT | HasInactivityTime, JoinCap: JoinCap{Length: 23}, LatestRTT: LatestRTT{Length: 5},
			InactivityTime: InactivityTime{Request: true, Minutes: true}}, 0, 0, 0},
		{"an MP_JOIN_CAP longer than there can be", Options{Has: HasJoinCap, JoinCap: JoinCap{Length: 29}}, 0, 0, 0},
		{"what says nothing", Options{Has: HasSACK | HasFastOpen | HasCapable | HasJoin | HasAddAddr | HasRemoveAddr | 1<<31,
			SACKs: -1, Cookie: FastOpen{Len: 200}, RemoveAddr: RemoveAddr{N: 9}}, 0, 0, 0},
		{"more blocks than there can be", Options{Has: HasSACK, SACKs: 1000}, 34, HasSACK, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			if n := c.o.Len(); n != c.len {
				t.Errorf("Len is %d, want %d", n, c.len)
			}
			var got Options
			b := c.o.Append(nil)
			got.Parse(b)
			if got.Has != c.has || got.SACKs != c.blocks {
				t.Errorf("has %v and %d blocks", &got, got.SACKs)
			}
			s := Segment{Options: c.o}
			s.Source, s.Target = ends("10.0.0.1:1", "10.0.0.2:2")
			if n := s.HeaderLen(); n != 40+len(b) || len(b) > MaxOptions || len(b)%4 != 0 {
				t.Errorf("%d octets of options, HeaderLen %d", len(b), n)
			}
			if n := len(s.Append(nil)); n != s.HeaderLen() {
				t.Errorf("packet of %d octets, HeaderLen %d", n, s.HeaderLen())
			}
		})
	}
}
