package mptcp

import (
	"net/netip"
	"slices"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// A signal is an option that waits for a pure acknowledgement of its subflow (RFC 8684 3.4).
type signal struct {
	kind   signalKind
	addr   wire.AddAddr
	remove wire.RemoveAddr
}

type signalKind uint8

const (
	signalPrio signalKind = iota
	signalAddress
	signalRemove
	signalFastClose
	signalIdle
)

// signalsMax bounds what waits on one subflow, signalsRow how many leave in a row: the peer and what is between take
// more acknowledgements of the same octet for a sign of congestion (RFC 8684 3.4).
const (
	signalsMax = 16
	signalsRow = 2
)

// signal has an option leave on the subflow's next acknowledgement, which it asks for.
func (f *subflow) signal(s signal) {
	if len(f.signals) == signalsMax {
		f.c.b.counters.LimitSignals++
		return
	}
	f.signals = append(f.signals, s)
	f.askSignal()
}

// askSignal asks for the acknowledgement that carries the next signal, unless the row is full.
func (f *subflow) askSignal() {
	if len(f.signals) > 0 && f.row < signalsRow {
		f.tcp.Ack(1)
	}
}

// signalled counts a signal that leaves. Within a quarter of a round trip after a full row something else should
// leave, or come.
func (f *subflow) signalled(now clock.Time) {
	f.signals = f.signals[1:]
	if len(f.signals) == 0 {
		f.signals = nil
	}
	if f.row++; f.row == signalsRow {
		rtt, _, _ := f.state.RTT()
		if rtt == 0 {
			rtt = f.state.RTO()
		}
		f.rowAt = now.Add(max(rtt/4, time.Millisecond))
	}
	f.askSignal()
}

// endRow ends a row of signals: data moved between them, or time passed.
func (f *subflow) endRow() {
	if f.row > 0 {
		f.row, f.rowAt = 0, clock.Never
		f.askSignal()
	}
}

// composeSignal adds the oldest signal, alone: few fit beside DATA_ACK and none needs it.
func (f *subflow) composeSignal(now clock.Time, o *wire.Options, room int) bool {
	c := f.c
	if f.hasFail && room >= wire.FailLen {
		o.Has |= wire.HasFail
		o.FailDSN = f.failDSN
		f.hasFail = false
		return false
	}
	if len(f.signals) == 0 || f.row == signalsRow {
		return false
	}
	s := f.signals[0]
	switch s.kind {
	case signalPrio:
		if room < wire.PrioLen {
			return false
		}
		o.Has |= wire.HasPrio
		o.Backup = f.backup
	case signalAddress:
		if room < s.addr.Len() {
			return false
		}
		o.Has |= wire.HasAddAddr
		o.AddAddr = s.addr
	case signalRemove:
		if room < s.remove.Len() {
			return false
		}
		o.Has |= wire.HasRemoveAddr
		o.RemoveAddr = s.remove
	case signalFastClose:
		if room < wire.FastCloseLen {
			return false
		}
		o.Has |= wire.HasFastClose
		o.CloseKey = c.id.peerKey
	case signalIdle:
		if room < rateLeastLen {
			return false
		}
		c.composeIdle(o)
	}
	f.signalled(now)
	if c.fin.wanted {
		f.tcp.Ack(1)
	}
	return s.kind != signalPrio && s.kind != signalIdle
}

// signalState is what a connection knows of addresses, its own and the peer's.
type signalState struct {
	at       clock.Time
	mine     []announced
	names    []numbered
	gone     wire.RemoveAddr // to be told
	theirs   []peerAddress
	attempts []attempt
	homeless bool // the peer took the address back that was dialled
}

// announced is an address of this end that the peer was told of.
type announced struct {
	id    uint8
	addr  netip.Addr
	tries int
	at    clock.Time // when it is told again
	done  bool       // the peer echoed it
}

// peerAddress is an address that the peer announced.
type peerAddress struct {
	id      uint8
	addr    netip.AddrPort
	reached bool // by a subflow of this end
}

func (s *signalState) init() { *s = signalState{at: clock.Never} }

// announce tells the peer of the addresses of other paths.
func (c *Conn) announce(now clock.Time) {
	if !c.b.cfg.Announce || c.plain() {
		return
	}
	for _, p := range c.b.paths {
		if !c.welcomes(p) {
			continue
		}
		for _, addr := range []netip.Addr{p.cfg.Local4, p.cfg.Local6} {
			if !addr.IsValid() || addr == c.home || !c.mayTell(addr) {
				continue
			}
			id := c.addressID(p, addr)
			if c.announcedID(id) != nil {
				continue
			}
			c.signal.mine = append(c.signal.mine, announced{id: id, addr: addr, at: now})
		}
	}
	c.signal.advance(now, c)
}

func (c *Conn) announcedID(id uint8) *announced {
	for i := range c.signal.mine {
		if c.signal.mine[i].id == id {
			return &c.signal.mine[i]
		}
	}
	return nil
}

// advance repeats announcements without an echo, and joins whose time has come.
func (s *signalState) advance(now clock.Time, c *Conn) {
	s.at = clock.Never
	f := c.speaker()
	for i := range s.mine {
		a := &s.mine[i]
		if a.done || a.tries >= announcements || f == nil {
			continue
		}
		if a.at <= now {
			a.at = now.Add(max(f.state.RTO(), time.Second) << a.tries)
			a.tries++
			mac := wire.AddAddrMAC(c.id.localKey, c.id.peerKey, a.id, a.addr, 0)
			f.signal(signal{kind: signalAddress, addr: wire.AddAddr{ID: a.id, Addr: a.addr, MAC: mac}})
		}
		if a.tries < announcements {
			s.at = min(s.at, max(a.at, now.Add(time.Millisecond)))
		}
	}
	c.retryJoins(now)
	for i := range s.attempts {
		s.at = min(s.at, s.attempts[i].at)
	}
}

// speaker returns a subflow that can carry a signal.
func (c *Conn) speaker() *subflow {
	var best *subflow
	for _, f := range c.subflows {
		if !f.ready || !f.live() {
			continue
		}
		if best == nil || f.unfit() < best.unfit() {
			best = f
		}
	}
	return best
}

// unfit grades how little a signal is helped by the subflow.
func (f *subflow) unfit() int {
	switch {
	case f.leaving != 0:
		return 2
	case f.suspect:
		return 1
	}
	return 0
}

// receiveSignals acts on the options about addresses and priority.
func (f *subflow) receiveSignals(now clock.Time, seg *wire.Segment) {
	o := &seg.Options
	if o.Has&wire.HasAddAddr != 0 {
		f.receiveAddress(now, &o.AddAddr)
	}
	if o.Has&wire.HasRemoveAddr != 0 {
		f.receiveRemove(now, &o.RemoveAddr)
	}
	if o.Has&wire.HasPrio != 0 {
		f.c.trace.add(now, evPrio, f.path.id, 0)
		f.preferred(o.Backup)
	}
}

// receiveAddress is RFC 8684 3.4.1.
func (f *subflow) receiveAddress(now clock.Time, a *wire.AddAddr) {
	c := f.c
	if a.Echo {
		if m := c.announcedID(a.ID); m != nil && m.addr == a.Addr && a.Port == 0 && !a.ZeroPort {
			m.done = true
		}
		return
	}
	if wire.AddAddrMAC(c.id.peerKey, c.id.localKey, a.ID, a.Addr, a.Port) != a.MAC {
		c.b.counters.BadAddAddrMAC++
		return
	}
	c.confirm(now) // only who has both keys can compute it
	if !a.Addr.IsGlobalUnicast() {
		return
	}
	known := slices.IndexFunc(c.signal.theirs, func(p peerAddress) bool { return p.id == a.ID })
	if known >= 0 && c.signal.theirs[known].addr.Addr() != a.Addr {
		return // an identifier keeps its address
	}
	echo := *a
	echo.Echo, echo.MAC = true, 0
	f.signal(signal{kind: signalAddress, addr: echo})
	port := a.Port
	if port == 0 {
		port = f.tcp.Config().Remote.Port()
	}
	at := netip.AddrPortFrom(a.Addr, port)
	if known >= 0 {
		// A repeat refreshes the address, and may give it another port.
		p := &c.signal.theirs[known]
		c.refreshed(p.addr)
		if p.addr != at {
			p.addr, p.reached = at, false
		}
		c.learnAddress(now, *p)
		return
	}
	if len(c.signal.theirs) >= c.b.cfg.Limits.Addresses {
		c.b.counters.LimitAddresses++
		return
	}
	p := peerAddress{id: a.ID, addr: at}
	c.signal.theirs = append(c.signal.theirs, p)
	c.trace.add(now, evAddress, f.path.id, uint64(a.ID))
	c.learnAddress(now, p)
}

// offersAddress reports whether the peer has not taken the address of that number back: what it took back is
// not for new subflows (RFC 8684 3.4.2). That of the initial subflow, which has no other name, is tried once more when
// nothing else is left.
func (c *Conn) offersAddress(id uint8) bool {
	return id == 0 && !c.id.noJoins && !c.signal.homeless || slices.ContainsFunc(c.signal.theirs, func(p peerAddress) bool { return p.id == id })
}

// receiveRemove is RFC 8684 3.4.2: a subflow that still answers stays.
func (f *subflow) receiveRemove(now clock.Time, r *wire.RemoveAddr) {
	c := f.c
	for _, id := range r.IDs[:r.N] {
		c.trace.add(now, evRemove, f.path.id, uint64(id))
		c.signal.homeless = c.signal.homeless || id == 0
		for i, p := range c.signal.theirs {
			if p.id == id {
				c.signal.theirs = append(c.signal.theirs[:i:i], c.signal.theirs[i+1:]...)
				break
			}
		}
		c.signal.attempts = slices.DeleteFunc(c.signal.attempts, func(a attempt) bool { return a.id == id && id != 0 })
		for _, g := range c.subflows {
			if g.remoteID == id && g.ready && g.live() && g.checkAt == clock.Never {
				g.tcp.Probe()
				g.checkAt = now.Add(2 * g.state.RTO())
			}
		}
	}
}
