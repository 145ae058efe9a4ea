package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"tandem/engine/clock"
)

// A Fault is a kind of bad weather on a path.
type Fault uint32

// The faults. The first ones are there all the time, from WifiFades on they are stories.
const (
	Loses Fault = 1 << iota
	LosesInBursts
	LosesOneOf
	Jitters
	Reorders
	Duplicates
	Garbles
	ShortQueue
	Marks
	WifiFades
	CellNaps
	HandsOver
	BlackHoles
	ShrinksMTU
	Swizzles
	ChangesRate
	faultEnd
)

var faultNames = [...]string{
	"loses", "loses in bursts", "loses one of", "jitters", "reorders", "duplicates", "garbles", "short queue", "marks",
	"wifi fades", "cell naps", "hands over", "black holes", "shrinks MTU", "swizzles", "changes rate",
}

func (f Fault) String() string {
	var names []string
	for i, name := range faultNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// A Forecast is the weather of one path: what is wrong all the time, and when it ends.
type Forecast struct {
	Faults  Fault
	Fair    Conditions // of both directions
	Foul    [2]Conditions
	HealsAt clock.Time
}

func (f Forecast) String() string {
	c := f.Fair
	return fmt.Sprintf("%d kbit/s, %v, queue %v %d; until %v: %v %+v", c.Rate/1000, c.Delay, c.QueueTime, c.QueueBytes, f.HealsAt, f.Faults, f.Foul)
}

// drawForecast draws which faults exist, out of allowed, and then how strong they are.
func drawForecast(dice *rand.Rand, allowed Fault, heals clock.Time) Forecast {
	f := Forecast{HealsAt: heals, Fair: drawFair(dice)}
	for bit := Fault(1); bit < faultEnd; bit <<= 1 {
		if dice.IntN(5) == 0 {
			f.Faults |= bit & allowed
		}
	}
	for i := range f.Foul {
		f.Foul[i] = f.Fair
		f.worsen(dice, &f.Foul[i])
	}
	return f
}

// drawFair draws a link that works.
func drawFair(dice *rand.Rand) Conditions {
	c := Conditions{Rate: 100_000 << dice.IntN(11), Delay: time.Duration(1+dice.IntN(100)) * time.Millisecond}
	if dice.IntN(4) == 0 {
		c.Delay = time.Duration(1+dice.IntN(1000)) * time.Microsecond
	}
	c.QueueTime = time.Duration(20+dice.IntN(300)) * time.Millisecond
	c.QueueBytes = max(16<<10, int(c.Rate/8*int64(c.QueueTime)/int64(time.Second)))
	c.QueueTime = 0
	return c
}

// worsen adds the faults that are there all the time.
func (f *Forecast) worsen(dice *rand.Rand, c *Conditions) {
	for _, fault := range []struct {
		which Fault
		apply func()
	}{
		{Loses, func() { c.Loss = dice.Float64() * 0.15 }},
		{LosesInBursts, func() { c.Burst = Gilbert{dice.Float64() * 0.02, 0.1 + dice.Float64()*0.5, 0.5 + dice.Float64()/2} }},
		{LosesOneOf, func() { c.Lose, c.LoseOf = 1+dice.IntN(2), 5+dice.IntN(50) }},
		{Jitters, func() { c.Jitter = time.Duration(1 + dice.Int64N(int64(60*time.Millisecond))) }},
		{Reorders, func() {
			c.Reorder, c.ReorderBy = dice.Float64()*0.3, time.Duration(1+dice.Int64N(int64(50*time.Millisecond)))
		}},
		{Duplicates, func() { c.Duplicate = dice.Float64() * 0.3 }},
		{Garbles, func() { c.Noise = dice.Float64() * 0.1 }},
		{ShortQueue, func() { c.QueueBytes = 1500 * (1 + dice.IntN(8)) }},
		{Marks, func() { c.MarkBytes = 1500 * (1 + dice.IntN(20)) }},
	} {
		if f.Faults&fault.which != 0 {
			fault.apply()
		}
	}
}

// between draws an instant in the part of the run that has weather.
func (f *Forecast) between(dice *rand.Rand) clock.Time {
	return clock.Time(dice.Int64N(int64(f.HealsAt)))
}

// Begin sets a path under its forecast and puts the stories into the world's agenda.
func (f *Forecast) Begin(p *Path) {
	p.Set(f.Foul[0], f.Foul[1])
	for _, story := range []struct {
		which Fault
		tell  func(p *Path)
	}{{WifiFades, f.fade}, {CellNaps, f.nap}, {BlackHoles, f.blackHole}, {ShrinksMTU, f.shrink}, {ChangesRate, f.rates}} {
		if f.Faults&story.which != 0 {
			story.tell(p)
		}
	}
	p.world.At(f.HealsAt, func(clock.Time) { p.Set(f.Fair, f.Fair) })
}

// during changes the conditions of those sides for a while that ends before healing does.
func (f *Forecast) during(p *Path, from clock.Time, length time.Duration, sides [2]bool, change func(c *Conditions)) {
	set := func(change func(c *Conditions)) func(now clock.Time) {
		return func(now clock.Time) {
			if now >= f.HealsAt {
				return
			}
			c := [2]Conditions{p.Up().Conditions(), p.Down().Conditions()}
			for i := range c {
				if sides[i] {
					change(&c[i])
				}
			}
			p.Set(c[0], c[1])
		}
	}
	p.world.At(from, set(change))
	p.world.At(from.Add(length), func(now clock.Time) {
		if now < f.HealsAt {
			p.Set(f.Foul[0], f.Foul[1])
		}
	})
}

var bothSides = [2]bool{true, true}

// fade has the rate sink and loss rise in steps, and come back.
func (f *Forecast) fade(p *Path) {
	dice := p.world.Dice
	for range 1 + dice.IntN(3) {
		at, step := f.between(dice), time.Duration(10+dice.IntN(100))*time.Millisecond
		for i := range 6 {
			f.during(p, at.Add(time.Duration(i)*step), 3*step, bothSides, func(c *Conditions) {
				c.Rate = max(c.Rate/3, 20_000)
				c.Loss = min(c.Loss+0.1, 0.6)
			})
		}
	}
}

// nap has the link hold everything back for a while, again and again.
func (f *Forecast) nap(p *Path) {
	dice := p.world.Dice
	length := time.Duration(20+dice.IntN(500)) * time.Millisecond
	every := length + time.Duration(100+dice.IntN(2000))*time.Millisecond
	for at := f.between(dice) / 4; at < f.HealsAt; at = at.Add(every) {
		f.during(p, at, length, bothSides, func(c *Conditions) { c.Clogged = true })
	}
}

// blackHole has one direction swallow everything.
func (f *Forecast) blackHole(p *Path) {
	dice := p.world.Dice
	var sides [2]bool
	sides[dice.IntN(2)] = true
	length := time.Duration(100+dice.IntN(3000)) * time.Millisecond
	f.during(p, f.between(dice), length, sides, func(c *Conditions) { c.Down = true })
}

// shrink has long packets vanish.
func (f *Forecast) shrink(p *Path) {
	dice := p.world.Dice
	mtu := 1280 + dice.IntN(200)
	length := time.Duration(500+dice.IntN(5000)) * time.Millisecond
	f.during(p, f.between(dice), length, bothSides, func(c *Conditions) { c.MTU = mtu })
}

// rates has the rate jump by up to four times either way.
func (f *Forecast) rates(p *Path) {
	dice := p.world.Dice
	every := time.Duration(200+dice.IntN(3000)) * time.Millisecond
	for at := clock.Time(every); at < f.HealsAt; at = at.Add(every) {
		quarters := int64(1 + dice.IntN(16))
		f.during(p, at, every/2, bothSides, func(c *Conditions) { c.Rate = max(c.Rate*quarters/4, 20_000) })
	}
}

// swizzle clogs all paths one by one and releases them in another order.
func swizzle(w *World, paths []*Path, forecasts []Forecast) {
	at := forecasts[0].between(w.Dice)
	clog, free := w.Dice.Perm(len(paths)), w.Dice.Perm(len(paths))
	length := time.Duration(50+w.Dice.IntN(1500)) * time.Millisecond
	for i := range paths {
		from := at.Add(time.Duration(i) * 30 * time.Millisecond)
		var order int
		for k, j := range free {
			if j == clog[i] {
				order = k
			}
		}
		until := at.Add(length).Add(time.Duration(order) * 40 * time.Millisecond).Add(time.Duration(len(paths)) * 30 * time.Millisecond)
		forecasts[clog[i]].during(paths[clog[i]], from, until.Sub(from), bothSides, func(c *Conditions) { c.Clogged = true })
	}
}
