package tcp

import (
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// prober asks a silent peer for a sign of life, and for its window (RFC 9293 3.8.4, 3.8.6.1). Its segments
// carry no data and an old sequence number, so that any peer answers and none takes anything from them.
type prober struct {
	due        bool
	override   bool // a small piece may leave (RFC 9293 3.8.6.2.1)
	backoff    uint8
	unanswered uint8
	timing     timing
	sentAt     clock.Time // when the probe left that is timed
}

// timing is how far the measurement of a round trip by a probe has got.
type timing uint8

const (
	untimed timing = iota
	toLeave
	underWay
)

// Of keepalives that nobody answers.
const (
	keepaliveInterval = 75 * time.Second
	keepaliveProbes   = 9
)

// Probe has a segment leave that the peer must answer (RFC 9293 3.8.4 and 3.8.6.1): a keepalive, or a probe of a window that is closed.
func (s *Subflow) Probe() { s.probe.due = s.probe.due || s.synchronized() }

// Measure is Probe whose answer tells the round trip, unless octets under way will tell it, or another such probe.
func (s *Subflow) Measure(now clock.Time) {
	p := &s.probe
	if s.snd.flight.len() > 0 || p.timing == underWay && now < p.sentAt.Add(s.rto()) {
		return
	}
	p.timing = toLeave
	s.Probe()
}

// timed ends the measurement: with the first segment that may be the answer, or because octets left meanwhile.
func (s *Subflow) timed(now clock.Time, seg *wire.Segment) {
	p := &s.probe
	switch {
	case p.timing == untimed || p.timing == toLeave:
	case s.snd.flight.len() > 0:
		p.timing = untimed
	case seg.Flags&wire.RST == 0 && seg.Len() == 0 && !signals(seg):
		p.timing = untimed
		s.path.RTTSample(now, now.Sub(p.sentAt))
	}
}

// Shut reports whether the peer's window admits nothing and, nothing being under way, no acknowledgement will tell
// that it has opened: somebody must ask.
func (s *Subflow) Shut() bool {
	return s.maySend() && s.snd.edge <= s.snd.queue.end && s.snd.una == s.snd.queue.end
}

// transmitProbe writes a probe.
func (s *Subflow) transmitProbe(now clock.Time, buf []byte) []byte {
	if !s.probe.due {
		return nil
	}
	s.probe.due = false
	if s.probe.timing == toLeave {
		s.probe.timing, s.probe.sentAt = underWay, now
	}
	seg := s.begin(now, wire.ACK)
	seg.Seq = s.snd.seq(s.snd.una) - 1
	s.stamp(now, &seg.Options)
	p := Part{Off: s.snd.nxt}
	s.owner.Compose(now, s, seg, p, s.roomFor(seg))
	return s.write(seg, buf, p)
}

// armPersist waits for a window that is closed, or too small to be worth using.
func (s *Subflow) armPersist(now clock.Time) {
	if s.timer.persist == clock.Never && s.snd.flight.len() == 0 {
		s.timer.persist = now.Add(min(s.path.RTO()<<min(s.probe.backoff, 10), rtoMax))
	}
}

// onPersistTimer sends what little the window admits, else a probe.
func (s *Subflow) onPersistTimer(now clock.Time) {
	if s.snd.flight.len() > 0 || s.Queued() == 0 {
		return
	}
	if int(s.probe.unanswered) >= s.cfg.Retries {
		s.finish(now, ErrTimeout)
		return
	}
	s.probe.backoff = min(s.probe.backoff+1, 16)
	if s.snd.usable() > 0 {
		s.probe.override = true
		return
	}
	s.probe.due = true
	s.probe.unanswered++
	s.armPersist(now)
}

func (p *prober) stop(s *Subflow) {
	p.backoff = 0
	s.timer.persist = clock.Never
}

func (s *Subflow) armKeepalive(now clock.Time) {
	if s.cfg.Keepalive > 0 {
		s.timer.keepalive = now.Add(s.cfg.Keepalive)
	}
}

// onKeepaliveTimer probes an idle peer; while data is outstanding the retransmission timer does (3.8.4).
func (s *Subflow) onKeepaliveTimer(now clock.Time) {
	switch {
	case !s.synchronized() || s.state == TimeWait:
		return
	case s.snd.flight.len() > 0 || s.timer.persist != clock.Never:
		s.armKeepalive(now)
		return
	case s.probe.unanswered >= keepaliveProbes:
		s.finish(now, ErrTimeout)
		return
	}
	s.probe.due = true
	s.probe.unanswered++
	s.timer.keepalive = now.Add(min(s.cfg.Keepalive, keepaliveInterval))
}
