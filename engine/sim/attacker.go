package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// A Knowledge is what an attacker knows.
type Knowledge uint8

// The kinds.
const (
	Guesser  Knowledge = iota // is on no path: knows addresses and ports, and guesses numbers as well as one can who never hits
	Observer                  // hears one path that is not the only one, and says what fits there
	Peer                      // has a connection of its own with the server: see mallory
)

func (k Knowledge) String() string { return [...]string{"guesser", "observer", "peer"}[k] }

// An Attack is a set of things that an attacker does.
type Attack uint16

// The attacks of a Guesser and an Observer.
const (
	Resets    Attack = 1 << iota // RST; an Observer's hits
	Injects                      // octets, of which the acknowledgement does not fit
	Begins                       // SYN where there is a subflow
	Announces                    // ADD_ADDR with a code that is made up
	Removes                      // REMOVE_ADDR; a Guesser's does not fit
	Closes                       // MP_FASTCLOSE with a key that is made up
	Joins                        // MP_JOIN from forged addresses, with a token that an Observer has heard
	Replays                      // what was heard before
	Prefers                      // MP_PRIO
	Throttles                    // limits of a rate, in the prototype's form too
	Idles                        // inactivity times, in the prototype's form too
	Misleads                     // round trips that nobody measured
	Merges                       // MP_JOIN_CAP with a key and a code that are made up
	Fails                        // MP_FAIL
	Hastens                      // SYN where there is a subflow, with octets, a cookie that is made up, and what RobE asks for
	attackEnd
)

var attackNames = [...]string{"resets", "injects", "begins", "announces", "removes", "closes", "joins", "replays", "prefers",
	"throttles", "idles", "misleads", "merges", "fails", "hastens"}

func (a Attack) String() string {
	var names []string
	for i, name := range attackNames {
		if a&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// An Attacker puts packets of its own in front of hosts. It is a Tap, for it hears some too, and sees to it that no
// host is led to an address of the attacker's.
type Attacker struct {
	Knows   Knowledge
	Attacks Attack
	Route   int // of an Observer, or where a Guesser's packets come in
	From    clock.Time
	Until   clock.Time
	Every   time.Duration
	Dice    *rand.Rand
	Forged  int // packets

	path    *Path
	heard   []*heard // the latest heardMax
	tokens  []uint32 // of the server's
	kept    [][]byte // packets to the server, to be sent again
	segment wire.Segment
	buf     []byte
}

const (
	guessedWindow = 20_000 // octets

	// What it remembers at most.
	heardMax = 32
	keptMax  = 32
)

// heard is what is known of one direction of a flow: what came last to a host.
type heard struct {
	host    *Host
	last    wire.Segment
	next    wire.Seq // behind the last octet
	joined  bool     // a subflow that joined
	data    int      // segments with a DSS
	ended   bool
	isThere bool // host is the server
}

// evil is where an attacker would lead hosts, and from where it joins.
func evil(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 19, 0, byte(i)}) }

func isEvil(a netip.Addr) bool {
	return a.Is4() && netip.PrefixFrom(evil(0), 24).Contains(a)
}

// Begin has the attacker act on the path.
func (a *Attacker) Begin(p *Path) {
	a.path = p
	p.world.Tap(a)
	p.world.At(a.From, a.act)
}

func (a *Attacker) act(now clock.Time) {
	if now > a.Until {
		return
	}
	if side, ok := a.forge(); ok {
		a.Forged++
		a.path.inject(now, side, a.buf)
	}
	a.path.world.At(now.Add(a.Every), a.act)
}

// See: see Tap.
func (a *Attacker) See(s *Sight) error {
	seg := &a.segment
	if s.Forged || s.Path != a.path || seg.Parse(s.Packet) != nil {
		return nil
	}
	if s.Sent {
		o := &seg.Options
		begins := seg.Flags&(wire.SYN|wire.ACK) == wire.SYN
		if isEvil(seg.Target.Addr()) && (begins || len(seg.Payload) > 0 || o.Has&wire.HasFastClose != 0) {
			return fmt.Errorf("is led to the attacker: %v", seg)
		}
		return nil
	}
	h := a.of(s.Host, seg)
	if seg.Flags.Has(wire.RST) {
		h.ended = h.ended || seg.Seq == h.next // else it answers something forged
		return nil
	}
	n := seg.Seq.Add(seg.Len())
	if seg.Flags.Has(wire.SYN) {
		*h = heard{host: h.host, next: n, isThere: h.isThere, joined: seg.Options.Has&wire.HasJoin != 0}
		if j := &seg.Options.Join; h.joined && j.Length == 12 && h.isThere {
			a.tokens = append(a.tokens, j.Token)
		}
	}
	if h.next.Less(n) {
		h.next = n
	}
	if seg.Options.Has&wire.HasDSS != 0 {
		h.data++
	}
	h.ended = h.ended || seg.Flags.Has(wire.FIN)
	h.last = *seg
	h.last.Payload = nil
	if h.isThere && seg.Flags&wire.SYN == 0 && len(a.kept) < keptMax {
		a.kept = append(a.kept, append([]byte(nil), s.Packet...))
	}
	return nil
}

// of returns what is known of the segment's flow.
func (a *Attacker) of(host *Host, seg *wire.Segment) *heard {
	for _, h := range a.heard {
		if h.host == host && h.last.Source == seg.Source && h.last.Target == seg.Target {
			return h
		}
	}
	h := &heard{host: host, next: seg.Seq, isThere: a.path.side(host) == 1, last: wire.Segment{Source: seg.Source, Target: seg.Target}}
	if a.heard = append(a.heard, h); len(a.heard) > heardMax {
		a.heard = a.heard[1:]
	}
	return h
}

// forge makes a packet, and says for which end of the path.
func (a *Attacker) forge() (side int, ok bool) {
	attack := Attack(1) << a.Dice.IntN(len(attackNames))
	if len(a.heard) == 0 || a.Attacks&attack == 0 {
		return 0, false
	}
	h := a.heard[a.Dice.IntN(len(a.heard))]
	s := wire.Segment{Source: h.last.Source, Target: h.last.Target, Seq: h.next, Ack: h.last.Ack, Flags: wire.ACK, Window: h.last.Window}
	s.Options.Has = h.last.Options.Has & wire.HasTimestamps
	s.Options.TSVal, s.Options.TSEcr = h.last.Options.TSVal, h.last.Options.TSEcr
	hits := a.Knows == Observer && h.joined && h.data > 3 && !h.ended
	switch attack {
	case Resets:
		s.Flags = []wire.Flags{wire.RST, wire.RST | wire.ACK}[a.Dice.IntN(2)]
		if h.ended = h.ended || hits; !hits {
			s.Seq = s.Seq.Add(1 + a.Dice.IntN(guessedWindow))
		}
	case Begins, Hastens:
		s.Flags, s.Seq, s.Ack = wire.SYN, s.Seq.Add(a.Dice.IntN(2*guessedWindow)), 0
		if h.ended || h.data == 0 {
			return 0, false // would be an offer of its own
		}
		if attack == Hastens {
			hasten(a.Dice, &s)
		}
	case Injects:
		s.Payload = []byte("not what was written")
		s.Options.Has |= wire.HasDSS
		s.Options.DSS = wire.DSS{HasMap: true, Map64: true, DSN: wire.DSN(a.Dice.Uint64()), SSN: 1, DataLen: uint16(len(s.Payload))}
		hits = false
	case Joins:
		return a.join(h)
	case Replays:
		if a.Knows != Observer || len(a.kept) == 0 {
			return 0, false
		}
		a.buf = append(a.buf[:0], a.kept[a.Dice.IntN(len(a.kept))]...)
		return 1, true
	default:
		a.signal(attack, &s.Options)
	}
	if !hits && s.Flags&(wire.SYN|wire.RST) == 0 {
		s.Ack += 1 << 30
	}
	a.buf = s.Append(a.buf[:0])
	return a.path.side(h.host), true
}

// join makes the SYN of a join from somewhere.
func (a *Attacker) join(h *heard) (side int, ok bool) {
	if !h.isThere {
		return 0, false
	}
	token := a.Dice.Uint32()
	if a.Knows == Observer && len(a.tokens) > 0 {
		token = a.tokens[a.Dice.IntN(len(a.tokens))]
	}
	s := wire.Segment{
		Source: netip.AddrPortFrom(evil(a.Dice.IntN(256)), uint16(1024+a.Dice.IntN(60000))), Target: h.last.Target,
		Seq: wire.Seq(a.Dice.Uint32()), Flags: wire.SYN, Window: 65535,
	}
	s.Options.Has = wire.HasJoin
	s.Options.Join = wire.Join{Length: 12, AddressID: byte(a.Dice.IntN(8)), Token: token, Nonce: a.Dice.Uint32()}
	a.buf = s.Append(a.buf[:0])
	return 1, s.Target.Addr().Is4()
}

// inject puts a packet in front of the host at one end of the path.
func (p *Path) inject(now clock.Time, side int, pkt []byte) {
	e := &p.ends[side]
	p.world.see(Sight{Host: e.host, Path: p, Forged: true, Packet: pkt})
	e.host.Machine.Receive(now, e.id, pkt)
	e.host.turn(now)
}
