package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"tandem/engine"
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
	text := i.Time.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-len("0s")]
		}
	}
	if i.Request {
		text += ",request"
	}
	return text
}
