package server

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
)

// reverseOf returns the address whose name is asked for by a name under in-addr.arpa (RFC 1035 3.5) or ip6.arpa
// (RFC 3596 2.5), or the zero Addr.
func reverseOf(name string) netip.Addr {
	name = strings.ToLower(name)
	if of, found := strings.CutSuffix(name, ".in-addr.arpa."); found {
		labels := strings.Split(of, ".")
		slices.Reverse(labels)
		a, _ := netip.ParseAddr(strings.Join(labels, "."))
		return a
	}
	of, found := strings.CutSuffix(name, ".ip6.arpa.")
	digits := strings.Split(of, ".")
	if !found || slices.ContainsFunc(digits, func(d string) bool { return len(d) != 1 }) {
		return netip.Addr{}
	}
	slices.Reverse(digits)
	octets, _ := hex.DecodeString(strings.Join(digits, ""))
	a, _ := netip.AddrFromSlice(octets)
	if !a.Is6() {
		return netip.Addr{}
	}
	return a
}
