package mptcp

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

const (
	cookieLen      = 8 // octets: a SYN/ACK with MP_CAPABLE does without timestamps for it (RFC 8684 B.1)
	cookieKeyLasts = 24 * time.Hour
)

// cookieKeys are what cookies are made with: the present key and the one before.
type cookieKeys struct {
	keys   [2][sha256.Size]byte
	n      int // how many there are
	turnAt clock.Time
}

// turn takes a new key when the present one has been in use for its time.
func (k *cookieKeys) turn(now clock.Time, b *Bond) {
	if k.n > 0 && now < k.turnAt {
		return
	}
	k.n = min(k.n+1, len(k.keys))
	if now >= k.turnAt.Add(cookieKeyLasts) {
		k.n = 1 // nobody has a cookie that is younger than the last key but one
	}
	k.keys[1] = k.keys[0]
	b.random(k.keys[0][:])
	k.turnAt = now.Add(cookieKeyLasts)
}

// cookie returns the cookie of an address under the present key, or the one before.
func (k *cookieKeys) cookie(addr netip.Addr, age int) wire.FastOpen {
	mac, raw := hmac.New(sha256.New, k.keys[age][:]), addr.As16()
	mac.Write(raw[:])
	c := wire.FastOpen{Len: cookieLen}
	copy(c.Cookie[:cookieLen], mac.Sum(nil))
	return c
}

// age returns under which key the cookie is the address's own; -1: none.
func (k *cookieKeys) age(addr netip.Addr, c wire.FastOpen) int {
	for age := range k.n {
		if own := k.cookie(addr, age); hmac.Equal(own.Cookie[:own.Len], c.Cookie[:c.Len]) {
			return age
		}
	}
	return -1
}
