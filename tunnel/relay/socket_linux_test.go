package relay

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tandem/tunnel/packet"
)

const patience = 10 * time.Second

var (
	loop4 = netip.MustParseAddr("127.0.0.1")
	loop6 = netip.IPv6Loopback()
)

// A liveLane is Datagrams with the host's own sockets, and what the client hears.
type liveLane struct {
	*Datagrams
	t     *testing.T
	heard chan []byte
}

func live(t *testing.T) *liveLane {
	before := runtime.NumGoroutine()
	l := &liveLane{t: t, heard: make(chan []byte, 100)}
	l.Datagrams = NewDatagrams(DatagramsConfig{
		Host4: host4, Host6: host6, Hub4: hub4, Hub6: hub6, MTU: 1400,
		Send: func(pkts [][]byte) {
			for _, pkt := range pkts {
				l.heard <- bytes.Clone(pkt)
			}
		},
	})
	t.Cleanup(func() {
		l.Close()
		for began := time.Now(); runtime.NumGoroutine() > before; runtime.Gosched() {
			if time.Since(began) > patience {
				t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
			}
		}
	})
	return l
}

func (l *liveLane) next() packet.Packet {
	l.t.Helper()
	var p packet.Packet
	select {
	case pkt := <-l.heard:
		if err := p.Parse(pkt); err != nil {
			l.t.Fatal(err)
		}
	case <-time.After(patience):
		l.t.Fatalf("nothing heard: %+v", l.Stats())
	}
	return p
}

func (l *liveLane) wantError(from netip.Addr, kind packet.Kind, about []byte) packet.Packet {
	l.t.Helper()
	p := l.next()
	checkError(l.t, p, from, kind, about)
	return p
}

// listenUDP is a server on the loopback of a family; the test is skipped where there is none.
func listenUDP(t *testing.T, at netip.Addr) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
	if err != nil {
		t.Skipf("no %v here: %v", at, err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c, c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// What the client says of TTL and TOS is on the wire, a hop later, and what the target says comes back.
func TestLiveUDP(t *testing.T) {
	for _, at := range []netip.Addr{loop4, loop6} {
		t.Run(at.String(), func(t *testing.T) {
			server, target := listenUDP(t, at)
			raw, _ := server.SyscallConn()
			raw.Control(func(fd uintptr) {
				unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_RECVTTL, 1)
				unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_RECVTOS, 1)
				unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
				unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_RECVTCLASS, 1)
				if at.Is4() {
					unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TOS, 0x2e)
					unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TTL, 77)
				} else {
					unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_TCLASS, 0x2e)
					unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS, 77)
				}
			})
			l := live(t)
			p := from(at)
			for _, ttl := range []uint8{9, 8} {
				p.TTL, p.DF = ttl, ttl == 9
				l.Receive([][]byte{p.AppendUDP(nil, 4000, target.Port(), []byte("question"))})
				b, control := make([]byte, 100), make([]byte, 200)
				n, m, _, client, err := server.ReadMsgUDPAddrPort(b, control)
				if err != nil || string(b[:n]) != "question" {
					t.Fatalf("%q, %v", b[:n], err)
				}
				var a arrival
				a.read(control[:m])
				if a.ttl != ttl-1 || a.tos != 0xb9 {
					t.Errorf("TTL %d, TOS %x", a.ttl, a.tos)
				}
				server.WriteToUDPAddrPort([]byte("answer"), client)
				q := l.next()
				source, port, payload, err := q.UDP()
				if err != nil || source != target.Port() || port != 4000 || string(payload) != "answer" || q.Source != at {
					t.Errorf("heard %+v, %v", q, err)
				}
				if q.TTL != 76 || q.TOS != 0x2e {
					t.Errorf("heard TTL %d, TOS %x", q.TTL, q.TOS)
				}
			}
		})
	}
}

// IPv6 that was cut before is cut again where that is needed, whatever went before it; what was not is told to be too big.
func TestLiveLongIPv6(t *testing.T) {
	server, target := listenUDP(t, loop6)
	long := make([]byte, 65500) // with headers more than the loopback takes
	for _, known := range []int{1 << 17, 1400} {
		l := live(t)
		l.cfg.MTU = known // nothing has come yet
		send := func(payload []byte) []byte {
			pkt := from(loop6).AppendUDP(nil, 4000, target.Port(), payload)
			l.Receive([][]byte{pkt})
			return pkt
		}
		arrives := func(payload []byte) {
			t.Helper()
			if n, _, err := server.ReadFromUDPAddrPort(make([]byte, len(long)+1)); n != len(payload) || err != nil {
				t.Errorf("%d octets of %d came, %v", n, len(payload), err)
			}
		}
		send(long[:100])
		arrives(long[:100])
		pkt := send(long)
		if known > len(pkt) {
			l.wantError(hub6, packet.TooBig, pkt)
		} else {
			arrives(long)
		}
	}
}

// Two targets see one port; a third that was not asked is not heard.
func TestLiveMappingAndFiltering(t *testing.T) {
	l := live(t)
	one, target1 := listenUDP(t, loop4)
	two, target2 := listenUDP(t, netip.MustParseAddr("127.0.0.2"))
	three, _ := listenUDP(t, netip.MustParseAddr("127.0.0.3"))
	var clients []netip.AddrPort
	for i, c := range []*net.UDPConn{one, two} {
		target := []netip.AddrPort{target1, target2}[i]
		l.Receive([][]byte{from(target.Addr()).AppendUDP(nil, 4000, target.Port(), []byte("x"))})
		_, client, err := c.ReadFromUDPAddrPort(make([]byte, 10))
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, client)
	}
	if clients[0].Port() != clients[1].Port() {
		t.Errorf("%v", clients)
	}
	three.WriteToUDPAddrPort([]byte("unasked"), netip.AddrPortFrom(loop4, clients[0].Port()))
	one.WriteToUDPAddrPort([]byte("asked"), clients[0])
	if p := l.next(); p.Source != target1.Addr() {
		t.Errorf("heard %v", p.Source)
	}
	if s := l.Stats(); s.Filtered != 1 {
		t.Errorf("%+v", s)
	}
}

// Nobody listens: the client hears so from the target, each time.
func TestLivePortUnreachable(t *testing.T) {
	for _, at := range []netip.Addr{loop4, loop6} {
		t.Run(at.String(), func(t *testing.T) {
			server, target := listenUDP(t, at)
			server.Close()
			l := live(t)
			for _, text := range []string{"one", "two", "three"} {
				pkt := from(at).AppendUDP(nil, 4000, target.Port(), []byte(text))
				l.Receive([][]byte{pkt})
				l.wantError(at, packet.NoPort, pkt)
			}
		})
	}
}

// A burst: errors of some do not eat others.
func TestLiveErrorsAmongDatagrams(t *testing.T) {
	l := live(t)
	server, good := listenUDP(t, loop4)
	gone, bad := listenUDP(t, loop4)
	gone.Close()
	var pkts [][]byte
	for range 20 {
		pkts = append(pkts, from(loop4).AppendUDP(nil, 4000, bad.Port(), []byte("bad")), from(loop4).AppendUDP(nil, 4000, good.Port(), []byte("good")))
	}
	l.Receive(pkts)
	for i := range 20 {
		if _, _, err := server.ReadFromUDPAddrPort(make([]byte, 10)); err != nil {
			t.Fatalf("%d arrived: %v", i, err)
		}
	}
}

// A datagram and its answer cost a handful of small allocations, none of them a buffer.
func BenchmarkLiveUDP(b *testing.B) {
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	heard := make(chan int, 100)
	d := NewDatagrams(DatagramsConfig{Host4: host4, Hub4: hub4, MTU: 1400, Send: func(pkts [][]byte) { heard <- len(pkts) }})
	defer d.Close()
	target := server.LocalAddr().(*net.UDPAddr).AddrPort()
	pkts := [][]byte{from(loop4).AppendUDP(nil, 4000, target.Port(), make([]byte, 1200))}
	buf := make([]byte, 2000)
	b.ReportAllocs()
	for b.Loop() {
		d.Receive(pkts)
		n, client, err := server.ReadFromUDPAddrPort(buf)
		if err != nil {
			b.Fatal(err)
		}
		server.WriteToUDPAddrPort(buf[:n], client)
		<-heard
	}
}

func needEcho(t *testing.T, v4 bool) {
	t.Helper()
	s, err := openSocket(key{v4: v4, echo: true})
	if err != nil {
		t.Skipf("no echo here: %v", err)
	}
	s.close()
}

func TestLiveEcho(t *testing.T) {
	for _, at := range []netip.Addr{loop4, loop6} {
		t.Run(at.String(), func(t *testing.T) {
			needEcho(t, at.Is4())
			listenUDP(t, at)
			l := live(t)
			for id := range uint16(3) {
				for seq := range uint16(3) {
					l.Receive([][]byte{from(at).AppendEcho(nil, packet.Echo{ID: 100 + id, Seq: seq, Payload: []byte("ping")})})
					p := l.next()
					if e, err := p.Echo(); err != nil || !e.Reply || e.ID != 100+id || e.Seq != seq || string(e.Payload) != "ping" || p.Source != at {
						t.Fatalf("heard %+v, %v", e, err)
					}
				}
			}
		})
	}
}

// A router sees what passes the loopback, and complains from an address of its own.
type router struct {
	t         *testing.T
	sees, own int
}

var routerAddr = netip.MustParseAddr("127.0.0.9")

func newRouter(t *testing.T, protocol int) *router {
	t.Helper()
	r := &router{t: t}
	for fd, protocol := range map[*int]int{&r.sees: protocol, &r.own: unix.IPPROTO_RAW} {
		var err error
		if *fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol); err != nil {
			t.Skipf("needs raw sockets: %v", err)
		}
		t.Cleanup(func() { unix.Close(*fd) })
	}
	limit := unix.NsecToTimeval(int64(patience))
	unix.SetsockoptTimeval(r.sees, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	return r
}

// complain waits for the packet to a target that contains text.
func (r *router) complain(target netip.Addr, text string, kind packet.Kind, mtu int) {
	r.t.Helper()
	b := make([]byte, 65536)
	for {
		n, _, err := unix.Recvfrom(r.sees, b, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			r.t.Fatalf("nothing passed: %v", err)
		}
		var p packet.Packet
		reply := n > 20 && p.Parse(b[:n]) == nil && p.Protocol == unix.IPPROTO_ICMP && p.Body[0] == 0
		if reply || p.Target != target || !bytes.Contains(p.Body, []byte(text)) {
			continue
		}
		pkt := packet.AppendError(nil, routerAddr, kind, mtu, b[:min(n, 28)])
		if err := unix.Sendto(r.own, pkt, 0, &unix.SockaddrInet4{Addr: p.Source.As4()}); err != nil {
			r.t.Fatal(err)
		}
		return
	}
}

// What routers say of datagrams, with no more than the 8 octets that they must quote.
func TestLiveErrorsOfRouters(t *testing.T) {
	r := newRouter(t, unix.IPPROTO_UDP)
	// What the system comes to believe of the address it keeps for minutes, so the test has one of its own.
	_, target := listenUDP(t, netip.AddrFrom4([4]byte{127, 66, byte(rand.Uint32()), byte(1 + rand.Uint32N(254))}))
	l := live(t)
	p := from(target.Addr())
	var pkt []byte
	for _, kind := range []packet.Kind{packet.Expired, packet.NoHost, packet.NoNet, packet.Prohibited} {
		pkt = p.AppendUDP(nil, 4000, target.Port(), []byte("probe"))
		l.Receive([][]byte{pkt})
		r.complain(target.Addr(), "probe", kind, 0)
		l.wantError(routerAddr, kind, pkt)
	}
	long := p.AppendUDP(nil, 4000, target.Port(), make([]byte, 2000))
	l.Receive([][]byte{long})
	r.complain(target.Addr(), string(make([]byte, 2000)), packet.TooBig, 1300)
	told := l.wantError(routerAddr, packet.TooBig, long)
	l.Receive([][]byte{long}) // now the system knows
	again := l.wantError(hub4, packet.TooBig, long)
	for _, q := range []packet.Packet{told, again} {
		if mtu := binary.BigEndian.Uint16(q.Body[6:]); mtu != 1300 {
			t.Errorf("%v tells of MTU %d", q.Source, mtu)
		}
	}
	p.DF = false
	l.Receive([][]byte{p.AppendUDP(nil, 4000, target.Port(), make([]byte, 2000)), pkt})
	r.complain(target.Addr(), "probe", packet.Expired, 0)
	l.wantError(routerAddr, packet.Expired, pkt) // and of the one before nothing
}

func TestLiveErrorsOfEchoes(t *testing.T) {
	needEcho(t, true)
	r := newRouter(t, unix.IPPROTO_ICMP)
	l := live(t)
	for _, kind := range []packet.Kind{packet.Expired, packet.NoHost} {
		for id := range uint16(3) {
			pkt := from(loop4).AppendEcho(nil, packet.Echo{ID: id, Seq: 7, Payload: []byte("probe me")})
			l.Receive([][]byte{pkt})
			l.next() // the reply: the loopback is no router
			r.complain(loop4, "probe me", kind, 0)
			l.wantError(routerAddr, kind, pkt)
		}
	}
}
