package relay

import "net/netip"

// A socket stands for a mapping in the world.
type socket interface {
	// send tries once and does not wait. A message of UDP is the payload, one of echo the ICMP message, whose
	// identifier and checksum do not matter.
	send(message []byte, target netip.AddrPort, h hop) error
	// read waits until something has come and gives each arrival, up to max of them, but not while it waits.
	// The error is that the socket is of no use any more.
	read(max int, each func(*arrival)) error
	close()
}

// A hop is what a packet's sender wants of routers.
type hop struct {
	tos, ttl uint8
	df       bool
}

// An opener makes the socket of a mapping.
type opener func(key) (socket, error)
