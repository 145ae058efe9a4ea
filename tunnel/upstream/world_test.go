package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"tandem/engine/convert"
	"tandem/tunnel/relay"
	"tandem/tunnel/relay/relaytest"
)

var (
	here    = netip.MustParseAddrPort("192.168.1.2:61000")
	there   = netip.MustParseAddrPort("203.0.113.7:1080")
	target4 = netip.MustParseAddrPort("192.0.2.1:443")
	target6 = netip.MustParseAddrPort("[2001:db8::1]:443")
)

// A net opens streams to hosts, which are functions.
type network struct {
	t     *testing.T
	hosts map[netip.AddrPort]func(*host)
	all   sync.WaitGroup

	mu        sync.Mutex
	opened    []netip.AddrPort
	unreached map[netip.AddrPort]bool
	hastes    []Haste        // of each
	rides     ride           // what becomes of what rides in a SYN
	begins    []convert.Path // what the next streams begin on, unless they are told what
}

// A ride is what becomes of octets in a SYN.
type ride uint8

const (
	unknown ride = iota // the SYN was repeated without
	arrives
	stripped
)

// rode is ConvertConfig.Rode.
func (n *network) rode(relay.Stream) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hastes[len(n.hastes)-1] != Patient && n.rides == arrives
}

// A host is the far end of a stream.
type host struct {
	*relaytest.End
	t     *testing.T
	first []byte // what came with the opening
}

func newNetwork(t *testing.T) *network {
	n := &network{t: t, hosts: map[netip.AddrPort]func(*host){}}
	t.Cleanup(n.all.Wait)
	return n
}

var errNobody = errors.New("nobody there")

func (n *network) open(ctx context.Context, to netip.AddrPort, first []byte, haste Haste) (relay.Stream, error) {
	return n.openOver(ctx, to, first, haste, 0)
}

func (n *network) openOver(ctx context.Context, to netip.AddrPort, first []byte, haste Haste, over convert.Path) (relay.Stream, error) {
	n.mu.Lock()
	n.opened, n.hastes = append(n.opened, to), append(n.hastes, haste)
	if over == 0 && len(n.begins) > 0 {
		over, n.begins = n.begins[0], n.begins[1:]
	}
	script, ride, unreached := n.hosts[to], n.rides, n.unreached[to]
	n.mu.Unlock()
	if haste == HastyOnly && ride == stripped {
		return nil, fmt.Errorf("open: %w", convert.ErrStripped)
	}
	if unreached {
		return nil, fmt.Errorf("open: %w", convert.ErrUnreached)
	}
	if script == nil {
		return nil, errNobody
	}
	from := here.Addr().As4()
	from[3] += byte(over)
	near, far := relaytest.Pipe(netip.AddrPortFrom(netip.AddrFrom4(from), here.Port()), to)
	near.Write(first)
	n.all.Go(func() { script(&host{far, n.t, append([]byte(nil), first...)}) })
	return near, nil
}

// path is ConvertConfig.Path: each has another address.
func (n *network) path(s relay.Stream) convert.Path {
	return convert.Path(addressOf(s.LocalAddr()).As4()[3] - here.Addr().As4()[3])
}

func addressOf(a net.Addr) netip.Addr { return a.(*net.TCPAddr).AddrPort().Addr().Unmap() }

func (n *network) opens() []netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]netip.AddrPort(nil), n.opened...)
}

// hears wants these octets, and no others before them.
func (h *host) hears(want ...byte) bool {
	h.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(h, got); err != nil || string(got) != string(want) {
		h.t.Errorf("heard % x (%v), want % x", got, err, want)
		return false
	}
	return true
}

func (h *host) says(octets ...byte) { h.Write(octets) }

// ended waits until the other end has closed the stream, or reset it.
func (h *host) ended() error {
	_, err := io.Copy(io.Discard, h)
	return err
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// speaks wants the stream to be the target's: what one end says the other hears.
func speaks(t *testing.T, s relay.Stream) {
	t.Helper()
	got := make([]byte, 4)
	if _, err := io.ReadFull(s, got); err != nil || string(got) != "data" {
		t.Errorf("heard %q: %v", got, err)
	}
}
