package client

import (
	"strings"
	"testing"
)

func TestParseUpstream(t *testing.T) {
	for _, c := range []struct {
		text string
		want Upstream
	}{
		{"socks5://203.0.113.7:1080", Upstream{Kind: SOCKS5, Endpoint: "203.0.113.7:1080"}},
		{"socks5://me:se%40cret@proxy.example:1080", Upstream{SOCKS5, "proxy.example:1080", "me", "se@cret"}},
		{"socks5://me@proxy.example:1080", Upstream{SOCKS5, "proxy.example:1080", "me", ""}},
		{"convert://[2001:db8::7]:5124", Upstream{Kind: Convert, Endpoint: "[2001:db8::7]:5124"}},
	} {
		if got, err := ParseUpstream(c.text); err != nil || *got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.text, got, err, c.want)
		}
	}
	for text, why := range map[string]string{
		"":                            "convert://HOST:PORT",
		"203.0.113.7:1080":            "convert://HOST:PORT",
		"socks5:203.0.113.7:1080":     "convert://HOST:PORT",
		"socks5://h:1080/path":        "convert://HOST:PORT",
		"socks5://h:1080?a=b":         "convert://HOST:PORT",
		"http://h:80":                 "not \"http\"",
		"socks5://203.0.113.7":        "HOST:PORT",
		"socks5://203.0.113.7:0":      "HOST:PORT",
		"socks5://203.0.113.7:65536":  "HOST:PORT",
		"socks5://:1080":              "HOST:PORT",
		"convert://me:secret@h:5124":  "no users",
		"socks5://:secret@h:1080":     "without a user",
		"socks5://me:secret@h:port":   "HOST:PORT",
		"socks5://me:secret@h:1080/x": "HOST:PORT",
	} {
		_, err := ParseUpstream(text)
		if err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want it to say %q", text, err, why)
		}
	}
}
