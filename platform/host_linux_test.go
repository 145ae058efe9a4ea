package platform_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/platform"
)

const soon = time.Second // by then a change of a link is reported

// linksOf follows the links of a host. The channel gets each report.
func linksOf(t *testing.T, h platform.Host) <-chan []platform.Link {
	ctx, cancel := context.WithCancel(context.Background())
	reports, ended := make(chan []platform.Link, 64), make(chan error, 1)
	go func() { ended <- h.Links(ctx, func(l []platform.Link) { reports <- l }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return reports
}

// await waits for a report in which the link of that name is as wanted.
func await(t *testing.T, reports <-chan []platform.Link, name, what string, want func(platform.Link) bool) platform.Link {
	t.Helper()
	late := time.After(soon)
	var last platform.Link
	for {
		select {
		case links := <-reports:
			for _, l := range links {
				if l.Name != name {
					continue
				}
				if want(l) {
					return l
				}
				last = l
			}
		case <-late:
			t.Fatalf("%s: not within %v; the last report was %+v", what, soon, last)
		}
	}
}

func open(t *testing.T, cfg platform.Config) platform.Host {
	t.Helper()
	h, err := platform.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func usable(l platform.Link) bool { return l.Usable }

func because(reason string) func(platform.Link) bool {
	return func(l platform.Link) bool { return !l.Usable && strings.Contains(l.Reason, reason) }
}

func TestLinks(t *testing.T) {
	if !inSpace(t) {
		return
	}
	reports := linksOf(t, open(t, platform.Config{Only: []string{"wlan0"}}))
	await(t, reports, "wlan0", "missing", because("no such link"))

	addLink(t, "wlan0")
	await(t, reports, "wlan0", "appears", because("interface is down"))
	shell(t, "ip link set wlan0 up")
	await(t, reports, "wlan0", "up", because("no address"))
	shell(t, "ip addr add 192.168.1.5/24 dev wlan0")
	l := await(t, reports, "wlan0", "address", usable)
	if l.Gateway4.IsValid() || l.MTU != 1500 || l.ID != "wlan0" || l.Index == 0 {
		t.Errorf("it is %+v", l)
	}
	shell(t, "ip route add default via 192.168.1.1 dev wlan0 metric 900", "ip route add default via 192.168.1.2 dev wlan0 metric 800")
	await(t, reports, "wlan0", "gateway of the lowest metric", func(l platform.Link) bool { return l.Gateway4.String() == "192.168.1.2" })
	shell(t, "ip addr add 2001:db8:1::5/64 dev wlan0 nodad", "ip -6 route add default via fe80::1 dev wlan0")
	await(t, reports, "wlan0", "IPv6", func(l platform.Link) bool { return l.Gateway6.String() == "fe80::1" && len(l.Addrs) == 2 })

	shell(t, "ip addr add 192.168.7.9/24 dev wlan0", "ip addr del 192.168.1.5/24 dev wlan0")
	await(t, reports, "wlan0", "another address", func(l platform.Link) bool {
		return slices.Equal(l.Addrs, prefixes("192.168.7.9/24", "2001:db8:1::5/64"))
	})
	shell(t, "ip link set far-wlan0 down")
	await(t, reports, "wlan0", "no carrier", because("no carrier"))
	shell(t, "ip link set far-wlan0 up")
	await(t, reports, "wlan0", "carrier", usable)
	shell(t, "ip link set wlan0 mtu 1400")
	await(t, reports, "wlan0", "MTU", func(l platform.Link) bool { return l.MTU == 1400 })
	shell(t, "ip link del wlan0")
	await(t, reports, "wlan0", "gone", because("no such link"))
}

// TestLinksQuiet: what changes no link is not reported, and nothing is left behind when the caller ends.
func TestLinksQuiet(t *testing.T) {
	if !inSpace(t) {
		return
	}
	home(t)
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(context.Background())
	reports, ended := make(chan []platform.Link, 64), make(chan error, 1)
	go func() { ended <- open(t, platform.Config{}).Links(ctx, func(l []platform.Link) { reports <- l }) }()
	for _, l := range <-reports {
		if l.Usable || l.Reason == "" {
			t.Errorf("unasked for, %s should not be used: %+v", l.Name, l)
		}
	}
	shell(t, "ip route add 10.9.9.0/24 dev wlan0", "ip rule add priority 50 table 50", "ip -6 route add 2001:db8:9::/64 dev wlan0")
	select {
	case links := <-reports:
		t.Errorf("reported without a change: %+v", links)
	case <-time.After(300 * time.Millisecond):
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(soon); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// goes checks by which way the kernel would send.
func goes(t *testing.T, query, want string) {
	t.Helper()
	out, err := try("ip route get " + query)
	if !strings.Contains(out, want) {
		t.Errorf("ip route get %s: %v %s, want %q in it", query, err, out, want)
	}
}

// routed is a host with two links in a namespace, whose traffic is all captured.
func routed(t *testing.T) (h platform.Host, before string, r platform.Routing, state string) {
	t.Helper()
	home(t)
	mountResolv(t, "nameserver 192.168.1.1\nsearch home.example\n")
	state = filepath.Join(t.TempDir(), "state")
	h = open(t, platform.Config{State: state})
	before = dump(t)
	device, err := h.Tun("tandem0", 1400)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { device.Close() })
	r = everything()
	if err := h.Route(r); err != nil {
		t.Fatal(err)
	}
	return h, before, r, state
}

func mark(t *testing.T, link string) string {
	t.Helper()
	device, err := net.InterfaceByName(link)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("mark %#x oif %s", platform.Mark(device.Index), link)
}

func TestRoute(t *testing.T) {
	if !inSpace(t) {
		return
	}
	h, _, r, state := routed(t)
	wlan, wwan := mark(t, "wlan0"), mark(t, "wwan0")

	goes(t, "203.0.113.9", "dev tandem0 table 7340 src 198.18.0.2")
	goes(t, "2001:db8:f::9", "dev tandem0 table 7340")
	goes(t, "192.168.1.77", "192.168.1.77 dev wlan0")
	goes(t, "198.51.100.9", "dev wlan0 table 99")
	goes(t, "224.0.0.251", "dev wlan0")
	goes(t, "203.0.113.9 "+wlan, "via 192.168.1.1 dev wlan0")
	goes(t, "203.0.113.9 "+wwan, "via 10.64.0.1 dev wwan0")
	goes(t, "2001:db8:f::9 "+wlan, "via fe80::1 dev wlan0")
	goes(t, "2001:db8:f::9 "+wwan, "unreachable")
	goes(t, "192.168.1.77 "+wlan, "192.168.1.77 dev wlan0")
	goes(t, "192.168.1.77 "+wwan, "via 10.64.0.1 dev wwan0")
	goes(t, "203.0.113.9 mark 0x7affff oif wlan0", "via 192.168.1.1 dev wlan0")
	goes(t, "2001:db8:f::9 mark 0x7affff oif wwan0", "unreachable")

	if got := shell(t, "sysctl -n net.ipv4.conf.wlan0.rp_filter"); got != "2\n" {
		t.Errorf("rp_filter of wlan0 is %s", got)
	}
	if text := shell(t, "cat /etc/resolv.conf"); !strings.Contains(text, "nameserver 198.18.0.1\nsearch home.example\n") {
		t.Errorf("resolv.conf is\n%s", text)
	}
	if got := platform.Nameservers(state); !slices.Equal(got, []netip.Addr{netip.MustParseAddr("192.168.1.1")}) {
		t.Errorf("the name servers were %v", got)
	}
	for name, mode := range map[string]os.FileMode{state: os.ModeDir | 0o700, filepath.Join(state, "undo.json"): 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v %v, want %v", name, info.Mode(), err, mode)
		}
	}

	routed := dump(t)
	if err := h.Route(r); err != nil || dump(t) != routed {
		t.Errorf("once more: %v\n%s\nwant\n%s", err, dump(t), routed)
	}
	r.Capture, r.LAN = prefixes("203.0.113.0/24"), false
	if err := h.Route(r); err != nil {
		t.Fatal(err)
	}
	goes(t, "203.0.113.9", "dev tandem0")
	goes(t, "192.0.2.9", "via 192.168.1.1 dev wlan0")
	goes(t, "2001:db8:f::9", "via fe80::1 dev wlan0")
}

// TestRouteUndone: the zero Routing leaves nothing, not even in the order of rules.
func TestRouteUndone(t *testing.T) {
	if !inSpace(t) {
		return
	}
	h, before, _, state := routed(t)
	if err := h.Route(platform.Routing{}); err != nil {
		t.Fatal(err)
	}
	shell(t, "ip link del tandem0")
	if after := dump(t); after != before {
		t.Errorf("after:\n%s\nbefore:\n%s", after, before)
	}
	if files, _ := os.ReadDir(state); len(files) > 0 {
		t.Errorf("left in the state folder: %v", files)
	}
}

// TestRouteKilled: a killed process loses its TUN and its memory. The next one undoes the rest, also when links went meanwhile.
func TestRouteKilled(t *testing.T) {
	if !inSpace(t) {
		return
	}
	_, before, _, state := routed(t)
	shell(t, "ip link del tandem0")
	next := open(t, platform.Config{State: state})
	if err := next.Route(platform.Routing{}); err != nil {
		t.Fatal(err)
	}
	if after := dump(t); after != before {
		t.Errorf("after:\n%s\nbefore:\n%s", after, before)
	}
}

// TestSecondTandem: another process neither undoes nor replaces what one that lives has routed.
func TestSecondTandem(t *testing.T) {
	if !inSpace(t) {
		return
	}
	h, before, r, state := routed(t)
	during := dump(t)
	for _, other := range []string{state, t.TempDir()} {
		second := open(t, platform.Config{State: other})
		for _, want := range []platform.Routing{{}, r} {
			if err := second.Route(want); err == nil || !strings.Contains(err.Error(), "another tandem captures through tandem0") {
				t.Errorf("beside one that lives: %v", err)
			}
		}
	}
	if after := dump(t); after != during {
		t.Errorf("the second changed:\n%s\nto:\n%s", during, after)
	}
	if err := h.Route(platform.Routing{}); err != nil {
		t.Fatal(err)
	}
	shell(t, "ip link del tandem0")
	if after := dump(t); after != before {
		t.Errorf("after:\n%s\nbefore:\n%s", after, before)
	}
}

// TestWhatIsNoLink: the loopback and our own TUN are not even named, whatever is asked for; others are, with a reason.
func TestWhatIsNoLink(t *testing.T) {
	if !inSpace(t) {
		return
	}
	home(t)
	for _, only := range [][]string{nil, {"wlan0"}} {
		h := open(t, platform.Config{Only: only})
		device, err := h.Tun("tandem0", 1400)
		if err != nil {
			t.Fatal(err)
		}
		shell(t, "ip tuntap add mode tun name other0")
		named := map[string]string{}
		ctx, cancel := context.WithCancel(t.Context())
		if err := h.Links(ctx, func(links []platform.Link) {
			for _, l := range links {
				named[l.Name] = l.Reason
			}
			cancel()
		}); err != nil {
			t.Fatal(err)
		}
		_, lo := named["lo"]
		_, own := named["tandem0"]
		if lo || own || named["other0"] == "" || named["far-wlan0"] == "" {
			t.Errorf("only %v: links %q", only, named)
		}
		device.Close()
		shell(t, "ip link del other0")
	}
}

// TestRouteKilledAnywhere kills a process that routes and undoes without end, at many instants.
func TestRouteKilledAnywhere(t *testing.T) {
	const variable = "TANDEM_PLATFORM_VICTIM"
	if state := os.Getenv(variable); state != "" {
		victim(t, state)
	}
	if !inSpace(t) {
		return
	}
	home(t)
	mountResolv(t, "nameserver 192.168.1.1\n")
	state := t.TempDir()
	before := dump(t)
	for n := range 12 {
		child := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$")
		child.Env = append(os.Environ(), variable+"="+state)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		out.Read(make([]byte, 1)) // it is about to begin
		time.Sleep(time.Duration(n) * 5 * time.Millisecond)
		child.Process.Kill()
		child.Wait()
		if err := open(t, platform.Config{State: state}).Route(platform.Routing{}); err != nil {
			t.Fatal(err)
		}
		if after := dump(t); after != before {
			t.Fatalf("killed after %d ms:\n%s\nbefore:\n%s", 5*n, after, before)
		}
	}
}

// victim routes and undoes until it is killed.
func victim(t *testing.T, state string) {
	h := open(t, platform.Config{State: state})
	device, err := h.Tun("tandem0", 1400)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	for os.Stdout.WriteString("."); ; {
		if err := errors.Join(h.Route(everything()), h.Route(platform.Routing{})); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRouteFailed: when one change fails, all before it are undone.
func TestRouteFailed(t *testing.T) {
	if !inSpace(t) {
		return
	}
	home(t)
	mountResolv(t, "nameserver 192.168.1.1\n")
	shell(t, "mount -o remount,bind,ro /etc/resolv.conf")
	h := open(t, platform.Config{State: t.TempDir()})
	device, err := h.Tun("tandem0", 1400)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	before := dump(t)
	if err := h.Route(everything()); err == nil || !strings.Contains(err.Error(), "resolv.conf") || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("over a resolv.conf that cannot be written: %v", err)
	}
	if after := dump(t); after != before {
		t.Errorf("after:\n%s\nbefore:\n%s", after, before)
	}
	r := everything()
	r.DNS = nil
	if err := h.Route(r); err != nil {
		t.Error(err)
	}
}

// TestRouteLinks: links go and come while routed.
func TestRouteLinks(t *testing.T) {
	if !inSpace(t) {
		return
	}
	h, _, r, _ := routed(t)
	shell(t, "ip link del wwan0")
	if err := h.Route(r); err != nil {
		t.Fatal(err)
	}
	goes(t, "203.0.113.9 "+mark(t, "wlan0"), "via 192.168.1.1 dev wlan0")
	addLink(t, "wwan0")
	shell(t, "ip addr add 192.168.1.6/24 dev wwan0", "ip link set wwan0 up", "ip route add default via 192.168.1.254 dev wwan0 metric 50")
	if err := h.Route(r); err != nil {
		t.Fatal(err)
	}
	goes(t, "203.0.113.9 "+mark(t, "wwan0"), "via 192.168.1.254 dev wwan0")
	goes(t, "192.168.1.254 "+mark(t, "wwan0"), "192.168.1.254 dev wwan0")
	if got := shell(t, "sysctl -n net.ipv4.conf.wwan0.arp_ignore net.ipv4.conf.wwan0.arp_announce"); got != "1\n2\n" {
		t.Errorf("arp settings of the second link of a subnet are %q", got)
	}
	shell(t, "ip link set wlan0 down", "ip link set wlan0 up")
	if err := h.Route(r); err != nil {
		t.Fatal(err)
	}
	if err := h.Route(platform.Routing{Tun: "tandem7"}); err == nil || !strings.Contains(err.Error(), "no such device") {
		t.Errorf("without a TUN: %v", err)
	}
}

// TestRouteFollows: while Links runs, routes follow a link without being asked again.
func TestRouteFollows(t *testing.T) {
	if !inSpace(t) {
		return
	}
	h, before, _, _ := routed(t)
	reports := linksOf(t, h)
	<-reports
	shell(t, "ip route replace default via 192.168.1.9 dev wlan0 metric 100")
	await(t, reports, "wlan0", "another gateway", func(l platform.Link) bool { return l.Gateway4.String() == "192.168.1.9" })
	goes(t, "203.0.113.9 "+mark(t, "wlan0"), "via 192.168.1.9 dev wlan0")
	shell(t, "ip link set wwan0 down", "ip link set wwan0 up", "ip route add default via 10.64.0.1 dev wwan0 onlink metric 700")
	ours := ""
	for late := time.Now().Add(soon); !strings.Contains(ours, "via 10.64.0.1 dev wwan0"); ours = shell(t, "ip route show table all proto 174") {
		if time.Now().After(late) {
			t.Fatalf("wwan0 was down for a moment, and the routes of ours are\n%s", ours)
		}
	}
	if err := h.Route(platform.Routing{}); err != nil {
		t.Fatal(err)
	}
	shell(t, "ip link del tandem0", "ip route replace default via 192.168.1.1 dev wlan0 metric 100")
	await(t, reports, "wlan0", "the gateway as before", func(l platform.Link) bool { return l.Gateway4.String() == "192.168.1.1" })
	shell(t, "until [ $(ip -6 -o addr show scope link | wc -l) -ge 4 ]; do sleep 0.02; done")
	if after := dump(t); after != before {
		t.Errorf("after:\n%s\nbefore:\n%s", after, before)
	}
}

// TestPin: a pinned socket leaves by its link with the link's address, any other by the TUN.
func TestPin(t *testing.T) {
	if !inSpace(t) {
		return
	}
	h, _, _, _ := routed(t)
	for link, want := range map[string]string{"wlan0": "192.168.1.5", "wwan0": "10.64.7.8", "": "198.18.0.2"} {
		d := net.Dialer{}
		if link != "" {
			d.Control = h.Pin(link)
		}
		c, err := d.Dial("udp", "203.0.113.9:4500")
		if err != nil {
			t.Errorf("%q: %v", link, err)
			continue
		}
		if got := c.LocalAddr().(*net.UDPAddr).IP.String(); got != want {
			t.Errorf("%q sends from %s, want %s", link, got, want)
		}
		c.Close()
	}
	d := net.Dialer{Control: h.Pin("wlan7")}
	if _, err := d.Dial("udp", "203.0.113.9:4500"); err == nil || !strings.Contains(err.Error(), "no such link") {
		t.Errorf("pinned to nothing: %v", err)
	}
}

// TestTun: packets to captured targets come out of the device, and what is written into it reaches programs.
func TestTun(t *testing.T) {
	if !inSpace(t) {
		return
	}
	home(t)
	mountResolv(t, "")
	h := open(t, platform.Config{})
	device, err := h.Tun("tandem0", 1400)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Tun("tandem0", 1400); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("the same device twice: %v", err)
	}
	if name, _ := device.Name(); name != "tandem0" {
		t.Errorf("it is called %s", name)
	}
	if err := h.Route(everything()); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp", "203.0.113.9:4500")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("hello from a program"))
	bufs, sizes := [][]byte{}, make([]int, device.BatchSize())
	for range sizes {
		bufs = append(bufs, make([]byte, 1600))
	}
	const offset = 16
	var pkt []byte
	for pkt == nil {
		n, err := device.Read(bufs, sizes, offset)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if b := bufs[i][:offset+sizes[i]]; strings.HasSuffix(string(b), "hello from a program") {
				pkt = b
			}
		}
	}
	turn(pkt[offset:])
	if _, err := device.Write([][]byte{pkt}, offset); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 100)
	c.SetReadDeadline(time.Now().Add(soon))
	if n, err := c.Read(answer); string(answer[:n]) != "hello from a program" {
		t.Errorf("answered %q, %v", answer[:n], err)
	}
	if err := device.Close(); err != nil {
		t.Error(err)
	}
	if _, err := net.InterfaceByName("tandem0"); err == nil {
		t.Error("the device outlives its closing")
	}
}

// turn makes a UDP packet over IPv4 its own answer. The checksums stay right.
func turn(pkt []byte) {
	swap := func(at, n int) {
		for i := at; i < at+n; i++ {
			pkt[i], pkt[i+n] = pkt[i+n], pkt[i]
		}
	}
	swap(12, 4)
	swap(20, 2)
}

// TestCheck: it says what is and what would be done, and does nothing.
func TestCheck(t *testing.T) {
	if !inSpace(t) {
		return
	}
	home(t)
	mountResolv(t, "nameserver 192.168.1.1\n")
	state := filepath.Join(t.TempDir(), "state")
	before := dump(t)
	findings := platform.Check(platform.Config{State: state, Only: []string{"wlan0", "eth7"}})
	if after := dump(t); after != before {
		t.Errorf("after:\n%s\nbefore:\n%s", after, before)
	}
	if _, err := os.Stat(state); err == nil {
		t.Error("it made the state folder")
	}
	for name, want := range map[string]string{
		"privileges": "may make devices", "tun": "can be opened", "links": "One link can be used", "link wlan0": "Used: other, MTU 1500, 192.168.1.5.",
		"link eth7": "There is no such link.", "link wwan0": "not among the links", "rp_filter wlan0": "made loose", "rules": "priority 100",
		"resolver": "is a mount", "undo record": "Nothing is left",
	} {
		i := slices.IndexFunc(findings, func(f platform.Finding) bool { return f.Name == name })
		if i < 0 || findings[i].OK != (name != "link eth7") || !strings.Contains(findings[i].Detail, want) {
			t.Errorf("about %s, want %q in %+v", name, want, findings)
		}
	}
}

// TestRouteTCP: where TCP alone is captured all else goes as it did, and no rule is left.
func TestRouteTCP(t *testing.T) {
	if !inSpace(t) {
		return
	}
	h, before, r, _ := routed(t)
	r.TCP, r.DNS = true, nil
	if err := h.Route(r); err != nil {
		t.Fatal(err)
	}
	goes(t, "203.0.113.9 ipproto tcp dport 443", "dev tandem0 table 7340 src 198.18.0.2")
	goes(t, "203.0.113.9 ipproto udp dport 443", "via 192.168.1.1 dev wlan0")
	goes(t, "203.0.113.9 ipproto icmp", "via 192.168.1.1 dev wlan0")
	goes(t, "2001:db8:f::9 ipproto tcp dport 443", "dev tandem0 table 7340")
	goes(t, "2001:db8:f::9 ipproto udp dport 443", "via fe80::1 dev wlan0")
	goes(t, "192.168.1.77 ipproto tcp dport 443", "192.168.1.77 dev wlan0")
	if err := h.Route(platform.Routing{}); err != nil {
		t.Fatal(err)
	}
	shell(t, "ip link del tandem0")
	if after := dump(t); after != before {
		t.Errorf("after:\n%s\nbefore:\n%s", after, before)
	}
}
