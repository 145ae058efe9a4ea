package apptest

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"tandem/tunnel/relay"
)

// RefusedPort is the port of every target that refuses.
const RefusedPort = 81

// A Loop dials one listener for every target, but for RefusedPort.
type Loop struct{ At string }

// Echo listens, until the test ends, and says back whatever it is told. The dialer leads to it.
func Echo(t *testing.T) Loop {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer c.Close()
				io.Copy(c, c)
				c.(*net.TCPConn).CloseWrite()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		open.Wait()
	})
	return Loop{l.Addr().String()}
}

// Dial is part of relay.Dialer.
func (d Loop) Dial(ctx context.Context, target netip.AddrPort) (relay.Stream, error) {
	if target.Port() == RefusedPort {
		return nil, syscall.ECONNREFUSED
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", d.At)
	if err != nil {
		return nil, err
	}
	return relay.NetStream(c.(*net.TCPConn)), nil
}

// Listen takes a port that is free for both UDP and TCP, as a resolver does.
func Listen(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if l, err := net.Listen("tcp", c.LocalAddr().String()); err == nil {
			return c, l
		}
		c.Close() // TCP has it
	}
	t.Fatal("no port is free for UDP and TCP")
	return nil, nil
}

// Resolver answers questions over UDP and TCP with a handler, until the test ends, and returns where.
func Resolver(t *testing.T, handler dns.Handler) string {
	t.Helper()
	c, l := Listen(t)
	for _, s := range []*dns.Server{{PacketConn: c, Handler: handler}, {Listener: l, Handler: handler}} {
		ready := make(chan struct{})
		s.NotifyStartedFunc = func() { close(ready) }
		go s.ActivateAndServe()
		<-ready
		t.Cleanup(func() { s.Shutdown() })
	}
	return c.LocalAddr().String()
}
