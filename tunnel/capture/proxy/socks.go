package proxy

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"

	"tandem/tunnel/packet"
)

// RFC 1928, RFC 1929.
const (
	socksVersion    = 5
	passwordVersion = 1

	methodNone     = 0
	methodPassword = 2
	methodNothing  = 0xff // acceptable

	commandConnect   = 1
	commandAssociate = 3

	addressIPv4 = 1
	addressName = 3
	addressIPv6 = 4

	replySucceeded     = 0
	replyFailed        = 1
	replyProhibited    = 2
	replyNoNet         = 3
	replyNoHost        = 4
	replyRefused       = 5
	replyNoCommand     = 7
	replyNoAddressType = 8
)

// socks is the dialect of SOCKS5.
type socks struct{}

func (socks) accept(c io.Writer) error { return reply(c, replySucceeded, netip.AddrPort{}) }

func (socks) refuse(c io.Writer, why error) {
	code := replyFailed
	switch kind(why) {
	case packet.Prohibited:
		code = replyProhibited
	case packet.NoNet:
		code = replyNoNet
	case packet.NoHost:
		code = replyNoHost
	case packet.NoPort:
		code = replyRefused
	}
	reply(c, byte(code), netip.AddrPort{})
}

// reply (RFC 1928 6): where no address is known, zeros.
func reply(c io.Writer, code byte, bound netip.AddrPort) error {
	_, err := c.Write(appendAddress([]byte{socksVersion, code, 0}, bound))
	return err
}

func appendAddress(b []byte, a netip.AddrPort) []byte {
	switch {
	case a.Addr().Is6():
		b = append(append(b, addressIPv6), a.Addr().AsSlice()...)
	case a.Addr().Is4():
		b = append(append(b, addressIPv4), a.Addr().AsSlice()...)
	default:
		b = append(b, addressIPv4, 0, 0, 0, 0)
	}
	return binary.BigEndian.AppendUint16(b, a.Port())
}

// hearSOCKS goes on behind the version of the first message.
func (p *Proxy) hearSOCKS(c io.ReadWriter) (request, error) {
	methods, err := counted(c)
	if err != nil {
		return request{}, err
	}
	want := byte(methodNone)
	if p.cfg.Password != "" {
		want = methodPassword
	}
	for _, m := range methods {
		if m == want {
			if _, err := c.Write([]byte{socksVersion, want}); err != nil {
				return request{}, err
			}
			if want == methodPassword {
				if err := p.hearPassword(c); err != nil {
					return request{}, err
				}
			}
			return hearCommand(c)
		}
	}
	c.Write([]byte{socksVersion, methodNothing})
	return request{}, errUnauthorized
}

// hearPassword: RFC 1929 2.
func (p *Proxy) hearPassword(c io.ReadWriter) error {
	var version [1]byte
	if _, err := io.ReadFull(c, version[:]); err != nil {
		return err
	}
	if version[0] != passwordVersion {
		return errMalformed
	}
	user, err := counted(c)
	if err != nil {
		return err
	}
	password, err := counted(c)
	if err != nil {
		return err
	}
	if !p.authorized(string(user), string(password)) {
		c.Write([]byte{passwordVersion, 1})
		return errUnauthorized
	}
	_, err = c.Write([]byte{passwordVersion, 0})
	return err
}

// hearCommand: RFC 1928 4.
func hearCommand(c io.ReadWriter) (request, error) {
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return request{}, err
	}
	r := request{dialect: socks{}}
	if head[0] != socksVersion {
		return r, errMalformed
	}
	var host []byte
	var err error
	switch head[3] {
	case addressIPv4:
		host = make([]byte, 4)
		_, err = io.ReadFull(c, host)
	case addressIPv6:
		host = make([]byte, 16)
		_, err = io.ReadFull(c, host)
	case addressName:
		host, err = counted(c)
	default:
		reply(c, replyNoAddressType, netip.AddrPort{})
		return r, errMalformed
	}
	if err != nil {
		return r, err
	}
	var port [2]byte
	if _, err := io.ReadFull(c, port[:]); err != nil {
		return r, err
	}
	r.host, r.port = text(head[3], host), binary.BigEndian.Uint16(port[:])
	switch {
	case head[1] == commandAssociate:
		r.associate = true
	case head[1] != commandConnect:
		reply(c, replyNoCommand, netip.AddrPort{})
		return r, errMalformed
	case r.port == 0 || r.host == "":
		reply(c, replyFailed, netip.AddrPort{})
		return r, errMalformed
	}
	return r, nil
}

func text(addressType byte, host []byte) string {
	if addressType == addressName {
		return string(host)
	}
	a, _ := netip.AddrFromSlice(host)
	return a.String()
}

// counted reads octets behind their number.
func counted(c io.Reader) ([]byte, error) {
	var n [1]byte
	if _, err := io.ReadFull(c, n[:]); err != nil {
		return nil, err
	}
	b := make([]byte, n[0])
	_, err := io.ReadFull(c, b)
	return b, err
}

// cutHeader takes a datagram apart (RFC 1928 7). Fragments are not taken, which is allowed.
func cutHeader(b []byte) (host string, port uint16, payload []byte, ok bool) {
	if len(b) < 5 || b[2] != 0 {
		return "", 0, nil, false
	}
	kind, rest, n := b[3], b[4:], 0
	switch kind {
	case addressIPv4:
		n = net.IPv4len
	case addressIPv6:
		n = net.IPv6len
	case addressName:
		n, rest = int(rest[0]), rest[1:]
	}
	if n == 0 || len(rest) < n+2 {
		return "", 0, nil, false
	}
	return text(kind, rest[:n]), binary.BigEndian.Uint16(rest[n:]), rest[n+2:], true
}
