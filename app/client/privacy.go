package client

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"

	"tandem/app/config"
	"tandem/engine"
	"tandem/platform"
)

// private reports whether a link's connections take no other link, and those of others do not take it: because somebody
// said so, or because of the network that it is in. A network that is to learn of nothing else sees what begins there.
func private(l platform.Link, set config.Link) bool {
	return set.Private || slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return set.Deny.Contain(p.Addr()) })
}

// A confinement is which connections are confined to a link.
type confinement struct {
	homes map[netip.Addr][]engine.PathID // those of programs that have bound themselves to a link's address; none: it is not used
	alone []engine.PathID                // all others, while no link is connected but private ones; nil: none
	apart []engine.PathID                // private
}

// A confiner knows the confinement, which the loop changes.
type confiner struct{ is atomic.Pointer[confinement] }

func newConfiner() *confiner {
	c := new(confiner)
	c.is.Store(new(confinement))
	return c
}

// only returns the paths that a connection of a program with that address may take; nil: all.
func (c *confiner) only(source netip.Addr) []engine.PathID {
	is := c.is.Load()
	if home, ok := is.homes[source.Unmap()]; ok {
		return home
	}
	return is.alone
}

// begin returns with which of some paths a connection begins that may take only those; nil: with any. To begin with a
// private one would confine it to them.
func (c *confiner) begin(with, only []engine.PathID) []engine.PathID {
	if only != nil || with == nil {
		return nil
	}
	apart := c.is.Load().apart
	return slices.DeleteFunc(slices.Clone(with), func(id engine.PathID) bool { return slices.Contains(apart, id) })
}

// confine takes what the links are like now.
func (v *live) confine() {
	is := &confinement{homes: map[netip.Addr][]engine.PathID{}}
	for _, r := range v.links {
		for _, p := range r.Addrs {
			if r.Usable {
				is.homes[p.Addr()] = []engine.PathID{}
			}
		}
	}
	var best *link
	open := false
	for _, l := range v.carried {
		for _, p := range l.is.Addrs {
			is.homes[p.Addr()] = []engine.PathID{engine.PathID(l.slot)}
		}
		if l.private {
			is.apart = append(is.apart, engine.PathID(l.slot))
		}
		switch {
		case !l.alive:
		case !l.private:
			open = true
		case best == nil || l.before(best):
			best = l
		}
	}
	if best != nil && !open {
		is.alone = []engine.PathID{engine.PathID(best.slot)}
	}
	v.dialer.confiner.is.Store(is)
}

// before reports whether connections that take one link alone take l rather than m.
func (l *link) before(m *link) bool {
	if x, y := roles[l.settings.Role], roles[m.settings.Role]; x != y {
		return x < y
	}
	return l.seen.Name < m.seen.Name
}

// onlyKey is where a context holds the paths that a connection may take.
type onlyKey struct{}

func withOnly(ctx context.Context, only []engine.PathID) context.Context {
	return context.WithValue(ctx, onlyKey{}, only)
}

func onlyOf(ctx context.Context) []engine.PathID {
	only, _ := ctx.Value(onlyKey{}).([]engine.PathID)
	return only
}
