package mptcp

import (
	"tandem/engine/clock"
	"tandem/engine/datagram"
	"tandem/engine/schedule"
)

// load is what the connections of a bond have to send.
type load struct {
	unsent int // octets that wait for a path
	busy   int // connections that have any, or some on their way
	debt   schedule.Debt
}

// burden is a connection's part of the load.
type burden struct{ unsent, busy int }

// weigh brings the bond's load up to date with what the connection has to send. What the peer's window keeps back
// waits for no path.
func (c *Conn) weigh(now clock.Time) {
	var is burden
	if s := &c.snd; c.phase == open {
		if s.next < min(s.edge, s.end) {
			is.unsent = int(s.end - s.next)
		}
		if is.unsent > 0 || s.una < s.next && c.outstanding() {
			is.busy = 1
		}
	}
	l, was := &c.b.load, c.burden
	l.debt.Advance(now, l.unsent > 0)
	l.unsent += is.unsent - was.unsent
	l.busy += is.busy - was.busy
	c.burden = is
	if busy := is.busy > 0; busy != (c.measuring.at != clock.Never) {
		c.measuring.arm(now, busy)
	}
}

// outstanding reports whether octets have left that no acknowledgement came for.
func (c *Conn) outstanding() bool {
	for _, f := range c.subflows {
		if f.tcp.Outstanding() > 0 {
			return true
		}
	}
	return false
}

// waiting returns how many octets wait on the bond, in the eyes of a scheduler.
func (l *load) waiting() int { return l.unsent + l.debt.Owed() }

// hoard returns how many octets more than the paths can carry the application must be allowed to write: those that wait
// before the dearest path is used, less what others have written.
func (c *Conn) hoard() int {
	if _, ok := c.sched.(schedule.Cost); !ok {
		return 0
	}
	c.views = c.views[:0]
	for _, f := range c.subflows {
		c.views = append(c.views, f.standing())
	}
	return max(schedule.Backlog(c.sched, c.views)-(c.b.load.unsent-c.burden.unsent), 0)
}

// spares reports whether f is too dear for octets that g may bring yet.
func (c *Conn) spares(f, g *subflow) bool {
	_, ok := c.sched.(schedule.Cost)
	return ok && f.path.price() > g.path.price()
}

// scheduler returns a scheduler for a new connection.
func (cfg *Config) scheduler() schedule.Scheduler {
	s, ok := schedule.New(cfg.Scheduler)
	if !ok {
		s, _ = schedule.New("")
	}
	if _, ok := s.(schedule.Cost); ok {
		s = schedule.Cost{V: cfg.CostV}
	}
	return s
}

// SetPrice changes what 10⁹ octets over a path cost, in thousandths of a currency that is the same for all paths; 0 is
// nothing. It is the scheduler "cost" that looks at it. A Paired peer is told, and what either end says counts, the
// higher price if both do.
func (b *Bond) SetPrice(now clock.Time, id PathID, price int) {
	p := b.path(id)
	if price = priced(price); p == nil || p.cfg.Price == price {
		return
	}
	p.cfg.Price = price
	b.retell(now, p)
	b.eachConn(func(c *Conn) { b.touch(now, c) })
}

// priceMax is more than any price that is reckoned with.
const priceMax = 1<<31 - 1

func priced(n int) int { return min(max(n, 0), priceMax) }

// priceOf is what the peer says that a path costs.
func priceOf(s datagram.PathState) int { return int(min(s.Price, priceMax)) }

// price is what the path costs.
func (p *bondPath) price() int { return max(p.cfg.Price, p.peerPrice) }
