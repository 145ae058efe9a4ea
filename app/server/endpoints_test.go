package server

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"tandem/app/apptest"
)

func TestEndpointsInDoubt(t *testing.T) {
	const outside = "These addresses are private: devices outside this network will not find the hub; say --endpoint NAME:PORT"
	for _, c := range []struct {
		what   string
		given  []string
		listen string
		own    []string
		want   []string
		says   string
	}{
		{"configured", []string{"hub.example.net:8684"}, "[::]:8684", nil, []string{"hub.example.net:8684"}, ""},
		{"one of two leads here", []string{"hub.example.net:443", "192.168.0.2:8684"}, "[::]:8684", nil, nil, ""},
		{"another port", []string{"hub.example.net:51820", "192.0.2.1:51821"}, "[::]:8684", nil, nil,
			"Devices are told port 51820 but this hub listens on 8684: forward the one to the other, or add --listen :51820"},
		{"private as configured", []string{"192.168.0.2:8684"}, "[::]:8684", nil, nil, ""},
		{"own of the Internet", nil, "[::]:8684", []string{"10.0.0.1", "93.184.216.34", "127.0.0.1"}, []string{"93.184.216.34:8684", "10.0.0.1:8684"}, ""},
		{"own private ones", nil, "[::]:8684", []string{"10.0.0.1", "fd00::1"}, []string{"10.0.0.1:8684", "[fd00::1]:8684"}, outside},
		{"listening on a private one", nil, "192.168.0.2:9", []string{"93.184.216.34"}, []string{"192.168.0.2:9"}, outside},
		{"none", nil, "[::]:8684", nil, nil, ""},
	} {
		cfg := Config{Endpoints: c.given, Listen: netip.MustParseAddrPort(c.listen)}
		var own []netip.Addr
		for _, a := range c.own {
			own = append(own, netip.MustParseAddr(a))
		}
		got := cfg.endpoints(cfg.Listen.Port(), own)
		if c.want != nil && !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", c.what, got)
		}
		if says := cfg.doubt(cfg.Listen.Port(), got); says != c.says {
			t.Errorf("%s: %q, want %q", c.what, says, c.says)
		}
	}
}

// What is in doubt is said by check, and in the log of a hub that runs. Whoever makes an invite hears it when nobody
// has chosen the endpoints.
func TestDoubtIsSaid(t *testing.T) {
	for _, c := range []struct {
		what      string
		endpoints []string
		says      string
		invited   bool
	}{
		{"another port", []string{"hub.example.net:1"}, "but this hub listens on", false},
		{"private addresses", nil, "say --endpoint NAME:PORT", true},
	} {
		t.Run(c.what, func(t *testing.T) {
			w, log := newWorld(t, 1), &logged{}
			w.config.Endpoints, w.config.Log = c.endpoints, log.logger()
			w.config.Listen = netip.MustParseAddrPort("127.0.0.1:8684")
			if f := finding(t, w.config, "endpoints"); f.OK || f.Essential || !strings.Contains(f.Text, c.says) {
				t.Errorf("%+v", f)
			}
			w.start()
			apptest.Until(t, "the log says it", func() bool { return strings.Contains(log.String(), c.says) })
			if l, err := w.server.Devices(); err != nil || strings.Contains(l.Doubt, c.says) != c.invited {
				t.Errorf("%+v, %v", l, err)
			}
		})
	}
}
