package sim

import (
	"math/rand/v2"

	"tandem/engine/wire"
)

// throttledLeast is the lowest rate that an attacker asks for, kilobits a second: below it nobody could tell it from one
// who lets nothing pass.
const throttledLeast = 1000

// signal adds the option of an attack.
func (a *Attacker) signal(attack Attack, o *wire.Options) {
	switch attack {
	case Announces:
		o.Has |= wire.HasAddAddr
		o.AddAddr = wire.AddAddr{ID: byte(a.Dice.Uint32()), Addr: evil(a.Dice.IntN(256)), MAC: a.Dice.Uint64()}
	case Removes:
		o.Has |= wire.HasRemoveAddr
		for o.RemoveAddr.N < 4 {
			o.RemoveAddr.IDs[o.RemoveAddr.N] = byte(a.Dice.IntN(8))
			o.RemoveAddr.N++
		}
	case Closes:
		o.Has |= wire.HasFastClose
		o.CloseKey = a.Dice.Uint64()
	case Prefers:
		o.Has |= wire.HasPrio
		o.Backup = a.Dice.IntN(2) == 0
	case Fails:
		o.Has |= wire.HasFail
		o.FailDSN = wire.DSN(a.Dice.Uint64())
	default:
		a.draft(attack, o)
	}
}

// draft adds the option of an attack that is of a draft.
func (a *Attacker) draft(attack Attack, o *wire.Options) {
	prototype := a.Dice.IntN(2) == 0
	switch {
	case attack == Misleads:
		o.Has |= wire.HasLatestRTT
		o.LatestRTT = wire.LatestRTT{Length: 8, RTT: a.Dice.Uint32()}
	case attack == Merges:
		o.Has |= wire.HasJoinCap
		o.JoinCap = wire.JoinCap{Length: 24, AddressID: byte(a.Dice.Uint32()), Key: a.Dice.Uint64()}
		o.JoinCap.Sign(a.Dice.Uint64(), a.Dice.Uint64())
	case prototype:
		o.Has |= wire.HasPrototype
		o.Prototype = wire.Prototype(throttledLeast/8 + a.Dice.IntN(256-throttledLeast/8))
	case attack == Throttles:
		o.Has |= wire.HasRateLimit
		o.RateLimit = throttledLeast << a.Dice.IntN(22)
	case attack == Idles:
		o.Has |= wire.HasInactivityTime
		o.InactivityTime = wire.InactivityTime{Request: a.Dice.IntN(2) == 0, Minutes: a.Dice.IntN(2) == 0, Value: uint16(a.Dice.IntN(1 << 16))}
	}
}

// hasten has a SYN bring octets with a cookie that is made up, and ask for all that RobE has.
func hasten(dice *rand.Rand, s *wire.Segment) {
	s.Payload = []byte("not what was written")
	o := &s.Options
	o.Has = wire.HasCapable | wire.HasFastOpen | wire.HasRobE | wire.HasLatestRTT
	o.Capable = wire.Capable{Length: 4, Version: 1, Flags: wire.HMACSHA256}
	o.LatestRTT = wire.LatestRTT{Length: 4}
	o.Cookie.Len = 8
	for i := range o.Cookie.Cookie {
		o.Cookie.Cookie[i] = byte(dice.Uint32())
	}
}
