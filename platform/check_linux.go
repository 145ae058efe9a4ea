package platform

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// Check looks at everything that a Host needs and says what is missing and what Route would do about it. It changes nothing.
func Check(cfg Config) []Finding {
	made, err := New(cfg)
	h, ok := made.(*host)
	if err != nil || !ok {
		return []Finding{{Name: "system", Detail: fmt.Sprint(err)}}
	}
	findings := append(CheckTun(), CheckLinks(cfg)...)
	findings = append(findings, h.checkStrict()...)
	return append(findings, checkRules(), h.checkResolv(), h.checkRecord())
}

// CheckTun is the part of Check without which there is no TUN.
func CheckTun() []Finding { return []Finding{checkPrivileges(), checkTun()} }

// CheckLinks is the part of Check without which there is nothing.
func CheckLinks(cfg Config) []Finding {
	made, err := New(cfg)
	h, ok := made.(*host)
	if err != nil || !ok {
		return []Finding{{Name: "system", Detail: fmt.Sprint(err)}}
	}
	return h.checkLinks()
}

func checkPrivileges() Finding {
	f := Finding{Name: "privileges"}
	if f.OK = may(netAdmin); f.OK {
		f.Detail = "This process may make devices and routes (CAP_NET_ADMIN)."
	} else {
		f.Detail = "This process may not make devices and routes: run as root or with CAP_NET_ADMIN, or use --socks, which needs neither."
	}
	return f
}

// CheckRaw looks at what links need whose packets leave them as they are, without a tunnel.
func CheckRaw() Finding {
	f := Finding{Name: "raw packets"}
	if f.OK = may(netRaw); f.OK {
		f.Detail = "This process may send and take packets of its own on links (CAP_NET_RAW)."
	} else {
		f.Detail = "This process may not send and take packets of its own on links, as it must without a tunnel: run as root or with CAP_NET_RAW."
	}
	return f
}

// portRangeFile holds the ports that the system gives to connections of others, of either family.
const portRangeFile = "/proc/sys/net/ipv4/ip_local_port_range"

// CheckPorts looks whether the system leaves alone the ports from first on, which links without a tunnel need.
func CheckPorts(first uint16) Finding {
	text, _ := os.ReadFile(portRangeFile)
	return checkPorts(first, string(text))
}

func checkPorts(first uint16, given string) Finding {
	var least, most uint16
	if _, err := fmt.Sscan(given, &least, &most); err != nil || most < first {
		return Finding{Name: "ports", OK: true, Detail: fmt.Sprintf("The system gives connections of others no ports from %d on.", first)}
	}
	return Finding{Name: "ports", Detail: fmt.Sprintf("The system gives connections of others ports up to %d, and links without a tunnel need those from %d on: "+
		"sysctl -w net.ipv4.ip_local_port_range=\"%d %d\".", most, first, min(least, 32768), first-1)}
}

// A capability is what may be done without being root.
type capability uint

// Those that matter here, of linux/capability.h.
const (
	netAdmin capability = 12
	netRaw   capability = 13
)

// may reports whether this process may do that.
func may(what capability) bool {
	status, _ := os.ReadFile("/proc/self/status")
	able, known := what.in(string(status))
	return able || !known && os.Geteuid() == 0
}

// in reports whether a process may do that whose status, of /proc, is this; known is false if that does not say.
func (c capability) in(status string) (able, known bool) {
	for line := range strings.Lines(status) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err == nil && set&(1<<c) != 0, err == nil
		}
	}
	return false, false
}

func checkTun() Finding {
	if err := tunReady(); err != nil {
		return Finding{Name: "tun", Detail: sentence(err)}
	}
	return Finding{Name: "tun", OK: true, Detail: tunFile + " can be opened."}
}

// checkLinks has a finding a link, and one for all of them. Links that were named must be there.
func (h *host) checkLinks() (findings []Finding) {
	links, err := h.links()
	if err != nil {
		return []Finding{{Name: "links", Detail: sentence(err)}}
	}
	usable := 0
	for _, l := range links {
		f := Finding{Name: "link " + l.Name, OK: l.Index != 0, Aside: l.Index != 0, Detail: "Not used: " + l.Reason}
		if l.Usable {
			usable++
			f.Aside = false
			f.Detail = fmt.Sprintf("Used: %s, MTU %d, %v.", l.Kind, l.MTU, l.Addrs[0].Addr())
		}
		findings = append(findings, f)
	}
	all := Finding{Name: "links", OK: usable > 0, Detail: fmt.Sprintf("%d of %d can be used.", usable, len(links))}
	switch usable {
	case 0:
		all.Detail = "No link can be used: connect one, or name it with --links."
	case 1:
		all.Detail = "One link can be used; tandem works, and becomes faster with a second."
	}
	return append([]Finding{all}, findings...)
}

// checkStrict has a finding for each link that is used whose rp_filter is strict.
func (h *host) checkStrict() (findings []Finding) {
	links, _ := h.links()
	for _, l := range links {
		if l.Usable && rpFilter(l.Name) == 1 {
			findings = append(findings, Finding{Name: "rp_filter " + l.Name, OK: true,
				Detail: "It is strict (1); it will be made loose (2) while tandem runs, and strict again after."})
		}
	}
	return findings
}

// rpFilter returns the value in force, the greater of the link's and that for all.
func rpFilter(link string) (value int) {
	for _, dev := range []string{"all", link} {
		text, _ := os.ReadFile(settingFile(setting(4, dev, "rp_filter")))
		n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		value = max(value, n)
	}
	return value
}

// checkRules looks for rules of others where ours will be, which could take packets from them.
func checkRules() Finding {
	f := Finding{Name: "rules", OK: true, Detail: fmt.Sprintf("Priorities %d to %d are free.", priorityNear, priorityTun)}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := listRules(family)
		if err != nil {
			return Finding{Name: "rules", Detail: sentence(err)}
		}
		for _, r := range rules {
			if r.Protocol != protocol && r.Priority > 0 && r.Priority <= priorityTun {
				f.Detail = fmt.Sprintf("A rule of another program has priority %d and goes before those of tandem; what it takes is not carried.", r.Priority)
			}
		}
	}
	return f
}

func (h *host) checkResolv() Finding {
	f := Finding{Name: ResolverFinding, OK: true}
	info, err := os.Lstat(h.resolv)
	switch {
	case os.IsNotExist(err):
		f.Detail = h.resolv + " does not exist; it will be made while tandem runs."
	case err != nil:
		f.OK, f.Detail = false, sentence(err)
	case info.Mode()&os.ModeSymlink != 0:
		target, _ := os.Readlink(h.resolv)
		f.Detail = fmt.Sprintf("%s is a link to %s, which will be written in place and put back.", h.resolv, target)
	case mounted(h.resolv):
		f.Detail = h.resolv + " is a mount; it will be written in place and put back."
	default:
		f.Detail = h.resolv + " is a file; it will be written in place and put back."
	}
	return f
}

// mounted reports whether something is mounted at that very name.
func mounted(name string) bool {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == name {
			return true
		}
	}
	return false
}

func (h *host) checkRecord() Finding {
	saved, err := h.record.load()
	switch {
	case err != nil:
		return Finding{Name: "undo record", Detail: sentence(err)}
	case !saved.empty():
		return Finding{Name: "undo record", OK: true, Detail: "A tandem runs, or one was killed: what it changed is undone by the next start or by \"tandem down\"."}
	}
	return Finding{Name: "undo record", OK: true, Detail: "Nothing is left to undo."}
}

// sentence makes a message a sentence.
func sentence(err error) string {
	s := err.Error()
	return strings.ToUpper(s[:1]) + s[1:] + "."
}
