package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"tandem/app/config"
	"tandem/app/control"
	"tandem/engine"
	"tandem/engine/convert"
	"tandem/platform"
	"tandem/tunnel/carrier/native"
	"tandem/tunnel/relay"
	"tandem/tunnel/upstream"
)

// A nativeMode is what is different where a proxy of another make takes the place of a hub.
type nativeMode struct {
	live        *live
	first, last uint16 // ports that are ours on every link
	socks       *upstream.SOCKS
	convert     *upstream.Convert

	learnt time.Time // when it was last tried to learn of socks; the loop's

	mu    sync.Mutex
	proxy netip.AddrPort // zero: no link reaches one
	plain bool           // it does not speak Multipath TCP
	full  string         // why the last connection got no port; "": it got one
	roads roads
}

// NativePort is the first port that links to a proxy of another make use.
const NativePort = 61000

// Ranges of ports, all outside those that Linux gives to others. Each connection to a proxy takes one of them, and each
// port a file for each link.
const (
	nativePorts  = 1024
	nativeRanges = 4
)

// portsRemedy is what to do about ports that others hold.
const portsRemedy = "ss -tan tells which; net.ipv4.ip_local_port_range should end before them"

// nativeKeepalive is how long a connection may be silent before the NATs on its way are reminded of it.
const nativeKeepalive = 100 * time.Second

// newNative chooses the ports, and makes the dialer. It waits for nobody.
func (v *live) newNative() (*nativeMode, error) {
	n := &nativeMode{live: v}
	for i := range nativeRanges {
		n.first = uint16(NativePort + i*nativePorts)
		n.last = n.first + nativePorts - 1
		if v.foreign.free(n.first, n.last) {
			return n, n.dial()
		}
	}
	return nil, fmt.Errorf("ports %d to %d are needed, or those after them, and other programs hold some: %s",
		NativePort, NativePort+nativePorts-1, portsRemedy)
}

// dial makes the dialer.
func (n *nativeMode) dial() (err error) {
	switch u := n.live.cfg.Upstream; u.Kind {
	case Implicit:
	case Convert:
		n.convert = upstream.NewConvert(upstream.ConvertConfig{
			Converter: n.at, Open: n.openOver, Path: began, Multipath: multipath, Rode: rode, Log: n.live.log,
		})
	default:
		n.socks, err = upstream.NewSOCKS(upstream.SOCKSConfig{Proxy: n.at, User: u.User, Password: u.Password, Open: n.open})
	}
	return err
}

// dialer is what connections are asked of.
func (n *nativeMode) dialer() relay.Dialer {
	switch {
	case n.convert != nil:
		return n.convert
	case n.socks != nil:
		return n.socks
	}
	return targets{n}
}

// passed is a passage.
func (n *nativeMode) passed(c *engine.Conn, target netip.AddrPort) control.Via {
	target = netip.AddrPortFrom(target.Addr().Unmap(), target.Port())
	switch itself := c.RemoteAddr().String() == target.String(); {
	case n.convert == nil && n.socks == nil:
		return control.ViaImplicit
	case !itself:
		return control.ViaProxy
	case n.convert != nil && n.convert.Bypasses(target):
		return control.ViaBypass
	}
	return control.ViaDirect
}

// A targets is a relay.Dialer that asks targets themselves.
type targets struct{ native *nativeMode }

// Dial is part of relay.Dialer.
func (d targets) Dial(ctx context.Context, target netip.AddrPort) (relay.Stream, error) {
	return d.native.open(ctx, target, nil, upstream.Patient)
}

// bondConfig describes the bond, whose paths lead to anybody.
func (n *nativeMode) bondConfig() engine.BondConfig {
	made := n.live.manner.made
	m := made.machine()
	m.FastOpen, m.ImplicitESIM = made.opensFast(), made.implicit
	m.FirstPort, m.LastPort, m.Keepalive = n.first, n.last, nativeKeepalive
	m.Timestamps = made.scheduler == "owl" // they tell it the latency of each direction
	return engine.BondConfig{Config: m, Name: n.live.cfg.Upstream.Kind}
}

// pathConfig describes the path of a link, whose own addresses it has.
func (n *nativeMode) pathConfig(l *link) engine.PathConfig {
	v4, v6 := ownAddrs(l.seen)
	return engine.PathConfig{Local4: v4, Local6: v6, MTU: l.mtu}
}

// ownAddrs are the addresses of a link that packets leave it with: the first of each family.
func ownAddrs(l platform.Link) (v4, v6 netip.Addr) {
	first := func(is func(netip.Addr) bool) (found netip.Addr) {
		if i := slices.IndexFunc(l.Addrs, func(p netip.Prefix) bool { return is(p.Addr()) }); i >= 0 {
			found = l.Addrs[i].Addr()
		}
		return found
	}
	v4 = first(netip.Addr.Is4)
	v6 = first(func(a netip.Addr) bool { return a.Is6() && !a.IsLinkLocalUnicast() })
	return v4, v6
}

// bear opens the carrier of a link, and asks the proxy for a sign of life.
func (n *nativeMode) bear(l *link) (bearer, error) {
	v4, v6 := ownAddrs(l.seen)
	raw, err := n.live.foreign.open(native.Config{
		Link: l.seen.Name, Local4: v4, Local6: v6, First: n.first, Last: n.last, Pin: n.live.cfg.Host.Pin(l.seen.Name),
		Deliver: l.pipe.receive, Log: n.live.log,
	})
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%w: %s", err, portsRemedy)
	}
	if err != nil {
		return nil, err
	}
	return newNativeBearer(raw, &l.pipe, n.live.foreign.knock(n.live.cfg.Host, l.seen.Name, l.endpoint)), nil
}

// at is where the proxy is.
func (n *nativeMode) at() netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proxy
}

// choose takes the first address of the proxy that most links reach: one connection goes to one address. It runs in the loop.
func (n *nativeMode) choose() {
	best, most := netip.AddrPort{}, 0
	for _, e := range n.live.endpoints {
		reach := 0
		for _, l := range n.live.carried {
			if v4, v6 := ownAddrs(l.seen); e.Addr().Is4() && v4.IsValid() || e.Addr().Is6() && v6.IsValid() {
				reach++
			}
		}
		if reach > most {
			best, most = e, reach
		}
	}
	n.mu.Lock()
	was := n.proxy
	n.proxy = best
	n.mu.Unlock()
	if best != was {
		n.appeared()
	}
}

// open is an upstream.Opener.
func (n *nativeMode) open(ctx context.Context, to netip.AddrPort, first []byte, haste upstream.Haste) (relay.Stream, error) {
	return n.openOver(ctx, to, first, haste, 0)
}

// openOver is an upstream.PathOpener. When octets of the SYN do not arrive over one path it tries the others.
func (n *nativeMode) openOver(ctx context.Context, to netip.AddrPort, first []byte, haste upstream.Haste, over convert.Path) (relay.Stream, error) {
	if !to.IsValid() {
		return nil, fmt.Errorf("no link reaches the proxy: %w", engine.ErrNoPath)
	}
	haste = n.live.manner.made.haste(haste)
	for range beginsMax {
		opt, with := engine.DialOptions{First: first}, haste
		if to == n.at() {
			var err error
			if opt.Paths, with, err = n.begin(ctx, over, haste); err != nil {
				return nil, err
			}
		}
		opt.Early, opt.EarlyOnly = with != upstream.Patient, with == upstream.HastyOnly
		c, err := n.live.dialer.open(ctx, to, opt)
		if n.limited(to, err); err == nil {
			n.opened(to, c.Info())
			return c, nil
		}
		if !errors.Is(err, engine.ErrStripped) {
			return nil, n.unreached(ctx, to, err)
		}
		n.stripped(to, c.Info().Began)
	}
	return nil, convert.ErrStripped
}

// unreached says of an error of opening if nobody is where the converter was. Silence does not tell: a converter may answer
// only when the target does (RFC 8803 4.2), and who is confined to some links says nothing of the others.
func (n *nativeMode) unreached(ctx context.Context, to netip.AddrPort, err error) error {
	if n.convert == nil || to != n.at() || onlyOf(ctx) != nil {
		return err
	}
	if errors.Is(err, engine.ErrReset) || errors.Is(err, engine.ErrRefused) {
		return fmt.Errorf("%w: %w", convert.ErrUnreached, err)
	}
	return err
}

// beginsMax bounds the paths over which it is tried in a row whether octets of a SYN arrive.
const beginsMax = 8

// opened takes note of what a connection tells of the proxy, and of the path that it began on.
func (n *nativeMode) opened(to netip.AddrPort, info engine.Info) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if to != n.proxy || len(info.Subflows) == 0 {
		return
	}
	n.plain = info.Fallback
	n.roads.note(info)
}

// stripped notes that octets of a SYN did not arrive over a path.
func (n *nativeMode) stripped(to netip.AddrPort, p engine.PathID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if to == n.proxy {
		n.roads.strip(p)
	}
}

// limited takes note of whether there was a port for a connection.
func (n *nativeMode) limited(to netip.AddrPort, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	was := n.full
	if n.full = ""; errors.Is(err, engine.ErrLimit) {
		n.full = fmt.Sprintf("connections to %v are refused: there are as many as there can be, %d to one address", to, nativePorts)
	}
	if was == "" && n.full != "" {
		n.live.log.Warn(n.full)
	}
}

// multipath reports whether the other end of a connection speaks Multipath TCP.
func multipath(s relay.Stream) bool {
	c, ok := s.(*engine.Conn)
	return ok && !c.Info().Fallback
}

// began is the path that a connection began on, counted from 1.
func began(s relay.Stream) convert.Path {
	c, ok := s.(*engine.Conn)
	if !ok {
		return 0
	}
	return convert.Path(c.Info().Began) + 1
}

// rode reports whether octets rode in a connection's SYN, and were all taken.
func rode(s relay.Stream) bool {
	c, ok := s.(*engine.Conn)
	if !ok {
		return false
	}
	info := c.Info()
	return info.FastOpen > 0 && !info.Stripped
}

// appeared: the way to the proxy is another one than before. It runs in the loop.
func (n *nativeMode) appeared() {
	n.mu.Lock()
	n.plain, n.roads = false, nil
	n.mu.Unlock()
	n.learnt = time.Time{}
	if n.socks != nil {
		n.socks.Forget()
	}
	if n.convert != nil {
		n.convert.Forget()
	}
}

// learnPeriod is how often that is tried of which nothing was learnt.
const learnPeriod = time.Minute

// learn finds out, beside everything else, what saves round trips. It runs in the loop.
func (n *nativeMode) learn(now time.Time) {
	if n.socks == nil || n.socks.Learnt() || now.Sub(n.learnt) < learnPeriod {
		return
	}
	n.learnt = now
	n.live.beside.Go(func() {
		if err := n.socks.Learn(n.live.ctx); err != nil {
			n.live.log.Debug("the proxy was not asked whether it takes requests with the greeting", "err", err)
		}
	})
}

// notice is what people should know although connections are carried; "": nothing.
func (n *nativeMode) notice() string {
	if n.convert != nil {
		if why := n.convert.Avoided(); why != "" {
			return why
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	speaks, mute := n.roads.both()
	switch {
	case n.full != "":
		return n.full
	case speaks && mute:
		return fmt.Sprintf("something on one of the links strips Multipath TCP: connections to the proxy at %v begin on the others", n.proxy)
	case n.plain:
		return fmt.Sprintf("the proxy at %v does not speak Multipath TCP, or something on the way strips it: each connection takes one link", n.proxy)
	}
	return ""
}

// A foreign is what of the system native links use.
type foreign struct {
	free  func(first, last uint16) bool // nobody has any of these ports
	open  func(native.Config) (rawCarrier, error)
	knock func(h platform.Host, link string, at netip.AddrPort) func(context.Context) error // connects over a link, and leaves
}

// A rawCarrier is what native.Open gives.
type rawCarrier interface {
	Send(pkts [][]byte) error
	Counters() native.Counters
	Close() error
}

// system is the foreign of this computer.
var system = foreign{
	free: func(first, last uint16) bool {
		for port := int(first); port <= int(last); port++ {
			l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
			if err != nil {
				return false
			}
			l.Close()
		}
		return true
	},
	open: func(cfg native.Config) (rawCarrier, error) {
		c, err := native.Open(cfg)
		if err != nil {
			return nil, err
		}
		return c, nil
	},
	knock: func(h platform.Host, link string, at netip.AddrPort) func(context.Context) error {
		d := net.Dialer{Control: h.Pin(link)}
		return func(ctx context.Context) error {
			c, err := d.DialContext(ctx, "tcp", at.String())
			if err != nil {
				return err
			}
			return c.Close()
		}
	},
}

// keep writes a membership, unless it stands in for one.
func (c *Client) keep(m config.Membership) error {
	if c.cfg.Upstream != nil {
		return nil
	}
	return c.cfg.State.SaveMembership(m)
}
