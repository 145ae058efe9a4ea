package mptcp

import (
	"time"

	"tandem/engine/clock"
	"tandem/engine/datagram"
)

// Datagrams leave before what connections send, as soon as they are there. While connections wait for
// room on a path, so that its rate is known, datagrams are paced with them, and of every four octets leave
// one to them. See path.Ride for what the path makes of datagrams.
const (
	shareOf    = 3        // octets of datagrams for one of connections
	creditMost = 32 << 10 // octets that may go ahead before connections have their turn

	// How many datagrams arrive is asked with a PING for so many octets, at most one in a round trip.
	countEvery = 16 << 10
	countPause = 20 * time.Millisecond
)

// outgoing is what waits on a path.
type outgoing struct {
	out       datagram.Queue
	outOctets int
	credit    int // octets that datagrams may send before connections that wait

	uncounted  int        // octets that left since the last PING that counts
	countAt    clock.Time // when the next may leave
	sent, come uint64     // as the last PONG told
}

// enqueue has a packet wait for its path. What finds no room displaces what has waited longest there.
func (b *Bond) enqueue(came clock.Time, p *bondPath, pkt []byte) {
	d := b.datagrams
	for d.queued+datagram.Cost(len(pkt)) > d.cfg.Queue {
		b.counters.Datagrams.Full++
		if p.out.Len() == 0 {
			return
		}
		b.dequeue(p)
	}
	d.queued += datagram.Cost(len(pkt))
	p.outOctets += len(pkt)
	p.out.Push(came, pkt)
}

// dequeue takes the packet off that has waited longest.
func (b *Bond) dequeue(p *bondPath) []byte {
	pkt, _, _ := p.out.Front()
	p.out.Pop()
	p.outOctets -= len(pkt)
	b.datagrams.queued -= datagram.Cost(len(pkt))
	return pkt
}

// transmitDatagram writes the next packet of the lane into buf. first says that connections come after:
// then it leaves them their share.
func (b *Bond) transmitDatagram(now clock.Time, buf []byte, first bool) (PathID, []byte, bool) {
	d := b.datagrams
	if d == nil || d.queued == 0 {
		return 0, nil, false
	}
	for _, p := range b.paths {
		for p.out.Len() > 0 && b.mayLeave(now, p, first) {
			_, came, _ := p.out.Front()
			pkt := b.dequeue(p)
			switch {
			case now > came.Add(datagramWait):
				b.counters.Datagrams.Late++
			case len(pkt) > p.mtu() || d.view.Parse(pkt) != nil:
				b.counters.Datagrams.TooBig++
			default:
				return p.id, b.leave(now, p, append(buf[:0], pkt...)), true
			}
		}
	}
	return 0, nil, false
}

// mayLeave reports whether the path takes a packet of the lane now.
func (b *Bond) mayLeave(now clock.Time, p *bondPath, first bool) bool {
	if !b.contended(now) {
		return p.state.Allows(now)
	}
	return (p.credit > 0 || !first) && p.state.MayRide(now)
}

// contended reports whether connections want more than the paths let leave: they wait, or have waited
// until this instant.
func (b *Bond) contended(now clock.Time) bool {
	return b.blocked.size > 0 || b.datagrams.wokenAt == now
}

// leave puts the path's address into a packet and charges the path with it.
func (b *Bond) leave(now clock.Time, p *bondPath, pkt []byte) []byte {
	d := b.datagrams
	four := d.view.Source.Is4()
	client, _, _ := d.alias(p, four)
	d.view.Readdress(pkt, d.host(four), client)
	p.state.Ride(now, len(pkt))
	p.state.Charge(now, len(pkt))
	b.lane.control.Sent(datagram.PathID(p.id), len(pkt))
	if p.uncounted += len(pkt); b.contended(now) {
		p.credit = max(p.credit-len(pkt), -creditMost)
		b.count(now, p)
	}
	b.expect(now, p)
	b.counters.Datagrams.Sent++
	return pkt
}

// count asks how many of the datagrams sent so far have arrived.
func (b *Bond) count(now clock.Time, p *bondPath) {
	if p.uncounted >= countEvery && now >= p.countAt {
		p.uncounted, p.countAt = 0, now.Add(max(countPause, b.rtt(p)))
		b.lane.control.Ping(now, datagram.PathID(p.id), 0)
	}
}

// counted learns it.
func (b *Bond) counted(p *bondPath, e datagram.Event) {
	sent, come := e.Sent-p.sent, e.Got-p.come
	if e.Sent < p.sent || e.Got < p.come {
		sent, come = 0, 0 // the count began anew
	} else if sent < countEvery/2 {
		return
	}
	p.sent, p.come = e.Sent, e.Got
	p.state.Fared(int(min(sent, 1<<30)), int(min(come, 1<<30)))
}

// earn gives datagrams their share of what a connection sent.
func (p *bondPath) earn(n int) { p.credit = min(p.credit+shareOf*n, creditMost) }

// wakeDatagrams returns when pacing lets something of the lane leave that waits.
func (b *Bond) wakeDatagrams(now clock.Time) clock.Time {
	at := clock.Never
	if b.datagrams == nil || b.datagrams.queued == 0 {
		return at
	}
	for _, p := range b.paths {
		if p.out.Len() > 0 {
			at = min(at, max(p.state.NextSend(), now+1))
		}
	}
	return at
}
