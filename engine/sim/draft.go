package sim

import (
	"math/rand/v2"
	"slices"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// A Limit is how much an end wants to come and leave over a route from some instant on, octets a second; 0: no limit.
type Limit struct {
	At       clock.Time
	Far      bool // it is the server's wish
	Down, Up int
}

// An End is when a client is told that its address on a route ends, and when that is. Kept: it is told otherwise half-way,
// else the address comes again after a while.
type End struct {
	At       clock.Time
	Lifetime mptcp.Lifetime
	Kept     bool
}

// revives is how long the address is gone.
const revives = 1500 * time.Millisecond

// drawDrafts draws, now and then, what drafts of the working group add to a connection in use, and slow writers, whom
// that concerns most. tied: connections may be tied to one path.
func (c *Scenario) drawDrafts(dice *rand.Rand, tied bool) {
	if !tied && dice.IntN(4) == 0 {
		c.drawEnds(dice)
	}
	for _, draw := range []func(*rand.Rand){c.drawLimits, c.drawInactivity, c.drawFastOpen, c.drawPrivacy, c.drawCrumbs} {
		if dice.IntN(3) == 0 {
			draw(dice)
		}
	}
}

// drawLimits draws limits that come, change and go.
func (c *Scenario) drawLimits(dice *rand.Rand) {
	rate := func() int {
		if dice.IntN(3) == 0 {
			return 0
		}
		return 25_000 << dice.IntN(8)
	}
	for i := range c.Routes {
		for n := dice.IntN(4); n > 0; n-- {
			l := Limit{Far: dice.IntN(3) == 0, Down: rate(), Up: rate()}
			if n > 1 {
				l.At = clock.Time(dice.Int64N(int64(c.Heals)))
			}
			c.Routes[i].Limits = append(c.Routes[i].Limits, l)
		}
	}
}

// drawEnds draws addresses that are announced to go, on all routes but the first. An offer, of which the answer is under
// way then, is not held for long when nothing comes over the other routes either.
func (c *Scenario) drawEnds(dice *rand.Rand) {
	for i := range c.Routes {
		bad := c.Routes[i].Forecast.Faults&(HandsOver|BlackHoles|CellNaps|Swizzles) != 0
		c.MayFail = c.MayFail || c.Paired && bad && len(c.Routes) > 1
	}
	for i := 1; i < len(c.Routes); i++ {
		if dice.IntN(2) == 0 {
			valid := time.Duration(1 + dice.Int64N(int64(c.Heals)/2))
			c.Routes[i].Ends = append(c.Routes[i].Ends, End{
				At: clock.Time(dice.Int64N(int64(c.Heals) / 2)), Kept: dice.IntN(3) == 0,
				Lifetime: mptcp.Lifetime{Preferred: time.Duration(dice.Int64N(int64(valid))), Valid: valid},
			})
		}
	}
}

// ends reports whether the client's address on the route goes.
func (r *Route) ends() bool {
	return r.Forecast.Faults&HandsOver != 0 || slices.ContainsFunc(r.Ends, func(e End) bool { return !e.Kept })
}

// drawInactivity draws times that nobody outlasts, or that bad weather may.
func (c *Scenario) drawInactivity(dice *rand.Rand) {
	short := dice.IntN(3) == 0
	c.MayFail = c.MayFail || short
	for _, cfg := range []*mptcp.Config{&c.Client, &c.Server} {
		i := &cfg.Inactivity
		i.Time, i.Least = time.Duration(dice.IntN(4))*10*time.Minute, 5*time.Minute
		if short {
			i.Time, i.Least = time.Duration(200+dice.IntN(5000))*time.Millisecond, time.Millisecond
		}
		i.Request, i.Fixed = dice.IntN(2) == 0, dice.IntN(4) == 0
		cfg.Prototype = mptcp.Prototype(dice.IntN(int(mptcp.PrototypeRateLimit) + 1))
	}
}

// drawFastOpen draws ends that let octets ride in SYNs, for which no checksum vouches, and plans that are carried out once
// more when there is a cookie.
func (c *Scenario) drawFastOpen(dice *rand.Rand) {
	if c.Paired || c.altered {
		return
	}
	c.Client.FastOpen, c.Server.FastOpen = dice.IntN(4) > 0, dice.IntN(4) > 0
	for _, p := range slices.Clone(c.Plans) {
		if !p.violent() && dice.IntN(2) == 0 {
			again := *p
			again.Dialled += clock.Time(dice.Int64N(int64(c.Heals) / 2))
			c.Plans = append(c.Plans, &again)
		}
	}
}

// drawPrivacy draws who shows little of itself, and connections that keep to some routes.
func (c *Scenario) drawPrivacy(dice *rand.Rand) {
	if c.Paired {
		return
	}
	c.Client.Privacy, c.Server.Privacy = mptcp.Privacy(dice.IntN(2)), mptcp.Privacy(dice.IntN(2))
	open := c.Routes[:0:0]
	for i := range c.Routes {
		r := &c.Routes[i]
		if r.Private = i > 0 && dice.IntN(3) == 0; !r.Private {
			open = append(open, *r)
		}
	}
	c.MayFail = c.MayFail || len(open) == 1 && open[0].ends()
	for _, p := range c.Plans {
		if dice.IntN(3) > 0 {
			continue
		}
		k := dice.IntN(len(c.Routes))
		p.Options.Paths, p.Options.Only = nil, []mptcp.PathID{mptcp.PathID(k)}
		p.excused = c.Routes[k].ends()
	}
}

// drawCrumbs draws writers that have little at a time.
func (c *Scenario) drawCrumbs(dice *rand.Rand) {
	for _, p := range c.Plans {
		if dice.IntN(2) == 0 {
			p.Crumb = max(1+dice.IntN(2000), int(max(p.Up, p.Down)/50))
			p.Pause, p.Moody = time.Duration(1+dice.IntN(100))*time.Millisecond, dice.IntN(3) > 0
		}
	}
}

// limit has the limits of the i-th route set when they are due.
func (s *Stage) limit(i int) {
	for _, l := range s.Scenario.Routes[i].Limits {
		u, id := s.Client, mptcp.PathID(i)
		if l.Far {
			u, id = s.Server, s.Scenario.far(i)
		}
		s.At(l.At, func(now clock.Time) {
			u.bond.SetLimit(now, id, l.Down, l.Up)
			u.host.Wake()
		})
	}
}

// end has the client told of the ends of its address on the i-th route.
func (s *Stage) end(i int) {
	tell := func(at clock.Time, l mptcp.Lifetime) {
		s.At(at, func(now clock.Time) {
			s.Client.bond.SetLifetime(now, mptcp.PathID(i), l)
			s.Client.host.Wake()
		})
	}
	for _, e := range s.Scenario.Routes[i].Ends {
		if e.At > 0 { // else it is told of them when it is told of the path
			tell(e.At, e.Lifetime)
		}
		if e.Kept {
			tell(e.At.Add(e.Lifetime.Valid/2), mptcp.Lifetime{})
			continue
		}
		if !s.Scenario.Paired {
			s.At(e.At.Add(e.Lifetime.Valid-time.Millisecond), s.excuse)
		}
		tell(e.At.Add(e.Lifetime.Valid+revives), mptcp.Lifetime{})
	}
}
