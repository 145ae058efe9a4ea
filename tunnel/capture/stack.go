package capture

import (
	"fmt"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

const (
	nic = 1

	bufferMin, bufferDefault, bufferMax = 4 << 10, 256 << 10, 4 << 20 // octets, each way of a stream

	// An old connection must be forgotten before an application that takes the same port again repeats
	// its SYN, which is after 1 s (RFC 6298 2).
	timeWait = 500 * time.Millisecond
	linger   = 10 * time.Second // in FIN-WAIT-2 after Close

	synRetries = 4 // of SYN/ACKs: an application that is there answers the first
)

// build makes a stack that has every address, and answers for none of them by itself.
func (c *Capture) build() error {
	c.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	sack, moderate, waits, lingers := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true),
		tcpip.TCPTimeWaitTimeoutOption(timeWait), tcpip.TCPLingerTimeoutOption(linger)
	retries := tcpip.TCPSynRetriesOption(synRetries)
	for _, option := range []tcpip.SettableTransportProtocolOption{
		&sack, &moderate, &waits, &lingers, &retries,
		&tcpip.TCPSendBufferSizeRangeOption{Min: bufferMin, Default: bufferDefault, Max: bufferMax},
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: bufferMin, Default: bufferDefault, Max: bufferMax},
	} {
		if err := c.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("gVisor does not take %T: %v", option, err)
		}
	}
	// Twice as many: a request that was answered stands in the forwarder a little longer than in offers.
	c.forwarder = tcp.NewForwarder(c.stack, bufferDefault, 2*c.cfg.SYNs, c.asked)
	c.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, c.segment)
	if err := c.stack.CreateNIC(nic, c.link); err != nil {
		return fmt.Errorf("gVisor makes no interface: %v", err)
	}
	if err := c.stack.SetPromiscuousMode(nic, true); err != nil {
		return fmt.Errorf("gVisor takes no foreign addresses: %v", err)
	}
	if err := c.stack.SetSpoofing(nic, true); err != nil {
		return fmt.Errorf("gVisor answers for no foreign addresses: %v", err)
	}
	c.stack.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nic}, {Destination: header.IPv6EmptySubnet, NIC: nic},
	})
	return nil
}

// abort resets every stream and every handshake, also those that begin while it does.
func (c *Capture) abort() {
	over := make(chan struct{})
	go func() { c.handshakes.Wait(); close(over) }()
	for {
		for _, e := range c.stack.RegisteredEndpoints() {
			e.Abort()
		}
		select {
		case <-over:
			c.stack.Close()
			return
		case <-time.After(time.Millisecond):
		}
	}
}
