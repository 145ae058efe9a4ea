package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sumRate is what both of the laptop's links carry together, and the share of it that one connection gets.
const (
	sumRate   = 80e6
	sumShare  = 0.88
	transfer  = 200e6 // octets
	octetBits = 8
)

// runE2E tries hub and client, as people run them, with real programs.
func runE2E(ctx context.Context, t *table, only string) error {
	return runStages(ctx, t, only, atHome("", trials()))
}

func trials() []trial {
	list := []trial{
		{"curl, 200 MB down", fmt.Sprintf("≥ %.1f Mbit/s, digest", sumShare*sumRate/1e6), download},
		{"curl, 200 MB up", fmt.Sprintf("≥ %.1f Mbit/s, digest", sumShare*sumRate/1e6), upload},
		{"curl, 20 MB over IPv6", "digest", download6},
		{"page of 60 objects", "every digest", page},
		{"iperf3 TCP, down", "≥ 64 Mbit/s", iperfTCP("-R")},
		{"iperf3 TCP, up", "≥ 64 Mbit/s", iperfTCP()},
		{"iperf3 UDP at 20 Mbit/s, down", "≤ 1 % lost", iperfUDP("-R")},
		{"iperf3 UDP at 20 Mbit/s, up", "≤ 1 % lost", iperfUDP()},
		{"HTTP/3, 20 MB down", "digest", quic(webHost)},
		{"HTTP/3, 20 MB down, IPv6", "digest", quic(web6Hst)},
		{"ping", "none of 10 lost", ping(webHost)},
		{"ping, IPv6", "none of 10 lost", ping(web6Hst)},
		{"ping, 10 at once", "none of 10 lost", pingAtOnce},
		{"ping of 3000 octets", "none of 3 lost", pingLarge},
		{"traceroute", "hub, router, target", traceroute(webHost)},
		{"traceroute, ICMP", "hub, router, target", tracerouteICMP},
		{"traceroute, IPv6", "hub, router, target", traceroute(web6Hst, "-6")},
		{"dig through the hub, UDP", "the address", dig("A", webHost)},
		{"dig through the hub, TCP", "the address", dig("AAAA", web6Hst, "+tcp")},
		{"dig at another server", "the address", dig("A", webHost, "@"+resolver)},
		{"dig for a private answer", "none", digPrivate},
		{"NAT on both links", "the hub sees the router", translated},
		{"half-close, the client first", "digest of all", halfClose},
		{"half-close, the server first", "digests of both", halfCloseServer},
		{"refused", "at once", fails(webHost, deafPort, 7, time.Second)},
		{"refused, IPv6", "at once", fails(web6Hst, deafPort, 7, time.Second)},
		{"unreachable", "at once", fails(unreachable, 80, 7, 2*time.Second)},
		{"black-holed", "≤ 31 s", fails(blackHole, 80, 7, 31*time.Second)},
		{"reset in mid-transfer", "an error, no end", resetMidway},
		{"500 downloads beside 5 000 idle connections", "none lost", crowd},
		{"one link cut and returned under everything", "nothing breaks, stall ≤ 1 s", cutUnderLoad},
	}
	return slices.Concat(list, second(), households())
}

// share judges a transfer of that many octets.
func share(octets float64, took time.Duration) (figure string, err error) {
	rate := octets * octetBits / took.Seconds()
	figure = fmt.Sprintf("%.1f Mbit/s, %.3f of the sum", rate/1e6, rate/sumRate)
	if rate < sumShare*sumRate {
		err = errors.New("too slow")
	}
	return figure, err
}

func download(ctx context.Context, h *household) (string, error) {
	took, err := h.fetch(ctx, webHost, 3, transfer)
	if err != nil {
		return "", err
	}
	return share(transfer, took)
}

func download6(ctx context.Context, h *household) (string, error) {
	took, err := h.fetch(ctx, web6Hst, 4, 20e6)
	return fmt.Sprintf("%.1f Mbit/s", 20e6*octetBits/took.Seconds()/1e6), err
}

// fetch has curl download octets of a seed, and checks their digest.
func (h *household) fetch(ctx context.Context, host string, seed byte, n int64) (time.Duration, error) {
	said, err := h.ask(ctx, h.laptop, "bash", "-c", "set -o pipefail; curl -sS "+timed+url(host, "/octets/%d/%d", seed, n)+" | sha256sum")
	if err == nil && said.code != 0 {
		err = fmt.Errorf("curl ended with %d: %s", said.code, said.err)
	}
	if err == nil && !strings.HasPrefix(said.out, digest(seed, n)) {
		err = errors.New("wrong digest")
	}
	if err != nil {
		return 0, err
	}
	return curlTook(said)
}

// timed has curl tell how long a transfer took, the start of programs left out.
const timed = "-w '%{stderr}%{time_total}' "

func curlTook(said saying) (time.Duration, error) {
	took, err := time.ParseDuration(said.err + "s")
	if err == nil && took <= 0 {
		err = fmt.Errorf("curl took %v", took)
	}
	return took, err
}

func upload(ctx context.Context, h *household) (string, error) {
	took, err := h.push(ctx, transfer)
	if err != nil {
		return "", err
	}
	return share(transfer, took)
}

// push has curl upload octets, and checks the digest of what came.
func (h *household) push(ctx context.Context, n int64) (time.Duration, error) {
	said, err := h.ask(ctx, h.laptop, "bash", "-c", fmt.Sprintf("head -c %d /dev/zero | curl -sS %s-H Expect: -T - -X POST %s", n, timed, url(webHost, "/sink")))
	if want := fmt.Sprintf("%d %s", n, zeroDigest(n)); err == nil && (said.code != 0 || strings.TrimSpace(said.out) != want) {
		err = fmt.Errorf("curl ended with %d: %s%s", said.code, said.out, said.err)
	}
	if err != nil {
		return 0, err
	}
	return curlTook(said)
}

// page has curl fetch objects of 5 to 200 kB as a browser does.
func page(ctx context.Context, h *household) (string, error) {
	const objects, atOnce = 60, 6
	args := []string{"curl", "-sS", "-Z", "--parallel-max", strconv.Itoa(atOnce)}
	size := func(i int) int64 { return 5_000 + int64(i)*195_000/(objects-1) }
	for i := range objects {
		args = append(args, "-o", h.file(fmt.Sprintf("object%d", i)), url(webHost, "/octets/%d/%d", i, size(i)))
	}
	said, err := h.ask(ctx, h.laptop, args...)
	if err == nil && said.code != 0 {
		err = fmt.Errorf("curl ended with %d: %s", said.code, said.err)
	}
	for i := range objects {
		name := h.file(fmt.Sprintf("object%d", i))
		if err == nil {
			err = sameDigest(name, digest(byte(i), size(i)))
		}
		os.Remove(name)
	}
	return fmt.Sprintf("%.0f ms", said.took.Seconds()*1000), err
}

func iperfTCP(args ...string) func(context.Context, *household) (string, error) {
	return func(ctx context.Context, h *household) (string, error) {
		r, err := h.iperf(ctx, append([]string{"-t", "10"}, args...)...)
		rate := r.End.Received.BitsPerSecond
		if err == nil && rate < 64e6 {
			err = errors.New("too slow")
		}
		return fmt.Sprintf("%.1f Mbit/s", rate/1e6), err
	}
}

func iperfUDP(args ...string) func(context.Context, *household) (string, error) {
	return func(ctx context.Context, h *household) (string, error) {
		r, err := h.iperf(ctx, append([]string{"-u", "-b", "20M", "-l", "1200", "-t", "10"}, args...)...)
		s := r.End.Sum
		if err == nil && (s.Lost > 1 || s.Packets == 0) {
			err = errors.New("too many lost")
		}
		return fmt.Sprintf("%.2f %% of %d lost, jitter %.2f ms", s.Lost, s.Packets, s.Jitter), err
	}
}

// An iperf is what iperf3 -J says, as far as the lab looks.
type iperf struct {
	Error string
	End   struct {
		Received struct {
			BitsPerSecond float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		Sum struct {
			Lost    float64 `json:"lost_percent"`
			Packets int
			Jitter  float64 `json:"jitter_ms"`
		}
	}
}

func (h *household) iperf(ctx context.Context, args ...string) (r iperf, err error) {
	said, err := h.ask(ctx, h.laptop, append([]string{"iperf3", "-J", "-c", webHost}, args...)...)
	if err == nil {
		err = json.Unmarshal([]byte(said.out), &r)
	}
	if err == nil && r.Error != "" {
		err = errors.New(r.Error)
	}
	return r, err
}

func quic(host string) func(context.Context, *household) (string, error) {
	return func(ctx context.Context, h *household) (string, error) {
		const n = 20e6
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		a, err := h.perform(ctx, h.laptop, task{Kind: "quic", URL: fmt.Sprintf("https://%s/octets/5/%d", host, int64(n))})
		if err == nil && a.Digest != digest(5, n) {
			err = errors.New("wrong digest")
		}
		return fmt.Sprintf("%.1f Mbit/s", n*octetBits/a.Elapsed.Seconds()/1e6), err
	}
}

func ping(host string) func(context.Context, *household) (string, error) {
	return func(ctx context.Context, h *household) (string, error) {
		return h.ping(ctx, host, "-c", "10", "-i", "0.2")
	}
}

func pingAtOnce(ctx context.Context, h *household) (string, error) {
	return h.ping(ctx, webHost, "-c", "10", "-l", "10")
}

func pingLarge(ctx context.Context, h *household) (string, error) {
	return h.ping(ctx, webHost, "-c", "3", "-i", "0.2", "-s", "3000")
}

// ping returns the last line of ping, which tells round trips. No reply may be missing.
func (h *household) ping(ctx context.Context, host string, args ...string) (string, error) {
	out, err := h.must(ctx, h.laptop, append([]string{"ping", "-n", "-W", "2", host}, args...)...)
	if err == nil && !strings.Contains(out, " 0% packet loss") {
		err = errors.New("replies are missing")
	}
	said := strings.Split(strings.TrimSpace(out), "\n")
	_, figure, _ := strings.Cut(said[len(said)-1], "= ")
	return figure, err
}

// traceroute must show the hub, the router behind it, and the target.
func traceroute(target string, args ...string) func(context.Context, *household) (string, error) {
	return func(ctx context.Context, h *household) (string, error) {
		hops, err := h.hops(ctx, target, append([]string{"-m", "5"}, args...)...)
		if err != nil {
			return "", err
		}
		router, last := hub4+"1", len(hops)-1
		if strings.Contains(target, ":") {
			router = hub6 + "1"
		}
		if last != 2 || hops[1] != router || hops[last] != target {
			err = errors.New("not that way")
		}
		return strings.Join(hops, " "), err
	}
}

// tracerouteICMP asks for one hop at a time. All probes of traceroute -I share a socket, and Linux puts an
// ICMP error into that socket's queue before it sets SO_ERROR. If traceroute reads the queue in between, poll
// goes on telling of an error, traceroute looks for it in the empty queue, and takes no reply any more.
func tracerouteICMP(ctx context.Context, h *household) (string, error) {
	way := []string{hubInside, hub4 + "1", webHost}
	for i, want := range way {
		ttl := strconv.Itoa(i + 1)
		hops, err := h.hops(ctx, webHost, "-I", "-f", ttl, "-m", ttl)
		if err == nil && !slices.Equal(hops, []string{want}) {
			err = fmt.Errorf("hop %s is %s", ttl, strings.Join(hops, " "))
		}
		if err != nil {
			return "", err
		}
	}
	return strings.Join(way, " "), nil
}

// hops returns what traceroute shows: of each hop who answered first, or an asterisk.
func (h *household) hops(ctx context.Context, target string, args ...string) (hops []string, err error) {
	out, err := h.must(ctx, h.laptop, append([]string{"traceroute", "-n", "-q", "1", "-w", "2", target}, args...)...)
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n")[1:] {
		if fields := strings.Fields(line); len(fields) > 1 {
			hops = append(hops, fields[1])
		}
	}
	return hops, nil
}

func dig(kind, want string, args ...string) func(context.Context, *household) (string, error) {
	return func(ctx context.Context, h *household) (string, error) {
		out, err := h.must(ctx, h.laptop, append([]string{"dig", "+short", "+tries=1", "+time=3", webName, kind}, args...)...)
		// What comes before is about queries that had no answer.
		said := strings.Split(strings.TrimSpace(out), "\n")
		got := said[len(said)-1]
		if err == nil && got != want {
			err = fmt.Errorf("%q", out)
		}
		return got, err
	}
}

func digPrivate(ctx context.Context, h *household) (string, error) {
	out, err := h.must(ctx, h.laptop, "dig", "+short", "+tries=1", "+time=3", privateName, "A")
	if err == nil && strings.TrimSpace(out) != "" {
		err = fmt.Errorf("%q", out)
	}
	return "no answer", err
}

// translated: the hub knows the laptop by the router's address on both links.
func translated(ctx context.Context, h *household) (string, error) {
	out, err := h.hubVerb(ctx, "devices", "--json")
	if n := strings.Count(out, hub4+"1:"); err == nil && n < 2 {
		err = fmt.Errorf("the hub says %s", strings.TrimSpace(out))
	}
	return "", err
}

func halfClose(ctx context.Context, h *household) (string, error) {
	const n = 5e6
	a, err := h.perform(ctx, h.laptop, task{Kind: "half", Address: webHost + ":" + strconv.Itoa(answerPort), Seed: 6, Octets: n})
	if want := fmt.Sprintf("%d %s", int64(n), digest(6, n)); err == nil && strings.TrimSpace(a.Digest) != want {
		err = fmt.Errorf("answer is %q", a.Digest)
	}
	return "", err
}

func halfCloseServer(ctx context.Context, h *household) (string, error) {
	const n = 5e6
	a, err := h.perform(ctx, h.laptop, task{Kind: "late", Address: webHost + ":" + strconv.Itoa(speakPort), Seed: 7, Octets: n})
	if err == nil && a.Digest != digest(1, spoken) {
		err = errors.New("wrong digest of what the server said")
	}
	if err != nil {
		return "", err
	}
	heard, err := h.must(ctx, h.laptop, "curl", "-sS", url(webHost, "/heard"))
	if err == nil && strings.TrimSpace(heard) != digest(7, n) {
		err = errors.New("wrong digest of what the server heard")
	}
	return "", err
}

// fails: curl gives up with that code, in time.
func fails(host string, port, code int, within time.Duration) func(context.Context, *household) (string, error) {
	return func(ctx context.Context, h *household) (string, error) {
		at := host
		if strings.Contains(host, ":") {
			at = "[" + host + "]"
		}
		said, err := h.ask(ctx, h.laptop, "curl", "-sS", "-g", fmt.Sprintf("http://%s:%d/", at, port))
		if err == nil && said.code != code {
			err = fmt.Errorf("curl ended with %d, not %d: %s", said.code, code, said.err)
		}
		if err == nil && said.took > within {
			err = errors.New("too late")
		}
		return fmt.Sprintf("%.0f ms", said.took.Seconds()*1000), err
	}
}

func resetMidway(ctx context.Context, h *household) (string, error) {
	said, err := h.ask(ctx, h.laptop, "curl", "-sS", "--http0.9", "-o", "/dev/null", fmt.Sprintf("http://%s:%d/", webHost, cutPort))
	const received = 56 // failure with receiving network data
	if err == nil && said.code != received {
		err = fmt.Errorf("curl ended with %d: %s", said.code, said.err)
	}
	return fmt.Sprintf("%.0f ms", said.took.Seconds()*1000), err
}

func crowd(ctx context.Context, h *household) (string, error) {
	a, err := h.perform(ctx, h.laptop, task{Kind: "crowd", Idle: 5000, Busy: 500, Octets: 200_000, Seed: 8,
		Address: webHost + ":" + strconv.Itoa(echoPort), URL: url(webHost, "/octets/8/200000")})
	figure := fmt.Sprintf("%d lost in %.1f s", a.Lost, a.Elapsed.Seconds())
	for _, j := range []*job{h.hubJob, h.clientJob} {
		n, memoryErr := j.memory()
		err = errors.Join(err, memoryErr)
		figure += fmt.Sprintf(", %s %d MiB", j.name, n>>20)
	}
	return figure, err
}
