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
	"sync/atomic"
	"time"

	"tandem/tunnel/relay"
)

// An Opener opens a stream to an address, to which first is written as early as haste allows, and returns once the other
// end has answered. It does not keep first.
type Opener func(ctx context.Context, to netip.AddrPort, first []byte, haste Haste) (relay.Stream, error)

// Haste says whether what is said first rides in the SYN.
type Haste uint8

// The kinds of haste.
const (
	Patient   Haste = iota // it follows the handshake, unless the other end has given a cookie
	Hasty                  // it does, without a cookie, and what was not taken follows
	HastyOnly              // it does, without a cookie, and opening fails with convert.ErrStripped if it was not taken
)

const (
	// closeTime is how long a proxy may take to close a connection on which it has refused something (RFC 1928 6).
	closeTime = 10 * time.Second

	// leavingMax bounds the connections on which that is awaited: each takes a port.
	leavingMax = 64
)

// talk has f talk to the proxy until ctx ends. A stream of which nothing came is the caller's to close.
func talk(ctx context.Context, s relay.Stream, f func() error) error {
	stop := context.AfterFunc(ctx, func() { s.Abort(context.Cause(ctx)) })
	err := f()
	if !stop() {
		return context.Cause(ctx)
	}
	return err
}

// A departure counts the streams that were left and may not have been closed by the proxy yet.
type departure struct {
	waiting, cut atomic.Int64
}

// leave closes a stream in order, and resets it if the proxy does not close it too; at once when it is slow with too many.
func (d *departure) leave(s relay.Stream, why error) {
	if d.waiting.Add(1) > leavingMax {
		d.waiting.Add(-1)
		d.cut.Add(1)
		s.Abort(why)
		return
	}
	s.Close()
	time.AfterFunc(closeTime, func() {
		s.Abort(why)
		d.waiting.Add(-1)
	})
}
