package engine

import (
	"errors"
	"net"
	"net/netip"
	"os"

	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// Why a connection ended, or did not come to be. Operations return them wrapped in a *net.OpError;
// ask with errors.Is. Beside these there are net.ErrClosed after Close, of the connection or the bond,
// os.ErrDeadlineExceeded, a context's error, and io.EOF, which is never wrapped.
var (
	ErrReset    = mptcp.ErrReset    // the peer reset it, or its last subflow
	ErrTimeout  = mptcp.ErrTimeout  // no answer, or no subflow for too long
	ErrRefused  = mptcp.ErrRefused  // the peer did not want it
	ErrAborted  = mptcp.ErrAborted  // Abort was called here; its reason is wrapped too
	ErrLimit    = mptcp.ErrLimit    // one of Limits
	ErrNoPath   = mptcp.ErrNoPath   // no attached path reaches the address
	ErrNotOffer = mptcp.ErrNotOffer // the offer was answered before
)

// failure says what was being done when err came up.
func failure(op string, source, target netip.AddrPort, err error) error {
	e := &net.OpError{Op: op, Net: "mptcp", Err: err}
	if source.IsValid() {
		e.Source = net.TCPAddrFromAddrPort(source)
	}
	if target.IsValid() {
		e.Addr = net.TCPAddrFromAddrPort(target)
	}
	return e
}

// reason puts why an offer is refused into the words of RFC 8684 3.6, Table 3.
func reason(why error) wire.Reason {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(why, ErrLimit):
		return wire.LackOfResources
	case errors.Is(why, os.ErrPermission):
		return wire.Prohibited
	case errors.Is(why, ErrTimeout), errors.As(why, &timeout) && timeout.Timeout():
		return wire.Unacceptable
	}
	return wire.Unspecified
}
