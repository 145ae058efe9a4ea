package server

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"tandem/app/invite"
)

// endpoints returns where devices are told to find a hub that listens on a port and has these addresses of its
// own: at those unless configured, the ones of the Internet first.
func (cfg *Config) endpoints(port uint16, own []netip.Addr) (found []string) {
	if len(cfg.Endpoints) > 0 {
		return cfg.Endpoints
	}
	if listen := cfg.listen().Addr(); !listen.IsUnspecified() {
		return []string{netip.AddrPortFrom(listen, port).String()}
	}
	for _, wantLocal := range []bool{false, true} {
		for _, a := range own {
			if a.IsGlobalUnicast() && isLocal(a) == wantLocal && len(found) < invite.EndpointsMax {
				found = append(found, netip.AddrPortFrom(a, port).String())
			}
		}
	}
	return found
}

// doubt says why devices may not find a hub that listens on a port at these endpoints, and what to do; "": nothing
// speaks against it.
func (cfg *Config) doubt(port uint16, endpoints []string) string {
	if len(endpoints) == 0 {
		return ""
	}
	if len(cfg.Endpoints) == 0 {
		if slices.ContainsFunc(endpoints, reachable) {
			return ""
		}
		return "These addresses are private: devices outside this network will not find the hub; say --endpoint NAME:PORT"
	}
	said := ""
	for _, e := range endpoints {
		_, p, _ := net.SplitHostPort(e)
		if p == strconv.Itoa(int(port)) {
			return ""
		}
		if said == "" {
			said = p
		}
	}
	return fmt.Sprintf("Devices are told port %s but this hub listens on %d: forward the one to the other, or add --listen :%[1]s", said, port)
}

// reachable reports whether an endpoint is an address that the Internet may know.
func reachable(endpoint string) bool {
	a, err := netip.ParseAddrPort(endpoint)
	return err == nil && a.Addr().IsGlobalUnicast() && !isLocal(a.Addr())
}

func isLocal(a netip.Addr) bool {
	return slices.ContainsFunc(local, func(p netip.Prefix) bool { return p.Contains(a) })
}
