package engine

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/engine/wire"
)

var (
	host4 = netip.MustParseAddr("198.18.0.2")
	far   = netip.MustParseAddrPort("203.0.113.9:53")
)

// post is what came out of a bond's datagram lane, and what happened there.
type post struct {
	mu     sync.Mutex
	pkts   [][]byte
	events []Event
}

func (p *post) take(pkts [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pkt := range pkts {
		p.pkts = append(p.pkts, slices.Clone(pkt))
	}
}

func (p *post) hear(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e)
}

// got returns the payloads that came, which must all be from source to target.
func (p *post) got(t *testing.T, source, target netip.AddrPort) (all []string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pkt := range p.pkts {
		var d wire.Datagram
		if err := d.Parse(pkt); err != nil || d.Source != source || d.Target != target {
			t.Errorf("came %v > %v: %v", d.Source, d.Target, err)
		}
		all = append(all, string(d.Payload))
	}
	p.pkts = nil
	return all
}

// heard returns the events of a kind.
func (p *post) heard(kind EventKind) (all []Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e.Kind == kind {
			all = append(all, e)
		}
	}
	return all
}

// newPost is a cable with a datagram lane, and what comes out at both ends.
func newPost(t *testing.T, delays ...time.Duration) (w *cable, client, hub *post) {
	client, hub = &post{}, &post{}
	here := BondConfig{Packets: client.take, Event: client.hear}
	here.Datagrams = DatagramConfig{Near: true, Host4: host4}
	there := BondConfig{Packets: hub.take, Event: hub.hear}
	there.Datagrams = DatagramConfig{Host4: host4}
	return newCableOf(t, here, there, delays...), client, hub
}

func udp(source, target netip.AddrPort, payload string) []byte {
	d := wire.Datagram{Source: source, Target: target, Payload: []byte(payload)}
	return d.Append(nil)
}

// A question goes out over one path and its answer comes back, with the host's address at both ends.
func TestPacketsThereAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, client, hub := newPost(t, 5*time.Millisecond, 15*time.Millisecond)
		defer w.close()
		time.Sleep(100 * time.Millisecond)
		from := netip.AddrPortFrom(host4, 4000)
		w.client.SendPackets([][]byte{udp(from, far, "who"), udp(from, far, "are you")})
		time.Sleep(6 * time.Millisecond)
		if got := hub.got(t, from, far); !slices.Equal(got, []string{"who", "are you"}) {
			t.Errorf("the hub got %q over the fast path", got)
		}
		w.hub.SendPackets([][]byte{udp(far, from, "nobody")})
		time.Sleep(6 * time.Millisecond)
		if got := client.got(t, far, from); !slices.Equal(got, []string{"nobody"}) {
			t.Errorf("the client got %q", got)
		}
		if n := w.client.Counters().Datagrams; n.Sent != 2 || n.Received != 1 {
			t.Errorf("%+v", n)
		}
	})
}
