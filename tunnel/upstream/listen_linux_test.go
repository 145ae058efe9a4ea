package upstream

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFastOpen: octets are taken with the SYN, without a cookie.
func TestFastOpen(t *testing.T) {
	l, err := Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		for option, want := range map[int]int{unix.TCP_FASTOPEN: fastOpens, unix.TCP_FASTOPEN_NO_COOKIE: 1} {
			switch got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option); {
			case err != nil:
				t.Skipf("the kernel does not tell: %v", err)
			case got != want:
				t.Errorf("option %d is %d, want %d", option, got, want)
			}
		}
	})
}

// TestSettle: who is established is not waited for, nor who is gone.
func TestSettle(t *testing.T) {
	l, err := Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, leaves := range []bool{false, true} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if leaves {
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
		start := time.Now()
		if Settle(got.(*net.TCPConn), time.Hour); time.Since(start) > time.Minute {
			t.Error("waited for")
		}
		got.Close()
		Settle(got.(*net.TCPConn), time.Hour)
		c.Close()
	}
}
