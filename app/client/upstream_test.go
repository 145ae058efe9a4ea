package client

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/app/apptest"
)

func TestParseUpstream(t *testing.T) {
	for _, c := range []struct {
		text string
		want Upstream
	}{
		{"socks5://203.0.113.7:1080", Upstream{Kind: SOCKS5, Endpoint: "203.0.113.7:1080"}},
		{"socks5://me:se%40cret@proxy.example:1080", Upstream{SOCKS5, "proxy.example:1080", "me", "se@cret"}},
		{"implicit://gateway.example:443", Upstream{Kind: Implicit, Endpoint: "gateway.example:443"}},
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
		"implicit://me:secret@h:443":  "no users",
		"socks5://:secret@h:1080":     "without a user",
		"socks5://me@h:1080":          "without a password",
		"socks5://me:@h:1080":         "without a password",
		"socks5://me:secret@h:port":   "HOST:PORT",
		"socks5://me:secret@h:1080/x": "HOST:PORT",
	} {
		_, err := ParseUpstream(text)
		if err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want it to say %q", text, err, why)
		}
	}
}

// FuzzParseUpstream: what is taken can be dialled, and what is refused says why without the password.
func FuzzParseUpstream(f *testing.F) {
	f.Add("socks5://me:secret@proxy.example:1080")
	f.Add("convert://[2001:db8::7]:5124")
	f.Add("socks5://[fe80::1%25eth0]:1080")
	f.Add("convert:///")
	f.Add("implicit://192.0.2.1:443")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ParseUpstream(text)
		if err != nil {
			return
		}
		host, port, wrong := net.SplitHostPort(u.Endpoint)
		if wrong != nil || host == "" || port == "" || u.Kind != SOCKS5 && u.Kind != Convert && u.Kind != Implicit {
			t.Errorf("%q gives %+v", text, u)
		}
	})
}

// TestNativeBearer: one question at a time; an answer, or traffic, says that the link is alive, and silence that it is not.
func TestNativeBearer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pipe
		questions, answers := 0, make(chan error)
		b := newNativeBearer(&nativeLink{street: &street{}}, &p, func(ctx context.Context) error {
			questions++
			select {
			case err := <-answers:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		b.Renew()
		b.Renew()
		synctest.Wait()
		if questions != 1 || !b.Stats().Handshake.IsZero() {
			t.Errorf("%d questions, answered %v", questions, b.Stats().Handshake)
		}
		time.Sleep(30 * time.Millisecond)
		answers <- nil
		synctest.Wait()
		if rtt, trouble := b.health(); rtt != 30*time.Millisecond || trouble != "" || b.Stats().Handshake.IsZero() {
			t.Errorf("answered: %v, %q", rtt, trouble)
		}
		b.Renew()
		time.Sleep(knockTime)
		synctest.Wait()
		if _, trouble := b.health(); trouble == "" {
			t.Error("silence is no trouble")
		}
		b.Renew()
		synctest.Wait()
		answers <- nil
		synctest.Wait()
		b.Renew()
		synctest.Wait()
		p.receive([][]byte{{1}})
		time.Sleep(knockTime)
		synctest.Wait()
		if _, trouble := b.health(); trouble != "" {
			t.Errorf("trouble on a link that carries: %s", trouble)
		}
		time.Sleep(knockTime)
		synctest.Wait()
		if _, trouble := b.health(); trouble == "" {
			t.Error("a link that fell silent while the proxy was asked is not asked about again")
		}
		b.Renew()
		synctest.Wait()
		before := questions
		b.Close()
		b.Renew()
		synctest.Wait()
		if questions != before {
			t.Error("asked after Close")
		}
	})
}

// TestFreePorts: a range is free when nobody listens on any port of it.
func TestFreePorts(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	if system.free(port, port) {
		t.Errorf("port %d is somebody's and said to be free", port)
	}
	l.Close()
	if !system.free(port, port) {
		t.Errorf("port %d is said to be somebody's", port)
	}
}

// TestUpstreamLeavesNothing: every goroutine has ended when Run returns.
func TestUpstreamLeavesNothing(t *testing.T) {
	s := newStreet(t)
	s.host(proxyAt, false, socks5(t))
	s.run("socks5://"+proxyAt.String(), nil)
	s.connected("wlan0", "wwan0")
	echoes(t, s.dial(), 1000)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	left := func() []string {
		return slices.DeleteFunc(ours(), func(g string) bool { return strings.Contains(g, "(*street).host") })
	}
	apptest.Until(t, "nothing of it runs any more", func() bool { return len(left()) == 0 })
	for name, l := range s.links {
		if !l.closed {
			t.Errorf("the carrier of %s is open", name)
		}
	}
}
