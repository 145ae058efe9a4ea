package engine

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// Bond is the set of paths between this host and one peer (or, unless Paired, all its peers), and
// every connection over them. All methods may be called by many goroutines at once, but not by
// Path.Send, which the loop calls.
type Bond struct {
	engine *Engine
	log    *slog.Logger
	mail   mail
	offers chan *Offer
	shut   chan struct{} // closed when the bond takes no more
	done   chan struct{} // closed when the loop has ended

	// The loop's.
	machine     *mptcp.Bond
	paths       []*Attachment      // by number; nil where none is
	mtu         int                // the largest of any path so far
	conns       map[*Conn]struct{} // all that have not ended
	offersLost  uint64
	sendErrors  uint64
	broken      uint64 // connections whose trace was logged
	packets     func(pkts [][]byte)
	event       func(Event)
	handed      [][]byte // the batch being handed over
	packetsLost uint64
	ending      bool // Close was called
	bye         ByeReason
	timer       *time.Timer
	alarm       clock.Time // when the timer will fire, or Never
}

// Counters count what was dropped or refused, by reason.
type Counters struct {
	mptcp.Counters
	Offers     uint64 // refused, because as many waited for Accept as Limits.Offers allows
	Overflows  uint64 // packets delivered and dropped, because Limits.Inbox was reached
	SendErrors uint64 // batches for which Path.Send returned an error
	Outbox     uint64 // packets given to SendPackets and dropped, because DatagramConfig.Queue was reached
	Packets    uint64 // packets that came and were dropped, because BondConfig.Packets is nil
}

// DialOptions refine Open.
type DialOptions struct {
	mptcp.DialOptions
	First []byte // written before the SYN leaves, so that it may ride in it
}

func newBond(e *Engine, cfg BondConfig, limits Limits) *Bond {
	b := &Bond{
		engine:  e,
		log:     e.log,
		offers:  make(chan *Offer, limits.Offers),
		shut:    make(chan struct{}),
		done:    make(chan struct{}),
		machine: mptcp.NewBond(cfg.Config),
		mtu:     1500,
		conns:   make(map[*Conn]struct{}),
		packets: cfg.Packets,
		event:   cfg.Event,
		timer:   time.NewTimer(0),
		alarm:   clock.Never,
	}
	if cfg.Name != "" {
		b.log = b.log.With("bond", cfg.Name)
	}
	outbox := cfg.Datagrams.Queue
	if outbox == 0 {
		outbox = packetsDefault
	}
	b.mail = mail{engine: e, inbox: limits.Inbox, outbox: outbox, wake: make(chan struct{}, 1)}
	b.timer.Stop()
	return b
}

// Dial asks for a connection to target and waits for the answer. It fails with ErrRefused and what is known of
// why, ErrTimeout, ErrReset, ErrNoPath, ErrLimit, net.ErrClosed or ctx's error.
func (b *Bond) Dial(ctx context.Context, target netip.AddrPort) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, failure("dial", netip.AddrPort{}, target, err)
	}
	c, err := b.Open(target, DialOptions{})
	if err != nil {
		return nil, err
	}
	if err := c.Established(ctx); err != nil {
		c.Abort(err)
		return nil, err
	}
	return c, nil
}

// Open asks for a connection to target and does not wait for the answer: see Conn.Established. What
// is written meanwhile leaves as early as the peer may take it.
func (b *Bond) Open(target netip.AddrPort, opt DialOptions) (*Conn, error) {
	target = unmap(target)
	var c *Conn
	var err error
	closed := b.do(func(now clock.Time) { c, err = b.open(now, target, opt) })
	if closed != nil {
		err = closed
	}
	if err != nil {
		return nil, failure("dial", netip.AddrPort{}, target, err)
	}
	return c, nil
}

// open is Open in the loop.
func (b *Bond) open(now clock.Time, target netip.AddrPort, opt DialOptions) (*Conn, error) {
	m, err := b.machine.Dial(now, target, opt.DialOptions)
	if err != nil {
		return nil, err
	}
	c := newConn(b, m, m.Source(), m.Target())
	m.Tag = c
	b.conns[c] = struct{}{}
	if len(opt.First) == 0 {
		return c, nil
	}
	n, err := m.Write(opt.First)
	if err == nil && n < len(opt.First) {
		err = ErrLimit
	}
	if err != nil {
		m.Abort(now)
		return nil, err
	}
	m.Poke(now)
	return c, nil
}

// Accept waits for the next offer. It fails with ctx's error or net.ErrClosed.
func (b *Bond) Accept(ctx context.Context) (*Offer, error) {
	for {
		select {
		case o := <-b.offers:
			select {
			case <-o.Gone():
				continue
			default:
				return o, nil
			}
		case <-b.shut:
			return nil, failure("accept", netip.AddrPort{}, netip.AddrPort{}, net.ErrClosed)
		case <-ctx.Done():
			return nil, failure("accept", netip.AddrPort{}, netip.AddrPort{}, ctx.Err())
		}
	}
}

// Listen takes offers for that port on the paths' own addresses; 0 means every port. A Paired bond
// takes offers for any address without it.
func (b *Bond) Listen(port uint16) {
	b.do(func(clock.Time) { b.machine.Listen(port) })
}

// Counters returns the counts so far; none after Close.
func (b *Bond) Counters() (n Counters) {
	b.do(func(clock.Time) {
		n.Counters = b.machine.Counters()
		n.Offers = b.offersLost
		n.SendErrors = b.sendErrors
		n.Packets = b.packetsLost
		b.mail.mu.Lock()
		defer b.mail.mu.Unlock()
		n.Overflows = b.mail.overflows
		n.Outbox = b.mail.outboxFull
	})
	return n
}

// Close aborts every connection, refuses every offer and detaches every path; who wants written
// octets delivered waits for Conn.Done before. When Close returns the loop has ended and no Path is used
// any more.
func (b *Bond) Close() error { return b.CloseWith(ByeShutdown) }

// CloseWith is Close that tells a Paired peer why.
func (b *Bond) CloseWith(r ByeReason) error {
	b.post(func(now clock.Time) { b.end(now, r) })
	<-b.done
	return nil
}

// do runs f in the loop and waits for it. It returns net.ErrClosed, and f does not run, once the bond
// is closed.
func (b *Bond) do(f func(now clock.Time)) error {
	done := make(chan error, 1)
	if !b.mail.call(call{f, done}) {
		return net.ErrClosed
	}
	return <-done
}

// post has f run in the loop, unless the bond is closed, and does not wait.
func (b *Bond) post(f func(now clock.Time)) { b.mail.call(call{f, nil}) }
