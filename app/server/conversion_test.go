package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/convert"
)

// A wait is a dial that nobody answers until it is let go, or given up.
type wait struct {
	begun, over atomic.Int64
	free        chan struct{}
}

// answersLate has the converter wait for every server.
func answersLate(w *wait) func(*Converter) {
	w.free = make(chan struct{})
	return func(c *Converter) {
		dial := c.dial
		c.dial = func(ctx context.Context, network, target string) (net.Conn, error) {
			w.begun.Add(1)
			defer w.over.Add(1)
			select {
			case <-w.free:
				return dial(ctx, network, target)
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	}
}

// request asks for a target and waits for no answer.
func (b *bureau) request(target netip.AddrPort) []byte {
	return convert.NewClient(b.cache, convert.ClientConfig{Converter: b.c.Addr().(*net.TCPAddr).AddrPort(), Target: target}).Append(nil)
}

// callFrom opens a connection to the converter from another address of this machine's.
func (b *bureau) callFrom(from string, multipath bool, said []byte) *net.TCPConn {
	b.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	d.SetMultipathTCP(multipath)
	c, err := d.Dial("tcp", b.c.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	c.Write(said)
	return c.(*net.TCPConn)
}

// TestConverterClientLeaves: a client that resets its connection holds no dial, no place and no files any more. One that only
// says no more is answered.
func TestConverterClientLeaves(t *testing.T) {
	var w wait
	b := newBureau(t, ConvertConfig{}, answersLate(&w))
	b.host(plain, false, echoBack)
	stays := b.call(append(b.request(plain), "hello"...))
	stays.CloseWrite()
	for i, multipath := range []bool{false, true} {
		c := b.callFrom("127.0.0.1", multipath, b.request(plain))
		b.until("the dial", func() bool { return w.begun.Load() == int64(2+i) })
		reset(c)
		b.until("the dial is given up", func() bool { return w.over.Load() == int64(1+i) && b.pending() == 1 && b.used() == 1 })
	}
	close(w.free)
	if said, err := io.ReadAll(stays); err != nil || string(said) != "\x01\x01\x22\x63hello" {
		t.Errorf("who stayed was told %q, %v", said, err)
	}
}

// TestConverterClientLeavesTheQueue: the same where there is no place yet to dial from.
func TestConverterClientLeavesTheQueue(t *testing.T) {
	c, err := NewConverter(ConvertConfig{Listen: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	b := &bureau{t: t, c: c, cache: convert.NewCache(convert.CacheConfig{})}
	ctx, cancel := context.WithCancel(t.Context())
	listening := make(chan error, 1)
	go func() { listening <- c.listen(ctx) }()
	conn := b.callFrom("127.0.0.1", false, b.request(plain))
	b.until("the request", func() bool { return b.pending() == 1 })
	reset(conn)
	b.until("it is forgotten", func() bool { return b.pending() == 0 && b.used() == 0 })
	cancel()
	c.listener.Close()
	<-listening
}

func (b *bureau) pending() int {
	b.c.mu.Lock()
	defer b.c.mu.Unlock()
	return b.c.gate.Pending()
}

// TestConverterPlaces: clients whose servers do not answer keep nobody else from being served, be they as many as two of them
// can ask for.
func TestConverterPlaces(t *testing.T) {
	const each, clients = 256, 3
	if openFiles("/proc/self/limits") < 4*each*clients {
		t.Skip("too few files")
	}
	var w wait
	b := newBureau(t, ConvertConfig{}, answersLate(&w), func(c *Converter) { c.waiting = newCrowd(4 * each * clients) })
	for i := range clients {
		for range each {
			b.callFrom(netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)}).String(), false, b.request(plain))
		}
	}
	b.until("all dials", func() bool { return w.begun.Load() == each*clients })
	b.callFrom("127.0.2.1", false, b.request(plain))
	b.until("one more client's", func() bool { return w.begun.Load() == each*clients+1 })
	conn := b.callFrom("127.0.1.1", false, b.request(plain))
	answer := make([]byte, 8)
	if _, err := io.ReadFull(conn, answer); err != nil || convert.Code(answer[6]) != convert.ResourceExceeded {
		t.Errorf("a client with more than its share was told % x, %v", answer, err)
	}
	if n := b.c.Counters(); n.Full != 1 || n.Crowded != 0 {
		t.Errorf("%d full, %d crowded", n.Full, n.Crowded)
	}
}

// TestConverterRate: a client to which servers are lost at once makes no more than 200 of them a second.
func TestConverterRate(t *testing.T) {
	b := newBureau(t, ConvertConfig{}, func(c *Converter) { c.now = func() clock.Time { return 0 } })
	b.hosts[plain.String()] = ""
	refused := 0
	for range 300 {
		_, _, err := b.ask(plain)
		var r *convert.Refusal
		if !errors.As(err, &r) {
			t.Fatal(err)
		}
		if r.Code == convert.ConnectionReset {
			refused++
		}
	}
	if n := b.c.Counters(); refused != 100 || n.Hurried != 44 {
		t.Errorf("%d told that they are refused, %d over the rate", refused, n.Hurried)
	}
}

// TestConverterTellsStrangersSeldom: who may not use the converter is told so no more often than others are told errors.
func TestConverterTellsStrangersSeldom(t *testing.T) {
	b := newBureau(t, ConvertConfig{Clients: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, func(c *Converter) {
		c.gate = convert.NewGate(convert.GateConfig{ErrorBurst: 1, ErrorEvery: 1 << 40})
	})
	for i, want := range []string{"\x01\x02\x22\x63\x1e\x01\x20\x00", "", ""} {
		conn := b.call(b.request(plain))
		conn.CloseWrite()
		if said, err := io.ReadAll(conn); string(said) != want || err != nil {
			t.Errorf("stranger %d was told %q, %v", i, said, err)
		}
	}
	if n := b.c.Counters(); n.Foreign != 3 || n.Silenced != 2 {
		t.Errorf("counters %+v", n)
	}
}

// TestConverterSpoken: of each client it is known until it is answered whether its target speaks Multipath TCP, and no longer.
func TestConverterSpoken(t *testing.T) {
	if !kernelSpeaks() {
		t.Skip("this kernel has no Multipath TCP")
	}
	var w wait
	b := newBureau(t, ConvertConfig{}, answersLate(&w))
	b.host(shop, true, echoBack)
	b.host(plain, false, echoBack)
	one, other := b.callFrom("127.0.0.1", false, b.request(shop)), b.callFrom("127.0.0.1", false, b.request(plain))
	b.until("both dials", func() bool { return w.begun.Load() == 2 })
	close(w.free)
	for conn, want := range map[*net.TCPConn]byte{one: 5, other: 1} {
		header := make([]byte, 4)
		if _, err := io.ReadFull(conn, header); err != nil || header[1] != want {
			t.Errorf("answer % x, %v, want %d words", header, err, want)
		}
	}
	b.c.mu.Lock()
	defer b.c.mu.Unlock()
	if len(b.c.asking) != 0 {
		t.Errorf("%v", b.c.asking)
	}
}

// TestConverterWarnings: who runs a converter hears of a kernel that does not do its part, and of clients whose names others
// can use.
func TestConverterWarnings(t *testing.T) {
	on, off := filepath.Join(t.TempDir(), "on"), filepath.Join(t.TempDir(), "off")
	os.WriteFile(on, []byte("1\n"), 0o600)
	os.WriteFile(off, []byte("0\n"), 0o600)
	for _, c := range []struct {
		enabled, clients string
		cookies          bool
		want             []string // in each
	}{
		{on, "", false, nil},
		{off, "", false, []string{"net.mptcp.enabled"}},
		{off + "none", "", false, []string{"net.mptcp.enabled"}},
		{on, "172.30.0.0/16 172.30.7.0/24 127.0.0.0/8", false, nil},
		{on, "172.30.0.0/15", false, []string{"172.30.0.0/15"}},
		{on, "198.51.100.0/24 172.30.0.0/16 2001:db8::/32", false, []string{"198.51.100.0/24", "2001:db8::/32"}},
		{off, "0.0.0.0/0", true, []string{"net.mptcp.enabled"}},
	} {
		cfg := ConvertConfig{Cookies: c.cookies}
		for _, text := range strings.Fields(c.clients) {
			cfg.Clients = append(cfg.Clients, netip.MustParsePrefix(text))
		}
		b := newBureau(t, cfg, func(b *Converter) { b.enabled = c.enabled })
		got := b.c.warnings()
		if !slices.EqualFunc(got, c.want, strings.Contains) {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestConverterRepeatsNothingForNobody: a client of which there is no more than a SYN has its target sent one as well, and the
// next only when its handshake is over. One that is there is dialled for once.
func TestConverterRepeatsNothingForNobody(t *testing.T) {
	var w wait
	var there atomic.Bool
	b := newBureau(t, ConvertConfig{}, answersLate(&w), func(c *Converter) {
		c.synTime, c.settled = time.Millisecond, func(*net.TCPConn) bool { return there.Load() }
	})
	b.host(plain, false, echoBack)
	conn := b.call(append(b.request(plain), "hello"...))
	conn.CloseWrite()
	b.until("the first dial is given up", func() bool { return w.over.Load() == 1 && b.c.Counters().Paused == 1 })
	if n := w.begun.Load(); n != 1 {
		t.Errorf("%d dials for nobody", n)
	}
	there.Store(true)
	close(w.free)
	if said, err := io.ReadAll(conn); err != nil || string(said) != "\x01\x01\x22\x63hello" {
		t.Errorf("told %q, %v", said, err)
	}
	if n := w.begun.Load(); n != 2 {
		t.Errorf("%d dials", n)
	}
}

// TestConverterGivesUp: a dial that is given up is not made again without Multipath TCP.
func TestConverterGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	reached := 0
	dial := multipathDialer(func(string) error {
		reached++
		cancel()
		return os.ErrPermission
	})
	if _, err := dial(ctx, "tcp", plain.String()); err == nil || reached != 1 {
		t.Errorf("%v, dialled %d times", err, reached)
	}
}

// TestConverterGoesOnDialling: who is there by the time that a SYN would be repeated keeps the dial.
func TestConverterGoesOnDialling(t *testing.T) {
	var w wait
	var looked atomic.Int64
	b := newBureau(t, ConvertConfig{}, answersLate(&w), func(c *Converter) {
		c.synTime, c.settled = time.Millisecond, func(*net.TCPConn) bool { return looked.Add(1) > 1 }
	})
	b.host(plain, false, echoBack)
	conn := b.call(append(b.request(plain), "hello"...))
	conn.CloseWrite()
	b.until("a second look", func() bool { return looked.Load() == 2 })
	close(w.free)
	if said, err := io.ReadAll(conn); err != nil || string(said) != "\x01\x01\x22\x63hello" || w.begun.Load() != 1 || b.c.Counters().Paused != 0 {
		t.Errorf("told %q, %v, after %d dials", said, err, w.begun.Load())
	}
}

// TestConverterExample: the octets of a client that asks for options besides Multipath TCP's, which the kernel has, too.
func TestConverterExample(t *testing.T) {
	b := newBureau(t, ConvertConfig{})
	b.host(netip.MustParseAddrPort("192.0.2.1:443"), false, echoBack)
	connect := "\x01\x07\x22\x63\x0a\x06\x01\xbb" + strings.Repeat("\x00", 10) + "\xff\xff\xc0\x00\x02\x01"
	for _, options := range []string{"\x1e\x02\x04\x02", "\x08\x02\x04\x02"} {
		conn := b.call([]byte(connect + options + "hello"))
		conn.CloseWrite()
		said, err := io.ReadAll(conn)
		if !strings.HasSuffix(string(said), "hello") || said[4] == 30 || err != nil {
			t.Errorf("% x: told % x, %v", options, said, err)
		}
	}
}
