package client

import (
	"context"
	"sync/atomic"
	"time"

	"tandem/app/config"
	"tandem/app/control"
	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/tunnel/upstream"
)

// A conduct is how connections are begun and kept, and what chooses links for their packets.
type conduct struct {
	scheduler  config.Scheduler
	costV      config.CostV
	costRate   config.Rate
	establish  config.Establish
	address    config.Address
	inactivity config.Inactivity // as the bounds let it be
	bounds     config.Bounds
	privacy    config.Privacy
	fastOpen   bool
	implicit   bool // RobE_eSIM without asking
	prototype  config.Prototype
}

// conduct is what the daemon was told, else what is set. It is the loop's.
func (c *Client) conduct() conduct {
	s := c.cfg.Told.Apply(c.settings)
	s.Inactivity.Time = s.Bounds.Bound(s.Inactivity.Time)
	return conduct{
		s.Scheduler, s.CostV, s.CostRate, s.Establish, s.Address, s.Inactivity, s.Bounds, s.Privacy, s.FastOpen, s.ImplicitESIM, s.Prototype,
	}
}

// defaultScheduler is the name of the one that "" means.
const defaultScheduler = "earliest"

func (c conduct) schedulerName() config.Scheduler {
	if c.scheduler == "" {
		return defaultScheduler
	}
	return c.scheduler
}

// show says it to people, with the names of defaults.
func (c conduct) show(s *control.State) {
	if c.costV == 0 {
		c.costV = config.CostVDefault
	}
	s.Scheduler, s.CostV, s.CostRate, s.Inactivity = c.schedulerName(), c.costV, c.costRate, c.inactivity
	s.Establish, s.Address = config.Establish(c.establish.Mode().String()), config.Address(c.address.Type().String())
	s.Privacy, s.FastOpen = config.Privacy(c.privacy.Profile().String()), c.opensFast()
	s.Bounds, s.ImplicitESIM, s.Prototype = c.bounds, c.implicit, config.Prototype(c.prototype.String())
}

// machine describes a bond, but for who is at its other end.
func (c conduct) machine() mptcp.Config {
	return mptcp.Config{
		Scheduler: string(c.scheduler), CostV: int(c.costV), CostRate: c.costRate.Octets(),
		Inactivity: c.inactivity.Engine(c.bounds), Prototype: c.prototype.Meaning(), Privacy: c.privacy.Profile(),
	}
}

// opensFast reports whether what proxies are asked rides in SYNs. A cookie is for one address and tells who comes again,
// which PrivacyStrict would rather not.
func (c conduct) opensFast() bool { return c.fastOpen && c.privacy.Profile() != engine.PrivacyStrict }

// haste is how much of that a proxy's dialer gets that wants so much.
func (c conduct) haste(wanted upstream.Haste) upstream.Haste {
	if !c.opensFast() {
		return upstream.Patient
	}
	return wanted
}

// Set changes how connections are carried, now and after a restart. What the daemon was told when it was started does
// not count any more.
func (c *Client) Set(ctx context.Context, change control.Change) error {
	return c.change(ctx, func() error {
		if err := change.Validate(); err != nil {
			return err
		}
		if err := c.decide(func(s *config.Settings) { *s = change.Apply(*s) }); err != nil {
			return err
		}
		c.cfg.Told = c.cfg.Told.Without(change)
		if c.live != nil {
			c.live.manner.set(c.conduct(), c.live.dialer.book)
		}
		return nil
	})
}

// A manner is the conduct of connections while it may change. Bonds keep what they were made with, but for the way to
// begin connections, and teach tells those of another inactivity time.
type manner struct {
	made conduct
	is   atomic.Pointer[conduct]
}

func newManner(made conduct) *manner {
	m := &manner{made: made}
	m.is.Store(&made)
	return m
}

// mode is how a connection begins now.
func (m *manner) mode() engine.Establish { return m.is.Load().establish.Mode() }

// wish is what the address should be that a connection begins with.
func (m *manner) wish() engine.AddressType { return m.is.Load().address.Type() }

// now is the conduct as it is, with what bonds keep.
func (m *manner) now() conduct {
	is, made := *m.is.Load(), m.made
	made.establish, made.address, made.inactivity = is.establish, is.address, is.inactivity
	made.inactivity.Time = made.bounds.Bound(made.inactivity.Time)
	return made
}

// set changes it, also of the connections in the book.
func (m *manner) set(is conduct, b *book) {
	was := m.is.Swap(&is)
	if was.inactivity == is.inactivity {
		return
	}
	for _, s := range b.streams() {
		s.SetInactivity(is.inactivity.Time, is.inactivity.Request)
	}
}

// teach tells a connection that has entered the book what was changed since its bond was made: set, which looks into
// the book after the change, may have missed it.
func (m *manner) teach(c *engine.Conn) {
	if is := m.is.Load().inactivity; is != m.made.inactivity {
		c.SetInactivity(is.Time, is.Request)
	}
}

// limits are those of a link, in octets a second.
func limits(set config.Link) (down, up int) { return set.LimitDown.Octets(), set.LimitUp.Octets() }

// price is what the engine is told that a link costs, and tells the hub, which looks at it. Only the scheduler "cost"
// wants to know: with another one both ends spare no link for its price.
func (m *manner) price(set config.Link) int {
	if m.made.scheduler != config.SchedulerCost {
		return 0
	}
	return set.Thousandths()
}

// pictureInactivity describes how long a connection may be idle.
func pictureInactivity(i engine.InactivityInfo) control.Inactivity {
	return control.Inactivity{
		Own: seconds(i.Own), Peer: seconds(i.Peer), Request: i.Request, PeerRequests: i.PeerRequests,
		Used: seconds(i.Used), Left: seconds(i.Left),
	}
}

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
