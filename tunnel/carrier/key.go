package carrier

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"

	"golang.zx2c4.com/wireguard/device"
)

// A Key is a Curve25519 key of WireGuard, private or public.
type Key [32]byte

// NewKey returns a fresh private key.
func NewKey() Key {
	var k Key
	rand.Read(k[:])
	// Clamped as in RFC 7748, section 5.
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k
}

// Public returns the public key of a private key.
func (k Key) Public() Key {
	private, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		panic(err) // the length is the only thing that can be wrong
	}
	return Key(private.PublicKey().Bytes())
}

func (k Key) noise() device.NoisePublicKey { return device.NoisePublicKey(k) }

// IsZero reports whether no key was set.
func (k Key) IsZero() bool { return k == Key{} }

// String returns the whole key in base64, 44 characters.
func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// LogValue is what a log tells of a key: too little to use it.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()[:6] + "…") }

// ParseKey reads what String wrote.
func ParseKey(s string) (Key, error) {
	var k Key
	err := k.UnmarshalText([]byte(s))
	return k, err
}

// MarshalText writes the key as String does.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText wrote. An error leaves the key as it was, and does not tell the text.
func (k *Key) UnmarshalText(text []byte) error {
	octets, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err != nil || len(octets) != len(k) {
		return fmt.Errorf("carrier: not a key: want %d octets in base64", len(k))
	}
	copy(k[:], octets)
	return nil
}
