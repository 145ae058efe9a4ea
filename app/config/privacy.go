package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"tandem/engine"
)

// Privacy is the name of a profile: how little proxies of other makes shall learn of this device's addresses. "": standard.
type Privacy string

// Validate says when there is no such profile.
func (p *Privacy) Validate() error {
	if _, ok := p.profile(); !ok {
		return fmt.Errorf("%q is no profile of privacy: standard or strict", *p)
	}
	return nil
}

// Profile is the engine's name of it.
func (p Privacy) Profile() engine.Privacy {
	profile, _ := p.profile()
	return profile
}

func (p Privacy) profile() (engine.Privacy, bool) {
	if p == "" {
		return engine.PrivacyStandard, true
	}
	return engine.ParsePrivacy(string(p))
}

// Address is what a network promises of the addresses that it gives (RFC 8653). "": unknown.
type Address string

// Addresses names all types: the more is promised the later.
const Addresses = "unknown, non-persistent, session-lasting or fixed"

// Validate says when there is no such type.
func (a *Address) Validate() error {
	if _, ok := a.kind(); !ok {
		return fmt.Errorf("%q is not what a network promises of an address: %s", *a, Addresses)
	}
	return nil
}

// Type is the engine's name of it.
func (a Address) Type() engine.AddressType {
	kind, _ := a.kind()
	return kind
}

func (a Address) kind() (engine.AddressType, bool) {
	if a == "" {
		return engine.UnknownAddress, true
	}
	return engine.ParseAddressType(string(a))
}

// Networks are prefixes with commas between; "": none.
type Networks string

// ParseNetworks reads networks, or none.
func ParseNetworks(text string) (Networks, error) {
	if text == "none" || text == "" {
		return "", nil
	}
	var all []string
	for _, part := range strings.Split(text, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return "", fmt.Errorf("%q is not a network such as 203.0.113.0/24", strings.TrimSpace(part))
		}
		all = append(all, p.Masked().String())
	}
	return Networks(strings.Join(all, ",")), nil
}

// UnmarshalText reads what ParseNetworks reads.
func (n *Networks) UnmarshalText(text []byte) (err error) {
	*n, err = ParseNetworks(string(text))
	return err
}

// MarshalText writes what ParseNetworks reads.
func (n Networks) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// String is what ParseNetworks reads.
func (n Networks) String() string {
	if n == "" {
		return "none"
	}
	return string(n)
}

// Contain reports whether an address is in one of the networks.
func (n Networks) Contain(a netip.Addr) bool {
	return n != "" && slices.ContainsFunc(strings.Split(string(n), ","), func(text string) bool {
		p, err := netip.ParsePrefix(text)
		return err == nil && p.Contains(a.Unmap())
	})
}
