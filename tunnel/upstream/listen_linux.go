package upstream

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"time"

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

// Intervals at which Settle looks, which nothing tells.
const (
	settleLeast = 500 * time.Microsecond
	settleMost  = 4 * time.Millisecond
)

// Settle waits until the handshake of a connection is over whose SYN brought octets, or time has passed: what is written
// before to one of Multipath TCP Linux does not send when it is.
func Settle(c *net.TCPConn, patience time.Duration) {
	end := time.Now().Add(patience)
	for wait := settleLeast; !Settled(c) && time.Now().Before(end); wait = min(2*wait, settleMost) {
		time.Sleep(wait)
	}
}

// Settled reports whether the handshake of a connection is over, so that the client is where its address says.
func Settled(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	var info *unix.TCPInfo
	wrong := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	return wrong != nil || err != nil || info.State != unix.BPF_TCP_SYN_RECV
}
