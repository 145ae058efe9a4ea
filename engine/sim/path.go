package sim

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// A Path joins two hosts: a link each way, and middleboxes that see both directions.
type Path struct {
	Name  string
	Boxes []Middlebox // in the order in which packets from A to B meet them

	// Names are the addresses by which B's side knows A's; who has more than one path under one
	// number finds the one to take by them.
	Names []netip.Addr

	world *World
	ends  [2]end // A, B
}

// An end is a host's side of a path.
type end struct {
	host  *Host
	id    mptcp.PathID
	link  *Link // away from here
	alarm *alarm
}

// NewPath joins a and b, for which the path has number ida and idb, by links under those conditions.
func (w *World) NewPath(name string, a *Host, ida mptcp.PathID, b *Host, idb mptcp.PathID, up, down Conditions) *Path {
	p := &Path{Name: name, world: w}
	p.ends[0] = end{host: a, id: ida, link: NewLink(w.dice(), up)}
	p.ends[1] = end{host: b, id: idb, link: NewLink(w.dice(), down)}
	for i := range p.ends {
		p.ends[i].alarm = w.alarm(func(now clock.Time) { p.arrive(now, i) })
		p.ends[i].host.paths = append(p.ends[i].host.paths, p)
	}
	return p
}

// dice returns a source of chance of its own.
func (w *World) dice() rand.Source { return rand.NewPCG(w.source.Uint64(), w.source.Uint64()) }

// Up returns the link from A to B, Down the other one.
func (p *Path) Up() *Link { return p.ends[0].link }

// Down returns the link from B to A.
func (p *Path) Down() *Link { return p.ends[1].link }

// Set changes the conditions of both directions.
func (p *Path) Set(up, down Conditions) {
	for i, c := range [2]Conditions{up, down} {
		e := &p.ends[i]
		e.link.Set(p.world.now, c)
		e.alarm.set(e.link.Next())
	}
}

// side returns which end of the path is h's.
func (p *Path) side(h *Host) int {
	if p.ends[0].host == h {
		return 0
	}
	return 1
}

// send takes a packet from one of its hosts through the middleboxes into the link.
func (p *Path) send(side int, pkt []byte) { p.pass(side, 0, pkt) }

// pass shows the packet to the box that is i-th on its way, and to those after it.
func (p *Path) pass(side, i int, pkt []byte) {
	e := &p.ends[side]
	if i == len(p.Boxes) {
		e.link.Send(p.world.now, pkt)
		e.alarm.set(e.link.Next())
		return
	}
	p.box(side, i).Pass(pkt, side == 1, func(out []byte) { p.pass(side, i+1, out) })
}

func (p *Path) box(side, i int) Middlebox {
	if side == 1 {
		i = len(p.Boxes) - 1 - i
	}
	return p.Boxes[i]
}

// flush has boxes give out what they kept while one instant's packets went by.
func (p *Path) flush(side int) {
	for i := range p.Boxes {
		if box, ok := p.box(side, i).(Keeper); ok {
			box.Flush(side == 1, func(out []byte) { p.pass(side, i+1, out) })
		}
	}
}

// arrive hands what has come through the link of one end to the host at the other.
func (p *Path) arrive(now clock.Time, side int) {
	from, to := &p.ends[side], &p.ends[1-side]
	for pkt, ok := from.link.Receive(now); ok; pkt, ok = from.link.Receive(now) {
		to.host.receive(now, p, to.id, pkt)
	}
	from.alarm.set(from.link.Next())
	to.host.turn(now)
}

// target returns whom a packet is for, whatever else is wrong with it.
func target(pkt []byte) netip.Addr {
	if len(pkt) >= 20 && pkt[0]>>4 == 4 {
		return netip.AddrFrom4([4]byte(pkt[16:]))
	}
	if len(pkt) >= 40 && pkt[0]>>4 == 6 {
		return netip.AddrFrom16([16]byte(pkt[24:]))
	}
	return netip.Addr{}
}

// isTCP reports whether it is TCP that pkt carries, and its flags.
func isTCP(pkt packet) (wire.Flags, bool) {
	header, _, ok := pkt.tcp()
	if !ok {
		return 0, false
	}
	return wire.Flags(binary.BigEndian.Uint16(pkt[header+12:])), true
}
