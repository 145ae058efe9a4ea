package capture

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"

	"tandem/tunnel/relay"
)

// A dialer reaches one server under every address, and port 1 nowhere.
type dialer struct{ server string }

func (d dialer) Dial(ctx context.Context, target netip.AddrPort) (relay.Stream, error) {
	if target.Port() == 1 {
		return nil, syscall.ECONNREFUSED
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", d.server)
	if err != nil {
		return nil, err
	}
	return relay.NetStream(c.(*net.TCPConn)), nil
}

// Captured connections are relayed: octets and ends both ways, refusals, and resets of the target.
func TestRelay(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer server.Close()
	h := newHost(t, 1500, nil)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	go func() {
		accept := func(ctx context.Context) (relay.Offer, error) { return h.capture.Accept(ctx) }
		served <- relay.Serve(ctx, accept, dialer{server.Addr().String()}, relay.Config{})
	}()
	defer func() {
		stop()
		<-served
	}()

	a := <-h.dial(target4)
	far, err := server.Accept()
	must(t, err)
	write(t, a, "request")
	must(t, a.CloseWrite())
	if got, err := io.ReadAll(far); err != nil || string(got) != "request" {
		t.Errorf("the target read %q, %v", got, err)
	}
	write(t, far, "answer")
	far.Close()
	if got, err := io.ReadAll(a); err != nil || string(got) != "answer" {
		t.Errorf("the application read %q, %v", got, err)
	}

	if a := <-h.dial(netip.AddrPortFrom(target6.Addr(), 1)); a.err == nil || a.err.String() != (&tcpip.ErrConnectionRefused{}).String() {
		t.Errorf("refused: %v", a.err)
	}

	a = <-h.dial(target6)
	far, err = server.Accept()
	must(t, err)
	must(t, far.(*net.TCPConn).SetLinger(0))
	far.Close()
	a.over()
	if _, err := a.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("after the target's reset the application reads %v", err)
	}

	a = <-h.dial(target6)
	far, err = server.Accept()
	must(t, err)
	a.ep.Abort()
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the application's reset the target reads %v", err)
	}
	far.Close()
}
