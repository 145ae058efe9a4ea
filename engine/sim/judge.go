package sim

import (
	"fmt"
	"net/netip"

	"tandem/engine/wire"
)

// A Judge is a Tap that follows, from packets alone, what each host says and is told about each
// MPTCP connection. It holds a host to two promises: its DATA_ACK never goes back, and it sends no
// new data beyond the largest window that its peer has announced (RFC 8684 3.3.1, 3.3.4).
type Judge struct {
	views   map[*Host]*view
	segment wire.Segment
}

// A view is what can be known from one host's packets.
type view struct {
	flows map[flow]*flowView
	conns map[uint64]*connView // by each key of either end
	joins map[uint32]*connView // by each token of either end
	blind map[uint64]bool      // clients' keys that MP_JOIN_CAP told of first: where those connections begin is not seen
}

type flow struct{ here, there netip.AddrPort }

// A flowView is what is known of a subflow.
type flowView struct {
	conn               *connView
	ours, theirs       uint64 // keys, 0 while unknown
	early              bool   // data rode in the SYN: positions are not what they seem
	iss                wire.Seq
	answered           int   // the window in a SYN/ACK from there, which is not scaled
	shift              uint8 // of the windows from there, if both SYNs had one
	hasOurs, hasTheirs bool  // a window scale was seen from here, from there
}

// A connView is what is known of a connection.
type connView struct {
	idsnOurs, idsnTheirs wire.DSN
	ack                  wire.DSN // the last one we said
	acked                bool
	edge                 wire.DSN // up to where the peer lets us send
	edged                bool
	sent                 wire.DSN // up to where we did
	lost                 bool     // fell back: there is nothing to judge any more
}

// NewJudge returns a judge who has seen nothing.
func NewJudge() *Judge { return &Judge{views: map[*Host]*view{}} }

// See: see Tap.
func (j *Judge) See(s *Sight) error {
	seg := &j.segment
	if s.Forged || s.Host.Hostile || seg.Parse(s.Packet) != nil {
		return nil
	}
	v := j.views[s.Host]
	if v == nil {
		v = &view{flows: map[flow]*flowView{}, conns: map[uint64]*connView{}, joins: map[uint32]*connView{}, blind: map[uint64]bool{}}
		j.views[s.Host] = v
	}
	f := flow{seg.Source, seg.Target}
	if !s.Sent {
		f = flow{seg.Target, seg.Source}
	}
	fv := v.flows[f]
	if fv == nil || seg.Flags.Has(wire.SYN) && !seg.Flags.Has(wire.ACK) && seg.Seq != fv.iss && fv.iss != 0 {
		fv = &flowView{}
		v.flows[f] = fv
	}
	v.learn(fv, seg, s.Sent)
	if fv.conn == nil || fv.conn.lost || seg.Flags&(wire.SYN|wire.RST) != 0 {
		return nil
	}
	if s.Sent {
		return fv.says(seg)
	}
	fv.hears(seg)
	return nil
}

// learn takes keys, tokens and window scales out of a handshake.
func (v *view) learn(f *flowView, seg *wire.Segment, sent bool) {
	o := &seg.Options
	if seg.Flags.Has(wire.SYN) {
		if !seg.Flags.Has(wire.ACK) {
			f.iss = seg.Seq
		}
		f.early = f.early || len(seg.Payload) > 0
		if o.Has&wire.HasWindowScale != 0 {
			if shift := min(o.WindowScale, 14); sent {
				f.hasOurs = true
			} else {
				f.shift, f.hasTheirs = shift, true
			}
		}
		if o.Has&wire.HasJoin != 0 && o.Join.Length == 12 {
			f.conn = v.joins[o.Join.Token]
		}
	}
	if key := o.JoinCap.Key; o.Has&wire.HasJoinCap != 0 {
		if f.conn = v.conns[key]; f.conn == nil {
			v.blind[key] = true
		}
	}
	if o.Has&wire.HasCapable == 0 || o.Capable.Length < 12 {
		return
	}
	if !sent && seg.Flags.Has(wire.SYN) {
		f.answered = int(seg.Window)
	}
	mine, other := o.Capable.Sender, o.Capable.Receiver
	if !sent {
		mine, other = other, mine
	}
	if o.Capable.Length == 12 { // the SYN/ACK has the sender's alone
		mine, other = 0, o.Capable.Sender
		if sent {
			mine, other = other, mine
		}
	}
	if mine != 0 {
		f.ours = mine
	}
	if other != 0 {
		f.theirs = other
	}
	if f.conn == nil && f.ours != 0 && f.theirs != 0 {
		f.conn = v.connection(f.ours, f.theirs)
		if f.answered > 0 {
			f.conn.widen(f.conn.idsnOurs.Add(1 + f.answered))
		} else if !sent {
			f.conn.widen(f.conn.idsnOurs.Add(1 + f.window(seg)))
		}
	}
}

// connection returns the connection of these keys, of which one is known already if two subflows
// were opened by one offer.
func (v *view) connection(ours, theirs uint64) *connView {
	c := v.conns[ours]
	if c == nil {
		c = v.conns[theirs]
	}
	tokenOurs, idsnOurs := wire.KeyToken(ours)
	tokenTheirs, idsnTheirs := wire.KeyToken(theirs)
	if c == nil {
		c = &connView{idsnOurs: idsnOurs, idsnTheirs: idsnTheirs, ack: idsnTheirs.Add(1), sent: idsnOurs.Add(1), edge: idsnOurs.Add(1)}
	}
	c.lost = c.lost || v.blind[theirs]
	v.conns[ours], v.conns[theirs] = c, c
	v.joins[tokenOurs], v.joins[tokenTheirs] = c, c
	return c
}

// says judges a segment of ours.
func (f *flowView) says(seg *wire.Segment) error {
	c, d := f.conn, &seg.Options.DSS
	if seg.Options.Has&wire.HasDSS == 0 {
		return nil
	}
	if d.HasMap && d.DataLen == 0 || seg.Options.Has&wire.HasFail != 0 {
		c.lost = true
		return nil
	}
	if d.HasAck {
		ack := extend(d.Ack, d.Ack64, c.ack)
		if ack.Less(c.ack) && c.acked {
			return fmt.Errorf("DATA_ACK goes back from %d to %d: %v", c.ack, ack, seg)
		}
		c.ack, c.acked = ack, true
	}
	end, ok := f.end(seg, c.sent)
	if !ok || end.LessEq(c.sent) {
		return nil
	}
	// An octet beyond a window that is closed is a probe (RFC 9293 3.8.6.1).
	if c.edged && c.edge.Add(1).Less(end) {
		return fmt.Errorf("data up to %d is sent, the window ends at %d: %v", end, c.edge, seg)
	}
	c.sent = end
	return nil
}

// end is up to where a segment's payload reaches in the data stream, if it is clear.
func (f *flowView) end(seg *wire.Segment, near wire.DSN) (wire.DSN, bool) {
	d, n := &seg.Options.DSS, len(seg.Payload)
	if !d.HasMap || n == 0 || f.early {
		return 0, false
	}
	length := int(d.DataLen)
	if d.Fin {
		length--
	}
	if n < length {
		return 0, false
	}
	return extend(d.DSN, d.Map64, near).Add(length), true
}

// hears takes the window out of a segment of the peer's.
func (f *flowView) hears(seg *wire.Segment) {
	c, d := f.conn, &seg.Options.DSS
	if seg.Options.Has&wire.HasFail != 0 || d.HasMap && d.DataLen == 0 {
		c.lost = true
		return
	}
	if seg.Options.Has&wire.HasDSS == 0 || !d.HasAck {
		return
	}
	c.widen(extend(d.Ack, d.Ack64, c.sent).Add(f.window(seg)))
}

// window is what a segment of the peer's announces, SYNs aside.
func (f *flowView) window(seg *wire.Segment) int {
	if f.hasOurs && f.hasTheirs {
		return int(seg.Window) << f.shift
	}
	return int(seg.Window)
}

// widen takes note that the peer lets us send up to edge.
func (c *connView) widen(edge wire.DSN) {
	if !c.edged || c.edge.Less(edge) {
		c.edge, c.edged = edge, true
	}
}

func extend(d wire.DSN, whole bool, near wire.DSN) wire.DSN {
	if whole {
		return d
	}
	return near.Extend(uint32(d))
}
