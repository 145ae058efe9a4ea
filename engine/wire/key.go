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

// mac is the HMAC-SHA256 of text under both keys, the own one first.
func mac(ownKey, peerKey uint64, text []byte) [sha256.Size]byte {
	var keys [16]byte
	binary.BigEndian.PutUint64(keys[:], ownKey)
	binary.BigEndian.PutUint64(keys[8:], peerKey)
	h := hmac.New(sha256.New, keys[:])
	h.Write(text)
	return [sha256.Size]byte(h.Sum(nil))
}
