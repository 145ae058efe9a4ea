package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// commands are what of the seeds people meet: the daemon with its hub, and its verbs.
func commands() []trial {
	return []trial{
		{"1 tandem set --establish MODE", "MODE in connections N; target dialled once", establishes},
		{"1 a slow target is no dead path (HELD)", "no switch, one connection at the target", slowTarget},
		{"2 tandem set --inactivity 2h,request", "7200 s, R=1; the hub counts it", waits},
		{"3 tandem link wwan0 --limit-down, 1 connection", "± 5 % in any second, inner octets", limited(1, false)},
		{"3 tandem link wwan0 --limit-down, 20 connections", "± 5 % in any second, inner octets", limited(20, false)},
		{"3 tandem link wwan0 --limit-up, 20 connections", "± 5 % in any second, inner octets", limited(20, true)},
		{"5 inside the carrier (also 12: heard, redirected)", "no TCP in sight of the links", hidden},
		{"7 ip address change ... preferred_lft 0 valid_lft 4", "no stall > 300 ms, all octets", leaves},
		{"7 both links lost for 65 s, --inactivity 10m", "digest of all", outlives},
		{"8 tandem connections N ...", "shown, closed, opened, removed, added, spared, ended", looksAfter},
		{"9 tandem set --scheduler owl, 10 + 90, 60 + 20 ms", "≥ 90 % over the quicker way up", quickerUp},
		{"10 tandem link wlan0 --price 5, --scheduler cost", "8 Mbit/s: ≤ 5 % dear; 40: the excess", paysLittle()},
		{"10 tandem link wlan0 --price 5, --scheduler cost, down", "8 Mbit/s: ≤ 5 % dear; 40: the excess", paysLittle("-R")},
		{"done 2 auto through the hub, link black-holed", "each of 3 ≤ 2 × 60 + 50 ms", connectsInTime(true, 170*time.Millisecond)},
		{"done 2 auto through the hub, both links up", "median of 3 ≤ 30 ms: the faster has 20", connectsInTime(false, 30*time.Millisecond)},
		{"done 2 auto through the hub, default link slower", "median of 3 ≤ 75 ms: the faster has 60", defaultSlower},
	}
}

// A slow download is a connection that stays while it is looked after.
func (h *household) slow(ctx context.Context) (j *job, c connection, err error) {
	j, err = h.start(h.laptop, "slow", "curl", "-sS", "--limit-rate", "2M", "-o", "/dev/null", url(webHost, "/octets/9/%d", int64(transfer)))
	if err != nil {
		return j, c, err
	}
	return j, c, h.until(ctx, func() error {
		all, err := h.connections(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(c connection) bool { return c.Target == webHost+":80" && len(c.live()) > 0 })
		if i < 0 {
			return errors.New("no such connection")
		}
		c = all[i]
		return nil
	})
}

// A connection is what tandem connections --json says of one, as far as the lab looks.
type connection struct {
	Number     int
	Target     string
	State      string
	Establish  string
	Inactivity struct {
		Own     float64 `json:"own_s"`
		Request bool
	}
	Subflows []struct {
		ID          int
		Link        string
		Established bool
		Leaving     bool
		Backup      bool
	}
}

// live are the links that carry it.
func (c connection) live() (links []string) {
	for _, f := range c.Subflows {
		if f.Established && !f.Leaving {
			links = append(links, f.Link)
		}
	}
	slices.Sort(links)
	return links
}

func (h *household) connections(ctx context.Context) (all []connection, err error) {
	out, err := h.clientVerb(ctx, "connections", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &all)
	}
	return all, err
}

// looked waits until the connection is as f wants it.
func (h *household) looked(ctx context.Context, n int, what string, f func(c connection) bool) (c connection, err error) {
	limited, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	err = h.until(limited, func() error {
		out, err := h.clientVerb(ctx, "connections", strconv.Itoa(n), "--json")
		if err == nil {
			c = connection{}
			err = json.Unmarshal([]byte(out), &c)
		}
		if err == nil && !f(c) {
			err = fmt.Errorf("in vain: %s: %+v", what, c)
		}
		return err
	})
	return c, err
}

func establishes(ctx context.Context, h *household) (string, error) {
	modes := []string{"classic", "timer", "sim", "esim", "ips", "ips+timer", "ips+sim", "auto"}
	for _, mode := range modes {
		if _, err := h.clientVerb(ctx, "set", "--establish", mode); err != nil {
			return "", err
		}
		before, err := h.dialled(ctx)
		if err != nil {
			return "", err
		}
		j, c, err := h.slow(ctx)
		if err != nil {
			return "", err
		}
		j.kill()
		after, err := h.dialled(ctx)
		if err != nil {
			return "", err
		}
		if c.Establish != mode || after != before+1 {
			return "", fmt.Errorf("with %s: begun by %s, %d connections at the target", mode, c.Establish, after-before)
		}
		if err := h.until(ctx, func() error {
			all, err := h.connections(ctx)
			if err == nil && slices.ContainsFunc(all, func(o connection) bool { return o.Number == c.Number }) {
				err = errors.New("the connection stays")
			}
			return err
		}); err != nil {
			return "", err
		}
	}
	return strings.Join(modes, ", "), nil
}

// dialled is how many connections the web host has taken.
func (h *household) dialled(ctx context.Context) (int64, error) {
	n, err := readCounters(ctx, h.web)
	return n["TcpPassiveOpens"], err
}

// slowTarget: the web host loses SYNs for a while, so that the hub has no answer to give.
func slowTarget(ctx context.Context, h *household) (string, error) {
	if _, err := h.must(ctx, h.web, "nft", fmt.Sprintf("table inet deaf {\nchain in {\ntype filter hook input priority 0;\ntcp dport %d drop\n}\n}", echoPort)); err != nil {
		return "", err
	}
	hear := func() { h.ask(ctx, h.web, "nft", "delete table inet deaf") }
	hearing := time.AfterFunc(1500*time.Millisecond, hear)
	defer func() {
		if hearing.Stop() {
			hear()
		}
	}()
	before, err := h.status(ctx)
	dialled, err2 := h.dialled(ctx)
	if err := errors.Join(err, err2); err != nil {
		return "", err
	}
	said, err := h.ask(ctx, h.laptop, "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d; echo hello >&3; head -c 6 <&3", webHost, echoPort))
	if err != nil {
		return "", err
	}
	after, err := h.status(ctx)
	now, err2 := h.dialled(ctx)
	var w wrong
	w.unless(said.out == "hello\n", "it said %q, %s", said.out, said.err)
	w.unless(said.took > time.Second, "answered after %v", said.took)
	w.unless(after.Switches == before.Switches, "another link was asked")
	w.unless(now == dialled+1, "%d connections", now-dialled)
	return fmt.Sprintf("answer after %.1f s, switches %d, connections %d", said.took.Seconds(), after.Switches-before.Switches, now-dialled),
		errors.Join(err, err2, w.err())
}

// leaves: the network says that the better link's address goes in 4 s, and takes it.
func leaves(ctx context.Context, h *household) (string, error) {
	const n = 50e6
	l := laptopLinks[0]
	defer func() {
		h.laptop.ip("addr replace " + l.v4 + "2/24 dev " + l.device)
		h.laptop.ip6("addr replace " + l.v6 + "2/64 dev " + l.device + " nodad")
		h.defaults(0)
	}()
	fetched := make(chan error, 1)
	before := h.forwarded()
	go func() {
		_, err := h.fetch(ctx, webHost, 21, n)
		fetched <- err
	}()
	if err := sleep(ctx, 1500*time.Millisecond); err != nil {
		return "", err
	}
	if err := errors.Join(
		h.laptop.ip("addr change "+l.v4+"2/24 dev "+l.device+" valid_lft 4 preferred_lft 0"),
		h.laptop.ip6("addr change "+l.v6+"2/64 dev "+l.device+" valid_lft 4 preferred_lft 0")); err != nil {
		return "", err
	}
	begun := time.Now()
	stall, left, err := flow(h.forwarded, before[0]+before[1]+n, fetched)
	if err != nil {
		return "", err
	}
	var w wrong
	w.unless(stall < 300*time.Millisecond, "nothing came for %v", stall)
	w.unless(left.Sub(begun) < 4*time.Second, "the link was used for %v", left.Sub(begun))
	return fmt.Sprintf("stall %s; left the link after %.1f s of 4", milliseconds(stall), left.Sub(begun).Seconds()), w.err()
}

// flow watches what links have carried until a download is over. It returns the longest time in which next to nothing crossed them
// before that came to so many octets, for what comes after is no download any more; and when the first link carried more than signs
// of life for the last time.
func flow(carried func() [2]int64, until int64, over <-chan error) (stall time.Duration, left time.Time, err error) {
	const signs, few = 20_000, 2000 // octets
	last, was := time.Now(), carried()
	left = last
	for first := was[0]; ; {
		now := carried()
		if now[0] > first+signs {
			first, left = now[0], time.Now()
		}
		if now[0]+now[1] > was[0]+was[1]+few && was[0]+was[1] < until {
			stall, last, was = max(stall, time.Since(last)), time.Now(), now
		}
		select {
		case err := <-over:
			return stall, left, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func waits(ctx context.Context, h *household) (string, error) {
	if _, err := h.clientVerb(ctx, "set", "--inactivity", "2h,request"); err != nil {
		return "", err
	}
	defer h.clientVerb(ctx, "set", "--inactivity", "none")
	before, err := h.hubCounted(ctx, "inactivity_times")
	if err != nil {
		return "", err
	}
	j, c, err := h.slow(ctx)
	if err != nil {
		return "", err
	}
	defer j.kill()
	if i := c.Inactivity; i.Own != 7200 || !i.Request {
		err = fmt.Errorf("%+v", i)
	}
	said, failed := h.clientVerb(ctx, "connections", strconv.Itoa(c.Number))
	if !strings.Contains(said, "2h0m0s") {
		failed = fmt.Errorf("tandem says %q", said)
	}
	heard := h.until(ctx, func() error {
		now, err := h.hubCounted(ctx, "inactivity_times")
		if err == nil && now <= before {
			err = fmt.Errorf("the hub has heard %d times of it, as before", now)
		}
		return err
	})
	return fmt.Sprintf("own %.0f s, request %t, heard by the hub", c.Inactivity.Own, c.Inactivity.Request), errors.Join(err, failed, heard)
}

// hubCounted is what the hub has counted of the laptop.
func (h *household) hubCounted(ctx context.Context, counter string) (uint64, error) {
	out, err := h.hubVerb(ctx, "devices", "--json")
	if err != nil {
		return 0, err
	}
	var listing struct {
		Devices []struct {
			Name     string
			Counters map[string]uint64
		}
	}
	if err := json.Unmarshal([]byte(out), &listing); err != nil {
		return 0, err
	}
	for _, d := range listing.Devices {
		if n, counted := d.Counters[counter]; d.Name == "laptop" && counted {
			return n, nil
		}
	}
	return 0, fmt.Errorf("the hub counts no %s of the laptop", counter)
}

// looksAfter does to a connection all that the command line has for one.
func looksAfter(ctx context.Context, h *household) (string, error) {
	j, c, err := h.slow(ctx)
	if err != nil {
		return "", err
	}
	n := strconv.Itoa(c.Number)
	both := func(c connection) bool { return strings.Join(c.live(), " ") == "wlan0 wwan0" }
	of := func(c connection, link string) (id int, backup bool) {
		for _, f := range c.Subflows {
			if f.Link == link && f.Established && !f.Leaving {
				return f.ID, f.Backup
			}
		}
		return 0, false
	}
	spared := func(want bool) func(c connection) bool {
		return func(c connection) bool { _, backup := of(c, "wwan0"); return backup == want }
	}
	if c, err = h.looked(ctx, c.Number, "both links", both); err != nil {
		return "", err
	}
	first, _ := of(c, "wwan0")
	do := func(what string, f func(c connection) bool, args ...string) {
		if err != nil {
			return
		}
		if _, err = h.clientVerb(ctx, "connections", append([]string{n}, args...)...); err == nil {
			c, err = h.looked(ctx, c.Number, what, f)
		}
	}
	do("one link", func(c connection) bool { return strings.Join(c.live(), " ") == "wlan0" }, "subflow", strconv.Itoa(first), "close")
	do("both links again", both, "subflow", "open", "wwan0")
	do("one link after remove", func(c connection) bool { return strings.Join(c.live(), " ") == "wlan0" }, "remove", "wwan0")
	do("both links after add", both, "add", "wwan0")
	second, _ := of(c, "wwan0")
	do("one spared", spared(true), "subflow", strconv.Itoa(second), "backup")
	do("none spared", spared(false), "subflow", strconv.Itoa(second), "primary")
	if err == nil {
		_, err = h.clientVerb(ctx, "connections", n, "close")
	}
	if err != nil {
		j.kill()
		return "", err
	}
	select {
	case <-j.done:
	case <-time.After(startTime): // what came before is read first
		j.kill()
		return "", errors.New("the program does not hear that its connection ended")
	}
	return fmt.Sprintf("N %s: closed %d, opened %d, backup, primary; %s", n, first, second, strings.TrimSpace(j.tail())), nil
}
