// Package engine is Multipath TCP in user space: packets go in and come out at one side, connections
// that look like net.Conn are used at the other. It uses the standard library only, no socket, and
// nothing of the operating system.
//
// # Start here
//
// An [Engine] holds bonds. A [Bond] is the set of paths between this host and a peer, and every
// connection over them. Whoever has packets, a [Path], is attached to a bond and gets an
// [Attachment] to deliver what comes in. [Bond.Dial] gives a [Conn]; [Bond.Accept] gives an [Offer],
// which is accepted or refused: no connection is answered before somebody has decided so. Who refuses says
// why, and who dialled fails with that: see [Offer.Refuse]. Who relays streams waits for each with
// [Conn.WaitRead] and lends it a buffer only when there is something to read.
//
//	application    Dial  Accept      Read  Write        goroutines of the application
//	                  │    ▲            ▲    │
//	               ┌──▼────┴────────────┴────▼──┐
//	engine         │ Bond  Offer     Conn  half │       blocking, deadlines, closing
//	               │ mail ──► loop ──► batches  │       one goroutine per bond
//	               ├────────────────────────────┤
//	engine/mptcp   │ connections, mappings,     │ ◄── engine/schedule: which path next
//	               │ datagrams                  │ ◄── engine/datagram: control lane, fragments
//	engine/tcp     │ subflows                   │ ◄── engine/path: how much, how fast
//	engine/wire    │ segments                   │     machines: no goroutine, clock or lock
//	               └──▲──────────────────────┬──┘
//	carrier        Deliver               Path.Send      goroutines of the carriers
//
// Below the line everything is a machine: packets and instants go in, packets and one deadline come
// out. engine/sim is the world in which the machines are tested, engine/clock what they call time.
//
// # Datagrams
//
// What is not TCP, UDP and ICMP first of all, goes over the datagram lane of a Paired bond as whole IP
// packets: [Bond.SendPackets] takes them at one end, BondConfig.Packets gets them at the other. Each flow
// keeps to the path on which it began, the one of the best role that was quickest then, until that path is
// detached at either end or does not answer; so its packets keep their order. On its way a packet has the
// path's address for the client's own, and an end takes no other from the path. The lane adds nothing to a
// packet, repeats nothing and waits for nothing. It goes before connections, paced with them, and leaves them
// a quarter of a path for which both compete.
//
// # Limits, prices and patience
//
// How much a path may carry is said by [Attachment.SetLimit], in octets of packets a second; what it costs, for the
// scheduler "cost", by [Attachment.SetPrice]. A Paired peer is told of both and keeps to them; others are asked by the
// option of the draft, subflow by subflow. How long connections may be idle is said by Config.Inactivity and
// [Conn.SetInactivity], how they begin by Config.Establish and DialOptions. [Bond.Paths], [Conn.Info], [Conn.Trace] and
// [Bond.Counters] tell what came of it.
//
// # Words
//
//   - path: a way to the peer with a number, an address and an MTU; what carries its packets is a carrier
//   - bond: the paths between this host and one peer, and every connection over them
//   - subflow: one TCP connection over one path
//   - connection: what the application sees: one MPTCP connection, a set of subflows
//   - offer: a connection that somebody has asked for and nobody has answered
//   - segment: a packet of TCP; packet: the whole IP packet
//   - flow: datagrams with the same addresses, ports and protocol, or the same echo identifier
//   - role: what a path is used for: primary, secondary, backup
//   - turn: one round of a bond's loop, which happens at one instant
//
// # Goroutines
//
// The loop, one per bond, owns the machine, and everything below it. The goroutines of a carrier call
// Deliver, which stamps packets, queues copies and drops when full. The goroutines of the application
// copy octets from and to a connection's buffers and wait on channels. The timers of deadlines close a
// channel. Nothing else runs, and nothing is left when Close has returned.
//
// # Where the RFCs live
//
//	RFC 791, 8200              IPv4 and IPv6 headers; fragments             wire, datagram
//	RFC 1624, 5722             mended checksums; fragments that overlap     wire, datagram
//	RFC 9293, 5961, 1337       TCP, its defence against blind attack        tcp
//	RFC 6298, 8985, 5682, 3522 RTO; RACK and TLP; F-RTO; Eifel              tcp
//	RFC 2018, 2883, 6675       SACK and D-SACK                              tcp
//	RFC 7323, 3168, 7413       timestamps and window scale; ECN; data in SYN tcp
//	RFC 4821, 8899, 8201, 5927 path MTU discovery, and whom it believes     path, tcp
//	RFC 9040, 3124             what subflows on one path share              path
//	RFC 5681, 6928, 6937       congestion control, initial window, PRR      path
//	RFC 9438, 9406             CUBIC, HyStart++                             path
//	draft-ietf-ccwg-bbr        BBR, with the changes told in bbr.go         path
//	RFC 6356; OLIA, BALIA      windows coupled over paths                   path
//	RFC 8684                   Multipath TCP, version 1                     mptcp, wire
//	RFC 6181, 7430             its threats: limits, proofs before state     mptcp
//	RFC 6056                   source ports that strangers cannot guess     mptcp
//	draft-amend-tcpm-mptcp-robe robust establishment, what is learnt of paths mptcp
//	draft-kang-mptcp-initial-path-selection  which path begins: IPS         mptcp
//	draft-hoang-mptcp-inactivity-time        how long one may be idle       mptcp
//	draft-hoang-mptcp-sub-rate-limit         how much a path may carry      mptcp, path
//	draft-song-mptcp-owl       latency of one direction: "owl"              path, schedule
//	draft-xu-mptcp-sosmp       drift plus penalty: "cost"                   schedule, mptcp
//	RFC 6897, draft-hesmans-mptcp-socket, draft-samar-mptcp-socketapi       engine: Conn, mptcp
//	RFC 8803                   0-RTT TCP Convert, client and converter      convert
//
// The control lane between two ends of tandem's own is described in engine/datagram.
//
// # What is kept otherwise than written
//
// Closed windows are probed with an empty segment, as keepalives are, and not with an octet of data
// (RFC 9293 3.8.6.1). The relation of SSN to DSN of a mapping is not compared with that of the
// acknowledgements (RFC 8684 3.3.5). A join is never established by a simultaneous open. Data goes
// into a SYN to foreign peers only with a cookie, where Config.FastOpen lets it, or where DialOptions.Early says that
// the peer is made for it (RFC 8803). DATA_FIN or MP_CAPABLE that did not fit beside
// other options goes on an acknowledgement of its own. MP_TCPRST between two ends of tandem's own gives
// reasons that are not in the registry (RFC 8684 3.6), which engine/datagram lists.
//
// # What is not supported
//
// Version 0 of Multipath TCP (RFC 6824). Urgent data (RFC 9293 3.8.5), which is read in line. Fragments
// of TCP; packets that are not TCP unless the bond is Paired: they are dropped and counted. Waiting for
// delivery when a bond closes: it resets what is left, and says so once.
package engine
