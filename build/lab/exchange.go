package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"tandem/engine"
)

// target is where the far end serves.
var target = netip.AddrPortFrom(address(0, far, false), port)

// dial asks the far end for a connection, and for so many octets, and says how long it took to be established.
func (r *rig) dial(ctx context.Context, opt engine.DialOptions, down int64) (*engine.Conn, time.Duration, error) {
	begun := time.Now()
	c, err := r.near.bond.Open(target, opt)
	if err != nil {
		return nil, 0, err
	}
	context.AfterFunc(ctx, func() { c.Abort(ctx.Err()) })
	err = c.Established(ctx)
	took := time.Since(begun)
	if err == nil {
		_, err = c.Write(binary.BigEndian.AppendUint64(nil, uint64(down)))
	}
	return c, took, err
}

// talkOnce dials, moves octets both ways and sees the connection to its end.
func (r *rig) talkOnce(ctx context.Context, opt engine.DialOptions, up, down int64) (*engine.Conn, time.Duration, error) {
	c, took, err := r.dial(ctx, opt, down)
	if err == nil {
		err = exchange(c, up, down)
	}
	return c, took, err
}

// talkEarly is talkOnce whose first octets are there before the SYN leaves.
func (r *rig) talkEarly(ctx context.Context, opt engine.DialOptions, up, down int64) (*engine.Conn, error) {
	first := binary.BigEndian.AppendUint64(nil, uint64(down))
	var err error
	if opt.First, err = io.ReadAll(io.MultiReader(bytes.NewReader(first), io.LimitReader(octets(1), earlyOctets))); err != nil {
		return nil, err
	}
	c, err := r.near.bond.Open(target, opt)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { c.Abort(ctx.Err()) })
	return c, exchangeFrom(c, earlyOctets, up, down)
}

// An episode is a connection of a rig from its first SYN to its end, and what was seen of it.
type episode struct {
	conn    *engine.Conn
	took    time.Duration // until it was established
	packets []sight       // all that crossed the rig
	kernel  counters      // of the far end; nil, if the engine is there
}

// talked is an episode in which octets move both ways. extra are fields that are wanted of its packets.
func (r *rig) talked(ctx context.Context, opt engine.DialOptions, up, down int64, extra ...string) (e episode, err error) {
	if e.conn, e.took, err = r.talkOnce(ctx, opt, up, down); err != nil {
		return e, err
	}
	return r.seenAll(ctx, e, extra...)
}

// joined is an episode in which the kernel takes a join before the connection ends. during is called once it is established;
// nil: nothing is.
func (r *rig) joined(ctx context.Context, during func()) (e episode, err error) {
	if e.conn, e.took, err = r.dial(ctx, engine.DialOptions{}, 0); err != nil {
		return e, err
	}
	if during != nil {
		during()
	}
	if _, err := r.counted(ctx, "MPJoinAckRx", 1); err != nil {
		return e, err
	}
	if err := exchange(e.conn, 100_000, 0); err != nil {
		return e, err
	}
	return r.seenAll(ctx, e)
}

func (r *rig) seenAll(ctx context.Context, e episode, extra ...string) (_ episode, err error) {
	if r.host != nil {
		if e.kernel, err = readCounters(ctx, r.host); err != nil {
			return e, err
		}
	}
	e.packets, err = r.sights(ctx, "ip", extra...)
	return e, err
}

// called has the kernel ask the near end for a connection to an address, and both carry out their talks. Who is asked
// says what of.
func (r *rig) called(ctx context.Context, e errand, mine talk) (asked netip.AddrPort, err error) {
	dialing, err := send(ctx, r.host, e)
	if err != nil {
		return asked, err
	}
	offer, err := r.near.bond.Accept(ctx)
	if err != nil {
		return asked, err
	}
	c, err := offer.Accept()
	if err != nil {
		return asked, err
	}
	heard := converse(ctx, c, mine, new(atomic.Int64))
	return offer.Target(), errors.Join(heard.check(e.Talk), (<-dialing.done).check(mine))
}

const servedSeed = 2

// exchange is the near end's part of what oblige does.
func exchange(c stream, up, down int64) error { return exchangeFrom(c, 0, up, down) }

// exchangeFrom is exchange when so many octets were written before.
func exchangeFrom(c stream, early, up, down int64) error {
	wrote := make(chan error, 1)
	sent := sha256.New()
	go func() {
		all := io.TeeReader(octets(1), sent)
		io.CopyN(io.Discard, all, early)
		_, err := io.CopyN(onlyWriter{c}, all, up-early)
		wrote <- err
	}()
	h := sha256.New()
	if n, err := io.CopyN(h, c, down); err != nil {
		return fmt.Errorf("%d octets of %d came: %w", n, down, err)
	}
	if want := digest(servedSeed, down); fmt.Sprintf("%x", h.Sum(nil)) != want {
		return errors.New("wrong octets came")
	}
	// The kernel takes no join of a peer that has ended its stream.
	if err := errors.Join(<-wrote, c.CloseWrite()); err != nil {
		return err
	}
	told, err := io.ReadAll(c)
	if err == nil && !bytes.Equal(told, sent.Sum(nil)) {
		err = fmt.Errorf("of %d octets sent others arrived", up)
	}
	return err
}

// oblige serves who connects: eight octets say how many to send. What comes after them is drunk, and its digest told when it
// ends. heard is called when the first octets are there: an offer that was one more SYN of another connection brings none.
func oblige(s stream, heard func()) error {
	defer s.Close()
	var ask [8]byte
	if _, err := io.ReadFull(s, ask[:]); err != nil {
		return err
	}
	heard()
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyN(onlyWriter{s}, octets(servedSeed), int64(binary.BigEndian.Uint64(ask[:])))
		sent <- err
	}()
	h := sha256.New()
	_, err := io.Copy(h, onlyReader{s})
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	_, err = s.Write(h.Sum(nil))
	return err
}

// runHost is oblige for all that come to the kernel.
func runHost(ctx context.Context, t task, out io.Writer) (a account, err error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(!t.Plain)
	l, err := lc.Listen(ctx, "tcp4", t.Address)
	if err != nil {
		return a, err
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	fmt.Fprintln(out, "ready")
	attend(l, func(c *net.TCPConn) {
		fmt.Fprintln(out, "accepted")
		oblige(c, func() {})
	})
	return a, nil
}
