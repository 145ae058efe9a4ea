package packet

import (
	"errors"
	"net/netip"
	"os"
	"syscall"

	"tandem/engine/wire"
)

// A Kind is what an ICMP error says, in either family. The zero Kind says nothing.
type Kind uint8

// The kinds of ICMP errors (RFC 792, RFC 1812 5.2.7, RFC 4443 3).
const (
	NoNet      Kind = iota + 1 // network cannot be reached
	NoHost                     // host cannot be reached
	NoProtocol                 // the host does not know the protocol
	NoPort                     // nobody listens there
	Prohibited                 // forbidden by who administers the way
	Expired                    // TTL exceeded on the way
	TooBig                     // longer than a link of the way takes; the error tells the MTU
)

// A form is how a kind is written in a family.
type form struct{ kind, code uint8 }

var forms4 = [...]form{NoNet: {3, 0}, NoHost: {3, 1}, NoProtocol: {3, 2}, NoPort: {3, 3}, Prohibited: {3, 13}, Expired: {11, 0}, TooBig: {3, 4}}

var forms6 = [...]form{NoNet: {1, 0}, NoHost: {1, 3}, NoProtocol: {4, 1}, NoPort: {1, 4}, Prohibited: {1, 1}, Expired: {3, 0}, TooBig: {2, 0}}

// KindOf reads an ICMP type and code of IPv4 or IPv6; 0 if that is no error told apart here.
func KindOf(v4 bool, icmpType, code uint8) Kind {
	if v4 {
		return kind4(icmpType, code)
	}
	return kind6(icmpType, code)
}

func kind4(icmpType, code uint8) Kind {
	switch {
	case icmpType == 11 && code == 0:
		return Expired
	case icmpType != 3:
		return 0
	}
	switch code {
	case 0, 6, 11:
		return NoNet
	case 2:
		return NoProtocol
	case 3:
		return NoPort
	case 4:
		return TooBig
	case 9, 10, 13:
		return Prohibited
	}
	return NoHost
}

func kind6(icmpType, code uint8) Kind {
	switch icmpType {
	case 2:
		return TooBig
	case 3:
		if code == 0 {
			return Expired
		}
		return 0
	case 4:
		if code == 1 {
			return NoProtocol
		}
		return 0
	case 1:
	default:
		return 0
	}
	switch code {
	case 0:
		return NoNet
	case 1, 5, 6:
		return Prohibited
	case 4:
		return NoPort
	}
	return NoHost
}

// Why is what ICMP says of an error that a system call or a dial gave; 0 when it has no word for it.
func Why(err error) Kind {
	var timeout interface{ Timeout() bool }
	switch {
	case err == nil, errors.Is(err, syscall.EAGAIN):
		return 0 // of these the latter says of itself that it is a timeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return NoPort
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EAFNOSUPPORT), errors.Is(err, syscall.EADDRNOTAVAIL):
		return NoNet
	case errors.Is(err, syscall.EMSGSIZE):
		return TooBig
	case errors.Is(err, os.ErrPermission): // EACCES and EPERM are that too
		return Prohibited
	case errors.Is(err, syscall.EHOSTUNREACH), errors.As(err, &timeout) && timeout.Timeout():
		return NoHost
	}
	return 0
}

const (
	mtu4 = 576 // of an error, at most (RFC 1812 4.3.2.3)
	mtu6 = 1280

	tosControl = 6 << 5 // RFC 1812 4.3.2.5
)

// AppendError appends the ICMP error that from answers a packet with: about is quoted, as it was when its
// sender sent it but for what may be cut off behind its headers, and its sender is whom the error goes to. mtu counts for TooBig only. Nothing is appended about what
// errors are never about: ICMP errors, fragments but the first, what is from or for no single host
// (RFC 1122 3.2.2, RFC 4443 2.4), and what is no packet or not of from's family.
func AppendError(buf []byte, from netip.Addr, kind Kind, mtu int, about []byte) []byte {
	var p Packet
	if kind == 0 || kind > TooBig || p.parse(about, true) != nil || !p.answerable(kind) {
		return buf
	}
	h := Packet{Source: from, Target: p.Source, TOS: tosControl}
	f, room := forms4[kind], mtu4-header4-icmpLen
	if h.Target.Is6() {
		f, room = forms6[kind], mtu6-header6-icmpLen
	}
	rest := uint32(0)
	switch {
	case kind == TooBig:
		rest = uint32(min(max(mtu, 0), lenMax))
	case kind == NoProtocol && h.Target.Is6():
		rest = 6 // where the next header stands; extension headers are not counted
	}
	return h.appendICMP(buf, f.kind, f.code, rest, about[:min(len(about), room)])
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// answerable reports whether there may be an ICMP error about p.
func (p *Packet) answerable(kind Kind) bool {
	single := !p.Target.IsMulticast() && p.Target != broadcast
	switch {
	case p.Offset > 0,
		p.Source.IsUnspecified() || p.Source.IsMulticast() || p.Source == broadcast,
		!single && (kind != TooBig || p.Target.Is4()):
		return false
	case p.Protocol != wire.ICMPv4 && p.Protocol != wire.ICMPv6:
		return true
	case len(p.Body) == 0:
		return false
	}
	icmpType := p.Body[0]
	if p.Target.Is4() {
		return icmpType != 3 && icmpType != 4 && icmpType != 5 && icmpType != 11 && icmpType != 12
	}
	return icmpType >= 128 && icmpType != 137
}
