package client

import (
	"time"

	"tandem/app/control"
	"tandem/engine"
)

// WireGuard's own timers are made for peers that are always there; the loop begins handshakes itself, when
// a link comes up, when every path is silent, and when another hub answers than before.
const (
	silenceMax       = 2 * time.Second // of every path at once, before all shake hands anew
	retryOften       = time.Second     // for the first
	retryOftenTime   = 10 * time.Second
	youngTime        = 5 * time.Second // as WireGuard lets one go by before it tries again itself
	retrySeldom      = 5 * time.Second
	awaitedTime      = 700 * time.Millisecond // that the loop looks often for a handshake's end
	triesPerEndpoint = 2

	// reviveTime is how long the hub is asked often over a link that has fallen silent beside others that
	// have not; the engine asks more and more seldom.
	reviveTime = 30 * time.Second
)

// A revival tells when to begin the next handshake, until there is an answer.
type revival struct{ since, last, next time.Time }

// begin says that a handshake begins now, the first of a row.
func (r *revival) begin(now time.Time) { *r = revival{now, now, now.Add(retryOften)} }

// end says that there was an answer.
func (r *revival) end() { *r = revival{} }

// young reports whether a row of handshakes has just begun: one that is lost is repeated even while other links work.
func (r *revival) young(now time.Time) bool { return !r.since.IsZero() && now.Sub(r.since) < youngTime }

// due reports whether to begin a handshake at now, which then counts as begun.
func (r *revival) due(now time.Time) bool {
	switch {
	case r.since.IsZero():
		r.begin(now)
		return true
	case now.Before(r.next):
		return false
	case now.Sub(r.since) < retryOftenTime:
		r.next = now.Add(retryOften)
	default:
		r.next = now.Add(retrySeldom)
	}
	r.last = now
	return true
}

// advance brings each link a step further, and reports whether a handshake's answer is due any moment.
func (v *live) advance(now time.Time) (awaited bool) {
	v.look()
	if v.native != nil {
		v.native.choose()
	}
	alive := false
	for _, l := range v.carried {
		alive = alive || l.alive
	}
	switch {
	case alive:
		if v.native != nil {
			v.native.learn(now)
		}
		v.silence, v.met = time.Time{}, true
	case v.silence.IsZero():
		v.silence = now
	}
	period, quiet := pingPeriod, false
	for _, l := range v.carried {
		if v.advanceLink(l, now, alive) {
			awaited = true
		}
		if !v.revoked && (!alive || !l.alive && now.Sub(l.fell) < reviveTime) {
			period = retryOften
		}
		quiet = l.pulse.ends(l.pipe.came.Load(), now) || quiet
	}
	v.confine()
	if quiet || now.Sub(v.pinged) >= period {
		v.pinged = now
		v.ping()
	}
	v.pardon(now)
	if !alive && now.Sub(v.silence) > silenceMax {
		v.askLookup()
	}
	return awaited
}

// advanceLink: a link that waits for its carrier's first answer tries again by itself, one that has had it when all are silent.
func (v *live) advanceLink(l *link, now time.Time, othersAlive bool) (awaited bool) {
	c := l.pipe.carrier.Load()
	attached := l.pipe.attachment.Load() != nil
	if c != nil && !attached && !c.Stats().Handshake.IsZero() {
		v.attach(l)
		l.revival.end()
		return true
	}
	switch {
	case l.alive:
		l.tries = 0
		l.revival.end()
		return false
	case v.revoked:
		return false
	case attached && l.pipe.answered() && !l.revival.young(now) && (othersAlive || now.Sub(v.silence) < silenceMax):
		return !othersAlive
	}
	if l.revival.due(now) {
		l.tries++
		if c == nil || v.native == nil && l.tries%triesPerEndpoint == 0 {
			v.reopen(l, now)
		} else {
			v.renew(l)
		}
	}
	return now.Sub(l.revival.last) < awaitedTime
}

// reopen tries with a new socket, and the hub's next endpoint. How long it has been tried counts on.
func (v *live) reopen(l *link, now time.Time) {
	r := l.revival
	v.open(l, now)
	l.revival = r
}

func (v *live) renew(l *link) {
	if c := l.pipe.carrier.Load(); c != nil {
		c.Renew()
	}
}

func (v *live) renewAll(now time.Time) {
	for _, l := range v.carried {
		l.revival.begin(now)
		v.renew(l)
	}
}

// look takes what the engine knows of the paths.
func (v *live) look() {
	bySlot := map[int]*link{}
	for _, l := range v.carried {
		if l.pipe.attachment.Load() != nil {
			bySlot[l.slot] = l
		}
	}
	v.counters = v.bond.Counters()
	for _, p := range v.bond.Paths() {
		if l := bySlot[int(p.ID)]; l != nil {
			l.rtt, l.path = p.RTT, p
			was, silent := l.alive, p.Suspect
			if b, ok := l.pipe.carrier.Load().(*nativeBearer); ok {
				var trouble string
				l.rtt, trouble = b.health()
				silent = trouble != ""
			}
			l.alive = l.pipe.answered() && !silent && !v.left
			if was && !l.alive {
				l.fell = time.Now()
				v.pinged = time.Time{} // are the others, which may be idle, silent too?
			}
		}
	}
}

// heard acts on what the engine said.
func (v *live) heard(e engine.Event, now time.Time) {
	switch {
	case e.Kind == engine.HelloHeard:
		v.greeted(e, now)
	case e.Kind == engine.ByeHeard && e.Bye == engine.ByeRevoked:
		v.pardoned = time.Time{}
		if !v.revoked {
			v.log.Error(revokedSentence)
			v.judged(true, v.families)
		}
	case e.Kind == engine.ByeHeard:
		v.left = true
		v.log.Info("the hub stops")
	}
}

// greeted: a hub says HELLO before it says that it does not accept a device, each time that it is asked.
func (v *live) greeted(e engine.Event, now time.Time) {
	v.judged(v.revoked, families{e.Families&engine.IPv4 != 0, e.Families&engine.IPv6 != 0})
	v.left = false
	if v.revoked {
		v.pardoned = now
		return
	}
	if e.Changed {
		v.log.Info("the hub has started anew")
		for _, l := range v.carried {
			if l.slot != int(e.Path) {
				l.revival.begin(now)
				v.renew(l)
			}
		}
	}
}

// pardonTime is how long after its HELLO a hub may take to say that it does not accept this device.
const pardonTime = 2 * time.Second

// pardon ends a revocation that the hub has not repeated after a HELLO.
func (v *live) pardon(now time.Time) {
	if v.revoked && !v.pardoned.IsZero() && now.Sub(v.pardoned) > pardonTime {
		v.judged(false, v.families)
	}
}

// judged takes what the hub says of this device and of itself.
func (v *live) judged(revoked bool, f families) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.revoked, v.families = revoked, f
}

const (
	revokedShort    = "the hub does not accept this device any more"
	revokedSentence = "The hub is up but does not accept this device any more: ask for a new code, then tandem leave and tandem join"
)

// linkState is what people see of a link that is wanted.
func (v *live) linkState(id string) (state, reason string) {
	l := v.carried[id]
	switch {
	case l == nil:
		return control.LinkUnusable, "all slots of this device are in use"
	case l.trouble != "" && l.pipe.carrier.Load() == nil && l.endpoint.IsValid():
		return control.LinkUnusable, l.trouble
	case l.trouble != "":
		return control.LinkConnecting, l.trouble
	case v.revoked:
		return control.LinkConnecting, revokedShort
	case l.alive && l.parting() != "":
		return control.LinkConnected, l.parting()
	case l.alive && l.private:
		return control.LinkConnected, "private: it carries connections alone, when no other link is connected"
	case l.alive:
		return control.LinkConnected, ""
	case l.pipe.attachment.Load() == nil:
		return control.LinkConnecting, v.peer() + " at " + l.endpoint.String() + " has not answered yet" + l.why()
	}
	if parting := l.parting(); parting != "" {
		return control.LinkSilent, parting
	}
	return control.LinkSilent, v.peer() + " does not answer over it any more" + l.why()
}

// why is what is known of why a proxy does not answer over a link.
func (l *link) why() string {
	if b, ok := l.pipe.carrier.Load().(*nativeBearer); ok {
		if _, trouble := b.health(); trouble != "" {
			return ": " + trouble
		}
	}
	return ""
}
