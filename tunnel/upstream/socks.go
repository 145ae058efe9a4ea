package upstream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
)

// What SOCKS5 says (RFC 1928 3 to 6, RFC 1929 2).
const (
	version         = 5
	passwordVersion = 1

	methodNone     = 0x00
	methodPassword = 0x02
	methodRefused  = 0xff

	commandConnect = 1
	commandNone    = 0xff // of no proxy

	typeIPv4 = 1
	typeName = 3
	typeIPv6 = 4

	lengthMax = 255 // of names, users and passwords
)

// A Target is whom a proxy is asked for: Name, which the proxy looks up, or Addr if there is none.
type Target struct {
	Name string
	Addr netip.Addr
	Port uint16
}

// TargetOf is an address as a Target.
func TargetOf(a netip.AddrPort) Target { return Target{Addr: a.Addr(), Port: a.Port()} }

// check says why a target cannot be asked for.
func (t Target) check() error {
	switch {
	case len(t.Name) > lengthMax:
		return fmt.Errorf("a name of %d octets: %w", len(t.Name), syscall.ENAMETOOLONG)
	case t.Name == "" && !t.Addr.IsValid():
		return fmt.Errorf("no target: %w", syscall.EADDRNOTAVAIL)
	}
	return nil
}

// appendGreeting offers methods.
func appendGreeting(b []byte, methods ...byte) []byte {
	return append(append(b, version, byte(len(methods))), methods...)
}

// appendPassword says who asks. Neither may be longer than lengthMax.
func appendPassword(b []byte, user, password string) []byte {
	b = append(append(b, passwordVersion, byte(len(user))), user...)
	return append(append(b, byte(len(password))), password...)
}

// appendRequest asks for a target that was checked.
func appendRequest(b []byte, command byte, t Target) []byte {
	b = append(b, version, command, 0)
	switch addr := t.Addr.Unmap(); {
	case t.Name != "":
		b = append(append(b, typeName, byte(len(t.Name))), t.Name...)
	case addr.Is4():
		b = append(append(b, typeIPv4), addr.AsSlice()...)
	default:
		b = append(append(b, typeIPv6), addr.WithZone("").AsSlice()...)
	}
	return binary.BigEndian.AppendUint16(b, t.Port)
}

// ErrNotSOCKS says that who answers does not speak SOCKS5.
var ErrNotSOCKS = errors.New("what answers is no SOCKS5 proxy")

// ErrMethod says that the proxy wants another proof than it was offered: a user and a password, or other ones.
var ErrMethod = fmt.Errorf("the proxy wants another user and password, or some: %w", syscall.EACCES)

// readMethod reads which of the methods the proxy chose.
func readMethod(r io.Reader) (byte, error) {
	var b [2]byte
	_, err := io.ReadFull(r, b[:])
	switch {
	case err != nil:
		return 0, short(err)
	case b[0] != version:
		return 0, ErrNotSOCKS
	case b[1] == methodRefused:
		return 0, ErrMethod
	}
	return b[1], nil
}

// readVerdict reads whether the proxy accepts user and password. Proxies disagree on the version that they say here.
func readVerdict(r io.Reader) error {
	var b [2]byte
	_, err := io.ReadFull(r, b[:])
	switch {
	case err != nil:
		return short(err)
	case b[1] != 0:
		return ErrMethod
	}
	return nil
}

// readReply reads the answer to a request, all of it, and returns a *Refused if that is not good.
func readReply(r io.Reader) error {
	var b [lengthMax + 2]byte
	if _, err := io.ReadFull(r, b[:5]); err != nil {
		return short(err)
	}
	rest := 0 // of the address that was used, of which the first octet is here, and the port
	switch b[3] {
	case typeIPv4:
		rest = 4 - 1 + 2
	case typeIPv6:
		rest = 16 - 1 + 2
	case typeName:
		rest = int(b[4]) + 2
	}
	code := Reply(b[1])
	switch {
	case b[0] != version || rest == 0 && code == Succeeded:
		return ErrNotSOCKS
	case code != Succeeded:
		return &Refused{code} // the rest may never come
	}
	_, err := io.ReadFull(r, b[:rest])
	return short(err)
}

// short tells an end in the middle from one that is in order.
func short(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// A Reply is what a proxy answers to a request.
type Reply uint8

// The replies.
const (
	Succeeded          Reply = 0
	GeneralFailure     Reply = 1
	NotAllowed         Reply = 2
	NetworkUnreachable Reply = 3
	HostUnreachable    Reply = 4
	ConnectionRefused  Reply = 5
	TTLExpired         Reply = 6
	NoCommand          Reply = 7
	NoAddressType      Reply = 8
)

// replies say what each reply means, and what connect would have said. A proxy that says "general failure" knows no
// more than that the target is not to be had.
var replies = [...]struct {
	text  string
	errno syscall.Errno
}{
	GeneralFailure:     {"general failure", syscall.ECONNREFUSED},
	NotAllowed:         {"not allowed by its rules", syscall.EACCES},
	NetworkUnreachable: {"network unreachable", syscall.ENETUNREACH},
	HostUnreachable:    {"host unreachable", syscall.EHOSTUNREACH},
	ConnectionRefused:  {"connection refused", syscall.ECONNREFUSED},
	TTLExpired:         {"no answer in time", syscall.ETIMEDOUT},
	NoCommand:          {"command not supported", syscall.ECONNREFUSED},
	NoAddressType:      {"address type not supported", syscall.ENETUNREACH},
}

// A Refused is why a SOCKS5 proxy does not connect to the target.
type Refused struct{ Reply Reply }

func (r *Refused) Error() string {
	if r.Reply == Succeeded || int(r.Reply) >= len(replies) {
		return fmt.Sprintf("the proxy: error %d", uint8(r.Reply))
	}
	return "the proxy: " + replies[r.Reply].text
}

// Unwrap returns what connect would have said, a syscall.Errno.
func (r *Refused) Unwrap() error {
	if r.Reply == Succeeded || int(r.Reply) >= len(replies) {
		return syscall.ECONNREFUSED
	}
	return replies[r.Reply].errno
}
