// Package schedule decides which path carries the next octets of a connection. A scheduler is a
// function of its arguments: same views, same choice.
package schedule

import "time"

// A View is a subflow as the scheduler sees it.
type View struct {
	Usable    bool          // established, not suspect: may be chosen
	Backup    bool          // use only when nothing else works (RFC 8684 3.3.8)
	Secondary bool          // use only when no other path has room
	Room      int           // payload octets that may leave on it now; 0: none
	Soon      bool          // no room but for pacing, so that no acknowledgement is needed for some
	RTT       time.Duration // smoothed round trip; 0: unknown
	RTTVar    time.Duration
	RTTMin    time.Duration
	RTTMax    time.Duration
	OWL       time.Duration // latency towards the peer, off by what is the same for all paths; 0: unknown
	Window    int           // congestion window, octets
	Threshold int           // slow start threshold, octets; 0: infinite
	Inflight  int           // octets in flight on the path, of all connections
	Rate      int           // estimated delivery rate, octets a second; 0: unknown
	Flows     int           // connections that have octets to send on the path, this one included; 0 means 1
	MSS       int
	Price     int  // of 10⁹ octets, in thousandths of a currency that is the same for all paths; 0: free
	Queued    int  // octets that wait on the bond, of all connections, and its Debt; 0: those of this connection
	Sent      bool // (for reinjection) has carried the octets in question already
}

// A Scheduler chooses the path for the next octets.
type Scheduler interface {
	// Pick returns the index of the path that shall carry the next octets, or -1 to wait. It waits
	// only for a path that has octets in flight, so that an acknowledgement will end the wait, for
	// one that has room Soon, or if no path may be used. queued is how many octets of the connection
	// wait to be sent, peerWindow its window, counted from the first octet that is not acknowledged.
	//
	// A path that has Sent the octets is chosen only if all usable ones have.
	Pick(paths []View, queued, peerWindow int) int
}

// New returns the scheduler of that name: "earliest" (the default, also ""), "minrtt", "ecf", "blest",
// "roundrobin", "redundant", "backup", "owl", "cost". ok is false for other names. Those that remember something
// ("ecf", "roundrobin") remember it of one connection: each needs its own.
func New(name string) (s Scheduler, ok bool) {
	switch name {
	case "", "earliest":
		return earliest{}, true
	case "minrtt":
		return minRTT{}, true
	case "ecf":
		return &ecf{}, true
	case "blest":
		return blest{}, true
	case "roundrobin":
		return &roundRobin{last: -1}, true
	case "redundant":
		return redundant{}, true
	case "backup":
		return backup{}, true
	case "owl":
		return owl{}, true
	case "cost":
		return Cost{}, true
	}
	return nil, false
}

// Redundant reports whether every octet shall leave on every path: each path then has a send
// pointer of its own, and Pick is asked with Sent telling which have carried the octets already,
// until it returns -1.
func Redundant(s Scheduler) bool {
	_, ok := s.(redundant)
	return ok
}
