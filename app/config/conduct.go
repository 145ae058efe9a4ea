package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/engine/schedule"
)

// Scheduler is the name of one of the engine's.
type Scheduler string

// Schedulers names them all, the default first.
const Schedulers = "earliest, minrtt, ecf, blest, roundrobin, redundant, backup, owl or cost"

// SchedulerCost is the one that looks at prices.
const SchedulerCost Scheduler = "cost"

// Validate says when there is no such scheduler.
func (s *Scheduler) Validate() error {
	if _, ok := schedule.New(string(*s)); !ok {
		return fmt.Errorf("%q is not a scheduler: %s", *s, Schedulers)
	}
	return nil
}

// CostV is how many octets the scheduler "cost" lets wait rather than pay a thousandth more for a gigabyte, its V; 0: the
// default.
type CostV int

// CostVMax is more than anybody can mean: a megabyte waits at most, however dear the rest.
const CostVMax CostV = schedule.BacklogMax

// CostVDefault is what 0 means.
const CostVDefault CostV = schedule.VDefault

// Validate says when V is out of bounds.
func (v *CostV) Validate() error {
	if *v < 0 || *v > CostVMax {
		return fmt.Errorf("%d is not a number of octets up to %d, nor 0 for %d", *v, CostVMax, CostVDefault)
	}
	return nil
}

// Establish is the name of a way to begin connections; "": the default.
type Establish string

// Establishes names them all, the default first.
const Establishes = "auto, classic, timer, sim, esim, ips, ips+timer or ips+sim"

// Validate says when there is no such way.
func (e *Establish) Validate() error {
	if _, ok := e.mode(); !ok {
		return fmt.Errorf("%q is no way to begin connections: %s", *e, Establishes)
	}
	return nil
}

// Mode is the engine's name of it.
func (e Establish) Mode() engine.Establish {
	mode, _ := e.mode()
	return mode
}

func (e Establish) mode() (engine.Establish, bool) {
	if e == "" {
		return engine.Auto, true
	}
	return engine.ParseEstablish(string(e))
}

// Inactivity is how long a connection may be idle before it ends; the zero Inactivity: for ever. It is written as 2h,
// of which the other end is told, or as 2h,request, which asks the other end to be as patient.
type Inactivity struct {
	Time    time.Duration
	Request bool
}

// InactivityMax is the longest: what the engine keeps.
const InactivityMax = 24 * time.Hour

// InactivityLeast is what the other end is granted at least, where it asks, unless Bounds say otherwise.
const InactivityLeast = 100 * time.Second

// ParseInactivity reads a duration such as 90s, 30m or 2h, and announce or request after a comma; 0 or "none" is none.
func ParseInactivity(text string) (i Inactivity, err error) {
	long, how, said := strings.Cut(strings.TrimSpace(text), ",")
	if long == "none" && !said {
		return i, nil
	}
	i.Time, err = time.ParseDuration(strings.TrimSpace(long))
	i.Request = strings.TrimSpace(how) == "request"
	switch {
	case err != nil:
		return Inactivity{}, fmt.Errorf("%q is not a time such as 90s, 30m or 2h", long)
	case said && !i.Request && strings.TrimSpace(how) != "announce":
		return Inactivity{}, fmt.Errorf("%q is neither announce nor request", how)
	case i.Time == 0:
		return Inactivity{}, nil
	case i.Time < time.Second || i.Time > InactivityMax:
		return Inactivity{}, errors.New("a connection may be idle for a second up to a day (24h), or none for ever")
	}
	return i, nil
}

// UnmarshalText reads what ParseInactivity reads.
func (i *Inactivity) UnmarshalText(text []byte) (err error) {
	*i, err = ParseInactivity(string(text))
	return err
}

// MarshalText writes what ParseInactivity reads.
func (i Inactivity) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// String is what ParseInactivity reads.
func (i Inactivity) String() string {
	if i.Time == 0 {
		return "none"
	}
	text := brief(i.Time)
	if i.Request {
		text += ",request"
	}
	return text
}

// brief writes a duration without the zeros at its end.
func brief(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-len("0s")]
		}
	}
	return text
}

// Bounds are what becomes of the time that the other end asks connections to be idle for: no less than Least, and no more
// than Most, which no connection exceeds; or Fixed: what it asks for changes nothing. The zero Bounds are those of the engine,
// InactivityLeast and InactivityMax. They are written as 100s,24h, or as fixed.
type Bounds struct {
	Least, Most time.Duration
	Fixed       bool
}

// ParseBounds reads two durations with a comma between, or fixed.
func ParseBounds(text string) (b Bounds, err error) {
	if strings.TrimSpace(text) == "fixed" {
		return Bounds{Fixed: true}, nil
	}
	least, most, two := strings.Cut(text, ",")
	b.Least, err = time.ParseDuration(strings.TrimSpace(least))
	if err == nil {
		b.Most, err = time.ParseDuration(strings.TrimSpace(most))
	}
	switch {
	case err != nil || !two:
		return Bounds{}, fmt.Errorf("%q is neither fixed nor two times such as 100s,24h", text)
	case b.Least < time.Second || b.Most < b.Least || b.Most > InactivityMax:
		return Bounds{}, errors.New("a connection may be idle for a second up to a day (1s,24h), the lesser time first")
	case b == Bounds{Least: InactivityLeast, Most: InactivityMax}:
		return Bounds{}, nil
	}
	return b, nil
}

// Bound is the longest that a connection may be idle.
func (b Bounds) Bound(d time.Duration) time.Duration {
	if b.Most == 0 {
		return min(d, InactivityMax)
	}
	return min(d, b.Most)
}

// UnmarshalText reads what ParseBounds reads.
func (b *Bounds) UnmarshalText(text []byte) (err error) {
	*b, err = ParseBounds(string(text))
	return err
}

// MarshalText writes what ParseBounds reads.
func (b Bounds) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// String is what ParseBounds reads.
func (b Bounds) String() string {
	switch {
	case b.Fixed:
		return "fixed"
	case b == Bounds{}:
		b.Least, b.Most = InactivityLeast, InactivityMax
	}
	return brief(b.Least) + "," + brief(b.Most)
}

// Engine is the engine's form of both.
func (i Inactivity) Engine(b Bounds) engine.Inactivity {
	return engine.Inactivity{Time: b.Bound(i.Time), Request: i.Request, Fixed: b.Fixed, Least: b.Least, Most: b.Most}
}

// Prototype is what the option of four octets means that the prototypes of two drafts have in common; "": none.
type Prototype string

// Prototypes names all meanings, the default first.
const Prototypes = "none, inactivity or rate-limit"

// Validate says when it can mean no such thing.
func (p *Prototype) Validate() error {
	if _, ok := p.meaning(); !ok {
		return fmt.Errorf("%q is no meaning of the prototypes' option: %s", *p, Prototypes)
	}
	return nil
}

// Meaning is the engine's name of it.
func (p Prototype) Meaning() mptcp.Prototype {
	meaning, _ := p.meaning()
	return meaning
}

func (p Prototype) meaning() (m mptcp.Prototype, ok bool) {
	switch p {
	case "", "none":
		return mptcp.PrototypeIgnored, true
	case "inactivity":
		return mptcp.PrototypeInactivity, true
	case "rate-limit":
		return mptcp.PrototypeRateLimit, true
	}
	return m, false
}

// String is its name.
func (p Prototype) String() string {
	if p == "" {
		return "none"
	}
	return string(p)
}
