package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// households are the trials that change the household: they leave it as they found it.
func households() []trial {
	return []trial{
		{"link gone and back under a download", "≤ 1 s each, digest", linkGone},
		{"address changes under a download", "≤ 1 s, digest", addressChange},
		{"hub restart", "reset, then back ≤ 3 s", hubRestart},
		{"invite replayed", "refused", replay},
		{"mistyped code", "refused", mistyped},
		{"second daemon", "refused", secondDaemon},
		{"split tunnel", "only the named prefix", splitTunnel},
		{"everything undone at exit", "rules, routes, DNS as before", undone},
		{"README.md, each command", "as it says", readmeSteps},
		{"revoked device", "said so, nothing passes", revoked},
		{"check with nothing set up", "says what is missing, touches nothing", check},
	}
}

func hubRestart(ctx context.Context, h *household) (string, error) {
	transferring := make(chan saying, 1)
	begun, err := h.helperFetch(ctx, transferring)
	if err != nil {
		return "", err
	}
	<-begun
	h.hubJob.kill()
	killed := time.Now()
	if err := h.startHub(ctx); err != nil {
		return "", err
	}
	started := time.Now()
	err = h.until(ctx, func() error {
		quick, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		_, err := h.must(quick, h.laptop, "curl", "-sS", "-m", "0.5", url(webHost, "/who"))
		return err
	})
	back := time.Since(started)
	if err != nil {
		return "", err
	}
	select {
	case said := <-transferring:
		if said.code == 0 {
			return "", errors.New("the transfer looks whole")
		}
	case <-ctx.Done():
		return "", errors.New("the transfer hangs")
	}
	if back > 3*time.Second {
		err = errors.New("too late")
	}
	return fmt.Sprintf("back after %.1f s, %.1f s after the kill", back.Seconds(), time.Since(killed).Seconds()), err
}

// helperFetch starts a long download; begun is closed once octets flow.
func (h *household) helperFetch(ctx context.Context, done chan<- saying) (begun <-chan struct{}, err error) {
	started := make(chan struct{})
	before := h.forwarded()
	go func() {
		said, _ := h.ask(ctx, h.laptop, "curl", "-sS", "-o", "/dev/null", url(webHost, "/octets/9/%d", int64(transfer)))
		done <- said
	}()
	go func() {
		defer close(started)
		h.until(ctx, func() error {
			if now := h.forwarded(); now[0]+now[1] < before[0]+before[1]+4<<20 {
				return errors.New("nothing flows")
			}
			return nil
		})
	}()
	return started, nil
}

// cutUnderLoad silences Wi-Fi under everything that people do at once, and lets it return.
func cutUnderLoad(ctx context.Context, h *household) (string, error) {
	lost := 0
	all := []struct {
		what string
		run  func() error
	}{
		{"curl down", func() error { _, err := h.fetch(ctx, webHost, 11, 30e6); return err }},
		{"curl up", func() error { _, err := h.push(ctx, 10e6); return err }},
		{"curl, IPv6", func() error { _, err := h.fetch(ctx, web6Hst, 12, 10e6); return err }},
		{"page", func() error { _, err := page(ctx, h); return err }},
		{"HTTP/3", func() error { _, err := quic(webHost)(ctx, h); return err }},
		{"dig", func() error {
			return h.during(7*time.Second, func() error { _, err := dig("A", webHost, "+tries=3", "+time=1")(ctx, h); return err })
		}},
		{"traceroute", func() error { _, err := traceroute(webHost, "-q", "3")(ctx, h); return err }},
		{"ping", func() (err error) { lost, err = h.pingThrough(ctx); return err }},
		{"iperf3 UDP", func() error {
			r, err := h.iperf(ctx, "-u", "-b", "2M", "-l", "1000", "-t", "8", "-R")
			if err == nil && r.End.Sum.Lost > 15 {
				err = fmt.Errorf("%.1f %% lost", r.End.Sum.Lost)
			}
			return err
		}},
	}
	results := make(chan error, len(all))
	for _, one := range all {
		go func() {
			err := one.run()
			if err != nil {
				err = fmt.Errorf("%s: %w", one.what, err)
			}
			results <- err
		}()
	}
	cutting := time.AfterFunc(2*time.Second, func() { h.silence(true, 0) })
	returning := time.AfterFunc(5*time.Second, func() { h.silence(false, 0) })
	defer cutting.Stop()
	defer returning.Stop()
	defer h.silence(false, 0)
	var err error
	for range all {
		err = errors.Join(err, <-results)
	}
	if err == nil && lost > 10 {
		err = errors.New("pings stopped for more than a second")
	}
	if err == nil {
		err = h.connected(ctx, "wlan0", "wwan0")
	}
	return fmt.Sprintf("%d of 80 pings lost", lost), err
}

// during runs f again and again for a time.
func (h *household) during(length time.Duration, f func() error) error {
	for end := time.Now().Add(length); time.Now().Before(end); {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// pingThrough pings for 8 s and returns how many replies are missing.
func (h *household) pingThrough(ctx context.Context) (lost int, err error) {
	out, err := h.must(ctx, h.laptop, "ping", "-n", "-q", "-c", "80", "-i", "0.1", webHost)
	for line := range strings.Lines(out) {
		var sent, received int
		if n, _ := fmt.Sscanf(line, "%d packets transmitted, %d received", &sent, &received); n == 2 {
			return sent - received, err
		}
	}
	return 0, errors.Join(err, errors.New("ping says nothing"))
}

// beside runs f while curl downloads, and wants both to succeed.
func (h *household) beside(ctx context.Context, seed byte, n int64, f func() error) error {
	fetched := make(chan error, 1)
	go func() {
		_, err := h.fetch(ctx, webHost, seed, n)
		fetched <- err
	}()
	return errors.Join(f(), <-fetched)
}

// linkGone takes the device of the second link down and up again.
func linkGone(ctx context.Context, h *household) (string, error) {
	l := laptopLinks[1]
	var gone, back time.Duration
	err := h.beside(ctx, 15, 50e6, func() error {
		if err := h.laptop.ip("link set " + l.device + " down"); err != nil {
			return err
		}
		start := time.Now()
		if err := h.connected(ctx, "wlan0"); err != nil {
			return err
		}
		gone = time.Since(start)
		if err := h.plugIn(1); err != nil {
			return err
		}
		start = time.Now()
		err := h.connected(ctx, "wlan0", "wwan0")
		back = time.Since(start)
		return err
	})
	return inTime(err, gone, back)
}

// plugIn brings a link's device up with the laptop's addresses and routes.
func (h *household) plugIn(i int) error {
	l := laptopLinks[i]
	return errors.Join(
		h.laptop.ip("link set "+l.device+" up"),
		h.laptop.ip6("addr replace "+l.v6+"2/64 dev "+l.device+" nodad"),
		h.defaults(i))
}

// inTime judges how long a change took to be acted upon, a round trip included.
func inTime(err error, took ...time.Duration) (figure string, _ error) {
	for _, t := range took {
		figure += fmt.Sprintf("%.0f ms ", t.Seconds()*1000)
		if err == nil && t > time.Second {
			err = errors.New("too late")
		}
	}
	return strings.TrimSpace(figure), err
}

// addressChange gives the laptop another address on its first link, as another network does.
func addressChange(ctx context.Context, h *household) (string, error) {
	l := laptopLinks[0]
	move := func(from, to string) error {
		return errors.Join(
			h.laptop.ip("addr del "+l.v4+from+"/24 dev "+l.device, "addr add "+l.v4+to+"/24 dev "+l.device),
			h.laptop.ip(fmt.Sprintf("route replace default via %s1 dev %s metric %d", l.v4, l.device, 100)))
	}
	var took time.Duration
	err := h.beside(ctx, 16, 50e6, func() error {
		if err := move("2", "7"); err != nil {
			return err
		}
		start := time.Now()
		before := h.ducts[0].down.Counts().Forwarded.Octets
		err := h.until(ctx, func() error {
			if h.ducts[0].down.Counts().Forwarded.Octets < before+1e6 {
				return errors.New("nothing comes over the link that has moved")
			}
			return h.connected(ctx, "wlan0", "wwan0")
		})
		took = time.Since(start)
		return err
	})
	return inTime(errors.Join(err, move("7", "2")), took)
}

func replay(ctx context.Context, h *household) (string, error) {
	code, err := h.invite(ctx, "once")
	if err != nil {
		return "", err
	}
	if _, err := h.must(ctx, h.other, h.path("tandem"), "join", "--state", h.path("once"), code); err != nil {
		return "", err
	}
	defer h.hubVerb(ctx, "revoke", "once")
	return h.refused(ctx, "again", code)
}

// refused: joining with that code fails with one sentence and leaves nothing.
func (h *household) refused(ctx context.Context, state, code string) (string, error) {
	said, err := h.ask(ctx, h.other, h.path("tandem"), "join", "--state", h.path(state), code)
	if err != nil {
		return "", err
	}
	if said.code != 1 || strings.Count(said.err, "\n") > 0 || said.err == "" {
		return "", fmt.Errorf("tandem join ended with %d and said %q", said.code, said.err)
	}
	if entries, err := os.ReadDir(h.path(state)); err == nil && len(entries) > 0 {
		return "", fmt.Errorf("it left %v", entries)
	}
	return said.err, nil
}

func mistyped(ctx context.Context, h *household) (string, error) {
	code, err := h.invite(ctx, "typo")
	if err != nil {
		return "", err
	}
	wrong := []byte(code)
	at := len(wrong) / 2
	if wrong[at]++; wrong[at] > 'y' {
		wrong[at] = 'a'
	}
	return h.refused(ctx, "typo", string(wrong))
}

func secondDaemon(ctx context.Context, h *household) (string, error) {
	said, err := h.ask(ctx, h.laptop, h.path("tandem"), "run", "--state", h.path("laptop"), "--socket", h.socket(), "--links", "wlan0,wwan0")
	if err == nil && said.code != 1 {
		err = fmt.Errorf("ended with %d: %s", said.code, said.err)
	}
	return said.err, err
}

// splitTunnel: one address of the web host goes through the tunnel, another past it.
func splitTunnel(ctx context.Context, h *household) (string, error) {
	if err := h.clientJob.stop(); err != nil {
		return "", err
	}
	h.routes = webHost + "/32"
	defer func() { h.clientJob.stop(); h.routes = "" }()
	if err := h.ready(ctx); err != nil {
		return "", err
	}
	through, err := h.must(ctx, h.laptop, "curl", "-sS", url(webHost, "/who"))
	if err != nil {
		return "", err
	}
	past, err := h.must(ctx, h.laptop, "curl", "-sS", url(web4+"3", "/who"))
	if err != nil {
		return "", err
	}
	through, past = strings.TrimSpace(through), strings.TrimSpace(past)
	if through != hubHost || past != web4+"1" {
		err = errors.New("not so")
	}
	return fmt.Sprintf("named: from %s, other: from %s", through, past), err
}

// undone: the system is as it was before the daemon came, also after it was killed and started again.
func undone(ctx context.Context, h *household) (string, error) {
	if err := h.clientJob.stop(); err != nil {
		return "", err
	}
	before, err := h.system(ctx)
	if err != nil {
		return "", err
	}
	if err := h.ready(ctx); err != nil {
		return "", err
	}
	during, err := h.system(ctx)
	if err != nil {
		return "", err
	}
	if during == before {
		return "", errors.New("the daemon changes nothing")
	}
	h.clientJob.kill()
	if err := h.ready(ctx); err != nil {
		return "", err
	}
	if err := h.clientJob.stop(); err != nil {
		return "", err
	}
	after, err := h.system(ctx)
	if err == nil && after != before {
		err = fmt.Errorf("before: %s; after: %s", before, after)
	}
	return "", err
}

// system is what the daemon may change of the laptop.
func (h *household) system(ctx context.Context) (string, error) {
	return h.must(ctx, h.laptop, "bash", "-c", "ip rule; ip -6 rule; ip route show table all; ip -6 route show table all | grep -v fe80 | grep -v ff00; sysctl -a 2>/dev/null | grep rp_filter; cat /etc/resolv.conf; ip -br link | cut -d ' ' -f 1")
}

func revoked(ctx context.Context, h *household) (string, error) {
	if _, err := h.hubVerb(ctx, "revoke", "laptop"); err != nil {
		return "", err
	}
	start := time.Now()
	defer func() {
		h.clientJob.stop()
		os.RemoveAll(h.path("laptop"))
	}()
	const sentence = "does not accept this device"
	err := h.until(ctx, func() error {
		out, err := h.clientVerb(ctx, "status")
		if err == nil && !strings.Contains(out, sentence) {
			err = fmt.Errorf("status says %q", out)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	took := time.Since(start)
	said, err := h.ask(ctx, h.laptop, "curl", "-sS", "-m", "3", url(webHost, "/who"))
	if err == nil && said.code == 0 {
		err = errors.New("something passes")
	}
	if err == nil && took > 2*time.Second {
		err = errors.New("too late")
	}
	return fmt.Sprintf("%.1f s", took.Seconds()), err
}

// check must say what is missing on a host that has no links, and leave no file.
func check(ctx context.Context, h *household) (string, error) {
	state := h.path("nothing")
	said, err := h.ask(ctx, h.web, "env", "XDG_STATE_HOME="+state, h.path("tandem"), "check", "--state", state)
	if err == nil && said.code != 1 {
		err = fmt.Errorf("ended with %d: %s%s", said.code, said.out, said.err)
	}
	if _, statErr := os.Stat(state); err == nil && statErr == nil {
		err = errors.New("it made its folder")
	}
	return fmt.Sprintf("%d lines", strings.Count(said.out, "\n")), err
}

func sameDigest(file, want string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	io.Copy(h, f)
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("digest of %s is %s", file, got)
	}
	return nil
}

// zeroDigest is the SHA-256 of n zero octets.
func zeroDigest(n int64) string {
	zero, err := os.Open("/dev/zero")
	if err != nil {
		return err.Error()
	}
	defer zero.Close()
	h := sha256.New()
	io.CopyN(h, zero, n)
	return hex.EncodeToString(h.Sum(nil))
}
