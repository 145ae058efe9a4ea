package platform

import (
	"io/fs"
	"net"
	"path"
	"slices"
	"strings"
)

// A sight is an interface as the kernel shows it, before it is judged.
type sight struct {
	Link               // what is known for certain: name, index, MTU, addresses, gateways
	kernel      string // the kernel's word for what made it: bridge, veth, …; device for hardware
	permanent   net.HardwareAddr
	ethernet    bool
	loopback    bool
	up, carrier bool
	master      string // the bridge or bond that it is a part of
}

// virtual says in a sentence why interfaces that are no hardware are not links.
var virtual = map[string]string{
	"bridge": "It is a bridge.", "veth": "It leads to a container or namespace.", "dummy": "It is a dummy.", "ifb": "It only shapes traffic.",
	"tun": "It is a tunnel.", "tuntap": "It is a tunnel.", "wireguard": "It is a tunnel.", "gre": "It is a tunnel.", "gretap": "It is a tunnel.",
	"ip6gre": "It is a tunnel.", "ipip": "It is a tunnel.", "sit": "It is a tunnel.", "ip6tnl": "It is a tunnel.", "vti": "It is a tunnel.",
	"xfrm": "It is a tunnel.", "vxlan": "It is a tunnel.", "geneve": "It is a tunnel.", "ovpn": "It is a tunnel.", "vrf": "It is a routing domain.",
	"ipvlan": "It is another face of a link.", "macvlan": "It is another face of a link.", "macvtap": "It is another face of a link.",
}

// judge completes a link: its kind, its identity, and whether it is of use. Sys is /sys/class/net. A link in only is taken as it
// is once it is up and has an address; then others are not taken. Without only, a link needs a way to the Internet and to be hardware.
func (s sight) judge(sys fs.FS, only []string) Link {
	l := s.Link
	l.Kind = s.kind(sys)
	l.ID = s.identity(sys)
	l.Reason = s.objection(slices.Contains(only, l.Name), len(only) > 0)
	l.Usable = l.Reason == ""
	return l
}

func (s sight) objection(named, others bool) string {
	reason, isVirtual := virtual[s.kernel]
	switch {
	case others && !named:
		return "It is not among the links asked for."
	case s.loopback:
		return "It leads nowhere but to this machine."
	case !named && isVirtual:
		return reason
	case !named && s.master != "":
		return "It is a part of " + s.master + "."
	case s.Index > indexMarkMax:
		return "Its index is too large for a mark."
	case !s.up:
		return "Its interface is down."
	case !s.carrier:
		return "It has no carrier: no cable, or no network joined."
	case len(s.Addrs) == 0:
		return "It has no address."
	case !named && !s.Gateway4.IsValid() && !s.Gateway6.IsValid():
		return "It has no gateway: no default route leads through it."
	}
	return ""
}

// tethers are drivers by which a phone shares its connection over USB.
var tethers = []string{"cdc_ether", "cdc_ncm", "rndis_host", "ipheth"}

func (s sight) kind(sys fs.FS) string {
	uevent, _ := fs.ReadFile(sys, path.Join(s.Name, "uevent"))
	kind := ""
	for line := range strings.Lines(string(uevent)) {
		if value, ok := strings.CutPrefix(line, "DEVTYPE="); ok {
			kind = strings.TrimSpace(value)
		}
	}
	driver, _ := fs.ReadLink(sys, path.Join(s.Name, "device/driver"))
	switch {
	case kind == "wlan" || exists(sys, path.Join(s.Name, "wireless")) || exists(sys, path.Join(s.Name, "phy80211")):
		return "wifi"
	case kind == "wwan" || s.kernel == "wwan":
		return "cellular"
	case slices.Contains(tethers, path.Base(driver)):
		return "usb"
	case s.ethernet && virtual[s.kernel] == "" && kind == "":
		return "ethernet"
	}
	return Other
}

func exists(sys fs.FS, name string) bool {
	_, err := fs.Stat(sys, name)
	return err == nil
}

// identity tells a device from others. An address that its maker did not give is not permanent: phones draw one at each plugging in.
func (s sight) identity(sys fs.FS) string {
	const local = 0x02 // the bit of locally administered addresses, IEEE 802
	if len(s.permanent) == 6 && s.permanent[0]&local == 0 && slices.Max(s.permanent) > 0 {
		return s.permanent.String()
	}
	place, err := fs.ReadLink(sys, s.Name)
	if place = path.Dir(path.Dir(place)); err != nil || strings.HasSuffix(place, "/virtual") {
		return s.Name
	}
	return strings.TrimLeft(place, "./")
}

// missing are the links that were named and do not exist.
func missing(only []string, links []Link) (none []Link) {
	for _, name := range only {
		if !slices.ContainsFunc(links, func(l Link) bool { return l.Name == name }) {
			none = append(none, Link{Name: name, Kind: Other, ID: name, Reason: "There is no such link."})
		}
	}
	return none
}
