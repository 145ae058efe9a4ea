package invite

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"

	"tandem/tunnel/carrier"
)

// How many there are of what has addresses inside the tunnel.
const (
	Slots      = 8     // of each device: as many links as it may use at once
	DevicesMax = 16127 // devices have the numbers 1 to this
	InvitesMax = 32    // open at once, with the numbers 0 to this less one
)

// DefaultPort is the UDP port that a hub listens on unless told otherwise.
const DefaultPort = 8684

// What is heard at the hub's inner addresses, beside the engine's control lane.
const (
	EnrolPort = 8685 // TCP
	DNSPort   = 53   // UDP and TCP
)

// Inner4 is the network of all inner IPv4 addresses.
var Inner4 = netip.MustParsePrefix("198.18.0.0/15")

// groupOfInvites stands where a device's number does in the inner IPv6 address of an invite.
const groupOfInvites = 0xffff

// Inner6 returns the network of all inner IPv6 addresses of a hub: a unique local prefix made from its
// public key (RFC 4193 3.2.2), so that those of two hubs differ.
func Inner6(hub carrier.Key) netip.Prefix {
	sum := sha256.Sum256(append([]byte("tandem inner"), hub[:]...))
	a := [16]byte{0: 0xfd}
	copy(a[1:6], sum[:])
	return netip.PrefixFrom(netip.AddrFrom16(a), 48)
}

// HubAddrs returns the hub's inner addresses.
func HubAddrs(hub carrier.Key) (v4, v6 netip.Addr) { return inner4(1), inner6(hub, 0, 1) }

// HostAddrs returns the addresses that a device has at its TUN, the same for every device: they do not
// leave it.
func HostAddrs(hub carrier.Key) (v4, v6 netip.Addr) { return inner4(2), inner6(hub, 0, 2) }

// SlotAddrs returns the inner addresses of a slot, 0 to Slots less one, of a device.
func SlotAddrs(hub carrier.Key, device, slot int) (v4, v6 netip.Addr) {
	return inner4(device*Slots + slot), inner6(hub, device, slot)
}

// InviteAddrs returns the inner addresses of whoever enrols with an invite of that number.
func InviteAddrs(hub carrier.Key, number int) (v4, v6 netip.Addr) {
	const last256 = 1<<17 - 256
	return inner4(last256 + number + 1), inner6(hub, groupOfInvites, number)
}

func inner4(n int) netip.Addr {
	a := Inner4.Addr().As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])+uint32(n))
	return netip.AddrFrom4(a)
}

func inner6(hub carrier.Key, group, n int) netip.Addr {
	a := Inner6(hub).Addr().As16()
	binary.BigEndian.PutUint16(a[12:], uint16(group))
	binary.BigEndian.PutUint16(a[14:], uint16(n))
	return netip.AddrFrom16(a)
}
