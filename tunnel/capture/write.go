package capture

import (
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	batchMax = 128 // packets the device takes at once

	// A device joins segments of one stream by appending to the first, if there is room.
	roomMax = 2*headroom + mtuMax
)

// A writer cuts gVisor's segments, which are up to 64 KiB long, to the device's MTU and writes batches.
type writer struct {
	capture *Capture
	bufs    [][]byte
	n       int // of bufs in use
}

func (c *Capture) write() {
	w := &writer{capture: c, bufs: make([][]byte, batchMax)}
	room := make([]byte, batchMax*roomMax) // one piece, of which pages that are not used take no memory
	for i := range w.bufs {
		w.bufs[i] = room[i*roomMax : (i+1)*roomMax : (i+1)*roomMax]
	}
	var packets []*stack.PacketBuffer
	for {
		var ok bool
		if packets, ok = c.queue.take(packets[:0]); !ok {
			return
		}
		for i, p := range packets {
			w.packet(p)
			p.DecRef()
			packets[i] = nil
		}
		w.flush()
	}
}

func (w *writer) packet(p *stack.PacketBuffer) {
	octets := newCursor(p)
	if p.TransportProtocolNumber != header.TCPProtocolNumber {
		octets.read(w.next(p.Size()))
		return
	}
	l3, l4 := len(p.NetworkHeader().Slice()), len(p.TransportHeader().Slice())
	var headers [128]byte
	if l3+l4 > len(headers) {
		w.capture.counters.segments.Add(1)
		return
	}
	octets.read(headers[:l3+l4])
	size, mss := p.Data().Size(), w.capture.mtu-l3-l4
	if m := int(p.GSOOptions.MSS); p.GSOOptions.Type != stack.GSONone && m > 0 {
		mss = min(mss, m)
	}
	for at := 0; at == 0 || at < size; at += mss {
		n := min(mss, size-at)
		pkt := w.next(l3 + l4 + n)
		copy(pkt, headers[:l3+l4])
		octets.read(pkt[l3+l4:])
		finish(pkt, l3, at, at/mss, at+n == size)
	}
}

// finish makes a segment of the one that pkt's headers are of: its number i, at octets behind the first.
func finish(pkt []byte, l3, at, i int, last bool) {
	segment := header.TCP(pkt[l3:])
	addresses := pkt[8:40]
	if pkt[0]>>4 == 4 {
		addresses = pkt[12:20]
		ip := header.IPv4(pkt)
		ip.SetTotalLength(uint16(len(pkt)))
		ip.SetID(ip.ID() + uint16(i))
		ip.SetChecksum(0)
		ip.SetChecksum(^ip.CalculateChecksum())
	} else {
		header.IPv6(pkt).SetPayloadLength(uint16(len(segment)))
	}
	if at > 0 {
		segment.SetSequenceNumber(segment.SequenceNumber() + uint32(at))
	}
	flags := segment.Flags()
	if !last {
		flags &^= header.TCPFlagFin | header.TCPFlagPsh
	}
	segment.SetFlags(uint8(flags))
	segment.SetChecksum(0)
	segment.SetChecksum(^sum(addresses, segment))
}

// next is room for a packet of n octets in the batch.
func (w *writer) next(n int) []byte {
	if w.n == len(w.bufs) {
		w.flush()
	}
	b := w.bufs[w.n][:headroom+n]
	w.bufs[w.n] = b
	w.n++
	return b[headroom:]
}

func (w *writer) flush() {
	if w.n == 0 {
		return
	}
	if _, err := w.capture.cfg.Device.Write(w.bufs[:w.n], headroom); err != nil {
		w.capture.counters.deviceErrors.Add(1)
	}
	w.n = 0
}

// A cursor goes through the octets of a packet that lies in pieces.
type cursor struct {
	view *buffer.View
	rest []byte // of the view
}

func newCursor(p *stack.PacketBuffer) cursor {
	views, skip := p.AsViewList()
	c := cursor{view: views.Front()}
	for ; c.view != nil; c.view = c.view.Next() {
		if octets := c.view.AsSlice(); skip < len(octets) {
			c.rest = octets[skip:]
			break
		} else {
			skip -= len(octets)
		}
	}
	return c
}

// read fills b as far as the packet goes.
func (c *cursor) read(b []byte) {
	for len(b) > 0 && c.view != nil {
		n := copy(b, c.rest)
		b, c.rest = b[n:], c.rest[n:]
		if len(c.rest) == 0 {
			if c.view = c.view.Next(); c.view != nil {
				c.rest = c.view.AsSlice()
			}
		}
	}
}
