package engine

import (
	"bytes"
	"testing"

	"tandem/engine/clock"
)

// newMail returns mail whose clock ticks at every look, and two paths.
func newMail() (*mail, [2]*Attachment) {
	var now clock.Time
	e := New(Config{Now: func() clock.Time { now++; return now }})
	m := &mail{engine: e, inbox: inboxDefault, wake: make(chan struct{}, 1)}
	return m, [2]*Attachment{{id: 0}, {id: 1}}
}

func TestMailKeepsOrderAndStamps(t *testing.T) {
	m, a := newMail()
	pkt := []byte("one")
	m.deliver(a[0], [][]byte{pkt, []byte("two")})
	m.deliver(a[1], [][]byte{[]byte("three")})
	copy(pkt, "xxx") // it was copied
	var in letters
	m.take(&in)
	want := []packet{{a[0], 1, []byte("one")}, {a[0], 1, []byte("two")}, {a[1], 2, []byte("three")}}
	got := in.blocks[0].packets
	if len(got) != len(want) || in.now != 3 {
		t.Fatalf("took %d packets at %d", len(got), in.now)
	}
	for i, w := range want {
		if g := got[i]; g.from != w.from || g.at != w.at || !bytes.Equal(g.octets, w.octets) {
			t.Errorf("packet %d is %q of path %d at %d", i, g.octets, g.from.id, g.at)
		}
	}
	if m.deliver(a[0], [][]byte{[]byte("four")}); m.in.blocks[0].packets[0].at <= in.now {
		t.Error("a packet is older than the turn before it")
	}
}

func TestMailFillsBlocks(t *testing.T) {
	m, a := newMail()
	for i := range 4 {
		m.deliver(a[0], [][]byte{bytes.Repeat([]byte{byte(i)}, packetMax)})
	}
	var in letters
	m.take(&in)
	seen := 0
	for _, b := range in.blocks {
		for _, p := range b.packets {
			if len(p.octets) != packetMax || p.octets[packetMax-1] != byte(seen) {
				t.Errorf("packet %d has %d octets and ends with %d", seen, len(p.octets), p.octets[packetMax-1])
			}
			seen++
		}
	}
	if seen != 4 || len(in.blocks) != 2 {
		t.Errorf("%d packets in %d blocks", seen, len(in.blocks))
	}
}

func TestMailRingsOncePerTurn(t *testing.T) {
	m, a := newMail()
	var in letters
	rings := func() int {
		select {
		case <-m.wake:
			return 1
		default:
			return 0
		}
	}
	for turn := range 3 {
		m.poke(&Conn{})
		m.call(call{})
		m.deliver(a[0], [][]byte{{1}})
		if n := rings() + rings(); n != 1 {
			t.Errorf("turn %d: %d wakeups", turn, n)
		}
		m.take(&in)
		if len(in.blocks) != 1 || len(in.calls) != 1 || len(in.pokes) != 1 {
			t.Errorf("turn %d: %d blocks, %d calls, %d pokes", turn, len(in.blocks), len(in.calls), len(in.pokes))
		}
	}
	m.take(&in)
	if len(in.blocks)+len(in.calls)+len(in.pokes)+rings() != 0 {
		t.Error("something came twice")
	}
}

func TestClosedMailTakesNothing(t *testing.T) {
	m, a := newMail()
	m.call(call{})
	m.close()
	if m.call(call{}) {
		t.Error("took a call")
	}
	m.poke(&Conn{})
	m.deliver(a[0], [][]byte{{1}})
	var in letters
	if m.take(&in); len(in.calls) != 1 || len(in.pokes)+len(in.blocks) != 0 {
		t.Errorf("%d calls, %d pokes, %d blocks", len(in.calls), len(in.pokes), len(in.blocks))
	}
}

func TestMailDoesNotAllocate(t *testing.T) {
	m, a := newMail()
	pkts := make([][]byte, 64)
	for i := range pkts {
		pkts[i] = make([]byte, 1400)
	}
	var in letters
	n := testing.AllocsPerRun(100, func() {
		m.deliver(a[0], pkts)
		m.take(&in)
	})
	// With -race a sync.Pool forgets now and then.
	if n > 4 {
		t.Errorf("%v allocations for 64 packets", n)
	}
}
