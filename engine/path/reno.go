package path

import "tandem/engine/clock"

// reno is RFC 5681 with what window adds.
type reno struct{ window }

func newReno(mtu int) *reno { return &reno{newWindow(mtu)} }

func (r *reno) OnAck(s Sample) {
	if acked := r.hear(s); acked > 0 {
		r.raise(r.reno(acked))
	}
}

func (r *reno) OnLoss(s Sample)      { r.reduce(s, r.base()/2) }
func (r *reno) OnECN(s Sample)       { r.reduce(s, r.base()/2) }
func (r *reno) OnTimeout(clock.Time) { r.collapse(r.base() / 2) }
