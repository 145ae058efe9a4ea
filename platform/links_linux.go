package platform

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

const (
	settle = 50 * time.Millisecond // news come in bursts: this long after the first of one, links are looked at
	retry  = time.Second           // until the kernel is asked anew when it could not be heard
)

// Links looks at everything again after each burst of news, so that no order of news can mislead it.
func (h *host) Links(ctx context.Context, report func([]Link)) error {
	var last []Link
	first := true
	look := func() error {
		links, err := h.links()
		if err != nil {
			return err
		}
		h.reroute() // even when links look the same: one that was down for a moment has lost its routes
		if first || !same(last, links) {
			last, first = links, false
			report(cloneLinks(links))
		}
		return nil
	}
	for ctx.Err() == nil {
		err := h.follow(ctx, look)
		if first && err != nil {
			return err
		}
		if err != nil {
			h.Log.Warn("links: listen again", "error", err)
			pause(ctx, retry)
		}
	}
	return nil
}

// follow looks once, and again after each burst of news, until it cannot hear them any more.
func (h *host) follow(ctx context.Context, look func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	news, err := listen(ctx)
	if err != nil {
		return err
	}
	if err := look(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-news:
			if !ok && ctx.Err() == nil {
				return errors.New("the kernel's news were cut off")
			}
		}
		if pause(ctx, settle); ctx.Err() != nil {
			return nil
		}
		drain(news)
		if err := look(); err != nil {
			return err
		}
	}
}

// listen returns a channel that holds a value when there are news of links, addresses or routes. It is closed when one of the three
// subscriptions ends, as they do with ctx.
func listen(ctx context.Context) (<-chan struct{}, error) {
	links, addrs, routes := make(chan netlink.LinkUpdate), make(chan netlink.AddrUpdate), make(chan netlink.RouteUpdate)
	news, ended := make(chan struct{}, 1), make(chan struct{}, 3)
	if err := netlink.LinkSubscribe(links, ctx.Done()); err != nil {
		return nil, fmt.Errorf("listen to news of links: %w", err)
	}
	go forward(links, news, ended)
	if err := netlink.AddrSubscribe(addrs, ctx.Done()); err != nil {
		return nil, fmt.Errorf("listen to news of addresses: %w", err)
	}
	go forward(addrs, news, ended)
	if err := netlink.RouteSubscribe(routes, ctx.Done()); err != nil {
		return nil, fmt.Errorf("listen to news of routes: %w", err)
	}
	go forward(routes, news, ended)

	out := make(chan struct{}, 1)
	go func() {
		defer close(out)
		for {
			select {
			case <-ended:
				return
			case <-news:
				wake(out)
			}
		}
	}()
	return out, nil
}

func forward[T any](in <-chan T, news, ended chan<- struct{}) {
	for range in {
		wake(news)
	}
	ended <- struct{}{}
}

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func drain(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// links returns all links as they are now, ordered by index, without what nobody would take for one.
func (h *host) links() ([]Link, error) {
	sights, err := look()
	if err != nil {
		return nil, err
	}
	var links []Link
	for _, s := range sights {
		if s.loopback && !slices.Contains(h.Only, s.Name) || h.own(s.Name) {
			continue
		}
		links = append(links, s.judge(h.sys, h.Only))
	}
	slices.SortFunc(links, func(a, b Link) int { return a.Index - b.Index })
	return append(links, missing(h.Only, links)...), nil
}

// look asks the kernel for its interfaces with their addresses and default routes.
func look() ([]*sight, error) {
	devices, err := again(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var sights []*sight
	byIndex := map[int]*sight{}
	for _, d := range devices {
		s := newSight(d)
		sights, byIndex[s.Index] = append(sights, s), s
	}
	for _, d := range devices {
		if a := d.Attrs(); byIndex[a.MasterIndex] != nil {
			byIndex[a.Index].master = byIndex[a.MasterIndex].Name
		}
	}
	addrs, err := again(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	readAddrs(time.Now(), addrs, byIndex)
	routes, err := listRoutes(&netlink.Route{}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(routes, compareDefaults)
	for _, r := range routes {
		if isDefault(r) && r.Protocol != protocol {
			readGateways(r, byIndex)
		}
	}
	return sights, nil
}

// readAddrs gives the addresses to the links that have them. The kernel sends from one that is deprecated if there is no
// other of its family; it counts as long as it has an end, by which something must be done.
func readAddrs(now time.Time, addrs []netlink.Addr, byIndex map[int]*sight) {
	for _, deprecated := range []bool{false, true} {
		for _, a := range addrs {
			const unfit = syscall.IFA_F_TENTATIVE | syscall.IFA_F_DADFAILED
			s, p := byIndex[a.LinkIndex], prefixOf(a.IPNet)
			if s == nil || a.Flags&unfit != 0 || a.Flags&syscall.IFA_F_DEPRECATED != 0 != deprecated || !p.IsValid() || p.Addr().IsLinkLocalUnicast() {
				continue
			}
			lease, ends := leaseOf(now, p.Addr(), int64(a.PreferedLft), int64(a.ValidLft))
			other := slices.ContainsFunc(s.Addrs, func(q netip.Prefix) bool { return q.Addr().Is4() == p.Addr().Is4() })
			if deprecated && (!ends || other) {
				continue
			}
			s.Addrs = append(s.Addrs, p)
			if ends {
				s.Leases = append(s.Leases, lease)
			}
		}
	}
}

func newSight(d netlink.Link) *sight {
	a := d.Attrs()
	return &sight{
		Link:      Link{Name: a.Name, Index: a.Index, MTU: a.MTU},
		kernel:    d.Type(),
		permanent: a.PermHWAddr,
		ethernet:  a.EncapType == "ether",
		loopback:  a.RawFlags&syscall.IFF_LOOPBACK != 0,
		up:        a.RawFlags&syscall.IFF_UP != 0,
		carrier:   a.RawFlags&iffLowerUp != 0,
	}
}

const iffLowerUp = 1 << 16 // IFF_LOWER_UP of linux/if.h: the driver sees its network

// compareDefaults puts the main table before others, then the lowest metric first.
func compareDefaults(a, b netlink.Route) int {
	if (a.Table == tableMain) != (b.Table == tableMain) {
		if a.Table == tableMain {
			return -1
		}
		return 1
	}
	return a.Priority - b.Priority
}

func isDefault(r netlink.Route) bool {
	ones := 0
	if r.Dst != nil {
		ones, _ = r.Dst.Mask.Size()
	}
	return ones == 0 && r.Type == syscall.RTN_UNICAST
}

// readGateways gives the next hops of a default route to the links that have none yet.
func readGateways(r netlink.Route, byIndex map[int]*sight) {
	hops := r.MultiPath
	if len(hops) == 0 {
		hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw}}
	}
	for _, hop := range hops {
		s := byIndex[hop.LinkIndex]
		if s == nil {
			continue
		}
		gateway, field := netip.IPv4Unspecified(), &s.Gateway4
		if r.Family == netlink.FAMILY_V6 {
			gateway, field = netip.IPv6Unspecified(), &s.Gateway6
		}
		if a, ok := netip.AddrFromSlice(hop.Gw); ok {
			gateway = a.Unmap()
		}
		if !field.IsValid() {
			*field = gateway
		}
	}
}

func listRoutes(filter *netlink.Route, mask uint64) (routes []netlink.Route, err error) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		some, err := again(func() ([]netlink.Route, error) { return netlink.RouteListFiltered(family, filter, mask) })
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for i := range some {
			some[i].Family = family
		}
		routes = append(routes, some...)
	}
	return routes, nil
}

// again repeats a listing during which something changed, for it may have missed something.
func again[T any](list func() ([]T, error)) (all []T, err error) {
	for range 5 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = nil // the news of what changed are on their way
	}
	return all, err
}

func cloneLinks(links []Link) []Link {
	links = slices.Clone(links)
	for i := range links {
		links[i].Addrs, links[i].Leases = slices.Clone(links[i].Addrs), slices.Clone(links[i].Leases)
	}
	return links
}
