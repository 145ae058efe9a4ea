package server

import (
	"net/netip"
	"sync"
)

// A crowd is a budget of which strangers have shares, each as long as it uses any. All addresses of an IPv6 /64 are one
// stranger: a host has as many as it likes.
type crowd struct {
	budget budget
	mu     sync.Mutex
	shares map[netip.Addr]*share
}

func newCrowd(total int) *crowd {
	return &crowd{budget: budget{total: total}, shares: map[netip.Addr]*share{}}
}

// enter takes one for who is at an address, and returns what gives it back, which may be called again; nil: there is none.
func (c *crowd) enter(who netip.Addr) (leave func()) {
	if who = who.Unmap().WithZone(""); who.Is6() {
		site, _ := who.Prefix(64)
		who = site.Addr()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.shares[who]
	if s == nil {
		s = &share{budget: &c.budget}
	}
	if !s.take() {
		return nil
	}
	c.shares[who] = s
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if s.give(); s.mine == 0 {
			delete(c.shares, who)
		}
	})
}
