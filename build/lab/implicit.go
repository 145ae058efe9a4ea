package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	implicitAt     = "203.0.113.130" // announced by the proxy, on no interface
	implicitDevice = "tandem1"
)

// implicit is the stage of a proxy that nobody knows, on the router that the laptop's first link passes. The client is the kernel's
// own Multipath TCP.
func implicit() stage {
	return stage{
		name: "implicit proxy", needs: []string{"mptcpize"},
		set: func(ctx context.Context, h *household) (func(), error) {
			return nil, errors.Join(h.serveAgain(ctx, false), h.standInTheWay(ctx), h.speakMultipath())
		},
		trials: []trial{
			overBoth("200 MB down", transfer, nativeShare*sumRate, fetchesMultipath),
			overBoth("200 MB up", transfer, nativeShare*sumRate, pushesMultipath),
			{"who asks", "the router", asksAs(web4 + "1")},
			{"on the wire", "C=1, ADD_ADDR, MP_JOIN", announced},
			{"refused", "at once", refusedBehind},
			{"steps aside", "the laptop itself, asked for once", stepsAside},
		},
	}
}

// fetchesMultipath and pushesMultipath are fetches and pushes by the kernel's Multipath TCP.
func fetchesMultipath(ctx context.Context, h *household, n int64) (time.Duration, error) {
	said, err := h.ask(ctx, h.laptop, "bash", "-c", "set -o pipefail; mptcpize run curl -sS "+timed+url(webHost, "/octets/3/%d", n)+" | sha256sum")
	return curlMoved(said, err, strings.HasPrefix(said.out, digest(3, n)))
}

func pushesMultipath(ctx context.Context, h *household, n int64) (time.Duration, error) {
	said, err := h.ask(ctx, h.laptop, "bash", "-c", fmt.Sprintf("head -c %d /dev/zero | mptcpize run curl -sS %s-H Expect: -T - -X POST %s",
		n, timed, url(webHost, "/sink")))
	return curlMoved(said, err, strings.TrimSpace(said.out) == fmt.Sprintf("%d %s", n, zeroDigest(n)))
}

// standInTheWay runs the proxy on the router, and leads into it what comes over the laptop's first link.
func (h *household) standInTheWay(ctx context.Context) error {
	// What goes into the device comes out of it again: it is translated there, or not at all.
	if err := run("ip", "netns", "exec", h.net.name, "nft", "insert rule ip nat postrouting oifname "+implicitDevice+" accept"); err != nil {
		return err
	}
	proxy, err := h.start(h.net, "implicit", h.path("tandem-hub"), "implicit", "--device", implicitDevice, "--announce", implicitAt,
		"--allow-lan") // the web host is next to it
	if err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := proxy.await(starting, "implicit proxy runs"); err != nil {
		return err
	}
	return h.net.ip("route add default dev "+implicitDevice+" table 100", "rule add iif "+laptopLinks[0].device+" ipproto tcp table 100 priority 7000")
}

// speakMultipath has the laptop's kernel use both links.
func (h *household) speakMultipath() error {
	second := laptopLinks[1]
	return errors.Join(
		h.laptop.ip("route add default via "+second.v4+"1 dev "+second.device+" table 201", "rule add from "+second.v4+"2 table 201"),
		run("ip", "-n", h.laptop.name, "mptcp", "limits", "set", "add_addr_accepted", "4", "subflows", "4"),
		run("ip", "-n", h.laptop.name, "mptcp", "endpoint", "add", second.v4+"2", "dev", second.device, "subflow", "fullmesh"))
}

// curlMoved is how long curl took, if it got what it should.
func curlMoved(said saying, err error, right bool) (time.Duration, error) {
	switch {
	case err != nil:
		return 0, err
	case said.code != 0:
		return 0, fmt.Errorf("curl ended with %d: %s", said.code, said.err)
	case !right:
		return 0, errors.New("wrong digest")
	}
	return curlTook(said)
}

// askedBy is who the web host is asked by, with Multipath TCP.
func (h *household) askedBy(ctx context.Context) (string, error) {
	out, err := h.must(ctx, h.laptop, "mptcpize", "run", "curl", "-sS", url(webHost, "/who"))
	return strings.TrimSpace(out), err
}

func asksAs(want string) func(context.Context, *household) (string, error) {
	return func(ctx context.Context, h *household) (string, error) {
		got, err := h.askedBy(ctx)
		if err == nil && got != want {
			err = fmt.Errorf("asked by %s, not %s", got, want)
		}
		return got, err
	}
}

// announced: the laptop's kernel was told of the proxy's address, and has joined it.
func announced(ctx context.Context, h *household) (string, error) {
	grown, err := growth(ctx, h.laptop, func() error {
		_, err := h.must(ctx, h.laptop, "mptcpize", "run", "curl", "-sS", "-o", "/dev/null", url(webHost, "/octets/10/%d", 20_000_000))
		return err
	})
	if err != nil {
		return "", err
	}
	figure := fmt.Sprintf("MP_CAPABLE %d, ADD_ADDR %d, MP_JOIN %d", grown["MPCapableSYNACKRX"], grown["AddAddr"], grown["MPJoinSynAckRx"])
	return figure, grown.check([]string{"MPCapableSYNACKRX", "AddAddr", "MPJoinSynAckRx"}, nil)
}

// refusedBehind: who cannot be connected to says so itself.
func refusedBehind(ctx context.Context, h *household) (string, error) {
	said, err := h.ask(ctx, h.laptop, "mptcpize", "run", "curl", "-sS", "http://"+net.JoinHostPort(webHost, strconv.Itoa(deafPort)))
	switch {
	case err != nil:
	case said.code != 7:
		err = fmt.Errorf("curl ended with %d: %s", said.code, said.err)
	case said.took > time.Second:
		err = errors.New("too late")
	}
	return fmt.Sprintf("%d ms", said.took.Milliseconds()), err
}

// stepsAside: a server that speaks Multipath TCP is the laptop's own business, from its first connection on. The proxy asks it
// once, and knows then.
func stepsAside(ctx context.Context, h *household) (figure string, err error) {
	if err := h.serveAgain(ctx, true); err != nil {
		return "", err
	}
	defer h.serveAgain(ctx, false)
	var w wrong
	for i, want := range []int64{2, 1} {
		var by string
		grown, err := growth(ctx, h.web, func() (err error) {
			by, err = asksAs(laptopLinks[0].v4+"2")(ctx, h)
			return err
		})
		if err != nil {
			return by, err
		}
		asked := grown["MPCapableSYNRX"]
		figure += fmt.Sprintf(", %s and %d of the proxy", by, asked-1)
		w.unless(asked == want, "%d MP_CAPABLE for connection %d, not %d", asked, i+1, want)
	}
	return strings.TrimPrefix(figure, ", "), w.err()
}
