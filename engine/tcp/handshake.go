package tcp

import (
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// handshake is what matters until Established.
//
//	Open ─► SynSent ──SYN/ACK──► Established          Listen ─► SynReceived ··Answer·· SYN/ACK ─► Established
//	           └──────SYN (simultaneous open)──────────────────────►┘
type handshake struct {
	active   bool
	answered bool   // the SYN/ACK may leave
	due      bool   // SYN or SYN/ACK is to leave
	tries    uint8  // SYNs or SYN/ACKs that left; stops at 255
	tsVal    uint32 // of the SYN, whose repeats are the same
	sentAt   clock.Time
	fitted   uint32        // octets that rode in the SYN
	early    uint32        // of those (or of the peer's), how many its receiver took
	cookie   wire.FastOpen // that the peer gave
	gave     bool
	wish     wish
}

// A wish is what of the configuration the peer's answer may take away.
type wish struct {
	timestamps, noSACK, ecn bool
	scale                   uint8
}

// Open returns a subflow whose SYN waits to be transmitted. Octets pushed before it is transmitted may ride in it.
func Open(now clock.Time, cfg Config, o Owner) *Subflow {
	s := newSubflow(now, cfg, o)
	s.state = SynSent
	s.handshake.active, s.handshake.due = true, true
	return s
}

// Listen returns a subflow for a SYN that came. It stays silent, however often the SYN is repeated,
// until Answer or Reset is called. Payload of the SYN is delivered to the owner by Listen if cfg.Early.
func Listen(now clock.Time, cfg Config, o Owner, syn *wire.Segment) *Subflow {
	s := newSubflow(now, cfg, o)
	s.state = SynReceived
	s.heard = now
	s.meet(now, syn)
	s.ecn.on = s.cfg.ECN && syn.Flags.Has(wire.ECE|wire.CWR)
	s.cfg.ECN = s.ecn.on
	s.snd.window(syn, 0, 0)
	s.handshake.fitted = uint32(len(syn.Payload))
	if s.cfg.Early && len(syn.Payload) > 0 {
		s.takeEarly(now, syn)
	}
	return s
}

func newSubflow(now clock.Time, cfg Config, o Owner) *Subflow {
	s := &Subflow{cfg: cfg.withDefaults(), owner: o, path: cfg.Path, heard: now}
	s.snd.iss = cfg.ISS
	s.handshake.wish = wish{s.cfg.Timestamps, s.cfg.NoSACK, s.cfg.ECN, s.cfg.WindowScale}
	s.timer.stop()
	s.rack.mult = 1
	s.ack.quick = quickAcks
	return s
}

// Answer lets the SYN/ACK leave.
func (s *Subflow) Answer(now clock.Time) {
	if s.state == SynReceived && !s.handshake.answered {
		s.handshake.answered, s.handshake.due = true, true
	}
}

// Early returns how many octets rode in the SYN and were accepted by its receiver, in the direction of the SYN.
func (s *Subflow) Early() int { return int(s.handshake.early) }

// FastOpen returns the cookie that the peer gave for later connections, if it did (RFC 7413 4.1.2).
func (s *Subflow) FastOpen() (cookie wire.FastOpen, ok bool) {
	return s.handshake.cookie, s.handshake.gave
}

// meet takes from the peer's SYN, with or without ACK, what was negotiated.
func (s *Subflow) meet(now clock.Time, syn *wire.Segment) {
	o := &syn.Options
	s.rcv.irs = syn.Seq
	s.snd.mss = defaultMSS(syn)
	if o.Has&wire.HasMSS != 0 {
		s.snd.mss = max(leastMSS, int(o.MSS))
	}
	if o.Has&wire.HasWindowScale != 0 {
		s.snd.scale = min(o.WindowScale, maxWindowScale)
	} else {
		s.cfg.WindowScale = 0
	}
	s.rcv.scale = s.cfg.WindowScale
	s.cfg.NoSACK = s.cfg.NoSACK || o.Has&wire.HasSACKPermitted == 0
	s.cfg.Timestamps = s.cfg.Timestamps && o.Has&wire.HasTimestamps != 0
	if s.cfg.Timestamps {
		s.ts.learn(now, o.TSVal)
	}
	if o.Has&wire.HasFastOpen != 0 {
		s.handshake.cookie, s.handshake.gave = o.Cookie, s.handshake.active
	}
}

// leastMSS is the least that is believed: smaller segments would be mostly headers, many for each octet.
const leastMSS = 88

// unmeet takes back what was negotiated with a segment that the owner did not want.
func (s *Subflow) unmeet() {
	if s.state == SynSent {
		w := &s.handshake.wish
		s.cfg.Timestamps, s.cfg.NoSACK, s.cfg.ECN, s.cfg.WindowScale = w.timestamps, w.noSACK, w.ecn, w.scale
		s.snd.mss, s.snd.scale, s.ecn.on, s.ts = 0, 0, false, timestamps{}
	}
}

// defaultMSS is what a peer takes that does not say (RFC 9293 3.7.1).
func defaultMSS(syn *wire.Segment) int {
	if syn.Source.Addr().Is4() {
		return 536
	}
	return 1220
}

// takeEarly delivers the payload of a SYN (RFC 7413 4.2.2).
func (s *Subflow) takeEarly(now clock.Time, syn *wire.Segment) {
	n := min(len(syn.Payload), max(0, s.owner.Window(s)))
	if n > 0 && s.owner.Deliver(now, s, 0, syn.Payload[:n]) {
		s.rcv.nxt, s.rcv.edge = uint64(n), uint64(n)
		s.stats.OctetsIn += uint64(n)
		s.handshake.early = uint32(n)
	}
}

// receiveSynSent is RFC 9293 3.10.7.3.
func (s *Subflow) receiveSynSent(now clock.Time, seg *wire.Segment) {
	acked := s.snd.offset(seg.Ack)
	if seg.Flags&wire.ACK != 0 && (s.handshake.tries == 0 || acked < 0 || acked > int64(s.snd.nxt)) {
		if seg.Flags&wire.RST == 0 {
			s.end.answer(seg)
			s.Resume(now) // it answers a SYN of a former life
		}
		return
	}
	if seg.Flags&wire.RST != 0 {
		if seg.Flags&wire.ACK != 0 && s.owner.Signals(now, s, seg) && s.state != Closed {
			s.finish(now, ErrRefused)
		}
		return
	}
	if seg.Flags&wire.SYN == 0 {
		return
	}
	s.meet(now, seg)
	s.heardFrom(now)
	if seg.Flags&wire.ACK == 0 {
		s.crossed(now, seg)
		return
	}
	s.ecn.on = s.cfg.ECN && seg.Flags&(wire.ECE|wire.CWR) == wire.ECE
	s.cfg.ECN = s.ecn.on
	if !s.owner.Signals(now, s, seg) || s.state != SynSent {
		s.unmeet()
		return
	}
	s.establish(now, seg, s.snd.acked(seg))
	if s.state == Closed {
		return
	}
	s.ack.due = true
	s.receiveText(now, seg, 0)
}

// crossed is a simultaneous open: the peer's SYN met ours on the way (RFC 9293 3.5, figure 7).
func (s *Subflow) crossed(now clock.Time, syn *wire.Segment) {
	s.ecn.on, s.cfg.ECN = false, false
	if !s.owner.Signals(now, s, syn) || s.state != SynSent {
		s.unmeet()
		return
	}
	s.snd.window(syn, 0, 0)
	s.handshake.answered, s.handshake.due = true, true
	s.timer.retransmit = clock.Never
	s.become(now, SynReceived)
}

// establish ends the handshake with a segment that acknowledges our SYN and the first acked octets.
func (s *Subflow) establish(now clock.Time, seg *wire.Segment, acked uint64) {
	h := &s.handshake
	h.due = false
	s.timer.retransmit = clock.Never
	s.loss.backoff, s.loss.fired = 0, 0
	// What an own end takes to answer is no round trip.
	if h.tries == 1 && (s.foreign() || !h.active) {
		s.path.RTTSample(now, now.Sub(h.sentAt))
	}
	if h.active {
		h.early = uint32(min(acked, uint64(h.fitted)))
	}
	s.snd.window(seg, acked, s.shift(seg))
	s.armKeepalive(now)
	state := Established
	if s.end.closing {
		state = FinWait1
	}
	s.become(now, state)
	if s.state == Closed {
		return
	}
	s.acknowledge(now, seg, acked)
	if s.state == Closed {
		return
	}
	// What of the SYN's octets was not taken goes again, as data.
	if f := &s.snd.flight; f.len() > 0 && f.get(f.head).fate == held {
		f.settle(f.head, lost)
		s.loss.allow = 1
	}
	s.armRetransmit(now)
	if !h.active && h.early > 0 && s.rcv.left() == 0 {
		s.WindowGrew() // the SYN's octets filled it, and may have been read since
	}
}

// synTimeout is how long to wait for the answer to a SYN. The first wait knows the path;
// the others leave the peer time to decide (RFC 6298 2.1, 5.7).
func (s *Subflow) synTimeout() time.Duration {
	wait := s.path.RTO()
	if n := s.loss.fired; n > 0 {
		wait = max(wait<<n, time.Second<<(n-1))
	}
	return min(wait, rtoMax)
}

// onSynTimer repeats the SYN or SYN/ACK, or gives up.
func (s *Subflow) onSynTimer(now clock.Time) {
	if int(s.loss.fired) >= s.cfg.SynRetries {
		s.finish(now, ErrTimeout)
		return
	}
	s.loss.fired++
	s.handshake.due = true
}
