package client

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"tandem/app/config"
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

// A lookup returns the addresses of a host.
type lookup func(ctx context.Context, host string) ([]netip.Addr, error)

// resolve looks up the endpoints, in their order. Names that are not found have what known says, if anything.
// It returns what each name was found to mean, too.
func resolve(ctx context.Context, endpoints []string, ask lookup, known config.Endpoints) (all []netip.AddrPort, found config.Endpoints) {
	found = config.Endpoints{}
	for _, e := range endpoints {
		if a := literals([]string{e}); len(a) == 1 {
			all = append(all, a[0])
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
		addrs, _ := ask(ctx, host)
		for _, a := range addrs[:min(len(addrs), endpointsMax)] {
			found[e] = append(found[e], netip.AddrPortFrom(a.Unmap().WithZone(""), uint16(number)))
		}
		if len(addrs) > 0 {
			all = append(all, found[e]...)
		} else {
			all = append(all, known[e]...)
		}
	}
	return all[:min(len(all), endpointsMax)], found
}

// asSystem looks up as every program here does.
func asSystem(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// remembered looks nothing up.
func remembered(context.Context, string) ([]netip.Addr, error) { return nil, nil }

// questionsMax bounds how many servers are asked at a time, over all links.
const questionsMax = 16

// overLinks asks every name server over every link, past the tunnel; the first answer counts. Where none comes the system is asked.
func (c *Client) overLinks(links []string) lookup {
	servers := c.nameservers()
	return func(ctx context.Context, host string) ([]netip.Addr, error) {
		asking, cancel := context.WithTimeout(ctx, lookupTime)
		defer cancel()
		answers, asked := make(chan []netip.Addr, questionsMax), 0
		var all sync.WaitGroup
		defer all.Wait()
		defer cancel()
		for _, link := range links {
			for _, server := range servers {
				if asked == questionsMax {
					break
				}
				asked++
				all.Go(func() { answers <- askOver(asking, c.cfg.Host.Pin(link), server, host) })
			}
		}
		for range asked {
			if a := <-answers; len(a) > 0 {
				return a, nil
			}
		}
		return asSystem(ctx, host)
	}
}

// askOver asks one server through sockets that are pinned.
func askOver(ctx context.Context, pin pin, server netip.AddrPort, host string) []netip.Addr {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		d := net.Dialer{Control: pin}
		return d.DialContext(ctx, network, server.String())
	}}
	found, err := r.LookupNetIP(ctx, "ip", strings.TrimSuffix(host, ".")+".") // whole: no search domains
	if err != nil {
		return nil
	}
	return found
}

// pin is what platform.Host.Pin returns.
type pin = func(network, address string, c syscall.RawConn) error

const (
	lookupTime   = 5 * time.Second
	lookupPeriod = 30 * time.Second // at most so often
	lookupAgain  = 2 * time.Second  // when nothing was found
)

// lookUp looks the hub's names up whenever it is asked to, over the links that it is told.
func (v *live) lookUp(known config.Endpoints) {
	for {
		var links []string
		select {
		case links = <-v.lookup:
		case <-v.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(v.ctx, 2*lookupTime)
		endpoints, found := resolve(ctx, v.member.Endpoints, v.overLinks(links), known)
		cancel()
		pause := lookupAgain
		if len(found) > 0 {
			pause = lookupPeriod
			v.post(v.ctx, func() { v.found(endpoints) })
			known = v.remember(known, found)
		}
		select {
		case <-time.After(pause):
		case <-v.ctx.Done():
			return
		}
	}
}

// remember keeps what was found, so that the hub is reached next time even when no server answers.
func (v *live) remember(known, found config.Endpoints) config.Endpoints {
	all := maps.Clone(known)
	maps.Copy(all, found)
	if !reflect.DeepEqual(all, known) {
		if err := v.cfg.State.SaveEndpoints(all); err != nil {
			v.log.Warn("the hub's addresses are not kept", "err", err)
		}
	}
	return all
}

// found takes the hub's endpoints. Links that waited for them begin, and those that wait for an answer try the next.
func (v *live) found(endpoints []netip.AddrPort) {
	v.endpoints = endpoints
	for _, l := range v.carried {
		if !l.endpoint.IsValid() || !l.alive && !slices.Contains(endpoints, l.endpoint) {
			v.open(l, time.Now())
		}
	}
}

// askLookup has the names looked up, if there are any.
func (v *live) askLookup() {
	links := []string{}
	for _, l := range v.carried {
		links = append(links, l.seen.Name)
	}
	slices.Sort(links)
	select {
	case v.lookup <- links:
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
