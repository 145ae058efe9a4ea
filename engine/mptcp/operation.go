package mptcp

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"tandem/engine/clock"
)

// SubflowID is the number of a subflow within its connection, from 1; none is used twice.
type SubflowID uint32

// Why an operation on a subflow is not done, beside ErrNoPath, ErrLimit and ErrClosed.
var (
	ErrNoSubflow = errors.New("no such subflow")
	ErrFallback  = errors.New("the connection is one of TCP, without subflows")
	ErrEarly     = errors.New("not established yet")
	ErrExists    = errors.New("there is such a subflow already")
	ErrLast      = errors.New("no other subflow can take its place")
	ErrNoJoins   = errors.New("the peer wants no subflows to that address")
)

// Ending is how a subflow is closed.
type Ending uint8

// The ways to close a subflow.
const (
	ByFIN   Ending = 1 + iota // it still delivers what it was given
	ByReset                   // at once: what it was given and did not deliver goes out over others
)

// SubflowOptions say which subflow OpenSubflow opens.
type SubflowOptions struct {
	Path   PathID
	Local  netip.AddrPort // if its address is valid, the path is the one with that address; port 0: any
	Remote netip.AddrPort // not valid: the address dialled, or the one that asked
	Backup bool
}

// Token returns the number of the connection at this end: no two that live have the same (TCP_MULTIPATH_CONNID).
func (c *Conn) Token() uint32 { return c.id.localToken }

// Multipath reports whether MPTCP is in use: not before the peer has answered, nor after a fallback.
func (c *Conn) Multipath() bool { return c.phase == open && !c.plain() }

// OpenSubflow opens a subflow, whether or not the bond opens any by itself. It fails with ErrEarly until both ends
// know that they speak MPTCP (RFC 8684 3.2), and with ErrExists if only a local port could tell it from another.
func (c *Conn) OpenSubflow(now clock.Time, o SubflowOptions) (SubflowID, error) {
	remote, p := o.Remote, c.pathOf(o.Path, o.Local.Addr())
	if !remote.IsValid() {
		remote = c.peerAt()
	}
	switch err := c.operable(); {
	case err != nil:
		return 0, err
	case !c.id.confirmed:
		return 0, ErrEarly
	case p == nil || !p.reaches(remote.Addr()) || p.peerOff || !c.permits(p):
		return 0, ErrNoPath
	case c.client && c.id.noJoins && remote == c.target:
		return 0, ErrNoJoins
	case c.crowded():
		c.b.counters.LimitSubflows++
		return 0, ErrLimit
	}
	local, err := c.joinFrom(p, o.Local.Port(), remote)
	if err != nil {
		return 0, err
	}
	c.unbar(p)
	c.announce(now)
	f := c.openJoin(now, p, local, remote, c.peerID(remote))
	f.backup = f.backup || o.Backup
	c.b.touch(now, c)
	return f.id, nil
}

// CloseSubflow closes a subflow, as soon as another can carry what it would have: where there is none, one is opened
// first. The bond does not open any over its path for this connection again, and takes none of the peer, until
// OpenSubflow or until the path is attached anew; a connection without any subflow takes what it gets. It fails with
// ErrLast when no other path is there.
func (c *Conn) CloseSubflow(now clock.Time, id SubflowID, how Ending) error {
	if err := c.operable(); err != nil {
		return err
	}
	f := c.find(id)
	if f == nil {
		return ErrNoSubflow
	}
	defer c.b.touch(now, c)
	return c.close(now, f, how)
}

// RemovePath closes all subflows over a path as CloseSubflow does, and tells the peer that the path's addresses are
// not to be used (TCP_MULTIPATH_REMOVE).
func (c *Conn) RemovePath(now clock.Time, id PathID) error {
	if err := c.operable(); err != nil {
		return err
	}
	p := c.b.path(id)
	if p == nil {
		return ErrNoPath
	}
	defer c.b.touch(now, c)
	used := false
	for _, f := range c.subflows {
		if f.path != p || !f.live() {
			continue
		}
		used, f.withdraws = true, true
		if err := c.close(now, f, ByFIN); err != nil {
			f.withdraws = false
			return err
		}
	}
	if c.bar(p); !used {
		c.withdraw(p)
	}
	return nil
}

// AddPath lets the connection use a path that it was not to use, by DialOptions.Only, RemovePath or CloseSubflow, as if
// the path were attached now (TCP_MULTIPATH_ADD). A path that is Private has to be named when the connection is
// dialled, unless other paths were.
func (c *Conn) AddPath(now clock.Time, id PathID) error {
	if err := c.operable(); err != nil {
		return err
	}
	p := c.b.path(id)
	switch {
	case p == nil, c.only == nil && !c.permits(p):
		return ErrNoPath
	case !c.permits(p):
		c.only = append(c.only, id)
	}
	c.unbar(p)
	c.meet(now, p)
	c.b.touch(now, c)
	return nil
}

// Priority reports whether this end wishes the subflow spared, and whether the peer does.
func (c *Conn) Priority(id SubflowID) (local, remote bool, err error) {
	if err := c.operable(); err != nil {
		return false, false, err
	}
	f := c.find(id)
	if f == nil {
		return false, false, ErrNoSubflow
	}
	return f.backup, f.peerBackup, nil
}

// SetPriority says whether the peer shall spare the subflow, by MP_PRIO, and spares it here.
func (c *Conn) SetPriority(now clock.Time, id SubflowID, backup bool) error {
	if err := c.operable(); err != nil {
		return err
	}
	f := c.find(id)
	switch {
	case f == nil:
		return ErrNoSubflow
	case !f.ready:
		return ErrEarly
	case f.backup == backup:
		return nil
	}
	f.prefer(backup)
	c.trace.add(now, evBackup, f.path.id, uint64(id))
	if !f.awaits(signalPrio) {
		f.signal(signal{kind: signalPrio})
	}
	c.b.touch(now, c)
	return nil
}

// SetTOS changes the DSCP of what leaves over the subflow, the upper six bits of tos (IP_TOS of a subflow).
func (c *Conn) SetTOS(id SubflowID, tos uint8) error {
	return c.set(id, func(f *subflow) { f.tcp.SetTOS(tos) })
}

// SetUserTimeout says how long octets that the subflow sent may be unacknowledged: then it ends, and they go out over
// others (TCP_USER_TIMEOUT of a subflow). 0: after some fifteen retransmissions.
func (c *Conn) SetUserTimeout(id SubflowID, d time.Duration) error {
	return c.set(id, func(f *subflow) { f.tcp.SetUserTimeout(d) })
}

// set changes an option of a subflow.
func (c *Conn) set(id SubflowID, change func(*subflow)) error {
	if err := c.operable(); err != nil {
		return err
	}
	f := c.find(id)
	if f == nil {
		return ErrNoSubflow
	}
	change(f)
	return nil
}

// operable says why nothing can be done with the subflows of the connection.
func (c *Conn) operable() error {
	switch {
	case c.phase == over:
		return ErrClosed
	case c.phase != open:
		return ErrEarly
	case c.plain():
		return ErrFallback
	}
	return nil
}

// find returns a subflow that has not ended.
func (c *Conn) find(id SubflowID) *subflow {
	for _, f := range c.subflows {
		if f.id == id && f.live() {
			return f
		}
	}
	return nil
}

// pathOf returns the path with a local address, or else of a number.
func (c *Conn) pathOf(id PathID, local netip.Addr) *bondPath {
	if !local.IsValid() {
		return c.b.path(id)
	}
	for _, p := range c.b.paths {
		if p.cfg.Local4 == local || p.cfg.Local6 == local {
			return p
		}
	}
	return nil
}

// peerAt is where the peer is, unless it announced another address.
func (c *Conn) peerAt() netip.AddrPort {
	if c.client {
		return c.target
	}
	return c.source
}

// peerID returns the peer's number of an address.
func (c *Conn) peerID(remote netip.AddrPort) uint8 {
	for _, a := range c.signal.theirs {
		if a.addr == remote {
			return a.id
		}
	}
	return 0
}

// crowded reports whether the connection has as many subflows as it may; those that ended are remembered for a while.
func (c *Conn) crowded() bool {
	half := 0
	for _, f := range c.subflows {
		if f.live() && !f.ready {
			half++
		}
	}
	return len(c.subflows) >= c.b.cfg.Limits.Subflows || half >= c.b.cfg.Limits.HalfOpen
}

// joinFrom returns where a subflow over p to remote can begin.
func (c *Conn) joinFrom(p *bondPath, port uint16, remote netip.AddrPort) (netip.AddrPort, error) {
	local := netip.AddrPortFrom(p.local(remote.Addr()), port)
	if port == 0 {
		for _, f := range c.subflows {
			if f.path == p && f.live() && f.leaving == 0 && f.tcp.Config().Remote == remote {
				return netip.AddrPort{}, ErrExists
			}
		}
		local = c.joinLocal(p, remote)
	}
	switch {
	case local.Port() == 0:
		return local, ErrLimit
	case c.b.taken(local, remote):
		return local, ErrExists
	}
	return local, nil
}

// first returns the paths to begin with; nil: any.
func (o *DialOptions) first() []PathID {
	switch {
	case len(o.Paths) == 0:
		return o.Only
	case o.Only == nil:
		return o.Paths
	}
	return slices.DeleteFunc(slices.Clone(o.Paths), func(id PathID) bool { return !slices.Contains(o.Only, id) })
}

// welcomes reports whether subflows over the path may come without being asked for one by one.
func (c *Conn) welcomes(p *bondPath) bool {
	return c.permits(p) && c.lasts(p) && !slices.Contains(c.barred, p)
}

func (c *Conn) bar(p *bondPath) {
	c.unbar(p)
	c.forgetAttempts(p)
	c.barred = append(c.barred, p)
}

func (c *Conn) unbar(p *bondPath) {
	c.barred = slices.DeleteFunc(c.barred, func(q *bondPath) bool { return q == p || q.gone })
}

// awaits reports whether a signal of that kind waits already.
func (f *subflow) awaits(kind signalKind) bool {
	return slices.ContainsFunc(f.signals, func(s signal) bool { return s.kind == kind })
}

// prefer changes this side's wish.
func (f *subflow) prefer(backup bool) {
	if f.backup != backup {
		f.backup = backup
		f.report(SubflowPriority)
	}
}

// preferred takes the peer's wish.
func (f *subflow) preferred(backup bool) {
	if f.peerBackup != backup {
		f.peerBackup = backup
		f.report(SubflowPriority)
	}
}
