package path

import (
	"time"

	"tandem/engine/clock"
)

// report is what Acked, Lost and Marked told since the last Done.
type report struct {
	open, marked            bool
	delayed                 bool // a newer packet was acknowledged before
	prior                   int
	acked, lost             int
	newestAcked, newestLost Stamp
	rtt                     time.Duration
	markedAt                clock.Time
}

func (p *Path) begin() {
	if !p.report.open {
		p.report = report{open: true, prior: p.Inflight(), markedAt: before}
		p.report.newestAcked.SentAt, p.report.newestLost.SentAt = before, before
	}
}

// Done ends one report of Acked, Lost and Marked: the controller hears of it as a whole.
func (p *Path) Done(now clock.Time) {
	r := &p.report
	if !r.open {
		return
	}
	r.open = false
	p.landed(now, r.newestAcked.SentAt)
	if r.acked > 0 && r.rtt > 0 {
		p.RTTSample(now, r.rtt)
	}
	delivery := 0
	if r.acked > 0 {
		delivery = p.rate.sample(now, &r.newestAcked, p.rtt.min())
	}
	if r.lost > 0 && p.recovery.reduce(now, r.newestLost.SentAt) {
		p.recovery.reset(r.lost)
		p.control.OnLoss(p.sample(now, r.newestLost))
	}
	if r.marked && p.recovery.reduce(now, r.markedAt) {
		p.recovery.reset(0)
		p.control.OnECN(p.sample(now, r.newestAcked))
	}
	newest := r.newestAcked
	if r.acked == 0 {
		if r.lost == 0 {
			return
		}
		newest = r.newestLost
	}
	s := p.sample(now, newest)
	s.RTT, s.Rate, s.AppLimited = r.rtt, delivery, newest.appLimited
	if r.delayed {
		s.RTT = 0
	}
	p.control.OnAck(s)
}

func (p *Path) sample(now clock.Time, st Stamp) Sample {
	return Sample{
		Now:            now,
		SentAt:         st.SentAt,
		RTTMin:         p.rtt.min(),
		RTTSmooth:      p.rtt.smooth,
		Acked:          p.report.acked,
		Lost:           p.report.lost,
		Inflight:       p.Inflight(),
		Prior:          p.report.prior,
		Sent:           int(st.inflight),
		Delivered:      p.rate.delivered,
		LostTotal:      p.rate.lost,
		PriorDelivered: st.delivered,
		PriorLost:      st.lost,
	}
}
