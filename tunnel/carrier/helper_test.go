package carrier_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/tunnel/carrier"
	"tandem/tunnel/carrier/carriertest"
)

const oneWay = 10 * time.Millisecond

var (
	hub4 = netip.MustParseAddr("198.18.0.1")
	hub6 = netip.MustParseAddr("fd00::1")
)

func inner4(client int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, 1, byte(client)})
}

func inner6(client int) netip.Addr {
	a := hub6.As16()
	a[13], a[15] = 1, byte(client)
	return netip.AddrFrom16(a)
}

// packet makes an IP packet that says something.
func packet(from, to netip.Addr, text string) []byte {
	if from.Is4() {
		pkt := make([]byte, 20, 20+len(text))
		pkt[0], pkt[9] = 0x45, 17
		binary.BigEndian.PutUint16(pkt[2:], uint16(20+len(text)))
		copy(pkt[12:], from.AsSlice())
		copy(pkt[16:], to.AsSlice())
		return append(pkt, text...)
	}
	pkt := make([]byte, 40, 40+len(text))
	pkt[0], pkt[6] = 0x60, 17
	binary.BigEndian.PutUint16(pkt[4:], uint16(len(text)))
	copy(pkt[8:], from.AsSlice())
	copy(pkt[24:], to.AsSlice())
	return append(pkt, text...)
}

// An inbox keeps what was received.
type inbox struct {
	mu   sync.Mutex
	pkts [][]byte
}

func (b *inbox) receive(pkts [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, pkt := range pkts {
		b.pkts = append(b.pkts, bytes.Clone(pkt))
	}
}

// take empties the inbox.
func (b *inbox) take() [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	pkts := b.pkts
	b.pkts = nil
	return pkts
}

func (b *inbox) want(t *testing.T, want ...[]byte) {
	t.Helper()
	got := b.take()
	if len(got) != len(want) {
		t.Fatalf("received %d packets, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("packet %d is %x, want %x", i, got[i], want[i])
		}
	}
}

// A scene is a hub and clients, each over a link of its own.
type scene struct {
	t       *testing.T
	network *carriertest.Network
	key     carrier.Key
	hub     *carrier.Hub
	clients []*client
}

// A client has both ends of its carrier.
type client struct {
	*carrier.Carrier
	key             carrier.Key
	peer            *carrier.Peer
	atClient, atHub inbox
	up4, up6, down4 []byte // packets
}

// play runs a story in a bubble. That nothing runs on after it is a part of every story.
func play(t *testing.T, clients int, story func(t *testing.T, s *scene)) {
	synctest.Test(t, func(t *testing.T) {
		delay := carriertest.Conditions{Delay: oneWay}
		links := make([]carriertest.Link, clients)
		for i := range links {
			links[i] = carriertest.Link{Up: delay, Down: delay}
		}
		s := &scene{t: t, network: carriertest.New(links...), key: carrier.NewKey()}
		defer s.network.Close()
		s.listen()
		defer func() { s.hub.Close() }()
		for i := range clients {
			c := s.join(i, carrier.Config{})
			defer c.Close()
		}
		story(t, s)
	})
}

func (s *scene) listen() {
	s.t.Helper()
	hub, err := carrier.Listen(carrier.HubConfig{Private: s.key, Bind: s.network.Hub()})
	if err != nil {
		s.t.Fatal(err)
	}
	s.hub = hub
}

// join makes the next client and lets the hub know it.
func (s *scene) join(i int, cfg carrier.Config) *client {
	s.t.Helper()
	c := &client{key: carrier.NewKey()}
	c.up4 = packet(inner4(i), hub4, "up")
	c.up6 = packet(inner6(i), hub6, "up by the sixth")
	c.down4 = packet(hub4, inner4(i), "down")
	cfg.Private, cfg.Peer, cfg.Endpoint = c.key, s.key.Public(), s.network.Endpoint()
	cfg.Bind, cfg.Receive = s.network.Client(i), c.atClient.receive
	s.clients = append(s.clients, c)
	s.admit(i, netip.AddrPort{})
	var err error
	if c.Carrier, err = carrier.Open(cfg); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// admit adds a client to the hub.
func (s *scene) admit(i int, endpoint netip.AddrPort) {
	s.t.Helper()
	c := s.clients[i]
	var err error
	c.peer, err = s.hub.Add(carrier.PeerConfig{
		Key: c.key.Public(), Addrs: []netip.Addr{inner4(i), inner6(i)}, Endpoint: endpoint, Receive: c.atHub.receive,
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

type sender interface{ Send(pkts [][]byte) error }

func (s *scene) send(from sender, pkts ...[]byte) {
	s.t.Helper()
	if err := from.Send(pkts); err != nil {
		s.t.Fatal(err)
	}
}

// meet makes a session.
func (s *scene) meet(c *client) {
	s.t.Helper()
	s.send(c, c.up4)
	time.Sleep(5 * oneWay)
	c.atHub.want(s.t, c.up4)
}
