package convert

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"
)

// A Code says why a converter did not do what it was asked (RFC 8803 6.2.8).
type Code uint8

// The codes.
const (
	UnsupportedVersion     Code = 0
	MalformedMessage       Code = 1
	UnsupportedMessage     Code = 2
	MissingCookie          Code = 3
	NotAuthorized          Code = 32
	UnsupportedOption      Code = 33
	ResourceExceeded       Code = 64
	NetworkFailure         Code = 65
	ConnectionReset        Code = 96
	DestinationUnreachable Code = 97
)

// String names the code as the RFC does.
func (c Code) String() string {
	switch c {
	case UnsupportedVersion:
		return "unsupported version"
	case MalformedMessage:
		return "malformed message"
	case UnsupportedMessage:
		return "unsupported message"
	case MissingCookie:
		return "missing cookie"
	case NotAuthorized:
		return "not authorized"
	case UnsupportedOption:
		return "unsupported TCP option"
	case ResourceExceeded:
		return "resource exceeded"
	case NetworkFailure:
		return "network failure"
	case ConnectionReset:
		return "connection reset"
	case DestinationUnreachable:
		return "destination unreachable"
	}
	return fmt.Sprintf("error %d", uint8(c))
}

// A Failure is the Error TLV: a code and what is told with it, in the form that it has for that code.
type Failure struct {
	Code  Code
	Value []byte // as parsed with the zeros at its end; nil is a zero
}

// Delays that clients keep to.
const (
	delayUntold = 30 * time.Second // for a delay of zero (RFC 8803 6.2.8)
	delayMax    = time.Hour        // whatever was told
)

// Delayed is a ResourceExceeded or NetworkFailure that asks the client to wait, up to 255 s.
func Delayed(code Code, wait time.Duration) Failure {
	seconds := (wait + time.Second - 1) / time.Second
	return Failure{code, []byte{byte(min(max(seconds, 0), 255))}}
}

// Unreachable is a DestinationUnreachable for an ICMP error with that code.
func Unreachable(code uint8) Failure { return Failure{DestinationUnreachable, []byte{code}} }

// echo is a failure that repeats the message that it is about, as much of it as fits.
func echo(code Code, message []byte) Failure {
	const most = MaxLen - HeaderLen - tlvLen
	return Failure{code, append([]byte{0}, message[:min(len(message), most)]...)}
}

// len is how many octets follow Type and Length, before the zeros at the end.
func (f Failure) len() int { return 1 + max(len(f.Value), 1) }

func (f Failure) append(b []byte) []byte {
	n := 2 + f.len()
	b = append(b, typeError, byte(words(n)), byte(f.Code))
	if len(f.Value) == 0 {
		b = append(b, 0)
	}
	return pad(append(b, f.Value...), n)
}

// Versions returns which versions the peer supports (UnsupportedVersion).
func (f Failure) Versions() []uint8 { return f.Value[:padding(f.Value)] }

// Kinds returns the options that are not supported (UnsupportedOption).
func (f Failure) Kinds() []uint8 { return f.Value[:padding(f.Value)] }

// Cookie returns the cookie to come back with (MissingCookie).
func (f Failure) Cookie() []byte { return f.Value[min(1, len(f.Value)):] }

// Echo returns the message that was not liked (MalformedMessage, UnsupportedMessage).
func (f Failure) Echo() []byte { return f.Value[min(1, len(f.Value)):] }

// Delay returns how long not to ask again (ResourceExceeded, NetworkFailure), an hour at most.
func (f Failure) Delay() time.Duration {
	seconds := time.Duration(0)
	for _, b := range f.Value {
		seconds = min(seconds<<8|time.Duration(b), delayMax/time.Second)
	}
	if seconds == 0 {
		return delayUntold
	}
	return seconds * time.Second
}

// ICMPCode returns the code of the ICMP error (DestinationUnreachable).
func (f Failure) ICMPCode() uint8 {
	if len(f.Value) == 0 {
		return 0
	}
	return f.Value[0]
}

// ICMP codes of Destination Unreachable.
const (
	net4Unreachable, host4Unreachable, protocol4Unreachable, port4Unreachable = 0, 1, 2, 3 // RFC 792
	net4Unknown, net4Prohibited, net4TOS                                      = 6, 9, 11   // RFC 1122 3.2.2.1
	net6Unreachable, host6Unreachable, port6Unreachable                       = 0, 3, 4    // RFC 4443 3.1
)

// Errno returns what connect says on such a failure to reach an address.
func (f Failure) Errno(target netip.Addr) syscall.Errno {
	switch f.Code {
	case MissingCookie, NotAuthorized:
		return syscall.EACCES
	case ResourceExceeded:
		return syscall.ENOBUFS
	case NetworkFailure:
		return syscall.ENETUNREACH
	case ConnectionReset:
		return syscall.ECONNREFUSED
	case DestinationUnreachable:
		return unreachable(f.ICMPCode(), target)
	}
	return syscall.EPROTO
}

func unreachable(code uint8, target netip.Addr) syscall.Errno {
	if target.Unmap().Is4() {
		switch code {
		case protocol4Unreachable, port4Unreachable:
			return syscall.ECONNREFUSED
		case net4Unreachable, net4Unknown, net4Prohibited, net4TOS:
			return syscall.ENETUNREACH
		}
		return syscall.EHOSTUNREACH
	}
	switch code {
	case port6Unreachable:
		return syscall.ECONNREFUSED
	case net6Unreachable:
		return syscall.ENETUNREACH
	}
	return syscall.EHOSTUNREACH
}

// FailureOf returns how to tell a client that dialling the target ended with err. A server that did not
// answer counts as unreachable, since only the target is to blame. A port that ICMP says is unreachable counts as a reset:
// connect tells both by ECONNREFUSED, and sockets of Multipath TCP have no error queue (IP_RECVERR) that told them apart.
func FailureOf(err error, target netip.Addr) Failure {
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case is(syscall.ECONNREFUSED, syscall.ECONNRESET):
		return Failure{Code: ConnectionReset}
	case is(syscall.ENETUNREACH, syscall.ENETDOWN):
		return Failure{Code: NetworkFailure}
	case is(syscall.EACCES, syscall.EPERM):
		return Failure{Code: NotAuthorized}
	case is(syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL):
		return Failure{Code: ResourceExceeded}
	case target.Unmap().Is4():
		return Unreachable(host4Unreachable)
	}
	return Unreachable(host6Unreachable)
}
