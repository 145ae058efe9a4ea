package native

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// A Carrier sends packets out of a link and takes what comes in there.
type Carrier struct {
	tally   tally
	running sync.WaitGroup // receivers

	hold      hold
	senders   [2]*sender // of IPv4 and IPv6; nil: the family is not carried
	receivers []*receiver

	mu     sync.RWMutex // held for reading while there is sending
	closed bool
}

// Open takes the ports and starts to deliver. The error is syscall.EADDRINUSE, wrapped, when somebody has one of the ports:
// another range may be free. A link's carrier is closed before another with the same ports is opened there.
func Open(cfg Config) (*Carrier, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Carrier{}
	if err := c.open(&cfg); err != nil {
		c.Close()
		return nil, fmt.Errorf("native carrier on %s: %w", cfg.Link, explain(err))
	}
	for _, r := range c.receivers {
		c.running.Go(r.run)
	}
	cfg.Log.Debug("native carrier opened", "link", cfg.Link, "local4", cfg.Local4, "local6", cfg.Local6, "first", cfg.First, "last", cfg.Last)
	return c, nil
}

// open opens the sockets, first those of the ports: what is sent has answers, which the kernel must not answer in turn.
func (c *Carrier) open(cfg *Config) (err error) {
	if c.hold, err = newHold(cfg.Link, cfg.Local6.IsValid(), cfg.First, cfg.Last); err != nil {
		return err
	}
	for i, local := range []netip.Addr{cfg.Local4, cfg.Local6} {
		if !local.IsValid() {
			continue
		}
		s, err := newSender(cfg, local, &c.tally)
		if err != nil {
			return err
		}
		c.senders[i] = s
		r, err := newReceiver(cfg, s.scope, &c.tally)
		if err != nil {
			return err
		}
		c.receivers = append(c.receivers, r)
	}
	return nil
}

// explain says what to do about an error.
func explain(err error) error {
	switch {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: run as root or with CAP_NET_RAW", err)
	case errors.Is(err, syscall.EMFILE):
		return fmt.Errorf("%w: each port takes one, raise LimitNOFILE", err)
	}
	return err
}

// Send sends whole IP packets, in order in each family. It keeps none of them and does not wait: what finds no room is
// dropped and counted, and so is what is not TCP from our addresses and ports. The error is the network's, the first of several,
// or net.ErrClosed after Close.
func (c *Carrier) Send(pkts [][]byte) (first error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return net.ErrClosed
	}
	for len(pkts) > 0 {
		family := familyOf(pkts[0])
		run := 1
		for run < len(pkts) && familyOf(pkts[run]) == family {
			run++
		}
		if family < 0 || c.senders[family] == nil {
			c.tally.refused.Add(uint64(run))
		} else if err := c.senders[family].send(pkts[:run]); first == nil {
			first = err
		}
		pkts = pkts[run:]
	}
	return first
}

// familyOf returns 0 for IPv4, 1 for IPv6, -1 for what is neither.
func familyOf(pkt []byte) int {
	switch {
	case len(pkt) > 0 && pkt[0]>>4 == 4:
		return 0
	case len(pkt) > 0 && pkt[0]>>4 == 6:
		return 1
	}
	return -1
}

// Counters tells what was carried so far.
func (c *Carrier) Counters() Counters {
	for _, r := range c.receivers {
		r.overrun()
	}
	return c.tally.counters()
}

// Close gives all back. Deliver is not called any more when it returns, and the kernel answers what still comes for the ports.
func (c *Carrier) Close() (err error) {
	if !c.end() {
		return nil
	}
	for _, s := range c.senders {
		if s != nil {
			err = errors.Join(err, s.conn.Close())
		}
	}
	for _, r := range c.receivers {
		err = errors.Join(err, r.close())
	}
	c.running.Wait()
	return errors.Join(err, c.hold.release())
}

// end waits for what is being sent and lets nothing more be; it reports whether that is news.
func (c *Carrier) end() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	news := !c.closed
	c.closed = true
	return news
}
