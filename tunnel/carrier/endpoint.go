package carrier

import (
	"net"
	"net/netip"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"
)

// An endpoint is where a peer is, and at which of our addresses it reaches us. Peers at the same place
// share one, so nothing in it changes but the source, which may be given up.
type endpoint struct {
	dst    netip.AddrPort
	remote *net.UDPAddr // dst
	src    netip.Addr   // zero: the system's choice
	given  []byte       // control message that asks for src
	free   atomic.Bool  // src was given up
}

func newEndpoint(dst netip.AddrPort, src netip.Addr) *endpoint {
	dst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	e := &endpoint{dst: dst, remote: net.UDPAddrFromAddrPort(dst), src: src}
	if src.IsValid() {
		e.given = sourceControl(src)
	}
	return e
}

// control returns the control message to send with, if any.
func (e *endpoint) control() []byte {
	if e.free.Load() {
		return nil
	}
	return e.given
}

func (e *endpoint) ClearSrc() { e.free.Store(true) }

func (e *endpoint) SrcIP() netip.Addr {
	if e.free.Load() {
		return netip.Addr{}
	}
	return e.src
}

func (e *endpoint) SrcToString() string {
	if src := e.SrcIP(); src.IsValid() {
		return src.String()
	}
	return ""
}

func (e *endpoint) DstIP() netip.Addr   { return e.dst.Addr() }
func (e *endpoint) DstToString() string { return e.dst.String() }

// DstToBytes is what cookies are bound to.
func (e *endpoint) DstToBytes() []byte {
	b, _ := e.dst.MarshalBinary()
	return b
}

// known keeps the endpoints that one receiver has seen, so that a packet from one of them costs nothing.
type known struct {
	last *endpoint
	all  map[flow]*endpoint
}

type flow struct {
	dst netip.AddrPort
	src netip.Addr
}

// knownMax bounds what strangers can make a receiver keep.
const knownMax = 1024

func (k *known) endpoint(dst netip.AddrPort, src netip.Addr) conn.Endpoint {
	if e := k.last; e != nil && e.dst == dst && e.src == src && !e.free.Load() {
		return e
	}
	f := flow{dst, src}
	e := k.all[f]
	if e == nil || e.free.Load() {
		if k.all == nil || len(k.all) >= knownMax {
			k.all = map[flow]*endpoint{}
		}
		e = newEndpoint(dst, src)
		k.all[f] = e
	}
	k.last = e
	return e
}
