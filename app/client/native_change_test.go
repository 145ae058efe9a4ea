package client

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"tandem/engine"
	"tandem/engine/convert"
	"tandem/platform"
	"tandem/tunnel/relay"
	"tandem/tunnel/upstream"
)

// TestNativeMoved: what finds gateways by itself has no use for another carrier when its link gets one, or further addresses.
func TestNativeMoved(t *testing.T) {
	was := platform.Link{Name: "wlan0", Index: 2, MTU: 1500, Gateway4: netip.MustParseAddr("10.0.0.1"), Addrs: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("10.0.0.3/24"), netip.MustParsePrefix("2001:db8::2/64"),
	}}
	v := &live{native: &nativeMode{}}
	for _, c := range []struct {
		what   string
		change func(*platform.Link)
		want   bool
	}{
		{"nothing", func(*platform.Link) {}, false},
		{"its gateway", func(l *platform.Link) { l.Gateway4 = netip.MustParseAddr("10.0.0.254") }, false},
		{"an address that is not used", func(l *platform.Link) { l.Addrs = slices.Delete(slices.Clone(l.Addrs), 1, 2) }, false},
		{"its address", func(l *platform.Link) { l.Addrs = l.Addrs[1:] }, true},
		{"its IPv6 address", func(l *platform.Link) { l.Addrs = l.Addrs[:2] }, true},
		{"its MTU", func(l *platform.Link) { l.MTU = 1400 }, true},
		{"its number", func(l *platform.Link) { l.Index = 3 }, true},
		{"its name", func(l *platform.Link) { l.Name = "wlan1" }, true},
	} {
		is := was
		c.change(&is)
		if got := v.moved(&link{seen: was, endpoint: proxyAt}, is); got != c.want {
			t.Errorf("%s: moved %v", c.what, got)
		}
	}
}

// TestNativeLearnsAgain: what was not learnt of a proxy is asked again after a while, and at once when links have changed.
func TestNativeLearnsAgain(t *testing.T) {
	asked := 0
	socks, err := upstream.NewSOCKS(upstream.SOCKSConfig{
		Proxy: func() netip.AddrPort { return proxyAt },
		Open: func(context.Context, netip.AddrPort, []byte, upstream.Haste) (relay.Stream, error) {
			asked++
			return nil, syscall.ECONNREFUSED
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	n := &nativeMode{live: &live{Client: &Client{log: slog.New(slog.DiscardHandler)}, ctx: t.Context()}, socks: socks}
	start := time.Now()
	for i, step := range []struct {
		at   time.Duration
		want int
	}{{0, 1}, {learnPeriod - 1, 1}, {learnPeriod, 2}, {learnPeriod + 1, 2}} {
		n.learn(start.Add(step.at))
		if n.live.beside.Wait(); asked != step.want {
			t.Errorf("step %d: asked %d times, want %d", i, asked, step.want)
		}
	}
	n.appeared()
	n.learn(start.Add(learnPeriod + 2))
	if n.live.beside.Wait(); asked != 3 {
		t.Errorf("asked %d times after links had changed", asked)
	}
}

// TestNativeUnreached: that nobody is where the converter was is told apart from what is wrong here, and from what targets do.
func TestNativeUnreached(t *testing.T) {
	n := &nativeMode{convert: upstream.NewConvert(upstream.ConvertConfig{}), proxy: proxyAt}
	other := netip.AddrPortFrom(proxyAt.Addr(), proxyAt.Port()+1)
	for _, c := range []struct {
		to   netip.AddrPort
		err  error
		want bool
	}{
		{proxyAt, engine.ErrReset, true}, {proxyAt, engine.ErrRefused, true}, {proxyAt, engine.ErrTimeout, false},
		{proxyAt, context.DeadlineExceeded, false}, {proxyAt, context.Canceled, false}, {proxyAt, engine.ErrNoPath, false},
		{proxyAt, engine.ErrLimit, false}, {other, engine.ErrRefused, false},
	} {
		if err := n.unreached(t.Context(), c.to, c.err); errors.Is(err, convert.ErrUnreached) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%v of %v: %v", c.err, c.to, err)
		}
	}
	if err := n.unreached(withOnly(t.Context(), []engine.PathID{1}), proxyAt, engine.ErrRefused); err != engine.ErrRefused {
		t.Errorf("over one link alone: %v", err)
	}
	n.convert = nil
	if err := n.unreached(t.Context(), proxyAt, engine.ErrRefused); err != engine.ErrRefused {
		t.Errorf("without a converter: %v", err)
	}
}
