//go:build !linux

package upstream

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Listen listens for connections of TCP: this system has no Multipath TCP of its own.
func Listen(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	var cfg net.ListenConfig
	return cfg.Listen(ctx, "tcp", at.String())
}

// Settle returns at once: no SYN brings octets.
func Settle(*net.TCPConn, time.Duration) {}

// Settled is always so.
func Settled(*net.TCPConn) bool { return true }
