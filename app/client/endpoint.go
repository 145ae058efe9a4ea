package client

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"tandem/platform"
)

// literals returns those endpoints that need no looking up.
func literals(endpoints []string) (found []netip.AddrPort) {
	for _, e := range endpoints {
		if a, err := netip.ParseAddrPort(e); err == nil {
			found = append(found, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
		}
	}
	return found
}

// endpointsMax bounds what names may resolve to.
const endpointsMax = 16

// resolve looks up the endpoints, in their order. Names that are not found are left out.
func resolve(ctx context.Context, endpoints []string) (found []netip.AddrPort) {
	for _, e := range endpoints {
		if a := literals([]string{e}); len(a) == 1 {
			found = append(found, a[0])
			continue
		}
		host, port, err := net.SplitHostPort(e)
		if err != nil {
			continue
		}
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			continue
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			continue
		}
		for _, a := range addrs {
			found = append(found, netip.AddrPortFrom(a.Unmap(), uint16(number)))
		}
	}
	return found[:min(len(found), endpointsMax)]
}

const (
	lookupTime   = 5 * time.Second
	lookupPeriod = 30 * time.Second // at most so often
)

// lookUp looks the hub's names up whenever it is asked to.
func (v *live) lookUp() {
	for {
		select {
		case <-v.lookup:
		case <-v.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(v.ctx, lookupTime)
		found := resolve(ctx, v.member.Endpoints)
		cancel()
		if len(found) > 0 {
			v.post(v.ctx, func() { v.found(found) })
		}
		select {
		case <-time.After(lookupPeriod):
		case <-v.ctx.Done():
			return
		}
	}
}

// found takes the hub's endpoints. Links that waited for them begin.
func (v *live) found(endpoints []netip.AddrPort) {
	v.endpoints = endpoints
	for _, l := range v.carried {
		if !l.endpoint.IsValid() {
			v.open(l, time.Now())
		}
	}
}

// askLookup has the names looked up, if there are any.
func (v *live) askLookup() {
	select {
	case v.lookup <- struct{}{}:
	default:
	}
}

// pick returns the endpoint for a try over a link: of a family that the link has an address of, one after the other. A link
// of which no address is known may have both.
func pick(l platform.Link, endpoints []netip.AddrPort, try int) netip.AddrPort {
	var fit []netip.AddrPort
	for _, e := range endpoints {
		if len(l.Addrs) == 0 || slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr().Is4() == e.Addr().Is4() }) {
			fit = append(fit, e)
		}
	}
	if len(fit) == 0 {
		return netip.AddrPort{}
	}
	return fit[try%len(fit)]
}
