package carrier

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

var (
	loop4 = netip.MustParseAddr("127.0.0.1")
	loop6 = netip.IPv6Loopback()
)

// A datagram is what a Bind received.
type datagram struct {
	octets []byte
	from   conn.Endpoint
}

// A host is an open Bind and what it receives.
type host struct {
	conn.Bind
	port    uint16
	arrived chan datagram
	ended   chan error // one for each receiver
}

func newHost(t *testing.T, cfg UDPConfig) *host {
	t.Helper()
	h := &host{Bind: UDP(cfg), arrived: make(chan datagram, 1<<12), ended: make(chan error, 2)}
	receivers, port, err := h.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	h.port = port
	for _, receive := range receivers {
		go func() {
			bufs, sizes := make([][]byte, h.BatchSize()), make([]int, h.BatchSize())
			eps := make([]conn.Endpoint, h.BatchSize())
			for i := range bufs {
				bufs[i] = make([]byte, 1<<16)
			}
			for {
				n, err := receive(bufs, sizes, eps)
				if err != nil {
					h.ended <- err
					return
				}
				for i := range n {
					h.arrived <- datagram{bytes.Clone(bufs[i][:sizes[i]]), eps[i]}
				}
			}
		}()
	}
	return h
}

func (h *host) at(addr netip.Addr) conn.Endpoint {
	e, _ := h.ParseEndpoint(netip.AddrPortFrom(addr, h.port).String())
	return e
}

func (h *host) take(t *testing.T) datagram {
	t.Helper()
	select {
	case d := <-h.arrived:
		return d
	case <-time.After(5 * time.Second):
		t.Fatal("nothing arrived")
		panic("unreachable")
	}
}

func hasIPv6() bool {
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err == nil {
		c.Close()
	}
	return err == nil
}

// Both families reach a Bind at one port, and are answered from where they asked.
func TestBothFamilies(t *testing.T) {
	server, client := newHost(t, UDPConfig{}), newHost(t, UDPConfig{})
	for _, addr := range []netip.Addr{loop4, loop6} {
		if addr.Is6() && !hasIPv6() {
			continue
		}
		if err := client.Send([][]byte{[]byte("ask")}, server.at(addr)); err != nil {
			t.Fatal(err)
		}
		d := server.take(t)
		if string(d.octets) != "ask" || d.from.DstIP() != addr || d.from.DstToString() != netip.AddrPortFrom(addr, client.port).String() {
			t.Errorf("%q from %v", d.octets, d.from.DstToString())
		}
		server.Send([][]byte{[]byte("answer")}, d.from)
		if d := client.take(t); string(d.octets) != "answer" || d.from.DstIP() != addr {
			t.Errorf("%q from %v", d.octets, d.from.DstToString())
		}
	}
}

// Whatever lengths follow each other, all packets arrive in order and whole.
func TestManyPackets(t *testing.T) {
	server, client := newHost(t, UDPConfig{}), newHost(t, UDPConfig{})
	alike := make([]int, 128)
	for i := range alike {
		alike[i] = 1432
	}
	for name, lengths := range map[string][]int{
		"alike":       alike,
		"last short":  {1432, 1432, 1432, 32},
		"short first": {32, 1432, 1432, 148, 1432, 32, 32, 1432},
		"one":         {92},
		"long":        {40000, 40000, 65000, 65000, 1},
	} {
		for _, addr := range []netip.Addr{loop4, loop6} {
			if addr.Is6() && !hasIPv6() {
				continue
			}
			t.Run(fmt.Sprint(name, " ", addr), func(t *testing.T) {
				var pkts [][]byte
				for i, n := range lengths {
					pkt := bytes.Repeat([]byte{byte(i)}, n)
					pkts = append(pkts, pkt)
				}
				for bufs := range slices.Chunk(pkts, client.BatchSize()) {
					if err := client.Send(bufs, server.at(addr)); err != nil {
						t.Fatal(err)
					}
				}
				for i, want := range pkts {
					if got := server.take(t); !bytes.Equal(got.octets, want) {
						t.Fatalf("packet %d: %d octets of %d, want %d of %d", i, len(got.octets), got.octets[0], len(want), i)
					}
				}
			})
		}
	}
}

// What the network does not take is lost, and what it takes afterwards arrives.
func TestNetworkErrors(t *testing.T) {
	server, client := newHost(t, UDPConfig{}), newHost(t, UDPConfig{Listen: netip.AddrPortFrom(loop4, 0)})
	nowhere := server.at(netip.MustParseAddr("192.0.2.1")) // not from a loopback address
	for range 20 {
		if err := client.Send([][]byte{{1}, {2}}, nowhere); err == nil {
			t.Skip("the network takes anything")
		}
	}
	if err := client.Send([][]byte{{1}}, server.at(loop6)); !errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Errorf("a family that is not there: %v", err)
	}
	nobody := newHost(t, UDPConfig{})
	nobody.Close()
	for range 5 {
		client.Send([][]byte{{1}}, nobody.at(loop4)) // its port is closed, as ICMP says
	}
	client.Send([][]byte{{9}}, server.at(loop4))
	if d := server.take(t); d.octets[0] != 9 {
		t.Errorf("got %v", d.octets)
	}
	server.Send([][]byte{{8}}, client.at(loop4))
	if d := client.take(t); d.octets[0] != 8 {
		t.Errorf("got %v", d.octets)
	}
}

// A packet too long for any datagram is lost alone.
func TestTooLong(t *testing.T) {
	server, client := newHost(t, UDPConfig{}), newHost(t, UDPConfig{})
	bufs := [][]byte{{1}, make([]byte, 1<<16), make([]byte, 1<<16), {4}}
	for pkts := range slices.Chunk(bufs, client.BatchSize()) {
		client.Send(pkts, server.at(loop4))
	}
	for _, want := range []byte{1, 4} {
		if d := server.take(t); !bytes.Equal(d.octets, []byte{want}) {
			t.Errorf("got %d octets, want %d", len(d.octets), want)
		}
	}
}

func TestListen(t *testing.T) {
	free := newHost(t, UDPConfig{Listen: netip.AddrPortFrom(loop4, 0)})
	taken := netip.AddrPortFrom(loop4, free.port)
	if _, _, err := UDP(UDPConfig{Listen: taken}).Open(0); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a taken port: %v", err)
	}
	if _, _, err := free.Open(0); !errors.Is(err, conn.ErrBindAlreadyOpen) {
		t.Errorf("opened twice: %v", err)
	}
	free.Close()
	if err := <-free.ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("receiver ended with %v", err)
	}
	if err := free.Send([][]byte{{1}}, free.at(loop4)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("sending after Close: %v", err)
	}
	b := UDP(UDPConfig{Listen: taken})
	for range 2 { // and again after Close
		if receivers, port, err := b.Open(1); err != nil || port != taken.Port() || len(receivers) != 1 {
			t.Errorf("%d receivers at %d, %v", len(receivers), port, err)
		}
		b.Close()
	}
}

// Pin sees each socket before it is bound, and its refusal is Open's.
func TestPin(t *testing.T) {
	var seen []string
	b := UDP(UDPConfig{Pin: func(network, address string, c syscall.RawConn) error {
		seen = append(seen, network)
		return c.Control(func(uintptr) {})
	}})
	if _, _, err := b.Open(0); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if want := []string{"udp4", "udp6"}; !slices.Equal(seen, want) && hasIPv6() {
		t.Errorf("pinned %q", seen)
	}
	no := errors.New("no such link")
	refusing := UDP(UDPConfig{Pin: func(string, string, syscall.RawConn) error { return no }})
	if _, _, err := refusing.Open(0); !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
}

func TestForeignEndpoint(t *testing.T) {
	h := newHost(t, UDPConfig{})
	if err := h.Send([][]byte{{1}}, &conn.StdNetEndpoint{}); !errors.Is(err, conn.ErrWrongEndpointType) {
		t.Errorf("got %v", err)
	}
	if _, err := h.ParseEndpoint("hub.example:1"); err == nil {
		t.Error("took a name")
	}
}

// A receiver ends with its socket and with nothing else.
func TestReceiverSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, calls := time.Now(), 0
		receive := survive(func([][]byte, []int, []conn.Endpoint) (int, error) {
			if calls++; calls <= 100 {
				return 0, syscall.ENETDOWN
			}
			return 7, nil
		})
		if n, err := receive(nil, nil, nil); n != 7 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
		if took := time.Since(start); took < time.Second || took > 2*time.Second {
			t.Errorf("100 failures took %v", took)
		}
		ended := survive(func([][]byte, []int, []conn.Endpoint) (int, error) { return 0, net.ErrClosed })
		if _, err := ended(nil, nil, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

// Packets from one place share an endpoint, until its source is given up; strangers do not fill memory.
func TestKnownEndpoints(t *testing.T) {
	var k known
	place := func(i int) netip.AddrPort { return netip.AddrPortFrom(loop4, uint16(i)) }
	a := k.endpoint(place(1), loop4)
	if k.endpoint(place(2), loop4) == a || k.endpoint(place(1), loop4) != a || k.endpoint(place(1), loop6) == a {
		t.Error("endpoints are not their places")
	}
	if n := testing.AllocsPerRun(100, func() { k.endpoint(place(1), loop4); k.endpoint(place(2), loop4) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	a.ClearSrc()
	if a.SrcToString() != "" || a.SrcIP().IsValid() {
		t.Error("kept its source")
	}
	if k.endpoint(place(1), loop4) == a {
		t.Error("its source stays given up")
	}
	for i := range 10 * knownMax {
		k.endpoint(place(i), loop4)
	}
	if len(k.all) > knownMax {
		t.Errorf("%d are known", len(k.all))
	}
	if got := a.DstToBytes(); len(got) != 6 || binary.LittleEndian.Uint16(got[4:]) != 1 {
		t.Errorf("cookies are bound to %x", got)
	}
}
