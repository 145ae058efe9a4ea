package carrier_test

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"tandem/tunnel/carrier"
)

// A pair is a carrier and its hub over the system's loopback.
type pair struct {
	hub      *carrier.Hub
	client   *carrier.Carrier
	peer     *carrier.Peer
	received atomic.Int64 // packets at the hub
	answered atomic.Int64 // packets at the client
}

func newPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{}
	ours, theirs := carrier.NewKey(), carrier.NewKey()
	hub, err := carrier.Listen(carrier.HubConfig{Private: theirs, Bind: carrier.UDP(carrier.UDPConfig{})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hub.Close() })
	p.hub = hub
	p.peer, err = hub.Add(carrier.PeerConfig{
		Key: ours.Public(), Addrs: []netip.Addr{inner4(0), inner6(0)},
		Receive: func(pkts [][]byte) { p.received.Add(int64(len(pkts))) },
	})
	if err != nil {
		t.Fatal(err)
	}
	p.client, err = carrier.Open(carrier.Config{
		Private: ours, Peer: theirs.Public(), Bind: carrier.UDP(carrier.UDPConfig{}),
		Endpoint: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), hub.Port()),
		Receive:  func(pkts [][]byte) { p.answered.Add(int64(len(pkts))) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.client.Close() })
	return p
}

// reach waits until a count is there.
func reach(t testing.TB, count *atomic.Int64, n int64) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); count.Load() < n; time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d packets of %d arrived", count.Load(), n)
		}
	}
}

// The real thing: sockets, threads and time of the system.
func TestOverLoopback(t *testing.T) {
	p := newPair(t)
	up, down := packet(inner4(0), hub4, "up"), packet(hub6, inner6(0), "down")
	p.client.Send([][]byte{up})
	reach(t, &p.received, 1)
	p.peer.Send([][]byte{down})
	reach(t, &p.answered, 1)
	if p.hub.Port() == 0 || !p.peer.Stats().Endpoint.IsValid() || p.client.Stats().Handshake.IsZero() {
		t.Errorf("hub at %d, peer %+v, client %+v", p.hub.Port(), p.peer.Stats(), p.client.Stats())
	}
}

// BenchmarkCarrier moves packets of 1400 octets from a client to its hub, never more than a window ahead.
func BenchmarkCarrier(b *testing.B) {
	const batch, window = 32, 512
	p := newPair(b)
	pkts := make([][]byte, batch)
	for i := range pkts {
		pkts[i] = packet(inner4(0), hub4, string(make([]byte, 1380)))
	}
	p.client.Send(pkts[:1])
	reach(b, &p.received, 1)
	b.SetBytes(1400)
	b.ReportAllocs()
	b.ResetTimer()
	sent := int64(1)
	for sent < int64(b.N) {
		if sent-p.received.Load() > window-batch {
			time.Sleep(10 * time.Microsecond)
			continue
		}
		p.client.Send(pkts)
		sent += batch
		if sent%(1<<16) == 1 {
			reach(b, &p.received, sent-window)
		}
	}
	reach(b, &p.received, sent-int64(p.client.Stats().Dropped))
	b.ReportMetric(float64(p.client.Stats().Dropped), "dropped")
}
