package server

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"tandem/engine/convert"
	"tandem/tunnel/relay"
	multipath "tandem/tunnel/upstream"
)

// capable are the options of a SYN/ACK that accepts Multipath TCP (RFC 8684 3.1), of which the kernel tells that alone: the key
// is nobody's.
var capable = []byte{convert.MPTCP, 12, 0x01, 0x01, 0, 0, 0, 0, 0, 0, 0, 0}

// A conversion is what a client has asked for. It is a relay.Offer, and a relay.Leaver until it is answered.
type conversion struct {
	converter *Converter
	conn      *net.TCPConn
	stream    relay.Stream // conn
	client    *convert.Converter
	leave     func()        // gives the files back
	gone      chan struct{} // closed when the client has reset the connection
	watched   chan struct{} // closed when nobody looks for that any more
	spoken    bool          // the target speaks Multipath TCP; the converter's mu guards it
}

func newConversion(c *Converter, conn *net.TCPConn, client *convert.Converter, leave func()) *conversion {
	return &conversion{
		converter: c, conn: conn, stream: relay.NetStream(conn), client: client, leave: leave,
		gone: make(chan struct{}), watched: make(chan struct{}),
	}
}

// begin has the converter know who is asking.
func (o *conversion) begin() {
	o.converter.mu.Lock()
	defer o.converter.mu.Unlock()
	o.converter.asking[o.Source()] = o
}

// answered ends that. The converter's mu is held.
func (o *conversion) answered() {
	if o.converter.asking[o.Source()] == o {
		delete(o.converter.asking, o.Source())
	}
}

// watch looks whether the client leaves, until it is answered or the connection closed.
func (o *conversion) watch() {
	defer close(o.watched)
	if e, ok := o.stream.(relay.Ender); ok && e.WaitEnd() != nil {
		close(o.gone)
	}
}

// unwatch ends watch, which nothing may be read beside, and reports whether the client is still there.
func (o *conversion) unwatch() bool {
	o.conn.SetReadDeadline(time.Unix(0, 0))
	<-o.watched
	o.conn.SetReadDeadline(time.Time{})
	select {
	case <-o.gone:
		return false
	default:
		return true
	}
}

// Gone is closed when the client leaves.
func (o *conversion) Gone() <-chan struct{} { return o.gone }

// Source is the client's address.
func (o *conversion) Source() netip.AddrPort { return o.conn.RemoteAddr().(*net.TCPAddr).AddrPort() }

// Target is the server's.
func (o *conversion) Target() netip.AddrPort { return o.client.Request().Target }

// Accept tells the client that it is connected.
func (o *conversion) Accept() (relay.Stream, error) {
	o.unwatch()
	c := o.converter
	c.mu.Lock()
	var options []byte
	if o.spoken {
		options = capable
	}
	o.answered()
	answer := o.client.Connected(options)
	c.mu.Unlock()
	multipath.Settle(o.conn, tellTime)
	if _, err := o.conn.Write(answer); err != nil {
		reset(o.conn)
		o.leave()
		return nil, err
	}
	return &guest{o.stream, o.leave}, nil
}

// Refuse tells the client why it is not, if it is still there.
func (o *conversion) Refuse(why error) {
	defer o.leave()
	if !o.unwatch() {
		o.end()
		o.conn.Close()
		return
	}
	c := o.converter
	failure := c.failure(why, o.Target())
	c.mu.Lock()
	o.answered()
	answer := o.client.Failed(c.now(), failure)
	c.mu.Unlock()
	tell(o.conn, answer)
}

// failure is how a client is told. That a network cannot be reached is the converter's failure, for which clients leave it
// alone, only if it has no route itself: otherwise anybody on the way could have them do so.
func (c *Converter) failure(why error, target netip.AddrPort) convert.Failure {
	network, unreachable := "udp4", uint8(0) // RFC 792; the same in RFC 4443 3.1
	if target.Addr().Is6() {
		network = "udp6"
	}
	switch {
	case errors.Is(why, os.ErrPermission):
		why = syscall.EACCES
	case errors.Is(why, syscall.ENETUNREACH) && c.hasRoute(network, target.String()):
		return convert.Unreachable(unreachable)
	}
	return convert.FailureOf(why, target.Addr())
}

// end forgets the client.
func (o *conversion) end() {
	o.converter.mu.Lock()
	defer o.converter.mu.Unlock()
	o.answered()
	o.client.End()
}

// A guest is a client's end of a connection that is relayed. It holds files until it is closed.
type guest struct {
	relay.Stream
	leave func()
}

// Close closes the connection.
func (g *guest) Close() error {
	defer g.leave()
	return g.Stream.Close()
}

// Abort resets the connection.
func (g *guest) Abort(why error) {
	defer g.leave()
	g.Stream.Abort(why)
}

// WaitRead is part of relay.Waiter, where the system lets the stream be one.
func (g *guest) WaitRead() error {
	if w, ok := g.Stream.(relay.Waiter); ok {
		return w.WaitRead()
	}
	return nil
}

// WaitEnd is part of relay.Ender, where the system lets the stream be one.
func (g *guest) WaitEnd() error {
	if e, ok := g.Stream.(relay.Ender); ok {
		return e.WaitEnd()
	}
	return nil
}
