package sim

import (
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// A forgetful is a NAT that ends its mappings when nothing went out for a while.
type forgetful struct {
	NAT
	world    *World
	lifetime time.Duration
	out      clock.Time // when something went out last
	lost     int        // packets that found nobody inside any more
}

// Pass: see Middlebox.
func (b *forgetful) Pass(pkt []byte, back bool, emit func([]byte)) {
	if b.world.Now().Sub(b.out) > b.lifetime {
		b.Forget()
	}
	if !back {
		b.out = b.world.Now()
	}
	found := false
	b.NAT.Pass(pkt, back, func(out []byte) {
		found = true
		emit(out)
	})
	if !found {
		b.lost++
	}
}

// quiet counts what a host sends while a connection is idle.
type quiet struct {
	host     *Host
	from, to clock.Time
	sent     int
}

// See: see Tap.
func (q *quiet) See(s *Sight) error {
	if s.Sent && s.Host == q.host && s.At >= q.from && s.At < q.to {
		q.sent++
	}
	return nil
}

// Through NATs that forget, a connection that was idle for five of their lifetimes brings at once what the server says then, if its
// keepalive is shorter than a lifetime, and costs no more than the probes. Without it nothing comes any more, and one that is too
// long loses the subflows: it joins again and again, and what the server says between is lost all the same.
func TestKeepaliveThroughNATs(t *testing.T) {
	const lifetime, idle = 30 * time.Second, 150 * time.Second
	for _, c := range []struct {
		keepalive    time.Duration
		comes, again bool // what the server says at last; joins beside the one at the beginning
		most         int  // packets of the client meanwhile
	}{
		{20 * time.Second, true, false, 2 * 10}, // of two subflows, each a quarter earlier at most
		{60 * time.Second, false, true, 100},
		{0, false, false, 0},
	} {
		m := newMeeting(t, mptcp.Config{Establish: mptcp.Classic, Keepalive: c.keepalive}, mptcp.Config{}, near, far)
		var boxes []*forgetful
		for i, p := range m.paths {
			b := &forgetful{NAT: NAT{Outside: netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})}, world: m.World, lifetime: lifetime}
			boxes, p.Boxes, p.Names = append(boxes, b), append(p.Boxes, b), append(p.Names, b.Outside)
		}
		q := &quiet{host: m.client.host, from: clock.Time(10 * time.Second), to: clock.Time(idle)}
		m.Tap(q)
		s, _ := m.dial(Plan{Up: 1000, Down: 2000, Crumb: 1000, Pause: idle, Manner: ClientLast})
		if err := m.RunUntil(clock.Time(idle+10*time.Second), func() bool { return s.Read == 2000 }); err != nil {
			t.Fatal(err)
		}
		took := m.Now().Sub(clock.Time(idle))
		joins, resets, lost := m.joins[0]+m.joins[1], m.resets, boxes[0].lost+boxes[1].lost
		if c.comes != (s.Read == 2000) || c.comes && took > time.Second {
			t.Errorf("keepalive %v: %d octets %v after the server spoke again", c.keepalive, s.Read, took)
		}
		if c.again != (joins > 1) || c.comes && resets > 0 || c.comes != (lost == 0) {
			t.Errorf("keepalive %v: %d joins, %d resets, %d packets found nobody", c.keepalive, joins, resets, lost)
		}
		if q.sent > c.most {
			t.Errorf("keepalive %v: %d packets while idle", c.keepalive, q.sent)
		}
	}
}
