package datagram

import (
	"slices"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// Port is the UDP port at which both ends hear the control lane.
const Port = 8684

// Bounds of what a Control keeps.
const (
	pingsMax  = 16   // outstanding, per path
	acksMax   = 1024 // that wait to be sent, per path
	pongsMax  = 64   // likewise
	eventsMax = 1024
	offersMax = 512 // HELD and REFUSED not acknowledged, unless configured
)

// offerLife is how long an offer's answer is worth repeating: afterwards the offer is forgotten.
const offerLife = 60 * time.Second

// PathID is the number of a path within a bond, the same at both ends.
type PathID uint8

// ControlConfig is what a Control tells about its end. Epoch must be set.
type ControlConfig struct {
	Epoch                  uint64 // random, not 0, another for each Control
	VersionMin, VersionMax uint8  // of the lane, that this end speaks; 0 means 1
	Features               uint32 // one bit each
	Families               Families
	Limits                 Limits
	Offers                 int // answers to offers kept until acknowledged; 0 means 512
}

// Families are address families with a default route that was tested.
type Families uint8

// The families.
const (
	IPv4 Families = 1 << iota
	IPv6
)

// Limits are what an end lets its peer have; 0 means that it does not say.
type Limits struct {
	Connections, Offers, Mappings uint32
	Buffered                      uint64 // octets
}

// Counters count what a bound or a peer made the lane drop.
type Counters struct {
	Skipped uint64 // messages of unknown type or version
	Offers  uint64 // answers to offers dropped because newer ones needed the room
	Expired uint64 // answers to offers that nobody acknowledged in time
	Events  uint64 // events that found no room, for want of Next
	Answers uint64 // ACKs and PONGs that found no room, for want of Transmit
}

// Control is one end of the control lane. It belongs to one owner: see the package comment.
type Control struct {
	cfg      ControlConfig
	seq      uint32 // the last given to news
	pingID   uint32
	paths    []*lanePath // attached, by number
	own      []PathState // as SetPath said
	news     []news      // not acknowledged, oldest first
	offers   int         // how many of news are HELD or REFUSED
	order    []*lanePath // scratch of choose
	peer     peer
	events   []Event
	reported int // how many of events Next returned
	counters Counters
}

// NewControl returns a lane without paths, with a HELLO to say on the first.
func NewControl(cfg ControlConfig) *Control {
	cfg.VersionMin, cfg.VersionMax = max(cfg.VersionMin, 1), max(cfg.VersionMax, cfg.VersionMin, 1)
	if cfg.Offers == 0 {
		cfg.Offers = offersMax
	}
	c := &Control{cfg: cfg}
	c.tell(0, news{kind: hello})
	return c
}

// Attach adds a path over which packets can be exchanged from now on.
func (c *Control) Attach(now clock.Time, id PathID) {
	if c.path(id) != nil {
		return
	}
	i := 0
	for i < len(c.paths) && c.paths[i].id < id {
		i++
	}
	c.paths = slices.Insert(c.paths, i, &lanePath{id: id})
	c.hurry(now)
}

// Detach removes a path and forgets what was measured on it. What it was to deliver goes out elsewhere at once.
func (c *Control) Detach(now clock.Time, id PathID) {
	c.paths = slices.DeleteFunc(c.paths, func(p *lanePath) bool { return p.id == id })
	c.reroute(now, id)
}

// SetPath tells the peer about a path of this end, attached or not. A path that is Off or Never
// carries nothing, not even this message: that takes another one.
func (c *Control) SetPath(now clock.Time, s PathState) {
	i := slices.IndexFunc(c.own, func(o PathState) bool { return o.ID == s.ID })
	if i >= 0 && c.own[i] == s {
		return
	}
	was := !closed(c.own, s.ID)
	if i < 0 {
		c.own = append(c.own, s)
	} else {
		c.own[i] = s
	}
	c.forget(func(m *news) bool { return m.kind == pathNews && m.path == s.ID })
	c.tell(now, news{kind: pathNews, path: s.ID})
	switch p := c.path(s.ID); {
	case p == nil || c.open(p) == was:
	case was:
		p.clear()
		c.reroute(now, s.ID)
	default:
		c.hurry(now)
	}
}

// PathTold reports whether the peer has acknowledged what SetPath said last about a path.
func (c *Control) PathTold(id PathID) bool {
	said := slices.ContainsFunc(c.own, func(s PathState) bool { return s.ID == id })
	return said && !slices.ContainsFunc(c.news, func(m news) bool { return m.kind == pathNews && m.path == id })
}

// SetFamilies tells the peer that other families have a tested default route now.
func (c *Control) SetFamilies(now clock.Time, f Families) {
	if c.cfg.Families != f {
		c.cfg.Families = f
		c.tellHello(now)
	}
}

// Held tells the peer that its offer came and waits for an answer. Told again it changes nothing.
func (c *Control) Held(now clock.Time, o OfferID) {
	o = o.plain()
	told := slices.ContainsFunc(c.news, func(m news) bool { return m.answers(o) })
	if !told && o.Target.IsValid() {
		c.tellOffer(now, news{kind: held, offer: o})
	}
}

// Refused tells the peer that its offer was refused, and why: in the words of RFC 8684 3.6, or with HostRefused
// and those after it.
func (c *Control) Refused(now clock.Time, o OfferID, why wire.Reason) {
	o = o.plain()
	if !o.Target.IsValid() {
		return
	}
	c.forget(func(m *news) bool { return m.answers(o) })
	c.tellOffer(now, news{kind: refused, offer: o, reason: uint8(why)})
}

// Bye tells the peer that this end stops, and drops what else the peer has not heard yet. The owner
// may wait for Unacknowledged to be 0 before it leaves.
func (c *Control) Bye(now clock.Time, why ByeReason) {
	c.forget(func(m *news) bool { return m.kind != hello })
	c.tell(now, news{kind: bye, reason: uint8(why)})
}

// Unacknowledged returns how many messages the peer has not acknowledged.
func (c *Control) Unacknowledged() int { return len(c.news) }

// Counters returns what was dropped so far.
func (c *Control) Counters() Counters { return c.counters }

// Deadline returns when Advance must next be called, or Never.
func (c *Control) Deadline() clock.Time {
	at := clock.Never
	usable := false
	for _, p := range c.paths {
		at = min(at, p.deadline())
		usable = usable || c.usable(p)
	}
	for i := range c.news {
		if m := &c.news[i]; usable && c.sendable(m) {
			at = min(at, m.due)
		}
	}
	return at
}

// Advance notices what fell due at or before now: PINGs without an answer, answers to offers that are
// too old to matter. What is to be repeated leaves with Transmit.
func (c *Control) Advance(now clock.Time) {
	for _, p := range c.paths {
		c.expire(now, p)
	}
	n := len(c.news)
	c.forget(func(m *news) bool { return m.ofOffer() && now >= m.since.Add(offerLife) })
	c.counters.Expired += uint64(n - len(c.news))
}

func (c *Control) path(id PathID) *lanePath {
	for _, p := range c.paths {
		if p.id == id {
			return p
		}
	}
	return nil
}

// open reports whether this end lets anything leave on p.
func (c *Control) open(p *lanePath) bool { return !closed(c.own, p.id) }

// usable reports whether news may leave on p: the peer has not closed it either.
func (c *Control) usable(p *lanePath) bool { return c.open(p) && !closed(c.peer.paths, p.id) }

func closed(states []PathState, id PathID) bool {
	for i := range states {
		if s := &states[i]; s.ID == id {
			return s.State == Off || s.Role == Never
		}
	}
	return false
}
