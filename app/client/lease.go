package client

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"tandem/engine"
	"tandem/platform"
)

// lease says for how long a link has the addresses that its path goes out with; zero: no end is known.
func (v *live) lease(l *link) platform.Lease {
	r := l.is
	if v.native != nil { // which has one address of each family
		v4, v6 := ownAddrs(r)
		r.Addrs = slices.DeleteFunc(slices.Clone(r.Addrs), func(p netip.Prefix) bool { return p.Addr() != v4 && p.Addr() != v6 })
	}
	return r.Lease(l.endpoint.Addr().Is6())
}

// lifetime is what the engine is told of a lease.
func lifetime(x platform.Lease, now time.Time) engine.Lifetime {
	preferred, valid := x.Lasts(now)
	return engine.Lifetime{Preferred: preferred, Valid: valid}
}

// renewLease takes what a report says of the leases of a link that stays as it is.
func (v *live) renewLease(l *link, now time.Time) {
	is := v.lease(l)
	a := l.pipe.attachment.Load()
	if a == nil || is.Same(l.lease) {
		return
	}
	l.lease = is
	a.SetLifetime(lifetime(is, now))
}

// parting says that a link is left because its address goes away; "": it is not.
func (l *link) parting() string {
	switch {
	case !l.path.Leaving:
		return ""
	case l.path.Left <= 0:
		return "its address is gone"
	}
	return fmt.Sprintf("its address goes away in %v: connections take others", l.path.Left.Round(time.Second))
}
