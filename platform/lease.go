package platform

import (
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// A Lease says until when an address is there (RFC 4862 5.5.4, DHCP).
type Lease struct {
	Addr      netip.Addr
	Preferred time.Time // until then, zero if that is over; afterwards others are to be used, and a link shows it only if it has no other of its family
	Valid     time.Time // until then
}

// forever is the lifetime of what has no end, seconds (RFC 4861 4.6.2).
const forever = 1<<32 - 1

// leaseOf returns the lease of an address for which the kernel gives those seconds; ok is false if it has no end.
func leaseOf(now time.Time, addr netip.Addr, preferred, valid int64) (l Lease, ok bool) {
	if valid >= forever || valid <= 0 {
		return Lease{}, false
	}
	seconds := func(n int64) time.Time { return now.Add(time.Duration(n) * time.Second) }
	l = Lease{Addr: addr, Valid: seconds(valid)}
	if preferred > 0 {
		l.Preferred = seconds(min(preferred, valid))
	}
	return l, true
}

// Lease is until when the link has addresses of a family: that of the one that lasts longest. Zero: for as long as anybody
// knows, or there are none.
func (l Link) Lease(six bool) (best Lease) {
	for _, p := range l.Addrs {
		if p.Addr().Is6() != six {
			continue
		}
		i := slices.IndexFunc(l.Leases, func(x Lease) bool { return x.Addr == p.Addr() })
		if i < 0 {
			return Lease{}
		}
		x := l.Leases[i]
		if c := x.Preferred.Compare(best.Preferred); c > 0 || c == 0 && x.Valid.After(best.Valid) {
			best = x
		}
	}
	return best
}

// Lasts is for how long from now: until others are to be used, and until there is none. Valid 0: for as long as anybody knows.
func (l Lease) Lasts(now time.Time) (preferred, valid time.Duration) {
	if l.Valid.IsZero() {
		return 0, 0
	}
	return max(l.Preferred.Sub(now), 0), max(l.Valid.Sub(now), 1)
}

// rounding is by how much the end of a lease may differ between two looks though nobody changed it: the kernel counts seconds.
const rounding = 2 * time.Second

// same reports whether nothing is new in b.
func same(a, b []Link) bool {
	return slices.EqualFunc(a, b, func(x, y Link) bool {
		leases := slices.EqualFunc(x.Leases, y.Leases, Lease.Same)
		x.Leases, y.Leases = nil, nil
		return leases && reflect.DeepEqual(x, y)
	})
}

// Same reports whether nobody has changed one lease into the other.
func (l Lease) Same(m Lease) bool {
	return l.Addr == m.Addr && l.Preferred.Sub(m.Preferred).Abs() < rounding && l.Valid.Sub(m.Valid).Abs() < rounding
}
