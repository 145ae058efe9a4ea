package sim

import (
	"errors"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// A User is the application on a host with a bond: it carries out plans as client or as server.
type User struct {
	Streams []*Stream // in the order in which they began
	Strict  bool      // one plan may be offered only once
	Hostile uint16    // port of offers that are accepted, and left alone; 0: none

	host    *Host
	bond    *mptcp.Bond
	dials   []*Plan          // still to dial
	answers map[uint16]*Plan // by port of the target
	offered map[uint16]int
	held    []*Stream     // offers not answered yet
	leeches []*mptcp.Conn // that came to Hostile
	buf     []byte
}

// NewUser adds a user to a host with that bond.
func NewUser(h *Host, bond *mptcp.Bond) *User {
	u := &User{host: h, bond: bond, answers: map[uint16]*Plan{}, offered: map[uint16]int{}, buf: make([]byte, 64<<10)}
	h.Use(u)
	return u
}

// Dial has the user be the client of the plan.
func (u *User) Dial(p *Plan) {
	u.dials = append(u.dials, p)
	u.host.World.At(p.Dialled, u.host.turn)
}

// Answer has the user be the server of the plan.
func (u *User) Answer(p *Plan) { u.answers[p.Target.Port()] = p }

// Turn: see Application.
func (u *User) Turn(now clock.Time) bool {
	changed := u.dial(now)
	for conn, what, ok := u.bond.Next(); ok; conn, what, ok = u.bond.Next() {
		changed = true
		if what&mptcp.Offered != 0 {
			u.offer(now, conn)
		}
		if s, ok := conn.Tag.(*Stream); ok {
			s.note(what)
		}
	}
	changed = u.answer(now) || changed
	for _, s := range u.Streams {
		did, err := s.turn(now)
		if err != nil {
			u.fail(s, err)
		}
		changed = did || changed
	}
	return changed
}

func (u *User) dial(now clock.Time) (changed bool) {
	rest := u.dials[:0]
	for _, p := range u.dials {
		if p.Dialled > now {
			rest = append(rest, p)
			continue
		}
		conn, err := u.bond.Dial(now, p.Target, p.Options)
		s := newStream(now, p, conn, false, u.buf)
		if err != nil {
			s.Conn, s.Err, s.Over = nil, err, true
			p.excused = errors.Is(err, mptcp.ErrNoPath) // all that lead there are detached
		} else {
			conn.Tag = s
		}
		u.Streams = append(u.Streams, s)
		changed = true
	}
	u.dials = rest
	return changed
}

// offer takes note of an offer, which must be one of a plan's.
func (u *User) offer(now clock.Time, conn *mptcp.Conn) {
	port := conn.Target().Port()
	if u.Hostile != 0 && port == u.Hostile {
		u.leeches = append(u.leeches, conn)
		conn.Accept(now)
		return
	}
	plan := u.answers[port]
	if plan == nil {
		u.host.World.Fail("%s: offer for %v, which nobody dialled", u.host.Name, conn.Target())
		return
	}
	if u.offered[port]++; u.Strict && u.offered[port] > 1 {
		u.host.World.Fail("%s: offer for %v comes for the second time", u.host.Name, conn.Target())
	}
	s := newStream(now, plan, conn, true, u.buf)
	conn.Tag = s
	u.held = append(u.held, s)
	u.host.World.At(now.Add(plan.AnswerAfter), u.host.turn)
}

// answer accepts or refuses the offers that were held long enough.
func (u *User) answer(now clock.Time) (changed bool) {
	rest := u.held[:0]
	for _, s := range u.held {
		if s.Began.Add(s.Plan.AnswerAfter) > now {
			rest = append(rest, s)
			continue
		}
		changed = true
		if s.Over {
			continue
		}
		if s.Plan.Manner == Refused {
			s.Err = s.Conn.Refuse(now, wire.Prohibited)
			continue
		}
		if s.Err = s.Conn.Accept(now); s.Err == nil {
			u.Streams = append(u.Streams, s)
		}
	}
	u.held = rest
	return changed
}

func (u *User) fail(s *Stream, err error) {
	u.host.World.Fail("%s, connection %v: %w", u.host.Name, s.Plan.Target, err)
}

// Next: see Application.
func (u *User) Next() clock.Time {
	next := clock.Never
	for _, s := range u.Streams {
		next = min(next, s.next())
	}
	return next
}

// Offers returns how often the plan of that target port was offered.
func (u *User) Offers(port uint16) int { return u.offered[port] }
