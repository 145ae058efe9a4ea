package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"tandem/engine/wire"
	"tandem/tunnel/packet"
)

// A bare device has no TCP on the other side, but the test's own packets.
type bare struct {
	*memory
	t       testing.TB
	written chan []byte
	capture *Capture
	stop    func()
}

func newBare(t testing.TB, change func(*Config)) *bare {
	b := &bare{t: t, written: make(chan []byte, 4096)}
	b.memory = newMemory(1500, func(pkt []byte) { b.written <- bytes.Clone(pkt) })
	b.capture, b.stop = start(t, b.memory, change)
	offers := b.capture.offers
	offers.mu.Lock()
	defer offers.mu.Unlock()
	offers.sweeper = time.NewTimer(0) // sweeps nothing: on a slow machine a test takes longer than an application's patience
	return b
}

// segment is a packet from an application.
func segment(source, target netip.AddrPort, flags header.TCPFlags, seq uint32) []byte {
	body := header.TCP(make([]byte, header.TCPMinimumSize))
	body.Encode(&header.TCPFields{SrcPort: source.Port(), DstPort: target.Port(), SeqNum: seq,
		DataOffset: header.TCPMinimumSize, Flags: flags, WindowSize: 65535})
	p := packet.Packet{Source: source.Addr(), Target: target.Addr(), Protocol: wire.TCP, Body: body}
	pkt := p.Append(nil)
	l3, addresses := 20, pkt[12:20]
	if source.Addr().Is6() {
		l3, addresses = 40, pkt[8:40]
	}
	header.TCP(pkt[l3:]).SetChecksum(^sum(addresses, body))
	return pkt
}

func (b *bare) send(source, target netip.AddrPort, flags header.TCPFlags, seq uint32) []byte {
	pkt := segment(source, target, flags, seq)
	b.in <- pkt
	return pkt
}

const syn, rst = header.TCPFlagSyn, header.TCPFlagRst

func from4(port uint16) netip.AddrPort { return netip.AddrPortFrom(host4, port) }
func from6(port uint16) netip.AddrPort { return netip.AddrPortFrom(host6, port) }

// answer is the next packet for applications, which must be well formed.
func (b *bare) answer() (packet.Packet, []byte) {
	b.t.Helper()
	select {
	case pkt := <-b.written:
		var p packet.Packet
		must(b.t, p.Parse(pkt))
		return p, pkt
	case <-time.After(10 * time.Second):
		b.t.Fatal("no answer")
		panic("")
	}
}

// settle returns when all that was sent before was dealt with, and counts what is waiting.
func (b *bare) settle() int {
	b.t.Helper()
	const mark = 9
	b.in <- segment(from4(mark), netip.MustParseAddrPort("203.0.113.9:9"), header.TCPFlagAck, 7)
	if p, _ := b.answer(); p.Protocol != wire.TCP || header.TCP(p.Body).DestinationPort() != mark {
		b.t.Fatalf("an answer that was not expected: %+v", p)
	}
	b.capture.offers.mu.Lock()
	defer b.capture.offers.mu.Unlock()
	return len(b.capture.offers.waiting)
}

// What made dialing fail is what the application hears.
func TestRefuse(t *testing.T) {
	b := newBare(t, nil)
	reset := -1
	for i, c := range []struct {
		why          error
		icmp4, code4 int
		icmp6, code6 int
	}{
		{why: &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, icmp4: reset, icmp6: reset},
		{why: errors.New("anything else"), icmp4: reset, icmp6: reset},
		{why: nil, icmp4: reset, icmp6: reset},
		{why: net.ErrClosed, icmp4: reset, icmp6: reset},
		{why: syscall.EHOSTUNREACH, icmp4: 3, code4: 1, icmp6: 1, code6: 3},
		{why: fmt.Errorf("dial: %w", syscall.ENETUNREACH), icmp4: 3, code4: 0, icmp6: 1, code6: 0},
		{why: fmt.Errorf("reach: %w", os.ErrPermission), icmp4: 3, code4: 13, icmp6: 1, code6: 1},
		{why: context.DeadlineExceeded, icmp4: 3, code4: 1, icmp6: 1, code6: 3},
		{why: syscall.ETIMEDOUT, icmp4: 3, code4: 1, icmp6: 1, code6: 3},
	} {
		for _, f := range []struct {
			source, target netip.AddrPort
			icmp, code     int
			protocol       uint8
		}{
			{from4(uint16(1000 + i)), target4, c.icmp4, c.code4, wire.ICMPv4},
			{from6(uint16(1000 + i)), target6, c.icmp6, c.code6, wire.ICMPv6},
		} {
			asked := b.send(f.source, f.target, syn, 100)
			o := next(t, b.capture)
			o.Refuse(c.why)
			o.Refuse(c.why) // one answer is enough
			p, pkt := b.answer()
			if p.Source != f.target.Addr() || p.Target != f.source.Addr() {
				t.Errorf("%v: from %v to %v", c.why, p.Source, p.Target)
			}
			if f.icmp == reset {
				s := header.TCP(p.Body)
				if p.Protocol != wire.TCP || s.Flags() != rst|header.TCPFlagAck || s.AckNumber() != 101 {
					t.Errorf("%v: no reset but %x", c.why, pkt)
				}
			} else if p.Protocol != f.protocol || int(p.Body[0]) != f.icmp || int(p.Body[1]) != f.code || !bytes.Equal(p.Body[8:], asked) {
				t.Errorf("%v: %x", c.why, pkt)
			}
			if _, err := o.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept after Refuse: %v", err)
			}
		}
	}
	if n := b.settle(); n > 0 {
		t.Errorf("%d offers wait", n)
	}
}

// Repeats of a SYN are one offer; another SYN in its place is another, and a reset is the end of it.
func TestRepeats(t *testing.T) {
	b := newBare(t, nil)
	for range 3 {
		b.send(from4(1), target4, syn, 100)
	}
	first := next(t, b.capture)
	if n := b.settle(); n != 1 {
		t.Errorf("%d offers", n)
	}
	b.send(from4(1), target4, syn, 5000)
	<-first.Gone()
	second := next(t, b.capture)
	b.send(from4(1), target4, rst, 900) // of some other connection
	if n := b.settle(); n != 1 {
		t.Errorf("%d offers after a stray reset", n)
	}
	b.send(from4(1), target4, rst, 5001)
	<-second.Gone()
	for _, o := range []*Offer{first, second} {
		if _, err := o.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept of an offer that is gone: %v", err)
		}
		o.Refuse(syscall.ECONNREFUSED)
	}
	if n := b.settle(); n != 0 {
		t.Errorf("%d offers are left", n)
	}
	if n := b.capture.Counters(); n.Offers != 2 || n.Gone != 2 {
		t.Errorf("%+v", n)
	}
}

// An application that does not repeat its SYN is gone, one that does is not.
func TestSweep(t *testing.T) {
	b := newBare(t, nil)
	b.send(from4(1), target4, syn, 1)
	b.send(from6(2), target6, syn, 1)
	one, two := next(t, b.capture), next(t, b.capture)
	if one.source.Port() == 2 {
		one, two = two, one
	}
	start := time.Now()
	offers := b.capture.offers
	offers.mu.Lock()
	one.last, two.last, two.gap = start, start, 3*time.Second // a SYN 3 s after the first
	offers.mu.Unlock()
	for _, c := range []struct {
		after    time.Duration
		one, two bool
	}{{patience, false, false}, {patience + 1, true, false}, {patience + 6*time.Second, true, false}, {patience + 6*time.Second + 1, true, true}} {
		offers.sweep(start.Add(c.after))
		if b.gone(one) != c.one || b.gone(two) != c.two {
			t.Errorf("after %v: %v, %v", c.after, b.gone(one), b.gone(two))
		}
	}
}

// Whoever has gone is found out by itself, each time.
func TestSweeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		offers := newOffers(2, 2, new(counters))
		defer offers.close()
		for range 2 {
			began := time.Now()
			o := &Offer{last: began, gone: make(chan struct{})}
			offers.add(o)
			<-o.gone
			if took := time.Since(began); took <= patience || took > patience+sweepEvery {
				t.Errorf("found out after %v", took)
			}
			time.Sleep(time.Minute)
		}
	})
}

func (b *bare) gone(o *Offer) bool {
	select {
	case <-o.Gone():
		return true
	default:
		return false
	}
}

// SYNs that nobody answers are bounded, and where some are answered others take their places.
func TestBounds(t *testing.T) {
	b := newBare(t, func(c *Config) { c.SYNs, c.SYNsPerTarget = 100, 64 })
	for port := range 70 {
		b.send(from4(uint16(1000+port)), target4, syn, 1)
	}
	if n, counted := b.settle(), b.capture.Counters().SYNsPerTarget; n != 64 || counted != 6 {
		t.Errorf("%d offers of one target, %d dropped", n, counted)
	}
	for i := range 2000 {
		b.send(from6(uint16(1+i)), netip.AddrPortFrom(target6.Addr(), uint16(1+i/64)), syn, 1)
	}
	if n, counted := b.settle(), b.capture.Counters().SYNs; n != 100 || counted != 2000-36 {
		t.Errorf("%d offers, %d dropped", n, counted)
	}
	o := next(t, b.capture)
	o.Refuse(errors.New("no"))
	b.answer()
	b.send(from4(5), netip.MustParseAddrPort("192.0.2.2:80"), syn, 1)
	if n := b.settle(); n != 100 {
		t.Errorf("%d offers after one was answered", n)
	}
	for range 100 {
		next(t, b.capture).Refuse(errors.New("no"))
		b.answer()
	}
	b.settle()
	offers := b.capture.offers
	offers.mu.Lock()
	defer offers.mu.Unlock()
	if len(offers.waiting)+len(offers.targets)+len(offers.ready) != 0 {
		t.Errorf("%d, %d, %d are left", len(offers.waiting), len(offers.targets), len(offers.ready))
	}
}

// Gone offers do not fill memory when nobody accepts.
func TestNobodyAccepts(t *testing.T) {
	b := newBare(t, func(c *Config) { c.SYNs = 10 })
	for port := range 100 {
		b.send(from4(uint16(1000+port)), target4, syn, 1)
		b.send(from4(uint16(1000+port)), target4, rst, 2)
	}
	if n := b.settle(); n > 10 {
		t.Errorf("%d offers", n)
	}
	if n := len(b.capture.offers.ready); n > 10 {
		t.Errorf("%d are ready", n)
	}
}

// What Config.Refuse says is heard at once, and nobody is offered anything.
func TestRefuseAtOnce(t *testing.T) {
	b := newBare(t, func(c *Config) {
		c.Packets = func([][]byte) { t.Error("a packet went on") }
		c.Refuse = func(target netip.AddrPort) error {
			if target.Addr().Is6() {
				return syscall.ENETUNREACH
			}
			return nil
		}
	})
	for _, asked := range [][]byte{
		segment(from6(1), target6, syn, 1),
		(&packet.Packet{Source: host6, Target: target6.Addr()}).AppendUDP(nil, 1, 53, []byte("who")),
	} {
		b.in <- asked
		if p, pkt := b.answer(); p.Protocol != wire.ICMPv6 || p.Body[0] != 1 || p.Body[1] != 0 || !bytes.Equal(p.Body[8:], asked) {
			t.Errorf("%x", pkt)
		}
	}
	b.send(from4(1), target4, syn, 1)
	if o := next(t, b.capture); o.Target() != target4 {
		t.Errorf("an offer of %v", o.Target())
	}
	if n := b.capture.Counters().Refused; n != 2 {
		t.Errorf("%d refused", n)
	}
}

// An application that went away before the handshake is an error of Accept.
func TestHandshakeFails(t *testing.T) {
	b := newBare(t, nil)
	b.send(from4(1), target4, syn, 100)
	o := next(t, b.capture)
	failed := make(chan error)
	go func() { _, err := o.Accept(); failed <- err }()
	p, _ := b.answer()
	if s := header.TCP(p.Body); s.Flags() != syn|header.TCPFlagAck || s.AckNumber() != 101 {
		t.Errorf("no SYN/ACK but %x", p.Body)
	}
	b.send(from4(1), target4, rst, 101)
	if err := <-failed; !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.ECONNABORTED) {
		t.Errorf("Accept: %v", err)
	}
}
