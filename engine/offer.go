package engine

import (
	"net/netip"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// Offer is a connection that somebody has asked for and nobody has answered. It wants one answer,
// Accept or Refuse; without one it is refused when its bond is closed.
type Offer struct{ conn *Conn }

// Source returns the address that asked.
func (o *Offer) Source() netip.AddrPort { return o.conn.remote }

// Target returns the address that was asked for.
func (o *Offer) Target() netip.AddrPort { return o.conn.local }

// Gone is closed when the asker has left, or the connection that came of the offer is over.
func (o *Offer) Gone() <-chan struct{} { return o.conn.ended }

// Accept completes the handshake with the asker. It returns at once; octets written at once travel with
// the answer. The error is ErrNotOffer when the offer was answered, why the asker left (ErrReset,
// ErrTimeout) when it did, or net.ErrClosed.
func (o *Offer) Accept() (*Conn, error) {
	if err := o.answer((*mptcp.Conn).Accept); err != nil {
		return nil, o.conn.failure("accept", err)
	}
	return o.conn, nil
}

// Refuse answers as a host would for which dialing failed with why: a reset, which tells a peer that
// speaks MPTCP whether it was for lack of resources (ErrLimit) or prohibited (os.ErrPermission), and a Paired
// one also whether why is syscall.ECONNREFUSED, EHOSTUNREACH, ENETUNREACH or a timeout: its Dial fails with
// ErrRefused and that error. It does nothing when the offer was answered or the asker has left.
func (o *Offer) Refuse(why error) {
	o.answer(func(m *mptcp.Conn, now clock.Time) error { return m.Refuse(now, reason(why)) })
}

// Ignore forgets the offer without a word, because somebody else answers it: what still comes of the connection is
// nobody's. The error is that of Accept.
func (o *Offer) Ignore() error { return o.answer((*mptcp.Conn).Ignore) }

func (o *Offer) answer(with func(*mptcp.Conn, clock.Time) error) error {
	var err error
	closed := o.conn.bond.do(func(now clock.Time) {
		switch {
		case o.conn.offered:
			o.conn.offered = false
			err = with(o.conn.machine, now)
		case o.conn.err != nil:
			err = o.conn.err
		default:
			err = ErrNotOffer
		}
	})
	if closed != nil {
		return closed
	}
	return err
}

// offer puts what somebody asks for where Accept finds it. It runs in the loop.
func (b *Bond) offer(now clock.Time, m *mptcp.Conn) *Conn {
	c := newConn(b, m, m.Target(), m.Source())
	select {
	case b.offers <- &Offer{c}:
		c.offered = true
		m.Tag = c
		b.conns[c] = struct{}{}
		return c
	default:
		b.offersLost++
		m.Refuse(now, wire.LackOfResources)
		return nil
	}
}
