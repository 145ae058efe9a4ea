package platform

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Thing is a part of the system that plans change: Device, Setting, Address, Route, Rule or Resolv. Things are comparable.
type Thing interface {
	String() string // one line

	key() string // what cannot be twice; it sorts in the order in which things are made
}

// A Device is the TUN.
type Device struct {
	Name string
	MTU  int
	Up   bool
}

// A Setting is a value below /proc/sys.
type Setting struct {
	Name  string // net/ipv4/conf/wlan0/rp_filter
	Value string
}

// An Address is an address of the TUN.
type Address struct {
	Dev    string
	Prefix netip.Prefix
}

// A Route is a route in a table of ours.
type Route struct {
	Table int
	To    netip.Prefix
	Via   netip.Addr // invalid: To is on the link
	Dev   string
}

// A Rule is a routing rule of ours, for IPv4 or IPv6.
type Rule struct {
	Priority   int
	V6         bool
	TCP        bool         // packets of TCP alone
	Mark, Mask uint32       // zero Mask: packets with any mark
	To         netip.Prefix // invalid: packets to anywhere
	Table      int          // zero: unreachable
	Specific   bool         // the table's default route does not count
}

// Resolv is the text of resolv.conf.
type Resolv struct{ Text string }

func (d Device) key() string  { return "1 " + d.Name }
func (s Setting) key() string { return "0 " + s.Name }
func (a Address) key() string { return "2 " + a.Dev + " " + a.Prefix.String() }
func (r Route) key() string   { return fmt.Sprintf("3 %5d %t %v", r.Table, r.To.Addr().Is6(), r.To) }
func (r Rule) key() string    { return fmt.Sprintf("4 %t %5d %v", r.V6, r.Priority, r) }
func (Resolv) key() string    { return "5" }

func (d Device) String() string {
	up := "down"
	if d.Up {
		up = "up"
	}
	return fmt.Sprintf("device %s mtu %d %s", d.Name, d.MTU, up)
}

func (s Setting) String() string { return fmt.Sprintf("setting %s %s", s.Name, s.Value) }

func (a Address) String() string { return fmt.Sprintf("address %v dev %s", a.Prefix, a.Dev) }

func (r Route) String() string {
	via := ""
	if r.Via.IsValid() {
		via = " via " + r.Via.String()
	}
	return fmt.Sprintf("route %v%s dev %s table %d", r.To, via, r.Dev, r.Table)
}

func (r Rule) String() string {
	s := fmt.Sprintf("rule IPv4 %d:", r.Priority)
	if r.V6 {
		s = fmt.Sprintf("rule IPv6 %d:", r.Priority)
	}
	if r.TCP {
		s += " tcp"
	}
	if r.Mask != 0 {
		s += fmt.Sprintf(" fwmark %#x/%#x", r.Mark, r.Mask)
	}
	if r.To.IsValid() {
		s += fmt.Sprintf(" to %v", r.To)
	}
	switch r.Table {
	case 0:
		s += " unreachable"
	case tableMain:
		s += " table main"
	default:
		s += fmt.Sprintf(" table %d", r.Table)
	}
	if r.Specific {
		s += " but its default"
	}
	return s
}

func (r Resolv) String() string {
	s := "resolv.conf"
	for _, a := range r.servers() {
		s += " " + a.String()
	}
	return s
}

// A State is what there is that concerns tandem: every thing of ours, and the values of settings and files that it may change.
type State struct {
	Things []Thing
	Saved  Saved
}

// Apply does a change to the state.
func (s *State) Apply(c Change) {
	s.Saved.note(c)
	if c.From != nil {
		s.Things = slices.DeleteFunc(s.Things, func(t Thing) bool { return t == c.From })
	}
	if c.To != nil {
		s.Things = append(s.Things, c.To)
	}
	slices.SortFunc(s.Things, compareThings)
}

func (s State) find(key string) Thing {
	for _, t := range s.Things {
		if t.key() == key {
			return t
		}
	}
	return nil
}

func compareThings(a, b Thing) int { return strings.Compare(a.key(), b.key()) }

// A Change makes a thing (no From), removes one (no To), or gives it another value. Its inverse is the same with the ends swapped.
type Change struct{ From, To Thing }

// Inverse returns the change that undoes c.
func (c Change) Inverse() Change { return Change{From: c.To, To: c.From} }

// String returns the change in one line: + what is made, - what is removed, ~ what was → what will be.
func (c Change) String() string {
	switch {
	case c.From == nil:
		return "+ " + c.To.String()
	case c.To == nil:
		return "- " + c.From.String()
	}
	from, to := strings.Fields(c.From.String()), strings.Fields(c.To.String())
	same := 0
	for same < len(from) && same < len(to) && from[same] == to[same] {
		same++
	}
	return fmt.Sprintf("~ %s: %s → %s", strings.Join(from[:same], " "), rest(from[same:]), rest(to[same:]))
}

func rest(fields []string) string {
	if len(fields) == 0 {
		return "nothing"
	}
	return strings.Join(fields, " ")
}
