package carrier_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/tunnel/carrier"
	"tandem/tunnel/carrier/carriertest"
)

// The first packet waits for one handshake, and no longer; what follows takes the link's delay.
func TestThereAndBack(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		c, start := s.clients[0], time.Now()
		s.send(c, c.up4, c.up6)
		time.Sleep(3*oneWay - time.Microsecond)
		c.atHub.want(t)
		time.Sleep(2 * time.Microsecond)
		c.atHub.want(t, c.up4, c.up6)
		s.send(c.peer, c.down4)
		time.Sleep(oneWay + time.Microsecond)
		c.atClient.want(t, c.down4)

		// An initiation of 148 octets, a response of 92, and packets padded to 16, each with 32 octets around it.
		got := c.Stats()
		if got.Sent != 148+(32+32)+(64+32) || got.Received != 92+(32+32) {
			t.Errorf("sent %d octets and received %d", got.Sent, got.Received)
		}
		if got.Endpoint != s.network.Endpoint() || got.Handshake.Sub(start) != 2*oneWay {
			t.Errorf("the hub is at %v since %v", got.Endpoint, got.Handshake.Sub(start))
		}
		there := c.peer.Stats()
		if there.Sent != got.Received || there.Received != got.Sent || there.Handshake.Sub(start) != 3*oneWay {
			t.Errorf("at the hub: %+v", there)
		}
	})
}

// Nobody has to tell the hub that a client comes from another address.
func TestClientMoves(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		c := s.clients[0]
		s.meet(c)
		before := c.peer.Stats().Endpoint
		s.network.Move(0)
		s.send(c.peer, c.down4)
		time.Sleep(2 * oneWay)
		c.atClient.want(t) // its old address is nobody's

		s.meet(c)
		s.send(c.peer, c.down4)
		time.Sleep(2 * oneWay)
		c.atClient.want(t, c.down4)
		time.Sleep(time.Second)
		if after := c.peer.Stats().Endpoint; after == before || !after.IsValid() {
			t.Errorf("the hub sees it at %v, after %v", after, before)
		}
	})
}

// A hub that starts again knows where its clients were, and calls them.
func TestHubRestarts(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		c := s.clients[0]
		s.meet(c)
		endpoint := c.peer.Stats().Endpoint
		s.hub.Close()
		s.send(c, c.up4)
		time.Sleep(time.Minute)

		s.listen()
		s.admit(0, endpoint)
		start := time.Now()
		c.peer.Renew()
		s.send(c.peer, c.down4)
		time.Sleep(4 * oneWay)
		c.atClient.want(t, c.down4)
		s.send(c, c.up4)
		time.Sleep(2 * oneWay)
		c.atHub.want(t, c.up4)
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// Without an endpoint the client's Renew does the same.
func TestClientRenews(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		c := s.clients[0]
		s.meet(c)
		s.hub.Close()
		s.listen()
		s.admit(0, netip.AddrPort{})
		s.send(c, c.up4)
		time.Sleep(time.Second)
		c.atHub.want(t) // the hub knows nothing of the session

		c.Renew()
		s.send(c, c.up6)
		time.Sleep(4 * oneWay)
		c.atHub.want(t, c.up6)
	})
}

// While a link is dead, handshakes are asked for again and again. What waited for the earlier ones is stale.
func TestRenewDropsWhatIsStale(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		c := s.clients[0]
		s.meet(c)
		s.network.Change(0, func(up, _ *carriertest.Conditions) { up.Down = true })
		for range 30 {
			c.Renew()
			s.send(c, c.up4, c.up4)
			time.Sleep(time.Second)
		}
		s.network.Change(0, func(up, _ *carriertest.Conditions) { up.Down = false })
		c.Renew()
		s.send(c, c.up6)
		time.Sleep(4 * oneWay)
		c.atHub.want(t, c.up6)
	})
}

// A handshake that has just begun is not begun again, which would make it fail.
func TestRenewLeavesAHandshakeAlone(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		c := s.clients[0]
		s.send(c, c.up4)
		for range 30 {
			time.Sleep(time.Millisecond)
			c.Renew()
			c.peer.Renew()
		}
		time.Sleep(time.Millisecond)
		c.atHub.want(t, c.up4)
	})
}

func TestEndpointIsToldLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{t: t, network: carriertest.New(carriertest.Link{}), key: carrier.NewKey()}
		defer s.network.Close()
		s.listen()
		defer s.hub.Close()
		c := s.join(0, carrier.Config{})
		defer c.Close()
		if err := c.SetEndpoint(netip.MustParseAddrPort("192.0.2.99:1")); err != nil {
			t.Fatal(err)
		}
		s.send(c, c.up4)
		time.Sleep(time.Second)
		c.atHub.want(t)
		if err := c.SetEndpoint(s.network.Endpoint()); err != nil {
			t.Fatal(err)
		}
		c.Renew()
		time.Sleep(time.Millisecond)
		c.atHub.want(t, c.up4)
		if err := c.SetEndpoint(netip.AddrPort{}); err == nil {
			t.Error("took no endpoint for one")
		}
	})
}

// A carrier that keeps alive shakes hands unasked, and then sends that often.
func TestKeepalive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{t: t, network: carriertest.New(carriertest.Link{}), key: carrier.NewKey()}
		defer s.network.Close()
		s.listen()
		defer s.hub.Close()
		c := s.join(0, carrier.Config{Keepalive: 20 * time.Second})
		defer c.Close()
		time.Sleep(time.Second)
		if c.Stats().Handshake.IsZero() {
			t.Fatal("no handshake")
		}
		before, _ := s.network.Counts(0)
		time.Sleep(100 * time.Second)
		after, _ := s.network.Counts(0)
		if n := after.Forwarded.Packets - before.Forwarded.Packets; n != 5 {
			t.Errorf("%d packets in 100 s", n)
		}
	})
}

func TestPeerIsRemoved(t *testing.T) {
	play(t, 2, func(t *testing.T, s *scene) {
		a, b := s.clients[0], s.clients[1]
		s.meet(a)
		s.meet(b)
		s.send(a, a.up4)
		time.Sleep(oneWay / 2)
		s.hub.Remove(a.key.Public())
		s.hub.Remove(a.key.Public())
		if n := s.hub.Peers(); n != 1 {
			t.Errorf("%d peers", n)
		}
		time.Sleep(time.Second)
		a.Renew()
		s.send(a, a.up4)
		time.Sleep(time.Second)
		a.atHub.want(t)
		if err := a.peer.Send([][]byte{a.down4}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("sending to it: %v", err)
		}
		s.meet(b)

		s.admit(0, netip.AddrPort{}) // it may come back
		a.Renew()
		time.Sleep(4 * oneWay)
		a.atHub.take()
		s.meet(a)
	})
}

// Nobody speaks for another, or for an address that is nobody's.
func TestSpoofedSources(t *testing.T) {
	play(t, 2, func(t *testing.T, s *scene) {
		a, b := s.clients[0], s.clients[1]
		s.meet(a)
		s.meet(b)
		s.send(a, b.up4, b.up6, packet(hub4, hub4, "hub"), packet(netip.MustParseAddr("8.8.8.8"), hub4, ""), a.up6)
		time.Sleep(2 * oneWay)
		a.atHub.want(t, a.up6)
		b.atHub.want(t)
	})
}

// Bad packets are lost without harm.
func TestBadPackets(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		c := s.clients[0]
		s.meet(c)
		long := packet(inner4(0), hub4, strings.Repeat("x", 2000))
		lies := packet(inner4(0), hub4, "")
		lies[3] = 99
		s.send(c, nil, []byte{}, []byte{0x45}, []byte{0x60, 0}, []byte("neither four nor six"), lies, long, c.up4)
		time.Sleep(2 * oneWay)
		c.atHub.want(t, c.up4)
		if n := c.Stats().Dropped; n != 1 {
			t.Errorf("%d packets were counted as dropped", n)
		}
	})
}

// A hub is silent to strangers, whatever they say.
func TestStrangers(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		c := s.clients[0]
		s.hub.Remove(c.key.Public())
		s.send(c, c.up4)
		for range 3 {
			time.Sleep(6 * time.Second)
			c.Renew()
		}
		c.Close()
		bind := s.network.Client(0)
		if _, _, err := bind.Open(0); err != nil {
			t.Fatal(err)
		}
		defer bind.Close()
		to, _ := bind.ParseEndpoint(s.network.Endpoint().String())
		for _, size := range []int{0, 1, 31, 32, 64, 92, 148, 1400} {
			for kind := range byte(6) {
				msg := make([]byte, size)
				if size > 0 {
					msg[0] = kind
				}
				bind.Send([][]byte{msg}, to)
			}
		}
		time.Sleep(time.Second)
		up, down := s.network.Counts(0)
		if up.Forwarded.Packets < 40 || down.Forwarded.Packets != 0 {
			t.Errorf("said %d packets and heard %d", up.Forwarded.Packets, down.Forwarded.Packets)
		}
	})
}

func TestAfterClose(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		c := s.clients[0]
		s.meet(c)
		c.Close()
		c.Close()
		s.hub.Close()
		for _, from := range []sender{c, c.peer} {
			if err := from.Send([][]byte{c.up4}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("sending: %v", err)
			}
		}
		c.Renew()
		c.peer.Renew()
		s.hub.Remove(c.key.Public())
		if _, err := s.hub.Add(carrier.PeerConfig{Key: c.key.Public()}); err == nil {
			t.Error("a closed hub took a peer")
		}
	})
}

func TestWhatIsRefused(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		known, fresh := s.clients[0].key.Public(), carrier.NewKey().Public()
		for _, c := range []struct {
			what  string
			cfg   carrier.PeerConfig
			taken bool
		}{
			{"known key", carrier.PeerConfig{Key: known}, true},
			{"taken address", carrier.PeerConfig{Key: fresh, Addrs: []netip.Addr{inner6(7), inner4(0)}}, true},
			{"no key", carrier.PeerConfig{Addrs: []netip.Addr{inner4(7)}}, false},
			{"own key", carrier.PeerConfig{Key: s.key.Public()}, false},
			{"no address", carrier.PeerConfig{Key: fresh, Addrs: []netip.Addr{{}}}, false},
		} {
			if _, err := s.hub.Add(c.cfg); err == nil || errors.Is(err, carrier.ErrTaken) != c.taken {
				t.Errorf("%s: %v", c.what, err)
			}
		}
		if n := s.hub.Peers(); n != 1 {
			t.Errorf("%d peers", n)
		}
		bind := carriertest.New().Hub()
		for _, cfg := range []carrier.Config{
			{Peer: fresh, Bind: bind},
			{Private: s.key, Bind: bind},
			{Private: s.key, Peer: s.key.Public(), Bind: bind},
			{Private: s.key, Peer: fresh},
			{Private: s.key, Peer: fresh, Bind: bind, MTU: -1},
		} {
			if c, err := carrier.Open(cfg); err == nil {
				t.Errorf("took %+v", cfg)
				c.Close()
			}
		}
	})
}

// WireGuard's messages reach the log at debug only, and hold no key.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{t: t, network: carriertest.New(carriertest.Link{}), key: carrier.NewKey()}
		defer s.network.Close()
		s.listen()
		defer s.hub.Close()
		var text bytes.Buffer
		log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c := s.join(0, carrier.Config{Log: log})
		s.meet(c)
		log.Info("a key", "key", c.key)
		c.Close()
		synctest.Wait()
		if !strings.Contains(text.String(), "level=DEBUG msg=\"wireguard: peer(") {
			t.Errorf("log:\n%s", &text)
		}
		for _, key := range []carrier.Key{c.key, c.key.Public(), s.key, s.key.Public()} {
			for _, secret := range []string{key.String(), hex.EncodeToString(key[:])} {
				if strings.Contains(text.String(), secret[:20]) {
					t.Errorf("the log tells a key:\n%s", &text)
				}
			}
		}
	})
}

// Peers come and go while others talk.
func TestComingAndGoing(t *testing.T) {
	play(t, 3, func(t *testing.T, s *scene) {
		steady, other := s.clients[0], s.clients[1]
		s.meet(steady)
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				for range 100 {
					steady.Send([][]byte{steady.up4})
					steady.peer.Send([][]byte{steady.down4})
					steady.peer.Stats()
					time.Sleep(time.Millisecond)
				}
			})
		}
		all.Go(func() {
			for range 20 {
				s.hub.Remove(other.key.Public())
				s.admit(1, netip.AddrPort{})
				other.Renew()
				other.Send([][]byte{other.up4})
				s.hub.Peers()
				time.Sleep(5 * time.Millisecond)
			}
		})
		all.Wait()
		time.Sleep(time.Second)
		if n, m := len(steady.atHub.take()), len(steady.atClient.take()); n != 200 || m != 200 {
			t.Errorf("%d packets of 200 went up and %d down", n, m)
		}
	})
}

// What looks like a packet and is none delays others a little, however much of it there is.
func TestGarbage(t *testing.T) {
	play(t, 2, func(t *testing.T, s *scene) {
		c, stranger := s.clients[0], s.network.Client(1)
		s.meet(c)
		s.clients[1].Close()
		if _, _, err := stranger.Open(0); err != nil {
			t.Fatal(err)
		}
		defer stranger.Close()
		to, _ := stranger.ParseEndpoint(s.network.Endpoint().String())
		garbage := make([][]byte, 64)
		for i := range garbage {
			garbage[i] = []byte{64: byte(i)}
			garbage[i][0] = 4
		}
		const rounds = 200
		for range rounds {
			stranger.Send(garbage, to)
			s.send(c, c.up4)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(oneWay + 100*time.Millisecond)
		if n := len(c.atHub.take()); n != rounds {
			t.Errorf("%d packets of %d arrived", n, rounds)
		}
	})
}
