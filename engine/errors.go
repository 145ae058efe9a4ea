package engine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// Why a connection ended, or did not come to be. Operations return them wrapped in a *net.OpError;
// ask with errors.Is. Beside these there are net.ErrClosed after Close, of the connection or the bond,
// os.ErrDeadlineExceeded, a context's error, and io.EOF, which is never wrapped.
//
// ErrRefused comes with what refused the offer there, as far as the peer says: ErrLimit or os.ErrPermission,
// and from a Paired one syscall.ECONNREFUSED, EHOSTUNREACH, ENETUNREACH or ETIMEDOUT too.
var (
	ErrReset    = mptcp.ErrReset    // the peer reset it, or its last subflow
	ErrTimeout  = mptcp.ErrTimeout  // no answer, or no subflow for too long
	ErrRefused  = mptcp.ErrRefused  // the peer did not want it
	ErrAborted  = mptcp.ErrAborted  // Abort was called here; its reason is wrapped too
	ErrLimit    = mptcp.ErrLimit    // one of Limits
	ErrNoPath   = mptcp.ErrNoPath   // no attached path reaches the address
	ErrNotOffer = mptcp.ErrNotOffer // the offer was answered before
	ErrStripped = mptcp.ErrStripped // DialOptions.EarlyOnly: what rode in the SYN did not arrive with it
)

// failure says what was being done when err came up.
func failure(op string, source, target netip.AddrPort, err error) error {
	e := &net.OpError{Op: op, Net: "mptcp", Err: explain(err)}
	if source.IsValid() {
		e.Source = net.TCPAddrFromAddrPort(source)
	}
	if target.IsValid() {
		e.Addr = net.TCPAddrFromAddrPort(target)
	}
	return e
}

// reasons are how the errors of dialling are told, the first that an error is.
var reasons = []struct {
	err error
	why wire.Reason
}{
	{ErrLimit, wire.LackOfResources},
	{os.ErrPermission, wire.Prohibited},
	{syscall.ECONNREFUSED, mptcp.HostRefused},
	{syscall.EHOSTUNREACH, mptcp.HostUnreachable},
	{syscall.ENETUNREACH, mptcp.NetworkUnreachable},
	{syscall.ENOPROTOOPT, mptcp.HostRefused},     // protocol unreachable, says ICMP
	{syscall.EHOSTDOWN, mptcp.HostUnreachable},   // unknown host
	{syscall.ENETDOWN, mptcp.NetworkUnreachable}, // one's own
	{syscall.ETIMEDOUT, mptcp.TimedOut},
	{ErrTimeout, mptcp.TimedOut},
	{ErrRefused, mptcp.HostRefused},
}

// reason tells why an offer is refused.
func reason(why error) wire.Reason {
	for _, r := range reasons {
		if errors.Is(why, r.err) {
			return r.why
		}
	}
	var timeout interface{ Timeout() bool }
	if errors.As(why, &timeout) && timeout.Timeout() {
		return mptcp.TimedOut
	}
	return wire.Unspecified
}

// explain adds to a refusal the error that it was for, if the peer gave a reason.
func explain(err error) error {
	var refusal *mptcp.Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	for _, r := range reasons {
		if r.why == refusal.Reason {
			return fmt.Errorf("%w: %w", ErrRefused, r.err)
		}
	}
	return ErrRefused
}
