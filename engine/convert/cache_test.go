package convert

import (
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
)

var (
	converter  = netip.MustParseAddrPort("198.51.100.1:1234")
	converter2 = netip.MustParseAddrPort("198.51.100.2:1234")
)

const second = clock.Time(time.Second)

func TestBypassExpires(t *testing.T) {
	c := NewCache(CacheConfig{Bypass: 10 * time.Second})
	if !c.Via(0, converter, server4) {
		t.Fatal("a stranger is bypassed")
	}
	c.Bypass(0, server4)
	if !c.Bypasses(10*second-1, server4) || c.Bypasses(10*second, server4) || c.Bypasses(0, server6) {
		t.Error("not known of that server, and only that, for that long")
	}
	mapped := netip.AddrPortFrom(netip.AddrFrom16(server4.Addr().As16()), 443)
	if c.Via(10*second-1, converter, server4) || c.Via(0, converter2, mapped) || !c.Via(0, converter, server6) {
		t.Error("not that server, and only that, is bypassed")
	}
	if !c.Via(10*second, converter, server4) || !c.Via(0, converter, server4) {
		t.Error("bypassed too long")
	}
	c.Bypass(0, server4)
	c.NoBypass(server4)
	if !c.Via(0, converter, server4) {
		t.Error("bypassed though that did not do")
	}
	if got := c.Counters(); got.Bypassed != 2 {
		t.Errorf("%+v", got)
	}
}

func TestAvoidUntilForgotten(t *testing.T) {
	c := NewCache(CacheConfig{})
	c.Avoid(converter)
	if c.Via(0, converter, server4) || c.Via(clock.Never, converter, server6) || !c.Via(0, converter2, server4) {
		t.Error("not that converter, and only that, is avoided")
	}
	if got := c.Converter(converter); !got.Avoid || got.Known || c.Converter(converter2).Avoid || c.Counters().Avoided != 2 {
		t.Errorf("%+v", c.Counters())
	}
	c.Forget()
	if !c.Via(0, converter, server4) {
		t.Error("no other chance")
	}
}

func TestBackOff(t *testing.T) {
	c := NewCache(CacheConfig{})
	c.backOff(converter, 30*second, server6.Addr(), false)
	if !c.Via(0, converter, server4) || c.Via(30*second-1, converter, server6) || !c.Via(30*second, converter, server6) {
		t.Error("a failure of the network is not of one family")
	}
	c.backOff(converter, 20*second, server6.Addr(), true)
	if c.Via(20*second-1, converter, server4) || !c.Via(20*second, converter, server4) || c.Via(30*second-1, converter, server6) {
		t.Error("a shortage is not of both")
	}
	if got := c.Converter(converter).Until; got != [2]clock.Time{20 * second, 30 * second} || c.Counters().BackedOff != 3 {
		t.Errorf("%v, %+v", got, c.Counters())
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := NewCache(CacheConfig{Converters: 2, Targets: 3, Cookies: 4})
	for port := range uint16(100) {
		c.Avoid(netip.AddrPortFrom(converter.Addr(), port))
		c.Bypass(0, netip.AddrPortFrom(server4.Addr(), port))
		c.setCookie(converter, Path(port), []byte{1, 2, 3, 4})
	}
	if k, n := len(c.cookies.rows), c.Counters().Forgotten; len(c.converters.rows) != 2 || len(c.targets.rows) != 3 || k != 4 || n != 98+97+96 {
		t.Errorf("%d, %d and %d, %d forgotten", len(c.converters.rows), len(c.targets.rows), k, n)
	}
	if c.Via(0, converter2, netip.AddrPortFrom(server4.Addr(), 97)) || !c.Via(0, converter2, netip.AddrPortFrom(server4.Addr(), 96)) {
		t.Error("the wrong ones are left")
	}
}

// What is in use stays.
func TestRecentKeepsWhatIsAskedFor(t *testing.T) {
	r := newRecent[int, string](2)
	*r.make(1), *r.make(2) = "one", "two"
	r.get(1)
	r.make(3)
	if r.get(1) == nil || *r.get(1) != "one" || r.get(2) != nil || r.get(3) == nil || r.forgotten != 1 {
		t.Error(r.rows)
	}
	r.drop(1)
	r.drop(1)
	if r.get(1) != nil || r.order.Len() != 1 {
		t.Error(r.rows)
	}
}

// Defaults are there.
func TestCacheDefaults(t *testing.T) {
	if got, want := NewCache(CacheConfig{}).cfg, (CacheConfig{16, 1024, 64, time.Hour}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
