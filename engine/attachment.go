package engine

import (
	"log/slog"
	"net/netip"
	"slices"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// A Path carries packets to the other end of a bond: what the engine sees of a carrier.
type Path interface {
	// Send sends whole IP packets, in order. It keeps none of them, does not wait, and may drop.
	// It is called by the loop alone, so it may call Deliver but neither Attach nor Detach of the
	// same bond. An error is counted, and logged when the send before had none.
	Send(pkts [][]byte) error
}

// PathConfig describes a path: its addresses, MTU, role and what it reaches. Role is what a path is used for,
// Lifetime how long its addresses last.
type (
	PathConfig = mptcp.PathConfig
	PathID     = mptcp.PathID
	Role       = mptcp.Role
	Lifetime   = mptcp.Lifetime
)

// The roles of a path.
const (
	Primary   = mptcp.Primary   // used first
	Secondary = mptcp.Secondary // used when no primary has room
	Backup    = mptcp.Backup    // used when nothing else works
)

// PathInfo is a picture of a path.
type PathInfo struct {
	mptcp.PathInfo
	Overflows  uint64 // packets delivered and dropped, because Limits.Inbox was reached
	SendErrors uint64 // batches for which Path.Send returned an error
}

// pathsMax is how many numbers there are for paths.
const pathsMax = 1 << 8

// Attachment is a path's place in a bond.
type Attachment struct {
	bond *Bond
	path Path
	id   PathID

	// Guarded by the mutex of the bond's mail.
	queued    int // octets that wait, with packetCost for each packet
	overflows uint64
	detached  bool

	// The loop's.
	out        [][]byte // packets of the batch being gathered
	sendErrors uint64
	failing    bool // the last Send returned an error
}

// Attach adds a path with this host's addresses on it, either of which may be the zero Addr, and its
// MTU for IP packets (0: 1500). Connections use it from now on. A path of a closed bond, or beyond
// the 256th, carries nothing.
func (b *Bond) Attach(p Path, local4, local6 netip.Addr, mtu int) *Attachment {
	return b.AttachWith(p, PathConfig{Local4: local4, Local6: local6, MTU: mtu})
}

// AttachWith is Attach with everything that can be said of a path, which gets the least number that
// is free.
func (b *Bond) AttachWith(p Path, cfg PathConfig) *Attachment {
	return b.attach(p, cfg, func() int {
		if id := slices.Index(b.paths, nil); id >= 0 {
			return id
		}
		return len(b.paths)
	})
}

// AttachAs is AttachWith under a given number, in place of the path that has it. Both ends of a
// Paired bond number their paths alike, because what they tell each other about one names it so.
func (b *Bond) AttachAs(id PathID, p Path, cfg PathConfig) *Attachment {
	return b.attach(p, cfg, func() int { return int(id) })
}

func (b *Bond) attach(p Path, cfg PathConfig, number func() int) *Attachment {
	a := &Attachment{bond: b, path: p, detached: true}
	b.do(func(now clock.Time) {
		id := number()
		if id == pathsMax {
			return
		}
		for len(b.paths) <= id {
			b.paths = append(b.paths, nil)
		}
		if old := b.paths[id]; old != nil {
			b.setDetached(old, true)
		}
		a.id = PathID(id)
		b.paths[id] = a
		b.mtu = max(b.mtu, cfg.MTU)
		b.setDetached(a, false)
		b.machine.Attach(now, a.id, cfg)
	})
	return a
}

// ID returns the number by which Info and Paths call the path.
func (a *Attachment) ID() PathID { return a.id }

// Deliver takes copies of whole IP packets that came in over the path. They count as received now. It
// does not wait: what does not fit into the inbox is dropped and counted. Any number of goroutines
// may call it.
func (a *Attachment) Deliver(pkts [][]byte) { a.bond.mail.deliver(a, pkts) }

// SetRole changes what the path is used for. A Paired peer is told.
func (a *Attachment) SetRole(r Role) {
	a.bond.do(func(now clock.Time) {
		if b := a.bond; b.attached(a) {
			b.machine.SetRole(now, a.id, r)
		}
	})
}

// SetLimit changes how much may come and leave over the path, in octets a second of whole IP packets, the engine's own;
// 0 is no limit. A Paired peer is told, and keeps to it; others are asked by an option, subflow by subflow.
func (a *Attachment) SetLimit(down, up int) {
	a.bond.do(func(now clock.Time) {
		if b := a.bond; b.attached(a) {
			b.machine.SetLimit(now, a.id, down, up)
		}
	})
}

// SetPrice changes what 10⁹ octets over the path cost, in thousandths of a currency that is the same for all paths; 0
// is nothing. The scheduler "cost" looks at it. A Paired peer is told.
func (a *Attachment) SetPrice(price int) {
	a.bond.do(func(now clock.Time) {
		if b := a.bond; b.attached(a) {
			b.machine.SetPrice(now, a.id, price)
		}
	})
}

// SetLifetime says how long the path's addresses last, from now: connections leave it in time for others.
func (a *Attachment) SetLifetime(l Lifetime) {
	a.bond.do(func(now clock.Time) {
		if b := a.bond; b.attached(a) {
			b.machine.SetLifetime(now, a.id, l)
		}
	})
}

// Detach removes the path. A Paired peer is told over another one, and does not use it any more. When it returns Send is not called any more, and what was delivered and
// not handled is dropped. Connections go on over other paths.
func (a *Attachment) Detach() {
	a.bond.do(func(now clock.Time) {
		if b := a.bond; b.attached(a) {
			b.setDetached(a, true)
			b.paths[a.id] = nil
			b.machine.Detach(now, a.id)
		}
	})
}

// attached reports whether a is a path of the bond. Its number alone does not tell: that of a path
// which was detached may be another's by now.
func (b *Bond) attached(a *Attachment) bool {
	return int(a.id) < len(b.paths) && b.paths[a.id] == a
}

func (b *Bond) setDetached(a *Attachment, detached bool) {
	b.mail.mu.Lock()
	a.detached = detached
	b.mail.mu.Unlock()
}

// flush sends the batch that was gathered.
func (a *Attachment) flush() {
	if len(a.out) == 0 {
		return
	}
	err := a.path.Send(a.out)
	if err != nil {
		a.sendErrors++
		a.bond.sendErrors++
		if !a.failing {
			a.bond.log.Warn("path does not send", slog.Int("path", int(a.id)), slog.Any("err", err))
		}
	}
	a.failing = err != nil
	clear(a.out)
	a.out = a.out[:0]
}

// Paths returns what is known of each path, in order of their numbers; nothing after Close.
func (b *Bond) Paths() (paths []PathInfo) {
	b.do(func(now clock.Time) {
		for _, info := range b.machine.Paths(now) {
			p := PathInfo{PathInfo: info}
			a := b.paths[info.ID]
			p.SendErrors = a.sendErrors
			b.mail.mu.Lock()
			p.Overflows = a.overflows
			b.mail.mu.Unlock()
			paths = append(paths, p)
		}
	})
	return paths
}
