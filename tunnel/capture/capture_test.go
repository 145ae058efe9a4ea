package capture

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"tandem/engine/wire"
	"tandem/tunnel/packet"
)

// Everything but TCP goes on as it came; what nobody can answer is dropped, each for its reason.
func TestPackets(t *testing.T) {
	got := make(chan []byte, 100)
	b := newBare(t, func(c *Config) {
		c.Packets = func(pkts [][]byte) {
			for _, pkt := range pkts {
				got <- bytes.Clone(pkt)
			}
		}
	})
	four, six := packet.Packet{Source: host4, Target: target4.Addr(), TOS: 0xb9, TTL: 3}, packet.Packet{Source: host6, Target: target6.Addr(), TTL: 255}
	to := func(p packet.Packet, target string) packet.Packet {
		p.Target = netip.MustParseAddr(target)
		return p
	}
	udp := func(p packet.Packet) []byte { return p.AppendUDP(nil, 1000, 2000, []byte("datagram")) }
	fragment := four
	fragment.Offset, fragment.Protocol, fragment.Body = 1480, wire.UDP, []byte("the rest")
	tcpFragment := fragment
	tcpFragment.Protocol = wire.TCP
	stranger := four
	stranger.Source = netip.MustParseAddr("192.168.1.5")
	damaged := segment(from4(1), target4, syn, 1)
	damaged[len(damaged)-1] ^= 1
	header4 := segment(from4(1), target4, syn, 1)
	header4[8]++
	n := &b.capture.counters
	for _, c := range []struct {
		what    string
		pkt     []byte
		counted func() uint64 // nil: goes on
	}{
		{"UDP", udp(four), nil},
		{"UDP over IPv6", udp(six), nil},
		{"an echo", six.AppendEcho(nil, packet.Echo{ID: 1}), nil},
		{"a fragment", fragment.Append(nil), nil},
		{"multicast", udp(to(four, "224.0.0.251")), n.group.Load},
		{"broadcast", udp(to(four, "255.255.255.255")), n.group.Load},
		{"multicast over IPv6", udp(to(six, "ff02::fb")), n.group.Load},
		{"link-local", udp(to(six, "fe80::1")), n.group.Load},
		{"TCP to a group", segment(from4(1), netip.MustParseAddrPort("224.0.0.1:80"), syn, 1), n.group.Load},
		{"TCP to a group over IPv6", segment(from6(1), netip.MustParseAddrPort("[ff02::1]:80"), syn, 1), n.group.Load},
		{"to ourselves", udp(to(four, "198.18.0.2")), n.own.Load},
		{"to ourselves over IPv6", udp(to(six, "fd00::2")), n.own.Load},
		{"a SYN to ourselves", segment(from4(1), from4(80), syn, 1), n.own.Load},
		{"from a stranger", udp(stranger), n.foreign.Load},
		{"nothing", nil, n.malformed.Load},
		{"no IP", []byte("nonsense"), n.malformed.Load},
		{"cut", udp(four)[:24], n.malformed.Load},
		{"cut TCP", segment(from4(1), target4, syn, 1)[:30], n.malformed.Load},
		{"cut TCP over IPv6", segment(from6(1), target6, syn, 1)[:50], n.malformed.Load},
		{"damaged TCP", damaged, n.malformed.Load},
		{"a damaged header", header4, n.malformed.Load},
		{"a fragment of TCP", tcpFragment.Append(nil), n.malformed.Load},
		{"a SYN to no port", segment(from4(1), netip.AddrPortFrom(target4.Addr(), 0), syn, 1), n.malformed.Load},
	} {
		before := uint64(0)
		if c.counted != nil {
			before = c.counted()
		}
		b.in <- c.pkt
		if offers := b.settle(); offers > 0 {
			t.Fatalf("%s: an offer", c.what)
		}
		switch {
		case c.counted != nil && (len(got) > 0 || c.counted() != before+1):
			t.Errorf("%s: not dropped or not counted: %+v", c.what, b.capture.Counters())
		case c.counted == nil:
			if pkt := <-got; !bytes.Equal(pkt, c.pkt) {
				t.Errorf("%s: %x became %x", c.what, c.pkt, pkt)
			}
		}
	}
}

// TCP behind options or extension headers is TCP.
func TestOptions(t *testing.T) {
	b := newBare(t, nil)
	plain := segment(from4(1), target4, syn, 1)
	options := append(bytes.Clone(plain[:20]), 1, 1, 1, 0)
	options = append(options, plain[20:]...)
	ip := header.IPv4(options)
	options[0] = 0x46
	ip.SetTotalLength(uint16(len(options)))
	ip.SetChecksum(0)
	ip.SetChecksum(^ip.CalculateChecksum())
	b.in <- options
	if o := next(t, b.capture); o.Target() != target4 {
		t.Errorf("%v", o.Target())
	}
	plain = segment(from6(1), target6, syn, 1)
	extended := append(bytes.Clone(plain[:40]), wire.TCP, 0, 1, 4, 0, 0, 0, 0)
	extended = append(extended, plain[40:]...)
	extended[6] = 60 // destination options
	header.IPv6(extended).SetPayloadLength(uint16(len(extended) - 40))
	b.in <- extended
	if o := next(t, b.capture); o.Target() != target6 {
		t.Errorf("%v", o.Target())
	}
}

// Injected packets reach the device as they are, in order, and never more than there is room for.
func TestInject(t *testing.T) {
	b := newBare(t, nil)
	p := packet.Packet{Source: target4.Addr(), Target: host4}
	var want [][]byte
	for i := range 300 {
		want = append(want, p.AppendUDP(nil, uint16(i), 2000, make([]byte, i)))
	}
	b.capture.Inject(want)
	clear(want[0][20:]) // it was copied
	for i := range want {
		if _, pkt := b.answer(); i > 0 && !bytes.Equal(pkt, want[i]) || i == 0 && bytes.Equal(pkt, want[0]) {
			t.Fatalf("packet %d became %x", i, pkt)
		}
	}
	b.capture.Inject([][]byte{nil, make([]byte, 70000)})
	if n := b.capture.Counters().Inject; n != 2 {
		t.Errorf("%d dropped of two that are none", n)
	}
	q := newQueue(&b.capture.counters)
	for range injectMax + 5 {
		q.inject(want[:1])
	}
	if n := b.capture.Counters().Inject; n != 2+5 || len(q.packets) != injectMax {
		t.Errorf("%d dropped of 5 too many, %d kept", n-2, len(q.packets))
	}
}

// When Run ends the applications hear it, waiting calls return, and nothing goes on.
func TestRunEnds(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("captures", func(t *testing.T) {
		newHost(t, 1500, nil).connect(target6)
		b := newBare(t, nil)
		b.send(from4(1), target4, syn, 1)
		b.send(from4(2), target4, syn, 1)
		accepting, waiting := next(t, b.capture), next(t, b.capture)
		accepted, accept := make(chan error), make(chan error)
		go func() { _, err := accepting.Accept(); accepted <- err }() // the application is silent
		go func() { _, err := b.capture.Accept(context.Background()); accept <- err }()
		b.answer()
		b.stop()
		if err := <-accepted; err == nil {
			t.Error("Accept of an offer succeeded")
		}
		if err := <-accept; err != net.ErrClosed {
			t.Errorf("Accept: %v", err)
		}
		<-waiting.Gone()
	})
	// The stack's own workers end a moment after it says that they do.
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); runtime.Gosched() {
		if runtime.NumGoroutine() <= before {
			return
		}
	}
	all := make([]byte, 1<<20)
	t.Errorf("goroutines are left:\n%s", all[:runtime.Stack(all, true)])
}

func TestRunResetsStreams(t *testing.T) {
	var a app
	var s *Stream
	h := newHost(t, 1500, nil)
	a, s = h.connect(target4)
	h.stop()
	a.over()
	if _, err := s.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("Read: %v", err)
	}
}

// broken is a device that fails.
type broken struct{ *memory }

var errBroken = errors.New("it smokes")

func (broken) Read([][]byte, []int, int) (int, error) { return 0, errBroken }

func TestDeviceFails(t *testing.T) {
	c, err := New(Config{Device: broken{newMemory(1500, nil)}})
	must(t, err)
	if err := c.Run(t.Context()); !errors.Is(err, errBroken) {
		t.Errorf("Run: %v", err)
	}
	if n := c.Counters().DeviceErrors; n != failuresMax {
		t.Errorf("gave up after %d", n)
	}
	if _, err := New(Config{Device: newMemory(100, nil)}); err == nil {
		t.Error("a device with an MTU of 100")
	}
}
