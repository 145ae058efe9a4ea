package engine

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/engine/clock"
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

// A path that was detached at one end is left at the other as soon as word comes; who asks is told.
func TestDetachIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, hub := newPost(t, 5*time.Millisecond, 15*time.Millisecond)
		defer w.close()
		time.Sleep(100 * time.Millisecond)
		from := netip.AddrPortFrom(host4, 4000)
		w.here[0].Detach()
		time.Sleep(20 * time.Millisecond)
		if paths := w.hub.Paths(); !paths[0].PeerOff || paths[1].PeerOff {
			t.Errorf("%+v", paths)
		}
		w.client.SendPackets([][]byte{udp(from, far, "who")})
		time.Sleep(20 * time.Millisecond)
		if got := hub.got(t, from, far); len(got) != 1 {
			t.Errorf("%q came", got)
		}
		w.here[1].SetRole(Secondary)
		if paths := w.client.Paths(); paths[0].Role != Secondary || paths[0].RTT < 30*time.Millisecond {
			t.Errorf("%+v", paths)
		}
	})
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, client, hub := newPost(t, 5*time.Millisecond, 15*time.Millisecond)
		defer w.close()
		time.Sleep(100 * time.Millisecond)
		if all := client.heard(HelloHeard); len(all) != 1 || all[0].Changed {
			t.Errorf("HELLO: %+v", all)
		}
		w.hub.SetFamilies(IPv4)
		time.Sleep(100 * time.Millisecond)
		if all := client.heard(HelloHeard); len(all) != 2 || all[0].Families != IPv4|IPv6 || all[1].Families != IPv4 {
			t.Errorf("families: %+v", all)
		}
		w.up[1].setDown(true)
		w.client.Ping()
		time.Sleep(time.Second)
		if all := client.heard(PathAlive); len(all) != 1 || all[0].Path != 0 || all[0].RTT < 10*time.Millisecond || all[0].RTT > 11*time.Millisecond {
			t.Errorf("alive: %+v", all)
		}
		if all := client.heard(PathSilent); len(all) != 1 || all[0].Path != 1 {
			t.Errorf("silent: %+v", all)
		}
		w.hub.CloseWith(ByeRevoked)
		time.Sleep(20 * time.Millisecond)
		if all := client.heard(ByeHeard); len(all) != 1 || all[0].Bye != ByeRevoked {
			t.Errorf("BYE: %+v", all)
		}
		w.client.SendPackets([][]byte{udp(netip.AddrPortFrom(host4, 1), far, "x")})
		w.hub.SendPackets([][]byte{udp(far, netip.AddrPortFrom(host4, 1), "x")})
		if len(hub.heard(ByeHeard)) != 0 {
			t.Error("nobody said BYE to the hub")
		}
	})
}

// What finds no room before the loop, and what nobody takes behind it, is counted.
func TestPacketsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near := BondConfig{}
		near.Datagrams = DatagramConfig{Near: true, Host4: host4, Queue: 10 * (packetCost + 128)}
		far4 := BondConfig{}
		far4.Datagrams = DatagramConfig{Host4: host4}
		w := newCableOf(t, near, far4, time.Millisecond)
		defer w.close()
		time.Sleep(10 * time.Millisecond)
		gate := make(chan struct{})
		w.client.post(func(clock.Time) { <-gate })
		synctest.Wait()
		for range 13 {
			w.client.SendPackets([][]byte{udp(netip.AddrPortFrom(host4, 1), far, string(make([]byte, 100)))})
		}
		close(gate)
		time.Sleep(10 * time.Millisecond)
		if n := w.client.Counters(); n.Outbox != 3 || n.Datagrams.Sent != 10 {
			t.Errorf("%d found no room, %+v", n.Outbox, n.Datagrams)
		}
		if n := w.hub.Counters(); n.Packets != 10 {
			t.Errorf("nobody took %d", n.Packets)
		}
	})
}
