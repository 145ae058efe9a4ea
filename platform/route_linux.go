package platform

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
)

// protocol marks the rules and routes that are ours: whoever made them, they can be found and removed.
const protocol = 174

// attemptsMax is how often Route plans anew because a device went under its hands.
const attemptsMax = 3

func (h *host) Route(r Routing) error {
	h.routing.Lock()
	defer h.routing.Unlock()
	err := h.insist(r)
	if err == nil {
		h.routed = r.clone()
	}
	return err
}

// reroute has the routes follow the links. Without routes there is nothing to follow.
func (h *host) reroute() {
	h.routing.Lock()
	defer h.routing.Unlock()
	if h.routed.zero() {
		return
	}
	if err := h.insist(h.routed); err != nil {
		h.Log.Warn("route: the links have changed and the routes could not follow", "error", err)
	}
}

func (h *host) insist(r Routing) (err error) {
	for range attemptsMax {
		if err = h.route(r); !vanished(err) {
			return err
		}
		h.Log.Debug("route: plan anew", "error", err)
	}
	return err
}

// vanished reports whether a device was gone or down when something was to be done with it.
func vanished(err error) bool {
	var none netlink.LinkNotFoundError
	number, _ := asErrno(err)
	return errors.As(err, &none) || number == syscall.ENODEV || number == syscall.ENETDOWN
}

func (h *host) route(r Routing) error {
	have, links, err := h.read(r)
	if err != nil {
		return err
	}
	if t := h.foreign(have); t != "" {
		return fmt.Errorf("another tandem captures through %s on this machine: stop it first", t)
	}
	if r.Tun != "" && have.find(Device{Name: r.Tun}.key()) == nil {
		return fmt.Errorf("route through %s: there is no such device", r.Tun)
	}
	changes := Plan(have, r, links)
	if len(changes) > 0 && !may(netAdmin) {
		return errors.New("may not change routes: run as root or with CAP_NET_ADMIN, or use --socks")
	}
	after := State{Things: slices.Clone(have.Things), Saved: have.Saved}
	for _, c := range changes {
		after.Apply(c)
	}
	if err := h.record.store(have.Saved.both(after.Saved)); err != nil {
		return err
	}
	if err := h.doAll(changes, r.zero()); err != nil {
		return err
	}
	return h.record.store(after.Saved)
}

// foreign returns the TUN device of another tandem that captures: what a killed one routed there went with its device.
func (h *host) foreign(have State) string {
	for _, t := range have.Things {
		if r, ok := t.(Route); ok && r.Table == tableTun && r.Dev != "" && !h.own(r.Dev) {
			return r.Dev
		}
	}
	return ""
}

// doAll makes the changes, or none if one fails. When all is being undone, it undoes what it can.
func (h *host) doAll(changes []Change, whatever bool) error {
	var failed error
	for i, c := range changes {
		err := h.do(c)
		h.Log.Debug("route", "change", c.String(), "error", err)
		if err == nil {
			continue
		}
		err = fmt.Errorf("route: %v: %w", c, err)
		if !whatever {
			h.undo(changes[:i+1]) // what failed may be half done
			return err
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// undo takes back what was done before something failed. What cannot be taken back stays in the record.
func (h *host) undo(done []Change) {
	for _, c := range slices.Backward(done) {
		if err := h.do(c.Inverse()); err != nil {
			h.Log.Warn("route: could not undo", "change", c.String(), "error", err)
		}
	}
}

// read returns what there is, as far as the routing that is wanted or one that was done before can concern it.
func (h *host) read(r Routing) (have State, links []Link, err error) {
	saved, err := h.record.load()
	if err != nil {
		return have, nil, err
	}
	sights, err := look()
	if err != nil {
		return have, nil, err
	}
	names := map[int]string{}
	for _, s := range sights {
		links = append(links, s.Link)
		names[s.Index] = s.Name
		if s.Name == r.Tun || s.Name == saved.Tun {
			have.Things = append(have.Things, Device{s.Name, s.MTU, s.up})
			for _, a := range s.Addrs {
				have.Things = append(have.Things, Address{s.Name, a})
			}
		}
	}
	rules, err := readRules()
	if err != nil {
		return have, nil, err
	}
	routes, err := readRoutes(names)
	if err != nil {
		return have, nil, err
	}
	have.Things = slices.Concat(have.Things, rules, routes, readSettings(r, saved))
	if len(r.DNS) > 0 || saved.Resolv != nil {
		text, err := os.ReadFile(h.resolv)
		if err != nil && !os.IsNotExist(err) {
			return have, nil, fmt.Errorf("read the resolver's settings: %w", err)
		}
		if err == nil {
			have.Things = append(have.Things, Resolv{string(text)})
		}
	}
	slices.SortFunc(have.Things, compareThings)
	have.Saved = saved.Prune(have.Things)
	return have, links, nil
}

func readRules() (rules []Thing, err error) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		all, err := listRules(family)
		if err != nil {
			return nil, err
		}
		for _, r := range all {
			if r.Protocol != protocol {
				continue
			}
			own := Rule{Priority: r.Priority, V6: family == netlink.FAMILY_V6, Mark: r.Mark, To: prefixOf(r.Dst), Table: r.Table,
				Specific: r.SuppressPrefixlen == 0, TCP: r.IPProto == syscall.IPPROTO_TCP}
			if r.Mask != nil {
				own.Mask = *r.Mask
			}
			rules = append(rules, own)
		}
	}
	return rules, nil
}

// listRules returns none of a family that the kernel does not speak.
func listRules(family int) ([]netlink.Rule, error) {
	rules, err := again(func() ([]netlink.Rule, error) { return netlink.RuleList(family) })
	if err = unless(err, syscall.EAFNOSUPPORT, syscall.EOPNOTSUPP); err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	return rules, nil
}

func readRoutes(names map[int]string) (routes []Thing, err error) {
	all, err := listRoutes(&netlink.Route{Protocol: protocol}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	for _, r := range all {
		own := Route{Table: r.Table, To: prefixOf(r.Dst), Dev: names[r.LinkIndex]}
		if !own.To.IsValid() {
			own.To = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			if r.Family == netlink.FAMILY_V6 {
				own.To = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			}
		}
		if a, ok := netip.AddrFromSlice(r.Gw); ok {
			own.Via = a.Unmap()
		}
		routes = append(routes, own)
	}
	return routes, err
}

// readSettings reads what plans may look at, and what was changed before. What does not exist is left out.
func readSettings(r Routing, saved Saved) (settings []Thing) {
	names := slices.Collect(maps.Keys(saved.Settings))
	for _, dev := range append([]string{"all", r.Tun}, r.Links...) {
		if dev == "" {
			continue
		}
		for _, name := range []string{"rp_filter", "arp_ignore", "arp_announce"} {
			names = append(names, setting(4, dev, name))
		}
		names = append(names, setting(6, dev, "disable_ipv6"))
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if text, err := os.ReadFile(settingFile(name)); err == nil {
			settings = append(settings, Setting{name, strings.TrimSpace(string(text))})
		}
	}
	return settings
}

func settingFile(name string) string { return filepath.Join("/proc/sys", filepath.Clean("/"+name)) }

// do makes one change. To remove what is gone already, or went with its device, is no error.
func (h *host) do(c Change) error {
	thing := c.To
	if thing == nil {
		thing = c.From
	}
	switch t := thing.(type) {
	case Device:
		return doDevice(t)
	case Setting:
		err := os.WriteFile(settingFile(t.Name), []byte(t.Value), 0)
		return unless(err, syscall.ENOENT)
	case Address:
		return doAddress(t, c.To != nil)
	case Route:
		return doRoute(t, c.To != nil)
	case Rule:
		return doRule(t, c.To != nil)
	case Resolv:
		if c.To == nil {
			return unless(os.Remove(h.resolv), syscall.ENOENT)
		}
		return writeInPlace(h.resolv, t.Text)
	}
	return fmt.Errorf("no way to do this")
}

func doDevice(d Device) error {
	link, err := netlink.LinkByName(d.Name)
	if err != nil {
		return err
	}
	if d.MTU != link.Attrs().MTU {
		err = netlink.LinkSetMTU(link, d.MTU)
	}
	if d.Up {
		return errors.Join(err, netlink.LinkSetUp(link))
	}
	return errors.Join(err, netlink.LinkSetDown(link))
}

func doAddress(a Address, add bool) error {
	link, err := netlink.LinkByName(a.Dev)
	if err != nil {
		return err
	}
	// No duplicate address detection: nobody else is on a TUN, and the address is of use at once.
	addr := &netlink.Addr{IPNet: netOf(a.Prefix), Flags: syscall.IFA_F_NODAD}
	if add {
		return netlink.AddrReplace(link, addr)
	}
	return unless(netlink.AddrDel(link, addr), syscall.EADDRNOTAVAIL, syscall.ENODEV)
}

func doRoute(r Route, add bool) error {
	family := netlink.FAMILY_V4
	if r.To.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	route := &netlink.Route{Family: family, Table: r.Table, Dst: netOf(r.To), Protocol: protocol, Scope: netlink.SCOPE_LINK}
	if device, err := netlink.LinkByName(r.Dev); err == nil {
		route.LinkIndex = device.Attrs().Index
	} else if add {
		return err
	}
	if r.Via.IsValid() {
		route.Gw, route.Scope = r.Via.AsSlice(), netlink.SCOPE_UNIVERSE
		route.Flags = int(netlink.FLAG_ONLINK) // the gateway is on this link even where another has the same subnet
	}
	if add {
		return netlink.RouteReplace(route)
	}
	return unless(netlink.RouteDel(route), syscall.ESRCH, syscall.ENODEV, syscall.ENETUNREACH)
}

func doRule(r Rule, add bool) error {
	rule := netlink.NewRule()
	rule.Family, rule.Priority, rule.Table, rule.Protocol = netlink.FAMILY_V4, r.Priority, r.Table, protocol
	if r.V6 {
		rule.Family = netlink.FAMILY_V6
	}
	if r.TCP {
		rule.IPProto = syscall.IPPROTO_TCP
	}
	if r.Mask != 0 {
		rule.Mark, rule.Mask = r.Mark, &r.Mask
	}
	if r.To.IsValid() {
		rule.Dst = netOf(r.To)
	}
	if r.Specific {
		rule.SuppressPrefixlen = 0
	}
	if r.Table == 0 {
		rule.Type = syscall.RTN_UNREACHABLE
	}
	if add {
		return unless(netlink.RuleAdd(rule), syscall.EEXIST)
	}
	return unless(netlink.RuleDel(rule), syscall.ENOENT, syscall.ESRCH)
}

// writeInPlace keeps the file itself, which may be mounted where it stands or linked to. It is written before it is cut, so that
// a reader finds whole lines and a torn file still holds our head or tail.
func writeInPlace(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), 0)
	return errors.Join(err, f.Truncate(int64(len(text))), f.Sync(), f.Close())
}

// unless returns err, but nil if it is one of those that do not matter.
func unless(err error, harmless ...syscall.Errno) error {
	number, ok := asErrno(err)
	if ok && slices.Contains(harmless, number) {
		return nil
	}
	return err
}

func asErrno(err error) (number syscall.Errno, ok bool) {
	ok = errors.As(err, &number)
	return number, ok
}

// prefixOf returns the zero Prefix for none.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if ones, bits := n.Mask.Size(); ok && bits > 0 {
		return netip.PrefixFrom(a.Unmap(), ones)
	}
	return netip.Prefix{}
}

func netOf(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
