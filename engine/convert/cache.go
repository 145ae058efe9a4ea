package convert

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"tandem/engine/clock"
)

// CacheConfig bounds a Cache; zeros are replaced by the defaults.
type CacheConfig struct {
	Converters int           // 16
	Targets    int           // 1024 servers that speak MPTCP, at some 100 octets each
	Cookies    int           // 64, at up to 1 KiB each
	Bypass     time.Duration // for how long it is believed that they do: 1 h
}

// A Path is what connections to a converter begin on, by a number that means nothing here; 0: it is not known. Converters
// may see another address of the client over each, of which their cookies are.
type Path uint32

// A Cache is what clients remember of converters, and of servers that need none. One goroutine at a time
// may use it and its clients.
type Cache struct {
	cfg        CacheConfig
	converters *recent[netip.AddrPort, converterState]
	targets    *recent[netip.AddrPort, clock.Time] // until when the converter is bypassed
	cookies    *recent[way, []byte]
	counters   CacheCounters
}

// CacheCounters count what a cache has had to do since it was made.
type CacheCounters struct {
	Forgotten uint64 // converters, servers and cookies that had to make room for others
	Bypassed  uint64 // times that Via said no because the server speaks MPTCP
	BackedOff uint64 // … because the converter asked for time
	Avoided   uint64 // … because the converter is of no use
}

// A way is how a converter is reached.
type way struct {
	converter netip.AddrPort
	path      Path
}

type converterState struct {
	known     bool // supported was told
	supported []byte
	refused   kindSet       // options that met UnsupportedOption
	path      Path          // the last one
	until     [2]clock.Time // back-off for servers of IPv4, of IPv6
	avoid     bool
}

// ConverterInfo is what a Cache knows of a converter.
type ConverterInfo struct {
	Known     bool          // it has told what it supports
	Supported []uint8       // kinds of options
	Until     [2]clock.Time // not to be asked for servers of IPv4, of IPv6 before
	Avoid     bool          // not to be asked until Forget
}

// NewCache returns an empty cache.
func NewCache(cfg CacheConfig) *Cache {
	if cfg.Converters == 0 {
		cfg.Converters = 16
	}
	if cfg.Targets == 0 {
		cfg.Targets = 1024
	}
	if cfg.Cookies == 0 {
		cfg.Cookies = 64
	}
	if cfg.Bypass == 0 {
		cfg.Bypass = time.Hour
	}
	return &Cache{
		cfg:        cfg,
		converters: newRecent[netip.AddrPort, converterState](cfg.Converters),
		targets:    newRecent[netip.AddrPort, clock.Time](cfg.Targets),
		cookies:    newRecent[way, []byte](cfg.Cookies),
	}
}

// Via reports whether a connection to target is to be asked of the converter; otherwise it is made directly.
func (c *Cache) Via(now clock.Time, converter, target netip.AddrPort) bool {
	if c.Bypasses(now, target) {
		c.counters.Bypassed++
		return false
	}
	c.targets.drop(plain(target))
	s := c.converters.get(plain(converter))
	switch {
	case s == nil:
	case s.avoid:
		c.counters.Avoided++
		return false
	case now < s.until[family(target.Addr())]:
		c.counters.BackedOff++
		return false
	}
	return true
}

// Converter returns what is known of a converter.
func (c *Cache) Converter(converter netip.AddrPort) ConverterInfo {
	s := c.converters.get(plain(converter))
	if s == nil {
		return ConverterInfo{}
	}
	return ConverterInfo{
		Known: s.known, Supported: bytes.Clone(s.supported), Until: s.until, Avoid: s.avoid,
	}
}

// Bypass notes that a server speaks MPTCP, so that no converter is asked for it (RFC 8803 5.1).
func (c *Cache) Bypass(now clock.Time, target netip.AddrPort) {
	*c.targets.make(plain(target)) = now.Add(c.cfg.Bypass)
}

// Bypasses reports whether a server is known to speak MPTCP.
func (c *Cache) Bypasses(now clock.Time, target netip.AddrPort) bool {
	until := c.targets.get(plain(target))
	return until != nil && now < *until
}

// NoBypass notes that a direct connection to a server did not become one of MPTCP after all.
func (c *Cache) NoBypass(target netip.AddrPort) { c.targets.drop(plain(target)) }

// Avoid stops the use of a converter that cannot be reached unhurt (RFC 8803 8).
func (c *Cache) Avoid(converter netip.AddrPort) { c.state(converter).avoid = true }

// Forget gives all converters another chance, as is due when the way to them has changed. What they have told is
// forgotten too.
func (c *Cache) Forget() {
	c.converters.clear()
	c.cookies.clear()
}

// Counters returns the counters.
func (c *Cache) Counters() CacheCounters {
	n := c.counters
	n.Forgotten = c.converters.forgotten + c.targets.forgotten + c.cookies.forgotten
	return n
}

func (c *Cache) state(converter netip.AddrPort) *converterState {
	return c.converters.make(plain(converter))
}

// options leaves out of options what the converter will not take: what it has refused, and MPTCP if it does
// not announce it, as it must (RFC 8803 7.5). Others may be supported without being announced.
func (c *Cache) options(converter netip.AddrPort, options Options) (fit Options) {
	s := c.converters.get(plain(converter))
	for kind, value := range options.All() {
		if s != nil && (s.refused.has(kind) || kind == MPTCP && s.known && !slices.Contains(s.supported, kind)) {
			continue
		}
		fit = fit.Add(kind, value...)
	}
	return fit
}

// lastPath is what a connection to a converter began on last, which is where the next one is expected to.
func (c *Cache) lastPath(converter netip.AddrPort) Path {
	if s := c.converters.get(plain(converter)); s != nil {
		return s.path
	}
	return 0
}

func (c *Cache) cookie(converter netip.AddrPort, path Path) []byte {
	if cookie := c.cookies.get(way{plain(converter), path}); cookie != nil {
		return *cookie
	}
	return nil
}

func (c *Cache) setCookie(converter netip.AddrPort, path Path, cookie []byte) {
	*c.cookies.make(way{plain(converter), path}) = cookie
}

// dropCookie drops a cookie, unless there is another by now.
func (c *Cache) dropCookie(converter netip.AddrPort, path Path, cookie []byte) {
	if bytes.Equal(c.cookie(converter, path), cookie) {
		c.cookies.drop(way{plain(converter), path})
	}
}

func (c *Cache) setSupported(converter netip.AddrPort, kinds []byte) {
	s := c.state(converter)
	s.known, s.supported, s.refused = true, bytes.Clone(kinds), kindSet{}
}

func (c *Cache) refuse(converter netip.AddrPort, kinds []uint8) {
	for _, k := range kinds {
		c.state(converter).refused.add(k)
	}
}

// backOff keeps from asking for servers of target's family, or for anything.
func (c *Cache) backOff(converter netip.AddrPort, until clock.Time, target netip.Addr, all bool) {
	s := c.state(converter)
	for f := range s.until {
		if all || f == family(target) {
			s.until[f] = max(s.until[f], until)
		}
	}
}

func family(a netip.Addr) int {
	if a.Unmap().Is4() {
		return 0
	}
	return 1
}

// plain gives an address the only form that it has in messages.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
