package datagram

import (
	"slices"
	"time"

	"tandem/engine/clock"
)

const (
	timeoutInitial = 500 * time.Millisecond // before the first round trip is known
	timeoutSlack   = 10 * time.Millisecond  // the least that a round trip may vary
	quiet          = 5 * time.Second        // after which what comes is good news
	timeoutProbe   = time.Second            // for a padded PING (RFC 8899 5.1.1)
	clockMax       = clock.Never / 2        // of a peer: differences of what it says fit a Duration
)

// lanePath is what the lane knows of an attached path.
type lanePath struct {
	id                PathID
	rttSmooth, rttVar time.Duration // RFC 6298; 0: not known
	heard             clock.Time
	silent            bool // a PING was not answered
	doubtful          bool // news were repeated, and nothing was heard in between

	sent, got uint64 // octets of datagrams, as Sent and Got told

	pings []pinged
	acks  []uint32
	pongs []answer
}

// pinged is a PING asked for, which left or waits to.
type pinged struct {
	id     uint32
	size   int // asked for; 0: the least
	away   bool
	judged bool // reported as lost; an answer is welcome still
	left   clock.Time
	due    clock.Time
	sent   uint64 // octets of datagrams that had left before
}

// answer is a PONG that waits to be sent.
type answer struct {
	id    uint32
	clock uint64
	came  clock.Time
	size  uint16
	got   uint64 // octets of datagrams that had come before
}

// Ping asks for the path's round trip, or, with a size in octets of UDP payload, whether a packet so
// long passes: PathMTU or PathTooBig tells, which is worth something once the peer has said HELLO. It
// reports whether the PING will be sent: not on a path that is detached or closed, or with a size below
// PingMin or above 65507. Of more than sixteen the oldest is given up, and all are forgotten when the
// path closes or PeerHello says that the peer changed.
func (c *Control) Ping(now clock.Time, id PathID, size int) bool {
	p := c.path(id)
	if p == nil || !c.usable(p) || size != 0 && size < PingMin || size > 65507 {
		return false
	}
	if len(p.pings) >= pingsMax {
		c.lost(p, &p.pings[0])
	}
	c.pingID++
	p.pings = append(p.pings, pinged{id: c.pingID, size: size})
	return true
}

// asked returns the oldest PING that waits to leave, of those with a size or of those without.
func (p *lanePath) asked(sized bool) *pinged {
	for i := range p.pings {
		if a := &p.pings[i]; !a.away && (a.size > 0) == sized {
			return a
		}
	}
	return nil
}

func (a *pinged) leave(now clock.Time, p *lanePath) {
	a.away, a.left, a.due, a.sent = true, now, now.Add(p.timeout()), p.sent
	if a.size > 0 {
		a.due = now.Add(max(timeoutProbe, 2*p.timeout()))
	}
}

// lost forgets a PING.
func (c *Control) lost(p *lanePath, a *pinged) {
	if a.size > 0 && !a.judged {
		c.report(Event{Kind: PathTooBig, Path: p.id, Size: a.size})
	}
	id := a.id
	p.pings = slices.DeleteFunc(p.pings, func(a pinged) bool { return a.id == id })
}

// expire judges the PINGs whose time is over.
func (c *Control) expire(now clock.Time, p *lanePath) {
	for i := range p.pings {
		a := &p.pings[i]
		if !a.away || a.judged || a.due > now {
			continue
		}
		a.judged = true
		switch {
		case a.size > 0:
			c.report(Event{Kind: PathTooBig, Path: p.id, Size: a.size})
		case p.heard <= a.left && !p.silent:
			p.silent = true
			c.report(Event{Kind: PathSilent, Path: p.id})
			c.reroute(now, p.id)
		}
	}
}

// hear notes that something came over p.
func (c *Control) hear(now clock.Time, p *lanePath) {
	if p.silent || now.Sub(p.heard) > quiet {
		c.hurry(now)
	}
	if p.silent {
		p.silent = false
		c.report(Event{Kind: PathAlive, Path: p.id})
	}
	p.heard, p.doubtful = now, false
}

// pinged queues the answer to a PING that came in a packet of size octets.
func (c *Control) pinged(now clock.Time, p *lanePath, body []byte, size int) error {
	if len(body) < pingLen {
		return ErrMalformed
	}
	if len(p.pongs) >= pongsMax {
		c.counters.Answers++
	} else if c.open(p) {
		p.pongs = append(p.pongs, answer{id: be.Uint32(body), clock: be.Uint64(body[4:]), came: now, size: uint16(size), got: p.got})
	}
	return nil
}

// ponged takes the answer to a PING.
func (c *Control) ponged(now clock.Time, p *lanePath, body []byte) error {
	if len(body) < pongLeast {
		return ErrMalformed
	}
	id := be.Uint32(body)
	i := slices.IndexFunc(p.pings, func(a pinged) bool { return a.away && a.id == id })
	if i < 0 || be.Uint64(body[4:]) != uint64(p.pings[i].left) {
		return ErrStray
	}
	a := p.pings[i]
	there := clock.Time(be.Uint64(body[12:]))
	rtt := now.Sub(a.left) - time.Duration(be.Uint32(body[20:]))*time.Microsecond
	if rtt < 0 || there < 0 || there > clockMax || a.size > 0 && int(be.Uint16(body[24:])) != a.size {
		return ErrMalformed
	}
	p.pings = slices.Delete(p.pings, i, i+1)
	p.sample(rtt)
	e := Event{Kind: PathRTT, Path: p.id, RTT: rtt, OneWay: there.Sub(a.left), Sent: a.sent, Got: a.sent}
	if len(body) >= pongLen {
		e.Got = be.Uint64(body[pongLeast:])
	}
	c.report(e)
	if a.size > 0 {
		c.report(Event{Kind: PathMTU, Path: p.id, Size: a.size})
	}
	return nil
}

// sample smooths the round trip (RFC 6298 2).
func (p *lanePath) sample(rtt time.Duration) {
	rtt = min(max(rtt, 1), time.Minute)
	if p.rttSmooth == 0 {
		p.rttSmooth, p.rttVar = rtt, rtt/2
		return
	}
	p.rttVar += ((p.rttSmooth - rtt).Abs() - p.rttVar) / 4
	p.rttSmooth += (rtt - p.rttSmooth) / 8
}

// timeout is when an answer is late: the round trip and four times its variation.
func (p *lanePath) timeout() time.Duration {
	if p.rttSmooth == 0 {
		return timeoutInitial
	}
	return p.rttSmooth + max(4*p.rttVar, timeoutSlack)
}

// deadline is when expire next has something to judge.
func (p *lanePath) deadline() clock.Time {
	at := clock.Never
	for i := range p.pings {
		if a := &p.pings[i]; a.away && !a.judged {
			at = min(at, a.due)
		}
	}
	return at
}

// clear drops what waits to leave or to be answered.
func (p *lanePath) clear() {
	p.pings, p.acks, p.pongs = p.pings[:0], p.acks[:0], p.pongs[:0]
}

// Sent tells that n octets of datagrams left on a path beside the lane.
func (c *Control) Sent(id PathID, n int) {
	if p := c.path(id); p != nil {
		p.sent += uint64(n)
	}
}

// Got tells that n octets of datagrams came over a path beside the lane.
func (c *Control) Got(id PathID, n int) {
	if p := c.path(id); p != nil {
		p.got += uint64(n)
	}
}

// RTT returns the path's smoothed round trip, as far as the lane has measured it, 0 if it has not; and how
// long after a PING an answer is late.
func (c *Control) RTT(id PathID) (smooth, timeout time.Duration) {
	p := c.path(id)
	if p == nil {
		return 0, timeoutInitial
	}
	return p.rttSmooth, p.timeout()
}
