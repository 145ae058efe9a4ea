package mptcp

import (
	"time"

	"tandem/engine/clock"
	"tandem/engine/datagram"
)

// An Event is something that the owner of a Paired bond should know. Which fields count follows from Kind.
type Event struct {
	Kind     EventKind
	Path     PathID        // on which it happened
	Changed  bool          // HelloHeard: another process than before answers; every connection has been reset
	Families Families      // HelloHeard: those that the peer has a tested route for; both if it does not say
	Bye      ByeReason     // ByeHeard
	RTT      time.Duration // PathAlive: smoothed; 0: not known
}

// EventKind says what happened.
type EventKind uint8

// The events.
const (
	HelloHeard EventKind = 1 + iota // the peer says who it is, or that its Families are others now
	ByeHeard                        // the peer stops; every connection has been reset
	PathSilent                      // a sign of life was asked for, and none came in time
	PathAlive                       // one came: after a silence, or because of Ping
)

// Families are address families.
type Families = datagram.Families

// The families.
const (
	IPv4 = datagram.IPv4
	IPv6 = datagram.IPv6
)

// ByeReason says why an end stops.
type ByeReason = datagram.ByeReason

// The reasons to stop.
const (
	ByeShutdown = datagram.Shutdown
	ByeRevoked  = datagram.Revoked // this peer is not welcome any more
)

// eventsMax bounds the events that wait for NextEvent.
const eventsMax = 256

// NextEvent returns the oldest event not returned yet. Of more than 256 the newest are lost.
func (b *Bond) NextEvent() (Event, bool) {
	if len(b.events) == 0 {
		return Event{}, false
	}
	e := b.events[0]
	b.events = b.events[:copy(b.events, b.events[1:])]
	return e, true
}

func (b *Bond) report(e Event) {
	if len(b.events) == eventsMax {
		b.counters.LimitEvents++
		return
	}
	b.events = append(b.events, e)
}

// liveness is what is known of whether a path works.
type liveness struct {
	pingAt   clock.Time // when it is next asked for a sign of life
	pings    int        // asked in vain so far
	askedAt  clock.Time // when it was first
	since    clock.Time // since when it works
	silent   bool       // asked, and it did not answer in time
	doubted  bool       // octets of connections were given to other paths
	asked    bool       // by Ping
	measured bool       // asked because an offer or a join came over it first
}

const (
	// pingEvery is how often a path that is silent is asked for a sign of life. After pingsFast times the pauses
	// double up to pingPause, and in the end they grow with the silence, of which each is one pingPart-th: to
	// notice the end that much later adds little to what was lost already.
	pingEvery    = 100 * time.Millisecond
	pingsFast    = 20
	pingPause    = 5 * time.Second
	pingPart     = 12
	pingPauseMax = 60 * time.Second

	// silenceLeast is for how long nothing may come back of datagrams: many ask for no answer.
	silenceLeast = 200 * time.Millisecond
)

// Ping asks every path for a sign of life now: a PathAlive or PathSilent for each tells the result.
func (b *Bond) Ping(now clock.Time) {
	for _, p := range b.paths {
		p.asked = true
		p.pingAt, p.pings = now, 0
	}
	b.probe(now)
}

// suspected begins to probe a path that is silent with octets outstanding.
func (b *Bond) suspected(now clock.Time, p *bondPath) {
	if b.lane == nil {
		return
	}
	p.doubted = true
	if p.pings == 0 || p.pingAt == clock.Never {
		p.pingAt, p.pings = now, 0
	}
}

// expect has the path asked for a sign of life if none comes after what leaves now.
func (b *Bond) expect(now clock.Time, p *bondPath) {
	if p.pingAt == clock.Never {
		p.pingAt, p.pings = now.Add(max(silenceLeast, b.patience(p))), 0
	}
}

// rtt is the smoothed round trip of a path of a Paired bond, whoever measured it; 0: nobody.
func (b *Bond) rtt(p *bondPath) time.Duration {
	if rtt, _, _ := p.state.RTT(); rtt > 0 {
		return rtt
	}
	rtt, _ := b.lane.control.RTT(datagram.PathID(p.id))
	return rtt
}

// patience is how long an answer over the path may take.
func (b *Bond) patience(p *bondPath) time.Duration {
	if rtt, _, _ := p.state.RTT(); rtt > 0 {
		return p.state.Silence()
	}
	_, timeout := b.lane.control.RTT(datagram.PathID(p.id))
	return timeout
}

// probe asks silent paths for a sign of life, and judges those that gave none.
func (b *Bond) probe(now clock.Time) {
	for _, p := range b.paths {
		if p.pingAt > now || p.pingAt == clock.Never {
			continue
		}
		if b.lane == nil || !b.lane.control.Ping(now, datagram.PathID(p.id), 0) {
			p.pingAt, p.asked = clock.Never, false
			continue
		}
		if p.pings == 0 {
			p.askedAt = now
		}
		verdict := p.askedAt.Add(b.patience(p))
		if p.pings > 0 && now >= verdict {
			b.fellSilent(now, p)
		}
		p.pings++
		p.pingAt = now.Add(p.pause(now))
		if verdict > now {
			p.pingAt = min(p.pingAt, verdict)
		}
	}
}

// pause is how long after this PING the next follows.
func (p *bondPath) pause(now clock.Time) time.Duration {
	pause := min(pingEvery<<min(max(0, p.pings-pingsFast), 6), pingPause)
	return max(pause, min(now.Sub(p.askedAt)/pingPart, pingPauseMax))
}

// fellSilent notes that a path does not answer: datagrams, and offers that are held, take others.
func (b *Bond) fellSilent(now clock.Time, p *bondPath) {
	if !p.silent || p.asked {
		b.report(Event{Kind: PathSilent, Path: p.id})
	}
	p.asked = false
	if !p.silent {
		p.silent = true
		b.reroute(now, p)
		b.eachConn(func(c *Conn) { c.strayed(now) })
	}
}

// alive puts a path into use again that was silent.
func (b *Bond) alive(now clock.Time, p *bondPath) {
	p.state.Heard(now)
	p.heardAt = now
	if p.pingAt == clock.Never && !p.silent && !p.doubted {
		return
	}
	p.pingAt, p.pings = clock.Never, 0
	if p.silent || p.asked {
		b.report(Event{Kind: PathAlive, Path: p.id, RTT: b.rtt(p)})
	}
	if p.silent {
		p.silent, p.since = false, now
	}
	p.asked = false
	if !p.doubted {
		return
	}
	p.doubted = false
	b.eachConn(func(c *Conn) { c.restore(now, p) })
}

// restore has a connection use a path again.
func (c *Conn) restore(now clock.Time, p *bondPath) {
	for _, f := range c.subflows {
		if f.path == p && f.suspect {
			f.back(now)
			c.b.touch(now, c)
		}
	}
}
