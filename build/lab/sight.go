package lab

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"tandem/engine/wire"
)

// A sight is a segment of a capture as tshark reads it.
type sight struct {
	at       time.Duration // since the first one of the capture
	from, to netip.Addr
	flags    wire.Flags
	octets   int      // of payload
	length   int      // of the IP packet
	options  []byte   // as they are: tshark names no subtype behind the MP_CAPABLE of a SYN/ACK
	extra    []string // the fields that were asked for beside these
}

// Subtypes of MPTCP's options.
const (
	subCapable, subJoin, subDSS, subAdd, subRemove, subPrio, subFastClose = 0, 1, 2, 3, 4, 5, 7
	subRobE, subJoinCap, subLatestRTT, subExperiment                      = 9, 10, 11, 15
)

// ExpIDs of MP_EXPERIMENTAL.
const (
	expInactivity = 0x10
	expRateLimit  = 0x11
)

// sights ends the recording and returns the segments that match a display filter.
func (r *rig) sights(ctx context.Context, filter string, extra ...string) ([]sight, error) {
	if err := r.recorded(); err != nil {
		return nil, err
	}
	return sightsOf(ctx, r.path("near.pcap"), filter, extra...)
}

// recorded ends the recording, once.
func (r *rig) recorded() error {
	if r.seen == nil || r.ended {
		return nil
	}
	r.ended = true
	return r.seen.close()
}

var sightFields = []string{"frame.time_relative", "ip.src", "ip.dst", "tcp.flags", "tcp.len", "ip.len", "tcp.options"}

func sightsOf(ctx context.Context, file, filter string, extra ...string) (all []sight, err error) {
	lines, err := shark(ctx, file, false, filter, append(slices.Clone(sightFields), extra...)...)
	for _, line := range lines {
		f := strings.Split(line, "\t")
		for len(f) < len(sightFields)+len(extra) {
			f = append(f, "")
		}
		s := sight{extra: f[len(sightFields):]}
		seconds, bad := strconv.ParseFloat(f[0], 64)
		if bad != nil {
			return nil, fmt.Errorf("tshark: %q", line)
		}
		s.at = time.Duration(seconds * float64(time.Second))
		s.from, _ = netip.ParseAddr(f[1])
		s.to, _ = netip.ParseAddr(f[2])
		flags, _ := strconv.ParseUint(f[3], 0, 16)
		s.flags = wire.Flags(flags)
		s.octets, _ = strconv.Atoi(f[4])
		s.length, _ = strconv.Atoi(f[5])
		s.options, _ = hex.DecodeString(f[6])
		all = append(all, s)
	}
	return all, err
}

func (s sight) has(subtype byte) bool { return s.option(subtype) != nil }

// asks reports whether it is a SYN that asks for a connection or a subflow.
func (s sight) asks() bool { return s.flags&(wire.SYN|wire.ACK) == wire.SYN }

// option returns an option of MPTCP from its subtype on, or nil.
func (s sight) option(subtype byte) []byte {
	return s.find(func(o []byte) bool { return o[0]>>4 == subtype })
}

// experiment returns the MP_EXPERIMENTAL of that ExpID.
func (s sight) experiment(id byte) []byte {
	return s.find(func(o []byte) bool { return o[0]>>4 == subExperiment && len(o) > 2 && o[1] == id })
}

func (s sight) find(f func(o []byte) bool) []byte {
	const kindMPTCP = 30
	for o := s.options; len(o) > 1 && o[0] != 0; {
		if o[0] == 1 {
			o = o[1:]
			continue
		}
		n := int(o[1])
		if n < 2 || n > len(o) {
			return nil
		}
		if o[0] == kindMPTCP && n > 2 && f(o[2:n]) {
			return o[2:n]
		}
		o = o[n:]
	}
	return nil
}

// those returns the sights for which f holds.
func those(all []sight, f func(s sight) bool) (some []sight) {
	for _, s := range all {
		if f(s) {
			some = append(some, s)
		}
	}
	return some
}

// via keeps those that leave the near end, or come to it, over a link.
func via(all []sight, link int, toNear bool) []sight {
	here := address(link, near, false)
	return those(all, func(s sight) bool { return toNear && s.to == here || !toNear && s.from == here })
}

// asked returns the links over which SYNs with that option left, in order, and when.
func asked(all []sight, subtype byte) (links []int, at []time.Duration) {
	for _, s := range all {
		if s.asks() && s.has(subtype) {
			links, at = append(links, linkOf(s.from)), append(at, s.at)
		}
	}
	return links, at
}

// linkOf is the link of an address of the near end.
func linkOf(a netip.Addr) int { return int(a.As4()[2]) }

// gap is the longest time between two sights that follow each other.
func gap(all []sight) (most time.Duration) {
	for i := 1; i < len(all); i++ {
		most = max(most, all[i].at-all[i-1].at)
	}
	return most
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.0f ms", d.Seconds()*1000) }

// span is a time of a capture.
type span struct{ from, to time.Duration }

// rates returns the lowest and the highest rate of any second of a span, in octets a second of IP packets.
func rates(all []sight, s span) (low, high float64) {
	const step = 50 * time.Millisecond
	for from := s.from; from+time.Second <= s.to; from += step {
		sum := 0.0
		for _, p := range all {
			if p.at >= from && p.at < from+time.Second {
				sum += float64(p.length)
			}
		}
		if from == s.from {
			low = sum
		}
		low, high = min(low, sum), max(high, sum)
	}
	return low, high
}

var errShare = errors.New("not its share")

// sharesOf returns what part of the octets of data each link has carried in a span.
func sharesOf(all []sight, s span, toNear bool, links int) (parts []float64, total float64) {
	parts = make([]float64, links)
	for _, p := range all {
		here := p.from
		if toNear {
			here = p.to
		}
		if p.octets == 0 || p.at < s.from || p.at >= s.to || !isNear(here) {
			continue
		}
		parts[linkOf(here)] += float64(p.octets)
		total += float64(p.octets)
	}
	for i := range parts {
		parts[i] /= max(total, 1)
	}
	return parts, total
}

// isNear reports whether it is an address of the near end.
func isNear(a netip.Addr) bool { return a.Is4() && a.As4()[0] == 10 && a.As4()[3] == byte(near) }
