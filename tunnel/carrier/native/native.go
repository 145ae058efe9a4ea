// Package native is a carrier without a tunnel: what the engine makes goes out of a link as it is, with the link's own
// address, and any server that speaks TCP or Multipath TCP answers it. It takes root or CAP_NET_RAW.
//
// Four things make it up. Each is a socket, and ends with the process whatever ends it; no setting, rule or route of
// the system is touched.
//
//	hold      a listening socket on each port of ours, with a filter that drops all: the kernel finds somebody there and
//	          does not answer with RST, nobody else gets the port, and nothing is ever accepted (ss shows them as LISTEN)
//	send      a raw IP socket a family, bound to the link and the address: routes, neighbours, firewall and queue are the
//	          kernel's
//	receive   a packet socket a family, with a filter for our address and ports: a copy of what comes in, before the
//	          firewall; ICMP errors about what we have sent too
//	unpack    what devices and the kernel have merged (GRO) is cut into segments again, and checksums that were left to
//	          them are made
package native

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"syscall"
)

// portsMax is how many ports one carrier holds at most. Each is a file, and about 4 KiB of the kernel.
const portsMax = 4096

// Config describes a carrier.
type Config struct {
	Link string // the network interface
	// Local4 and Local6 are the link's own addresses, those in packets to and from here. Either may be the zero Addr: that
	// family is not carried.
	Local4, Local6 netip.Addr
	// First and Last are the range of TCP ports that are ours on the link: source of what is sent, target of what is
	// received. At most 4096. Best outside net.ipv4.ip_local_port_range, where connections of others have them.
	First, Last uint16
	// Pin ties the sockets that send to the link, as in net.ListenConfig. Nil: by SO_BINDTODEVICE alone.
	Pin func(network, address string, c syscall.RawConn) error
	// Deliver takes what comes in, whole IP packets none of which is a fragment: TCP segments for our addresses and ports,
	// with right checksums unless they came with wrong ones, and ICMP errors that quote segments of ours. It must not wait, keep them, or
	// call Close. It is called by one goroutine for each family.
	Deliver func(pkts [][]byte)
	Log     *slog.Logger // nil: none
}

// check says what is wrong with a configuration.
func (cfg *Config) check() error {
	switch {
	case cfg.Link == "":
		return errors.New("native carrier: no link")
	case !cfg.Local4.IsValid() && !cfg.Local6.IsValid():
		return fmt.Errorf("native carrier on %s: no address", cfg.Link)
	case cfg.Local4.IsValid() && !cfg.Local4.Is4():
		return fmt.Errorf("native carrier on %s: %v is not an IPv4 address", cfg.Link, cfg.Local4)
	case cfg.Local6.IsValid() && (!cfg.Local6.Is6() || cfg.Local6.Is4In6() || cfg.Local6.IsLinkLocalUnicast()):
		return fmt.Errorf("native carrier on %s: %v is not an IPv6 address that others reach", cfg.Link, cfg.Local6)
	case cfg.First == 0 || cfg.Last < cfg.First || cfg.Last-cfg.First >= portsMax:
		return fmt.Errorf("native carrier on %s: not 1 to %d ports: %d to %d", cfg.Link, portsMax, cfg.First, cfg.Last)
	case cfg.Deliver == nil:
		return fmt.Errorf("native carrier on %s: nobody takes what comes in", cfg.Link)
	}
	return nil
}

// Counters tell what a carrier has carried, and what it has not. All but octets count packets as they are on the wire.
type Counters struct {
	Sent, SentOctets         uint64 // octets of IP packets
	Received, ReceivedOctets uint64 // handed to Deliver
	Merged                   uint64 // of those, the ones that were cut out of what had been merged

	Refused uint64 // given to Send, and not TCP from our addresses and ports
	TooLong uint64 // given to Send, and longer than the link's MTU
	NoRoom  uint64 // given to Send when the socket was full
	Unsent  uint64 // given to Send, and not taken by the network for another reason

	Overrun   uint64 // came faster than they were taken; a merged one counts once
	Malformed uint64 // came, and made no sense; a merged one counts once
}

// A tally is Counters in the making.
type tally struct {
	sent, sentOctets, received, receivedOctets, merged atomic.Uint64
	refused, tooLong, noRoom, unsent                   atomic.Uint64
	overrun, malformed                                 atomic.Uint64
}

func (t *tally) counters() Counters {
	return Counters{
		Sent: t.sent.Load(), SentOctets: t.sentOctets.Load(),
		Received: t.received.Load(), ReceivedOctets: t.receivedOctets.Load(), Merged: t.merged.Load(),
		Refused: t.refused.Load(), TooLong: t.tooLong.Load(), NoRoom: t.noRoom.Load(), Unsent: t.unsent.Load(),
		Overrun: t.overrun.Load(), Malformed: t.malformed.Load(),
	}
}
