package upstream

import (
	"net"
	"net/netip"
	"testing"

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
