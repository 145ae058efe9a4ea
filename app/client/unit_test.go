package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/app/config"
	"tandem/app/control"
	"tandem/engine"
	"tandem/engine/wire"
	"tandem/platform"
	"tandem/tunnel/packet"
)

func TestRevival(t *testing.T) {
	start := time.Unix(1e9, 0)
	var r revival
	var at []time.Duration
	for now := start; now.Sub(start) < 26*time.Second; now = now.Add(100 * time.Millisecond) {
		if r.due(now) {
			at = append(at, now.Sub(start)/time.Second)
		}
	}
	want := []time.Duration{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25}
	if !reflect.DeepEqual(at, want) {
		t.Errorf("handshakes at %v s, want %v", at, want)
	}
	r.end()
	if !r.due(start) {
		t.Error("no handshake at once after an answer")
	}
}

func TestNap(t *testing.T) {
	var n napWatch
	wall, awake := time.Unix(1e9, 0), time.Hour
	for _, c := range []struct {
		what               string
		wallGoes, awakeFor time.Duration
		want               bool
	}{
		{"the first look", 0, 0, false},
		{"both go on", time.Second, time.Second, false},
		{"both go on for long", time.Minute, time.Minute, false},
		{"a nap of 5 s", 6 * time.Second, time.Second, true},
		{"after the nap", time.Second, time.Second, false},
		{"the wall clock is set a little", 2 * time.Second, time.Second, false},
		{"the wall clock is set back", -time.Hour, time.Second, false},
	} {
		wall, awake = wall.Add(c.wallGoes), awake+c.awakeFor
		if got := n.slept(wall, awake); got != c.want {
			t.Errorf("%s: slept %v, want %v", c.what, got, c.want)
		}
	}
}

var (
	home4 = netip.MustParseAddrPort("192.0.2.1:8684")
	home6 = netip.MustParseAddrPort("[2001:db8::1]:8684")
	lan   = netip.MustParseAddrPort("10.1.1.1:8684")
)

func TestPick(t *testing.T) {
	all := []netip.AddrPort{home4, home6, lan}
	only := func(prefixes ...string) (l platform.Link) {
		for _, p := range prefixes {
			l.Addrs = append(l.Addrs, netip.MustParsePrefix(p))
		}
		return l
	}
	for _, c := range []struct {
		what string
		link platform.Link
		want []netip.AddrPort
	}{
		{"both families", only("10.0.0.2/24", "2001:db8:1::2/64"), []netip.AddrPort{home4, home6, lan, home4}},
		{"IPv4", only("10.0.0.2/24"), []netip.AddrPort{home4, lan, home4}},
		{"IPv6", only("2001:db8:1::2/64"), []netip.AddrPort{home6, home6}},
		{"unknown", only(), []netip.AddrPort{home4, home6, lan}},
	} {
		for try, want := range c.want {
			if got := pick(c.link, all, try); got != want {
				t.Errorf("%s, try %d: %v, want %v", c.what, try, got, want)
			}
		}
	}
	if got := pick(only("10.0.0.2/24"), []netip.AddrPort{home6}, 0); got.IsValid() {
		t.Errorf("%v over a link that cannot reach it", got)
	}
}

func TestPathMTU(t *testing.T) {
	for _, c := range []struct {
		link int
		to   netip.AddrPort
		want int
	}{{1500, home4, 1440}, {1500, home6, 1408}, {1492, home4, 1424}, {1280, home6, 1200}, {0, home4, 1440}} {
		if got := pathMTU(c.link, c.to); got != c.want {
			t.Errorf("%d to %v: %d, want %d", c.link, c.to, got, c.want)
		}
	}
}

func TestMoved(t *testing.T) {
	was := platform.Link{Name: "wlan0", Index: 2, MTU: 1500, Gateway4: netip.MustParseAddr("10.0.0.1"), Addrs: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("2001:db8::2/64"),
	}}
	for _, c := range []struct {
		what   string
		change func(*platform.Link)
		want   bool // of a carrier over IPv4
	}{
		{"nothing", func(*platform.Link) {}, false},
		{"one more address", func(l *platform.Link) { l.Addrs = append(l.Addrs, netip.MustParsePrefix("2001:db8::3/64")) }, false},
		{"IPv6 gone", func(l *platform.Link) { l.Addrs = l.Addrs[:1] }, false},
		{"IPv4 gone", func(l *platform.Link) { l.Addrs = l.Addrs[1:] }, true},
		{"other gateway", func(l *platform.Link) { l.Gateway4 = netip.MustParseAddr("10.0.0.254") }, true},
		{"other gateway of IPv6", func(l *platform.Link) { l.Gateway6 = netip.MustParseAddr("fe80::1") }, false},
		{"plugged in anew", func(l *platform.Link) { l.Index = 7 }, true},
		{"other MTU", func(l *platform.Link) { l.MTU = 1400 }, true},
	} {
		is := was
		is.Addrs = append([]netip.Prefix{}, was.Addrs...)
		c.change(&is)
		if got := moved(was, is, home4); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

func TestExplain(t *testing.T) {
	for _, c := range []struct{ is, want error }{
		{engine.ErrRefused, syscall.ECONNREFUSED},
		{engine.ErrReset, syscall.ECONNREFUSED},
		{engine.ErrTimeout, syscall.ETIMEDOUT},
		{context.DeadlineExceeded, syscall.ETIMEDOUT},
		{engine.ErrNoPath, syscall.ENETUNREACH},
		{os.ErrPermission, os.ErrPermission},
		{fmt.Errorf("%w: %w", engine.ErrRefused, os.ErrPermission), os.ErrPermission},
		{fmt.Errorf("%w: %w", engine.ErrRefused, syscall.EHOSTUNREACH), syscall.EHOSTUNREACH},
		{fmt.Errorf("%w: %w", engine.ErrRefused, syscall.ETIMEDOUT), syscall.ETIMEDOUT},
	} {
		got := explain(c.is)
		if c.want != syscall.ECONNREFUSED && errors.Is(got, syscall.ECONNREFUSED) {
			t.Errorf("%v: %v", c.is, got)
		}
		if !errors.Is(got, c.want) || !errors.Is(got, c.is) {
			t.Errorf("%v: %v, want %v", c.is, got, c.want)
		}
	}
	six, four := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")
	if err := (families{v4: true}).refuse(six); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("IPv6 that the hub lacks: %v", err)
	}
	if err := (families{v4: true}).refuse(four); err != nil {
		t.Errorf("IPv4 that the hub has: %v", err)
	}
}

func TestFlows(t *testing.T) {
	var f flows
	here, there := netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("192.0.2.53")
	out := (&packet.Packet{Source: here, Target: there}).AppendUDP(nil, 4000, 53, []byte("who?"))
	in := (&packet.Packet{Source: there, Target: here}).AppendUDP(nil, 53, 4000, []byte("it is me"))
	echo := (&packet.Packet{Source: here, Target: there}).AppendEcho(nil, packet.Echo{ID: 1, Seq: 1})
	f.count([][]byte{out, out, echo, {1, 2, 3}}, true)
	f.count([][]byte{in}, false)
	all := f.list(time.Now())
	if len(all) != 2 {
		t.Fatalf("%d flows, want 2: %+v", len(all), all)
	}
	for _, one := range all {
		one.Last = time.Time{}
		want := control.Flow{Protocol: "icmp", Source: netip.AddrPortFrom(here, 0), Target: netip.AddrPortFrom(there, 0), Sent: uint64(len(echo))}
		if one.Protocol == "udp" {
			want = control.Flow{Protocol: "udp", Source: netip.AddrPortFrom(here, 4000), Target: netip.AddrPortFrom(there, 53),
				Sent: uint64(2 * len(out)), Received: uint64(len(in))}
		}
		if one != want {
			t.Errorf("%+v, want %+v", one, want)
		}
	}
	if left := f.list(time.Now().Add(2 * flowTime)); len(left) != 0 {
		t.Errorf("after a while there are still %+v", left)
	}
	for i := range flowsMax + 10 {
		port := uint16(i)
		f.count([][]byte{(&packet.Packet{Source: here, Target: there, Protocol: wire.UDP}).AppendUDP(nil, port, 53, nil)}, true)
	}
	if n := len(f.list(time.Now())); n != flowsMax {
		t.Errorf("%d flows are kept, want %d", n, flowsMax)
	}
}

func TestPhases(t *testing.T) {
	now := time.Unix(1e9, 0)
	states := func(all ...string) (links []control.Link) {
		for _, s := range all {
			links = append(links, control.Link{Name: "l", State: s})
		}
		return links
	}
	for _, c := range []struct {
		links   []control.Link
		silence time.Duration
		revoked bool
		want    control.Phase
	}{
		{states(control.LinkConnected, control.LinkSilent), 0, false, control.Connected},
		{states(control.LinkConnecting), time.Second, false, control.Connecting},
		{states(control.LinkConnecting), 6 * time.Second, false, control.Unreachable},
		{states(control.LinkSilent), 6 * time.Second, false, control.Unreachable},
		{states(control.LinkOff, control.LinkUnusable), time.Minute, false, control.NoLink},
		{nil, time.Minute, false, control.NoLink},
		{states(control.LinkConnecting), time.Minute, true, control.Revoked},
	} {
		live := &live{revoked: c.revoked}
		if c.silence > 0 {
			live.silence = now.Add(-c.silence)
		}
		client := &Client{member: &config.Membership{}, live: live}
		if got := client.phaseNow(c.links, now); got != c.want {
			t.Errorf("%+v: %q, want %q", c, got, c.want)
		}
	}
	if got := (&Client{}).phaseNow(nil, now); got != control.NotJoined {
		t.Errorf("without a hub: %q", got)
	}
	if got := (&Client{member: &config.Membership{}}).phaseNow(nil, now); got != control.Off {
		t.Errorf("down: %q", got)
	}
}

func TestIdleLinks(t *testing.T) {
	off := config.NewSettings()
	off.Links["a"] = config.Link{On: false, ResetDay: 1}
	down := platform.Link{Name: "eth0", Kind: "ethernet", ID: "b", Reason: "It has no address."}
	fit := platform.Link{Name: "wlan0", Kind: "wifi", ID: "a", Usable: true}
	bridge := platform.Link{Name: "docker0", Kind: platform.Other, ID: "c", Reason: "It is a bridge."}
	for _, c := range []struct {
		what     string
		links    []platform.Link
		settings config.Settings
		want     string
	}{
		{"one is usable", []platform.Link{fit, down}, config.NewSettings(), ""},
		{"none", nil, config.NewSettings(), "there is no link"},
		{"one without an address", []platform.Link{down, bridge}, config.NewSettings(), "(eth0: It has no address)"},
		{"the only one switched off", []platform.Link{fit, down, bridge}, off, "switched off: tandem link NAME on"},
		{"many", []platform.Link{down, down, down}, config.NewSettings(), "tandem links says why"},
	} {
		client := &Client{settings: c.settings, links: c.links}
		if why := client.idle(); !strings.Contains(why, c.want) || c.want == "" && why != "" || strings.Contains(why, "docker0") {
			t.Errorf("%s: %q", c.what, why)
		}
	}
}

func TestPulse(t *testing.T) {
	now := time.Unix(1e9, 0)
	var p pulse
	var asked []int
	for i, came := range []uint64{0, 1, 1, 1, 1, 9, 20, 20, 20, 20, 20, 21, 21, 21, 21} { // every 250 ms
		if p.ends(came, now.Add(time.Duration(i)*250*time.Millisecond)) {
			asked = append(asked, i)
		}
	}
	if want := []int{8}; !reflect.DeepEqual(asked, want) {
		t.Errorf("asked at %v, want %v: once, after its use", asked, want)
	}
}

// TestPardon: a hub that does not accept a device says HELLO each time before it says so.
func TestPardon(t *testing.T) {
	now := time.Unix(1e9, 0)
	v := &live{Client: &Client{log: slog.New(slog.DiscardHandler)}}
	hello, bye := engine.Event{Kind: engine.HelloHeard}, engine.Event{Kind: engine.ByeHeard, Bye: engine.ByeRevoked}
	v.heard(bye, now)
	for range 10 {
		now = now.Add(time.Second)
		v.heard(hello, now)
		v.pardon(now)
		if !v.revoked {
			t.Fatal("not revoked between HELLO and BYE")
		}
		v.heard(bye, now.Add(200*time.Millisecond))
	}
	v.heard(hello, now)
	if v.pardon(now.Add(3 * time.Second)); v.revoked {
		t.Error("revoked though no BYE has followed HELLO")
	}
}
