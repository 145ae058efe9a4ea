package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"tandem/tunnel/relay"
)

const (
	// synTimeMax is less than what Linux waits before it repeats a SYN (RFC 6298 2.1).
	synTimeMax = 900 * time.Millisecond

	// proofPause is how often it is looked whether a client is there.
	proofPause = 20 * time.Millisecond
)

// multipathDialer dials with the kernel's Multipath TCP what reaches allows. When that fails, for whatever reason, package net
// dials with TCP, which must not send a SYN if it was given up.
func multipathDialer(reaches func(address string) error) func(ctx context.Context, network, target string) (net.Conn, error) {
	dialer := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 6},
		ControlContext: func(ctx context.Context, _, address string, _ syscall.RawConn) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return reaches(address)
		},
	}
	dialer.SetMultipathTCP(true)
	return dialer.DialContext
}

// Dial is part of relay.Dialer.
func (c *Converter) Dial(ctx context.Context, target netip.AddrPort) (relay.Stream, error) {
	return c.DialFrom(ctx, netip.AddrPort{}, target)
}

// DialFrom is part of relay.SourceDialer. It notes for the client whether the target speaks Multipath TCP.
func (c *Converter) DialFrom(ctx context.Context, client, target netip.AddrPort) (relay.Stream, error) {
	c.mu.Lock()
	o := c.asking[client]
	c.mu.Unlock()
	conn, err := c.dialFor(ctx, o, target.String())
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	if speaks, err := tcp.MultipathTCP(); err == nil && speaks && o != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		o.spoken = true
	}
	return relay.NetStream(tcp), nil
}

var errUnproven = errors.New("nobody has shown that it is there")

// dialFor dials for a client, nil: one that is there. As long as one asks by no more than a SYN, which anybody can send in its
// name, its target is sent no more than one either (RFC 8803 9.3).
func (c *Converter) dialFor(ctx context.Context, o *conversion, target string) (net.Conn, error) {
	if o == nil || c.settled(o.conn) {
		return c.dial(ctx, "tcp", target)
	}
	first, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := time.AfterFunc(c.synTime, func() {
		if !c.settled(o.conn) {
			cancel(errUnproven)
		}
	})
	defer stop.Stop()
	conn, err := c.dial(first, "tcp", target)
	if err == nil || context.Cause(first) != errUnproven {
		return conn, err
	}
	c.paused.Add(1)
	if err := c.proof(ctx, o); err != nil {
		return nil, err
	}
	return c.dial(ctx, "tcp", target)
}

// proof waits until a client has shown that it is there.
func (c *Converter) proof(ctx context.Context, o *conversion) error {
	tick := time.NewTicker(proofPause)
	defer tick.Stop()
	for !c.settled(o.conn) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
