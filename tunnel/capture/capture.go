// Package capture takes what applications send into a TUN device: a TCP connection becomes an offer, and
// a stream when the offer is accepted; every other packet is handed on whole, and whole packets come back.
//
//	device ─ read ─┬─ TCP ──► gVisor ─ SYN ──► offers ──► Accept ──► Offer ─ Accept ─► Stream
//	               └─ other ──► Packets                                    │
//	device ◄ write ◄─ queue ◄─┬─ gVisor's segments ◄───────────────────────┘
//	                          └─ Inject, ICMP errors of refusals
package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// A Device is where IP packets of applications come out and go in, several at a time. Its methods are
// those of the type of this name in golang.zx2c4.com/wireguard/tun.
type Device interface {
	Read(bufs [][]byte, sizes []int, offset int) (int, error)
	Write(bufs [][]byte, offset int) (int, error)
	MTU() (int, error)
	BatchSize() int
	Close() error
}

// A Config says what to capture, and what to do with it.
type Config struct {
	Device       Device
	Addr4, Addr6 netip.Addr // ours on the device; packets but TCP from others are dropped. Zero: any
	// Packets takes whole IP packets that are not TCP. It must not wait and keeps none; nil: dropped.
	Packets func(pkts [][]byte)
	// Refuse says why a target cannot be reached at all, at once; nil: none. The application hears of it. It
	// is asked for each packet but TCP too, with port 0, and must be quick.
	Refuse        func(target netip.AddrPort) error
	SYNs          int // unanswered at a time, 8192 if 0; more are dropped and counted
	SYNsPerTarget int // of those, to one address and port, 64 if 0
	Log           *slog.Logger
}

const (
	synsDefault          = 8192
	synsPerTargetDefault = 64

	mtuMin, mtuMax = 576, 65535
)

// A Capture serves one device.
type Capture struct {
	cfg       Config
	mtu       int
	stack     *stack.Stack
	forwarder *tcp.Forwarder
	link      *link
	queue     *queue
	offers    *offers
	counters  counters

	handshakes sync.WaitGroup // of offers being accepted
	done       chan struct{}  // closed when Run ends
}

// New prepares a capture, which then owns the device. Nothing happens before Run.
func New(cfg Config) (*Capture, error) {
	if cfg.SYNs <= 0 {
		cfg.SYNs = synsDefault
	}
	if cfg.SYNsPerTarget <= 0 {
		cfg.SYNsPerTarget = synsPerTargetDefault
	}
	if cfg.Packets == nil {
		cfg.Packets = func([][]byte) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	mtu, err := cfg.Device.MTU()
	if err != nil {
		return nil, fmt.Errorf("asking the device for its MTU: %w", err)
	}
	if mtu < mtuMin || mtu > mtuMax {
		return nil, fmt.Errorf("the device's MTU of %d is none of %d to %d", mtu, mtuMin, mtuMax)
	}
	c := &Capture{cfg: cfg, mtu: mtu, done: make(chan struct{})}
	c.queue = newQueue(&c.counters)
	c.offers = newOffers(cfg.SYNs, cfg.SYNsPerTarget, &c.counters)
	c.link = &link{mtu: uint32(mtu), queue: c.queue}
	if err := c.build(); err != nil {
		return nil, err
	}
	return c, nil
}

// Run serves the device until ctx ends, which gives nil, or the device fails. Then every stream is reset,
// the device is closed, and nothing goes on. It is called once.
func (c *Capture) Run(ctx context.Context) error {
	read, wrote := make(chan error, 1), make(chan struct{})
	go func() { read <- c.read() }()
	go func() { defer close(wrote); c.write() }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-read:
		read <- err
	}
	close(c.done)
	c.offers.close()
	c.abort()
	c.queue.close()
	<-wrote
	closed := c.cfg.Device.Close()
	if failed := <-read; err == nil && !errors.Is(failed, net.ErrClosed) && ctx.Err() == nil {
		err = failed
	}
	c.stack.Wait()
	if ctx.Err() != nil {
		return closed
	}
	return err
}

// Accept waits for the next offer. It fails with ctx's error, or net.ErrClosed once Run has ended.
func (c *Capture) Accept(ctx context.Context) (*Offer, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.done:
			return nil, net.ErrClosed
		case o := <-c.offers.ready:
			if c.offers.waits(o) {
				return o, nil
			}
		}
	}
}

// Inject gives whole IP packets to applications. It copies them and does not wait: what a short queue has
// no room for is dropped and counted.
func (c *Capture) Inject(pkts [][]byte) { c.queue.inject(pkts) }
