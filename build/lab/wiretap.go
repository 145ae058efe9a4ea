package lab

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// wiretap records what crosses a link of the laptop's until stop, which says when it began.
func (h *household) wiretap(ctx context.Context, device string) (file string, stop func() error, err error) {
	return h.wiretapAt(ctx, h.laptop, device)
}

// wiretapAt is a wiretap of a namespace's device.
func (h *household) wiretapAt(ctx context.Context, s *space, device string) (file string, stop func() error, err error) {
	file = h.path(device + ".pcap")
	j, err := h.start(s, "dumpcap-"+device, "dumpcap", "-q", "-i", device, "-s", "128", "-w", file)
	if err != nil {
		return "", nil, err
	}
	return file, j.stop, j.await(ctx, "File:")
}

// wiretaps are one on each link.
func (h *household) wiretaps(ctx context.Context) (files []string, stop func() error, err error) {
	var stops []func() error
	stop = func() (err error) {
		for _, one := range stops {
			err = errors.Join(err, one())
		}
		return err
	}
	for _, l := range laptopLinks {
		file, one, err := h.wiretap(ctx, l.device)
		if err != nil {
			return nil, nil, errors.Join(err, stop())
		}
		files, stops = append(files, file), append(stops, one)
	}
	return files, stop, nil
}

// Inside the carrier a packet is so much shorter: IPv4, UDP, and what WireGuard has before and behind it.
const carried = 20 + 8 + 16 + 16

// limited: a limit of one direction is set while connections fill the link, changed, and lifted. The octets are those of packets
// inside the carrier, which pads them to a multiple of 16.
func limited(n int, up bool) func(ctx context.Context, h *household) (string, error) {
	option, filter := "--limit-down", "udp.srcport == "+hubPort
	transfer := "curl -sS -o /dev/null " + url(webHost, "/octets/9/%d", int64(1)<<40)
	if up {
		option, filter = "--limit-up", "udp.dstport == "+hubPort
		transfer = "curl -sS -H Expect: -X POST -T - " + url(webHost, "/sink") + " < /dev/zero"
	}
	return func(ctx context.Context, h *household) (string, error) {
		if _, err := h.clientVerb(ctx, "link", "wlan0", "off"); err != nil { // or what is wanted may find enough room there
			return "", err
		}
		defer h.clientVerb(ctx, "link", "wlan0", "on")
		file, stop, err := h.wiretap(ctx, "wwan0")
		if err != nil {
			return "", err
		}
		var curls []*job
		defer func() {
			for _, j := range curls {
				j.kill()
			}
		}()
		for range n {
			j, err := h.start(h.laptop, "curl", "bash", "-c", "exec "+transfer)
			if err != nil {
				return "", err
			}
			curls = append(curls, j)
		}
		if err := sleep(ctx, time.Second); err != nil {
			return "", err
		}
		limits := []int{5, 12, 0}
		var spans [][2]time.Time
		for _, limit := range limits {
			asked := fmt.Sprintf("%dM", limit)
			if limit == 0 {
				asked = "none"
			}
			_, err = h.clientVerb(ctx, "link", "wwan0", option, asked)
			if err == nil {
				err = sleep(ctx, settling)
			}
			if err != nil {
				return "", err
			}
			from, to, err := undisturbed(ctx, 3*time.Second, sleep)
			if err != nil {
				return "", err
			}
			spans = append(spans, [2]time.Time{from, to})
		}
		if err := stop(); err != nil {
			return "", err
		}
		all, err := sightsOf(ctx, file, filter, "frame.time_epoch")
		if err != nil || len(all) == 0 {
			return "", errors.Join(err, errors.New("nothing was recorded"))
		}
		return judgeLimits(all, limits, spans)
	}
}

func judgeLimits(all []sight, limits []int, spans [][2]time.Time) (figure string, err error) {
	seconds, err := strconv.ParseFloat(all[0].extra[0], 64)
	if err != nil {
		return "", err
	}
	first := time.Unix(0, int64(seconds*1e9)).Add(-all[0].at)
	for i := range all {
		all[i].length -= carried
	}
	var w wrong
	for i, limit := range limits {
		low, high := rates(all, span{spans[i][0].Sub(first), spans[i][1].Sub(first)})
		low, high = low*octetBits/1e6, high*octetBits/1e6
		if limit == 0 {
			figure += fmt.Sprintf("lifted %.1f Mbit/s", low)
			w.unless(low > 18, "%.1f Mbit/s without a limit", low)
			continue
		}
		figure += fmt.Sprintf("%.3f–%.3f of %d M, ", low/float64(limit), high/float64(limit), limit)
		w.unless(low >= 0.95*float64(limit) && high <= 1.05*float64(limit), "%.2f to %.2f Mbit/s, not %d", low, high, limit)
	}
	return figure, w.err()
}

// hidden: who sees the links sees neither connections nor keys nor joins.
func hidden(ctx context.Context, h *household) (string, error) {
	files, stop, err := h.wiretaps(ctx)
	if err != nil {
		return "", err
	}
	_, err = h.fetch(ctx, webHost, 7, 5e6)
	if err := errors.Join(err, stop()); err != nil {
		return "", err
	}
	var w wrong
	figure := ""
	for i, file := range files {
		inside, err := sightsOf(ctx, file, "tcp || mptcp")
		if err != nil {
			return "", err
		}
		outside, err := sightsOf(ctx, file, "udp.port == "+hubPort)
		if err != nil {
			return "", err
		}
		figure += fmt.Sprintf("%s: TCP %d, UDP %d; ", laptopLinks[i].device, len(inside), len(outside))
		w.unless(len(inside) == 0 && len(outside) > 100, "link %d", i)
	}
	return strings.TrimSuffix(figure, "; "), w.err()
}
