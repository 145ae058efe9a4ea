package sim

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// attacked is two clean paths between strangers, with an attacker on the second for as long as it takes.
func attacked(knows Knowledge, attacks Attack) *Stage {
	c := shortScenario(false, EachWhenDone)
	for i := range c.Routes {
		c.Routes[i].Forecast.Fair.Rate = 4e6
		c.Routes[i].Forecast.Foul = [2]Conditions{c.Routes[i].Forecast.Fair, c.Routes[i].Forecast.Fair}
	}
	c.Client.Establish = mptcp.Classic // the first path, then a join over the second
	c.Client.Prototype, c.Server.Prototype = mptcp.PrototypeRateLimit, mptcp.PrototypeInactivity
	c.Server.FastOpen = knows == Peer
	c.Plans[0].Up, c.Plans[0].Down = 1e6, 1e6
	c.Attackers = []*Attacker{{
		Knows: knows, Attacks: attacks, Route: 1, Until: clock.Time(60 * time.Second), Every: 500 * time.Microsecond,
		Dice: rand.New(rand.NewPCG(1, uint64(attacks))),
	}}
	return NewStage(c)
}

// A joinCount is a Tap that counts the joins that the client begins: one, unless a subflow is lost.
type joinCount int

func (n *joinCount) See(s *Sight) error {
	var seg wire.Segment
	if s.Sent && s.Host.Name == "client" && seg.Parse(s.Packet) == nil && seg.Options.Has&wire.HasJoin != 0 && seg.Flags.Has(wire.SYN) {
		*n++
	}
	return nil
}

// Each attack of RFC 6181 and RFC 7430 by those who are not on every path: all octets come, nobody falls back, nobody is
// led to the attacker, memory stays within its limits, and what refuses the attack counts it.
func TestAttacks(t *testing.T) {
	for _, x := range []struct {
		knows  Knowledge
		attack Attack
		counts func(client, server mptcp.Counters) uint64
	}{
		{Guesser, Resets, nil},
		{Guesser, Injects, nil},
		{Guesser, Begins, nil},
		{Guesser, Announces, func(c, s mptcp.Counters) uint64 { return 1 - min(1, c.BadAddAddrMAC+s.BadAddAddrMAC) }}, // does not get that far
		{Guesser, Removes, nil},
		{Guesser, Closes, nil},
		{Guesser, Joins, func(c, s mptcp.Counters) uint64 { return s.BadJoinToken }},
		{Guesser, Throttles, func(c, s mptcp.Counters) uint64 { return 1 - min(1, c.RateLimits+s.RateLimits) }},
		{Guesser, Idles, nil},
		{Guesser, Misleads, nil},
		{Guesser, Merges, nil},
		{Guesser, Fails, nil},
		{Guesser, Hastens, nil},
		{Observer, Resets, nil},
		{Observer, Injects, nil},
		{Observer, Begins, nil},
		{Observer, Announces, func(c, s mptcp.Counters) uint64 { return min(c.BadAddAddrMAC, s.BadAddAddrMAC) }},
		{Observer, Removes, nil},
		{Observer, Closes, nil},
		{Observer, Joins, func(c, s mptcp.Counters) uint64 { return min(s.LimitHalfOpen, s.Recycled) }},
		{Observer, Replays, nil},
		{Observer, Prefers, nil},
		{Observer, Throttles, func(c, s mptcp.Counters) uint64 { return min(c.RateLimits, s.RateLimits) }},
		{Observer, Idles, nil},
		{Observer, Misleads, nil},
		{Observer, Merges, nil},
		{Observer, Fails, nil},
		{Observer, Hastens, nil},
		{Observer, attackEnd - 1, nil},
		{Peer, 0, func(c, s mptcp.Counters) uint64 {
			return min(s.LimitHalfOpen, s.LimitAddresses, s.OutOfWindow, s.BadCookies, s.RateLimits)
		}},
	} {
		t.Run(fmt.Sprintf("%v/%v", x.knows, x.attack), func(t *testing.T) {
			t.Parallel()
			s, joins := attacked(x.knows, x.attack), joinCount(0)
			s.Tap(&joins)
			if err := play(s); err != nil {
				s := attacked(x.knows, x.attack)
				where := tell(t, "attack", s)
				play(s)
				t.Fatalf("%v\nstory: %s.txt", err, where)
			}
			client, server := s.Client.bond.Counters(), s.Server.bond.Counters()
			if n := s.Scenario.Attackers[0].Forged; n < 50 {
				t.Errorf("%d packets forged", n)
			}
			if hits := x.knows == Observer && x.attack&Resets != 0; joins != 1 && !hits || joins < 2 && hits {
				t.Errorf("the client joined %d times", joins)
			}
			if x.counts != nil && x.counts(client, server) == 0 {
				t.Errorf("not counted: client %+v, server %+v", client, server)
			}
			if x.knows != Peer && server.Resets > 0 || client.Fallbacks+server.Fallbacks+client.Resets > 0 {
				t.Errorf("client %+v, server %+v", client, server)
			}
		})
	}
}

// Every kind of attacker and attack is drawn, none inside a carrier, and none that hears all paths.
func TestAttackersAreDrawn(t *testing.T) {
	seen := map[Knowledge]Attack{}
	paired := 0
	for seed := range uint64(2000) {
		c := Draw(seed)
		if c.Paired {
			paired += len(c.Attackers)
		}
		for _, a := range c.Attackers {
			seen[a.Knows] |= a.Attacks
			if a.Knows == Observer && len(c.Routes) < 2 {
				t.Errorf("seed %d: an observer of the only path", seed)
			}
		}
	}
	if seen[Guesser] != attackEnd-1 || seen[Observer] != attackEnd-1 || seen[Peer] == 0 || paired > 0 {
		t.Errorf("%v, %d inside carriers", seen, paired)
	}
}
