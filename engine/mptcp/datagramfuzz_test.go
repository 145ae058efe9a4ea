package mptcp

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"tandem/engine/datagram"
	"tandem/engine/wire"
)

// babble has a post live through what the dice say: packets of any kind, good and bad, at both ends.
func babble(t *testing.T, story []byte) {
	d := &dice{story}
	p := newPost(t, 2)
	for step := 0; len(d.left) > 0 && step < 1000; step++ {
		end, id := d.roll(2), PathID(d.roll(2))
		switch d.roll(8) {
		case 0:
			p.wait(time.Duration(d.roll(256)) * time.Millisecond)
		case 1:
			p.dead[id] = !p.dead[id]
		case 2:
			if d.roll(4) == 0 {
				p.ends[end].Detach(p.now, id)
			} else {
				p.attach(end, int(id), Role(d.roll(3)))
			}
		case 3, 4:
			p.send(end, d.packet(end))
		default:
			pkt := d.packet(1 - end)
			var v wire.Packet
			if client, _, client6, _ := slot(int(id)); v.Parse(pkt) == nil && d.roll(8) > 0 {
				v.Readdress(pkt, host4, client)
				v.Readdress(pkt, host6, client6)
			}
			p.ends[end].Receive(p.now, id, pkt)
		}
		for i, b := range p.ends {
			held := 0
			for _, pkt := range p.took(i) {
				held += datagram.Cost(len(pkt))
			}
			if q := b.datagrams; held > datagramQueue || q.held != 0 || q.queued > datagramQueue || len(q.flows.routes) > datagramFlows {
				t.Fatalf("%d held, %d counted, %d wait", held, q.held, q.queued)
			}
		}
	}
	p.flush()
	for _, b := range p.ends {
		if b.datagrams.queued != 0 && len(b.paths) > 0 {
			t.Fatalf("%d octets are left", b.datagrams.queued)
		}
	}
}

// packet is one that an application of that end sends, or a damaged one.
func (d *dice) packet(end int) []byte {
	here, there := app4, there4
	if d.roll(3) == 0 {
		here, there = app6, there6
	}
	if end == 1 {
		here, there = there, here
	}
	pkt := udp(here, there, string(make([]byte, d.roll(256)*d.roll(12))))
	var v wire.Packet
	v.Parse(pkt)
	switch d.roll(6) {
	case 0:
		mtu, id, whole := 80+d.roll(256)*5, uint32(d.roll(4)), pkt
		for at, n := 0, d.roll(8); n > 0; n-- {
			piece, next := v.Cut(nil, whole, at, mtu, id)
			if len(piece) > 0 {
				pkt = piece
			}
			if at = next; next == 0 {
				n = 1
			}
		}
	case 1:
		if e := v.AppendTooBig(nil, pkt, there.Addr(), d.roll(256)*6); len(e) > 0 {
			pkt = e
		}
	case 2:
		pkt[d.roll(len(pkt))] ^= byte(d.roll(256))
		if pkt[0]>>4 == 4 && len(pkt) >= 20 {
			binary.BigEndian.PutUint16(pkt[10:], 0)
			sealed(pkt)
		}
	}
	return pkt
}

// Whatever comes, nothing panics and every queue keeps its bound.
func FuzzDatagrams(f *testing.F) {
	for seed := range byte(8) {
		p := make([]byte, 400)
		rand.NewChaCha8([32]byte{seed}).Read(p)
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, story []byte) { babble(t, story[:min(len(story), 5000)]) })
}

func TestRandomDatagrams(t *testing.T) {
	for seed := range 100 {
		p := make([]byte, 1500)
		rand.NewChaCha8([32]byte{byte(seed), 1}).Read(p)
		babble(t, p)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
