package engine

import (
	"log/slog"
	"net"
	"runtime"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

const (
	// A path is handed at most so many packets at a time.
	batchMax = 64

	// After so many packets out, the loop looks at what has come in meanwhile: with packets of 1400
	// octets that is a third of a millisecond of work, and the most by which a packet leaves later
	// than the machine believes.
	turnMax = 256
)

// run is the loop of a bond: it owns the machine, and everything that may touch the machine comes to
// it by mail or by the timer. A turn happens at one instant, that at which its mail was taken; only
// packets carry instants of their own, none of them later.
//
//	Deliver ──► packets ─┐                         ┌─► Next ──► goroutines in Read, Write, Accept …
//	do, post ─► calls  ──┼─► mail ─► turn: machine ┤
//	Read, Write ► pokes ─┘             ▲           └─► Transmit ──► a batch per path ──► Path.Send
//	                     timer ────────┘
func (b *Bond) run() {
	defer close(b.done)
	defer b.engine.forget(b)
	defer b.timer.Stop()
	var in letters
	for again := false; !b.ending; {
		// 1. Wait for mail or for the machine's deadline. If the last turn left something to do let
		//    others go first: the carriers must keep up with what they were given.
		if again {
			runtime.Gosched()
		} else {
			b.wait()
		}
		// 2. Take the mail.
		b.mail.take(&in)
		// 3. Packets, in the order and at the times of their arrival.
		for _, block := range in.blocks {
			b.receive(block)
			b.hand()
		}
		// 4. What has fallen due. After the packets: an acknowledgement that is here is not missing.
		b.machine.Advance(in.now)
		// 5. What applications want.
		b.serve(&in)
		b.carry(&in)
		// 6. What happened to connections. Before sending: a refusal leaves in the same turn.
		b.tell(in.now)
		// 7. Send.
		again = b.send(in.now)
		// 8. Sending may have made news; if that asks for packets, they leave in the next turn.
		again = b.tell(in.now) || again
		b.news()
	}
	b.bury(&in)
}

// wait sleeps until there is mail or the machine's deadline is reached. The timer is moved only to an
// earlier instant; one that fires too early costs a turn, which is cheaper than moving it each time a
// retransmission is put off.
func (b *Bond) wait() {
	if at := b.machine.Deadline(); at < b.alarm {
		b.alarm = at
		b.timer.Reset(at.Sub(b.engine.now()))
	}
	select {
	case <-b.mail.wake:
	case <-b.timer.C:
		b.alarm = clock.Never
	}
}

func (b *Bond) receive(in *block) {
	for _, p := range in.packets {
		if b.attached(p.from) {
			b.machine.Receive(p.at, p.from.id, p.octets)
		}
	}
}

func (b *Bond) serve(in *letters) {
	for _, c := range in.pokes {
		c.queued.Store(false)
		c.machine.Poke(in.now)
	}
	for _, c := range in.calls {
		var err error
		if b.ending {
			err = net.ErrClosed
		} else {
			c.f(in.now)
		}
		if c.done != nil {
			c.done <- err
		}
	}
}

// tell passes on what happened to connections, and reports whether anything did.
func (b *Bond) tell(now clock.Time) (news bool) {
	for {
		m, what, ok := b.machine.Next()
		if !ok {
			return news
		}
		news = true
		c, _ := m.Tag.(*Conn)
		if what&mptcp.Offered != 0 && what&mptcp.Ended == 0 {
			c = b.offer(now, m)
		}
		if c == nil {
			continue
		}
		c.changed(what)
		if what&mptcp.Ended != 0 {
			delete(b.conns, c)
			b.mourn(m)
		}
	}
}

// mourn logs the trace of a connection that the machine gave up because of a bug.
func (b *Bond) mourn(m *mptcp.Conn) {
	if broken := b.machine.Counters().Broken; broken != b.broken {
		b.broken = broken
		b.log.Error("connection reset: its state was impossible",
			slog.Any("source", m.Source()), slog.Any("target", m.Target()), slog.String("trace", m.Trace()))
	}
}

// send hands the paths what may leave now, and reports whether it stopped before all had left.
func (b *Bond) send(now clock.Time) (more bool) {
	block := b.engine.getBlock()
	defer b.engine.putBlock(block)
	defer b.flush()
	for range turnMax {
		if blockLen-block.used < b.mtu {
			b.flush()
			block.used = 0
		}
		id, pkt, ok := b.machine.Transmit(now, block.octets[block.used:])
		if !ok {
			return false
		}
		block.used += len(pkt)
		a := b.paths[id]
		if a == nil {
			continue
		}
		if a.out = append(a.out, pkt); len(a.out) == batchMax {
			a.flush()
		}
	}
	return true
}

func (b *Bond) flush() {
	for _, a := range b.paths {
		if a != nil {
			a.flush()
		}
	}
}

// end is Close in the loop: the turn in which it runs is the last.
func (b *Bond) end(now clock.Time, why ByeReason) {
	b.ending, b.bye = true, why
	close(b.shut)
	for c := range b.conns {
		c.in.close(net.ErrClosed)
		c.out.close(net.ErrClosed)
		if c.offered {
			c.offered = false
			c.machine.Refuse(now, wire.Unspecified)
		} else {
			c.machine.Abort(now)
		}
	}
}

// bury sends the last packets, answers the calls that came too late, and forgets what the bond held.
func (b *Bond) bury(in *letters) {
	// Resets first: to a peer that hears Bye every connection that is left was reset, also one that
	// was refused.
	for b.send(in.now) {
	}
	b.machine.Bye(in.now, b.bye)
	b.send(in.now)
	b.mail.close()
	b.mail.take(in)
	b.serve(in)
	b.mail.take(in)
	b.tell(in.now)
	for c := range b.conns {
		c.changed(mptcp.Ended)
	}
	b.paths, b.conns = nil, nil
}
