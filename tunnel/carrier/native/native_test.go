package native

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	good := Config{Link: "wlan0", Local4: pairs[0].here, Local6: pairs[1].here, First: first, Last: last, Deliver: func([][]byte) {}}
	for _, c := range []struct {
		what   string
		change func(cfg *Config)
		want   string // of the error; empty: none
	}{
		{"all", func(*Config) {}, ""},
		{"IPv4 alone", func(cfg *Config) { cfg.Local6 = netip.Addr{} }, ""},
		{"IPv6 alone", func(cfg *Config) { cfg.Local4 = netip.Addr{} }, ""},
		{"one port", func(cfg *Config) { cfg.Last = first }, ""},
		{"as many ports as there may be", func(cfg *Config) { cfg.First, cfg.Last = 1, portsMax }, ""},
		{"one more", func(cfg *Config) { cfg.First, cfg.Last = 1, portsMax+1 }, "ports"},
		{"port 0", func(cfg *Config) { cfg.First = 0 }, "ports"},
		{"ports the wrong way round", func(cfg *Config) { cfg.Last = first - 1 }, "ports"},
		{"no link", func(cfg *Config) { cfg.Link = "" }, "no link"},
		{"no address", func(cfg *Config) { cfg.Local4, cfg.Local6 = netip.Addr{}, netip.Addr{} }, "no address"},
		{"families confused", func(cfg *Config) { cfg.Local4 = pairs[1].here }, "not an IPv4 address"},
		{"IPv4 in IPv6", func(cfg *Config) { cfg.Local6 = netip.MustParseAddr("::ffff:192.0.2.2") }, "not an IPv6 address"},
		{"link-local", func(cfg *Config) { cfg.Local6 = netip.MustParseAddr("fe80::2") }, "not an IPv6 address"},
		{"nobody", func(cfg *Config) { cfg.Deliver = nil }, "nobody"},
	} {
		cfg := good
		c.change(&cfg)
		err := cfg.check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
}

// TestCounters: each counter has a tally of its own.
func TestCounters(t *testing.T) {
	var y tally
	for i, n := range []interface{ Store(uint64) }{&y.sent, &y.sentOctets, &y.received, &y.receivedOctets, &y.merged,
		&y.refused, &y.tooLong, &y.noRoom, &y.unsent, &y.overrun, &y.malformed} {
		n.Store(uint64(i) + 1)
	}
	got := reflect.ValueOf(y.counters())
	for i := range got.NumField() {
		if n := got.Field(i).Uint(); n != uint64(i)+1 {
			t.Errorf("%s is %d, want %d", got.Type().Field(i).Name, n, i+1)
		}
	}
}
