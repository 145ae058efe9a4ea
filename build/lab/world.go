package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"tandem/engine/clock"
	"tandem/engine/sim"
)

// A world is a laptop, its hub, a web host and a second device, each in a namespace, around a router that
// translates the laptop's addresses on both of its links:
//
//	         wlan0 ══ emulated ══╗
//	laptop                       net (NAT) ── eth0 hub
//	         wwan0 ══ emulated ══╝   │  └──── eth0 web
//	                                 └─────── eth0 other (IPv6 only)
type world struct {
	laptop, net, hub, web, other *space

	ducts  [2]*duct
	dir    string // of state, logs and programs
	spaces []*space
	jobs   []*job
}

// The laptop's links: those of the goodput that is asked for.
var laptopLinks = [2]struct {
	device, v4, v6 string // addresses end in 1 at the router and in 2 at the laptop
	conditions     sim.Conditions
}{
	{"wlan0", "192.168.1.", "2001:db8:a::", sim.Conditions{Rate: 50e6, Delay: 10 * time.Millisecond, QueueTime: 60 * time.Millisecond, MTU: 1500}},
	{"wwan0", "100.64.1.", "2001:db8:b::", sim.Conditions{Rate: 30e6, Delay: 30 * time.Millisecond, QueueTime: 100 * time.Millisecond, MTU: 1500}},
}

// The hosts that the router joins by cable: addresses end in 1 at the router and in 2 at the host.
const (
	hub4, hub6 = "203.0.113.", "2001:db8:1::"
	web4, web6 = "198.51.100.", "2001:db8:2::"
	other6     = "2001:db8:3::"

	hubPort = "51820"
	hubHost = hub4 + "2"
	webHost = web4 + "2"
	web6Hst = web6 + "2"

	blackHole   = web4 + "66" // forwarded nowhere, in silence
	unreachable = web4 + "67" // the router says so
	resolver    = webHost
	hubInside   = "198.18.0.1" // as devices see it
)

// newWorld makes the namespaces and links. The world must be closed also after an error.
func newWorld(ctx context.Context) (w *world, err error) {
	w = &world{}
	if w.dir, err = os.MkdirTemp("", "tandem-e2e-"); err != nil {
		return w, err
	}
	// The hub is an ordinary user and must reach its folder.
	if err := os.Chmod(w.dir, 0o755); err != nil {
		return w, err
	}
	for _, s := range []struct {
		role string
		at   **space
	}{{"laptop", &w.laptop}, {"net", &w.net}, {"hub", &w.hub}, {"web", &w.web}, {"other", &w.other}} {
		if *s.at, err = newSpace(s.role); *s.at != nil {
			w.spaces = append(w.spaces, *s.at)
		}
		if err != nil {
			return w, err
		}
	}
	for _, s := range w.spaces {
		// Every kernel has Reno, and namespaces may use it. What else this machine prefers would decide what rows show: BBR, where
		// that is the default, empties the links for a fifth of a second every ten.
		err := errors.Join(s.names(resolver), s.sysctl("net.ipv6.conf.default.accept_dad=0"), s.sysctl("net.ipv4.tcp_congestion_control=reno"))
		if err != nil {
			return w, err
		}
	}
	return w, errors.Join(w.cables(), w.links(), w.router(), w.hub.sysctl("net.ipv4.ping_group_range=0 2147483647"))
}

// cables joins the hosts that stand still to the router.
func (w *world) cables() (err error) {
	for _, c := range []struct {
		s          *space
		name       string
		v4, v6     string
		prefix4    int
		additional []string
	}{
		{w.hub, "hub", hub4, hub6, 30, nil},
		{w.web, "web", web4, web6, 24, []string{web4 + "3/24"}},
		{w.other, "other", "", other6, 0, nil},
	} {
		err = errors.Join(err,
			w.net.ip(fmt.Sprintf("link add %s type veth peer name eth0 netns %s", c.name, c.s.name)),
			host(w.net, c.name, c.v4, c.v6, "1", c.prefix4),
			host(c.s, "eth0", c.v4, c.v6, "2", c.prefix4),
			c.s.ip6("route add default via "+c.v6+"1"))
		if c.v4 != "" {
			err = errors.Join(err, c.s.ip("route add default via "+c.v4+"1"))
		}
		for _, address := range c.additional {
			err = errors.Join(err, c.s.ip("addr add "+address+" dev eth0"))
		}
	}
	return err
}

// host configures a device of a namespace with addresses that end in the same number.
func host(s *space, device, v4, v6, number string, prefix4 int) error {
	err := errors.Join(
		s.ip(fmt.Sprintf("link set %s up", device)),
		s.ip6(fmt.Sprintf("addr add %s/64 dev %s nodad", v6+number, device)))
	if v4 != "" {
		err = errors.Join(err, s.ip(fmt.Sprintf("addr add %s/%d dev %s", v4+number, prefix4, device)))
	}
	return err
}

// links joins the laptop to the router over the emulated links.
func (w *world) links() error {
	now := clock.System()
	for i, l := range laptopLinks {
		far, err := plugAs(w.net, l.device, l.v4, l.v6, "1", l.conditions.MTU)
		if err != nil {
			return err
		}
		near, err := plugAs(w.laptop, l.device, l.v4, l.v6, "2", l.conditions.MTU)
		if err != nil {
			far.close()
			return err
		}
		w.ducts[i] = newDuctBetween(l.conditions, now, near, far, nil)
		if err := w.defaults(i); err != nil {
			return err
		}
	}
	return nil
}

// defaults gives the laptop its routes over a link.
func (w *world) defaults(i int) error {
	l := laptopLinks[i]
	return errors.Join(
		w.laptop.ip(fmt.Sprintf("route replace default via %s1 dev %s metric %d", l.v4, l.device, 100+i)),
		w.laptop.ip6(fmt.Sprintf("route replace default via %s1 dev %s metric %d", l.v6, l.device, 100+i)))
}

// plugAs makes a TUN device and moves it into a namespace under a name, with addresses.
func plugAs(s *space, name, v4, v6, number string, mtu int) (*tun, error) {
	passing := fmt.Sprintf("tandem%d", os.Getpid())
	dev, err := openTun(passing)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		run("ip", "link", "set", passing, "netns", s.name, "name", name),
		s.ip(fmt.Sprintf("link set %s addrgenmode none mtu %d txqueuelen 2000", name, mtu)),
		host(s, name, v4, v6, number, 24))
	if err != nil {
		dev.close()
		return nil, err
	}
	return dev, nil
}

// router has the namespace in the middle forward, translate the laptop's IPv4 addresses, and lose what
// goes to the addresses that nobody answers at.
func (w *world) router() error {
	err := w.net.nft(`table ip nat {
		chain postrouting { type nat hook postrouting priority 100; ip saddr { 192.168.1.0/24, 100.64.1.0/24 } masquerade; }
	}`)
	return errors.Join(err,
		w.net.sysctl("net.ipv4.ip_forward=1"), w.net.sysctl("net.ipv6.conf.all.forwarding=1"),
		w.net.ip("route add blackhole "+blackHole+"/32", "route add unreachable "+unreachable+"/32"))
}

// names has programs in the namespace ask that resolver.
func (s *space) names(server string) error {
	if err := os.MkdirAll(s.etc(), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.etc(), "resolv.conf"), []byte("nameserver "+server+"\n"), 0o644)
}

// etc is the folder whose files ip-netns(8) shows to programs of the namespace in place of those in /etc.
func (s *space) etc() string { return "/etc/netns/" + s.name }

// silence makes links lose everything, or stop doing so.
func (w *world) silence(on bool, links ...int) {
	for _, i := range links {
		w.ducts[i].silence(on)
	}
}

func (w *world) forwarded() (octets [2]int64) { return forwarded(w.ducts[:]) }

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

func (w *world) close() {
	for _, j := range w.jobs {
		j.stop()
	}
	for _, d := range w.ducts {
		if d != nil {
			d.close()
		}
	}
	for _, s := range w.spaces {
		s.remove()
		os.RemoveAll(s.etc())
	}
}
