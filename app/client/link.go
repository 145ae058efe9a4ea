package client

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"tandem/app/config"
	"tandem/app/control"
	"tandem/engine"
	"tandem/platform"
	"tandem/tunnel/carrier"
)

// A link is one that is wanted, with its slot and its carrier. It is the loop's, but for the pipe.
type link struct {
	slot     int
	seen     platform.Link // as reported when the carrier was opened
	is       platform.Link // as reported last
	settings config.Link
	pipe     pipe
	endpoint netip.AddrPort // zero: none to be reached over this link is known
	tries    int            // handshakes begun since the hub was heard
	revival  revival
	trouble  string    // why there is no carrier; "": there is one
	mtu      int       // of the path
	alive    bool      // as the engine last said
	fell     time.Time // when it was last alive no more
	rtt      time.Duration
	path     engine.PathInfo // as the engine last said
	private  bool            // as the path was attached
	lease    platform.Lease  // of which the engine was told
	pulse    pulse
}

// A pipe is a link as the engine sees it. Its carrier may be replaced at any time.
type pipe struct {
	carrier    bearerPlace
	attachment atomic.Pointer[engine.Attachment]
	heard      atomic.Bool   // anything from the hub, since the carrier was opened
	came       atomic.Uint64 // packets from the hub
}

// Send gives packets to the carrier. Without one they are lost, as they would be on the way.
func (p *pipe) Send(pkts [][]byte) error {
	c := p.carrier.Load()
	if c == nil {
		return nil
	}
	return c.Send(pkts)
}

// answered reports whether the hub has answered since the carrier was opened, be it to the handshake only.
func (p *pipe) answered() bool {
	if p.heard.Load() {
		return true
	}
	c := p.carrier.Load()
	return c != nil && !c.Stats().Handshake.IsZero()
}

func (p *pipe) receive(pkts [][]byte) {
	if !p.heard.Load() {
		p.heard.Store(true)
	}
	p.came.Add(uint64(len(pkts)))
	if a := p.attachment.Load(); a != nil {
		a.Deliver(pkts)
	}
}

// wanted says whether to use a link. The state and the reason are shown to people.
func (c *Client) wanted(l platform.Link, s config.Link) (ok bool, state, reason string) {
	spent := c.usage[l.ID].Spent(s, time.Now())
	switch {
	case !s.On:
		return false, control.LinkOff, "switched off with tandem link"
	case s.Role == config.Never:
		return false, control.LinkOff, "its role is never"
	case !l.Usable:
		return false, control.LinkUnusable, l.Reason
	case spent != "":
		return false, control.LinkUnusable, spent
	}
	return true, control.LinkConnecting, ""
}

// reconcile makes the carriers follow what the host reports and what people decide.
func (v *live) reconcile(links []platform.Link, now time.Time) {
	reported := map[string]platform.Link{}
	for _, l := range links {
		if ok, _, _ := v.wanted(l, v.settings.Link(l.ID)); ok {
			reported[l.ID] = l
		}
	}
	for id, l := range v.carried {
		if _, ok := reported[id]; !ok {
			v.log.Info("link leaves", "link", l.seen.Name)
			v.drop(id, l)
		}
	}
	came := false
	for _, r := range links {
		if _, ok := reported[r.ID]; !ok {
			continue
		}
		set := v.settings.Link(r.ID)
		l := v.carried[r.ID]
		switch {
		case l == nil:
			v.log.Info("link appears", "link", r.Name, "kind", r.Kind)
			v.take(r, set, now)
			came = true
		case l.settings != set:
			v.adjust(l, set)
			fallthrough
		default:
			if v.moved(l, r) {
				v.log.Info("link has changed", "link", r.Name)
				l.seen = r
				v.open(l, now)
				came = true
			}
			came = came || l.is.Gateway4 != r.Gateway4 || l.is.Gateway6 != r.Gateway6
			l.is = r
			v.renewLease(l, now)
			v.reattach(l)
		}
	}
	if came && v.native != nil {
		v.native.appeared()
	}
	if came && v.silence != (time.Time{}) {
		v.askLookup() // it may be the first that reaches a name server
	}
}

// moved reports whether the carrier of a link is of no use on the link as it is now.
func (v *live) moved(l *link, is platform.Link) bool {
	if v.native != nil { // which finds the gateway by itself, and has no use for other addresses
		was4, was6 := ownAddrs(l.seen)
		v4, v6 := ownAddrs(is)
		return v4 != was4 || v6 != was6 || l.seen.Index != is.Index || l.seen.Name != is.Name || l.seen.MTU != is.MTU
	}
	return moved(l.seen, is, l.endpoint)
}

// moved reports whether a carrier opened on a link as it was is of no use on it as it is. Addresses that come do
// not matter, nor those of the family that the carrier does not use.
func moved(was, is platform.Link, endpoint netip.AddrPort) bool {
	if was.Index != is.Index || was.Name != is.Name || was.MTU != is.MTU {
		return true
	}
	six := endpoint.Addr().Is6()
	gateway := was.Gateway4 != is.Gateway4
	if six {
		gateway = was.Gateway6 != is.Gateway6
	}
	return gateway || slices.ContainsFunc(was.Addrs, func(p netip.Prefix) bool {
		return p.Addr().Is6() == six && !slices.Contains(is.Addrs, p)
	})
}

// take gives a link a slot and opens its carrier.
func (v *live) take(r platform.Link, set config.Link, now time.Time) {
	busy := func(slot int) bool {
		for _, l := range v.carried {
			if l.slot == slot {
				return true
			}
		}
		return false
	}
	slot, ok := v.member.Take(r.ID, busy, now)
	if !ok {
		return // show says so
	}
	v.Client.member = new(v.member)
	if err := v.keep(v.member); err != nil {
		v.log.Error("slots are not kept", "err", err)
	}
	l := &link{slot: slot, seen: r, is: r, settings: set}
	v.carried[r.ID] = l
	v.open(l, now)
}

// open makes a new carrier, in place of the old one if there was one, and begins a handshake. The path, if there
// is one already, goes on over it: connections notice nothing but lost packets.
func (v *live) open(l *link, now time.Time) {
	v.shut(l)
	l.revival.begin(now)
	l.endpoint = pick(l.seen, v.endpoints, l.tries/triesPerEndpoint)
	if !l.endpoint.IsValid() {
		l.trouble = "looking up the address of " + v.peer()
		if len(v.endpoints) > 0 {
			l.trouble = v.peer() + " has no address that this link can reach"
		}
		return
	}
	if mtu := v.pathMTU(l); mtu != l.mtu || v.native != nil {
		v.detach(l)
		l.mtu = mtu
	}
	c, err := v.bear(l)
	if err != nil {
		l.trouble = cannotPin(err)
		v.log.Warn("link is not usable", "link", l.seen.Name, "err", err)
		return
	}
	l.trouble = ""
	l.pipe.heard.Store(false)
	l.pipe.carrier.Store(c)
	v.renew(l)
}

// bear opens a carrier on a link.
func (v *live) bear(l *link) (bearer, error) {
	if v.native != nil {
		return v.native.bear(l)
	}
	c, err := carrier.Open(carrier.Config{
		Private: v.member.Slots[l.slot].Key, Peer: v.member.Hub, Endpoint: l.endpoint, Bind: v.cfg.Bind(l.seen.Name),
		MTU: l.mtu, Receive: l.pipe.receive, Log: v.log.With("link", l.seen.Name),
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func cannotPin(err error) string {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Sprintf("it cannot be used without root: %v", err)
	}
	return fmt.Sprintf("no socket on this link: %v", err)
}

// shut closes the carrier of a link.
func (v *live) shut(l *link) {
	if c := l.pipe.carrier.Take(); c != nil {
		v.meter(l.seen.ID).keep(c.Stats())
		c.Close()
	}
}

// drop lets a link go.
func (v *live) drop(id string, l *link) {
	v.detach(l)
	v.shut(l)
	delete(v.carried, id)
}

func (v *live) detach(l *link) {
	if a := l.pipe.attachment.Swap(nil); a != nil {
		a.Detach()
	}
	l.alive = false
}

// reattach makes another path of a link whose old one was made for something that does not hold any more: connections
// leave the old one at once.
func (v *live) reattach(l *link) {
	if l.private != private(l.is, l.settings) && l.pipe.attachment.Load() != nil {
		v.log.Info("link is private, or not any more", "link", l.seen.Name, "private", !l.private)
		v.attach(l)
	}
}

// adjust applies other settings to a link that stays.
func (v *live) adjust(l *link, set config.Link) {
	if a := l.pipe.attachment.Load(); a != nil {
		if l.settings.Role != set.Role {
			a.SetRole(roles[set.Role])
		}
		a.SetLimit(limits(set))
		if l.settings.LimitDown != set.LimitDown || l.settings.LimitUp != set.LimitUp {
			l.path.Granted = false // until the engine says so of the new ones
		}
		a.SetPrice(v.manner.price(set))
	}
	again := l.settings.Address != set.Address && l.pipe.attachment.Load() != nil
	if l.settings = set; again {
		v.attach(l)
	}
}

// attach makes a path of a link whose carrier has a session.
func (v *live) attach(l *link) {
	a := v.bond.AttachAs(engine.PathID(l.slot), &l.pipe, v.pathConfig(l))
	l.pipe.attachment.Store(a)
	if v.native == nil {
		v.bond.Ping() // for its RTT
	}
}

// pathMTU is the longest packet of the engine's on a link.
func (v *live) pathMTU(l *link) int {
	if v.native != nil {
		return l.seen.MTU
	}
	return pathMTU(l.seen.MTU, l.endpoint)
}

// pathMTU is what is left of a link's MTU for packets inside the carrier: less 60 octets of headers over
// IPv4 and 80 over IPv6, and a multiple of 16, because WireGuard pads to that.
func pathMTU(link int, endpoint netip.AddrPort) int {
	if link == 0 {
		link = 1500
	}
	if endpoint.Addr().Is6() {
		return (link - 80) &^ 15
	}
	return (link - 60) &^ 15
}
