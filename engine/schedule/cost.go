package schedule

import "math"

// Cost is the scheduler "cost": a dear path carries only what the cheap ones cannot (draft-xu-mptcp-sosmp).
// It is drift plus penalty: what is sent in a moment minimises
//
//	V·Σ Price·sent  −  V·θ·U(Σ sent)  −  (Q + Z)·Σ sent
//
// where Q is what waits to be sent, Z what is owed of a demanded rate (see Debt) and U the use of what is
// sent. So a path is used if, and only if,
//
//	Q + Z  +  V·θ·U'  >  V·Price
//
// and the cheapest first. All that waits must be sent some day, and to pay the least price for it is worth
// the use: V·θ·U' is taken to be V times the least Price there is, without which the last octets would
// wait for ever. Hence a path that costs more waits until more than V octets wait for each thousandth that
// it costs more. A large V saves money and makes octets wait: what is paid exceeds the least possible
// by O(1/V), what waits is O(V).
//
// Roles come first: the least price is that of a path that is not secondary if there is one, secondary paths
// carry what has no room on others that are worth their price, backups what nothing else can carry.
// Among equal prices the earliest arrival decides. Octets to be sent again do not wait for a cheaper path
// that has carried them already.
type Cost struct {
	V int // octets that wait rather than that a thousandth more is paid for 10⁹ of them; 0 means VDefault
}

const (
	// VDefault lets 320 kB wait, a quarter of a second at 10 Mbit/s, before a path is used that costs
	// five more for a gigabyte.
	VDefault = 64

	// BacklogMax is how many octets wait at most because a path is dear: one that shall never be used for
	// its price is better not in the bond.
	BacklogMax = 1 << 20
)

// Pick is for Scheduler. Cost remembers nothing, but what waits on the bond must be told in each View, else
// the octets of many connections that queue little each would never add up.
func (c Cost) Pick(paths []View, queued, peerWindow int) int {
	e := among(paths)
	backlog := queued
	for i := range paths {
		backlog = max(backlog, paths[i].Queued)
	}
	e.price = c.worth(e.least(paths), backlog)
	best := e.first(paths, cheaper)
	if best < 0 {
		if e.expects(paths) {
			return -1
		}
		e.price = math.MaxInt
		best = e.first(paths, cheaper)
	}
	if best < 0 {
		return -1
	}
	e.price = paths[best].Price
	if e.waits(paths, best, queued, peerWindow, (*View).arrival) {
		return -1
	}
	return best
}

// worth returns the highest price that is paid while backlog octets wait.
func (c Cost) worth(least, backlog int) int {
	if backlog > BacklogMax {
		return math.MaxInt
	}
	return least + (backlog-1)/c.v()
}

func (c Cost) v() int {
	if c.V <= 0 {
		return VDefault
	}
	return c.V
}

// least returns the price of the cheapest path there is, 0 without one.
func (e eligible) least(paths []View) int {
	best := -1
	for i := range paths {
		v := &paths[i]
		if e.takes(v) && (best < 0 || before(v, &paths[best], cheaper)) {
			best = i
		}
	}
	if best < 0 {
		return 0
	}
	return paths[best].Price
}

// expects reports whether a path will have room though it has none.
func (e eligible) expects(paths []View) bool {
	for i := range paths {
		if v := &paths[i]; e.takes(v) && (v.Inflight > 0 || v.Soon) {
			return true
		}
	}
	return false
}

func cheaper(a, b *View) bool {
	if a.Price != b.Price {
		return a.Price < b.Price
	}
	return a.arrival() < b.arrival()
}

// Backlog returns how many octets must wait before s has used every usable path: a connection that may
// queue fewer would never see the dearest, however much it has to send. 0 for schedulers other than
// "cost".
func Backlog(s Scheduler, paths []View) int {
	c, ok := s.(Cost)
	if !ok {
		return 0
	}
	e := among(paths)
	least, most := e.least(paths), 0
	for i := range paths {
		if v := &paths[i]; e.takes(v) {
			most = max(most, v.Price)
		}
	}
	if most <= least {
		return 0
	}
	if c.worth(least, BacklogMax) < most {
		return BacklogMax + 1
	}
	return (most-least)*c.v() + 1
}
