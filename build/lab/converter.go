package lab

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tandem/engine/clock"
	"tandem/engine/sim"
	"tandem/engine/wire"
)

// The web host has another address that is far from all, on a link of its own, which answers do not take.
const (
	away4, away6 = "198.51.99.", "2001:db8:99::"
	awayDevice   = "away"
)

// recording is for what was seen last to be written down.
const recording = 500 * time.Millisecond

var away = sim.Conditions{Rate: 50e6, Delay: 40 * time.Millisecond, QueueTime: 60 * time.Millisecond, MTU: 1500}

// tripAway is a round trip from the laptop to there, over its faster link.
var tripAway = 2*laptopLinks[0].conditions.Delay + away.Delay

// moveAway makes that link.
func (h *household) moveAway() (comeBack func(), err error) {
	there, err := plugAs(h.web, awayDevice, away4, away6, "2", away.MTU)
	if err != nil {
		return nil, err
	}
	here, err := plugAs(h.net, awayDevice, away4, away6, "1", away.MTU)
	if err != nil {
		there.close()
		return nil, err
	}
	return newDuctBetween(away, clock.System(), here, there, nil).close, nil
}

// connectsAtOnce: a connection through the converter takes the round trip to the server and no other, for what is asked is there
// before the handshake with the converter is over. Of several the best counts: the laptop may begin on its slower link.
func connectsAtOnce(ctx context.Context, h *household) (string, error) {
	comeBack, err := h.moveAway()
	if err != nil {
		return "", err
	}
	defer comeBack()
	best := time.Hour
	for range 8 {
		out, err := h.must(ctx, h.laptop, "curl", "-sS", "-o", "/dev/null", "-w", "%{time_connect}", url(away4+"2", "/who"))
		if err != nil {
			return "", err
		}
		seconds, err := strconv.ParseFloat(out, 64)
		if err != nil {
			return "", err
		}
		best = min(best, time.Duration(seconds*float64(time.Second)))
	}
	var w wrong
	w.unless(best >= tripAway, "that cannot be")
	w.unless(best <= tripAway*6/5, "too late")
	return fmt.Sprintf("%.2f of %d ms", best.Seconds()/tripAway.Seconds(), tripAway.Milliseconds()), w.err()
}

// askedOnce: a SYN that asks for a server comes twice, and the server is connected to once.
func askedOnce(ctx context.Context, h *household) (string, error) {
	// As translated: after that.
	const asks = "tcp flags & (syn | ack) == syn tcp dport 8803"
	err := h.net.nft(`table ip twice {
		counter syns { }
		chain out { type filter hook postrouting priority 300; ` + asks + ` counter name syns dup to ` + hubHost + ` device "hub"; }
	}`)
	if err != nil {
		return "", err
	}
	defer h.net.nft("delete table ip twice")
	var got int
	grown, err := growth(ctx, h.web, func() error {
		file, stop, err := h.wiretapAt(ctx, h.hub, "eth0")
		if err != nil {
			return err
		}
		_, err = whoAsks(hubHost)(ctx, h)
		if err := errors.Join(err, sleep(ctx, recording), stop()); err != nil {
			return err
		}
		all, err := sightsOf(ctx, file, "tcp.dstport == 8803")
		got = len(those(all, func(s sight) bool { return s.asks() && s.has(subCapable) && s.octets > 0 }))
		return err
	})
	if err != nil {
		return "", err
	}
	sent := grown["TcpPassiveOpens"]
	var w wrong
	w.unless(got >= 2, "the SYN did not come twice")
	w.unless(sent == 1, "the server was not asked once")
	return fmt.Sprintf("SYNs with a request %d, connections of the server %d", got, sent), w.err()
}

// nobodyAsks: a client of which the converter hears no more than a SYN, as if another had sent it in that name, has its target
// sent one SYN, however long that is silent.
func nobodyAsks(ctx context.Context, h *household) (string, error) {
	err := h.net.nft(fmt.Sprintf(`table ip mute {
		counter asked { }
		chain in { type filter hook prerouting priority 0;
			tcp dport %d tcp flags & syn == 0 drop
			iifname "hub" ip daddr %s tcp flags & syn == syn counter name asked
		}
	}`, convertPort, blackHole))
	if err != nil {
		return "", err
	}
	defer h.net.nft("delete table ip mute")
	if _, err := h.ask(ctx, h.laptop, "curl", "-sS", "--max-time", "5", url(blackHole, "/who")); err != nil {
		return "", err
	}
	out, err := h.must(ctx, h.net, "nft", "list", "counter", "ip", "mute", "asked")
	if err == nil && !strings.Contains(out, "packets 1 ") {
		err = fmt.Errorf("%q", strings.Join(strings.Fields(out), " "))
	}
	return "one SYN in 5 s", err
}

// teardown: what ends on one side of the converter ends on the other as it should (RFC 8803 4.2, 5.1).
func teardown(ctx context.Context, h *household) (string, error) {
	var figures []string
	for _, f := range []func(context.Context, *household) (string, error){clientResets, serverResets, serverVanishes, subflowResets} {
		figure, err := f(ctx, h)
		if figures = append(figures, figure); err != nil {
			return strings.Join(figures, ", "), err
		}
	}
	return strings.Join(figures, ", "), nil
}

// clientResets: an application that leaves with octets unread resets its connection, and the server's is reset too.
func clientResets(ctx context.Context, h *household) (string, error) {
	file, stop, err := h.wiretapAt(ctx, h.web, "eth0")
	if err != nil {
		return "", err
	}
	grown, err := growth(ctx, h.hub, func() error {
		_, err := h.must(ctx, h.laptop, "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d; echo hello >&3; sleep 1", webHost, echoPort))
		return errors.Join(err, sleep(ctx, recording))
	})
	if err := errors.Join(err, stop()); err != nil {
		return "", err
	}
	all, err := sightsOf(ctx, file, fmt.Sprintf("ip.src == %s && tcp.dstport == %d", hubHost, echoPort))
	if err != nil {
		return "", err
	}
	resets := len(those(all, func(s sight) bool { return s.flags.Has(wire.RST) }))
	var w wrong
	w.unless(resets > 0 && grown["MPFastcloseRx"] > 0, "client's reset: MP_FASTCLOSE %d, then RST %d", grown["MPFastcloseRx"], resets)
	return fmt.Sprintf("client's: RST %d", resets), w.err()
}

func serverResets(ctx context.Context, h *household) (string, error) {
	figure, err := resetIdle(ctx, h)
	return "server's: " + figure, err
}

// serverVanishes: the proxy's kernel gives the server up, and the client hears of an error.
func serverVanishes(ctx context.Context, h *household) (string, error) {
	if err := h.hub.sysctl("net.ipv4.tcp_retries2=3"); err != nil {
		return "", err
	}
	defer h.hub.sysctl("net.ipv4.tcp_retries2=15")
	defer h.web.nft("table ip gone { }\ndelete table ip gone")
	grown, err := growth(ctx, h.hub, func() error {
		j, err := h.start(h.laptop, "vanishing", "bash", "-c",
			fmt.Sprintf("exec 3<>/dev/tcp/%s/%d; echo hello >&3; read -u 3 x; echo heard; sleep 2; echo more >&3; cat <&3", webHost, echoPort))
		if err != nil {
			return err
		}
		defer j.kill()
		err = j.await(ctx, "heard")
		if err == nil {
			err = h.web.nft(fmt.Sprintf("table ip gone { chain in { type filter hook input priority 0; tcp dport %d drop; }; }", echoPort))
		}
		if err != nil {
			return err
		}
		select {
		case <-j.done:
		case <-ctx.Done():
			return errors.New("the client waits for a server that is gone")
		}
		if j.err == nil {
			return errors.New("the client heard of an end, not of an error")
		}
		return nil
	})
	if err == nil && grown["MPFastcloseTx"] == 0 {
		err = errors.New("server's timeout: MPFastcloseTx is 0")
	}
	return fmt.Sprintf("timeout: MP_FASTCLOSE %d", grown["MPFastcloseTx"]), err
}

// subflowResets: one of the subflows is reset, for both ends, in the middle of a download.
func subflowResets(ctx context.Context, h *household) (string, error) {
	reset := make(chan error, 1)
	defer h.net.nft("table ip resets { }\ndelete table ip resets")
	grown, err := growth(ctx, h.hub, func() error {
		go func() {
			err := sleep(ctx, 1500*time.Millisecond)
			err = errors.Join(err, h.net.nft(fmt.Sprintf(`table ip resets { chain pass { type filter hook forward priority 0;
				iifname "%[1]s" tcp dport %[2]d reject with tcp reset
				oifname "%[1]s" tcp sport %[2]d reject with tcp reset
			}
			}`, laptopLinks[1].device, convertPort)), sleep(ctx, time.Second))
			reset <- errors.Join(err, h.net.nft("delete table ip resets"))
		}()
		_, err := h.fetch(ctx, webHost, 9, 40e6)
		return errors.Join(err, <-reset)
	})
	if err != nil {
		return "", err
	}
	n := grown["TcpEstabResets"]
	var w wrong
	w.unless(n > 0, "no subflow was reset")
	return fmt.Sprintf("subflows reset %d", n), w.err()
}
