package sim

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// proxied is who is asked for when the server is a proxy that packets pass: addresses that are neither end's.
var proxied4, proxied6 = netip.AddrFrom4([4]byte{192, 0, 2, 80}), netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 80})

// drawUses draws, now and then, what users of a bond may wish beside what the drafts bring.
func (c *Scenario) drawUses(dice *rand.Rand) {
	for _, draw := range []func(*rand.Rand){c.drawHabits, c.drawAddresses, c.drawEarly, c.drawOperations} {
		if dice.IntN(3) == 0 {
			draw(dice)
		}
	}
	if !c.Paired && !c.ManyHomed && !c.Client.Plain && dice.IntN(10) == 0 {
		c.drawProxy()
	}
}

// drawHabits draws wide numbers, and how long connections without a subflow live: longer than the weather is bad, or not.
func (c *Scenario) drawHabits(dice *rand.Rand) {
	for _, cfg := range []*mptcp.Config{&c.Client, &c.Server} {
		cfg.Wide = dice.IntN(2) == 0
		switch dice.IntN(4) {
		case 0:
			cfg.Linger = time.Duration(100+dice.IntN(5000)) * time.Millisecond
			c.MayFail = true
		case 1:
			cfg.Linger = time.Duration(60+dice.IntN(600)) * time.Second
		}
	}
}

// drawAddresses draws what networks promise of addresses, what connections want of them, and lesser roles.
func (c *Scenario) drawAddresses(dice *rand.Rand) {
	kind := func() mptcp.AddressType { return mptcp.AddressType(dice.IntN(int(mptcp.Fixed) + 1)) }
	for i := range c.Routes {
		r := &c.Routes[i]
		r.Address, r.Second = kind(), dice.IntN(3) == 0
		if len(r.Ends) > 0 && dice.IntN(2) == 0 {
			r.Ends[0].At = 0
		}
	}
	for _, p := range c.Plans {
		p.Options.Address = kind()
	}
}

// drawEarly draws connections of which the first octets ride in the SYN, unless something alters octets, or are to be
// taken there or nowhere, which the server does not.
func (c *Scenario) drawEarly(dice *rand.Rand) {
	if c.Paired || c.altered {
		return
	}
	for _, p := range c.Plans {
		p.Options.Early = dice.IntN(2) == 0
		p.Options.EarlyOnly = p.Options.Early && dice.IntN(4) == 0
		p.excused = p.excused || p.Options.EarlyOnly
	}
}

// drawProxy has the server answer in the name of others, and be joined at its own address.
func (c *Scenario) drawProxy() {
	c.Server.AnyTarget, c.Server.NoJoinsHere, c.Server.Announce = true, true, true
	for i := range c.Routes {
		c.MayFail = c.MayFail || c.Routes[i].ends() // before the announcement came
	}
	for _, p := range c.Plans {
		host := proxied4
		if p.Target.Addr().Is6() {
			host = proxied6
		}
		p.Target = netip.AddrPortFrom(host, p.Target.Port())
	}
}

// An Operation is what a user does to the subflows of one of its connections.
type Operation struct {
	At     clock.Time
	Far    bool // the server does it
	What   What
	Which  int // connection and subflow, of those that there are
	Path   mptcp.PathID
	Backup bool
	How    mptcp.Ending
}

// What is done.
type What uint8

// The operations.
const (
	Opens What = iota
	ClosesOne
	Prioritizes
	RemovesPath
	AddsPath
	whatEnd
)

// drawOperations draws operations until the weather is good.
func (c *Scenario) drawOperations(dice *rand.Rand) {
	for range 1 + dice.IntN(20) {
		c.Operations = append(c.Operations, Operation{
			At: clock.Time(dice.Int64N(int64(c.Heals))), Far: dice.IntN(4) == 0, What: What(dice.IntN(int(whatEnd))), Which: dice.IntN(1000),
			Path: mptcp.PathID(dice.IntN(len(c.Routes))), Backup: dice.IntN(2) == 0, How: mptcp.Ending(1 + dice.IntN(2)),
		})
	}
}

// operate has an operation done when it is due. That it cannot be done is no harm.
func (s *Stage) operate(o Operation) {
	u := s.Client
	if o.Far {
		u = s.Server
	}
	s.At(o.At, func(now clock.Time) {
		if conns := u.living(); len(conns) > 0 {
			o.do(now, conns[o.Which%len(conns)])
			u.host.Wake()
		}
	})
}

// living returns the connections that are not over.
func (u *User) living() (all []*mptcp.Conn) {
	for _, s := range u.Streams {
		if s.Conn != nil && !s.Over {
			all = append(all, s.Conn)
		}
	}
	return all
}

func (o *Operation) do(now clock.Time, c *mptcp.Conn) {
	id := mptcp.SubflowID(0)
	if flows := c.Info(now).Subflows; len(flows) > 0 {
		id = flows[o.Which/7%len(flows)].ID
	}
	switch o.What {
	case Opens:
		c.OpenSubflow(now, mptcp.SubflowOptions{Path: o.Path, Backup: o.Backup})
	case ClosesOne:
		c.CloseSubflow(now, id, o.How)
	case Prioritizes:
		c.SetPriority(now, id, o.Backup)
	case RemovesPath:
		c.RemovePath(now, o.Path)
	case AddsPath:
		c.AddPath(now, o.Path)
	}
}
