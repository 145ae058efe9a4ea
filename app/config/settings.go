package config

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Role says when a link is used.
type Role string

// The roles.
const (
	Primary   Role = "primary"   // first
	Secondary Role = "secondary" // when primaries are full
	Backup    Role = "backup"    // when none of the others works
	Never     Role = "never"     // for no packet at all
)

// Roles are all roles.
var Roles = []Role{Primary, Secondary, Backup, Never}

// Validate says when a role is none.
func (r *Role) Validate() error {
	if !slices.Contains(Roles, *r) {
		return fmt.Errorf("%q is not a role: primary, secondary, backup or never", *r)
	}
	return nil
}

// Link says how a link is to be used. The zero Link is not valid: see NewLink.
type Link struct {
	Name      string  `json:"name"` // when it was last set: for people
	On        bool    `json:"on"`
	Role      Role    `json:"role"`
	LimitUp   Rate    `json:"limit_up"` // 0: none
	LimitDown Rate    `json:"limit_down"`
	Cap       Size    `json:"cap"` // octets both ways a month, 0: none
	ResetDay  int     `json:"reset_day"`
	Price     float64 `json:"price"` // of a gigabyte, in any currency that is the same for all links

	Private bool     `json:"private"` // its connections take no other link, and those of others do not take it
	Deny    Networks `json:"deny"`    // while it has an address in one of these it is private
	Address Address  `json:"address"` // what its network promises of addresses
}

// PriceMax is the highest price of a gigabyte.
const PriceMax = 1e6

// Thousandths is the price in thousandths, as the engine reckons.
func (l Link) Thousandths() int { return int(math.Round(l.Price * 1000)) }

// NewLink returns how links are used unless somebody says otherwise.
func NewLink() Link { return Link{On: true, Role: Primary, ResetDay: 1} }

// defaults makes l what it is where a file says nothing.
func (l *Link) defaults() { *l = NewLink() }

// Validate says what is wrong with a link's settings.
func (l *Link) Validate() error {
	switch {
	case l.LimitUp < 0 || l.LimitDown < 0 || l.Cap < 0 || !(l.Price >= 0) || math.IsInf(l.Price, 1):
		return errors.New("limits, caps and prices are numbers, and not negative")
	case l.Price > PriceMax:
		return fmt.Errorf("price: %v is more than %v, which is the most for a gigabyte", l.Price, float64(PriceMax))
	case l.ResetDay < 1 || l.ResetDay > 28:
		return fmt.Errorf("reset_day: %d is not a day that every month has, 1 to 28", l.ResetDay)
	}
	return l.Address.Validate()
}

// Settings are what a person decides. The zero Settings are not the default: see NewSettings.
type Settings struct {
	Down      bool            `json:"down"`      // nothing is captured until somebody says up
	Links     map[string]Link `json:"links"`     // by ID
	LAN       bool            `json:"lan"`       // the local network stays reachable past the tunnel
	Routes    Routes          `json:"routes"`    // what is captured
	Scheduler Scheduler       `json:"scheduler"` // "": the default

	CostV    CostV `json:"cost_v"`    // of the scheduler "cost"
	CostRate Rate  `json:"cost_rate"` // that it demands of dear links where cheap ones bring less; 0: none

	Establish  Establish  `json:"establish"` // "": the default
	Inactivity Inactivity `json:"inactivity"`
	Bounds     Bounds     `json:"inactivity_bounds"` // of what the other end asks for
	Address    Address    `json:"address"`           // that connections begin with, where there is a choice

	// Of proxies of other makes, which are not told by a tunnel.
	Privacy      Privacy   `json:"privacy"`       // "": the default
	FastOpen     bool      `json:"fast_open"`     // what is asked of them rides in the SYN, where they allow it (RFC 7413)
	ImplicitESIM bool      `json:"implicit_esim"` // with Establish "esim" they are not asked whether they can
	Prototype    Prototype `json:"prototype"`     // "": the default
}

// NewSettings returns the settings of a device on which nobody decided anything.
func NewSettings() Settings {
	return Settings{Links: map[string]Link{}, LAN: true, Routes: "default", FastOpen: true}
}

// Link returns how the link with that ID is to be used.
func (s Settings) Link(id string) Link {
	if l, ok := s.Links[id]; ok {
		return l
	}
	return NewLink()
}

// Settings reads what was decided.
func (f Folder) Settings() (Settings, error) {
	s := NewSettings()
	if err := f.load(settingsFile, &s); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	return s, nil
}

// SaveSettings writes what was decided.
func (f Folder) SaveSettings(s Settings) error {
	scratch := NewSettings()
	return f.replace(settingsFile, s, &scratch)
}

// Routes is "default" for everything, or networks with commas between.
type Routes string

// Validate says what in it is no network.
func (r *Routes) Validate() error {
	_, err := ParseRoutes(string(*r))
	return err
}

// Prefixes returns the networks.
func (r Routes) Prefixes() []netip.Prefix {
	p, _ := ParseRoutes(string(r))
	return p
}

// ParseRoutes reads "default" or prefixes with commas between.
func ParseRoutes(text string) ([]netip.Prefix, error) {
	if text == "default" {
		return DefaultRoutes(), nil
	}
	var routes []netip.Prefix
	for _, part := range strings.Split(text, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("%q is neither default nor a network such as 203.0.113.0/24", strings.TrimSpace(part))
		}
		routes = append(routes, p.Masked())
	}
	return routes, nil
}

// DefaultRoutes returns everything.
func DefaultRoutes() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
}

// Rate is in bits a second, written as 10M or 10Mbit.
type Rate int64

// Octets is the rate in octets a second; a limit stays one however low.
func (r Rate) Octets() int {
	if r <= 0 {
		return 0
	}
	return int(max(r/8, 1))
}

// RateOf is a rate in octets a second.
func RateOf(octets int) Rate { return Rate(octets) * 8 }

// Size is in octets, written as 20GB.
type Size int64

// ParseRate reads a rate: a number, and one of k, M, G or "bit" or both; 0 or "none" is no limit.
func ParseRate(text string) (Rate, error) {
	n, ok := parseAmount(text, "bit/s", "bit", "bps")
	switch {
	case !ok:
		return 0, fmt.Errorf("%q is not a rate such as 10Mbit", text)
	case bare(text) && n != 0:
		return 0, fmt.Errorf("%s what? say %sMbit or %skbit", text, text, text)
	}
	return Rate(n), nil
}

// ParseSize reads a size: a number, and one of k, M, G, T or "B" or both; 0 or "none" is no cap.
func ParseSize(text string) (Size, error) {
	n, ok := parseAmount(text, "B")
	switch {
	case !ok:
		return 0, fmt.Errorf("%q is not a size such as 20GB", text)
	case bare(text) && n != 0:
		return 0, fmt.Errorf("%s what? say %sMB or %sGB", text, text, text)
	}
	return Size(n), nil
}

// bare reports whether a number has no unit.
func bare(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}

// UnmarshalText reads what ParseRate reads.
func (r *Rate) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRate(string(text))
	return err
}

// MarshalText writes what ParseRate reads.
func (r Rate) MarshalText() ([]byte, error) { return []byte(amount(int64(r)) + "bit"), nil }

// UnmarshalText reads what ParseSize reads.
func (s *Size) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSize(string(text))
	return err
}

// MarshalText writes what ParseSize reads.
func (s Size) MarshalText() ([]byte, error) { return []byte(amount(int64(s)) + "B"), nil }

// scales are powers of thousand, as in prices and contracts.
var scales = []struct {
	letter string
	factor int64
}{{"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}, {"", 1}}

func parseAmount(text string, units ...string) (int64, bool) {
	text = strings.TrimSpace(text)
	if text == "none" {
		return 0, true
	}
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u); ok {
			text = rest
			break
		}
	}
	factor := int64(1)
	for _, s := range scales {
		for _, letter := range []string{s.letter, strings.ToUpper(s.letter)} {
			if rest, ok := strings.CutSuffix(text, letter); ok && s.letter != "" && factor == 1 {
				text, factor = rest, s.factor
			}
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || n < 0 || n*float64(factor) > 1e18 || n != n {
		return 0, false
	}
	return int64(n * float64(factor)), true
}

// amount writes n with the largest scale that leaves a whole number.
func amount(n int64) string {
	for _, s := range scales {
		if n != 0 && n%s.factor == 0 {
			return strconv.FormatInt(n/s.factor, 10) + s.letter
		}
	}
	return "0"
}
