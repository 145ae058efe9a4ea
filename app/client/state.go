package client

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tandem/app/config"
	"tandem/app/control"
	"tandem/app/tally"
	"tandem/tunnel/carrier"
)

// A meter counts what a link has carried, over all its carriers, and how fast.
type meter struct {
	rx, tx         uint64 // of carriers that are closed
	nowRx, nowTx   uint64 // of all
	counted        uint64 // of both, in the link's usage
	lastRx, lastTx uint64 // at the last measurement
	at             time.Time
	rxRate, txRate float64 // bits a second
}

func (m *meter) keep(s carrier.Stats) {
	m.rx += s.Received
	m.tx += s.Sent
}

func (c *Client) meter(id string) *meter {
	m := c.meters[id]
	if m == nil {
		m = new(meter)
		c.meters[id] = m
	}
	return m
}

// meterPeriod is over what time rates are measured.
const meterPeriod = time.Second

// measure reads all carriers' counters, and counts what links that have left carried last.
func (c *Client) measure(now time.Time) {
	for id, m := range c.meters {
		m.nowRx, m.nowTx = m.rx, m.tx
		if c.live != nil && c.live.carried[id] != nil {
			if open := c.live.carried[id].pipe.carrier.Load(); open != nil {
				s := open.Stats()
				m.nowRx, m.nowTx = m.rx+s.Received, m.tx+s.Sent
			}
		}
		c.count(id, m, now)
		m.step(now)
	}
}

// usagePeriod is how much of what links have carried is forgotten after a crash.
const usagePeriod = time.Minute

// count adds to a link's usage.
func (c *Client) count(id string, m *meter, now time.Time) {
	sum := m.nowRx + m.nowTx
	if sum == m.counted {
		return
	}
	u := c.usage[id]
	u.Add(sum-m.counted, now, c.settings.Link(id).ResetDay)
	c.usage[id], m.counted, c.counted = u, sum, true
}

func (c *Client) keepUsage() {
	if !c.counted {
		return
	}
	c.counted = false
	if err := c.cfg.State.SaveUsage(c.usage); err != nil {
		c.log.Error("what links have carried is not kept", "err", err)
	}
}

func (m *meter) step(now time.Time) {
	passed := now.Sub(m.at)
	if passed < meterPeriod*9/10 {
		return
	}
	if !m.at.IsZero() {
		m.rxRate = float64(m.nowRx-m.lastRx) * 8 / passed.Seconds()
		m.txRate = float64(m.nowTx-m.lastTx) * 8 / passed.Seconds()
	}
	m.at, m.lastRx, m.lastTx = now, m.nowRx, m.nowTx
}

// show publishes how things are.
func (c *Client) show(now time.Time) {
	s := control.State{Links: c.showLinks()}
	if c.member != nil {
		s.Hub.Name, s.Hub.Endpoint = c.member.HubName, c.member.Endpoints[0]
	}
	how := c.conduct()
	if v := c.live; v != nil {
		s.Connections = v.dialer.book.count()
		s.Races, s.Switches = v.counters.Races, v.counters.Switches
		s.FastOpens, s.FastOpensRefused = v.counters.FastOpens, v.counters.FastOpensRefused
		s.Counters = v.tally()
		how = v.manner.now()
		for _, l := range v.carried {
			if l.alive && l.endpoint.IsValid() && len(c.member.Endpoints) > 1 {
				s.Hub.Endpoint = l.endpoint.String()
			}
		}
	}
	how.show(&s)
	s.Phase = c.phaseNow(s.Links, now)
	if s.Phase != c.phase {
		c.phase, c.since = s.Phase, now
		c.log.Info("phase", "phase", s.Phase)
	}
	s.Reason = c.reason(s)
	c.publish(s, c.live)
}

// tally is all that is counted: by the bond, and of a converter.
func (v *live) tally() tally.Tally {
	t := tally.Of(v.counters)
	if v.native != nil && v.native.convert != nil {
		t.AddAll("convert_", v.native.convert.Counters())
	}
	return t
}

func (c *Client) showLinks() []control.Link {
	links := make([]control.Link, 0, len(c.links))
	for _, r := range c.links {
		set, m := c.settings.Link(r.ID), c.meter(r.ID)
		l := control.Link{
			Name: r.Name, Kind: r.Kind, Role: set.Role, Rx: m.nowRx, Tx: m.nowTx, RxRate: m.rxRate, TxRate: m.txRate,
			LimitUp: set.LimitUp, LimitDown: set.LimitDown, Cap: set.Cap, ResetDay: set.ResetDay, Price: set.Price,
			Private: set.Private, Deny: set.Deny, Alone: private(r, set), Address: config.Address(set.Address.Type().String()),
		}
		ok, state, reason := c.wanted(r, set)
		switch {
		case ok && c.live != nil:
			state, reason = c.live.linkState(r.ID)
			if k := c.live.carried[r.ID]; k != nil && k.alive {
				l.RTT, l.Loss = milliseconds(k.rtt), k.path.Loss
				l.Forward, l.Backward = milliseconds(k.path.Forward), milliseconds(k.path.Backward)
			}
		case ok:
			state, reason = control.LinkOff, ""
		}
		if c.live != nil && c.live.carried[r.ID] != nil {
			c.live.carried[r.ID].showPath(&l)
		}
		l.State, l.Reason = state, reason
		if state != control.LinkConnected {
			l.RxRate, l.TxRate = 0, 0 // of a moment ago, or of asking for a sign of life
		}
		links = append(links, l)
	}
	return links
}

// showPath says what both ends agreed on for a link's path, as long as there is one.
func (k *link) showPath(l *control.Link) {
	if k.pipe.attachment.Load() == nil {
		return
	}
	p := &k.path
	l.Granted, l.Won = p.Granted, p.Won
	l.Leaving, l.Left = p.Leaving, int(p.Left.Round(time.Second)/time.Second)
	l.PeerUp, l.PeerDown, l.LimitUsed = config.RateOf(p.PeerDown), config.RateOf(p.PeerUp), config.RateOf(p.Limit)
	if p.Limit == 0 {
		l.LimitUsed = config.RateOf(p.LimitUp) // the proxy of another make is asked connection by connection
	}
}

// patience is how long the hub may take to answer before it is called unreachable.
const patience = 5 * time.Second

// phaseNow says in one word how things are.
func (c *Client) phaseNow(links []control.Link, now time.Time) control.Phase {
	has := func(state string) bool {
		return slices.ContainsFunc(links, func(l control.Link) bool { return l.State == state })
	}
	v := c.live
	switch {
	case c.member == nil:
		return control.NotJoined
	case v == nil:
		return control.Off
	case v.revoked:
		return control.Revoked
	case has(control.LinkConnected):
		return control.Connected
	case !has(control.LinkConnecting) && !has(control.LinkSilent):
		return control.NoLink
	case !v.silence.IsZero() && now.Sub(v.silence) > patience:
		return control.Unreachable
	}
	return control.Connecting
}

// reason says the rest in a sentence.
func (c *Client) reason(s control.State) string {
	switch s.Phase {
	case control.NotJoined:
		return "tandem join CODE makes this device a hub's, with a code from tandem-hub invite"
	case control.Off:
		return c.broken
	case control.Revoked:
		return revokedSentence
	case control.NoLink:
		return c.idle()
	case control.Connected:
		if c.live.unrouted != "" {
			return "traffic does not go through " + c.live.peer() + " as it should, which is tried again: " + c.live.unrouted
		}
		if c.live.native != nil {
			return c.live.native.notice()
		}
	case control.Unreachable:
		var over []string
		for _, l := range s.Links {
			if l.State == control.LinkConnecting || l.State == control.LinkSilent {
				over = append(over, l.Name)
			}
		}
		return fmt.Sprintf("%s unreachable since %s: %s does not answer over %s; it is tried again without end",
			strings.TrimPrefix(c.live.peer(), "the "), c.live.silence.Format(time.TimeOnly), s.Hub.Endpoint, strings.Join(over, ", "))
	}
	return ""
}
