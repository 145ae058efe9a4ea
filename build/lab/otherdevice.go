package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// second are the trials with another device: an ordinary user who reaches the hub over IPv6 and whose
// programs ask a proxy.
func second() []trial {
	return []trial{
		{"SOCKS5 and HTTP CONNECT, no root, IPv6 outside", "the hub asks", proxies},
		{"what the hub must not reach", "prohibited, at once", denied},
		{"one device at its limits", "the other keeps 90 %", limits},
	}
}

const socks = "127.0.0.1:1080"

// withDevice joins the other device, runs its daemon as an ordinary user, and calls f.
func (h *household) withDevice(ctx context.Context, f func() (string, error)) (figure string, err error) {
	state, socket := h.path("other"), h.path("other", "socket")
	if err := os.Mkdir(state, 0o700); err != nil {
		return "", err
	}
	defer os.RemoveAll(state)
	if err := os.Chown(state, 65534, 65534); err != nil {
		return "", err
	}
	code, err := h.invite(ctx, "other")
	if err != nil {
		return "", err
	}
	defer h.hubVerb(ctx, "revoke", "other")
	if _, err := h.must(ctx, h.other, h.asNobody("tandem", "join", "--state", state, code)...); err != nil {
		return "", err
	}
	j, err := h.start(h.other, "other", h.asNobody("tandem", "run", "--state", state, "--socket", socket, "--links", "eth0", "--socks", socks)...)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, j.stop()) }()
	err = h.until(ctx, func() error {
		if j.over() {
			return fmt.Errorf("the other client ended: %s", j.tail())
		}
		out, err := h.must(ctx, h.other, h.path("tandem"), "status", "--json", "--socket", socket)
		if err == nil && !strings.Contains(out, `"connected"`) {
			err = errors.New("the other client is not connected")
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return f()
}

func proxies(ctx context.Context, h *household) (string, error) {
	return h.withDevice(ctx, func() (string, error) {
		var all []string
		for _, args := range [][]string{
			{"--socks5", socks, url(webHost, "/who")},
			{"--socks5-hostname", socks, "http://web.test/who"},
			{"-p", "-x", "http://" + socks, url(webHost, "/who")},
			{"-g", "--socks5", socks, url(web6Hst, "/who")},
		} {
			out, err := h.must(ctx, h.other, append([]string{"curl", "-sS"}, args...)...)
			if err != nil {
				return "", err
			}
			who := strings.TrimSpace(out)
			if who != hubHost && who != hub6+"2" {
				return "", fmt.Errorf("%v: asked by %s", args, who)
			}
			all = append(all, who)
		}
		return strings.Join(all, " "), nil
	})
}

// deniedTargets is a target for every row of what the hub must not reach, where something could listen.
var deniedTargets = []string{
	"0.0.0.1:80", "127.0.0.1:80", "169.254.1.1:80", "224.0.0.1:80", "255.255.255.255:80",
	hubHost + ":80", hub4 + "1:80", "198.18.0.99:80", "10.1.1.1:80", "172.16.1.1:80", "192.168.1.1:80", "100.64.1.1:80",
	"[::1]:80", "[::]:80", "[fe80::1]:80", "[ff02::1]:80", "[fc00::1]:80", "[" + hub6 + "2]:80", "[" + hub6 + "1]:80",
	"[64:ff9b::7f00:1]:80", "[64:ff9b::a01:101]:80", "[2002:7f00:1::1]:80", "[2002:a01:101::1]:80", "[::ffff:127.0.0.1]:80", "[::ffff:10.1.1.1]:80",
	webHost + ":25",
}

func denied(ctx context.Context, h *household) (string, error) {
	return h.withDevice(ctx, func() (string, error) {
		const proxyRefused = 97
		for _, target := range deniedTargets {
			said, err := h.ask(ctx, h.other, "curl", "-sS", "-g", "-m", "5", "--socks5", socks, "http://"+target+"/")
			if err != nil {
				return "", err
			}
			if said.code != proxyRefused || !strings.Contains(said.err, "(2)") || said.took > time.Second {
				return "", fmt.Errorf("%s: curl ended with %d after %v: %s", target, said.code, said.took.Round(time.Millisecond), said.err)
			}
		}
		return fmt.Sprintf("%d targets", len(deniedTargets)), nil
	})
}

func limits(ctx context.Context, h *household) (string, error) {
	const n = 80e6
	return h.withDevice(ctx, func() (string, error) {
		alone, err := h.fetch(ctx, webHost, 14, n)
		if err != nil {
			return "", err
		}
		flood, err := h.helper(h.other, "flood", task{Kind: "flood", URL: socks, Address: webHost + ":" + strconv.Itoa(echoPort)})
		if err != nil {
			return "", err
		}
		defer flood.stop()
		if err := flood.await(ctx, "full"); err != nil {
			return "", err
		}
		beside, err := h.fetch(ctx, webHost, 14, n)
		if err != nil {
			return "", err
		}
		kept := alone.Seconds() / beside.Seconds()
		if kept < 0.9 {
			err = errors.New("too slow")
		}
		return fmt.Sprintf("keeps %.0f %%", 100*kept), err
	})
}
