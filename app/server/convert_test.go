package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/convert"
)

// A bureau is a converter whose servers are hosts of the test, by address.
type bureau struct {
	t     *testing.T
	c     *Converter
	cache *convert.Cache
	now   func() clock.Time

	mu     sync.Mutex
	hosts  map[string]string // where each target listens; "": it refuses
	dialed []string
}

var (
	shop  = netip.MustParseAddrPort("192.0.2.1:80")
	plain = netip.MustParseAddrPort("192.0.2.2:80")
)

func newBureau(t *testing.T, cfg ConvertConfig, change ...func(*Converter)) *bureau {
	t.Helper()
	cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	c, err := NewConverter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := &bureau{t: t, c: c, cache: convert.NewCache(convert.CacheConfig{}), now: clock.System(), hosts: map[string]string{}}
	c.dial, c.around.list = b.dial, func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.IPv4(172, 30, 0, 1), Mask: net.CIDRMask(16, 32)}}, nil
	}
	for _, f := range change {
		f(c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the converter ended with: %v", err)
		}
	})
	return b
}

func (b *bureau) dial(ctx context.Context, network, target string) (net.Conn, error) {
	b.mu.Lock()
	at, known := b.hosts[target]
	b.dialed = append(b.dialed, target)
	b.mu.Unlock()
	switch {
	case !known:
		if err := b.c.reaches(target); err != nil {
			return nil, err
		}
		return nil, syscall.EHOSTUNREACH
	case at == "":
		return nil, syscall.ECONNREFUSED
	}
	var d net.Dialer
	d.SetMultipathTCP(true)
	return d.DialContext(ctx, network, at)
}

// host has a target answer with talk.
func (b *bureau) host(target netip.AddrPort, multipath bool, talk func(c *net.TCPConn)) {
	b.t.Helper()
	var cfg net.ListenConfig
	cfg.SetMultipathTCP(multipath)
	l, err := cfg.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				talk(c.(*net.TCPConn))
			})
		}
	})
	b.t.Cleanup(func() { l.Close(); running.Wait() })
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hosts[target.String()] = l.Addr().String()
}

// call opens a connection to the converter that says something.
func (b *bureau) call(said []byte) *net.TCPConn {
	b.t.Helper()
	c, err := net.Dial("tcp", b.c.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(soon))
	c.Write(said)
	return c.(*net.TCPConn)
}

// soon is long enough on a machine that is busy with other tests.
const soon = 20 * time.Second

// ask is a client's side of a connection to a target, as far as the answer.
func (b *bureau) ask(target netip.AddrPort) (*net.TCPConn, *convert.Client, error) {
	b.t.Helper()
	client := convert.NewClient(b.cache, convert.ClientConfig{
		Converter: b.c.Addr().(*net.TCPAddr).AddrPort(), Target: target, Options: convert.Options{}.Add(convert.MPTCP),
	})
	c := b.call(client.Append(nil))
	octet := make([]byte, 1)
	for {
		if _, err := c.Read(octet); err != nil {
			return c, client, errors.Join(client.EOF(), err)
		}
		if _, done, err := client.Receive(b.now(), octet); done || err != nil {
			return c, client, err
		}
	}
}

func echoBack(c *net.TCPConn) {
	io.Copy(c, c)
	c.CloseWrite()
}

// kernelSpeaks reports whether the kernel has Multipath TCP.
func kernelSpeaks() bool {
	text, err := os.ReadFile("/proc/sys/net/mptcp/enabled")
	return err == nil && strings.TrimSpace(string(text)) == "1"
}

// TestConverterConnects: a client reaches a server, is told whether that speaks Multipath TCP, and either may end first.
func TestConverterConnects(t *testing.T) {
	b := newBureau(t, ConvertConfig{})
	b.host(shop, true, echoBack)
	b.host(plain, false, echoBack)
	for _, target := range []netip.AddrPort{shop, plain} {
		c, client, err := b.ask(target)
		if err != nil {
			t.Fatalf("%v: %v", target, err)
		}
		a := client.Answer()
		if want := target == shop && kernelSpeaks(); !a.Extended || a.MPTCP != want {
			t.Errorf("%v: answer %+v, want MPTCP %v", target, a, want)
		}
		c.Write([]byte("hello"))
		c.CloseWrite()
		if said, err := io.ReadAll(c); err != nil || string(said) != "hello" {
			t.Errorf("%v: echo %q, %v", target, said, err)
		}
	}
	if n := b.c.Counters(); n.Connected != 2 || n.Requests != 2 || n.Clients != 2 {
		t.Errorf("counters %+v", n)
	}
}

// TestConverterErrors: each failure has its code, in the stream, which then ends in order.
func TestConverterErrors(t *testing.T) {
	b := newBureau(t, ConvertConfig{})
	b.hosts[shop.String()] = ""
	for _, c := range []struct {
		target string
		code   convert.Code
		want   error
	}{
		{"192.0.2.1:80", convert.ConnectionReset, syscall.ECONNREFUSED},
		{"192.0.2.99:80", convert.DestinationUnreachable, syscall.EHOSTUNREACH},
		{"[2001:db8::99]:80", convert.DestinationUnreachable, syscall.EHOSTUNREACH},
		{"10.1.2.3:80", convert.NotAuthorized, os.ErrPermission}, // the local network, and not allowed
		{"192.0.2.99:25", convert.NotAuthorized, os.ErrPermission},
		{"127.0.0.1:80", convert.MalformedMessage, syscall.EPROTO},
		{"224.0.0.1:80", convert.MalformedMessage, syscall.EPROTO},
	} {
		conn, _, err := b.ask(netip.MustParseAddrPort(c.target))
		var r *convert.Refusal
		if !errors.As(err, &r) || !r.Told || r.Code != c.code || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.target, err, c.code)
		}
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("%s: the connection ended with %v", c.target, err)
		}
	}
}

// TestConverterTeardown: a reset of either end resets the other, and an end is an end.
func TestConverterTeardown(t *testing.T) {
	b := newBureau(t, ConvertConfig{})
	heard := make(chan error, 1)
	b.host(plain, false, func(c *net.TCPConn) {
		c.Write([]byte("first"))
		_, err := io.Copy(io.Discard, c)
		heard <- err
	})
	b.host(shop, false, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 5))
		c.SetLinger(0)
	})
	c, _, err := b.ask(plain)
	if err != nil {
		t.Fatal(err)
	}
	io.ReadFull(c, make([]byte, 5))
	reset(c)
	if err := <-heard; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server heard of the client's reset as %v", err)
	}
	if c, _, err = b.ask(shop); err != nil {
		t.Fatal(err)
	}
	c.Write([]byte("hello"))
	if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client heard of the server's reset as %v", err)
	}
}

// TestConverterCookie: with cookies, the first question is answered with one.
func TestConverterCookie(t *testing.T) {
	b := newBureau(t, ConvertConfig{Cookies: true})
	b.host(plain, false, echoBack)
	_, _, err := b.ask(plain)
	var r *convert.Refusal
	if !errors.As(err, &r) || r.Advice != convert.CookieRetry {
		t.Fatalf("without a cookie: %v", err)
	}
	if _, _, err := b.ask(plain); err != nil {
		t.Errorf("with it: %v", err)
	}
	b.c.mu.Lock()
	b.c.rotated = time.Now().Add(-2 * secretTime)
	b.c.mu.Unlock()
	for range 2 { // the secret before is good, too
		if _, _, err := b.ask(plain); err != nil {
			t.Errorf("after a change of the secret: %v", err)
		}
	}
	b.c.mu.Lock()
	b.c.rotated = time.Now().Add(-2 * secretTime)
	b.c.mu.Unlock()
	if _, _, err := b.ask(plain); !errors.As(err, &r) || r.Code != convert.NotAuthorized {
		t.Errorf("after two changes: %v", err)
	}
}

// TestConverterClients: who is on none of the networks is told so, and reaches nothing.
func TestConverterClients(t *testing.T) {
	b := newBureau(t, ConvertConfig{Clients: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	b.host(plain, false, echoBack)
	_, _, err := b.ask(plain)
	var r *convert.Refusal
	if !errors.As(err, &r) || r.Code != convert.NotAuthorized || len(b.dialed) != 0 {
		t.Errorf("a client from elsewhere: %v, dialled %v", err, b.dialed)
	}
	if n := b.c.Counters(); n.Foreign != 1 {
		t.Errorf("counters %+v", n)
	}
	for text, want := range map[string]bool{"127.0.0.1": true, "::1": true, "172.30.7.7": true, "203.0.113.200": false} {
		if got := newBureau(t, ConvertConfig{}).c.serves(netip.MustParseAddr(text)); got != want {
			t.Errorf("by default %s is served: %v", text, got)
		}
	}
}

// TestConverterMalformed: what is no question gets its answer, or none, and costs no connection.
func TestConverterMalformed(t *testing.T) {
	b := newBureau(t, ConvertConfig{})
	for _, c := range []struct {
		what string
		said string
		want string // what comes back; "reset": that
	}{
		{"another protocol", "GET / HTTP/1.1\r\n\r\n", "any"},
		{"no length", "\x01\x00\x22\x63", "reset"},
		{"version 2", "\x02\x01\x22\x63", "\x01\x02\x22\x63\x1e\x01\x00\x01"},
		{"Info", "\x01\x02\x22\x63\x01\x01\x00\x00", "\x01\x03\x22\x63\x15\x02\x00\x00\x1e\x04\x08\x00"},
		{"nothing", "", ""},
	} {
		conn := b.call([]byte(c.said))
		conn.CloseWrite()
		said, err := io.ReadAll(conn)
		switch {
		case c.want == "reset":
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: %q, %v", c.what, said, err)
			}
		case c.want == "any" && len(said) > 0, c.want != "any" && string(said) != c.want:
			t.Errorf("%s: % x, %v; want % x", c.what, said, err, c.want)
		}
	}
	if len(b.dialed) != 0 {
		t.Errorf("dialled %v", b.dialed)
	}
}

// TestConverterCrowd: who comes when too many of its own kind have not said what they want is reset, others are served.
func TestConverterCrowd(t *testing.T) {
	b := newBureau(t, ConvertConfig{})
	b.host(plain, false, echoBack)
	var leave []func()
	for f := b.c.waiting.enter(loopback); f != nil; f = b.c.waiting.enter(loopback) {
		leave = append(leave, f)
	}
	if c, err := net.Dial("tcp", b.c.Addr().String()); err == nil {
		if _, err := io.ReadAll(c); err == nil {
			t.Error("served")
		}
		c.Close()
	}
	if n := b.c.Counters(); n.Crowded != 1 || len(leave) != convertWaiting/2 {
		t.Errorf("counters %+v, with %d waiting", n, len(leave))
	}
	if said, _ := b.c.enter(netip.MustParseAddr("192.0.2.77")); said == nil {
		t.Error("no room for others")
	}
	for _, f := range leave {
		f()
	}
	if _, _, err := b.ask(plain); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

var loopback = netip.MustParseAddr("127.0.0.1")

// TestConverterFiles: connections hold files until both ends have closed them, however they end; a client that has its share
// gets no more.
func TestConverterFiles(t *testing.T) {
	b := newBureau(t, ConvertConfig{}, func(c *Converter) { c.files = newCrowd(4) }) // of which a share is at least shareMin
	b.hosts[shop.String()] = ""
	b.host(plain, false, func(c *net.TCPConn) { io.Copy(io.Discard, c) })
	var open []*net.TCPConn
	for range 4 {
		c, _, err := b.ask(plain)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if c, err := net.Dial("tcp", b.c.Addr().String()); err == nil {
		if _, err := io.ReadAll(c); err == nil {
			t.Error("one more than there may be is served")
		}
		c.Close()
	}
	for i, c := range open {
		if i%2 == 0 {
			reset(c)
		} else {
			c.CloseWrite()
			io.ReadAll(c)
			c.Close()
		}
	}
	b.until("all files back", func() bool { return b.used() == 0 })
	b.ask(shop)
	b.call([]byte("GET / HTTP/1.1\r\n\r\n"))
	b.until("those of who was refused", func() bool { return b.c.Counters().Clients == 7 && b.used() == 0 })
}

func (b *bureau) used() int {
	b.c.files.budget.mu.Lock()
	defer b.c.files.budget.mu.Unlock()
	return b.c.files.budget.used
}

// until waits for a condition.
func (b *bureau) until(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(soon); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("%s: not in time", what)
		}
	}
}

// TestConverterNetworkFailure: that a network far away cannot be reached is no failure of the converter's, for which its
// clients would leave it alone.
func TestConverterNetworkFailure(t *testing.T) {
	b := newBureau(t, ConvertConfig{})
	for _, c := range []struct {
		routed bool
		target string
		want   convert.Failure
	}{
		{true, "192.0.2.1:80", convert.Failure{Code: convert.DestinationUnreachable, Value: []byte{0}}},
		{true, "[2001:db8::1]:80", convert.Failure{Code: convert.DestinationUnreachable, Value: []byte{0}}},
		{false, "192.0.2.1:80", convert.Failure{Code: convert.NetworkFailure}},
	} {
		asked := ""
		b.c.hasRoute = func(network, address string) bool { asked = network + " " + address; return c.routed }
		got := b.c.failure(&net.OpError{Op: "dial", Err: syscall.ENETUNREACH}, netip.MustParseAddrPort(c.target))
		if got.Code != c.want.Code || string(got.Value) != string(c.want.Value) || !strings.HasSuffix(asked, " "+c.target) {
			t.Errorf("%+v: %+v, asked for %s", c, got, asked)
		}
	}
}

// TestConverterSlow: a client that says what it wants octet by octet is understood, one that does not end is dropped in time.
func TestConverterSlow(t *testing.T) {
	b := newBureau(t, ConvertConfig{}, func(c *Converter) { c.messageTime = 500 * time.Millisecond })
	b.host(plain, false, echoBack)
	client := convert.NewClient(b.cache, convert.ClientConfig{Converter: b.c.Addr().(*net.TCPAddr).AddrPort(), Target: plain})
	c := b.call(nil)
	for _, octet := range append(client.Append(nil), "hello"...) {
		c.Write([]byte{octet})
		time.Sleep(time.Millisecond)
	}
	c.CloseWrite()
	if said, err := io.ReadAll(c); err != nil || string(said) != "\x01\x01\x22\x63hello" {
		t.Errorf("%q, %v", said, err)
	}
	c = b.call([]byte{1, 6})
	if said, err := io.ReadAll(c); err != nil || len(said) > 0 {
		t.Errorf("to half a header: %q, %v", said, err)
	}
	c = b.call([]byte{1, 6, 0x22, 0x63, 10})
	if said, err := io.ReadAll(c); err != nil || len(said) < 8 || said[4] != 30 || convert.Code(said[6]) != convert.MalformedMessage {
		t.Errorf("to half a message: % x, %v", said, err)
	}
}
