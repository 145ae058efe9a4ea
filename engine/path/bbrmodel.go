package path

import "tandem/engine/clock"

// lossBeta is how much of a bound one congested round trip may take at most.
const lossBeta = 0.7

// bandwidth is what the path can deliver: the largest rate of this cycle of probes and the last, and
// bounds that losses set.
type bandwidth struct {
	cycles     [2]int // octets a second: this cycle, the last
	latest     int    // largest of this round trip
	delivered  int    // octets in flight when the newest packet was sent, largest of this round trip
	low        int    // bounds until the next probe: octets a second; 0: none
	lowWindow  int    // octets in flight; 0: none
	highWindow int    // bound that a probe's losses set, octets in flight; 0: none

	extra      peak // octets that arrived above the bandwidth, aggregated
	round      int64
	epoch      clock.Time
	epochAcked int
}

func (m *bandwidth) best() int { return max(m.cycles[0], m.cycles[1]) }

// bandwidth is the rate to send at.
func (m *bandwidth) bandwidth() int {
	if m.low > 0 {
		return min(m.low, m.best())
	}
	return m.best()
}

// bound is the octets that may be in flight.
func (m *bandwidth) bound() int {
	w := windowMax
	if m.lowWindow > 0 {
		w = m.lowWindow
	}
	if m.highWindow > 0 {
		w = min(w, m.highWindow)
	}
	return w
}

func (m *bandwidth) add(s Sample) {
	if s.Rate > 0 && (!s.AppLimited || s.Rate >= m.best()) {
		m.cycles[0] = max(m.cycles[0], s.Rate)
	}
	m.latest = max(m.latest, s.Rate)
	m.delivered = max(m.delivered, int(s.Delivered-s.PriorDelivered))
	m.aggregate(s)
}

// aggregate learns how far acknowledgements run ahead of the bandwidth, as radios make them do.
func (m *bandwidth) aggregate(s Sample) {
	expected := whole(float64(m.bandwidth()) * s.Now.Sub(m.epoch).Seconds())
	if m.epochAcked <= expected {
		m.epoch, m.epochAcked, expected = s.Now, 0, 0
	}
	m.epochAcked = min(m.epochAcked+s.Acked, windowMax)
	if extra := min(m.epochAcked-expected, s.Prior); extra > 0 {
		m.extra.update(m.round, int64(extra), 10)
	}
}

// endRound forgets what belonged to one round trip.
func (m *bandwidth) endRound() { m.round++; m.latest, m.delivered = 0, 0 }

// endCycle forgets the cycle before the last.
func (m *bandwidth) endCycle() {
	if m.cycles[0] > 0 {
		m.cycles = [2]int{0, m.cycles[0]}
	}
}

// shorten sets the bounds that hold until the next probe, after losses.
func (m *bandwidth) shorten(cwnd int) {
	if m.low == 0 {
		m.low = m.best()
	}
	if m.lowWindow == 0 {
		m.lowWindow = cwnd
	}
	m.low = max(m.latest, int(float64(m.low)*lossBeta))
	m.lowWindow = max(m.delivered, int(float64(m.lowWindow)*lossBeta))
}

// refresh lifts the bounds that hold between probes.
func (m *bandwidth) refresh() { m.low, m.lowWindow = 0, 0 }

// bind is what a probe learned that lost too much.
func (m *bandwidth) bind(window int) { m.highWindow = window }

// loosen is what a probe learned that lost nothing.
func (m *bandwidth) loosen() {
	if m.highWindow > 0 {
		m.highWindow += m.highWindow / 4
	}
	if m.highWindow > windowMax/2 {
		m.highWindow = 0
	}
}

func (m *bandwidth) unbound() { m.refresh(); m.highWindow = 0 }
