package datagram

import "tandem/engine/wire"

// Why an offer is refused, beside the reasons of RFC 8684 3.6: what dialling its target ended with. Only
// two ends of tandem's own tell each other these, in REFUSED and in MP_TCPRST.
const (
	HostRefused        wire.Reason = 0x80 + iota // nobody listens there
	HostUnreachable                              // its network knows no way to it
	NetworkUnreachable                           // there is no way to its network
	TimedOut                                     // it did not answer
)

// Standard returns what comes nearest to a reason in RFC 8684 3.6, Table 3.
func Standard(why wire.Reason) wire.Reason {
	switch {
	case why == TimedOut:
		return wire.Unacceptable
	case why >= HostRefused:
		return wire.Unspecified
	}
	return why
}
