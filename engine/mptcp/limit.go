package mptcp

import "time"

// Limits bound what peers and applications can make a bond keep. A zero field means its default.
type Limits struct {
	Connections int // 4096: also half-open and lingering ones
	Subflows    int // 8 per connection
	HalfOpen    int // 3 joins per connection that are not established (RFC 7430 4)
	Offers      int // 512 waiting for an answer, or for the end of the handshake after it
	SendBuffer  int // 4 MiB per connection, octets not acknowledged yet
	RecvBuffer  int // 6 MiB per connection, octets: what its window may grow to
	Buffered    int // 64 MiB over all connections, octets, each way; 16 KiB a connection are beside it
	Addresses   int // 8 announced by the peer, per connection
	FastOpens   int // 256 flows whose SYN brought octets and whose handshake is not over (RFC 7413 5.1)
}

func (l Limits) withDefaults() Limits {
	set := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	set(&l.Connections, 4096)
	set(&l.Subflows, 8)
	set(&l.HalfOpen, 3)
	set(&l.Offers, 512)
	// 1 Gbit/s over a round trip of 30 ms is 3.7 MB.
	set(&l.SendBuffer, 4<<20)
	// What 200 Mbit/s send in 200 ms, and the same again for what comes out of order.
	set(&l.RecvBuffer, 6<<20)
	set(&l.Buffered, 64<<20)
	set(&l.Addresses, 8)
	set(&l.FastOpens, 256)
	return l
}

const (
	// defaultLinger is how long a connection waits for a subflow; Linux waits as long.
	defaultLinger = 60 * time.Second

	// recvStart is the window that a new connection offers, octets.
	recvStart = 256 << 10

	// promiseLeast is what every connection is promised each way, however many there are: with as
	// many as are allowed by default it makes 64 MiB.
	promiseLeast = 16 << 10

	// sendStart is what a new connection takes from its application before the paths' windows say
	// that more is of use, octets.
	sendStart = 64 << 10

	// chunkSegments is how many segments one mapping spans at most: fifteen times the header of one
	// DSS is saved, and a retransmission never waits for more than this to learn its mapping.
	chunkSegments = 8

	// announcements is how often an address is announced before its echo is given up.
	announcements = 4

	// closings is how often MP_FASTCLOSE is repeated (RFC 8684 3.5).
	closings = 3

	// finTries is how often DATA_FIN goes unanswered before a peer that never said anything of the data
	// sequence is taken for one that does not know it.
	finTries = 5

	// patienceMax is how often octets without a DATA_ACK are sent again before the connection is given
	// up: some minutes, as long as TCP itself tries.
	patienceMax = 12

	// joinRetries is how often the third ACK of MP_JOIN is repeated before the subflow is given up.
	joinRetries = 4

	// plainSYNs is how many SYNs ask for MPTCP before one asks for TCP only.
	plainSYNs = 3

	// mappingsMax bounds the mappings of a subflow whose octets have not all come.
	mappingsMax = 256

	// heldMax bounds the octets of a subflow that wait for their mapping or its checksum.
	heldMax = 1 << 20

	// heldRunsMax bounds the runs of octets that they form.
	heldRunsMax = 1024

	// timeWaitPaired is how long an ended subflow is remembered inside a carrier, where segments do
	// not wander for minutes.
	timeWaitPaired = 5 * time.Second

	// offerLinger is how long an offer of which the only SYN was reset waits for another.
	offerLinger = 5 * time.Second

	// askFor is for how long a Paired bond sends SYNs of one offer: it ends well before the peer may
	// have forgotten that it answered (see answered).
	askFor = 45 * time.Second

	// askRetries is how often the SYN of such an offer is repeated over one path; the last repeat
	// leaves after 15 s.
	askRetries = 5

	// selectRetries is how often a SYN of IPS is repeated while another path could be selected: for some 15 s.
	selectRetries = 3

	// answerRetries is how often a SYN/ACK is repeated: some 10 s, then whoever asked has gone.
	answerRetries = 4

	// answered is for how long a repeat of an answered offer is recognised (D2).
	answered = 60 * time.Second
)
