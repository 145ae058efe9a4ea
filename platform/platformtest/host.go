// Package platformtest is a platform.Host in memory. It plans as the real one does and applies the changes to a state that tests
// look at; links come, go and change when a test says so.
package platformtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"

	"tandem/platform"
)

// A Host is a computer in memory. Its methods may be called by any goroutine.
type Host struct {
	mu      sync.Mutex
	links   []platform.Link
	state   platform.State
	tuns    map[string]*Tun
	changed chan struct{} // closed at the next change of links
	routed  platform.Routing
	pinned  []string
	log     []string
}

var _ platform.Host = (*Host)(nil)

// New returns a host with those links.
func New(links ...platform.Link) *Host {
	h := &Host{tuns: map[string]*Tun{}, changed: make(chan struct{})}
	h.appear("all")
	h.SetLinks(links...)
	return h
}

// SetLinks replaces all links. What was routed through one that is gone, or has another index now, is gone with it.
func (h *Host) SetLinks(links ...platform.Link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, old := range h.links {
		if !slices.ContainsFunc(links, func(l platform.Link) bool { return l.Name == old.Name && l.Index == old.Index }) {
			h.vanish(old.Name)
		}
	}
	h.links = clone(links)
	for _, l := range links {
		h.appear(l.Name)
	}
	close(h.changed)
	h.changed = make(chan struct{})
}

// settings are those that the kernel gives each device.
var settings = []string{
	"net/ipv4/conf/%s/rp_filter", "net/ipv4/conf/%s/arp_ignore", "net/ipv4/conf/%s/arp_announce", "net/ipv6/conf/%s/disable_ipv6",
}

func (h *Host) appear(dev string) {
	for _, name := range settings {
		s := platform.Setting{Name: fmt.Sprintf(name, dev), Value: "0"}
		if h.setting(s.Name) < 0 {
			h.state.Things = append(h.state.Things, s)
		}
	}
}

// vanish removes a device and what depends on it, as the kernel does.
func (h *Host) vanish(dev string) {
	h.state.Things = slices.DeleteFunc(h.state.Things, func(t platform.Thing) bool {
		switch t := t.(type) {
		case platform.Device:
			return t.Name == dev
		case platform.Address:
			return t.Dev == dev
		case platform.Route:
			return t.Dev == dev
		case platform.Setting:
			return strings.Contains(t.Name, "/"+dev+"/")
		}
		return false
	})
	h.state.Saved = h.state.Saved.Prune(h.state.Things)
}

// setting returns where the setting stands, -1 if nowhere.
func (h *Host) setting(name string) int {
	return slices.IndexFunc(h.state.Things, func(t platform.Thing) bool {
		s, ok := t.(platform.Setting)
		return ok && s.Name == name
	})
}

// Set gives a setting a value, as an administrator would.
func (h *Host) Set(name, value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := platform.Setting{Name: name, Value: value}
	if i := h.setting(name); i >= 0 {
		h.state.Things[i] = s
	} else {
		h.state.Things = append(h.state.Things, s)
	}
}

// SetResolv writes resolv.conf, as an administrator would.
func (h *Host) SetResolv(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state.Things = slices.DeleteFunc(h.state.Things, func(t platform.Thing) bool {
		_, ok := t.(platform.Resolv)
		return ok
	})
	h.state.Things = append(h.state.Things, platform.Resolv{Text: text})
}

// Links implements platform.Host.
func (h *Host) Links(ctx context.Context, report func([]platform.Link)) error {
	for {
		h.mu.Lock()
		if h.tuns[h.routed.Tun] != nil {
			h.plan()
		}
		links, changed := clone(h.links), h.changed
		h.mu.Unlock()
		report(links)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// Pin implements platform.Host. The socket stays as it is; Pinned tells.
func (h *Host) Pin(link string) func(network, address string, c syscall.RawConn) error {
	return func(string, string, syscall.RawConn) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if !slices.ContainsFunc(h.links, func(l platform.Link) bool { return l.Name == link }) {
			return fmt.Errorf("pin a socket to %s: there is no such link", link)
		}
		h.pinned = append(h.pinned, link)
		return nil
	}
}

// Tun implements platform.Host. What it returns is a *Tun.
func (h *Host) Tun(name string, mtu int) (platform.Tun, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tuns[name] != nil {
		return nil, fmt.Errorf("the TUN device %s is in use", name)
	}
	t := newTun(h, name, mtu)
	h.tuns[name] = t
	h.appear(name)
	h.state.Things = append(h.state.Things, platform.Device{Name: name, MTU: mtu})
	return t, nil
}

func (h *Host) remove(t *Tun) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.tuns, t.name)
	h.vanish(t.name)
}

// Route implements platform.Host.
func (h *Host) Route(r platform.Routing) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Tun != "" && h.tuns[r.Tun] == nil {
		return fmt.Errorf("route through %s: there is no such device", r.Tun)
	}
	h.routed = r
	h.plan()
	return nil
}

func (h *Host) plan() {
	for _, c := range platform.Plan(h.state, h.routed, h.links) {
		h.state.Apply(c)
		h.log = append(h.log, c.String())
	}
}

// State returns what there is now.
func (h *Host) State() platform.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return platform.State{Things: slices.Clone(h.state.Things), Saved: h.state.Saved}
}

// Changes returns what Route did since Changes was called last, one line each.
func (h *Host) Changes() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	log := h.log
	h.log = nil
	return log
}

// Pinned returns the links to which sockets were pinned, in that order.
func (h *Host) Pinned() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.pinned)
}

func clone(links []platform.Link) []platform.Link {
	links = slices.Clone(links)
	for i := range links {
		links[i].Addrs, links[i].Leases = slices.Clone(links[i].Addrs), slices.Clone(links[i].Leases)
	}
	return links
}
