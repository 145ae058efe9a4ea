package platform_test

import (
	"slices"
	"testing"
	"time"

	"tandem/platform"
)

// An address tells how long it lasts; what is deprecated stays until it is gone while there is no other.
func TestLeases(t *testing.T) {
	if !inSpace(t) {
		return
	}
	home(t)
	reports := linksOf(t, open(t, platform.Config{Only: []string{"wlan0"}}))
	lasts := func(preferred, valid time.Duration) func(platform.Link) bool {
		return func(l platform.Link) bool {
			p, v := l.Lease(true).Lasts(time.Now())
			return p <= preferred && p >= preferred/2 && v <= valid && v >= valid/2 && (valid == 0) == (v == 0)
		}
	}
	shell(t, "ip -6 addr flush dev wlan0 scope global", "ip addr add 2001:db8:1::5/64 dev wlan0 nodad valid_lft 2000 preferred_lft 1000")
	await(t, reports, "wlan0", "a lease", lasts(1000*time.Second, 2000*time.Second))
	shell(t, "ip addr change 2001:db8:1::5/64 dev wlan0 valid_lft 4000 preferred_lft 3000")
	await(t, reports, "wlan0", "renewed", lasts(3000*time.Second, 4000*time.Second))
	shell(t, "ip addr change 2001:db8:1::5/64 dev wlan0 valid_lft 600 preferred_lft 0")
	await(t, reports, "wlan0", "going away", lasts(0, 600*time.Second))
	shell(t, "ip addr add 2001:db8:2::5/64 dev wlan0 nodad")
	await(t, reports, "wlan0", "a new address", func(l platform.Link) bool {
		return lasts(0, 0)(l) && !slices.ContainsFunc(l.Leases, func(l platform.Lease) bool { return l.Addr.Is6() })
	})
}
