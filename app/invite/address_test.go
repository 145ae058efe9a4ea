package invite

import (
	"net/netip"
	"testing"

	"tandem/tunnel/carrier"
)

func TestAddresses(t *testing.T) {
	hub := carrier.Key{7}
	p := Inner6(hub)
	if p.Bits() != 48 || p.Addr().As16()[0] != 0xfd {
		t.Fatalf("inner network %v is no unique local /48", p)
	}
	if p == Inner6(carrier.Key{8}) {
		t.Error("two hubs have one inner network")
	}
	of := func(v4, v6 netip.Addr) [2]netip.Addr { return [2]netip.Addr{v4, v6} }
	v6 := func(groups ...uint16) netip.Addr {
		a := p.Addr().As16()
		a[12], a[13], a[14], a[15] = byte(groups[0]>>8), byte(groups[0]), byte(groups[1]>>8), byte(groups[1])
		return netip.AddrFrom16(a)
	}
	for _, c := range []struct {
		what string
		got  [2]netip.Addr
		v4   string
		v6   netip.Addr
	}{
		{"hub", of(HubAddrs(hub)), "198.18.0.1", v6(0, 1)},
		{"host", of(HostAddrs(hub)), "198.18.0.2", v6(0, 2)},
		{"first slot", of(SlotAddrs(hub, 1, 0)), "198.18.0.8", v6(1, 0)},
		{"a slot", of(SlotAddrs(hub, 300, 5)), "198.18.9.101", v6(300, 5)},
		{"last slot", of(SlotAddrs(hub, DevicesMax, Slots-1)), "198.19.247.255", v6(DevicesMax, 7)},
		{"first invite", of(InviteAddrs(hub, 0)), "198.19.255.1", v6(0xffff, 0)},
		{"last invite", of(InviteAddrs(hub, InvitesMax-1)), "198.19.255.32", v6(0xffff, 31)},
	} {
		if c.got[0].String() != c.v4 || c.got[1] != c.v6 {
			t.Errorf("%s: %v, want %s and %v", c.what, c.got, c.v4, c.v6)
		}
		if !Inner4.Contains(c.got[0]) || !p.Contains(c.got[1]) {
			t.Errorf("%s: %v is not inside", c.what, c.got)
		}
	}
}
