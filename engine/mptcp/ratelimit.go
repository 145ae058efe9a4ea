package mptcp

import (
	"time"

	"tandem/engine/clock"
	"tandem/engine/datagram"
	"tandem/engine/wire"
)

// Limits of a path's rate (draft-hoang-mptcp-sub-rate-limit-00). They are octets a second of whole IP packets,
// of everything that leaves: data, what is sent again, datagrams, acknowledgements, the control lane; 0 is
// none. LimitUp shapes what this end sends; LimitDown is asked of the peer.
//
//	            LimitDown                             LimitUp
//	Paired      PATH message, kept by the peer        shapes the path, with what the peer asks by PATH
//	else        option, to each subflow its share     each subflow gets its share
//
// The option rides on the subflows of a Paired bond as well, where whoever looks can see it; what counts
// between our ends is PATH, for it bounds the sum. A share is the limit divided by the subflows of the path
// that moved something in the last second, those that hardly did left out; it is reckoned anew each second, and told
// again where it is used, elsewhere every ten seconds if anything comes.

const (
	shareEvery   = time.Second
	shareLeast   = 8                // a subflow that moves less than an equal share divided by it does not count
	rateRefresh  = 10 * time.Second // the option is told again
	rateRepeat   = 2                // acknowledgements in a row that carry what is new
	liftRepeat   = 3                // times that the end of a limit is told again
	kilobit      = 1000 / 8         // octets
	rateMost     = (wire.Unlimited - 1) * kilobit
	unlimited    = wire.Unlimited
	rateLeastLen = wire.RateLimitLen + 8 // with the shortest DSS
)

// pathLimits is what is known of the limits of a path, beside its PathConfig.
type pathLimits struct {
	peerDown, peerUp int  // as the peer said by PATH
	users            uses // unless Paired: subflows that used the path in the last second
}

// uses is a number of subflows, of each direction.
type uses struct{ down, up int }

// subflowLimits is what is known of the limits of a subflow.
type subflowLimits struct {
	asked    uint32     // of the peer, kilobits a second
	askLeft  int        // acknowledgements still to carry it
	lifts    int        // times that the end of a limit is still to be told again
	askAt    clock.Time // when it is told again while octets come
	askedGot uint64     // got when it was told last
	peer     uint32     // what the peer asks, kilobits a second
	share    int        // of the path's LimitUp, octets a second; 0: none
	lastGot  uint64     // got and sent when use was measured last
	lastSent uint64
	counts   uses // as a user of the path: 1, or 0
}

// free is of a subflow that nobody limits.
var free = subflowLimits{asked: unlimited, peer: unlimited}

// SetLimit changes how much may come and leave over a path, in octets a second of whole IP packets; 0 is no limit.
func (b *Bond) SetLimit(now clock.Time, id PathID, down, up int) {
	p := b.path(id)
	if p == nil || p.cfg.LimitDown == down && p.cfg.LimitUp == up {
		return
	}
	p.cfg.LimitDown, p.cfg.LimitUp = max(down, 0), max(up, 0)
	b.retell(now, p)
	b.limit(now, p)
}

// limitsOf returns what the peer says of a path's limits.
func limitsOf(s datagram.PathState) pathLimits {
	return pathLimits{peerDown: int(min(s.LimitDown, rateMost)), peerUp: int(min(s.LimitUp, rateMost))}
}

// limit has the limits of a path keep from now on.
func (b *Bond) limit(now clock.Time, p *bondPath) {
	if p.state != nil {
		p.state.SetLimit(now, lower(p.cfg.LimitUp, p.peerDown))
		b.eachSubflow(p, func(f *subflow) {
			f.askPeer(toKilobits(p.cfg.LimitDown))
			b.touch(now, f.c)
		})
		return
	}
	if p.limited() && b.shareAt == clock.Never {
		b.weighUse(p, 0)
		b.shareAt = now.Add(shareEvery)
	}
	b.share(now, p, false)
}

// fromKilobits is toKilobits the other way round.
func fromKilobits(rate uint32) int {
	if rate == unlimited {
		return 0
	}
	return int(rate) * kilobit
}

// limited reports whether the path has a limit of this end's.
func (p *bondPath) limited() bool { return p.cfg.LimitDown > 0 || p.cfg.LimitUp > 0 }

// lower returns the lower of two limits.
func lower(a, b int) int {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// toKilobits is a limit as the option says it: 0 would let nothing leave.
func toKilobits(limit int) uint32 {
	if limit == 0 {
		return unlimited
	}
	return uint32(max(1, min(limit, rateMost)/kilobit))
}

// welcome limits a subflow that has just become ready, as one more that uses the path.
func (b *Bond) welcome(now clock.Time, f *subflow) {
	p := f.path
	switch {
	case p.state != nil:
		f.askPeer(toKilobits(p.cfg.LimitDown))
	case p.limited():
		f.keepShare(now)
		b.shareAt = min(b.shareAt, now.Add(shareEvery))
	}
}

// advanceShares reckons the shares of subflows anew, as long as anything moves.
func (b *Bond) advanceShares(now clock.Time) {
	if b.shareAt > now {
		return
	}
	b.shareAt = clock.Never
	for _, p := range b.paths {
		if !p.limited() || p.state != nil {
			continue
		}
		if b.weighUse(p, shareLeast) {
			b.shareAt = now.Add(shareEvery)
		}
		b.share(now, p, true)
	}
}

// resumeShares goes on with it when something moves again.
func (b *Bond) resumeShares(now clock.Time, p *bondPath) {
	if b.shareAt == clock.Never && p.state == nil && p.limited() {
		b.shareAt = now.Add(shareEvery)
	}
}

// weighUse finds out which subflows use a path, and reports whether any does: those that moved, since it was called
// last, an equal share of the limit divided by least. least 0: all that moved anything.
func (b *Bond) weighUse(p *bondPath, least int) (used bool) {
	var moved uses
	b.eachSubflow(p, func(f *subflow) {
		moved.down += one(f.got != f.rate.lastGot)
		moved.up += one(f.sent != f.rate.lastSent)
	})
	p.users = uses{}
	b.eachSubflow(p, func(f *subflow) {
		r := &f.rate
		got, sent := f.got-r.lastGot, f.sent-r.lastSent
		r.counts.down = one(got > 0 && (least == 0 || int(got)*moved.down*least >= p.cfg.LimitDown))
		r.counts.up = one(sent > 0 && (least == 0 || int(sent)*moved.up*least >= p.cfg.LimitUp))
		p.users.down += r.counts.down
		p.users.up += r.counts.up
		r.lastGot, r.lastSent = f.got, f.sent
	})
	return moved != uses{}
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// share divides the limits of a path by the subflows that use it; refresh has those told again.
func (b *Bond) share(now clock.Time, p *bondPath, refresh bool) {
	b.eachSubflow(p, func(f *subflow) {
		f.keepShare(now)
		r := &f.rate
		if refresh && p.cfg.LimitDown > 0 && r.counts.down > 0 {
			r.askLeft = max(r.askLeft, 1)
		}
		if r.counts.down > 0 && r.askLeft == rateRepeat {
			f.tcp.Ack(rateRepeat)
		}
		b.touch(now, f.c)
	})
}

// keepShare limits a subflow to its share. One that does not use the path gets as much as if it were one more that
// does.
func (f *subflow) keepShare(now clock.Time) {
	p, r := f.path, &f.rate
	f.askPeer(toKilobits(part(p.cfg.LimitDown, p.users.down+1-r.counts.down)))
	r.share = part(p.cfg.LimitUp, p.users.up+1-r.counts.up)
	f.limitSending(now)
}

// part is a limit divided by n, and still a limit if it was one.
func part(limit, n int) int {
	if limit == 0 {
		return 0
	}
	return max(limit/n, 1)
}

func (b *Bond) eachSubflow(p *bondPath, do func(*subflow)) {
	b.eachConn(func(c *Conn) {
		for _, f := range c.subflows {
			if f.path == p && f.ready && f.live() {
				do(f)
			}
		}
	})
}

// askPeer has the subflow ask the peer for a limit in kilobits a second.
func (f *subflow) askPeer(rate uint32) {
	if f.rate.asked != rate && !f.c.plain() {
		f.rate.asked, f.rate.askLeft, f.rate.lifts = rate, rateRepeat, 0
		if rate == unlimited {
			f.rate.lifts = liftRepeat
		}
	}
}

// composeRate adds the limit that is asked of the peer, if it is new, or if octets came since it was told
// ten seconds ago: its end some times only.
func (f *subflow) composeRate(now clock.Time, o *wire.Options, room int) {
	c := f.c
	r := &f.rate
	if (r.asked != unlimited || r.lifts > 0) && r.askLeft == 0 && now >= r.askAt && f.got != r.askedGot {
		r.askLeft, r.lifts = 1, max(r.lifts-1, 0)
	}
	if f.rate.askLeft == 0 || room < rateLeastLen || !f.ready || c.phase != open || !c.id.confirmed {
		return
	}
	f.rate.askLeft--
	f.rate.askAt, f.rate.askedGot = now.Add(rateRefresh), f.got
	o.Has |= wire.HasRateLimit
	o.RateLimit = f.rate.asked
}

// receiveRate takes the limit that the peer asks for, in kilobits a second. Of a Paired peer PATH counts.
func (f *subflow) receiveRate(now clock.Time, rate uint32) {
	if f.rate.peer == rate {
		return
	}
	f.c.b.counters.RateLimits++
	f.c.trace.add(now, evRateLimit, f.path.id, uint64(rate))
	f.rate.peer = rate
	if f.path.state == nil {
		f.limitSending(now)
	}
}

// limitSending has a subflow with a path state of its own keep to its limits.
func (f *subflow) limitSending(now clock.Time) {
	f.state.SetLimit(now, lower(f.rate.share, fromKilobits(f.rate.peer)))
}

// mute reports whether the peer wants nothing over the subflow but retransmissions and what has no data.
func (f *subflow) mute() bool { return f.rate.peer == 0 && f.path.state == nil }

// charge takes note that a packet leaves over a path that is no subflow's.
func (b *Bond) charge(now clock.Time, id PathID, pkt []byte) {
	if p := b.path(id); p != nil && p.state != nil {
		p.state.Charge(now, len(pkt))
	}
}
