package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tandem/engine/sim"
)

// scheduled has the daemon choose links by that name from now on.
func (h *household) scheduled(ctx context.Context, by string) error {
	_, err := h.clientVerb(ctx, "set", "--scheduler", by)
	return errors.Join(err, h.connectAgain(ctx))
}

func (h *household) connectAgain(ctx context.Context) error {
	_, err := h.clientVerb(ctx, "down")
	if err == nil {
		_, err = h.clientVerb(ctx, "up")
	}
	return errors.Join(err, h.connected(ctx, "wlan0", "wwan0"))
}

// paysLittle: the quicker link is dear, so the other one carries what it can. The hub, whose scheduler is "cost" unless somebody
// chooses another, does as the daemon wishes.
func paysLittle(args ...string) func(ctx context.Context, h *household) (string, error) {
	return func(ctx context.Context, h *household) (string, error) {
		if err := h.scheduled(ctx, "cost"); err != nil {
			return "", err
		}
		defer h.scheduled(ctx, "earliest")
		return h.paid(ctx, args...)
	}
}

// paid asks for less than the cheap link has, and for more.
func (h *household) paid(ctx context.Context, args ...string) (string, error) {
	if _, err := h.clientVerb(ctx, "link", "wlan0", "--price", "5"); err != nil {
		return "", err
	}
	defer h.clientVerb(ctx, "link", "wlan0", "--price", "0")
	var w wrong
	figure := ""
	for _, wanted := range []float64{8, 40} {
		before := h.forwarded()
		var r iperf
		err := h.until(ctx, func() (err error) { // the server may not be done with the one before
			before = h.forwarded()
			r, err = h.iperf(ctx, append([]string{"-b", fmt.Sprintf("%.0fM", wanted), "-t", "5"}, args...)...)
			return err
		})
		if err != nil {
			return "", err
		}
		after := h.forwarded()
		dear, cheap := float64(after[0]-before[0])*octetBits/5e6, float64(after[1]-before[1])*octetBits/5e6
		figure += fmt.Sprintf("%.0f: cheap %.1f, dear %.1f; ", wanted, cheap, dear)
		w.unless(r.End.Received.BitsPerSecond > 0.9*wanted*1e6, "%.1f Mbit/s of %.0f", r.End.Received.BitsPerSecond/1e6, wanted)
		if wanted < 20 {
			w.unless(dear < 0.05*wanted, "the dear link carries what the cheap one could")
		} else {
			w.unless(cheap > 25.5 && dear > 8, "the excess does not go over the dear link alone")
		}
	}
	return strings.TrimSuffix(figure, "; "), w.err()
}

// quickerUp: one link is quick up and slow down, the other the other way round, and has the shorter round trip.
func quickerUp(ctx context.Context, h *household) (string, error) {
	h.ducts[0].change(10*time.Millisecond, 90*time.Millisecond)
	h.ducts[1].change(60*time.Millisecond, 20*time.Millisecond)
	defer h.usual()
	if err := h.scheduled(ctx, "owl"); err != nil {
		return "", err
	}
	defer h.scheduled(ctx, "earliest")
	var parts [2]float64
	err := h.until(ctx, func() error { // the server may not be done with the one before
		var before [2]int64
		for i, d := range h.ducts {
			before[i] = d.up.Counts().Forwarded.Octets
		}
		if _, err := h.iperf(ctx, "-b", "2M", "-l", "2500", "-t", "6"); err != nil {
			return err
		}
		for i, d := range h.ducts {
			parts[i] = float64(d.up.Counts().Forwarded.Octets - before[i])
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	part := parts[0] / (parts[0] + parts[1])
	if part < 0.9 {
		err = errShare
	}
	return fmt.Sprintf("%.1f + %.1f %% of the octets up", 100*part, 100*(1-part)), err
}

// usual gives the links their delays again.
func (h *household) usual() {
	for i, l := range laptopLinks {
		h.ducts[i].change(l.conditions.Delay)
	}
}

// outlives: both links are lost in the middle of a download for longer than a connection lingers that has no inactivity time.
func outlives(ctx context.Context, h *household) (string, error) {
	const n = 40e6
	if _, err := h.clientVerb(ctx, "set", "--inactivity", "10m,request"); err != nil {
		return "", err
	}
	defer h.clientVerb(ctx, "set", "--inactivity", "none")
	fetched := make(chan error, 1)
	go func() {
		_, err := h.fetch(ctx, webHost, 22, n)
		fetched <- err
	}()
	if err := sleep(ctx, 1500*time.Millisecond); err != nil {
		return "", err
	}
	defer h.silence(false, 0, 1)
	h.silence(true, 0, 1)
	before := h.forwarded()
	select {
	case err := <-fetched:
		return "", fmt.Errorf("over at once: %w", err)
	case <-time.After(65 * time.Second):
	}
	lost := h.forwarded()
	h.silence(false, 0, 1)
	back := time.Now()
	if err := <-fetched; err != nil {
		return "", err
	}
	over := time.Since(back)
	after := h.forwarded()
	var w wrong
	w.unless(after[0]+after[1] > lost[0]+lost[1]+n/4, "most came before")
	return fmt.Sprintf("%d octets came while lost, %.1f MB after; %.1f s",
		lost[0]+lost[1]-before[0]-before[1], float64(after[0]+after[1]-lost[0]-lost[1])/1e6, over.Seconds()), w.err()
}

// connectsInTime: programs ask for a connection of theirs; the better link may lose everything from right before. The kernel's own
// Multipath TCP has the same links, without hub.
func connectsInTime(dead bool, limit time.Duration) func(ctx context.Context, h *household) (string, error) {
	return func(ctx context.Context, h *household) (string, error) {
		var all []time.Duration
		for range 3 {
			if err := h.connected(ctx, "wlan0", "wwan0"); err != nil {
				return "", err
			}
			h.silence(dead, 0)
			said, err := h.ask(ctx, h.laptop, "curl", "-sS", "-o", "/dev/null", "-w", "%{time_connect}", url(webHost, "/who"))
			h.silence(false, 0)
			if err != nil {
				return "", err
			}
			took, err := time.ParseDuration(said.out + "s")
			if err != nil || said.code != 0 {
				return "", fmt.Errorf("curl: %s %s", said.out, said.err)
			}
			all = append(all, took)
		}
		var w wrong
		judged := median(all)
		if dead {
			judged = slices.Max(all)
		}
		w.unless(judged <= limit, "too late")
		kernel, err := kernelAlone(ctx, h.path("kernel.pcap"), h.conditions(), dead)
		return fmt.Sprintf("%s; the kernel's own: %s", moments(all), kernel), errors.Join(w.err(), err)
	}
}

// defaultSlower: what was the quicker link, and stands first, is the slower one.
func defaultSlower(ctx context.Context, h *household) (string, error) {
	h.ducts[0].change(50 * time.Millisecond)
	defer h.usual()
	for range 5 { // by which it is learned
		if _, err := h.must(ctx, h.laptop, "curl", "-sS", "-o", "/dev/null", url(webHost, "/who")); err != nil {
			return "", err
		}
	}
	if err := sleep(ctx, 1500*time.Millisecond); err != nil { // and nothing is under way
		return "", err
	}
	return connectsInTime(false, 75*time.Millisecond)(ctx, h)
}

// conditions are those that the links have now.
func (h *household) conditions() (all []sim.Conditions) {
	for i, d := range h.ducts {
		c := laptopLinks[i].conditions
		d.up.Change(func(now *sim.Conditions) { c.Delay = now.Delay })
		all = append(all, c)
	}
	return all
}
