package proxy

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	xproxy "golang.org/x/net/proxy"

	"tandem/tunnel/relay"
)

var (
	_ relay.Offer  = (*Offer)(nil)
	_ relay.Leaver = (*Offer)(nil)
)

// names is what the test's world calls its hosts.
var names = map[string][]netip.Addr{
	"one.example": {netip.MustParseAddr("192.0.2.1")},
	"two.example": {netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("192.0.2.2")},
}

func resolve(_ context.Context, name string) ([]netip.Addr, error) {
	if found := names[name]; found != nil {
		return found, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// start runs a proxy until the test is over.
func start(t *testing.T, change func(*Config)) (*Proxy, string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	cfg := Config{Listener: l, Resolve: resolve, Host4: netip.MustParseAddr("198.18.0.2"), Host6: netip.MustParseAddr("fd00::2")}
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg)
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-ended)
	})
	return p, l.Addr().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func next(t *testing.T, p *Proxy) *Offer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	o, err := p.Accept(ctx)
	must(t, err)
	return o
}

// accept accepts the next offer. Unlike next it may be called by any goroutine.
func accept(t *testing.T, p *Proxy) (*Offer, relay.Stream, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	o, err := p.Accept(ctx)
	if err != nil {
		return nil, nil, err
	}
	s, err := o.Accept()
	return o, s, err
}

// echo accepts an offer of target and gives back what comes.
func echo(t *testing.T, p *Proxy, target string) error {
	o, s, err := accept(t, p)
	if err != nil {
		return err
	}
	defer s.Close()
	if o.Target().String() != target || !o.Source().Addr().IsLoopback() {
		return fmt.Errorf("%v wants %v, not %v", o.Source(), o.Target(), target)
	}
	io.Copy(s, s)
	return s.CloseWrite()
}

// Real clients of SOCKS5 reach who they ask for, by address and by name, with a password and without.
func TestSOCKS(t *testing.T) {
	for _, auth := range []*xproxy.Auth{nil, {User: "me", Password: "secret"}} {
		p, at := start(t, func(c *Config) {
			if auth != nil {
				c.User, c.Password = auth.User, auth.Password
			}
		})
		dialer, err := xproxy.SOCKS5("tcp", at, auth, nil)
		must(t, err)
		for _, c := range []struct{ asked, target string }{
			{"192.0.2.7:80", "192.0.2.7:80"}, {"[2001:db8::7]:443", "[2001:db8::7]:443"}, {"one.example:22", "192.0.2.1:22"},
			{"[::ffff:192.0.2.7]:80", "192.0.2.7:80"},
		} {
			answered := make(chan error, 1)
			go func() { answered <- echo(t, p, c.target) }()
			conn, err := dialer.Dial("tcp", c.asked)
			must(t, err)
			_, err = conn.Write([]byte("hello"))
			must(t, err)
			must(t, conn.(interface{ CloseWrite() error }).CloseWrite())
			if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
				t.Errorf("%s: %q, %v", c.asked, got, err)
			}
			conn.Close()
			must(t, <-answered)
		}
	}
}

// A joining is whom an offer was for that is joined with a server, and why it could not be.
type joining struct {
	target string
	err    error
}

// joinNext joins the next offer with a server, and tells of it when all is said.
func joinNext(t *testing.T, p *Proxy, server *httptest.Server) <-chan joining {
	told := make(chan joining, 1)
	go func() {
		target, err := join(t, p, server)
		told <- joining{target, err}
	}()
	return told
}

func join(t *testing.T, p *Proxy, server *httptest.Server) (target string, err error) {
	o, s, err := accept(t, p)
	if err != nil {
		return "", err
	}
	defer s.Close()
	far, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		return "", err
	}
	go func() { io.Copy(far, s); far.Close() }()
	io.Copy(s, far)
	return o.Target().String(), nil
}

// Real clients of HTTP reach who they ask for by CONNECT.
func TestHTTP(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { io.WriteString(w, q.Host) }))
	defer server.Close()
	for _, user := range []*url.Userinfo{nil, url.UserPassword("me", "secret")} {
		p, at := start(t, func(c *Config) {
			if user != nil {
				c.User, c.Password = "me", "secret"
			}
		})
		transport := server.Client().Transport.(*http.Transport).Clone()
		transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: at, User: user})
		transport.TLSClientConfig.ServerName = "example.com" // the certificate's
		answered := joinNext(t, p, server)
		said, err := (&http.Client{Transport: transport}).Get("https://one.example/")
		must(t, err)
		if body, err := io.ReadAll(said.Body); err != nil || string(body) != "one.example" {
			t.Errorf("%q, %v", body, err)
		}
		said.Body.Close()
		transport.CloseIdleConnections()
		must(t, (<-answered).err)
	}
}

// What made dialing fail is what the client hears.
func TestRefuse(t *testing.T) {
	p, at := start(t, nil)
	for _, c := range []struct {
		why   error
		socks byte
		http  string
	}{
		{os.NewSyscallError("connect", syscall.ECONNREFUSED), 5, "502"},
		{syscall.EHOSTUNREACH, 4, "502"},
		{syscall.ENETUNREACH, 3, "502"},
		{os.ErrPermission, 2, "403"},
		{context.DeadlineExceeded, 4, "504"},
		{errors.New("anything else"), 1, "502"},
		{nil, 1, "502"},
	} {
		for _, dialect := range []struct{ say, want string }{
			{"\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50", "\x05\x00\x05" + string(c.socks) + "\x00\x01\x00\x00\x00\x00\x00\x00"},
			{"CONNECT 192.0.2.1:80 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 " + c.http + " "},
		} {
			client := say(t, at, dialect.say)
			o := next(t, p)
			o.Refuse(c.why)
			o.Refuse(c.why)
			if got := heard(t, client); !strings.HasPrefix(got, dialect.want) {
				t.Errorf("%v: %q, want %q", c.why, got, dialect.want)
			}
			if _, err := o.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept after Refuse: %v", err)
			}
		}
	}
}

// say sends text to the proxy.
func say(t *testing.T, at, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", at)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = c.Write([]byte(text))
	must(t, err)
	return c
}

// heard returns all that the proxy says until it closes.
func heard(t *testing.T, c net.Conn) string {
	t.Helper()
	defer c.Close()
	got, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	return string(got)
}

// Malformed requests are answered as the RFCs say, and the connection is closed.
func TestMalformed(t *testing.T) {
	for _, c := range []struct {
		what, password, text, want string // hex, unless HTTP
	}{
		{"no methods", "", "\x05\x00", "05ff"},
		{"no method of ours", "", "\x05\x02\x01\x02", "05ff"},
		{"no password", "secret", "\x05\x01\x00", "05ff"},
		{"wrong password", "secret", "\x05\x01\x02\x01\x02me\x05wrong", "05020101"},
		{"wrong user", "secret", "\x05\x01\x02\x01\x02ma\x06secret", "05020101"},
		{"unknown version of password", "secret", "\x05\x01\x02\x02", "0502"},
		{"wrong version of request", "", "\x05\x01\x00\x04\x01\x00\x01", "0500"},
		{"BIND", "", "\x05\x01\x00\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50", "050005070001000000000000"},
		{"no such command", "", "\x05\x01\x00\x05\x09\x00\x01\x7f\x00\x00\x01\x00\x50", "050005070001000000000000"},
		{"no such address type", "", "\x05\x01\x00\x05\x01\x00\x02", "050005080001000000000000"},
		{"no port", "", "\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x00", "050005010001000000000000"},
		{"empty name", "", "\x05\x01\x00\x05\x01\x00\x03\x00\x00\x50", "050005010001000000000000"},
		{"unknown name", "", "\x05\x01\x00\x05\x01\x00\x03\x04none\x00\x50", "050005040001000000000000"},
		{"datagrams where there are none", "", "\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00", "050005070001000000000000"},
		{"no HTTP", "", "hello\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
		{"TLS", "", "\x16\x03\x01\x00\x05hello\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
		{"GET", "", "GET / HTTP/1.1\r\nHost: one.example\r\n\r\n", "HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\n"},
		{"GET of another scheme", "", "GET ftp://one.example/ HTTP/1.1\r\nHost: one.example\r\n\r\n", "HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\n"},
		{"GET of nobody", "", "GET http:///x HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 "},
		{"GET without a port", "", "GET http://one.example:0/ HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 "},
		{"no port", "", "CONNECT one.example HTTP/1.1\r\nHost: one.example\r\n\r\n", "HTTP/1.1 400 "},
		{"port too large", "", "CONNECT one.example:65536 HTTP/1.1\r\nHost: one.example\r\n\r\n", "HTTP/1.1 400 "},
		{"unknown name", "", "CONNECT none:80 HTTP/1.1\r\nHost: none\r\n\r\n", "HTTP/1.1 502 "},
		{"no credentials", "secret", "CONNECT one.example:80 HTTP/1.1\r\nHost: x\r\n\r\n",
			"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"tandem\"\r\n"},
		{"wrong credentials", "secret", "CONNECT one.example:80 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic bWU6d3Jvbmc=\r\n\r\n", "HTTP/1.1 407 "},
		{"endless header", "", "CONNECT one.example:80 HTTP/1.1\r\nX: " + strings.Repeat("x", headerMax), "HTTP/1.1 431 "},
	} {
		p, at := start(t, func(cfg *Config) { cfg.User, cfg.Password = "me", c.password })
		got := heard(t, say(t, at, c.text))
		if !strings.HasPrefix(c.want, "HTTP") {
			got = hex.EncodeToString([]byte(got))
			if got != c.want {
				t.Errorf("%s: %s, want %s", c.what, got, c.want)
			}
		} else if !strings.HasPrefix(got, c.want) || !strings.Contains(got, "Connection: close\r\n") {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
		if n := p.Counters(); n.Offers > 0 || n.Clients != 1 {
			t.Errorf("%s: %+v", c.what, n)
		}
	}
}

// Where a name has several addresses they are tried in turn.
func TestSeveralAddresses(t *testing.T) {
	p, at := start(t, nil)
	dialer, err := xproxy.SOCKS5("tcp", at, nil, nil)
	must(t, err)
	answered := make(chan error)
	go func() {
		c, err := dialer.Dial("tcp", "two.example:80")
		if err == nil {
			c.Close()
		}
		answered <- err
	}()
	first := next(t, p)
	first.Refuse(syscall.ENETUNREACH)
	second := next(t, p)
	if first.Target().String() != "[2001:db8::2]:80" || second.Target().String() != "192.0.2.2:80" {
		t.Errorf("offered %v, then %v", first.Target(), second.Target())
	}
	s, err := second.Accept()
	must(t, err)
	must(t, <-answered)
	s.Close()
}

// A client that leaves is gone, and one that cannot wait loses nothing.
func TestGoneAndHasty(t *testing.T) {
	p, at := start(t, nil)
	const request = "\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50"
	c, err := net.Dial("tcp", at)
	must(t, err)
	c.Write([]byte(request))
	o := next(t, p)
	c.Close()
	<-o.Gone()
	if _, err := o.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of one that left: %v", err)
	}
	for _, early := range []string{request + "early data", "CONNECT 192.0.2.1:80 HTTP/1.1\r\nHost: x\r\n\r\nearly data"} {
		c, err := net.Dial("tcp", at)
		must(t, err)
		c.Write([]byte(early))
		must(t, c.(*net.TCPConn).CloseWrite())
		s, err := next(t, p).Accept()
		must(t, err)
		if got, err := io.ReadAll(s); err != nil || string(got) != "early data" {
			t.Errorf("%q, %v", got, err)
		}
		s.Abort(nil)
		if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after Abort the client reads %v", err)
		}
		c.Close()
	}
}

// A client that says nothing is closed in time, and those who wait are bounded.
func TestSlow(t *testing.T) {
	p, at := start(t, func(c *Config) { c.Handshake, c.Waiting = 50*time.Millisecond, 2 })
	for _, start := range []string{"\x05", "\x05\x01\x00\x05", "CONNECT ", ""} {
		if got := heard(t, say(t, at, start)); got != "" && got != "\x05\x00" {
			t.Errorf("%q: %q", start, got)
		}
	}
	if n := p.Counters(); n.Malformed != 4 {
		t.Errorf("%+v", n)
	}
	p, at = start(t, func(c *Config) { c.Waiting = 2 })
	for range 2 {
		c, err := net.Dial("tcp", at)
		must(t, err)
		defer c.Close()
		c.Write([]byte("\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50"))
		next(t, p)
	}
	if got := heard(t, say(t, at, "\x05\x01\x00")); got != "" {
		t.Errorf("one too many: %q", got)
	}
	if n := p.Counters(); n.Crowded != 1 {
		t.Errorf("%+v", n)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		address, password string
		ok                bool
	}{
		{"127.0.0.1:1080", "", true}, {"[::1]:1080", "", true}, {"localhost:1080", "", true}, {"127.9.9.9:1", "", true},
		{":1080", "", false}, {"0.0.0.0:1080", "", false}, {"192.168.1.2:1080", "", false}, {"[::]:1080", "", false},
		{"host:1080", "", false}, {"0.0.0.0:1080", "secret", true}, {"nonsense", "secret", false},
	} {
		if err := Check(c.address, c.password); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// Run leaves nothing, whatever clients are doing.
func TestRunEnds(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("clients", func(t *testing.T) {
		p, at := start(t, func(c *Config) { c.Packets = func([][]byte) {} })
		for _, text := range []string{"", "\x05\x01", "\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50",
			"\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"} {
			c, err := net.Dial("tcp", at)
			must(t, err)
			t.Cleanup(func() { c.Close() })
			c.Write([]byte(text))
		}
		o := next(t, p)
		t.Cleanup(func() { o.Refuse(errors.New("too late")) })
	})
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched()
	}
	all := make([]byte, 1<<20)
	t.Errorf("goroutines are left:\n%s", bytes.TrimRight(all[:runtime.Stack(all, true)], "\x00"))
}
