package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"tandem/tunnel/relay"
)

// An Offer is a connection that a client asked for; it is a relay.Offer. It is answered once. Where the
// client named a host of several addresses, refusing one offers the next.
type Offer struct {
	ask      *ask
	target   netip.AddrPort
	rest     []netip.Addr
	answered atomic.Bool
}

// An ask is a client that waits for an answer.
type ask struct {
	proxy   *Proxy
	conn    *net.TCPConn
	request request
	source  netip.AddrPort
	gone    chan struct{} // closed when the client left
	watched chan struct{} // closed when nobody reads from conn
	octet   []byte        // what watching read
}

func (p *Proxy) offer(conn *net.TCPConn, r request, targets []netip.Addr) {
	source := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	a := &ask{proxy: p, conn: conn, request: r, gone: make(chan struct{}), watched: make(chan struct{}),
		source: netip.AddrPortFrom(source.Addr().Unmap(), source.Port())}
	p.group.Go(a.watch)
	a.offer(targets)
	p.counters.offers.Add(1)
}

// offer: there is room, because a client has one offer at a time and a slot.
func (a *ask) offer(targets []netip.Addr) {
	a.proxy.ready <- &Offer{ask: a, target: netip.AddrPortFrom(targets[0], a.request.port), rest: targets[1:]}
}

// watch notices that the client leaves. A client that does not wait for the answer is not watched further.
func (a *ask) watch() {
	defer close(a.watched)
	if len(a.request.early) > 0 {
		return
	}
	octet := make([]byte, 1)
	n, err := a.conn.Read(octet)
	a.octet = octet[:n]
	if timeout, ok := err.(net.Error); err != nil && (!ok || !timeout.Timeout()) {
		close(a.gone)
	}
}

// unwatch ends watching, so that the connection can be given away.
func (a *ask) unwatch() {
	a.conn.SetReadDeadline(time.Unix(1, 0))
	<-a.watched
	a.conn.SetReadDeadline(time.Time{})
}

// Source is the client's address.
func (o *Offer) Source() netip.AddrPort { return o.ask.source }

// Target is whom the client wants.
func (o *Offer) Target() netip.AddrPort { return o.target }

// Gone is closed when the client left before it was answered.
func (o *Offer) Gone() <-chan struct{} { return o.ask.gone }

func (o *Offer) left() bool {
	select {
	case <-o.ask.gone:
		return true
	default:
		return false
	}
}

// Accept tells the client that it is connected.
func (o *Offer) Accept() (relay.Stream, error) {
	if o.answered.Swap(true) {
		return nil, fmt.Errorf("accept %v: %w", o.ask.source, net.ErrClosed)
	}
	a := o.ask
	a.unwatch()
	a.proxy.forget(a.conn)
	defer func() { <-a.proxy.slots }()
	err := a.request.dialect.accept(a.conn)
	if o.left() {
		err = net.ErrClosed
	}
	if err != nil {
		a.conn.Close()
		return nil, fmt.Errorf("accept %v: %w", a.source, err)
	}
	s := relay.NetStream(a.conn)
	if early := append(a.octet, a.request.early...); len(early) > 0 {
		return &hasty{Stream: s, early: early}, nil
	}
	return s, nil
}

// Refuse tells the client why it is not connected, unless there is another address to try.
func (o *Offer) Refuse(why error) {
	if o.answered.Swap(true) {
		return
	}
	a := o.ask
	if len(o.rest) > 0 && !o.left() {
		a.offer(o.rest)
		return
	}
	if !a.proxy.begin() {
		return // Run has closed it
	}
	go func() {
		defer a.proxy.group.Done()
		a.unwatch()
		a.conn.SetWriteDeadline(time.Now().Add(farewell))
		a.request.dialect.refuse(a.conn, why)
		a.proxy.leave(a.conn)
	}()
}

// A hasty stream's client sent before it was answered.
type hasty struct {
	relay.Stream
	early []byte
}

// Read gives first what came early.
func (s *hasty) Read(b []byte) (int, error) {
	if len(s.early) > 0 {
		n := copy(b, s.early)
		s.early = s.early[n:]
		return n, nil
	}
	return s.Stream.Read(b)
}
