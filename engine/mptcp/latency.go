package mptcp

import (
	"time"

	"tandem/engine/clock"
	"tandem/engine/datagram"
	"tandem/engine/path"
)

// measuring is when a Paired bond asks its paths how far away the peer is, or another connection its subflows. Only the
// scheduler "owl" wants to know that of each direction (draft-song-mptcp-owl, see path.Latency), and only while somebody
// sends. Foreign peers know no PING: there the timestamps of a connection's segments tell it, if it has any, of subflows
// that carry nothing those which answer probes.
type measuring struct {
	latency  *path.Latency // nil: nobody wants to know
	at, last clock.Time
}

// measureEvery is how often: that follows a change of a path within a second.
const measureEvery = 200 * time.Millisecond

func newMeasuring(cfg *Config, paired bool) measuring {
	return measuring{latency: newLatency(cfg, paired), at: clock.Never, last: clock.Time(-measureEvery)}
}

// newLatency returns what measures the paths of a bond if it is paired, those of a connection if it is not; nil if
// nobody wants to know.
func newLatency(cfg *Config, paired bool) *path.Latency {
	switch {
	case cfg.Scheduler != "owl" || cfg.Paired != paired:
		return nil
	case paired:
		return path.NewLatency(time.Millisecond)
	case cfg.Timestamps:
		return path.NewLatency(0)
	}
	return nil
}

// include has a path measured with the others of l, exclude not any more.
func include(l *path.Latency, p *path.Path) {
	if l != nil {
		l.Add(p)
	}
}

func exclude(l *path.Latency, p *path.Path) {
	if l != nil && p != nil {
		l.Remove(p)
	}
}

// arm decides when paths are asked next.
func (m *measuring) arm(now clock.Time, busy bool) {
	m.at = clock.Never
	if busy && m.latency != nil {
		m.at = max(m.last.Add(measureEvery), now+1)
	}
}

// advanceMeasuring asks all paths that may be chosen, for one that carries nothing may have become the better one. A
// backup is spared until it carries something.
func (b *Bond) advanceMeasuring(now clock.Time) {
	m := &b.measuring
	if m.at > now {
		return
	}
	m.at, m.last = clock.Never, now
	for _, p := range b.paths {
		if !p.dead() && (p.role() < Backup || p.state.Inflight() > 0) {
			b.lane.control.Ping(now, datagram.PathID(p.id), 0)
		}
	}
}

// advanceMeasuring asks over the subflows that may be chosen and carry nothing.
func (c *Conn) advanceMeasuring(now clock.Time) {
	m := &c.measuring
	if m.at > now {
		return
	}
	m.last = now
	m.arm(now, c.burden.busy > 0)
	for _, f := range c.subflows {
		if f.ready && f.tcp.CanSend() && !f.isBackup() && !f.suspect && !f.path.dead() {
			f.tcp.Measure(now)
		}
	}
}

// lag is how much longer octets take over f than over g, as far as is known: at least 0.
func (f *subflow) lag(now clock.Time, g *subflow) time.Duration {
	here, there := f.state.Forward(now), g.state.Forward(now)
	if here == 0 || there == 0 {
		return 0
	}
	return max(here-there, 0)
}
