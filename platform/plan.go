package platform

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// How a packet finds its way, by rules in a band of priorities of our own. Table 7340 is the TUN's, 7340 + n is that of the
// link whose index is n; a socket pinned to that link marks its packets 0x7a0000 + n.
//
//	7341   marked 0x7a….    main, but its default    the hub may be on the link; the socket is bound to it, so no other link counts
//	7342   marked 0x7a000n  7340 + n                 out by the link's own gateway
//	7343   marked 0x7a….    main                     the same for a link that is new, until Route knows it
//	7344   marked 0x7a….    unreachable              never anywhere else: no loop
//	7345   to what is excluded: main
//	7346   all              main, but its default    the LAN
//	7347   all              7340                     the captured prefixes: into the TUN
//	32766  all              main                     the rest, as ever
//
// Where TCP alone is captured, 7345 to 7347 are for TCP alone.
const (
	tableMain = 254
	tableTun  = 7340

	priorityNear        = 7341
	priorityLink        = 7342
	priorityNew         = 7343
	priorityUnreachable = 7344
	priorityExclude     = 7345
	priorityLAN         = 7346
	priorityTun         = 7347

	markBase = 0x7a0000
	markMask = 0xffff0000
	markFull = 0xffffffff
)

// indexMarkMax is the highest index of a link that a mark can hold.
const indexMarkMax = 0xffff

// Mark returns the mark of packets from sockets pinned to the link of that index.
func Mark(index int) uint32 { return markBase + uint32(index&indexMarkMax) }

// table returns the routing table of the link of that index.
func table(index int) int { return tableTun + index&indexMarkMax }

// broadcast4 is what programs send to their neighbours without saying through which link. IPv6 does not need this.
var broadcast4 = []netip.Prefix{netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32")}

// Plan returns what to change, in this order, to get from what there is to what is wanted. First all that is made or set, from
// the ground up, then all that is given back, from the top down: at no instant does captured traffic escape that was captured before
// and will be after.
func Plan(have State, want Routing, links []Link) []Change {
	p := plan{have: have, want: want}
	for _, l := range links {
		if slices.Contains(want.Links, l.Name) && l.Index > 0 {
			p.links = append(p.links, l)
		}
	}
	slices.SortFunc(p.links, func(a, b Link) int { return a.Index - b.Index })
	p.device()
	p.settings()
	p.routes()
	p.rules()
	p.resolv()
	return p.changes()
}

// A plan collects the things that are wanted.
type plan struct {
	have  State
	want  Routing
	links []Link // that are wanted and exist

	tun  bool // there is one and it is wanted
	ipv6 bool // for the TUN too
	aim  []Thing
}

func (p *plan) add(t Thing) {
	if !slices.Contains(p.aim, t) {
		p.aim = append(p.aim, t)
	}
}

func (p *plan) device() {
	if p.want.Tun == "" {
		return
	}
	d, ok := p.have.find(Device{Name: p.want.Tun}.key()).(Device)
	if !ok {
		return
	}
	p.tun = true
	d.Up = true
	if p.want.MTU > 0 {
		d.MTU = p.want.MTU
	}
	p.add(d)
	if name := setting(6, d.Name, "disable_ipv6"); p.have.find(Setting{Name: name}.key()) != nil {
		p.ipv6 = true
		p.set(name, 0)
	}
	for _, a := range p.want.Addrs {
		if a.Addr().Is4() || p.ipv6 {
			p.add(Address{d.Name, a})
		}
	}
}

func setting(version int, dev, name string) string {
	return fmt.Sprintf("net/ipv%d/conf/%s/%s", version, dev, name)
}

// set has a setting get a value, if the system knows the setting.
func (p *plan) set(name string, value int) {
	if p.have.find(Setting{Name: name}.key()) != nil {
		p.add(Setting{name, strconv.Itoa(value)})
	}
}

// original returns the value that a setting has, or had before we changed it.
func (p *plan) original(name string) int {
	s, _ := p.have.find(Setting{Name: name}.key()).(Setting)
	if o, ok := p.have.Saved.Settings[name]; ok && o.made(s) && o.Was != nil {
		s.Value = *o.Was
	}
	n, _ := strconv.Atoi(s.Value)
	return n
}

// raise has a setting be at least least, where the kernel takes the greater of the device's and that for all.
func (p *plan) raise(dev, name string, least int) {
	own := setting(4, dev, name)
	if max(p.original(own), p.original(setting(4, "all", name))) < least {
		p.set(own, least)
	}
}

// settings lets answers in: they arrive on links from addresses to which the routes without a mark lead elsewhere, which a strict
// rp_filter (1) forbids and a loose one (2) does not; none (0) is left alone. Links in one subnet answer ARP for themselves only.
func (p *plan) settings() {
	devices := []string{}
	for _, l := range p.links {
		devices = append(devices, l.Name)
	}
	if p.tun {
		devices = append(devices, p.want.Tun)
	}
	for _, dev := range devices {
		own, all := p.original(setting(4, dev, "rp_filter")), p.original(setting(4, "all", "rp_filter"))
		if max(own, all) == 1 {
			p.set(setting(4, dev, "rp_filter"), 2)
		}
	}
	for _, l := range p.links {
		if slices.ContainsFunc(p.links, func(other Link) bool { return other.Name != l.Name && shareSubnet(l, other) }) {
			p.raise(l.Name, "arp_ignore", 1)
			p.raise(l.Name, "arp_announce", 2)
		}
	}
}

func shareSubnet(a, b Link) bool {
	for _, x := range a.Addrs {
		if x.Addr().Is4() && slices.ContainsFunc(b.Addrs, x.Masked().Overlaps) {
			return true
		}
	}
	return false
}

func (p *plan) routes() {
	for _, l := range p.links {
		p.byGateway(l, l.Gateway4)
		p.byGateway(l, l.Gateway6)
	}
	if !p.tun {
		return
	}
	for _, to := range p.want.Capture {
		if to.Addr().Is4() || p.ipv6 {
			p.add(Route{Table: tableTun, To: to.Masked(), Dev: p.want.Tun})
		}
	}
}

func (p *plan) byGateway(l Link, gateway netip.Addr) {
	if !gateway.IsValid() {
		return
	}
	r := Route{Table: table(l.Index), To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: gateway.WithZone(""), Dev: l.Name}
	if gateway.Is6() {
		r.To = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	if gateway.IsUnspecified() {
		r.Via = netip.Addr{}
	}
	p.add(r)
}

func (p *plan) rules() {
	exclude := slices.Clone(p.want.Exclude)
	if p.want.LAN {
		exclude = append(exclude, broadcast4...)
	}
	for _, v6 := range []bool{false, true} {
		if v6 && !p.speaksIPv6() {
			continue
		}
		if len(p.links) > 0 {
			p.add(Rule{Priority: priorityNear, V6: v6, Mark: markBase, Mask: markMask, Table: tableMain, Specific: true})
			for _, l := range p.links {
				p.add(Rule{Priority: priorityLink, V6: v6, Mark: Mark(l.Index), Mask: markFull, Table: table(l.Index)})
			}
			p.add(Rule{Priority: priorityNew, V6: v6, Mark: markBase, Mask: markMask, Table: tableMain})
			p.add(Rule{Priority: priorityUnreachable, V6: v6, Mark: markBase, Mask: markMask})
		}
		if !p.tun {
			continue
		}
		for _, to := range exclude {
			if to.Addr().Is6() == v6 {
				p.add(Rule{Priority: priorityExclude, V6: v6, TCP: p.want.TCP, To: to.Masked(), Table: tableMain})
			}
		}
		if p.want.LAN {
			p.add(Rule{Priority: priorityLAN, V6: v6, TCP: p.want.TCP, Table: tableMain, Specific: true})
		}
		p.add(Rule{Priority: priorityTun, V6: v6, TCP: p.want.TCP, Table: tableTun})
	}
}

// speaksIPv6 reports whether the system has IPv6 at all.
func (p *plan) speaksIPv6() bool {
	return p.have.find(Setting{Name: setting(6, "all", "disable_ipv6")}.key()) != nil
}

// changes compares what there is with what is wanted.
func (p *plan) changes() (changes []Change) {
	slices.SortFunc(p.aim, compareThings)
	wanted := map[string]bool{}
	for _, t := range p.aim {
		wanted[t.key()] = true
		if old := p.have.find(t.key()); old != t {
			changes = append(changes, Change{From: old, To: t})
		}
	}
	things := slices.SortedFunc(slices.Values(p.have.Things), compareThings)
	for _, t := range slices.Backward(things) {
		if wanted[t.key()] {
			continue
		}
		if c, ok := p.back(t); ok {
			changes = append(changes, c)
		}
	}
	return changes
}

// back gives back a thing that is not wanted any more: to nothing what is ours alone, to what it was what we only changed.
func (p *plan) back(t Thing) (c Change, ok bool) {
	saved := p.have.Saved
	switch t := t.(type) {
	case Device:
		return Change{From: t, To: Device{t.Name, t.MTU, false}}, t.Up && t.Name == saved.Tun
	case Setting:
		o, known := saved.Settings[t.Name]
		if !known || !o.made(t) || o.Was == nil {
			return c, false
		}
		return Change{From: t, To: Setting{t.Name, *o.Was}}, true
	case Resolv:
		if saved.Resolv == nil || !t.ours() {
			return c, false
		}
		if saved.Resolv.Was == nil {
			return Change{From: t}, true
		}
		return Change{From: t, To: Resolv{*saved.Resolv.Was}}, true
	}
	return Change{From: t}, true
}
