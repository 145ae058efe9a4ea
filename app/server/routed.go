package server

import (
	"net"
	"sync"
	"time"

	"tandem/engine"
)

// routedLife is how old the knowledge gets which families the hub has a default route of.
const routedLife = 5 * time.Second

// Somewhere in the Internet, by family.
const (
	internet4 = "192.88.99.1:53"
	internet6 = "[2000::1]:53"
)

// A routed tells by which families the hub can send to the Internet, as far as its routes say.
type routed struct {
	has func(network, address string) bool // hasRoute

	mu  sync.Mutex
	at  time.Time
	now engine.Families
}

// families returns what devices are told; 0: none.
func (r *routed) families() (f engine.Families) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at.IsZero() || time.Since(r.at) > routedLife {
		if r.has("udp4", internet4) {
			f |= engine.IPv4
		}
		if r.has("udp6", internet6) {
			f |= engine.IPv6
		}
		r.at, r.now = time.Now(), f
	}
	return r.now
}

func (r *routed) ipv6() bool { return r.families()&engine.IPv6 != 0 }

// hasRoute reports whether the system knows a way to an address. Nothing is sent.
func hasRoute(network, address string) bool {
	c, err := net.Dial(network, address)
	if err != nil {
		return false
	}
	c.Close()
	return true
}
