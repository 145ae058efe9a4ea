package native

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"tandem/engine/wire"
)

// A tap sees the RST that go over a link's wire.
type tap struct {
	t  testing.TB
	fd int
}

func (w *world) tap() *tap {
	w.t.Helper()
	p := &tap{t: w.t}
	w.there.do(func() (err error) {
		p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := attach(p.fd, resets); err != nil {
			return err
		}
		return unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: unix.ETH_P_ALL << 8})
	})
	w.t.Cleanup(func() { unix.Close(p.fd) })
	return p
}

// resets takes TCP segments with RST out of frames of Ethernet.
var resets = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 14, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: 0x60, SkipTrue: 3},
	bpf.LoadAbsolute{Off: 14 + 9, Size: 1}, // IPv4
	bpf.LoadMemShift{Off: 14},
	bpf.Jump{Skip: 2},
	bpf.LoadAbsolute{Off: 14 + 6, Size: 1}, // IPv6
	bpf.LoadConstant{Dst: bpf.RegX, Val: header6},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolTCP, SkipFalse: 3},
	bpf.LoadIndirect{Off: 14 + 13, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: uint32(wire.RST), SkipFalse: 1},
	bpf.RetConstant{Val: all},
	bpf.RetConstant{},
}

// resets returns how many RST from an address and port there were since it was last asked.
func (p *tap) resets(from netip.AddrPort) (n int) {
	p.t.Helper()
	frame := make([]byte, 2000)
	for {
		got, _, err := unix.Recvfrom(p.fd, frame, 0)
		if err == unix.EAGAIN {
			return n
		}
		if err != nil {
			p.t.Fatal(err)
		}
		source, _, _, err := wire.Addresses(frame[14:got])
		if err == nil && source == from {
			n++
		}
	}
}

// want waits for a RST.
func (p *tap) want(from netip.AddrPort) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); p.resets(from) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("no RST from %v", from)
		}
	}
}
