package wire

import (
	"net/netip"
	"testing"
)

func TestSegmentString(t *testing.T) {
	s := dataSegment(families[0].source, families[0].target, []byte("hello"))
	want := "198.18.0.2:40000 > 192.0.2.7:443 [P.] seq 4294967280:4294967285 (5) ack 7 win 4096 ect0 " +
		"<ts 100 ecr 200, dss ack4 5 map8 1099511627776 ssn 1 len 5>"
	if got := s.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	s = Segment{Seq: 9, Flags: RST | URG, Urgent: 4, TOS: CE}
	s.Source, s.Target = ends("[2001:db8::1]:1", "[2001:db8::2]:2")
	if got, want := s.String(), "[2001:db8::1]:1 > [2001:db8::2]:2 [RU] seq 9 win 0 urg 4 ce"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestFlagsString(t *testing.T) {
	for f, want := range map[Flags]string{0: "none", SYN: "S", SYN | ACK: "S.", FIN | ACK: "F.", SYN | ECE | CWR: "SEW", 0xff: "FSRP.UEW"} {
		if got := f.String(); got != want {
			t.Errorf("%08b: %s, want %s", uint8(f), got, want)
		}
	}
}

func TestOptionsString(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, ""},
		{Options{Has: HasMSS | HasWindowScale | HasSACKPermitted | HasFastOpen, MSS: 1460, WindowScale: 7,
			Cookie: FastOpen{Len: 4, Cookie: [16]byte{1, 2, 3, 4}}}, "mss 1460, wscale 7, sackOK, tfo 01020304"},
		{Options{Has: HasSACK, SACKs: 2, SACK: [4]Block{{1, 2}, {5, 9}}}, "sack 1:2 5:9"},
		{Options{Has: HasCapable, Capable: Capable{Length: 24, Version: 1, Flags: 0x81, Sender: keyA, Receiver: keyB, DataLen: 5, Checksum: 0xfc0d}},
			"capable v1 flags 81 0102030405060708 1112131415161718 len 5 csum fc0d"},
		{Options{Has: HasJoin, Join: Join{Length: 12, Backup: true, AddressID: 2, Token: 0xccad45ac, Nonce: 1}},
			"join id 2 token ccad45ac nonce 00000001 backup"},
		{Options{Has: HasJoin, Join: Join{Length: 16, AddressID: 3, MAC: [20]byte{0xdc}, Nonce: 1}},
			"join id 3 mac dc00000000000000 nonce 00000001"},
		{Options{Has: HasJoin, Join: Join{Length: 24, MAC: [20]byte{0x5a}}}, "join mac 5a00000000000000000000000000000000000000"},
		{Options{Has: HasDSS, DSS: DSS{HasAck: true, Ack64: true, Ack: 8, HasMap: true, DSN: 9, DataLen: 1, Fin: true, HasChecksum: true, Checksum: 0xeea4}},
			"dss ack8 8 map4 9 ssn 0 len 1 fin csum eea4"},
		{Options{Has: HasAddAddr, AddAddr: AddAddr{ID: 1, Addr: netip.MustParseAddr("10.0.0.2"), Port: 8080, MAC: 1}},
			"add_addr id 1 10.0.0.2 port 8080 mac 0000000000000001"},
		{Options{Has: HasAddAddr, AddAddr: AddAddr{Echo: true, ID: 2, Addr: netip.MustParseAddr("2001:db8::2")}}, "add_addr id 2 2001:db8::2 echo"},
		{Options{Has: HasRemoveAddr | HasPrio, RemoveAddr: RemoveAddr{N: 2, IDs: [8]uint8{3, 4}}, Backup: true}, "remove_addr [3 4], prio backup"},
		{Options{Has: HasFail | HasFastClose | HasReset, FailDSN: 7, CloseKey: keyB, Reset: Reset{Transient: true, Reason: 9}},
			"fail 7, fastclose 1112131415161718, reset reason 9 transient"},
		{Options{Has: HasRobE | HasJoinCap | HasLatestRTT, JoinCap: JoinCap{Length: 24, AddressID: 2, Key: keyA, MAC: joinCapMAC}, LatestRTT: LatestRTT{Length: 4}},
			"robe, join_cap id 2 key 0102030405060708 mac 0014ec80c8c1d73443163a05, latest_rtt"},
		{Options{Has: HasJoinCap, JoinCap: JoinCap{Length: 28, MAC: [16]byte{15: 1}}}, "join_cap id 0 key 0000000000000000 mac 00000000000000000000000000000001"},
		{Options{Has: HasJoinCap, JoinCap: JoinCap{Length: 255}}, "join_cap id 0 key 0000000000000000 mac "},
		{Options{Has: HasLatestRTT | HasInactivityTime | HasRateLimit, LatestRTT: LatestRTT{Length: 8, RTT: 1500},
			InactivityTime: InactivityTime{Request: true, Minutes: true, Value: 4}, RateLimit: 5000},
			"latest_rtt 1500 us, inactivity_time 4 min request, rate_limit 5000 kbit/s"},
		{Options{Has: HasInactivityTime | HasRateLimit | HasPrototype, InactivityTime: InactivityTime{Value: 240}, RateLimit: Unlimited, Prototype: 100},
			"inactivity_time 240 s, rate_limit none, prototype 100"},
		{Options{Has: 1 << 31}, ""},
		{Options{Has: HasSACK | HasRemoveAddr, SACKs: 1 << 30, RemoveAddr: RemoveAddr{N: -1}}, "sack 0:0 0:0 0:0 0:0, remove_addr []"},
	} {
		if got := c.o.String(); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}
