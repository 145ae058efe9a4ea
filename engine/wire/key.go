package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// KeyToken derives from a key the token and the initial DSN of its owner (RFC 8684 3.1).
func KeyToken(key uint64) (token uint32, idsn DSN) {
	var k [8]byte
	binary.BigEndian.PutUint64(k[:], key)
	h := sha256.Sum256(k[:])
	return binary.BigEndian.Uint32(h[:]), DSN(binary.BigEndian.Uint64(h[len(h)-8:]))
}

// JoinMAC authenticates the sender of an MP_JOIN, whose key and nonce are the own ones (RFC 8684
// 3.2). The ACK carries all of it, the SYN/ACK the first 8 octets.
func JoinMAC(ownKey, peerKey uint64, ownNonce, peerNonce uint32) [20]byte {
	var nonces [8]byte
	binary.BigEndian.PutUint32(nonces[:], ownNonce)
	binary.BigEndian.PutUint32(nonces[4:], peerNonce)
	h := mac(ownKey, peerKey, nonces[:])
	return [20]byte(h[:])
}

// AddAddrMAC authenticates the sender of an ADD_ADDR, whose key is the own one (RFC 8684 3.4.1).
func AddAddrMAC(ownKey, peerKey uint64, id uint8, addr netip.Addr, port uint16) uint64 {
	text := append([]byte{id}, addr.AsSlice()...)
	text = binary.BigEndian.AppendUint16(text, port)
	h := mac(ownKey, peerKey, text)
	return binary.BigEndian.Uint64(h[len(h)-8:])
}

// FastHash is the hash by which MP_JOIN_CAP finds the connection whose server has the key: 10 bits
// (draft-amend-tcpm-mptcp-robe-02 3.1), of a CRC-16/CCITT-FALSE.
func FastHash(key uint64) uint16 {
	var k [8]byte
	binary.BigEndian.PutUint64(k[:], key)
	return crc16(k[:]) & fastHashBits
}

const fastHashBits = 0x3ff

func crc16(b []byte) uint16 {
	crc := uint16(0xffff)
	for _, x := range b {
		crc ^= uint16(x) << 8
		for range 8 {
			top := crc >> 15
			crc = crc<<1 ^ top*0x1021
		}
	}
	return crc
}

// FastHash is the hash that the option has in place of the last bits of its MAC, 0 if Length is none
// that exists.
func (c *JoinCap) FastHash() uint16 {
	m := c.mac()
	if len(m) == 0 {
		return 0
	}
	return binary.BigEndian.Uint16(m[len(m)-2:]) & fastHashBits
}

// Sign sets MAC, as long as Length asks for, which proves the knowledge of both keys of the initial flow:
// Key and the server's, keyB. otherB is the server's key of the flow on which the option is sent.
func (c *JoinCap) Sign(keyB, otherB uint64) {
	var text [8]byte
	binary.BigEndian.PutUint64(text[:], otherB)
	h := mac(c.Key, keyB, text[:])
	c.MAC = [16]byte{}
	m := c.mac()
	if copy(m, h[:]) == 0 {
		return
	}
	last := m[len(m)-2:]
	binary.BigEndian.PutUint16(last, binary.BigEndian.Uint16(last)&^fastHashBits|FastHash(keyB))
}

// Verify reports whether Sign with these keys gives the MAC of the option, in constant time.
func (c *JoinCap) Verify(keyB, otherB uint64) bool {
	want := *c
	want.Sign(keyB, otherB)
	return c.Len() != 0 && hmac.Equal(c.mac(), want.mac())
}

// mac is as much of MAC as Length says, nothing if it is none that exists.
func (c *JoinCap) mac() []byte { return c.MAC[:max(0, c.Len()-12)] }

// mac is the HMAC-SHA256 of text under both keys, the own one first.
func mac(ownKey, peerKey uint64, text []byte) [sha256.Size]byte {
	var keys [16]byte
	binary.BigEndian.PutUint64(keys[:], ownKey)
	binary.BigEndian.PutUint64(keys[8:], peerKey)
	h := hmac.New(sha256.New, keys[:])
	h.Write(text)
	return [sha256.Size]byte(h.Sum(nil))
}
