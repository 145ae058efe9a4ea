package proxy

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"tandem/tunnel/packet"
)

const (
	targetsMax = 4 // addresses of a name that are tried

	farewell = time.Second // for a client to read why it is refused
)

// A dialect is how a client is answered.
type dialect interface {
	accept(c io.Writer) error
	refuse(c io.Writer, why error)
}

// A request is what a client wants.
type request struct {
	dialect   dialect
	host      string // an address or a name
	port      uint16
	associate bool   // datagrams in place of a connection
	early     []byte // what came behind it
}

var (
	errMalformed    = errors.New("malformed request")
	errUnauthorized = errors.New("wrong user or password")
)

// serve hears what a client wants, and offers it.
func (p *Proxy) serve(ctx context.Context, conn *net.TCPConn) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Handshake)
	defer cancel()
	conn.SetDeadline(time.Now().Add(p.cfg.Handshake))
	r, err := p.hear(conn)
	if err != nil {
		if errors.Is(err, errUnauthorized) {
			p.counters.unauthorized.Add(1)
		} else {
			p.counters.malformed.Add(1)
		}
		p.leave(conn)
		return
	}
	if r.associate {
		<-p.slots
		p.associate(conn, r)
		return
	}
	targets, err := p.resolve(ctx, r.host)
	if err != nil {
		r.dialect.refuse(conn, err)
		p.leave(conn)
		return
	}
	conn.SetDeadline(time.Time{})
	p.offer(conn, r, targets)
}

// hear tells the dialects apart by their first octet.
func (p *Proxy) hear(conn *net.TCPConn) (request, error) {
	var first [1]byte
	if _, err := io.ReadFull(conn, first[:]); err != nil {
		return request{}, err
	}
	if first[0] == socksVersion {
		return p.hearSOCKS(conn)
	}
	return p.hearHTTP(first[0], conn)
}

func (p *Proxy) authorized(user, password string) bool {
	right := subtle.ConstantTimeCompare([]byte(user), []byte(p.cfg.User)) & subtle.ConstantTimeCompare([]byte(password), []byte(p.cfg.Password))
	return right == 1
}

func (p *Proxy) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap().WithZone("")}, nil
	}
	found, err := p.cfg.Resolve(ctx, host)
	if err == nil && len(found) == 0 {
		err = syscall.EHOSTUNREACH
	}
	return found[:min(len(found), targetsMax)], err
}

// leave gives a client that is not answered time to read why, and closes.
func (p *Proxy) leave(conn *net.TCPConn) {
	conn.CloseWrite()
	conn.SetDeadline(time.Now().Add(farewell))
	io.Copy(io.Discard, io.LimitReader(conn, 64<<10))
	conn.Close()
	p.forget(conn)
	<-p.slots
}

// kind is what an error means to a client, as ICMP would say it.
func kind(why error) packet.Kind {
	var unknown *net.DNSError
	switch k := packet.Why(why); {
	case k != 0:
		return k
	case errors.As(why, &unknown):
		return packet.NoHost
	}
	return 0
}
