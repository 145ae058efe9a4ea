package mptcp

import (
	"testing"
	"time"

	"tandem/engine/wire"
)

// pings counts the packets of the control lane that leave end 0 over path 0.
func (p *post) pings() *int {
	n, lose := new(int), p.lose
	p.lose = func(count, from int, id PathID, pkt []byte) bool {
		var v wire.Packet
		if from == 0 && id == 0 && v.Parse(pkt) == nil && v.Protocol == wire.UDP {
			*n++
		}
		return lose(count, from, id, pkt)
	}
	return n
}

// silenced returns a post of which path 0 has been silent for an hour, with a datagram to be answered over it.
func silenced(t *testing.T) (p *post, pings *int) {
	p = newPost(t, 1)
	p.dead[0] = true
	pings = p.pings()
	p.send(0, udp(app4, there4, "1"))
	p.wait(time.Hour)
	return p, pings
}

// A silent path is asked ten times a second at first, and at last once a minute.
func TestLongSilenceIsThrifty(t *testing.T) {
	p := newPost(t, 1)
	p.dead[0] = true
	pings := p.pings()
	p.send(0, udp(app4, there4, "1"))
	for _, c := range []struct {
		wait        time.Duration
		least, most int
	}{
		{2 * time.Second, 12, 22},
		{58 * time.Second, 12, 18}, // pauses of 5 s
		{4 * time.Minute, 15, 25},  // growing
		{25 * time.Minute, 24, 50},
		{time.Hour, 58, 61}, // once a minute
	} {
		*pings = 0
		p.wait(c.wait)
		if *pings < c.least || *pings > c.most {
			t.Errorf("%v: %d PINGs in %v, want %d to %d", p.now, *pings, c.wait, c.least, c.most)
		}
	}
}

// Whatever says that the path may work has it asked as often as before.
func TestLongSilenceEnds(t *testing.T) {
	for name, happen := range map[string]func(*post){
		"a sign of life": func(p *post) {
			p.dead[0] = false
			p.send(1, udp(there4, app4, "1"))
			p.wait(100 * time.Millisecond)
			if p.ends[0].Paths(p.now)[0].Suspect {
				p.t.Error("still suspect")
			}
			p.dead[0] = true
			p.send(0, udp(app4, there4, "1"))
		},
		"Ping": func(p *post) { p.ends[0].Ping(p.now) },
		"Attach": func(p *post) {
			p.attach(0, 0, Primary)
			p.send(0, udp(app4, there4, "1"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, pings := silenced(t)
			happen(p)
			*pings = 0
			p.wait(2 * time.Second)
			if *pings < 12 {
				t.Errorf("%d PINGs in two seconds", *pings)
			}
		})
	}
}
