package platform_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tandem/platform"
	"tandem/platform/platformtest"
)

var update = flag.Bool("update", false, "write the golden files")

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func wlan() platform.Link {
	return platform.Link{Name: "wlan0", Kind: "wifi", Index: 3, MTU: 1500, Usable: true, Addrs: prefixes("192.168.1.5/24", "2001:db8:1::5/64"),
		Gateway4: netip.MustParseAddr("192.168.1.1"), Gateway6: netip.MustParseAddr("fe80::1")}
}

// wwan is point-to-point and has no IPv6.
func wwan() platform.Link {
	return platform.Link{Name: "wwan0", Kind: "cellular", Index: 4, MTU: 1430, Usable: true, Addrs: prefixes("10.64.7.8/32"),
		Gateway4: netip.IPv4Unspecified()}
}

// everything captures all, through both links.
func everything() platform.Routing {
	return platform.Routing{Tun: "tandem0", Addrs: prefixes("198.18.0.2/32", "fd12:3456:789a::2/128"), MTU: 1400,
		Capture: prefixes("0.0.0.0/0", "::/0"), Links: []string{"wlan0", "wwan0"}, LAN: true, DNS: []netip.Addr{netip.MustParseAddr("198.18.0.1")}}
}

// A story is a host and what is wanted of it, step by step. What is planned at each step is golden text.
type story struct {
	t     *testing.T
	host  *platformtest.Host
	links []platform.Link
	text  strings.Builder
}

func begin(t *testing.T, links ...platform.Link) *story {
	s := &story{t: t, host: platformtest.New(links...), links: links}
	s.host.SetResolv("nameserver 192.168.1.1\nsearch home.example\n")
	if _, err := s.host.Tun("tandem0", 1400); err != nil {
		t.Fatal(err)
	}
	return s
}

// route has the host do r, twice: the second time there is nothing left to do.
func (s *story) route(title string, r platform.Routing) {
	s.t.Helper()
	before := s.host.State()
	if err := s.host.Route(r); err != nil {
		s.t.Fatal(err)
	}
	s.text.WriteString("# " + title + "\n")
	for _, line := range s.host.Changes() {
		s.text.WriteString(line + "\n")
	}
	s.checkInverse(before, r)
	if err := s.host.Route(r); err != nil {
		s.t.Fatal(err)
	}
	if again := s.host.Changes(); len(again) > 0 {
		s.t.Errorf("%s, once more: %q", title, again)
	}
}

// checkInverse does the plan and its inverses in memory: what comes out is what was.
func (s *story) checkInverse(before platform.State, r platform.Routing) {
	s.t.Helper()
	state := platform.State{Things: slices.Clone(before.Things), Saved: before.Saved}
	changes := platform.Plan(before, r, s.links)
	for _, c := range changes {
		state.Apply(c)
	}
	for _, c := range slices.Backward(changes) {
		state.Apply(c.Inverse())
	}
	if got, want := lines(state), lines(before); !slices.Equal(got, want) {
		s.t.Errorf("done and undone:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (s *story) setLinks(links ...platform.Link) {
	s.links = links
	s.host.SetLinks(links...)
}

// golden compares the story with testdata/NAME.txt.
func (s *story) golden() {
	s.t.Helper()
	name := filepath.Join("testdata", strings.ToLower(strings.TrimPrefix(s.t.Name(), "TestPlan"))+".txt")
	if *update {
		if err := os.WriteFile(name, []byte(s.text.String()), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		s.t.Fatal(err)
	}
	if got := s.text.String(); got != string(want) {
		s.t.Errorf("planned:\n%s\nwant as in %s:\n%s", got, name, want)
	}
}

// lines are the things of a state, sorted.
func lines(s platform.State) (all []string) {
	for _, thing := range s.Things {
		all = append(all, thing.String())
	}
	slices.Sort(all)
	return all
}

func TestPlanDefault(t *testing.T) {
	s := begin(t, wlan(), wwan())
	before := s.host.State()
	s.route("all traffic over both links", everything())
	s.route("nothing", platform.Routing{})
	if got, want := lines(s.host.State()), lines(before); !slices.Equal(got, want) {
		t.Errorf("afterwards there is %q, want %q", got, want)
	}
	if saved := s.host.State().Saved; saved.Tun != "" || saved.Resolv != nil || len(saved.Settings) > 0 {
		t.Errorf("still remembers %+v", saved)
	}
	s.golden()
}

// TestPlanTCP: the rules that lead into the TUN, and past it, are for TCP alone.
func TestPlanTCP(t *testing.T) {
	s := begin(t, wlan(), wwan())
	r := everything()
	r.TCP, r.DNS, r.Exclude = true, nil, prefixes("203.0.113.64/26")
	s.route("TCP over both links", r)
	r.TCP = false
	s.route("all traffic", r)
	s.route("nothing", platform.Routing{})
	s.golden()
}

func TestPlanSplit(t *testing.T) {
	s := begin(t, wlan(), wwan())
	r := everything()
	r.Capture, r.DNS = prefixes("203.0.113.0/24", "2001:db8:f::/48"), nil
	s.route("two prefixes", r)
	r.Capture = prefixes("203.0.113.0/24", "198.51.100.7/32")
	r.Exclude = prefixes("203.0.113.64/26")
	s.route("others, and not all of one", r)
	r.LAN = false
	s.route("without the LAN", r)
	s.golden()
}

// TestPlanLinks: what changes with a link is its own table and rules.
func TestPlanLinks(t *testing.T) {
	s := begin(t, wlan(), wwan())
	s.host.Set("net/ipv4/conf/wlan0/rp_filter", "1")
	s.route("all traffic", everything())

	moved := wlan()
	moved.Addrs, moved.Gateway4 = prefixes("192.168.7.9/24"), netip.MustParseAddr("192.168.7.1")
	s.setLinks(moved, wwan())
	s.route("wlan0 has another address and gateway", everything())

	moved.Gateway6 = netip.Addr{}
	s.setLinks(moved, wwan())
	s.route("wlan0 has no IPv6 any more", everything())

	s.setLinks(wwan())
	s.route("wlan0 is gone", everything())

	back := wlan()
	back.Index = 9
	s.setLinks(back, wwan())
	s.route("wlan0 is back with another index", everything())

	r := everything()
	r.Links = []string{"wwan0"}
	s.route("wlan0 is not wanted", r)
	s.golden()
}

// TestPlanSubnet: two links in one subnet answer ARP for themselves only; each has its own way out.
func TestPlanSubnet(t *testing.T) {
	eth := platform.Link{Name: "eth0", Kind: "ethernet", Index: 2, MTU: 1500, Usable: true, Addrs: prefixes("192.168.1.6/24"),
		Gateway4: netip.MustParseAddr("192.168.1.1")}
	s := begin(t, eth, wlan())
	s.host.Set("net/ipv4/conf/all/arp_announce", "2")
	r := everything()
	r.Links, r.DNS = []string{"wlan0", "eth0"}, nil
	s.route("both at home", r)
	r.Links = []string{"wlan0"}
	s.route("one of them", r)
	s.golden()
}

// TestPlanStrict: a strict rp_filter becomes loose and strict again, unless somebody else changed it meanwhile; none stays none.
func TestPlanStrict(t *testing.T) {
	s := begin(t, wlan(), wwan())
	r := everything()
	r.DNS, r.Capture = nil, nil
	s.host.Set("net/ipv4/conf/wlan0/rp_filter", "1")
	s.route("wlan0 is strict", r)
	s.route("nothing", platform.Routing{})
	s.host.Set("net/ipv4/conf/wlan0/rp_filter", "0")
	s.host.Set("net/ipv4/conf/all/rp_filter", "1")
	s.route("all are strict", r)
	s.host.Set("net/ipv4/conf/wlan0/rp_filter", "0")
	s.route("somebody changed wlan0", r)
	s.host.Set("net/ipv4/conf/wwan0/rp_filter", "1")
	s.route("nothing, and somebody changed wwan0", platform.Routing{})
	s.golden()
}

// TestPlanResolv: what others write into resolv.conf while it is ours is theirs, and comes back.
func TestPlanResolv(t *testing.T) {
	s := begin(t)
	r := platform.Routing{DNS: []netip.Addr{netip.MustParseAddr("198.18.0.1")}}
	s.route("one server", r)
	if text := resolv(s.host.State()); !strings.Contains(text, "search home.example\n") || strings.Contains(text, "192.168.1.1") {
		t.Errorf("resolv.conf is\n%s", text)
	}
	r.DNS = append(r.DNS, netip.MustParseAddr("fd12:3456:789a::1"))
	s.route("two", r)
	s.host.SetResolv("nameserver 10.0.0.1\n")
	s.route("after the DHCP client has written", r)
	s.route("nothing", platform.Routing{})
	if text := resolv(s.host.State()); text != "nameserver 10.0.0.1\n" {
		t.Errorf("resolv.conf is\n%s", text)
	}
	s.route("one server again", r)
	s.host.SetResolv("nameserver 10.0.0.2\n")
	s.route("nothing, after the DHCP client has written", platform.Routing{})
	s.golden()
}

func resolv(s platform.State) string {
	for _, thing := range s.Things {
		if r, ok := thing.(platform.Resolv); ok {
			return r.Text
		}
	}
	return ""
}

// TestPlanNoIPv6: a TUN whose IPv6 is switched off gets it switched on; a kernel without IPv6 gets no IPv6 at all.
func TestPlanNoIPv6(t *testing.T) {
	s := begin(t, wlan())
	r := everything()
	r.DNS = nil
	without := s.host.State()
	without.Things = slices.DeleteFunc(without.Things, func(thing platform.Thing) bool {
		setting, ok := thing.(platform.Setting)
		return ok && strings.Contains(setting.Name, "ipv6")
	})
	s.host.Set("net/ipv6/conf/tandem0/disable_ipv6", "1")
	s.route("IPv6 is off by default", r)

	l := wlan()
	l.Gateway6 = netip.Addr{}
	s.text.WriteString("# a kernel without IPv6\n")
	for _, c := range platform.Plan(without, r, []platform.Link{l}) {
		s.text.WriteString(c.String() + "\n")
	}
	s.golden()
}

// TestPlanUnknown: links that do not exist and a TUN that is gone are skipped.
func TestPlanUnknown(t *testing.T) {
	have := platform.State{}
	if changes := platform.Plan(have, everything(), nil); len(changes) != 1 || !strings.HasPrefix(changes[0].String(), "+ resolv.conf") {
		t.Errorf("planned %v", changes)
	}
	if changes := platform.Plan(have, platform.Routing{}, []platform.Link{wlan()}); len(changes) > 0 {
		t.Errorf("planned %v", changes)
	}
}

// TestPlanOrder: while capture changes, the rule into the TUN is the last that is made and the first that goes.
func TestPlanOrder(t *testing.T) {
	h := platformtest.New(wlan())
	if _, err := h.Tun("tandem0", 1400); err != nil {
		t.Fatal(err)
	}
	r := everything()
	r.DNS = nil
	h.Route(r)
	up := h.Changes()
	if last := up[len(up)-1]; last != "+ rule IPv6 7347: table 7340" {
		t.Errorf("last comes %q", last)
	}
	h.Route(platform.Routing{})
	if first := h.Changes()[0]; first != "- rule IPv6 7347: table 7340" {
		t.Errorf("first goes %q", first)
	}
}
