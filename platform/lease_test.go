package platform

import (
	"net/netip"
	"testing"
	"time"
)

// What a link lasts is what its best address of a family does.
func TestLasts(t *testing.T) {
	now := time.Unix(1000, 0)
	lease := func(addr string, preferred, valid int64) Lease {
		l, ok := leaseOf(now, netip.MustParseAddr(addr), preferred, valid)
		if !ok {
			t.Fatalf("%s has no end", addr)
		}
		return l
	}
	prefixes := func(all ...string) (p []netip.Prefix) {
		for _, s := range all {
			p = append(p, netip.MustParsePrefix(s))
		}
		return p
	}
	const a, b, four = "2001:db8:1::5/64", "2001:db8:2::5/64", "192.0.2.5/24"
	for _, x := range []struct {
		name             string
		link             Link
		six              bool
		preferred, valid time.Duration
	}{
		{"no end", Link{Addrs: prefixes(four)}, false, 0, 0},
		{"no address of the family", Link{Addrs: prefixes(four), Leases: []Lease{lease("192.0.2.5", 60, 60)}}, true, 0, 0},
		{"a lease", Link{Addrs: prefixes(four), Leases: []Lease{lease("192.0.2.5", 60, 90)}}, false, time.Minute, 90 * time.Second},
		{"going away", Link{Addrs: prefixes(a), Leases: []Lease{lease("2001:db8:1::5", 0, 3)}}, true, 0, 3 * time.Second},
		{"one of two has no end", Link{Addrs: prefixes(a, b), Leases: []Lease{lease("2001:db8:1::5", 0, 3)}}, true, 0, 0},
		{"the better of two", Link{Addrs: prefixes(a, b), Leases: []Lease{lease("2001:db8:1::5", 5, 90), lease("2001:db8:2::5", 10, 20)}}, true, 10 * time.Second, 20 * time.Second},
	} {
		if p, v := x.link.Lease(x.six).Lasts(now); p != x.preferred || v != x.valid {
			t.Errorf("%s: %v and %v, want %v and %v", x.name, p, v, x.preferred, x.valid)
		}
	}
	for _, valid := range []int64{0, -1, 1<<32 - 1} {
		if l, ok := leaseOf(now, netip.MustParseAddr("192.0.2.5"), 10, valid); ok {
			t.Errorf("%d s: %v", valid, l)
		}
	}
	if p, v := lease("192.0.2.5", 5, 5).Lasts(now.Add(time.Minute)); p != 0 || v <= 0 {
		t.Errorf("over, and said to last %v and %v", p, v)
	}
}

// The kernel counts seconds: two looks at one lease differ by less than two, and a lease that was renewed by more.
func TestSame(t *testing.T) {
	at := func(seconds float64) []Link {
		end := time.Unix(1000, 0).Add(time.Duration(seconds * float64(time.Second)))
		return []Link{{Name: "wlan0", Leases: []Lease{{netip.MustParseAddr("192.0.2.5"), end, end}}}}
	}
	if !same(at(60), at(61.9)) || same(at(60), at(62)) || same(at(60), at(57)) {
		t.Error("leases")
	}
	going := func(now int64) []Link {
		l, _ := leaseOf(time.Unix(now, 0), netip.MustParseAddr("192.0.2.5"), 0, 1000-now)
		return []Link{{Name: "wlan0", Leases: []Lease{l}}}
	}
	if !same(going(100), going(200)) {
		t.Error("what goes away is news each time that it is looked at")
	}
	other := at(60)
	other[0].Name = "wlan1"
	if same(at(60), other) || same(at(60), nil) || same(at(60), []Link{{Name: "wlan0"}}) {
		t.Error("other links")
	}
}
