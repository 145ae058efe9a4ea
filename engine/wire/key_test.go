package wire

import (
	"encoding/hex"
	"net/netip"
	"testing"
)

func TestKeyToken(t *testing.T) {
	for _, c := range []struct {
		key   uint64
		token uint32
		idsn  DSN
	}{
		{keyA, 0x66840dda, 0xf5a101d3d29d6f72},
		{keyB, 0xccad45ac, 0x535beea38e087c8e},
		{0x0706050403020100, 0x033fc8b9, 0x4c63560d71b8a821},
	} {
		if token, idsn := KeyToken(c.key); token != c.token || idsn != c.idsn {
			t.Errorf("key %016x: token %08x, IDSN %016x", c.key, token, uint64(idsn))
		}
	}
}

func TestJoinMAC(t *testing.T) {
	const nonceA, nonceB = 0xaabbccdd, 0x01234567
	a, b := JoinMAC(keyA, keyB, nonceA, nonceB), JoinMAC(keyB, keyA, nonceB, nonceA)
	if got := hex.EncodeToString(a[:]); got != "5a9926baa64667a915ecb36829022bf5ebc0c2fb" {
		t.Errorf("from A: %s", got)
	}
	if got := hex.EncodeToString(b[:8]); got != "dcac2119689b29a8" {
		t.Errorf("from B: %s", got)
	}
}

// The vectors of the Linux kernel's own test have ASCII keys and nonces.
func TestMAC(t *testing.T) {
	for _, c := range []struct{ keys, text, want string }{
		{"0b0b0b0b0b0b0b0b", "48692054", "8385e24fb4235ac37556b6b886db106284a1da671699f46db1f235ec622dcafa"},
		{"aaaaaaaaaaaaaaaa", "dddddddd", "2c5e219164ff1dca1c4a92318d847bb6b9d44492984e1eb71aff9022f71046e9"},
		{"0102030405060708", "cdcdcdcd", "e73b9ba9969969cefb04aa0d6df18ec2fcc075b6f23b4d8c4da736a5dbbc6e7d"},
	} {
		var keys [2]uint64
		for i, b := range []byte(c.keys) {
			keys[i/8] = keys[i/8]<<8 | uint64(b)
		}
		got := mac(keys[0], keys[1], []byte(c.text))
		if hex.EncodeToString(got[:]) != c.want {
			t.Errorf("%s, %s: %x", c.keys, c.text, got)
		}
	}
}

func TestAddAddrMAC(t *testing.T) {
	for _, c := range []struct {
		own, peer uint64
		id        uint8
		addr      string
		port      uint16
		want      uint64
	}{
		{keyB, keyA, 1, "10.0.0.2", 0, 0xf703ec3efc2f29dd},
		{keyB, keyA, 1, "10.0.0.2", 8080, 0x8417eeb9fa366047},
		{keyB, keyA, 2, "2001:db8::2", 0, 0x159be09654b13583},
		{keyA, keyB, 3, "192.0.2.7", 0, 0x082c8637d2ea9365},
	} {
		if got := AddAddrMAC(c.own, c.peer, c.id, netip.MustParseAddr(c.addr), c.port); got != c.want {
			t.Errorf("%s port %d: %016x, want %016x", c.addr, c.port, got, c.want)
		}
	}
}

func TestFastHash(t *testing.T) {
	if got := crc16([]byte("123456789")); got != 0x29b1 {
		t.Errorf("crc16 %04x, want that of every CRC-16/CCITT-FALSE", got)
	}
	if got := crc16([]byte{0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18}); got != 0x1a05 {
		t.Errorf("crc16 of keyB %04x", got)
	}
	if got := FastHash(keyB); got != 0x205 {
		t.Errorf("%03x", got)
	}
}

// The last bits of a MAC are those of the fast hash, however long it is.
func TestJoinCapSign(t *testing.T) {
	for length, want := range map[uint8]string{
		24: "0014ec80c8c1d73443163a05",
		25: "0014ec80c8c1d7344316394205",
		26: "0014ec80c8c1d73443163942ba05",
		27: "0014ec80c8c1d73443163942b92605",
		28: "0014ec80c8c1d73443163942b925c205",
	} {
		c := JoinCap{Length: length, AddressID: 2, Key: keyA, MAC: [16]byte{15: 0xff}}
		c.Sign(keyB, otherB)
		var got JoinCap
		copy(got.MAC[:], octets(t, want))
		if c.MAC != got.MAC {
			t.Errorf("length %d: %x", length, c.MAC)
		}
		if c.FastHash() != FastHash(keyB) || !c.Verify(keyB, otherB) {
			t.Errorf("length %d: fast hash %03x, not verified", length, c.FastHash())
		}
	}
}

func TestJoinCapVerify(t *testing.T) {
	good := JoinCap{Length: 24, AddressID: 2, Key: keyA, MAC: joinCapMAC}
	if !good.Verify(keyB, otherB) {
		t.Error("the right one")
	}
	for i := range 12 * 8 {
		c := good
		c.MAC[i/8] ^= 1 << (i % 8)
		if c.Verify(keyB, otherB) {
			t.Errorf("bit %d of octet %d counts for nothing", i%8, i/8)
		}
	}
	c := good
	c.MAC[12] ^= 1
	if !c.Verify(keyB, otherB) {
		t.Error("an octet beyond the MAC counts")
	}
	if c = good; c.Verify(keyB+1, otherB) || c.Verify(keyB, otherB+1) || c.Verify(otherB, keyB) {
		t.Error("other keys")
	}
	if c.Key++; c.Verify(keyB, otherB) {
		t.Error("another key of the client")
	}
	for _, length := range []uint8{0, 12, 23, 29, 255} {
		c = JoinCap{Length: length, Key: keyA}
		c.Sign(keyB, otherB)
		if c.MAC != [16]byte{} || c.FastHash() != 0 || c.Verify(keyB, otherB) {
			t.Errorf("there is no length %d: %x", length, c.MAC)
		}
	}
}
