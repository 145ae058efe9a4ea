package platform

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// sysfs is a tree as /sys: where the device of an interface is, and what stands there.
type sysfs struct {
	t    *testing.T
	root string
}

// add makes the interface at a place below devices; driver may be empty. Its folder gets the entries and a uevent of that text.
func (s sysfs) add(name, place, driver, uevent string, entries ...string) {
	device := filepath.Join(s.root, "devices", place)
	folder := filepath.Join(device, "net", name)
	for _, dir := range append([]string{folder, filepath.Join(s.root, "class/net"), filepath.Join(s.root, "drivers", driver)}, join(folder, entries)...) {
		s.check(os.MkdirAll(dir, 0o755))
	}
	s.check(os.WriteFile(filepath.Join(folder, "uevent"), []byte(uevent+"INTERFACE="+name+"\n"), 0o644))
	s.check(os.Symlink(filepath.Join("../../devices", place, "net", name), filepath.Join(s.root, "class/net", name)))
	if place != "virtual" {
		s.check(os.Symlink("../../../"+filepath.Base(place), filepath.Join(folder, "device")))
		s.check(os.Symlink(filepath.Join(s.root, "drivers", driver), filepath.Join(device, "driver")))
	}
}

func join(folder string, entries []string) (all []string) {
	for _, e := range entries {
		all = append(all, filepath.Join(folder, e))
	}
	return all
}

func (s sysfs) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func TestKind(t *testing.T) {
	sys := sysfs{t, t.TempDir()}
	sys.add("enp3s0", "pci0/0000:03:00.0", "r8169", "")
	sys.add("wlp2s0", "pci0/0000:02:00.0", "iwlwifi", "DEVTYPE=wlan\n", "wireless", "phy80211")
	sys.add("wlan1", "pci0/0000:05:00.0", "rtl8xxxu", "", "phy80211")
	sys.add("wwan0", "pci0/usb1/1-4/1-4:1.12", "cdc_mbim", "DEVTYPE=wwan\n")
	sys.add("usb0", "pci0/usb1/1-2/1-2:1.0", "rndis_host", "")
	sys.add("enx02", "pci0/usb1/1-3/1-3:1.0", "ipheth", "")
	sys.add("enx00", "pci0/usb1/1-5/1-5:1.0", "r8152", "")
	sys.add("br0", "virtual", "", "DEVTYPE=bridge\n")
	class := os.DirFS(filepath.Join(sys.root, "class/net"))
	for _, c := range []struct {
		name, kernel, mac string
		kind, id          string
	}{
		{"enp3s0", "device", "00:1b:21:01:02:03", "ethernet", "00:1b:21:01:02:03"},
		{"wlp2s0", "device", "a4:34:d9:01:02:03", "wifi", "a4:34:d9:01:02:03"},
		{"wlan1", "device", "", "wifi", "devices/pci0/0000:05:00.0"},
		{"wwan0", "device", "", "cellular", "devices/pci0/usb1/1-4/1-4:1.12"},
		{"usb0", "device", "02:11:22:33:44:55", "usb", "devices/pci0/usb1/1-2/1-2:1.0"},
		{"enx02", "device", "00:00:00:00:00:00", "usb", "devices/pci0/usb1/1-3/1-3:1.0"},
		{"enx00", "device", "00:e0:4c:68:00:01", "ethernet", "00:e0:4c:68:00:01"},
		{"br0", "bridge", "", "other", "br0"},
		{"veth1", "veth", "", "other", "veth1"},
		{"wwan9", "wwan", "", "cellular", "wwan9"},
		{"ppp0", "ppp", "", "other", "ppp0"},
	} {
		s := sight{Link: Link{Name: c.name}, kernel: c.kernel, ethernet: c.kernel != "ppp"}
		s.permanent, _ = net.ParseMAC(c.mac)
		if l := s.judge(class, nil); l.Kind != c.kind || l.ID != c.id {
			t.Errorf("%s is %s with ID %s, want %s, %s", c.name, l.Kind, l.ID, c.kind, c.id)
		}
	}
}

// TestReason: a link is of use when it is hardware, up, has a carrier, an address and a gateway; a named one needs less.
func TestReason(t *testing.T) {
	fit := func() sight {
		return sight{kernel: "device", up: true, carrier: true, ethernet: true, Link: Link{Name: "eth0", Index: 2, MTU: 1500,
			Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.5/24")}, Gateway4: netip.MustParseAddr("192.0.2.1")}}
	}
	for _, c := range []struct {
		what  string
		spoil func(*sight)
		only  []string
		want  string
	}{
		{"fit", func(*sight) {}, nil, ""},
		{"IPv6 alone", func(s *sight) { s.Gateway4, s.Gateway6 = s.Gateway6, netip.MustParseAddr("fe80::1") }, nil, ""},
		{"point to point", func(s *sight) { s.Gateway4 = netip.IPv4Unspecified() }, nil, ""},
		{"loopback", func(s *sight) { s.loopback = true }, nil, "It leads nowhere but to this machine."},
		{"bridge", func(s *sight) { s.kernel = "bridge" }, nil, "It is a bridge."},
		{"veth", func(s *sight) { s.kernel = "veth" }, nil, "It leads to a container or namespace."},
		{"another VPN", func(s *sight) { s.kernel = "wireguard" }, nil, "It is a tunnel."},
		{"our TUN", func(s *sight) { s.kernel = "tuntap" }, nil, "It is a tunnel."},
		{"in a bridge", func(s *sight) { s.master = "br0" }, nil, "It is a part of br0."},
		{"off", func(s *sight) { s.up = false }, nil, "Its interface is down."},
		{"no carrier", func(s *sight) { s.carrier = false }, nil, "It has no carrier: no cable, or no network joined."},
		{"no address", func(s *sight) { s.Addrs = nil }, nil, "It has no address."},
		{"no gateway", func(s *sight) { s.Gateway4 = netip.Addr{} }, nil, "It has no gateway: no default route leads through it."},
		{"too many before it", func(s *sight) { s.Index = 1 << 16 }, nil, "Its index is too large for a mark."},

		{"named", func(*sight) {}, []string{"wlan0", "eth0"}, ""},
		{"not named", func(*sight) {}, []string{"wlan0"}, "It is not among the links asked for."},
		{"named veth without a gateway", func(s *sight) { s.kernel, s.Gateway4 = "veth", netip.Addr{} }, []string{"eth0"}, ""},
		{"named in a bridge", func(s *sight) { s.master = "br0" }, []string{"eth0"}, ""},
		{"named and off", func(s *sight) { s.up = false }, []string{"eth0"}, "Its interface is down."},
		{"named without an address", func(s *sight) { s.Addrs = nil }, []string{"eth0"}, "It has no address."},
	} {
		s := fit()
		c.spoil(&s)
		if l := s.judge(os.DirFS(t.TempDir()), c.only); l.Reason != c.want || l.Usable != (c.want == "") {
			t.Errorf("%s: %t, %q, want %q", c.what, l.Usable, l.Reason, c.want)
		}
	}
}

func TestMissing(t *testing.T) {
	none := missing([]string{"wlan0", "eth7"}, []Link{{Name: "wlan0"}})
	if len(none) != 1 || none[0].Name != "eth7" || none[0].Usable || none[0].Reason != "There is no such link." {
		t.Errorf("missing are %+v", none)
	}
}
