package tcp

import (
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// timestamps are RFC 7323 3 to 5.
type timestamps struct {
	recent   uint32 // TS.Recent
	recentAt clock.Time
	lastAck  uint64 // Last.ACK.sent
}

// recentMax is how long TS.Recent rules: its clock may have wrapped after that (RFC 7323 5.5).
const recentMax = 24 * 24 * time.Hour

// millis is the clock behind TSval.
func millis(now clock.Time) uint32 { return uint32(int64(now) / int64(time.Millisecond)) }

// old reports whether TS.Recent rules out that val comes now.
func (t *timestamps) old(now clock.Time, val uint32) bool {
	return int32(val-t.recent) < 0 && now.Sub(t.recentAt) <= recentMax
}

func (t *timestamps) learn(now clock.Time, val uint32) { t.recent, t.recentAt = val, now }

// fresh protects against wrapped sequence numbers (RFC 7323 5.3): what has an old timestamp is old, and
// a segment without one is none of ours (3.2). Resets pass.
func (t *timestamps) fresh(now clock.Time, seg *wire.Segment, on bool) bool {
	if !on || seg.Flags&wire.RST != 0 {
		return true
	}
	if seg.Options.Has&wire.HasTimestamps == 0 {
		return false
	}
	return !t.old(now, seg.Options.TSVal)
}

// note keeps the timestamp to echo (RFC 7323 4.3).
func (t *timestamps) note(now clock.Time, seg *wire.Segment, left int64, s *Subflow) {
	if s.cfg.Timestamps && seg.Options.Has&wire.HasTimestamps != 0 && left <= int64(t.lastAck) && !t.old(now, seg.Options.TSVal) {
		t.learn(now, seg.Options.TSVal)
	}
}

// hearClock tells the path what the peer's clock said when seg left. SYNs do not come here: they repeat their
// timestamp.
func (s *Subflow) hearClock(now clock.Time, seg *wire.Segment) {
	if s.cfg.Timestamps && seg.Options.Has&wire.HasTimestamps != 0 {
		s.path.Stamped(now, seg.Options.TSVal)
	}
}

// stamp puts the option into a segment.
func (s *Subflow) stamp(now clock.Time, o *wire.Options) {
	if s.cfg.Timestamps {
		o.Has |= wire.HasTimestamps
		o.TSVal, o.TSEcr = millis(now), s.ts.recent
	}
}

// sampleEcho measures the round trip by the echo when all that arrived had been sent more than
// once, so that nothing else tells it (RFC 7323 4.1).
func (s *Subflow) sampleEcho(now clock.Time, seg *wire.Segment, d *delivery) {
	if !d.again || !s.cfg.Timestamps || seg.Options.Has&wire.HasTimestamps == 0 || seg.Options.TSEcr == 0 {
		return
	}
	if rtt := int32(millis(now) - seg.Options.TSEcr); rtt > 0 {
		s.path.RTTSample(now, time.Duration(rtt)*time.Millisecond)
	}
}

// echoesBefore reports whether seg answers something that was sent before at (RFC 3522 3.2).
func (s *Subflow) echoesBefore(seg *wire.Segment, at uint32) bool {
	return s.cfg.Timestamps && seg.Options.Has&wire.HasTimestamps != 0 && seg.Options.TSEcr != 0 &&
		int32(seg.Options.TSEcr-at) < 0
}
