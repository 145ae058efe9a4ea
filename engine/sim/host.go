package sim

import (
	"slices"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// A Host is a machine, what uses it, and the paths it sends over.
type Host struct {
	Name    string
	Machine mptcp.Machine
	Uses    []Application
	World   *World
	Hostile bool // makes no promises that a Judge could hold it to

	paths []*Path
	alarm *alarm
	buf   []byte
	sent  int // packets at this instant
	at    clock.Time
}

// An Application is what uses a host's machine.
type Application interface {
	// Turn does what can be done now. It is called whenever anything happened at the host.
	// changed says that the machine may have packets to send or more to tell.
	Turn(now clock.Time) (changed bool)
	// Next returns when Turn must be called even if nothing happens, or Never.
	Next() clock.Time
}

// NewHost adds a host.
func (w *World) NewHost(name string, m mptcp.Machine) *Host {
	h := &Host{Name: name, Machine: m, World: w, buf: make([]byte, 1<<16)}
	h.alarm = w.alarm(h.turn)
	h.alarm.set(w.now)
	return h
}

// Use adds an application.
func (h *Host) Use(a Application) {
	h.Uses = append(h.Uses, a)
	h.Wake()
}

// Wake has the host look at its machine now; to be called by who changed something from outside.
func (h *Host) Wake() { h.alarm.set(h.World.now) }

func (h *Host) receive(now clock.Time, p *Path, id mptcp.PathID, pkt []byte) {
	h.World.see(Sight{Host: h, Path: p, Packet: pkt})
	h.Machine.Receive(now, id, pkt)
}

// turn serves the machine and its applications until neither has anything to do at this instant.
func (h *Host) turn(now clock.Time) {
	const roundsMax = 1000
	for round := 0; ; round++ {
		if h.Machine.Deadline() <= now {
			h.Machine.Advance(now)
		}
		changed := false
		for _, a := range h.Uses {
			changed = a.Turn(now) || a.Next() <= now || changed
		}
		n := h.transmit(now)
		if !changed && n == 0 && h.Machine.Deadline() > now {
			break
		}
		if round > roundsMax || len(h.World.faults) > 0 {
			h.World.Fail("%s: never done: deadline %v, applications changed something: %v, %d packets", h.Name, h.Machine.Deadline(), changed, n)
			return
		}
	}
	h.alarm.set(h.Machine.Deadline())
	for _, a := range h.Uses {
		h.alarm.set(a.Next())
	}
}

// transmit sends all that may leave now, and returns how many packets that were.
func (h *Host) transmit(now clock.Time) int {
	const packetsMax = 100_000 // at one instant
	if h.at != now {
		h.at, h.sent = now, 0
	}
	before := h.sent
	for {
		id, pkt, ok := h.Machine.Transmit(now, h.buf)
		if !ok {
			break
		}
		if h.sent++; h.sent > packetsMax {
			h.World.Fail("%s: more than %d packets at one instant", h.Name, packetsMax)
			break
		}
		if p := h.route(id, pkt); p != nil {
			h.World.see(Sight{Host: h, Path: p, Sent: true, Packet: pkt})
			if !isEvil(target(pkt)) {
				p.send(p.side(h), pkt)
			}
		}
	}
	if h.sent > before {
		for _, p := range h.paths {
			p.flush(p.side(h))
		}
	}
	return h.sent - before
}

// route returns the path of that number, and of several the one that leads to the packet's target.
func (h *Host) route(id mptcp.PathID, pkt []byte) *Path {
	var found *Path
	for _, p := range h.paths {
		side := p.side(h)
		if p.ends[side].id != id {
			continue
		}
		if side == 1 && slices.Contains(p.Names, target(pkt)) {
			return p
		}
		if found == nil {
			found = p
		}
	}
	return found
}
