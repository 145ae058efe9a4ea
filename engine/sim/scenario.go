package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// A Scenario is everything that one seed decides before a run begins.
type Scenario struct {
	Seed           uint64
	Paired         bool
	ManyHomed      bool // unless Paired: the server has an address for each path and announces them
	Client, Server mptcp.Config
	NearWrap       bool
	Routes         []Route
	Plans          []*Plan
	Heals          clock.Time
	Swizzle        bool
	Operations     []Operation
	Attackers      []*Attacker
	MayFail        bool // a middlebox or a move may leave a connection no way to go on

	altered bool
}

// A Route is a path of a scenario.
type Route struct {
	V4, V6   bool
	Backup   bool
	Second   bool // is Secondary while it is no backup
	Address  mptcp.AddressType
	Forecast Forecast
	Boxes    []Middlebox
	NAT      bool
	Toggles  clock.Time // when it becomes backup, or stops being it; 0: never
	Price    int
	Limits   []Limit
	Ends     []End
	Private  bool
}

// Draw returns the scenario of a seed: first what there is, then how much of it.
func Draw(seed uint64) *Scenario {
	dice := rand.New(rand.NewChaCha8(expand(^seed)))
	c := &Scenario{Seed: seed, Paired: dice.IntN(2) == 0, NearWrap: dice.IntN(3) == 0}
	c.ManyHomed = !c.Paired && dice.IntN(3) == 0
	c.Heals = clock.Time(2+dice.IntN(10)) * clock.Time(time.Second)
	c.Client, c.Server = drawConfig(dice, c.Paired), drawConfig(dice, c.Paired)
	spoiled := c.drawPairing(dice)
	allowed := Fault(faultEnd - 1)
	if !c.Client.ECN || !c.Server.ECN {
		allowed &^= Marks
	}
	n := 1 + dice.IntN(3)
	if !c.Paired && dice.IntN(3) == 0 {
		spoiled = c.drawBoxes(dice, n) || spoiled
	} else {
		c.Routes = make([]Route, n)
	}
	if spoiled {
		allowed &^= HandsOver
	}
	for i := range c.Routes {
		r := &c.Routes[i]
		r.V4, r.V6 = i == 0 || dice.IntN(4) > 0, i == 0 || dice.IntN(3) == 0
		if !r.V4 && !r.V6 {
			r.V4 = true
		}
		r.Backup = i > 0 && dice.IntN(5) == 0
		r.Forecast = drawForecast(dice, allowed, c.Heals)
		c.Swizzle = c.Swizzle || r.Forecast.Faults&Swizzles != 0
		c.MayFail = c.MayFail || r.Forecast.Faults&HandsOver != 0 && n == 1
	}
	c.drawPlans(dice)
	for i := range c.Routes {
		if dice.IntN(5) == 0 {
			c.Routes[i].Toggles = clock.Time(1 + dice.Int64N(int64(c.Heals)))
		}
	}
	c.drawEstablish(dice)
	c.drawAttackers(dice)
	c.drawSchedulers(dice)
	c.drawDrafts(dice, spoiled)
	c.drawUses(dice)
	return c
}

// drawSchedulers draws, now and then, schedulers that look at directions and prices of paths.
func (c *Scenario) drawSchedulers(dice *rand.Rand) {
	if dice.IntN(3) > 0 {
		return
	}
	for _, cfg := range []*mptcp.Config{&c.Client, &c.Server} {
		cfg.Scheduler = []string{"owl", "cost"}[dice.IntN(2)]
		cfg.CostV = dice.IntN(3) * dice.IntN(200)
		cfg.CostRate = dice.IntN(2) * dice.IntN(1e6)
	}
	for i := range c.Routes {
		c.Routes[i].Price = dice.IntN(3) * dice.IntN(10_000)
	}
}

// drawAttackers draws who attacks. Inside a carrier there is nobody but the two ends.
func (c *Scenario) drawAttackers(dice *rand.Rand) {
	if c.Paired || dice.IntN(3) > 0 {
		return
	}
	peer := false
	for range 1 + dice.IntN(2) {
		a := &Attacker{
			Knows: Knowledge(dice.IntN(int(Peer) + 1)), Attacks: Attack(1 + dice.IntN(int(attackEnd)-1)), Route: dice.IntN(len(c.Routes)),
			From: clock.Time(dice.Int64N(int64(c.Heals))), Every: time.Duration(1+dice.IntN(100)) * time.Millisecond,
			Dice: rand.New(rand.NewPCG(dice.Uint64(), 0)),
		}
		a.Until = a.From.Add(time.Duration(1+dice.IntN(10)) * time.Second)
		if a.Knows == Observer && len(c.Routes) < 2 || a.Knows == Peer && peer {
			a.Knows = Guesser
		}
		peer = peer || a.Knows == Peer
		c.Attackers = append(c.Attackers, a)
	}
}

// drawEstablish draws how the client asks for connections, and what the server knows of that.
func (c *Scenario) drawEstablish(dice *rand.Rand) {
	mode := func() mptcp.Establish {
		if dice.IntN(4) == 0 {
			return mptcp.ESIM // the one with most to go wrong
		}
		return mptcp.Establish(dice.IntN(int(mptcp.IPSSIM) + 1))
	}
	c.Client.Establish = mode()
	c.Client.ImplicitESIM = dice.IntN(4) == 0
	c.Server.NoRobE = dice.IntN(6) == 0
	for _, p := range c.Plans {
		if dice.IntN(3) == 0 {
			p.Options.Establish = mode()
		}
	}
}

// drawPairing adds what concerns both ends, and reports whether connections may be tied to one path.
func (c *Scenario) drawPairing(dice *rand.Rand) (spoiled bool) {
	if c.Paired {
		return false
	}
	if c.ManyHomed {
		c.Server.Announce, c.Client.JoinAnnounced = true, true
	}
	switch dice.IntN(16) {
	case 0:
		c.Client.Plain = true
	case 1:
		c.Server.Plain = true
	case 2:
		c.Server.RefuseJoins = true
	case 3:
		c.Server.NoJoinsHere = true
	case 4:
		c.Client.Passive = true
	default:
		return false
	}
	return true
}

// drawBoxes puts middleboxes on the routes, and reports whether connections may be tied to one path.
func (c *Scenario) drawBoxes(dice *rand.Rand, n int) (spoiled bool) {
	c.Routes = make([]Route, n)
	for i := range c.Routes {
		r := &c.Routes[i]
		if dice.IntN(4) == 0 {
			r.Boxes = append(r.Boxes, &Shift{Key: dice.Uint64()})
		}
		switch dice.IntN(6) {
		case 0:
			r.Boxes = append(r.Boxes, &Split{Min: 2 + dice.IntN(1000)})
		case 1:
			r.Boxes = append(r.Boxes, &Join{Max: 1500})
		case 2:
			r.NAT = !c.ManyHomed
		case 3:
			whens := []When{Always, OnSYN, OnSYNACK, OnAnySYN, OnForward, OnBack, AfterSYN}
			r.Boxes = append(r.Boxes, &Strip{When: whens[dice.IntN(len(whens))], How: How(dice.IntN(4))})
			spoiled = true
		case 4:
			if i == n-1 {
				r.Boxes = append(r.Boxes, &Alter{Chance: 0.01 + dice.Float64()*0.1, Dice: rand.New(rand.NewPCG(dice.Uint64(), 0))})
				c.Client.Checksum = true
				c.MayFail, c.altered, spoiled = n == 1, true, true
			}
		}
	}
	return spoiled
}

// drawConfig draws how one end behaves.
func drawConfig(dice *rand.Rand, paired bool) mptcp.Config {
	one := func(of int) bool { return dice.IntN(of) == 0 }
	c := mptcp.Config{
		Paired: paired, Checksum: one(4), Timestamps: one(3), ECN: one(3), Nagle: one(5),
	}
	if one(3) {
		names := []string{"bbr", "cubic", "reno"}
		if !paired {
			names = append(names, "lia", "olia", "balia")
		}
		c.Control = names[dice.IntN(len(names))]
	}
	if one(3) {
		names := []string{"earliest", "minrtt", "ecf", "blest", "roundrobin", "redundant", "backup"}
		c.Scheduler = names[dice.IntN(len(names))]
	}
	if one(6) {
		c.Keepalive = time.Duration(1+dice.IntN(20)) * time.Second
	}
	c.Limits = Defaults()
	if one(4) {
		c.Limits.SendBuffer = 1500 << dice.IntN(8)
	}
	if one(4) {
		c.Limits.RecvBuffer = 1500 << dice.IntN(8)
	}
	if one(8) {
		c.Limits.Buffered = max(c.Limits.SendBuffer, c.Limits.RecvBuffer) * 2
	}
	return c
}

// Defaults are the limits that the zero mptcp.Limits stand for.
func Defaults() mptcp.Limits {
	return mptcp.Limits{
		Connections: 4096, Subflows: 8, HalfOpen: 3, Offers: 512, SendBuffer: 4 << 20, RecvBuffer: 6 << 20,
		Buffered: 64 << 20, Addresses: 8,
	}
}

// drawPlans draws the connections.
func (c *Scenario) drawPlans(dice *rand.Rand) {
	n, most := 1+dice.IntN(5), 1<<(6+dice.IntN(14))
	if dice.IntN(8) == 0 {
		n, most = 20+dice.IntN(60), 4000
	}
	if b := c.least(); b < 16<<10 {
		most = min(most, 8*b)
	}
	size := func() int64 {
		if dice.IntN(6) == 0 {
			return 0
		}
		return int64(1 + dice.IntN(most))
	}
	for i := range n {
		host := serverAddr(0, dice.IntN(4) == 0)
		if c.Paired && host.Is4() {
			host = hub4
		} else if c.Paired {
			host = hub6
		}
		p := &Plan{
			Dialled: clock.Time(dice.Int64N(int64(c.Heals) / 2)),
			Target:  netip.AddrPortFrom(host, uint16(1000+i)),
			Up:      size(), Down: size(), Altered: c.altered,
		}
		if dice.IntN(2) == 0 {
			p.Manner = Manner(dice.IntN(int(Refused) + 1))
		}
		if dice.IntN(3) == 0 {
			p.AnswerAfter = time.Duration(dice.IntN(3000)) * time.Millisecond
		}
		if dice.IntN(6) == 0 {
			p.Sip, p.Rest = 1+dice.IntN(most), time.Duration(1+dice.IntN(100))*time.Millisecond
			p.Sip = max(p.Sip, int(max(p.Up, p.Down)/100))
		}
		if dice.IntN(3) == 0 {
			for k := range c.Routes {
				p.Options.Paths = append(p.Options.Paths, mptcp.PathID(k))
			}
		}
		c.Plans = append(c.Plans, p)
	}
}

// least is the smallest buffer of the scenario.
func (c *Scenario) least() int {
	a, b := &c.Client.Limits, &c.Server.Limits
	return min(a.SendBuffer, a.RecvBuffer, b.SendBuffer, b.RecvBuffer)
}

func (c *Scenario) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: paired %v, many-homed %v, near wrap %v, swizzle %v, may fail %v, heals %v\n", c.Seed, c.Paired, c.ManyHomed, c.NearWrap, c.Swizzle, c.MayFail, time.Duration(c.Heals))
	fmt.Fprintf(&b, "client %+v\nserver %+v\n", c.Client, c.Server)
	for i := range c.Routes {
		r := &c.Routes[i]
		fmt.Fprintf(&b, "path%d v4 %v v6 %v backup %v secondary %v %v toggles %v price %d NAT %v private %v limits %+v ends %+v: %v\n", i, r.V4, r.V6, r.Backup, r.Second, r.Address, time.Duration(r.Toggles), r.Price, r.NAT, r.Private, r.Limits, r.Ends, r.Forecast)
		for _, box := range r.Boxes {
			fmt.Fprintf(&b, "  %T %+v\n", box, box)
		}
	}
	for _, o := range c.Operations {
		fmt.Fprintf(&b, "%+v\n", o)
	}
	for _, a := range c.Attackers {
		fmt.Fprintf(&b, "%v on path%d from %v to %v every %v: %v\n", a.Knows, a.Route, time.Duration(a.From), time.Duration(a.Until), a.Every, a.Attacks)
	}
	for _, p := range c.Plans {
		fmt.Fprintf(&b, "%+v\n", *p)
	}
	return b.String()
}
