package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"tandem/engine/wire"
)

// secrecy is the stage of what the daemon's settings hide from who sees its links and from a proxy of another make.
func secrecy() stage {
	quiet := func(args ...string) func(ctx context.Context, h *household) (string, error) {
		return func(ctx context.Context, h *household) (string, error) {
			if _, err := h.clientVerb(ctx, "link", append([]string{"wwan0"}, args...)...); err != nil {
				return "", err
			}
			defer h.clientVerb(ctx, "link", "wwan0", "--private", "off", "--deny", "none")
			return h.sparesSecond(ctx, hubHost, func() error {
				_, err := h.fetch(ctx, webHost, 23, 5e6)
				return err
			})
		}
	}
	return native("5 SOCKS5", "socks5://"+hubHost+":"+strconv.Itoa(socksPort), nil, func(h *household) (*job, error) {
		return h.helper(h.hub, "socks", task{Kind: "socks", Address: ":" + strconv.Itoa(socksPort)})
	}, []trial{
		{"tandem set --privacy strict", "no ADD_ADDR, FASTCLOSE, race, early join", strictly},
		{"tandem link wwan0 --private on", "no packet over it", quiet("--private", "on")},
		{"tandem link wwan0 --deny 100.64.0.0/10", "no packet over it", quiet("--deny", "100.64.0.0/10")},
		{"curl --interface wlan0", "no packet over wwan0", bound},
	})
}

// sparesSecond: what do does with a host leaves and comes over the first link alone.
func (h *household) sparesSecond(ctx context.Context, host string, do func() error) (string, error) {
	all, err := h.tapped(ctx, "ip.addr == "+host, do)
	if err != nil {
		return "", err
	}
	first, second := ofLaptop(all, 0), ofLaptop(all, 1)
	var w wrong
	w.unless(len(first) > 100 && len(second) == 0, "packets over it")
	return fmt.Sprintf("packets: %d over one, %d over the other", len(first), len(second)), w.err()
}

// tapped is what of TCP crosses the links while something is done, in the order of time.
func (h *household) tapped(ctx context.Context, filter string, do func() error) (all []sight, err error) {
	files, stop, err := h.wiretaps(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(do(), stop()); err != nil {
		return nil, err
	}
	for _, file := range files {
		seen, err := sightsOf(ctx, file, "tcp && "+filter, "frame.time_epoch", "tcp.srcport")
		if err != nil {
			return nil, err
		}
		all = append(all, seen...)
	}
	slices.SortStableFunc(all, func(a, b sight) int { return strings.Compare(a.extra[0], b.extra[0]) })
	return all, nil
}

// ofLaptop are those that leave the laptop over a link, or come to it there.
func ofLaptop(all []sight, link int) []sight {
	here := netip.MustParseAddr(laptopLinks[link].v4 + "2")
	return those(all, func(s sight) bool { return s.from == here || s.to == here })
}

// bound: a program that asks for a link gets it from the kernel, past the daemon.
func bound(ctx context.Context, h *household) (string, error) {
	return h.sparesSecond(ctx, webHost, func() error {
		said, err := h.ask(ctx, h.laptop, "curl", "-sS", "--interface", laptopLinks[0].device, "-o", "/dev/null", url(webHost, "/octets/24/%d", int64(1e6)))
		if err == nil && said.code != 0 {
			err = errors.New(said.err)
		}
		return err
	})
}

// strictly: connections that end, and one that is broken off, tell of themselves no more than they must.
func strictly(ctx context.Context, h *household) (string, error) {
	if _, err := h.clientVerb(ctx, "set", "--privacy", "strict"); err != nil {
		return "", err
	}
	defer func() {
		h.clientVerb(ctx, "set", "--privacy", "standard")
		h.connectAgain(ctx)
	}()
	if err := h.connectAgain(ctx); err != nil {
		return "", err
	}
	const few = 3
	all, err := h.tapped(ctx, "ip.addr == "+hubHost, func() error {
		for range few {
			if _, err := h.fetch(ctx, webHost, 25, 2e6); err != nil {
				return err
			}
		}
		if err := h.forgets(ctx); err != nil { // or one of those is taken for the next
			return err
		}
		j, _, err := h.slow(ctx)
		if err == nil {
			j.kill()
			err = h.forgets(ctx)
		}
		return errors.Join(err, sleep(ctx, recording))
	})
	if err != nil {
		return "", err
	}
	out := those(all, func(s sight) bool { return s.to == netip.MustParseAddr(hubHost) })
	count := func(f func(s sight) bool) int { return len(those(out, f)) }
	syns := count(func(s sight) bool { return s.asks() && s.has(subCapable) })
	joins := count(func(s sight) bool { return s.asks() && s.has(subJoin) })
	added, closed := count(func(s sight) bool { return s.has(subAdd) }), count(func(s sight) bool { return s.has(subFastClose) })
	resets := count(func(s sight) bool { return s.flags.Has(wire.RST) })
	ports, early := map[string]bool{}, 0
	moved := 0
	for _, s := range all {
		moved += s.octets
		switch {
		case s.asks() && s.has(subJoin):
			ports[s.extra[1]] = true
			if moved < 64<<10 {
				early++
			}
		case s.asks() && s.has(subCapable):
			ports[s.extra[1]], moved = true, 0
		}
	}
	var w wrong
	w.unless(added == 0 && closed == 0, "ADD_ADDR %d, MP_FASTCLOSE %d", added, closed)
	w.unless(resets > 0, "the end of what was broken off is not told")
	w.unless(syns == few+1, "%d SYNs of %d connections", syns, few+1)
	w.unless(joins >= few && early == 0, "%d joins, %d of them too early", joins, early)
	w.unless(len(ports) == syns+joins, "%d ports of %d SYNs", len(ports), syns+joins)
	return fmt.Sprintf("ADD_ADDR %d, FASTCLOSE %d, %d joins, %d ports of %d SYNs", added, closed, joins, len(ports), syns+joins), w.err()
}

// forgets waits until the daemon has no connection.
func (h *household) forgets(ctx context.Context) error {
	return h.until(ctx, func() error {
		all, err := h.connections(ctx)
		if err == nil && len(all) > 0 {
			err = errors.New("a connection stays")
		}
		return err
	})
}
