package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"tandem/app/invite"
	"tandem/tunnel/capture/proxy"
	"tandem/tunnel/relay"
)

// Socks is a proxy that applications are pointed at, where a TUN is not possible: SOCKS5 and HTTP CONNECT.
type Socks struct {
	Listen         string // ADDR:PORT, loopback unless there is a password; "": no proxy
	User, Password string
}

// startSocks serves the proxy.
func (v *live) startSocks() error {
	s := v.cfg.Socks
	l, err := net.Listen("tcp", s.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("the proxy's port is taken: another program listens at %s", s.Listen)
	case err != nil:
		return fmt.Errorf("the proxy: %w", err)
	}
	if err := proxy.Check(l.Addr().String(), s.Password); err != nil { // a name may be of any address
		return errors.Join(err, l.Close())
	}
	p, err := proxy.New(proxy.Config{
		Listener: l, User: s.User, Password: s.Password, Resolve: v.resolver(), Packets: v.packets(),
		Host4: v.inner.host4, Host6: v.inner.host6, MTU: tunMTU, Log: v.log,
	})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	v.lane.inject.Store(new(p.Inject))
	v.serve("proxy", p.Run, func(ctx context.Context) (relay.Offer, error) {
		o, err := p.Accept(ctx)
		if err != nil {
			return nil, err
		}
		return o, nil
	})
	return nil
}

// resolver looks names up for programs: as a hub does, or as the system does where there is none.
func (v *live) resolver() lookup {
	if v.native != nil {
		return asSystem
	}
	return v.resolveInside
}

// resolveInside asks the hub's name server, so that names mean what they mean there.
func (v *live) resolveInside(ctx context.Context, name string) ([]netip.Addr, error) {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return v.bond.Dial(ctx, netip.AddrPortFrom(v.inner.hub4, invite.DNSPort))
	}}
	return r.LookupNetIP(ctx, "ip", name)
}
