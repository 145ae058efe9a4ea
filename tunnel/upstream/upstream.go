// Package upstream asks proxies of other makes for connections, over streams that others open: SOCKS5 (RFC 1928, with the
// passwords of RFC 1929) and Convert (RFC 8803). Its dialers are relay.Dialers, and their errors those of a relay.
//
//	relay ─ Dial ─► SOCKS ───┬─ Opener ─► stream to the proxy ═► target
//	              ► Convert ─┘           (or to the target, where no converter is wanted)
//
// What a proxy says is read to its last octet and no further, so that the stream is the target's when Dial returns.
package upstream

import (
	"context"
	"net/netip"
	"time"

	"tandem/tunnel/relay"
)

// An Opener opens a stream to an address, to which first is written as early as can be, and returns once the other end has
// answered. It does not keep first.
type Opener func(ctx context.Context, to netip.AddrPort, first []byte) (relay.Stream, error)

// closeTime is how long a proxy may take to close a connection on which it has refused something (RFC 1928 6).
const closeTime = 10 * time.Second

// talk has f talk to the proxy until ctx ends. A stream of which nothing came is the caller's to close.
func talk(ctx context.Context, s relay.Stream, f func() error) error {
	stop := context.AfterFunc(ctx, func() { s.Abort(context.Cause(ctx)) })
	err := f()
	if !stop() {
		return context.Cause(ctx)
	}
	return err
}

// leave closes a stream in order, and resets it if the proxy does not close it too.
func leave(s relay.Stream, why error) {
	s.Close()
	time.AfterFunc(closeTime, func() { s.Abort(why) })
}
