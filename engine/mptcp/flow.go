package mptcp

import "net/netip"

// A flowKey is the addresses and ports of a subflow, in a form that hashes fast.
type flowKey struct {
	local, remote [16]byte
	ports         uint32
}

func keyOf(local, remote netip.AddrPort) flowKey {
	return flowKey{
		local.Addr().As16(), remote.Addr().As16(),
		uint32(local.Port())<<16 | uint32(remote.Port()),
	}
}
