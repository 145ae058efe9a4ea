package path

import "tandem/engine/clock"

// recovery decides which losses reduce the window: at most one reduction per round trip, judged by
// when the lost packet was sent, however many subflows report it.
type recovery struct {
	reducedAt   clock.Time // packets sent until then belong to reductions made
	timedOutAt  clock.Time
	newestAcked clock.Time // when the newest packet known to have arrived was sent
	lost        int        // octets lost in the last reduction's round trip
	spurious    int        // of these, octets that had arrived after all
}

// reduce reports whether a loss of a packet sent at sentAt calls for a reduction, and notes it.
func (r *recovery) reduce(now, sentAt clock.Time) bool {
	if sentAt <= r.reducedAt {
		return false
	}
	r.reducedAt = now
	return true
}

// reset begins the account of what the reduction just made was for.
func (r *recovery) reset(lost int) { r.lost, r.spurious = lost, 0 }

// count adds a loss to the last reduction's account if that is where it belongs.
func (r *recovery) count(sentAt clock.Time, n int) {
	if sentAt <= r.reducedAt {
		r.lost += n
	}
}

// Spurious records that n octets judged lost had arrived after all (D-SACK, F-RTO). When all
// that the last reduction was for had arrived, the reduction is undone.
func (p *Path) Spurious(now clock.Time, n int) {
	r := &p.recovery
	p.rate.lost = max(0, p.rate.lost-int64(n))
	p.fates.found(now, n)
	if r.lost == 0 {
		return
	}
	r.spurious += n
	if r.spurious >= r.lost {
		r.reset(0)
		p.control.OnSpurious()
	}
}

// Timeout records that a subflow's retransmission timer fired for a packet with stamp st. It is a
// loss while anything sent later on the path has been acknowledged, and a timeout of the path only
// if the whole path has been silent for its RTO. It changes nothing in flight: what the subflow
// judges lost it reports with Lost, afterwards.
func (p *Path) Timeout(now clock.Time, st Stamp) {
	r := &p.recovery
	if r.newestAcked > st.SentAt {
		if r.reduce(now, st.SentAt) {
			r.reset(0)
			if !p.report.open {
				p.report = report{prior: p.inflight}
			}
			p.control.OnLoss(p.sample(now, st))
		}
		return
	}
	if st.SentAt <= r.timedOutAt || now.Sub(p.health.since) < p.rtt.rto() {
		return
	}
	r.timedOutAt, r.reducedAt = now, now
	r.reset(0)
	p.health.remember(now, p.silence(), p.inflight)
	p.control.OnTimeout(now)
}
