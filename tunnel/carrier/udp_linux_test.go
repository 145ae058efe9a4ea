package carrier

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

func (h *host) sockets() []*socket { return h.Bind.(*udp).sockets }

// The answer comes from the address that was asked, though the system would choose another.
func TestAnswersFromWhereAsked(t *testing.T) {
	server, client := newHost(t, UDPConfig{}), newHost(t, UDPConfig{})
	asked := netip.MustParseAddr("127.0.0.77")
	client.Send([][]byte{[]byte("ask")}, server.at(asked))
	d := server.take(t)
	if d.from.SrcIP() != asked || d.from.SrcToString() != asked.String() {
		t.Errorf("asked at %v", d.from.SrcIP())
	}
	server.Send([][]byte{[]byte("answer"), []byte("more")}, d.from)
	for range 2 {
		if d := client.take(t); d.from.DstIP() != asked {
			t.Errorf("answered from %v", d.from.DstIP())
		}
	}
}

// An address that is ours no more is given up, and nothing is lost.
func TestSourceIsGone(t *testing.T) {
	server, client := newHost(t, UDPConfig{}), newHost(t, UDPConfig{})
	for _, c := range []struct{ dst, src string }{{"127.0.0.1", "192.0.2.77"}, {"::1", "2001:db8::77"}} {
		dst := netip.MustParseAddr(c.dst)
		if dst.Is6() && !hasIPv6() {
			continue
		}
		to := newEndpoint(netip.AddrPortFrom(dst, server.port), netip.MustParseAddr(c.src))
		if err := client.Send([][]byte{{1}, {2}, {3, 3}}, to); err != nil {
			t.Fatal(err)
		}
		for _, want := range [][]byte{{1}, {2}, {3, 3}} {
			if d := server.take(t); !bytes.Equal(d.octets, want) {
				t.Errorf("got %v, want %v", d.octets, want)
			}
		}
		if to.SrcIP().IsValid() {
			t.Error("not given up")
		}
	}
}

// Equal packets are one message for the system, and arrive the same without its help.
func TestCoalescing(t *testing.T) {
	bufs := make([][]byte, 100)
	for i := range bufs {
		bufs[i] = bytes.Repeat([]byte{byte(i)}, 1000)
	}
	bufs[70] = bufs[70][:10]
	o, to := newOutgoing(), newEndpoint(netip.AddrPortFrom(loop4, 1), loop4)
	var runs []int
	for _, m := range o.pack(bufs, to, true) {
		runs = append(runs, len(m.Buffers))
		if _, size := parseControl(m.OOB); len(m.Buffers) > 1 && size != 0 {
			t.Error("what is sent says what is received")
		}
	}
	if want := []int{64, 7, 29}; !slices.Equal(runs, want) {
		t.Errorf("runs of %v, want %v", runs, want)
	}
	if n := len(o.pack(bufs, to, false)); n != socketBatch {
		t.Errorf("%d messages", n)
	}

	for _, coalesce := range []bool{true, false} {
		server, client := newHost(t, UDPConfig{}), newHost(t, UDPConfig{})
		if !coalesce {
			for _, s := range client.sockets() {
				s.coalesces.Store(false)
			}
			for _, s := range server.sockets() {
				raw, _ := s.conn.SyscallConn()
				raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 0) })
			}
		}
		if err := client.Send(bufs, server.at(loop4)); err != nil {
			t.Fatal(err)
		}
		for i, want := range bufs {
			if d := server.take(t); !bytes.Equal(d.octets, want) {
				t.Fatalf("packet %d: %d octets", i, len(d.octets))
			}
		}
	}
}

// A system refuses some of what it is given.
type system struct {
	refuse func(m ipv6.Message) error
	took   [][]byte
	calls  int
}

func (s *system) ReadBatch([]ipv6.Message, int) (int, error) { panic("not read") }

func (s *system) WriteBatch(ms []ipv6.Message, _ int) (n int, err error) {
	s.calls++
	for _, m := range ms {
		if err := s.refuse(m); err != nil && n == 0 {
			return -1, os.NewSyscallError("sendmmsg", err)
		} else if err != nil {
			break
		}
		n++
		for _, b := range m.Buffers {
			s.took = append(s.took, bytes.Clone(b))
		}
	}
	return n, nil
}

func TestSystemRefuses(t *testing.T) {
	long := func(m ipv6.Message) error {
		if len(m.Buffers[0]) > 1000 {
			return unix.EMSGSIZE
		}
		return nil
	}
	for _, c := range []struct {
		what      string
		refuse    func(m ipv6.Message) error
		took      string // packets by their first octet
		failed    error
		coalesces bool // still
		calls     int
	}{
		{"nothing", func(ipv6.Message) error { return nil }, "abCDef", nil, true, 1},
		{"long ones", long, "abef", nil, true, 5},
		{"coalesced ones", func(m ipv6.Message) error {
			if len(m.Buffers) > 1 {
				return unix.EIO
			}
			return nil
		}, "abCDef", nil, false, 2},
		{"all but the first", func() func(ipv6.Message) error {
			n := 0
			return func(m ipv6.Message) error {
				if n++; n > 1 {
					return unix.EAGAIN
				}
				return nil
			}
		}(), "ab", nil, true, 2},
		{"all, having no room", func(ipv6.Message) error { return unix.ENOBUFS }, "", unix.ENOBUFS, true, 1},
		{"all, having no route", func(ipv6.Message) error { return unix.ENETUNREACH }, "", unix.ENETUNREACH, true, 3},
	} {
		fake := &system{refuse: c.refuse}
		s := &socket{batch: fake, outgoing: sync.Pool{New: func() any { return newOutgoing() }}}
		s.coalesces.Store(true)
		var bufs [][]byte
		for _, b := range []byte("abCDef") {
			n := 1000
			if b < 'a' {
				n = 2000
			}
			bufs = append(bufs, bytes.Repeat([]byte{b}, n))
		}
		err := s.send(bufs, newEndpoint(netip.AddrPortFrom(loop4, 1), loop4))
		took := ""
		for _, b := range fake.took {
			took += string(b[:1])
		}
		if took != c.took || !errors.Is(err, c.failed) || s.coalesces.Load() != c.coalesces || fake.calls != c.calls {
			t.Errorf("refused %s: took %q in %d calls, %v, coalesces: %v", c.what, took, fake.calls, err, s.coalesces.Load())
		}
	}
}

// No router may fragment what is sent, nor may this system: probes of the path's MTU must fail.
func TestSocketOptions(t *testing.T) {
	h := newHost(t, UDPConfig{})
	for _, s := range h.sockets() {
		raw, _ := s.conn.SyscallConn()
		raw.Control(func(f uintptr) {
			fd, level, name, want := int(f), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE
			if s.is4 {
				level, name, want = unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE
			}
			if got, _ := unix.GetsockoptInt(fd, level, name); got != want {
				t.Errorf("MTU discovery is %d", got)
			}
			if room, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF); room < 200<<10 {
				t.Errorf("room to receive %d octets", room)
			}
		})
	}
}

// A carrier's socket tied to a link reaches what is behind that link.
func TestPinnedToLoopback(t *testing.T) {
	pin := func(_, _ string, c syscall.RawConn) (err error) {
		c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "lo") })
		return err
	}
	b := UDP(UDPConfig{Pin: pin})
	if _, _, err := b.Open(0); errors.Is(err, unix.EPERM) {
		t.Skip("this system lets nobody but root choose a link")
	}
	b.Close()
	server, client := newHost(t, UDPConfig{}), newHost(t, UDPConfig{Pin: pin})
	if err := client.Send([][]byte{{7}}, server.at(loop4)); err != nil {
		t.Fatal(err)
	}
	server.Send([][]byte{{8}}, server.take(t).from)
	if d := client.take(t); d.octets[0] != 8 {
		t.Errorf("got %v", d.octets)
	}
}
