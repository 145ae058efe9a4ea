package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// nth is a Middlebox that does something to one packet, counted over all paths and both directions.
type nth struct {
	count *int
	n     int
	do    string
	saved []byte
}

func (b *nth) Pass(pkt []byte, _ bool, emit func([]byte)) {
	if *b.count++; *b.count != b.n {
		emit(pkt)
		return
	}
	switch b.do {
	case "drop":
	case "duplicate":
		b.saved = append(b.saved[:0], pkt...)
		emit(pkt)
		emit(b.saved)
	case "corrupt":
		pkt[len(pkt)-1] ^= 0x10
		emit(pkt)
	case "twice": // this one and the next are lost
		b.n++
		b.do = "drop"
	}
}

// shortScenario is handshake, join, small transfer both ways and close over two clean paths.
func shortScenario(paired bool, manner Manner) *Scenario {
	fair := Conditions{Rate: 20e6, Delay: 10 * time.Millisecond, QueueTime: 50 * time.Millisecond}
	c := &Scenario{Seed: 1, Paired: paired, Heals: clock.Time(time.Second)}
	for i := range 2 {
		fair.Delay += time.Duration(i) * 7 * time.Millisecond
		c.Routes = append(c.Routes, Route{V4: true, V6: true, Forecast: Forecast{
			Fair: fair, Foul: [2]Conditions{fair, fair}, HealsAt: c.Heals,
		}})
	}
	c.Client = mptcp.Config{Paired: paired, Limits: Defaults()}
	c.Server = c.Client
	target := serverAddr(0, false)
	if paired {
		target = hub4
	}
	c.Plans = []*Plan{{Target: netip.AddrPortFrom(target, 1000), Up: 30_000, Down: 60_000, Manner: manner}}
	return c
}

// TestNthPacket has each single packet of a connection's life lost, doubled and damaged in turn.
func TestNthPacket(t *testing.T) {
	for _, paired := range some(1, []bool{false, true}) {
		for _, manner := range []Manner{EachWhenDone, ServerLast} {
			for _, do := range []string{"drop", "duplicate", "corrupt", "twice"} {
				name := fmt.Sprintf("paired=%v/%v/%s", paired, manner, do)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					for n := 1; n == 1 || playNth(t, paired, manner, do, n) && !t.Failed(); n++ {
					}
				})
			}
		}
	}
}

// playNth reports whether there was an n-th packet.
func playNth(t *testing.T, paired bool, manner Manner, do string, n int) bool {
	stage := func() (*Stage, *int) {
		c, count := shortScenario(paired, manner), new(int)
		for i := range c.Routes {
			c.Routes[i].Boxes = []Middlebox{&nth{count: count, n: n, do: do}}
		}
		return NewStage(c), count
	}
	s, count := stage()
	err := play(s)
	if fell := s.Client.bond.Counters().Fallbacks + s.Server.bond.Counters().Fallbacks; err == nil && fell > 0 {
		err = errors.New("fell back to TCP")
	}
	if err != nil {
		s, _ := stage()
		where := tell(t, fmt.Sprintf("nth-%d", n), s)
		play(s)
		t.Errorf("packet %d: %v\nstory: %s.txt", n, err, where)
	}
	return *count >= n
}
