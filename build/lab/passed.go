package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"tandem/engine/wire"
)

// announcedByProxy is the address of the implicit proxy, which the router has on no interface.
const announcedByProxy = hub4 + "200"

// runPassed has the router be an implicit proxy for the laptop's own Multipath TCP, which is told nothing of it.
func runPassed(ctx context.Context, t *table, only string) error {
	return runTrials(ctx, t, []trial{
		{"11 tandem-hub implicit: a server that speaks TCP", "C=1, ADD_ADDR, both links, digest", passedToTCP},
		{"11 tandem-hub implicit: a server that speaks MPTCP", "steps aside, also of the first", passedOn},
	}, only, (*household).passable)
}

// passable leads the laptop's packets through the proxy.
func (h *household) passable(ctx context.Context) error {
	if h.passing {
		return nil
	}
	h.passing = true
	proxy, err := h.start(h.net, "implicit", h.path("tandem-hub"), "implicit", "--announce", announcedByProxy, "--allow-lan")
	if err == nil {
		err = proxy.await(ctx, "implicit proxy runs")
	}
	if err == nil {
		_, err = h.must(ctx, h.net, "nft", "insert rule ip nat postrouting oifname tandem1 accept")
	}
	if err != nil {
		return err
	}
	first, second := laptopLinks[0], laptopLinks[1]
	return errors.Join(
		h.net.ip(
			"route add default dev tandem1 table 100",
			"rule add iif "+first.device+" ipproto tcp table 100 priority 7000",
			"rule add iif "+second.device+" ipproto tcp table 100 priority 7001"),
		h.laptop.ip(
			"mptcp limits set subflows 4 add_addr_accepted 4",
			"mptcp endpoint add "+second.v4+"2 dev "+second.device+" subflow fullmesh",
			"route add default via "+second.v4+"1 dev "+second.device+" table 101",
			"rule add from "+second.v4+"2 table 101"))
}

func passedToTCP(ctx context.Context, h *household) (string, error) {
	if err := h.serveAgain(ctx, false); err != nil {
		return "", err
	}
	files, stop, err := h.wiretaps(ctx)
	if err != nil {
		return "", err
	}
	const n = 20e6
	before := h.forwarded()
	a, err := h.perform(ctx, h.laptop, task{Kind: "get", URL: url(webHost, "/octets/5/%d", int64(n))})
	after := h.forwarded()
	if err == nil && a.Digest != digest(5, n) {
		err = errors.New("wrong digest")
	}
	if err := errors.Join(err, stop()); err != nil {
		return "", err
	}
	all, err := sightsOf(ctx, files[0], "tcp")
	if err != nil {
		return "", err
	}
	counted, err := readCounters(ctx, h.laptop)
	if err != nil {
		return "", err
	}
	own, web := netip.MustParseAddr(announcedByProxy), netip.MustParseAddr(webHost)
	inItsName := those(all, func(s sight) bool {
		return s.from == web && s.flags.Has(wire.SYN|wire.ACK) && s.has(subCapable) && s.option(subCapable)[1]&byte(wire.NoJoinsHere) != 0
	})
	added := those(all, func(s sight) bool { return addedBy(s) == own })
	first, second := float64(after[0]-before[0]), float64(after[1]-before[1])
	var w wrong
	w.unless(len(inItsName) == 1, "%d SYN/ACKs with C=1 in the server's name", len(inItsName))
	w.unless(len(added) > 0, "no ADD_ADDR")
	w.unless(counted["MPJoinSynAckRx"] > 0, "no join")
	w.unless(min(first, second) > 0.1*(first+second), "one link has too little of it")
	return fmt.Sprintf("C=1 %d, ADD_ADDR %d, joins %d, %.0f + %.0f %%", len(inItsName), len(added), counted["MPJoinSynAckRx"],
		100*first/(first+second), 100*second/(first+second)), w.err()
}

// passedOn: a server that speaks Multipath TCP itself sees the laptop, not the proxy.
func passedOn(ctx context.Context, h *household) (string, error) {
	if err := h.serveAgain(ctx, true); err != nil {
		return "", err
	}
	var who []string
	for range 2 {
		a, err := h.perform(ctx, h.laptop, task{Kind: "get", URL: url(webHost, "/who")})
		if err != nil {
			return "", err
		}
		who = append(who, a.Text)
	}
	n, err := readCounters(ctx, h.web)
	if err == nil && (who[0] != laptopLinks[0].v4+"2" || who[1] != who[0] || n["MPCapableACKRX"] < 2) {
		err = errors.New("it is not the laptop that asks")
	}
	return fmt.Sprintf("asked by %s; MPCapableACKRX %d", strings.Join(who, ", "), n["MPCapableACKRX"]), err
}

// runGet downloads a page by the kernel's Multipath TCP.
func runGet(ctx context.Context, t task, _ io.Writer) (a account, err error) {
	var d net.Dialer
	d.SetMultipathTCP(true)
	client := http.Client{Transport: &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true, DisableCompression: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL, nil)
	if err != nil {
		return a, err
	}
	response, err := client.Do(request)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	h, start := sha256.New(), &beginning{}
	a.Octets, err = io.Copy(io.MultiWriter(h, start), response.Body)
	a.Digest, a.Text = hex.EncodeToString(h.Sum(nil)), strings.TrimSpace(string(start.octets))
	return a, err
}

// beginning keeps the first octets of what is written.
type beginning struct{ octets []byte }

func (b *beginning) Write(p []byte) (int, error) {
	const room = 100
	b.octets = append(b.octets, p[:min(len(p), room-len(b.octets))]...)
	return len(p), nil
}
