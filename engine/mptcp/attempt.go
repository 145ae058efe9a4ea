package mptcp

import (
	"net/netip"
	"slices"
	"time"

	"tandem/engine/clock"
)

// An attempt is a join that waits to be tried, or that is not tried again.
type attempt struct {
	path   *bondPath
	remote netip.AddrPort
	id     uint8      // the peer's number of the address
	at     clock.Time // Never: it is under way, or given up
	tries  int        // how often it was listed with a time
	silent int        // how often nobody answered
}

const (
	// attemptsMax bounds the joins that are listed.
	attemptsMax = 64

	// silentMax is how many joins an announced address may leave unanswered until it is announced anew: it may be a third
	// party's, whom the peer wants to be sent SYNs (RFC 6181 5).
	silentMax = 3
)

// attemptOf returns what is listed of a join, nil if it is not.
func (c *Conn) attemptOf(p *bondPath, remote netip.AddrPort) *attempt {
	for i := range c.signal.attempts {
		if x := &c.signal.attempts[i]; x.path == p && x.remote == remote {
			return x
		}
	}
	return nil
}

// listAttempt returns the entry of an attempt, nil if there is no room for it.
func (c *Conn) listAttempt(a attempt) *attempt {
	if x := c.attemptOf(a.path, a.remote); x != nil || c.b.path(a.path.id) != a.path {
		return x
	}
	if len(c.signal.attempts) == attemptsMax {
		c.b.counters.LimitAttempts++
		return nil
	}
	a.at = clock.Never
	c.signal.attempts = append(c.signal.attempts, a)
	return &c.signal.attempts[len(c.signal.attempts)-1]
}

// retryLater joins over the path again after wait, doubled with each failure.
func (c *Conn) retryLater(now clock.Time, a attempt, wait time.Duration) {
	if x := c.listAttempt(a); x != nil {
		x.at = now.Add(min(wait<<min(x.tries, 6), 30*time.Second))
		x.tries++
		c.signal.at = min(c.signal.at, x.at)
	}
}

// putOff looks again in a second whether another join over the same path is still under way.
func (c *Conn) putOff(now clock.Time, a attempt) {
	if x := c.listAttempt(a); x != nil {
		x.at = now.Add(time.Second)
		c.signal.at = min(c.signal.at, x.at)
	}
}

// giveUp lists a join that is not to be tried again.
func (c *Conn) giveUp(a attempt) {
	if x := c.listAttempt(a); x != nil {
		x.at = clock.Never
	}
}

// unanswered notes that nobody answered a join, which is not tried again if that happened too often.
func (c *Conn) unanswered(a attempt) {
	if x := c.attemptOf(a.path, a.remote); x != nil {
		if x.silent++; c.exhausted(x.path, x.remote) {
			x.at = clock.Never
		}
	}
}

// exhausted reports whether the peer announced an address that does not answer over the path, nor did over any.
func (c *Conn) exhausted(p *bondPath, remote netip.AddrPort) bool {
	x := c.attemptOf(p, remote)
	if x == nil || x.id == 0 || x.silent < silentMax {
		return false
	}
	return !slices.ContainsFunc(c.signal.theirs, func(a peerAddress) bool { return a.addr == remote && a.reached })
}

// retryJoins starts the attempts whose time has come. They stay listed, so that the next failure
// waits longer, until one succeeds.
func (c *Conn) retryJoins(now clock.Time) {
	for i := 0; i < len(c.signal.attempts); i++ {
		a := &c.signal.attempts[i]
		if a.at <= now {
			a.at = clock.Never
			c.joinOver(now, a.path, a.remote, a.id)
		}
	}
}

// hopes reports whether a join is to be tried again.
func (c *Conn) hopes() bool {
	return slices.ContainsFunc(c.signal.attempts, func(a attempt) bool { return a.at != clock.Never })
}

func (c *Conn) forgetAttempts(p *bondPath) {
	c.signal.attempts = slices.DeleteFunc(c.signal.attempts, func(a attempt) bool { return a.path == p })
}

// refreshed forgets that an address did not answer: the peer announced it anew (RFC 8684 3.9.3).
func (c *Conn) refreshed(remote netip.AddrPort) {
	c.signal.attempts = slices.DeleteFunc(c.signal.attempts, func(a attempt) bool { return a.remote == remote })
}

// reached notes that a join succeeded.
func (c *Conn) reached(f *subflow) {
	c.forgetAttempts(f.path)
	for i := range c.signal.theirs {
		if a := &c.signal.theirs[i]; f.active && a.addr == f.tcp.Config().Remote {
			a.reached = true
		}
	}
}

// seekOthers has the peer's other addresses tried over a path on which one failed.
func (c *Conn) seekOthers(now clock.Time, p *bondPath) {
	c.eachAddress(func(remote netip.AddrPort, id uint8) {
		if p.reaches(remote.Addr()) && c.offersAddress(id) && c.attemptOf(p, remote) == nil {
			c.retryLater(now, attempt{path: p, remote: remote, id: id}, time.Second)
		}
	})
}

// rejoinLater tries every path to every address again, each time later: a join has been answered by a refusal, and the
// next may be answered as quickly.
func (c *Conn) rejoinLater(now clock.Time) {
	for _, p := range c.b.paths {
		c.eachAddress(func(remote netip.AddrPort, id uint8) {
			x := c.attemptOf(p, remote)
			if p.reaches(remote.Addr()) && (x == nil || x.at == clock.Never) && !c.exhausted(p, remote) {
				c.retryLater(now, attempt{path: p, remote: remote, id: id}, time.Second)
			}
		})
	}
}

// eachAddress calls do for each address of the peer that this end may join, with the peer's number of it.
func (c *Conn) eachAddress(do func(remote netip.AddrPort, id uint8)) {
	if c.client && !c.id.noJoins {
		do(c.target, 0)
	}
	if c.client || c.b.cfg.JoinAnnounced {
		for _, a := range c.signal.theirs {
			do(a.addr, a.id)
		}
	}
}
