package path

import "tandem/engine/clock"

// prr is proportional rate reduction (RFC 6937): during recovery octets leave in proportion to
// those that arrive, so that what is in flight shrinks to the threshold within a round trip.
type prr struct {
	on             bool
	began          clock.Time
	flight         int // octets in flight when recovery began
	delivered, out int // octets since then
}

// window returns what may be in flight after the report s.
func (p *prr) window(s Sample, ssthresh, mtu int) int {
	p.delivered += s.Acked
	var leave int
	if s.Inflight > ssthresh {
		leave = int((int64(p.delivered)*int64(ssthresh)+int64(p.flight)-1)/int64(p.flight)) - p.out
	} else {
		limit := max(p.delivered-p.out, s.Acked)
		if s.Lost == 0 {
			limit += mtu
		}
		leave = min(ssthresh-s.Inflight, limit)
	}
	if p.out == 0 {
		leave = max(leave, mtu) // the first retransmission waits for nothing
	}
	return s.Inflight + max(leave, 0)
}
