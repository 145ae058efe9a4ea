package client

import (
	"slices"
	"testing"
	"time"

	"tandem/app/config"
	"tandem/app/control"
)

// limited waits until the hub has taken note of the limits, which are then those.
func (l *lake) limited(down, up config.Rate) {
	l.t.Helper()
	l.wait(func(s control.State) bool {
		is := s.Links[0]
		return is.Granted && is.LimitDown == down && is.LimitUp == up && is.LimitUsed == up
	})
}

// seconds returns the rates of all seconds in a time, in bits a second, lowest and highest, of the first link.
func (l *lake) seconds(long time.Duration, octets func() int) (lowest, highest float64) {
	const step = 20 * time.Millisecond
	var at []int
	for range long / step {
		at = append(at, octets())
		time.Sleep(step)
	}
	var rates []float64
	for i := int(time.Second / step); i < len(at); i++ {
		rates = append(rates, 8*float64(at[i]-at[i-int(time.Second/step)]))
	}
	return slices.Min(rates), slices.Max(rates)
}

// holds makes sure that a limit is kept to and used within 5 % over any second.
func (l *lake) holds(what string, limit config.Rate, octets func() int) {
	l.t.Helper()
	time.Sleep(300 * time.Millisecond) // what the link's queue had is on its way
	if low, high := l.seconds(5*time.Second, octets); low < 0.95*float64(limit) || high > 1.05*float64(limit) {
		l.t.Errorf("%s: between %.2f and %.2f Mbit/s in a second, want %.2f", what, low/1e6, high/1e6, float64(limit)/1e6)
	}
}

func (l *lake) down() int { down, _ := l.inside(0); return down }
func (l *lake) up() int   { _, up := l.inside(0); return up }

// TestLimit: what a link may carry is set while it carries more, lowered, kept over a restart and removed.
func TestLimit(t *testing.T) {
	onLake(t, 10e6, func(l *lake) {
		rate := func(r config.Rate) *config.Rate { return &r }
		l.download(talks)
		time.Sleep(2 * time.Second)
		if low, _ := l.seconds(2*time.Second, l.down); low < 8e6 {
			t.Fatalf("%.1f Mbit/s without a limit", low/1e6)
		}
		l.change(0, control.LinkChange{LimitDown: rate(3e6)})
		if l.client.State().Links[0].Granted {
			t.Error("the hub has taken note before it can have heard")
		}
		l.limited(3e6, 0)
		l.holds("one connection", 3e6, l.down)
		for range 19 {
			l.download(talks)
		}
		l.holds("twenty connections", 3e6, l.down)
		l.change(0, control.LinkChange{LimitDown: rate(1e6)})
		l.limited(1e6, 0)
		l.holds("lowered", 1e6, l.down)
		l.stop()
		l.start()
		l.limited(1e6, 0)
		l.download(talks)
		time.Sleep(time.Second)
		l.holds("after a restart", 1e6, l.down)
		l.change(0, control.LinkChange{LimitDown: rate(0)})
		l.limited(0, 0)
		time.Sleep(3 * time.Second)
		if low, _ := l.seconds(2*time.Second, l.down); low < 8e6 {
			t.Errorf("%.1f Mbit/s after the limit was removed", low/1e6)
		}
	})
}

// TestLimitUp: the same for what this device sends.
func TestLimitUp(t *testing.T) {
	onLake(t, 10e6, func(l *lake) {
		s := l.download(talks)
		go flood(s, 0)
		up := config.Rate(1e6)
		l.change(0, control.LinkChange{LimitUp: &up})
		l.limited(0, up)
		time.Sleep(2 * time.Second)
		l.holds("up", up, l.up)
		if st := l.client.State().Links[0]; st.LimitUsed != up {
			t.Errorf("%+v", st)
		}
	})
}
