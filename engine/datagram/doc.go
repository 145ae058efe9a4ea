// Package datagram is what a bond carries beside connections: lanes. A lane is a stream of UDP
// datagrams between the two ends of a bond, inside the carriers, over any of its paths. It promises
// neither order nor arrival; what needs more than that, the lane adds itself.
//
// The datagram lane is other people's packets, as they are: which path they take and when is the bond's to
// say (engine/mptcp), and what it needs for it stands here: Queue, in which they wait, and Reassembler, which
// makes whole what had to be cut.
//
// Control is the control lane: what both ends tell each other about themselves, their paths and the
// offers between them. It is a machine without I/O. Its owner, a bond, drives it so:
//
//	c := NewControl(cfg)                // one per bond and process, with an epoch of its own
//	c.Attach(now, id)                   // and Detach, with the bond's paths; both ends number them alike
//	c.SetPath(now, PathState{…})        // whenever something about a path changes, and before the first packet
//	c.SetFamilies(now, IPv4|IPv6)       // whenever a default route was tested or lost
//	c.Receive(now, id, payload)         // for each UDP datagram from the peer to Port; an error is counted, no more
//	c.Advance(now)                      // at c.Deadline()
//	for … c.Transmit(now, buf)          // after each of these and each verb, until it says false
//	for … c.Next()                      // likewise
//
// buf is for the UDP payload alone; the bond puts the headers before it (wire.Datagram). The lane
// sends nothing by itself but what the peer has not acknowledged yet; for round trips, MTU and
// liveness the owner asks with Ping, as seldom as it can.
//
// A packet is a header and messages. All numbers are big-endian, lengths in octets.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------+---------------+---------------+---------------+
//	|      'T'      |      'L'      |   Lane = 1    |   Zero        |
//	+---------------+---------------+---------------+---------------+
//	|                     Epoch of the sender (8)                   |
//	+---------------------------------------------------------------+
//	|         Epoch of the receiver, 0: not known yet (8)           |
//	+---------------+---------------+-------------------------------+
//	|     Type      |    Version    |       Length of Body          |
//	+---------------+---------------+-------------------------------+
//	|    Body …                                                     |
//
// A receiver passes over a message of a type or a version that it does not know, and over the end
// of a body that is longer than it knows. HELLO is read whatever its version: it only ever grows at
// its end. Version is the least that has the message as it stands, and is 1 for all of these:
//
//	1 HELLO    Seq(4) VersionMin(1) VersionMax(1) Families(1) Zero(1) Features(4)
//	           Connections(4) Offers(4) Mappings(4) Buffered(8)
//	2 ACK      Seq(4) …
//	3 PING     ID(4) Clock(8) padding
//	4 PONG     ID(4) Clock of the PING(8) Clock(8) Delay in µs(4) Length of the packet with the PING(2)
//	           Octets of datagrams that came over the path before the PING(8)
//	5 PATH     Seq(4) ID(1) State(1) Role(1) Zero(1) LimitUp(8) LimitDown(8) Price(4)
//	6 HELD     Seq(4) Age in µs(4) Source port(2) Target port(2) Zero(1) Family, 4 or 6(1) Zero(2) Target(4 or 16)
//	7 REFUSED  as HELD, with the Reason in place of the first zero
//	8 BYE      Seq(4) Reason(1)
//
// Families are bits, 1 for IPv4 and 2 for IPv6: those that the sender has a tested route for; 0: it does
// not say. Reason is one of RFC 8684 3.6 or, from 0x80 on, one of the lane's own:
//
//	0x02 lack of resources     0x80 refused by the host      0x82 network unreachable
//	0x03 prohibited            0x81 host unreachable         0x83 timed out
//
// What has a Seq is repeated until an ACK names it; the same news sent again keeps its Seq, newer
// news has a higher one. A receiver acts on each Seq once, so that duplicates and reordering do no
// harm. As long as HELLO is not acknowledged it precedes what else is told, because a receiver
// believes nobody whose HELLO it has not seen. Answers (ACK, PONG) return on the path of what they
// answer and are never longer: a PING is at least as long as its PONG.
package datagram
