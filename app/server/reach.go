package server

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"tandem/app/invite"
)

// Rules say what devices may reach through the hub, which is nobody's open proxy. The zero Rules deny
// what is always denied, the local network, and mail.
type Rules struct {
	LAN    bool           // the hub's local network too
	SMTP   bool           // TCP port 25 too
	Own    []netip.Addr   // of the hub's own interfaces: never
	OnLink []netip.Prefix // of the hub's own interfaces: its local network
	Inner6 netip.Prefix   // of the inner addresses: never, as invite.Inner4

	blind bool // what the hub's own is cannot be told: nothing is reached
}

// Denied is why a target is not reached. It is an os.ErrPermission.
type Denied struct {
	Target netip.AddrPort
	Why    string // what the target is
}

func (d *Denied) Error() string {
	return fmt.Sprintf("the hub does not relay to %v: %s", d.Target, d.Why)
}

// Unwrap makes it an os.ErrPermission.
func (d *Denied) Unwrap() error { return os.ErrPermission }

// never is what no hub relays to, whatever it is asked for.
var never = []struct {
	prefix netip.Prefix
	why    string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "an address of this host"},
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback address"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local address"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local address"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast address"},
	{netip.MustParsePrefix("255.255.255.255/32"), "a broadcast address"},
	{invite.Inner4, "an address inside the tunnel"},
}

// local are the networks that a hub's own may be, wherever it stands.
var local = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fec0::/10"),      // site-local, RFC 3879
	netip.MustParsePrefix("192.0.0.0/24"),   // of the access network, RFC 6890
	netip.MustParsePrefix("64:ff9b:1::/48"), // IPv4 through a translator of the local network, RFC 8215
}

// embedding are the IPv6 networks whose addresses hold an IPv4 address, and where.
var embedding = []struct {
	prefix netip.Prefix
	at     int // octet
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, // RFC 6052 2.1
	{netip.MustParsePrefix("2002::/16"), 2},     // RFC 3056 2
	{netip.MustParsePrefix("::ffff:0:0/96"), 12},
	{netip.MustParsePrefix("::/96"), 12}, // RFC 4291 2.5.5.1; :: and ::1 are in 0/8 then
}

const smtp = 25

// Check returns nil when network ("tcp", "udp" or "icmp") and target are allowed, else a *Denied.
func (r *Rules) Check(network string, target netip.AddrPort) error {
	why := r.denied(target.Addr().WithZone(""))
	if why == "" && network == "tcp" && target.Port() == smtp && !r.SMTP {
		why = "mail is sent only with --allow-smtp"
	}
	if why == "" {
		return nil
	}
	return &Denied{target, why}
}

// denied says why an address is not reached; "": it is.
func (r *Rules) denied(a netip.Addr) string {
	switch {
	case r.blind:
		return "it does not know its own addresses"
	case !a.IsValid():
		return "no address"
	}
	for _, e := range embedding {
		if a.Is6() && e.prefix.Contains(a) || a.Is4In6() && e.at == 12 {
			b := a.As16()
			return r.denied(netip.AddrFrom4([4]byte(b[e.at : e.at+4])))
		}
	}
	for _, n := range never {
		if n.prefix.Contains(a) {
			return n.why
		}
	}
	contains := func(p netip.Prefix) bool { return p.Contains(a) }
	switch {
	case r.Inner6.IsValid() && r.Inner6.Contains(a):
		return "an address inside the tunnel"
	case slices.Contains(r.Own, a):
		return "an address of the hub itself"
	case slices.ContainsFunc(r.OnLink, func(p netip.Prefix) bool { return broadcast(p) == a || anycast(p) == a }):
		return "a broadcast address"
	case !r.LAN && (slices.ContainsFunc(local, contains) || slices.ContainsFunc(r.OnLink, contains)):
		return "the hub's local network is reached only with --allow-lan"
	}
	return ""
}

// broadcast returns the address that means everybody on an IPv4 link, or the zero Addr.
func broadcast(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() || p.Bits() >= 31 {
		return netip.Addr{}
	}
	a := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a)
}

// anycast returns the first address of a link, or the zero Addr: in IPv4 it is an old broadcast, in IPv6 any
// router of the link (RFC 4291 2.6.1), which the hub may be.
func anycast(p netip.Prefix) netip.Addr {
	if p.Bits() >= p.Addr().BitLen()-1 {
		return netip.Addr{}
	}
	return p.Masked().Addr()
}

// interfacesLife is how old what is known of the hub's own interfaces gets.
const interfacesLife = 2 * time.Second

// A surroundings keeps the Rules up to date with the hub's interfaces, whose addresses change.
type surroundings struct {
	rules Rules // without what the interfaces say
	list  func() ([]net.Addr, error)

	mu  sync.Mutex
	at  time.Time
	now *Rules // nil: the interfaces were never listed
}

// current returns the rules for a device that may, or may not, reach the local network. As long as nobody
// knows which addresses are the hub's own, nothing is reached.
func (s *surroundings) current(lan bool) *Rules {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() || time.Since(s.at) > interfacesLife {
		// Without a list the last one stands: to forget addresses would allow them.
		if addrs, err := s.list(); err == nil {
			r := s.rules
			r.add(addrs)
			s.now = &r
		}
		s.at = time.Now()
	}
	if s.now == nil {
		return &Rules{blind: true}
	}
	r := *s.now
	r.LAN = r.LAN || lan
	return &r
}

func (r *Rules) add(addrs []net.Addr) {
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		r.Own = append(r.Own, p.Addr().Unmap().WithZone(""))
		if !p.IsSingleIP() {
			r.OnLink = append(r.OnLink, p.Masked())
		}
	}
}
