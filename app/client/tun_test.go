package client

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"tandem/app/control"
	"tandem/engine/wire"
	"tandem/platform"
	"tandem/platform/platformtest"
	"tandem/tunnel/packet"
)

// A tunHost keeps hold of the TUN that it made.
type tunHost struct {
	*platformtest.Host
	made chan *platformtest.Tun
	err  error
}

func (h tunHost) Tun(name string, mtu int) (platform.Tun, error) {
	if h.err != nil {
		return nil, h.err
	}
	t, err := h.Host.Tun(name, mtu)
	if err == nil {
		h.made <- t.(*platformtest.Tun)
	}
	return t, err
}

// routes are those into the TUN.
func routes(h *platformtest.Host) (found []string) {
	for _, thing := range h.State().Things {
		if r, ok := thing.(platform.Route); ok && r.Dev == tunName {
			found = append(found, r.To.String())
		}
	}
	slices.Sort(found)
	return found
}

func TestRoutesAreMadeAndUndone(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	w.join()
	before := w.host.State()
	cfg := w.config()
	h := tunHost{w.host, make(chan *platformtest.Tun, 2), nil}
	cfg.Host, cfg.Routes = h, "203.0.113.0/24"
	w.start(cfg)
	w.connected("wlan0", "wwan0")
	w.wait("routes", func(control.State) bool { return len(routes(w.host)) > 0 })
	if got := routes(w.host); !slices.Contains(got, "203.0.113.0/24") || !slices.Contains(got, "198.18.0.1/32") || slices.Contains(got, "0.0.0.0/0") {
		t.Errorf("routes into the TUN: %q", got)
	}
	tun := <-h.made
	syn(t, tun)
	if err := w.client.Down(w.ctx()); err != nil {
		t.Fatal(err)
	}
	if got := routes(w.host); len(got) != 0 {
		t.Errorf("down, with routes %q", got)
	}
	if err := w.client.Up(w.ctx()); err != nil {
		t.Fatal(err)
	}
	w.connected("wlan0", "wwan0")
	w.wait("routes again", func(control.State) bool { return len(routes(w.host)) > 0 })
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if after := w.host.State(); len(after.Things) != len(before.Things) {
		t.Errorf("left behind: %v, before: %v", after.Things, before.Things)
	}
}

// syn has a program ask for a connection, and wants the handshake to go on.
func syn(t *testing.T, tun *platformtest.Tun) {
	t.Helper()
	here, there := netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("203.0.113.7")
	p := packet.Packet{Source: here, Target: there, Protocol: wire.TCP}
	segment := []byte{
		0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0,
	}
	sum := checksum(here, there, segment)
	segment[16], segment[17] = byte(sum>>8), byte(sum)
	p.Body = segment
	tun.Send(p.Append(nil))
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	var got packet.Packet
	for got.Protocol != wire.TCP {
		answer, err := tun.Receive(ctx)
		if err == nil {
			err = got.Parse(answer)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got.Source != there || len(got.Body) < 20 || got.Body[13] != 0x12 {
		t.Errorf("answer %+v, want a SYN/ACK", got)
	}
}

// checksum is TCP's over IPv4 (RFC 9293 3.1).
func checksum(source, target netip.Addr, segment []byte) uint16 {
	a, b := source.As4(), target.As4()
	sum := uint32(6 + len(segment))
	for _, part := range [][]byte{a[:], b[:], segment} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(part[i])<<8 | uint32(part[i+1])
		}
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func TestNoTun(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	w.join()
	cfg := w.config()
	cfg.Routes = "default"
	cfg.Host = tunHost{w.host, nil, errors.New("may not make a TUN device: run as root or use --socks")}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(w.ctx()); err == nil || !strings.Contains(err.Error(), "use --socks") {
		t.Errorf("run without a TUN: %v", err)
	}
}
