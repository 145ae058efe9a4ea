package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.zx2c4.com/wireguard/tun"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/stack/gro"

	"tandem/engine/wire"
	"tandem/tunnel/packet"
)

const (
	headroom = 16 // octets before a packet, which devices write headers of theirs into

	failuresMax = 64 // reads in a row that fail before the device counts as broken
)

// A reader sorts what applications send. Its buffers are gVisor's, so that segments need no copy.
type reader struct {
	capture *Capture
	views   []*buffer.View
	bufs    [][]byte
	sizes   []int
	gro     gro.GRO
	others  [][]byte // of one batch, for Config.Packets
}

func (c *Capture) read() error {
	n := max(c.cfg.Device.BatchSize(), 1)
	r := &reader{capture: c, views: make([]*buffer.View, n), bufs: make([][]byte, n), sizes: make([]int, n)}
	r.gro.Dispatcher = c.link.attached()
	r.gro.Init(true)
	for i := range n {
		r.renew(i)
	}
	for failures := 0; ; {
		n, err := c.cfg.Device.Read(r.bufs, r.sizes, headroom)
		r.batch(n)
		switch {
		case err == nil || errors.Is(err, tun.ErrTooManySegments):
			failures = 0
		case errors.Is(err, os.ErrClosed) || failures == failuresMax:
			return fmt.Errorf("reading the device: %w", err)
		default:
			failures++
			c.counters.deviceErrors.Add(1)
		}
	}
}

// renew gives the device another buffer to read into.
func (r *reader) renew(i int) {
	view := buffer.NewView(headroom + max(r.capture.mtu, 1500))
	view.Grow(view.AvailableSize())
	r.views[i], r.bufs[i] = view, view.AsSlice()
}

func (r *reader) batch(n int) {
	for i := range n {
		r.packet(i, r.bufs[i][headroom:headroom+r.sizes[i]])
	}
	r.gro.Flush()
	if len(r.others) > 0 {
		r.capture.cfg.Packets(r.others)
		clear(r.others)
		r.others = r.others[:0]
	}
}

func (r *reader) packet(i int, pkt []byte) {
	switch {
	case len(pkt) >= header.IPv4MinimumSize && pkt[0] == 0x45 && pkt[9] == wire.TCP && pkt[16] < 224:
		h := header.IPv4(pkt)
		fragment := h.More() || h.FragmentOffset() > 0
		if !h.IsValid(len(pkt)) || fragment || !h.IsChecksumValid() {
			r.capture.counters.malformed.Add(1)
			return
		}
		pkt = pkt[:h.TotalLength()]
		r.segment(i, pkt, pkt[12:20], pkt[header.IPv4MinimumSize:])
	case len(pkt) >= header.IPv6MinimumSize && pkt[0]>>4 == 6 && pkt[6] == wire.TCP && pkt[24] != 0xff:
		h := header.IPv6(pkt)
		if !h.IsValid(len(pkt)) {
			r.capture.counters.malformed.Add(1)
			return
		}
		pkt = pkt[:header.IPv6MinimumSize+int(h.PayloadLength())]
		r.segment(i, pkt, pkt[8:40], pkt[header.IPv6MinimumSize:])
	default:
		r.other(i, pkt)
	}
}

// segment gives a packet to gVisor; a short one as a copy, because it would keep a long buffer.
func (r *reader) segment(i int, pkt, addresses, segment []byte) {
	if len(segment) < header.TCPMinimumSize || sum(addresses, segment) != 0xffff {
		r.capture.counters.malformed.Add(1)
		return
	}
	view := r.views[i]
	if len(pkt) < view.Size()/4 {
		view = buffer.NewViewWithData(pkt)
	} else {
		view.CapLength(headroom + len(pkt))
		view.TrimFront(headroom)
		r.renew(i)
	}
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(view)})
	p.NetworkProtocolNumber = header.IPv4ProtocolNumber
	if len(addresses) > 8 {
		p.NetworkProtocolNumber = header.IPv6ProtocolNumber
	}
	p.RXChecksumValidated = true
	r.gro.Enqueue(p)
	p.DecRef()
}

// sum is the ones' complement sum of a segment and its pseudo-header (RFC 9293 3.1).
func sum(addresses, segment []byte) uint16 {
	length := len(segment)
	pseudo := [4]byte{1: wire.TCP, 2: byte(length >> 8), 3: byte(length)}
	return checksum.Checksum(segment, checksum.Checksum(pseudo[:], checksum.Checksum(addresses, 0)))
}

// other judges a packet that is not TCP, or TCP behind options or extension headers.
func (r *reader) other(i int, pkt []byte) {
	c := r.capture
	var p packet.Packet
	if p.Parse(pkt) != nil {
		c.counters.malformed.Add(1)
		return
	}
	ours, addresses := c.cfg.Addr4, pkt[12:20]
	if p.Source.Is6() {
		ours, addresses = c.cfg.Addr6, pkt[8:40]
	}
	switch {
	case !single(p.Target):
		c.counters.group.Add(1)
	case p.Target == ours:
		c.counters.own.Add(1)
	case p.Protocol == wire.TCP && p.Fragment():
		c.counters.malformed.Add(1)
	case p.Protocol == wire.TCP:
		r.segment(i, pkt, addresses, p.Body)
	case ours.IsValid() && p.Source != ours:
		c.counters.foreign.Add(1)
	default:
		if err := c.refuses(netip.AddrPortFrom(p.Target, 0)); err != nil {
			c.counters.refused.Add(1)
			c.explain(p.Target, err, pkt)
			return
		}
		r.others = append(r.others, pkt)
	}
}

// single reports whether an address is of one host.
func single(a netip.Addr) bool {
	return !a.IsMulticast() && !a.IsUnspecified() && !a.IsLinkLocalUnicast() && (a.Is6() || a.As4()[0] < 240)
}

func (c *Capture) refuses(target netip.AddrPort) error {
	if c.cfg.Refuse == nil {
		return nil
	}
	return c.cfg.Refuse(target)
}

// explain answers a packet with the ICMP error that says why. It comes from the target: whatever routes to
// the device takes that as the source, unlike an address of the host itself. It reports whether it could.
func (c *Capture) explain(target netip.Addr, why error, about []byte) bool {
	kind := packet.Why(why)
	if kind == 0 || kind == packet.TooBig {
		kind = packet.NoHost
	}
	answer := packet.AppendError(nil, target, kind, 0, about)
	if len(answer) == 0 {
		return false
	}
	c.queue.inject([][]byte{answer})
	return true
}
