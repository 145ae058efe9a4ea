package config

import (
	"strings"
	"testing"
	"time"

	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/engine/schedule"
)

// Every name that people are told of is one, and none is left out.
func TestNames(t *testing.T) {
	split := func(names string) []string { return strings.Split(strings.ReplaceAll(names, " or ", ", "), ", ") }
	for i, name := range split(Schedulers) {
		s := Scheduler(name)
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
		first, _ := schedule.New("")
		if is, _ := schedule.New(name); i == 0 && is != first {
			t.Errorf("%s is not the default", name)
		}
	}
	modes := split(Establishes)
	for i, name := range modes {
		e := Establish(name)
		if err := e.Validate(); err != nil || e.Mode() != engine.Establish(i) || e.Mode().String() != name {
			t.Errorf("%s is %v, %v", name, e.Mode(), err)
		}
	}
	if more := engine.Establish(len(modes)).String(); more != "unknown" {
		t.Errorf("%s is not told of", more)
	}
	if e := Establish(""); e.Validate() != nil || e.Mode() != engine.Auto {
		t.Errorf("the default is %v", e.Mode())
	}
	if e := Establish("quickly"); e.Validate() == nil {
		t.Error("quickly is a way to begin connections")
	}
}

func TestInactivity(t *testing.T) {
	for text, want := range map[string]Inactivity{
		"2h":             {Time: 2 * time.Hour},
		"2h,request":     {Time: 2 * time.Hour, Request: true},
		"90m, announce":  {Time: 90 * time.Minute},
		"100s,announce ": {Time: 100 * time.Second},
		"1s":             {Time: time.Second},
		"10m":            {Time: 10 * time.Minute},
		"24h,request":    {Time: InactivityMax, Request: true},
		"none":           {},
		"0":              {},
		"0,request":      {},
	} {
		got, err := ParseInactivity(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
		if again, err := ParseInactivity(got.String()); err != nil || again != want {
			t.Errorf("%q is written as %q: %+v, %v", text, got, again, err)
		}
	}
	for text, want := range map[string]string{
		"": "is not a time", "2": "is not a time", "-1h": "up to a day", "25h": "up to a day", "900ms": "up to a day",
		"2h,ask": "neither announce nor request", "2h,": "neither announce", "none,request": "is not a time",
	} {
		if got, err := ParseInactivity(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want %q", text, got, err, want)
		}
	}
	for want, d := range map[string]time.Duration{"2h": 2 * time.Hour, "1h30m": 90 * time.Minute, "10m": 10 * time.Minute, "1m30s": 90 * time.Second, "20s": 20 * time.Second} {
		if got := (Inactivity{Time: d}).String(); got != want {
			t.Errorf("%v is written as %q, want %q", d, got, want)
		}
	}
}

func TestBounds(t *testing.T) {
	for text, want := range map[string]Bounds{
		"100s,24h": {}, "1m, 1h": {Least: time.Minute, Most: time.Hour}, "90s,90s": {Least: 90 * time.Second, Most: 90 * time.Second},
		"fixed": {Fixed: true}, " fixed ": {Fixed: true},
	} {
		got, err := ParseBounds(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
		if again, err := ParseBounds(got.String()); err != nil || again != want {
			t.Errorf("%q is written as %q: %+v, %v", text, got, again, err)
		}
	}
	for text, want := range map[string]string{
		"": "neither fixed", "1h": "neither fixed", "1h,": "neither fixed", "1m,1h,2h": "neither fixed", "fixed,1h": "neither fixed",
		"1h,1m": "the lesser time first", "900ms,1h": "the lesser time first", "1h,25h": "the lesser time first", "-1h,1h": "the lesser time first",
	} {
		if got, err := ParseBounds(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want %q", text, got, err, want)
		}
	}
	if text := (Bounds{}).String(); text != "1m40s,24h" {
		t.Errorf("the zero Bounds are written as %q", text)
	}
	for _, c := range []struct {
		b    Bounds
		want engine.Inactivity
	}{
		{Bounds{}, engine.Inactivity{Time: 2 * time.Hour, Request: true}},
		{Bounds{Fixed: true}, engine.Inactivity{Time: 2 * time.Hour, Request: true, Fixed: true}},
		{Bounds{Least: time.Minute, Most: time.Hour}, engine.Inactivity{Time: time.Hour, Request: true, Least: time.Minute, Most: time.Hour}},
	} {
		if got := (Inactivity{Time: 2 * time.Hour, Request: true}).Engine(c.b); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.b, got, c.want)
		}
	}
}

func TestPrototype(t *testing.T) {
	for i, name := range strings.Split(strings.ReplaceAll(Prototypes, " or ", ", "), ", ") {
		p := Prototype(name)
		if err := p.Validate(); err != nil || p.Meaning() != mptcp.Prototype(i) || p.String() != name {
			t.Errorf("%s is %v, %v", name, p.Meaning(), err)
		}
	}
	if p := Prototype(""); p.Validate() != nil || p.Meaning() != mptcp.PrototypeIgnored || p.String() != "none" {
		t.Errorf("the default is %v", p.Meaning())
	}
	if p := Prototype("both"); p.Validate() == nil {
		t.Error("the option means both")
	}
}

// What the engine is told: octets a second of limits, thousandths of prices. A limit stays one.
func TestUnitsOfTheEngine(t *testing.T) {
	for text, want := range map[string]int{"none": 0, "5M": 625_000, "1k": 125, "7bit": 1, "1bit": 1} {
		r, err := ParseRate(text)
		if err != nil || r.Octets() != want {
			t.Errorf("%s: %d octets a second, %v, want %d", text, r.Octets(), err, want)
		}
	}
	if r := RateOf(625_000); r != 5e6 {
		t.Errorf("625 000 octets a second are %d", r)
	}
	for price, want := range map[float64]int{0: 0, 5: 5000, 1.2345: 1235, 0.0004: 0} {
		if got := (Link{Price: price}).Thousandths(); got != want {
			t.Errorf("%v is %d thousandths, want %d", price, got, want)
		}
	}
	l := NewLink()
	l.Price = 2e6
	if err := l.Validate(); err == nil || !strings.Contains(err.Error(), "which is the most") {
		t.Errorf("a price of %v: %v", l.Price, err)
	}
}

// FuzzInactivity: what is understood is within bounds, and is understood again as it is written.
func FuzzInactivity(f *testing.F) {
	for _, seed := range []string{"2h", "2h,request", "90m, announce", "none", "0", "24h0m1s", "1h,", "-1s", "1ns", "9223372036854775807ns"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		i, err := ParseInactivity(text)
		if err != nil {
			return
		}
		if i.Time < 0 || i.Time > InactivityMax || i.Time == 0 && i.Request {
			t.Fatalf("%q: %+v", text, i)
		}
		if again, err := ParseInactivity(i.String()); err != nil || again != i {
			t.Fatalf("%q is %+v, written %q, which is %+v, %v", text, i, i, again, err)
		}
	})
}

// FuzzBounds: what is understood is within bounds, and is understood again as it is written.
func FuzzBounds(f *testing.F) {
	for _, seed := range []string{"100s,24h", "1m, 1h", "fixed", " fixed", "1h,1m", "1h", ",", "1ns,24h", "1s,24h0m1s", "-1s,1s", "9223372036854775807ns,1s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBounds(text)
		if err != nil {
			return
		}
		if !b.Fixed && b != (Bounds{}) && (b.Least < time.Second || b.Most < b.Least || b.Most > InactivityMax) || b.Fixed && b != (Bounds{Fixed: true}) {
			t.Fatalf("%q: %+v", text, b)
		}
		if again, err := ParseBounds(b.String()); err != nil || again != b {
			t.Fatalf("%q is %+v, written %q, which is %+v, %v", text, b, b, again, err)
		}
	})
}
