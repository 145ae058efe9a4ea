package platform

import (
	"net/netip"
	"os"
	"slices"
	"strings"
)

const (
	resolvFile = "/etc/resolv.conf"

	// upstreamFile is where systemd-resolved names the servers that stand behind its own.
	upstreamFile = "/run/systemd/resolve/resolv.conf"
)

const (
	resolvHead = "# Written by tandem: while it runs, names are looked up through the hub. What stood here comes back when it ends.\n"
	resolvTail = "# End of what tandem wrote.\n"
)

func (r Resolv) ours() bool {
	return strings.Contains(r.Text, resolvHead) || strings.Contains(r.Text, resolvTail)
}

// resolv replaces the servers and keeps the rest, such as search domains.
func (p *plan) resolv() {
	if len(p.want.DNS) == 0 {
		return
	}
	found, _ := p.have.find(Resolv{}.key()).(Resolv)
	found = p.have.Saved.theirs(found)
	text := resolvHead
	for _, a := range p.want.DNS {
		text += "nameserver " + a.String() + "\n"
	}
	for line := range strings.Lines(found.Text) {
		if f := strings.Fields(line); len(f) > 0 && slices.Contains([]string{"search", "domain", "options", "sortlist"}, f[0]) {
			text += strings.TrimSuffix(line, "\n") + "\n"
		}
	}
	p.add(Resolv{text + resolvTail})
}

// theirs returns what stood in resolv.conf before it became ours.
func (s Saved) theirs(found Resolv) Resolv {
	if s.Resolv == nil || !found.ours() {
		return found
	}
	if s.Resolv.Was == nil {
		return Resolv{}
	}
	return Resolv{*s.Resolv.Was}
}

// servers returns the name servers in the order in which they are asked.
func (r Resolv) servers() (all []netip.Addr) {
	for line := range strings.Lines(r.Text) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			if a, err := netip.ParseAddr(f[1]); err == nil {
				all = append(all, a)
			}
		}
	}
	return all
}

// Nameservers returns the servers that the system asked before Route replaced them, where Config.State was state. Through pinned
// sockets they find the hub while the tunnel does not stand yet. A server on this machine is none: it cannot be reached over a
// link, and would itself ask through the tunnel. On systems without resolv.conf there are none.
func Nameservers(state string) []netip.Addr {
	text, _ := os.ReadFile(resolvFile)
	upstream, _ := os.ReadFile(upstreamFile)
	saved, _ := record{state}.load()
	return elsewhere(saved.theirs(Resolv{string(text)}), Resolv{string(upstream)})
}

// elsewhere returns the first servers that are not on this machine.
func elsewhere(texts ...Resolv) []netip.Addr {
	for _, r := range texts {
		if all := slices.DeleteFunc(r.servers(), netip.Addr.IsLoopback); len(all) > 0 {
			return all
		}
	}
	return nil
}
