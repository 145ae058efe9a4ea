package upstream

import (
	"context"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// fastOpens is how many connections may have brought octets with their SYN and not be established.
const fastOpens = 256

// Listen listens for connections of Multipath TCP and of TCP, and takes what comes with a SYN, without a cookie, as the
// clients of converters want it (RFC 8803 appendix A), where the kernel lets it.
func Listen(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	cfg := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN, fastOpens)
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN_NO_COOKIE, 1)
		})
	}}
	cfg.SetMultipathTCP(true)
	return cfg.Listen(ctx, "tcp", at.String())
}
