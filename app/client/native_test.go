package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem/app/apptest"
	"tandem/app/control"
	"tandem/engine"
	"tandem/engine/clock"
	"tandem/engine/convert"
	"tandem/platform"
	"tandem/platform/platformtest"
)

// TestSOCKSUpstream: a device that belongs to no hub dials through a proxy of another make, over both links.
func TestSOCKSUpstream(t *testing.T) {
	s := newStreet(t)
	s.host(proxyAt, false, socks5(t))
	s.run("socks5://"+proxyAt.String(), nil)
	s.connected("wlan0", "wwan0")
	state := s.client.State()
	if state.Hub.Name != "socks5" || state.Hub.Endpoint != proxyAt.String() || state.Reason != "" {
		t.Errorf("state %+v", state)
	}
	c := s.dial()
	echoes(t, c, 300_000)
	s.wait("a connection", func(st control.State) bool { return st.Connections == 1 })
	all, err := s.client.Connections(s.ctx())
	if err != nil || len(all) != 1 || all[0].Target != somewhere || all[0].Via != control.ViaProxy {
		t.Fatalf("connections %+v: %v", all, err)
	}
	s.until("both links", func() bool { return len(s.overLinks(all[0].Number)) == 2 })
	for _, l := range s.links {
		if l.cfg.First != 61000 || l.cfg.Last != 62023 {
			t.Errorf("ports %d to %d", l.cfg.First, l.cfg.Last)
		}
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(c); err != nil || len(rest) != 0 {
		t.Errorf("after the end came %q, %v", rest, err)
	}
	c.Close()
	if _, err := s.client.Dial(s.ctx(), netip.AddrPortFrom(somewhere.Addr(), 81)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refused target: %v", err)
	}
	if _, err := s.client.Join(s.ctx(), "whatever"); err != errUpstream || !strings.Contains(err.Error(), "without") {
		t.Errorf("join: %v", err)
	}
	if err := s.client.Leave(s.ctx()); err != errUpstream {
		t.Errorf("leave: %v", err)
	}
	if _, err := s.state.Membership(); err == nil {
		t.Error("a membership was kept")
	}
}

// went says which way the only connection that there is has to have gone.
func (s *street) went(way control.Via) {
	s.t.Helper()
	if all, err := s.client.Connections(s.ctx()); err != nil || len(all) != 1 || all[0].Via != way {
		s.t.Errorf("%+v, %v; want one that went by %s", all, err, way)
	}
}

// until waits for a condition.
func (s *street) until(what string, ok func() bool) {
	s.t.Helper()
	apptest.Until(s.t, what, ok)
}

// TestUpstreamTUN: TCP alone is captured, and no name server is changed.
func TestUpstreamTUN(t *testing.T) {
	s := newStreet(t)
	s.host(proxyAt, false, socks5(t))
	h := tunHost{s.world.host, make(chan *platformtest.Tun, 1), nil}
	s.run("socks5://"+proxyAt.String(), func(c *Config) { c.Host, c.Routes = h, "default" })
	s.connected("wlan0", "wwan0")
	s.wait("routes", func(control.State) bool { return slices.Contains(routes(s.world.host), "0.0.0.0/0") })
	for _, thing := range s.world.host.State().Things {
		switch thing := thing.(type) {
		case platform.Rule:
			if thing.Mark == 0 && !thing.TCP {
				t.Errorf("%v is for more than TCP", thing)
			}
		case platform.Resolv:
			t.Errorf("%v", thing)
		}
	}
	syn(t, <-h.made)
}

// TestUpstreamLinks: a link that falls silent is not used, and said to be; one whose address changes is opened anew.
func TestUpstreamLinks(t *testing.T) {
	s := newStreet(t)
	s.host(proxyAt, false, socks5(t))
	s.run("socks5://"+proxyAt.String(), nil)
	s.connected("wlan0", "wwan0")
	c := s.dial()
	echoes(t, c, 10_000)
	s.silence("wlan0", true)
	s.sendPings()
	s.connected("wwan0")
	for _, l := range s.client.State().Links {
		if l.Name == "wlan0" && (l.State != control.LinkSilent || !strings.Contains(l.Reason, "the proxy does not answer over it any more")) {
			t.Errorf("%+v", l)
		}
	}
	echoes(t, c, 10_000)
	s.silence("wlan0", false)
	s.connected("wlan0", "wwan0")
	moved := s.world.links[1]
	moved.Addrs = []netip.Prefix{netip.MustParsePrefix("10.0.9.2/24")}
	s.world.host.SetLinks(s.world.links[0], moved)
	s.until("the new address", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.links["wwan0"].cfg.Local4 == moved.Addrs[0].Addr() && !s.links["wwan0"].closed
	})
	s.connected("wlan0", "wwan0")
	echoes(t, c, 10_000)
}

func (s *street) sendPings() { s.client.now().sendPings() }

// TestUpstreamPlain: that a proxy does not speak Multipath TCP is said.
func TestUpstreamPlain(t *testing.T) {
	s := newStreet(t)
	s.host(proxyAt, true, socks5(t))
	s.run("socks5://"+proxyAt.String(), nil)
	s.connected("wlan0", "wwan0")
	echoes(t, s.dial(), 10_000)
	s.wait("the reason", func(st control.State) bool { return strings.Contains(st.Reason, "does not speak Multipath TCP") })
	s.until("nothing more is to be learnt", s.client.now().native.socks.Learnt)
	s.host(proxyAt, false, socks5(t))
	s.mu.Lock()
	was := s.links["wlan0"]
	s.mu.Unlock()
	changed := s.world.links[0]
	changed.Gateway4 = netip.MustParseAddr("10.0.1.254")
	s.world.host.SetLinks(changed, s.world.links[1])
	s.wait("over another gateway it does", func(st control.State) bool { return st.Reason == "" })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links["wlan0"] != was || was.closed {
		t.Error("the carrier is another one")
	}
}

// TestNativeChoose: the proxy's address is the one that most links reach. What was learnt of another does not count for it.
func TestNativeChoose(t *testing.T) {
	four, six := netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("2001:db8::2/64")
	proxy6 := netip.MustParseAddrPort("[2001:db8:1::7]:1080")
	both := &link{seen: platform.Link{Addrs: []netip.Prefix{four, six}}}
	only6 := &link{seen: platform.Link{Addrs: []netip.Prefix{six}}}
	v := &live{endpoints: []netip.AddrPort{proxyAt, proxy6}}
	n := &nativeMode{live: v}
	for _, c := range []struct {
		carried map[string]*link
		want    netip.AddrPort
		forgets bool
	}{
		{map[string]*link{"a": both}, proxyAt, true},
		{map[string]*link{"a": both}, proxyAt, false},
		{map[string]*link{"a": both, "b": only6}, proxy6, true},
		{map[string]*link{"b": only6}, proxy6, false},
		{nil, netip.AddrPort{}, true},
	} {
		n.plain, n.roads, v.carried = true, roads{0: {mute: true}}, c.carried
		if n.choose(); n.at() != c.want || n.plain == c.forgets || (n.roads == nil) != c.forgets {
			t.Errorf("of %d links: %v, plain %v, %v", len(c.carried), n.at(), n.plain, n.roads)
		}
	}
}

// TestUpstreamAway: what is unreachable is the proxy, and why is said with the link.
func TestUpstreamAway(t *testing.T) {
	s := newStreet(t)
	s.silence("wlan0", true)
	s.silence("wwan0", true)
	s.run("convert://"+proxyAt.String(), nil)
	s.wait("unreachable", func(st control.State) bool { return st.Phase == control.Unreachable })
	st := s.client.State()
	if !strings.Contains(st.Reason, "proxy unreachable") || !strings.Contains(st.Links[0].Reason, "the proxy at "+proxyAt.String()+" has not answered yet") {
		t.Errorf("%+v", st)
	}
	if _, err := s.client.Dial(s.ctx(), somewhere); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("dial: %v", err)
	}
}

// TestNativePorts: when others have ports of a range the next one is taken, and when they have some of all, that is said.
func TestNativePorts(t *testing.T) {
	s := newStreet(t)
	s.taken[61000] = true
	s.host(proxyAt, false, socks5(t))
	s.run("socks5://"+proxyAt.String(), nil)
	s.connected("wlan0", "wwan0")
	if l := s.links["wlan0"]; l.cfg.First != 62024 || l.cfg.Last != 63047 {
		t.Errorf("ports %d to %d", l.cfg.First, l.cfg.Last)
	}
	other := newStreet(t)
	for i := range uint16(nativeRanges) {
		other.taken[NativePort+i*nativePorts] = true
	}
	cfg := other.config()
	cfg.Upstream = &Upstream{Kind: SOCKS5, Endpoint: proxyAt.String()}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.foreign = other.foreign()
	if err := c.Run(other.ctx()); err == nil || !strings.Contains(err.Error(), "ports 61000 to 62023 are needed") {
		t.Errorf("run: %v", err)
	}
}

// TestNativePortsLater: of a link that appears later the ports may be taken, and its reason says what to do.
func TestNativePortsLater(t *testing.T) {
	s := newStreet(t)
	s.links["wwan0"] = &nativeLink{street: s}
	s.host(proxyAt, false, socks5(t))
	s.run("socks5://"+proxyAt.String(), nil)
	s.wait("the reason", func(st control.State) bool {
		return slices.ContainsFunc(st.Links, func(l control.Link) bool {
			return l.Name == "wwan0" && l.State == control.LinkUnusable && strings.Contains(l.Reason, "net.ipv4.ip_local_port_range")
		})
	})
}

// TestNativePortsRunOut: that connections are refused because each port has one is said, until there is one again.
func TestNativePortsRunOut(t *testing.T) {
	s := newStreet(t)
	s.host(proxyAt, false, socks5(t))
	s.run("socks5://"+proxyAt.String(), nil)
	s.connected("wlan0", "wwan0")
	s.mu.Lock()
	proxy := s.hosts[proxyAt.Addr()]
	delete(s.hosts, proxyAt.Addr()) // it answers no more
	s.mu.Unlock()
	var all []*engine.Conn
	s.until("no port", func() bool {
		for { // what the proxy was asked before gives its ports back meanwhile
			c, err := s.client.now().bond.Open(proxyAt, engine.DialOptions{})
			if errors.Is(err, engine.ErrLimit) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
		}
		ctx, cancel := context.WithTimeout(s.ctx(), time.Second)
		defer cancel()
		_, err := s.client.Dial(ctx, somewhere)
		return errors.Is(err, engine.ErrLimit) && errors.Is(err, syscall.ECONNREFUSED)
	})
	s.wait("the reason", func(st control.State) bool {
		return strings.Contains(st.Reason, "there are as many as there can be, 1024 to one address")
	})
	s.mu.Lock()
	s.hosts[proxyAt.Addr()] = proxy
	s.mu.Unlock()
	for _, c := range all {
		c.Abort(nil)
	}
	s.until("a port", func() bool {
		c, err := s.client.Dial(s.ctx(), somewhere)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	s.wait("no reason", func(st control.State) bool { return st.Reason == "" })
}

// A counter says how often a host was connected to.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *counter) value() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// TestConvertUpstream: a server that speaks Multipath TCP is asked through the converter once, and directly from then on.
func TestConvertUpstream(t *testing.T) {
	s := newStreet(t)
	var converted, direct counter
	gate := convert.NewGate(convert.GateConfig{Supported: []uint8{convert.MPTCP}})
	now := clock.System()
	var mu sync.Mutex
	s.host(proxyAt, false, func(c *engine.Conn) {
		mu.Lock()
		m := gate.Open(netip.MustParseAddr("10.0.0.2"))
		mu.Unlock()
		b, verdict := make([]byte, 1), convert.More
		for verdict == convert.More {
			if _, err := c.Read(b); err != nil {
				return
			}
			mu.Lock()
			verdict, _ = m.Receive(now(), b)
			mu.Unlock()
		}
		converted.add() // of several SYNs of one connection, one brings a question
		mu.Lock()
		answer := m.Answer()
		switch {
		case verdict == convert.Dial && m.Request().Target.Port() == 81:
			answer = m.Failed(now(), convert.FailureOf(syscall.ECONNREFUSED, m.Request().Target.Addr()))
		case verdict == convert.Dial:
			answer = m.Connected([]byte{30, 12, 0x01, 0x01, 0, 0, 0, 0, 0, 0, 0, 0})
		}
		mu.Unlock()
		c.Write(answer)
		io.Copy(c, c)
		c.CloseWrite()
	})
	s.host(second, false, func(c *engine.Conn) {
		if n, _ := io.Copy(c, c); n > 0 {
			direct.add()
		}
		c.CloseWrite()
	})
	s.run("convert://"+proxyAt.String(), nil)
	s.connected("wlan0", "wwan0")
	for i := range 2 {
		c, err := s.client.Dial(s.ctx(), second)
		if err != nil {
			t.Fatal(err)
		}
		echoes(t, c, 100_000)
		s.went([]control.Via{control.ViaProxy, control.ViaBypass}[i])
		c.CloseWrite()
		io.ReadAll(c)
		c.Close()
		s.until("one question, the rest directly", func() bool { return converted.value() == 1 && direct.value() == i })
	}
	if _, err := s.client.Dial(s.ctx(), netip.AddrPortFrom(somewhere.Addr(), 81)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refused target: %v", err)
	}
}

// TestConvertUpstreamInterference: who answers as no converter does is not used, which is said, and tried again on new links.
func TestConvertUpstreamInterference(t *testing.T) {
	s := newStreet(t)
	s.host(proxyAt, false, func(c *engine.Conn) { c.Write([]byte("HTTP/1.1 400 Bad Request\r\n")) })
	s.host(second, false, func(c *engine.Conn) { io.Copy(c, c); c.CloseWrite() })
	s.run("convert://"+proxyAt.String(), nil)
	s.connected("wlan0", "wwan0")
	c, err := s.client.Dial(s.ctx(), second)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, c, 1000)
	s.went(control.ViaDirect)
	s.wait("the reason", func(st control.State) bool {
		return strings.Contains(st.Reason, "is not used, and targets are connected to directly")
	})
	s.world.host.SetLinks(s.world.links[0])
	s.connected("wlan0")
	s.world.host.SetLinks(s.world.links...)
	s.connected("wlan0", "wwan0")
	s.wait("another chance", func(st control.State) bool { return st.Reason == "" })
}

// TestKnock: the system's own connection to a proxy tells whether it answers.
func TestKnock(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := platformtest.New(platform.Link{Name: "wlan0", Index: 2})
	at := netip.MustParseAddrPort(l.Addr().String())
	if err := system.knock(h, "wlan0", at)(t.Context()); err != nil {
		t.Error(err)
	}
	if err := system.knock(h, "gone0", at)(t.Context()); err == nil {
		t.Error("over a link that is not there")
	}
	l.Close()
	if err := system.knock(h, "wlan0", at)(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("of nobody: %v", err)
	}
	if got := h.Pinned(); len(got) != 2 {
		t.Errorf("pinned to %q", got)
	}
}

// TestUpstreamTeardown: a reset crosses the proxy's connection, in both directions, and never looks like an end in order.
func TestUpstreamTeardown(t *testing.T) {
	s := newStreet(t)
	heard := make(chan error, 1)
	s.host(proxyAt, false, func(c *engine.Conn) {
		ask := make([]byte, 10)
		io.ReadFull(c, ask[:3])
		c.Write([]byte{5, 0})
		if _, err := io.ReadFull(c, ask); err != nil || ask[1] != 1 {
			return // one more SYN of the same connection, or what asks for no target
		}
		c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0, '!'})
		said := make([]byte, 1)
		_, err := io.ReadFull(c, said)
		if err == nil && said[0] == 'x' {
			c.Abort(nil)
			return
		}
		if err == nil {
			_, err = c.Read(said)
		}
		heard <- err
	})
	s.run("socks5://"+proxyAt.String(), nil)
	s.connected("wlan0", "wwan0")
	c := s.dial()
	io.ReadFull(c, make([]byte, 1))
	c.Write([]byte("a"))
	c.Abort(nil)
	if err := <-heard; !errors.Is(err, engine.ErrReset) {
		t.Errorf("the proxy heard of a reset as %v", err)
	}
	c = s.dial()
	c.SetDeadline(time.Now().Add(soon))
	io.ReadFull(c, make([]byte, 1))
	c.Write([]byte("x"))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, engine.ErrReset) {
		t.Errorf("the device heard of the proxy's reset as %v", err)
	}
}
