package sim

import (
	"encoding/binary"
	"net/netip"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// Whose datagrams a bond of a scenario carries: the client's address whatever path they take, and whom it
// talks to. Ports tell flows apart.
var (
	chatHost = netip.AddrFrom4([4]byte{10, 99, 0, 2})
	chatFar  = netip.AddrFrom4([4]byte{203, 0, 113, 9})
)

const chatPort = 20000 // of the first flow, at both ends

// A Chat is an Application that sends numbered datagrams in some flows over a host's bond, and knows what
// must come of those that the Chat at the other end sends.
type Chat struct {
	Flows int           // each gets one datagram at a time
	Every time.Duration // between two of a flow
	Size  int           // octets of payload, at least 16
	Until clock.Time
	Heard []Heard // of each flow
	Wrong int     // datagrams with octets that nobody sent, which their checksum told

	host        *Host
	bond        *mptcp.Bond
	here, there netip.Addr
	next        clock.Time
	sent        uint64
	octets      []byte
	datagram    wire.Datagram
	payload     []byte
}

// Heard is what came of a flow.
type Heard struct {
	Got      int
	Last     uint64        // number of the newest
	Back     int           // came after one with a higher number
	LastAt   clock.Time    // when the last came
	Gap      time.Duration // longest between two
	DelaySum time.Duration
	DelayMax time.Duration
}

// Delay is how long a datagram took on average.
func (h *Heard) Delay() time.Duration { return h.DelaySum / time.Duration(max(h.Got, 1)) }

// newChats returns the chats of a client and a server.
func newChats(client, server *User, like Chat) (near, far *Chat) {
	a, b := like, like
	a.host, a.bond, a.here, a.there = client.host, client.bond, chatHost, chatFar
	b.host, b.bond, b.here, b.there = server.host, server.bond, chatFar, chatHost
	for _, c := range []*Chat{&a, &b} {
		c.Heard = make([]Heard, c.Flows)
		c.payload = make([]byte, c.Size)
		c.host.Use(c)
	}
	return &a, &b
}

// Turn: see Application.
func (c *Chat) Turn(now clock.Time) (changed bool) {
	for pkt, ok := c.bond.NextPacket(); ok; pkt, ok = c.bond.NextPacket() {
		c.hear(now, pkt)
	}
	for _, ok := c.bond.NextEvent(); ok; _, ok = c.bond.NextEvent() {
		changed = true
	}
	if now < c.next || now > c.Until {
		return changed
	}
	c.sent++
	for i := range c.Flows {
		binary.BigEndian.PutUint64(c.payload, c.sent)
		binary.BigEndian.PutUint64(c.payload[8:], uint64(now))
		d := wire.Datagram{
			Source: netip.AddrPortFrom(c.here, chatPort+uint16(i)), Target: netip.AddrPortFrom(c.there, chatPort+uint16(i)), Payload: c.payload,
		}
		c.octets = d.Append(c.octets[:0])
		c.bond.SendPacket(now, c.octets)
	}
	c.next = now.Add(c.Every)
	return true
}

// hear takes a datagram, which must be one of the other end's.
func (c *Chat) hear(now clock.Time, pkt []byte) {
	d := &c.datagram
	if d.Parse(pkt) != nil {
		c.Wrong++
		return
	}
	i := int(d.Source.Port()) - chatPort
	if d.Source.Addr() != c.there || d.Target.Addr() != c.here || i < 0 || i >= c.Flows || d.Target.Port() != d.Source.Port() || len(d.Payload) != c.Size {
		c.host.World.Fail("%s: a datagram of %d octets from %v to %v, which nobody sent", c.host.Name, len(d.Payload), d.Source, d.Target)
		return
	}
	h := &c.Heard[i]
	n, took := binary.BigEndian.Uint64(d.Payload), now.Sub(clock.Time(binary.BigEndian.Uint64(d.Payload[8:])))
	if h.Got > 0 {
		h.Gap = max(h.Gap, now.Sub(h.LastAt))
	}
	if n < h.Last {
		h.Back++
	}
	h.Got++
	h.Last, h.LastAt = max(h.Last, n), now
	h.DelaySum, h.DelayMax = h.DelaySum+took, max(h.DelayMax, took)
}

// Next: see Application.
func (c *Chat) Next() clock.Time {
	if c.next > c.Until {
		return clock.Never
	}
	return c.next
}

// chatAfter is for how long chats go on when a scenario's faults are over.
const chatAfter = 3 * time.Second
