package client

import (
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tandem/app/control"
	"tandem/engine/wire"
	"tandem/tunnel/packet"
)

// A lane takes packets that are not TCP between applications and the bond, and keeps book of their flows.
type lane struct {
	inject atomic.Pointer[func(pkts [][]byte)] // to applications; nil: nobody captures
	flows  flows
}

// toApplications takes what came from the hub.
func (l *lane) toApplications(pkts [][]byte) {
	l.flows.count(pkts, false)
	if inject := l.inject.Load(); inject != nil {
		(*inject)(pkts)
	}
}

// packets takes what is not TCP from captures; nil: proxies of other makes take nothing else.
func (v *live) packets() func(pkts [][]byte) {
	if v.native != nil {
		return nil
	}
	return v.fromApplications
}

// fromApplications is what captures call.
func (v *live) fromApplications(pkts [][]byte) {
	v.lane.flows.count(pkts, true)
	v.bond.SendPackets(pkts)
}

const (
	flowsMax = 4096 // beyond it new flows are carried, and not listed
	flowTime = time.Minute
)

// flows are those of the last minute.
type flows struct {
	mu    sync.Mutex
	known map[flowKey]*flow
	swept time.Time
}

type flowKey struct {
	protocol       uint8
	source, target netip.AddrPort // source: the application
}

type flow struct {
	sent, received uint64
	last           time.Time
}

func (f *flows) count(pkts [][]byte, sent bool) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == nil {
		f.known = map[flowKey]*flow{}
	}
	var p packet.Packet
	for _, pkt := range pkts {
		if p.Parse(pkt) != nil {
			continue
		}
		key := keyOf(&p, sent)
		one := f.known[key]
		if one == nil {
			if one = f.add(key, now); one == nil {
				continue
			}
		}
		one.last = now
		if sent {
			one.sent += uint64(len(pkt))
		} else {
			one.received += uint64(len(pkt))
		}
	}
}

// add makes room among old flows at most once a second.
func (f *flows) add(key flowKey, now time.Time) *flow {
	if len(f.known) >= flowsMax && now.Sub(f.swept) > time.Second {
		f.sweep(now)
	}
	if len(f.known) >= flowsMax {
		return nil
	}
	one := new(flow)
	f.known[key] = one
	return one
}

func (f *flows) sweep(now time.Time) {
	f.swept = now
	for key, one := range f.known {
		if now.Sub(one.last) > flowTime {
			delete(f.known, key)
		}
	}
}

// keyOf names the flow of a packet, of which sent tells the direction.
func keyOf(p *packet.Packet, sent bool) flowKey {
	var from, to uint16
	if p.Protocol == wire.UDP && p.Offset == 0 {
		from, to, _, _ = p.UDP()
	}
	source, target := netip.AddrPortFrom(p.Source, from), netip.AddrPortFrom(p.Target, to)
	if !sent {
		source, target = target, source
	}
	return flowKey{p.Protocol, source, target}
}

// list describes the flows, the latest first.
func (f *flows) list(now time.Time) []control.Flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sweep(now)
	all := make([]control.Flow, 0, len(f.known))
	for key, one := range f.known {
		all = append(all, control.Flow{
			Protocol: protocolName(key.protocol), Source: key.source, Target: key.target,
			Sent: one.sent, Received: one.received, Last: one.last,
		})
	}
	slices.SortFunc(all, func(a, b control.Flow) int { return b.Last.Compare(a.Last) })
	return all
}

func protocolName(p uint8) string {
	switch p {
	case wire.UDP:
		return "udp"
	case wire.ICMPv4, wire.ICMPv6:
		return "icmp"
	}
	return strconv.Itoa(int(p))
}
