package sim

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// A routes is a Tap that notes over which path each flow of datagrams leaves a host, and when that changed.
type routes struct {
	packet wire.Packet
	over   map[string]*Path
	moves  map[string][]clock.Time
}

func (r *routes) See(s *Sight) error {
	v := &r.packet
	if !s.Sent || v.Parse(s.Packet) != nil || v.Protocol != wire.UDP || v.From < chatPort {
		return nil
	}
	flow := fmt.Sprint(s.Host.Name, v.From)
	if was := r.over[flow]; was != nil && was != s.Path {
		r.moves[flow] = append(r.moves[flow], s.At)
	}
	r.over[flow] = s.Path
	return nil
}

// chatting is a pair with datagrams beside its connections.
func chatting(like Chat, links ...Conditions) (p *pair, near, far *Chat, r *routes) {
	p = newPair(1, links, links)
	r = &routes{over: map[string]*Path{}, moves: map[string][]clock.Time{}}
	p.Tap(r)
	near, far = newChats(p.clientUser, p.serverUser, like)
	return p, near, far, r
}

var (
	chatA = Conditions{Rate: 50e6, Delay: 10 * time.Millisecond, QueueTime: 60 * time.Millisecond}
	chatB = Conditions{Rate: 30e6, Delay: 30 * time.Millisecond, QueueTime: 100 * time.Millisecond}
)

// Beside uploads that fill both links datagrams all arrive, in order, over one path, and on average hardly later
// than over an empty one; and the links are full. What the uploads' startup builds for a round trip is no loss.
func TestDatagramsBesideConnections(t *testing.T) {
	t.Parallel()
	p, _, far, r := chatting(Chat{Flows: 5, Every: 20 * time.Millisecond, Size: 200, Until: 6 * s}, chatA, chatB)
	for i := range 3 {
		p.plan(&Plan{Target: netip.AddrPortFrom(hub4, uint16(80+i)), Up: 60 << 20})
	}
	if err := p.Run(7 * s); err != nil {
		t.Fatal(err)
	}
	for i, h := range far.Heard {
		if h.Got < 300 || h.Back != 0 || h.Delay() > chatA.Delay+10*time.Millisecond || h.DelayMax > chatA.Delay+chatA.QueueTime {
			t.Errorf("flow %d: %+v, %v on average", i, h, h.Delay())
		}
	}
	if len(r.moves) != 0 {
		t.Errorf("flows moved: %v", r.moves)
	}
	read := int64(0)
	for _, stream := range p.serverUser.Streams {
		read += stream.Read
	}
	if rate, links := float64(read)*8/7, float64(chatA.Rate+chatB.Rate); rate < 0.9*links*share {
		t.Errorf("%.1f Mbit/s of %.1f", rate/1e6, links/1e6)
	}
}

// When the path of a flow goes silent it moves, once, soon, and with it what comes back.
func TestDatagramsLeaveADeadPath(t *testing.T) {
	t.Parallel()
	for _, busy := range []bool{false, true} {
		p, near, far, r := chatting(Chat{Flows: 3, Every: 10 * time.Millisecond, Size: 200, Until: 4 * s}, chatA, chatB)
		if busy {
			p.plan(&Plan{Target: netip.AddrPortFrom(hub4, 80), Up: 40 << 20, Down: 40 << 20})
		}
		dies := clock.Time(1500 * time.Millisecond)
		p.At(dies, func(clock.Time) {
			down := chatA
			down.Down = true
			p.paths[0].Set(down, down)
		})
		if err := p.Run(4 * s); err != nil {
			t.Fatal(err)
		}
		for flow, at := range r.moves {
			if len(at) != 1 || at[0].Sub(dies) > 300*time.Millisecond {
				t.Errorf("busy %v: %s moved at %v", busy, flow, at)
			}
		}
		if len(r.moves) != 6 {
			t.Errorf("busy %v: %d flows moved", busy, len(r.moves))
		}
		for _, c := range []*Chat{near, far} {
			for i, h := range c.Heard {
				if h.Gap > 350*time.Millisecond || h.Back != 0 || h.Got < 360 {
					t.Errorf("busy %v: %s, flow %d: %+v", busy, c.host.Name, i, h)
				}
			}
		}
	}
}

// A flood of datagrams gets most of its path, not all: a connection goes on there too.
func TestFloodStarvesNobody(t *testing.T) {
	t.Parallel()
	one := Conditions{Rate: 20e6, Delay: 10 * time.Millisecond, QueueTime: 80 * time.Millisecond}
	p, _, far, _ := chatting(Chat{Flows: 4, Every: time.Millisecond, Size: 1200, Until: 10 * s}, one)
	p.plan(&Plan{Target: netip.AddrPortFrom(hub4, 80), Up: 100 << 20})
	if err := p.Run(10 * s); err != nil {
		t.Fatal(err)
	}
	read := float64(p.serverUser.Streams[0].Read) * 8 / 10
	got := 0
	for _, h := range far.Heard {
		got += h.Got
	}
	flood := float64(got*1228) * 8 / 10
	if read < 3e6 || flood < 8e6 || read+flood < 15e6 {
		t.Errorf("of 20 Mbit/s the connection has %.1f, the datagrams %.1f", read/1e6, flood/1e6)
	}
}

// Detaching moves flows in the same instant here, and there as soon as word comes.
func TestDatagramsOfADetachedPath(t *testing.T) {
	t.Parallel()
	p, near, far, r := chatting(Chat{Flows: 3, Every: 5 * time.Millisecond, Size: 200, Until: 3 * s}, chatA, chatB)
	p.plan(&Plan{Target: netip.AddrPortFrom(hub4, 80), Up: 40 << 20, Down: 40 << 20})
	at := clock.Time(1500 * time.Millisecond)
	p.At(at, func(now clock.Time) {
		p.clientBond.Detach(now, 0)
		p.client.Wake()
	})
	if err := p.Run(3 * s); err != nil {
		t.Fatal(err)
	}
	for flow, moves := range r.moves {
		most := 6 * time.Millisecond
		if flow[0] == 'h' {
			most += chatB.Delay + 15*time.Millisecond
		}
		if len(moves) != 1 || moves[0].Sub(at) > most {
			t.Errorf("%s moved at %v", flow, moves)
		}
	}
	for _, c := range []*Chat{near, far} {
		for i, h := range c.Heard {
			if h.Gap > 100*time.Millisecond {
				t.Errorf("%s, flow %d: %+v", c.host.Name, i, h)
			}
		}
	}
	if len(r.moves) != 6 {
		t.Errorf("%d flows moved", len(r.moves))
	}
}
