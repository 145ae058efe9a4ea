// Package carriertest is a network in memory between carriers and their hub: an emulated link of
// engine/sim for each client, driven in real time, and a conn.Bind at every end.
package carriertest

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"tandem/engine/clock"
	"tandem/engine/sim"

	"golang.zx2c4.com/wireguard/conn"
)

// Conditions, Counts say how a direction of a link treats packets, and what became of them. Packets are
// whole: UDP in IPv4, 28 octets more than what a Bind sends.
type (
	Conditions = sim.Conditions
	Counts     = sim.Counts
)

// A Link is a client's link: how it treats what goes to the hub, and what comes from it.
type Link struct{ Up, Down Conditions }

// Network joins a hub and clients, each over a link of its own.
//
//	client 0 ══ up, down ══╗
//	client 1 ══ up, down ══╬══ hub
type Network struct {
	hub  *bind
	ways [][2]*Way // up and down, of each client

	mu      sync.Mutex
	clients []*bind
	at      map[netip.Addr]int // client by the address that the hub knows
	quit    chan struct{}
}

var hubAt = netip.MustParseAddr("192.0.2.1")

// clientAt is where the hub sees a client that has not moved.
func clientAt(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1})
}

// New makes a network with a client for each link. Inside a testing/synctest bubble it runs in the bubble's time.
func New(links ...Link) *Network {
	n := &Network{at: map[netip.Addr]int{}, quit: make(chan struct{})}
	n.hub = newBind(n.quit, hubAt, hubPort, n.toClient)
	now := clock.System()
	for i, link := range links {
		client := newBind(n.quit, clientAt(i), clientPort, nil)
		up := NewWay(link.Up, now, nil, n.hub.arrive)
		down := NewWay(link.Down, now, nil, client.arrive)
		client.put = up.Put
		n.at[client.addr] = i
		n.clients = append(n.clients, client)
		n.ways = append(n.ways, [2]*Way{up, down})
	}
	return n
}

// Hub returns the hub's Bind. It can be opened again after Close, by another hub.
func (n *Network) Hub() conn.Bind { return n.hub }

// Endpoint returns the hub's address and port.
func (n *Network) Endpoint() netip.AddrPort { return netip.AddrPortFrom(hubAt, hubPort) }

// Client returns the Bind of the client behind link i.
func (n *Network) Client(i int) conn.Bind { return n.clients[i] }

// Change alters link i, both directions, while it runs.
func (n *Network) Change(i int, f func(up, down *Conditions)) {
	up, down := n.ways[i][0], n.ways[i][1]
	var u, d Conditions
	up.Change(func(c *Conditions) { u = *c })
	down.Change(func(c *Conditions) { d = *c })
	f(&u, &d)
	up.Change(func(c *Conditions) { *c = u })
	down.Change(func(c *Conditions) { *c = d })
}

// Counts returns what became of packets on link i.
func (n *Network) Counts(i int) (up, down Counts) {
	return n.ways[i][0].Counts(), n.ways[i][1].Counts()
}

// Move gives client i another address, as a NAT or a new network does. What is sent to the old one is lost.
func (n *Network) Move(i int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.clients[i]
	old := b.move()
	delete(n.at, old)
	n.at[b.address()] = i
}

// toClient sends what comes from the hub over the link of whom it is for.
func (n *Network) toClient(pkts [][]byte) {
	n.mu.Lock()
	i, ok := n.at[header(pkts[0]).destination().Addr()]
	n.mu.Unlock()
	if ok {
		n.ways[i][1].Put(pkts)
	}
}

// Close ends the network. Binds that are open stay so and hear nothing.
func (n *Network) Close() {
	close(n.quit)
	for _, ways := range n.ways {
		ways[0].Close()
		ways[1].Close()
	}
}

// A header is that of UDP in IPv4, without checksums: nothing on the way looks at them.
type header []byte

const headerLen = 20 + 8

func appendHeader(b []byte, from, to netip.AddrPort, payload int) []byte {
	at := len(b)
	b = append(b, make([]byte, headerLen)...)
	h := b[at:]
	h[0], h[8], h[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(h[2:], uint16(headerLen+payload))
	src, dst := from.Addr().As4(), to.Addr().As4()
	copy(h[12:], src[:])
	copy(h[16:], dst[:])
	binary.BigEndian.PutUint16(h[20:], from.Port())
	binary.BigEndian.PutUint16(h[22:], to.Port())
	binary.BigEndian.PutUint16(h[24:], uint16(8+payload))
	return b
}

func (h header) source() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(h[12:])), binary.BigEndian.Uint16(h[20:]))
}

func (h header) destination() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(h[16:])), binary.BigEndian.Uint16(h[22:]))
}
