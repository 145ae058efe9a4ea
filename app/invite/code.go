// Package invite is what hub and device agree on before they know each other: the code that a person
// carries from one to the other, the messages of enrolment, and the addresses inside the tunnel.
package invite

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tandem/tunnel/carrier"
)

// Version is the only version of codes that this program makes and reads.
const Version = 1

// Why a text is no code of use.
var (
	ErrForeign  = errors.New("this is not an invite code of tandem: a code begins with tandem1-")
	ErrVersion  = errors.New("this invite code is of another version of tandem: update this machine or the hub")
	ErrMistyped = errors.New("this invite code is mistyped: its checksum is wrong, compare it with the original")
	ErrExpired  = errors.New("this invite code has expired: make a new one at the hub with tandem-hub invite")
)

const (
	name        = "tandem"
	checksumLen = 4
	endpointMax = 255 // octets

	// EndpointsMax is how many endpoints a code holds.
	EndpointsMax = 8
)

var (
	be   = binary.BigEndian
	text = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
)

// Code lets whoever has it enrol one device at a hub.
type Code struct {
	Hub       carrier.Key // the hub's public key
	Endpoints []string    // HOST:PORT where the hub may be found, best first
	Key       carrier.Key // the private key of the carrier to the enrolment, used for nothing else
	Number    int         // of the invite at the hub: which addresses it has, see InviteAddrs
	Expires   time.Time   // in whole seconds
}

// String returns the code as people pass it on: letters and digits, one word.
//
//	tandem1-base32(hub key, one-time key, number 2, expires 4, endpoints 1 × (length 1, text), checksum 4)
func (c Code) String() string {
	b := bytes.Join([][]byte{c.Hub[:], c.Key[:]}, nil)
	b = be.AppendUint16(b, uint16(c.Number))
	b = be.AppendUint32(b, uint32(c.Expires.Unix()))
	b = append(b, byte(len(c.Endpoints)))
	for _, e := range c.Endpoints {
		b = append(append(b, byte(len(e))), e...)
	}
	return name + strconv.Itoa(Version) + "-" + text.EncodeToString(append(b, checksum(b)...))
}

// Parse reads a code. Letters may be large or small, and white space is ignored, as codes are broken
// over lines. The error is ErrForeign, ErrVersion or ErrMistyped.
func Parse(s string) (Code, error) {
	s = strings.ToLower(strings.Join(strings.Fields(s), ""))
	head, body, found := strings.Cut(s, "-")
	digits, named := strings.CutPrefix(head, name)
	version, err := strconv.Atoi(digits)
	switch {
	case !found || !named || err != nil:
		return Code{}, ErrForeign
	case version != Version:
		return Code{}, ErrVersion
	}
	b, err := text.DecodeString(body)
	if err != nil || len(b) < checksumLen {
		return Code{}, ErrMistyped
	}
	b, sum := b[:len(b)-checksumLen], b[len(b)-checksumLen:]
	if !bytes.Equal(sum, checksum(b)) {
		return Code{}, ErrMistyped
	}
	c, ok := parse(b)
	if !ok {
		return Code{}, ErrForeign
	}
	return c, nil
}

// parse reads what the checksum vouches for.
func parse(b []byte) (c Code, ok bool) {
	const fixed = 32 + 32 + 2 + 4 + 1
	if len(b) < fixed {
		return c, false
	}
	copy(c.Hub[:], b)
	copy(c.Key[:], b[32:])
	c.Number = int(be.Uint16(b[64:]))
	c.Expires = time.Unix(int64(be.Uint32(b[66:])), 0)
	count, b := int(b[70]), b[fixed:]
	for range count {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return c, false
		}
		c.Endpoints = append(c.Endpoints, string(b[1:1+b[0]]))
		b = b[1+b[0]:]
	}
	return c, len(b) == 0 && c.Validate() == nil
}

// Validate reports what keeps c from being a code: a number that no invite has, or endpoints that are
// none.
func (c Code) Validate() error {
	switch {
	case c.Number < 0 || c.Number >= InvitesMax:
		return fmt.Errorf("no invite has number %d", c.Number)
	case len(c.Endpoints) == 0 || len(c.Endpoints) > EndpointsMax:
		return fmt.Errorf("an invite has 1 to %d endpoints, not %d", EndpointsMax, len(c.Endpoints))
	}
	for _, e := range c.Endpoints {
		if err := CheckEndpoint(e); err != nil {
			return err
		}
	}
	return nil
}

// Check returns ErrExpired when the code is too old at now.
func (c Code) Check(now time.Time) error {
	if now.After(c.Expires) {
		return ErrExpired
	}
	return nil
}

// CheckEndpoint reports why e is not HOST:PORT.
func CheckEndpoint(e string) error {
	host, port, err := net.SplitHostPort(e)
	if err != nil || host == "" || len(e) > endpointMax {
		return fmt.Errorf("%q is not HOST:PORT, such as %s:%d", e, example(e), DefaultPort)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q has no port between 1 and 65535", e)
	}
	return nil
}

// example is the host that somebody meant, or any.
func example(host string) string {
	switch a, err := netip.ParseAddr(strings.Trim(host, "[]")); {
	case err == nil && a.Is6():
		return "[" + a.String() + "]"
	case host == "" || len(host) > endpointMax || strings.Contains(host, ":"):
		return "home.example.net"
	}
	return host
}

func checksum(b []byte) []byte {
	sum := sha256.Sum256(append([]byte("tandem invite "), b...))
	return sum[:checksumLen]
}
