package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
	"tandem/platform"
	"tandem/platform/platformtest"
	"tandem/tunnel/implicit"
)

// A crossing is a router with an implicit proxy, which a client's first link passes.
type crossing struct {
	t      *testing.T
	i      *Implicit
	host   *platformtest.Host
	tun    *platformtest.Tun
	client *engine.Bond

	mu     sync.Mutex
	hosts  map[string]string // where each target listens
	passed []netip.AddrPort  // targets of packets that came out of the device again
}

// tunHost keeps the device that it makes.
type tunHost struct {
	*platformtest.Host
	made chan *platformtest.Tun
}

// Tun is part of platform.Host.
func (h tunHost) Tun(name string, mtu int) (platform.Tun, error) {
	t, err := h.Host.Tun(name, mtu)
	if err == nil {
		h.made <- t.(*platformtest.Tun)
	}
	return t, err
}

var (
	crossingOwn   = netip.MustParseAddr("203.0.113.2")
	crossingLinks = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.129")}
	plainShop     = netip.MustParseAddrPort("198.51.100.80:80")
	modernShop    = netip.MustParseAddrPort("198.51.100.81:80")
)

func newCrossing(t *testing.T) *crossing {
	t.Helper()
	i, err := NewImplicit(ImplicitConfig{Device: "tandem1", Own: []netip.Addr{crossingOwn}})
	if err != nil {
		t.Fatal(err)
	}
	x := &crossing{t: t, i: i, host: platformtest.New(), hosts: map[string]string{}}
	made := make(chan *platformtest.Tun, 1)
	i.host, i.dial = tunHost{x.host, made}, x.dial
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx) }()
	x.tun = <-made
	e := engine.New(engine.Config{})
	x.client = e.Bond(engine.BondConfig{Config: mptcp.Config{Establish: mptcp.Classic}})
	ways := map[netip.Addr]*engine.Attachment{}
	for _, a := range crossingLinks {
		ways[a] = x.client.Attach(link{x}, a, netip.Addr{}, 1500)
	}
	var pumping sync.WaitGroup
	pumping.Go(func() { x.pump(ctx, ways) })
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the proxy ended with: %v", err)
		}
		e.Close()
		pumping.Wait()
		for _, thing := range x.host.State().Things {
			if r, ok := thing.(platform.Rule); ok {
				t.Errorf("%v is left", r)
			}
		}
	})
	return x
}

// A link leads to the router: what is for targets passes it, what is for the proxy goes there.
type link struct{ x *crossing }

// Send is part of engine.Path.
func (l link) Send(pkts [][]byte) error {
	for _, pkt := range pkts {
		l.x.tun.Send(pkt)
	}
	return nil
}

// pump takes what comes out of the device where it belongs.
func (x *crossing) pump(ctx context.Context, ways map[netip.Addr]*engine.Attachment) {
	for {
		pkt, err := x.tun.Receive(ctx)
		if err != nil {
			return
		}
		_, target, _, err := wire.Addresses(pkt)
		if way := ways[target.Addr()]; err == nil && way != nil {
			way.Deliver([][]byte{pkt})
			continue
		}
		x.mu.Lock()
		x.passed = append(x.passed, target)
		x.mu.Unlock()
	}
}

func (x *crossing) passedBy(target netip.AddrPort) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Contains(x.passed, target)
}

func (x *crossing) dial(ctx context.Context, network, target string) (net.Conn, error) {
	x.mu.Lock()
	at := x.hosts[target]
	x.mu.Unlock()
	if at == "" {
		return nil, syscall.EHOSTUNREACH
	}
	var d net.Dialer
	d.SetMultipathTCP(true)
	return d.DialContext(ctx, network, at)
}

// serves has a target echo.
func (x *crossing) serves(target netip.AddrPort, multipath bool) {
	x.t.Helper()
	b := &bureau{t: x.t, hosts: x.hosts}
	b.host(target, multipath, echoBack)
}

// TestImplicit: a connection to a server of plain TCP goes over both links, those to others go on.
func TestImplicit(t *testing.T) {
	x := newCrossing(t)
	x.serves(plainShop, false)
	x.serves(modernShop, true)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	c, err := x.client.Dial(ctx, plainShop)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	said := strings.Repeat("0123456789abcdef", 20000)
	go func() {
		io.WriteString(c, said)
		for end := time.Now().Add(soon); time.Now().Before(end) && joinedOver(c, crossingOwn) == 0; time.Sleep(10 * time.Millisecond) {
		}
		c.CloseWrite()
	}()
	heard, err := io.ReadAll(c)
	if err != nil || string(heard) != said {
		t.Fatalf("heard %d octets of %d: %v", len(heard), len(said), err)
	}
	nobody := netip.AddrPortFrom(plainShop.Addr(), 81)
	for target, is := range map[netip.AddrPort]func(implicit.Counters) bool{
		modernShop: func(n implicit.Counters) bool { return !kernelSpeaks() || n.Stepped == 1 },
		nobody:     func(n implicit.Counters) bool { return n.Failed >= 1 },
	} {
		if target == modernShop && !kernelSpeaks() {
			continue
		}
		if _, err := x.client.Open(target, engine.DialOptions{}); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(soon); !x.passedBy(target) || !is(x.i.Counters()); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%v: %+v, passed %v", target, x.i.Counters(), x.passed)
			}
		}
	}
	if n := x.i.Counters(); n.Taken != 1 || x.passedBy(plainShop) {
		t.Errorf("%+v", n)
	}
}

// joinedOver counts the subflows to an address.
func joinedOver(c *engine.Conn, at netip.Addr) (n int) {
	for _, f := range c.Subflows() {
		if f.Established && f.Remote.Addr() == at {
			n++
		}
	}
	return n
}

// TestImplicitAddresses: one of a family at most, that others reach.
func TestImplicitAddresses(t *testing.T) {
	for text, want := range map[string]bool{
		"203.0.113.2": true, "203.0.113.2 2001:db8::2": true, "": false, "127.0.0.1": false, "224.0.0.1": false, "::": false,
		"fe80::1": false, "::ffff:203.0.113.2": false, "203.0.113.2 203.0.113.3": false, "2001:db8::1 2001:db8::2": false,
	} {
		var own []netip.Addr
		for _, a := range strings.Fields(text) {
			own = append(own, netip.MustParseAddr(a))
		}
		i, err := NewImplicit(ImplicitConfig{Own: own})
		if (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
		if i != nil {
			i.engine.Close()
		}
	}
}

// TestImplicitDeviceFails: a device that breaks ends the proxy, with an error.
func TestImplicitDeviceFails(t *testing.T) {
	i, err := NewImplicit(ImplicitConfig{Device: "tandem1", Own: []netip.Addr{crossingOwn}})
	if err != nil {
		t.Fatal(err)
	}
	made := make(chan *platformtest.Tun, 1)
	i.host = tunHost{platformtest.New(), made}
	done := make(chan error, 1)
	go func() { done <- i.Run(t.Context()) }()
	(<-made).Close()
	if err := <-done; err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// TestImplicitMachine: nobody has connections kept for longer than is granted, which is minutes unless somebody says more.
func TestImplicitMachine(t *testing.T) {
	for _, c := range []struct{ is, want engine.Inactivity }{
		{engine.Inactivity{}, engine.Inactivity{Most: ImplicitPatience}},
		{engine.Inactivity{Most: time.Hour}, engine.Inactivity{Most: time.Hour}},
		{engine.Inactivity{Fixed: true}, engine.Inactivity{Fixed: true}},
	} {
		made := (&ImplicitConfig{Inactivity: c.is, Prototype: mptcp.PrototypeInactivity}).machine()
		if made.Inactivity != c.want || made.Prototype != mptcp.PrototypeInactivity || !made.AnyTarget {
			t.Errorf("%+v: %+v", c.is, made)
		}
	}
}

// TestImplicitMetrics: what is counted is told while it runs, to this machine alone.
func TestImplicitMetrics(t *testing.T) {
	if _, err := NewImplicit(ImplicitConfig{Own: []netip.Addr{crossingOwn}, Metrics: "0.0.0.0:9100"}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("for everybody: %v", err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	free.Close()
	i, err := NewImplicit(ImplicitConfig{Device: "tandem1", Own: []netip.Addr{crossingOwn}, Metrics: at})
	if err != nil {
		t.Fatal(err)
	}
	made := make(chan *platformtest.Tun, 1)
	i.host = tunHost{platformtest.New(), made}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx) }()
	<-made
	r, err := http.Get("http://" + at + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	for _, want := range []string{`tandem_implicit_counted_total{counter="bad_join_mac"} 0`, `tandem_implicit_counted_total{counter="proxy_taken"} 0`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
