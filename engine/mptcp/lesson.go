package mptcp

import (
	"maps"
	"math"
	"net/netip"
	"time"

	"tandem/engine/clock"
)

// lessons are what connections have learnt of paths towards destinations (RobE_IPS). To a Paired peer all paths
// lead the same way, so there it is the paths themselves that know.
type lessons struct {
	byPlace map[place]*lesson
	lulls   map[netip.Prefix]lull
	dropped uint64 // because there were too many
}

// A place is a path towards a network.
type place struct {
	network netip.Prefix
	path    PathID
}

// A lesson is about one place.
type lesson struct {
	rtt     time.Duration // smoothed over connections; 0: unknown
	success int           // share of SYNs that were answered, of lessonOne
	rate    int           // octets a second, smoothed; 0: unknown
	silent  bool          // nothing has come since a SYN was not answered
	at      clock.Time
}

// A lull is a network where nobody answered a race: the next ones are asked less.
type lull struct {
	until clock.Time
	wait  time.Duration
}

const (
	lessonOne     = 1 << 10
	lessonLasts   = 10 * time.Minute
	lessonsMax    = 1024
	lullsMax      = 256
	lullLeast     = time.Second
	lullMost      = 64 * time.Second
	lullLasts     = 5 * time.Minute // after its end: a race takes two of them to fail
	lessonWeight4 = 24              // bits of an IPv4 address that make a network
	lessonWeight6 = 48
	ungraded      = math.MaxInt
)

func (l *lessons) init() {
	*l = lessons{byPlace: make(map[place]*lesson), lulls: make(map[netip.Prefix]lull)}
}

// place is where target lies; the path is to be filled in.
func (b *Bond) place(target netip.Addr) netip.Prefix {
	if b.cfg.Paired {
		return netip.Prefix{}
	}
	bits := lessonWeight6
	if target.Is4() {
		bits = lessonWeight4
	}
	network, _ := target.Prefix(bits)
	return network
}

// find returns what is known of a place, nil if that is nothing or too old.
func (l *lessons) find(now clock.Time, where place) *lesson {
	x := l.byPlace[where]
	if x == nil || now >= x.at.Add(lessonLasts) {
		return nil
	}
	return x
}

// at returns the lesson of a place to be added to.
func (l *lessons) at(now clock.Time, where place) *lesson {
	x := l.find(now, where)
	if x == nil {
		if len(l.byPlace) >= lessonsMax && l.byPlace[where] == nil {
			evict(l.byPlace, func(x *lesson) clock.Time { return x.at })
			l.dropped++
		}
		x = &lesson{success: lessonOne}
		l.byPlace[where] = x
	}
	x.at = now
	return x
}

// aged is the key of something that is forgotten with age; of equal age the lesser goes first.
type aged[K any] interface {
	comparable
	less(K) bool
}

// evict drops the oldest of what was learnt.
func evict[K aged[K], V any](from map[K]V, at func(V) clock.Time) {
	var oldest K
	age := clock.Never
	for k, v := range from {
		if t := at(v); t < age || t == age && k.less(oldest) {
			oldest, age = k, t
		}
	}
	delete(from, oldest)
}

func (p place) less(q place) bool {
	if p.path != q.path {
		return p.path < q.path
	}
	if c := p.network.Addr().Compare(q.network.Addr()); c != 0 {
		return c < 0
	}
	return p.network.Bits() < q.network.Bits()
}

// forget drops everything about a path: another network may be behind it when it comes again.
func (l *lessons) forget(id PathID) {
	for where := range l.byPlace {
		if where.path == id {
			delete(l.byPlace, where)
		}
	}
}

// answered notes that a SYN to the network was answered over the path.
func (l *lessons) answered(now clock.Time, network netip.Prefix, id PathID) {
	delete(l.lulls, network)
	if network.IsValid() {
		x := l.at(now, place{network, id})
		x.success += (lessonOne - x.success) / 8
		x.silent = false
	}
}

// unanswered notes that one was not.
func (l *lessons) unanswered(now clock.Time, network netip.Prefix, id PathID) {
	if network.IsValid() {
		x := l.at(now, place{network, id})
		x.success -= x.success / 8
		x.silent = true
	}
}

// measured notes a round trip and, unless it is 0, a rate.
func (l *lessons) measured(now clock.Time, network netip.Prefix, id PathID, rtt time.Duration, rate int) {
	if rtt <= 0 || !network.IsValid() {
		return
	}
	x := l.at(now, place{network, id})
	x.silent = false
	if x.rtt == 0 {
		x.rtt = rtt
	}
	x.rtt += (rtt - x.rtt) / 8
	if x.rate == 0 {
		x.rate = rate
	}
	x.rate += (rate - x.rate) / 8
}

// failed notes that nobody answered a race to the network.
func (l *lessons) failed(now clock.Time, network netip.Prefix) {
	x, again := l.lulls[network]
	if now >= x.until.Add(lullLasts) {
		x.wait = 0
	}
	if !again && len(l.lulls) >= lullsMax {
		maps.DeleteFunc(l.lulls, func(_ netip.Prefix, x lull) bool { return x.until <= now })
	}
	switch {
	case !network.IsValid():
		return
	case !again && len(l.lulls) >= lullsMax:
		l.dropped++
		return
	}
	x.wait = min(max(2*x.wait, lullLeast), lullMost)
	x.until = now.Add(x.wait)
	l.lulls[network] = x
}

// lull reports whether a race to the network would be in vain.
func (l *lessons) lull(now clock.Time, network netip.Prefix) bool {
	return now < l.lulls[network].until
}

// grade gives each path a number that says how good it is towards target: the lower the better, ungraded if
// nothing is known. Round trip and success count four parts each, the rate two. Who is in a hurry asks others so soon that
// the rate does not count, and what is silent need not be shunned. The weight of the signal is 0: nothing here measures
// it, and links say in their units what they think of it.
func (b *Bond) grade(now clock.Time, target netip.Addr, all []*bondPath, hurry bool) {
	longest, slowest := time.Duration(0), math.MaxInt
	for _, p := range all {
		x := b.lesson(now, target, p)
		if p.grade = ungraded; x.rtt > 0 {
			longest = max(longest, x.rtt)
		}
		if x.rate > 0 {
			slowest = min(slowest, x.rate)
		}
	}
	for _, p := range all {
		x := b.lesson(now, target, p)
		if x.rtt == 0 || x.silent && !hurry {
			continue
		}
		p.grade = int(400*x.rtt/longest) + 400*(lessonOne-x.success)/lessonOne
		switch {
		case hurry:
		case x.rate > 0:
			p.grade += int(200 * int64(slowest) / int64(x.rate))
		default:
			p.grade += 200
		}
	}
}

// lesson is what is known of a path towards target.
func (b *Bond) lesson(now clock.Time, target netip.Addr, p *bondPath) lesson {
	if p.state != nil {
		return lesson{rtt: b.rtt(p), rate: p.state.Rate(now), success: lessonOne}
	}
	if x := b.lessons.find(now, place{b.place(target), p.id}); x != nil {
		return *x
	}
	return lesson{}
}

// expected is the round trip of a path towards target, as far as it is known.
func (b *Bond) expected(now clock.Time, target netip.Addr, p *bondPath) time.Duration {
	return b.lesson(now, target, p).rtt
}
