package datagram

import (
	"cmp"
	"slices"
	"time"

	"tandem/engine/clock"
)

const (
	triesPerPath = 2                // before news go over the next best path
	repeatMax    = 20 * time.Second // a peer that is gone costs no more than keeping a NAT open
	repeatOffer  = 2 * time.Second  // somebody waits for an offer's answer, and not for long
)

// news is a message to be repeated until it is acknowledged. What HELLO and PATH say is read when
// they leave, so that they are never old.
type news struct {
	kind   kind
	seq    uint32
	path   PathID // of PATH
	offer  OfferID
	reason uint8

	since clock.Time    // when it was told
	due   clock.Time    // when it shall leave next
	gap   time.Duration // from the last time that it left to due
	tries int           // times it left because it was due, since things last looked up
	sent  int           // times it left at all
	left  clock.Time    // when it left last
	last  PathID        // over which it left last
}

func (m *news) ofOffer() bool { return m.kind == held || m.kind == refused }

func (m *news) answers(o OfferID) bool { return m.ofOffer() && m.offer == o }

// wait is how long the news wait for their acknowledgement before they leave once more.
func (m *news) wait(timeout time.Duration) time.Duration {
	if m.ofOffer() {
		return min(timeout<<min(m.tries, 10), repeatOffer)
	}
	return min(timeout<<min(m.tries, 10), repeatMax)
}

// length is that of the whole message.
func (m *news) length() int {
	switch {
	case m.kind == hello:
		return messageLen + helloLen
	case m.kind == pathNews:
		return messageLen + pathLen
	case m.kind == bye:
		return messageLen + byeLen
	case m.offer.Target.Addr().Is4():
		return messageLen + offerLen + 4
	}
	return messageLen + offerLen + 16
}

// rides reports whether the news may leave in a packet that is sent anyway: what is repeated for long
// when half the wait is over, so that it comes to leave together.
func (m *news) rides(now clock.Time) bool {
	return m.due <= now || m.tries > triesPerPath && m.due.Add(-m.gap/2) <= now
}

// tell queues news.
func (c *Control) tell(now clock.Time, m news) {
	c.seq++
	m.seq, m.since, m.due = c.seq, now, now
	c.news = append(c.news, m)
	if m.ofOffer() {
		c.offers++
	}
}

// tellOffer queues an answer to an offer; the oldest gives way when there is no room.
func (c *Control) tellOffer(now clock.Time, m news) {
	if c.offers >= c.cfg.Offers {
		i := slices.IndexFunc(c.news, func(m news) bool { return m.ofOffer() })
		c.news = slices.Delete(c.news, i, i+1)
		c.offers--
		c.counters.Offers++
	}
	c.tell(now, m)
}

// tellHello queues HELLO in the place of an earlier one.
func (c *Control) tellHello(now clock.Time) {
	c.forget(func(m *news) bool { return m.kind == hello })
	c.tell(now, news{kind: hello})
}

// forget drops the news for which over is true.
func (c *Control) forget(over func(*news) bool) {
	kept := c.news[:0]
	for i := range c.news {
		m := &c.news[i]
		if !over(m) {
			kept = append(kept, *m)
		} else if m.ofOffer() {
			c.offers--
		}
	}
	c.news = kept
}

// acknowledged drops the news of that number, and learns the round trip if it left once, on p.
func (c *Control) acknowledged(now clock.Time, p *lanePath, seq uint32) {
	i, found := slices.BinarySearchFunc(c.news, seq, func(m news, seq uint32) int { return int(int32(m.seq - seq)) })
	if !found {
		return
	}
	m := c.news[i]
	if m.sent == 1 && m.last == p.id { // else it cannot be told which was acknowledged (Karn)
		p.sample(now.Sub(m.left))
	}
	c.news = slices.Delete(c.news, i, i+1)
	if m.ofOffer() {
		c.offers--
	}
}

// hurry has all news leave now, for things look up.
func (c *Control) hurry(now clock.Time) {
	for i := range c.news {
		m := &c.news[i]
		m.tries, m.gap, m.due = 0, 0, now
	}
}

// reroute has those news leave now that left last on a path that fails.
func (c *Control) reroute(now clock.Time, id PathID) {
	for i := range c.news {
		if m := &c.news[i]; m.sent > 0 && m.last == id {
			m.tries += m.tries % triesPerPath
			m.gap, m.due = 0, now
		}
	}
}

// sendable reports whether the peer is there to hear m, as far as is known, and understands it.
func (c *Control) sendable(m *news) bool {
	if c.peer.gone {
		return false
	}
	n, met := c.Negotiated()
	return !met || n.Version != 0 || m.kind == hello
}

// due returns the oldest news that shall leave now.
func (c *Control) due(now clock.Time) *news {
	for i := range c.news {
		if m := &c.news[i]; m.due <= now && c.sendable(m) {
			return m
		}
	}
	return nil
}

// choose returns the path for m: the best one at first, and after triesPerPath the next best, and so
// on around. nil: none is usable.
func (c *Control) choose(m *news) *lanePath {
	c.order = c.order[:0]
	for _, p := range c.paths {
		if c.usable(p) {
			c.order = append(c.order, p)
		}
	}
	if len(c.order) == 0 {
		return nil
	}
	slices.SortStableFunc(c.order, c.compare)
	if m.tries == 0 {
		return c.order[0]
	}
	i := slices.IndexFunc(c.order, func(p *lanePath) bool { return p.id == m.last })
	if i < 0 || m.tries%triesPerPath == 0 {
		i = (i + 1) % len(c.order)
	}
	return c.order[i]
}

// compare puts the better path first: one that is heard, works, and is wanted at both ends, and
// then the quicker one. A path without a measurement comes last.
func (c *Control) compare(p, q *lanePath) int {
	return cmp.Or(
		cmp.Compare(c.rank(p), c.rank(q)),
		cmp.Compare(uint64(p.rttSmooth)-1, uint64(q.rttSmooth)-1),
	)
}

func (c *Control) rank(p *lanePath) int {
	n := 0
	if p.silent {
		n += 100
	}
	if p.doubtful {
		n += 50
	}
	for _, list := range [2][]PathState{c.own, c.peer.paths} {
		for i := range list {
			if s := &list[i]; s.ID == p.id {
				n += 10*int(s.State) + int(s.Role)
			}
		}
	}
	return n
}
