package datagram

import (
	"slices"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// Bounds of what is remembered of the processes before.
const (
	formerLife = 60 * time.Second // how long packets of theirs may still be under way
	formerMax  = 8
)

// former is a process that has given way to another.
type former struct {
	epoch uint64
	until clock.Time
}

// peer is what the other end said. It is forgotten when another process answers there.
type peer struct {
	epoch    uint64        // 0: not met
	former   []former      // oldest first
	greeting ControlConfig // as in its newest HELLO
	helloSeq uint32
	paths    []PathState
	pathSeqs []uint32 // of the news that paths come from
	seen     window
	gone     bool // said BYE
}

// Negotiation is what both ends agreed upon.
type Negotiation struct {
	Version  uint8    // the highest that both speak; 0: none
	Features uint32   // those of both
	Families Families // the peer's
	Limits   Limits   // the peer's
	Epoch    uint64   // the peer's
}

// Negotiated returns what was agreed; ok is false while the peer has not said HELLO.
func (c *Control) Negotiated() (n Negotiation, ok bool) {
	g := &c.peer.greeting
	if c.peer.helloSeq == 0 {
		return n, false
	}
	n = Negotiation{Features: c.cfg.Features & g.Features, Families: g.Families, Limits: g.Limits, Epoch: c.peer.epoch}
	if v := min(c.cfg.VersionMax, g.VersionMax); v >= max(c.cfg.VersionMin, g.VersionMin) {
		n.Version = v
	}
	return n, true
}

// Receive takes a packet that came over a path; it does not keep msg. An error says why the packet, or
// a message in it, was dropped: all others in it count.
func (c *Control) Receive(now clock.Time, id PathID, msg []byte) error {
	p := c.path(id)
	if p == nil {
		return ErrNoPath
	}
	h, messages, err := parseHeader(msg)
	if err != nil {
		return err
	}
	if h.from == c.cfg.Epoch {
		return ErrReflected
	}
	if c.peer.wasFormer(now, h.from) {
		return ErrStale
	}
	c.hear(now, p)
	for len(messages) > 0 {
		k, v, body, rest := split(messages)
		messages = rest
		e := c.believe(h, k)
		if e == nil {
			e = c.take(now, p, h, k, v, body, len(msg))
		}
		if err == nil {
			err = e
		}
	}
	return err
}

// believe reports why not to listen to a message of a packet with that header.
func (c *Control) believe(h header, k kind) error {
	switch {
	case k == hello:
		return nil
	case h.from != c.peer.epoch:
		return ErrStranger
	case h.to != 0 && h.to != c.cfg.Epoch:
		return ErrStale
	}
	return nil
}

func (c *Control) take(now clock.Time, p *lanePath, h header, k kind, v uint8, body []byte, size int) error {
	switch {
	case k == hello:
		return c.greeted(now, p, h, body)
	case v != version:
		c.counters.Skipped++
		return nil
	case k == ping:
		return c.pinged(now, p, body, size)
	case k == pong:
		return c.ponged(now, p, body)
	case k == ack:
		for ; len(body) >= 4; body = body[4:] {
			c.acknowledged(now, p, be.Uint32(body))
		}
		return nil
	case k == pathNews || k == held || k == refused || k == bye:
		return c.learn(now, p, k, body)
	}
	c.counters.Skipped++
	return nil
}

// greeted takes a HELLO.
func (c *Control) greeted(now clock.Time, p *lanePath, h header, body []byte) error {
	g, err := parseHello(body)
	if err != nil {
		return err
	}
	seq := be.Uint32(body)
	if h.from != c.peer.epoch {
		c.meet(now, h.from)
	} else if h.to != 0 && h.to != c.cfg.Epoch {
		// The peer takes us for another, so it cannot know us.
		c.tellHello(now)
	}
	if c.peer.helloSeq != 0 && int32(seq-c.peer.helloSeq) <= 0 {
		c.answer(p, seq)
		return nil
	}
	changed := c.peer.helloSeq == 0 && len(c.peer.former) > 0
	if c.report(Event{Kind: PeerHello, Path: p.id, Changed: changed}) {
		c.peer.greeting, c.peer.helloSeq = g, seq
		c.answer(p, seq)
	}
	return nil
}

// meet turns to the process of that epoch.
func (c *Control) meet(now clock.Time, epoch uint64) {
	before := c.peer.epoch
	if c.peer = (peer{epoch: epoch, former: c.peer.former}); before == 0 {
		return
	}
	f := append(c.peer.former, former{before, now.Add(formerLife)})
	c.peer.former = slices.Delete(f, 0, max(0, len(f)-formerMax))
	c.renew(now)
}

// wasFormer reports whether packets of that epoch may be late ones of a process that is gone.
func (p *peer) wasFormer(now clock.Time, epoch uint64) bool {
	return slices.ContainsFunc(p.former, func(f former) bool { return f.epoch == epoch && now < f.until })
}

// renew tells a peer that knows nothing any more all that is not about the offers of its former self.
func (c *Control) renew(now clock.Time) {
	for _, p := range c.paths {
		p.clear()
	}
	leaving := slices.ContainsFunc(c.news, func(m news) bool { return m.kind == bye })
	c.tellHello(now)
	c.forget(func(m *news) bool { return m.ofOffer() || m.kind == pathNews })
	for _, s := range c.own {
		if !leaving {
			c.tell(now, news{kind: pathNews, path: s.ID})
		}
	}
}

// learn takes news, once, and acknowledges them when they found room.
func (c *Control) learn(now clock.Time, p *lanePath, k kind, body []byte) error {
	if len(body) < byeLen {
		return ErrMalformed
	}
	seq := be.Uint32(body)
	if c.peer.seen.has(seq) {
		c.answer(p, seq)
		return nil
	}
	taken := true
	switch k {
	case pathNews:
		s, err := parsePath(body)
		if err != nil {
			return err
		}
		taken = c.learnPath(now, p, seq, s)
	case held, refused:
		o, reason, age, err := parseOffer(body)
		if err != nil {
			return err
		}
		e := Event{Kind: PeerHeld, Path: p.id, Offer: o, Age: age}
		if k == refused {
			e.Kind, e.Reason = PeerRefused, wire.Reason(reason)
		}
		taken = c.report(e)
	case bye:
		taken = c.report(Event{Kind: PeerBye, Path: p.id, Bye: ByeReason(body[4])})
		c.peer.gone = c.peer.gone || taken
	}
	if taken {
		c.peer.seen.add(seq)
		c.answer(p, seq)
	}
	return nil
}

// learnPath takes what the peer says about a path, unless something newer came before.
func (c *Control) learnPath(now clock.Time, p *lanePath, seq uint32, s PathState) bool {
	i := slices.IndexFunc(c.peer.paths, func(o PathState) bool { return o.ID == s.ID })
	if i >= 0 && int32(seq-c.peer.pathSeqs[i]) < 0 {
		return true
	}
	if !c.report(Event{Kind: PeerPath, Path: p.id, State: s}) {
		return false
	}
	was := !closed(c.peer.paths, s.ID)
	if i < 0 {
		c.peer.paths, c.peer.pathSeqs = append(c.peer.paths, s), append(c.peer.pathSeqs, seq)
	} else {
		c.peer.paths[i], c.peer.pathSeqs[i] = s, seq
	}
	if was && closed(c.peer.paths, s.ID) {
		c.reroute(now, s.ID)
	}
	return true
}

// answer queues an ACK.
func (c *Control) answer(p *lanePath, seq uint32) {
	if len(p.acks) >= acksMax {
		c.counters.Answers++
	} else if c.open(p) {
		p.acks = append(p.acks, seq)
	}
}

// PeerPath returns what the peer said last about a path; ok is false if it said nothing.
func (c *Control) PeerPath(id PathID) (s PathState, ok bool) {
	for _, s := range c.peer.paths {
		if s.ID == id {
			return s, true
		}
	}
	return s, false
}
