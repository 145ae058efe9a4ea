package path

import (
	"testing"
	"time"

	"tandem/engine/clock"
)

// carrying returns a path with a round trip of 50 ms and a window of ten packets.
func carrying() (*Path, clock.Time) {
	p := New(newReno(testMTU), testMTU)
	p.RTTSample(0, 50*time.Millisecond)
	return p, clock.Time(time.Second)
}

// Datagrams leave less room for what is recorded, but never none, and in time it is as before.
func TestRidesTakeRoom(t *testing.T) {
	p, now := carrying()
	room := p.Room(now)
	p.Ride(now, 2*testMTU)
	if now = now.Add(20 * time.Millisecond); p.Inflight() != 2*testMTU || p.Room(now) > room-2*testMTU {
		t.Errorf("in flight %d, room %d", p.Inflight(), p.Room(now))
	}
	p.Ride(now, 100*testMTU)
	if now = now.Add(20 * time.Millisecond); p.Inflight() > p.Window()*3/4 || p.Room(now) <= 0 {
		t.Errorf("in flight %d of %d, room %d", p.Inflight(), p.Window(), p.Room(now))
	}
	if now = now.Add(time.Second); p.Room(now) != room || p.Inflight() != 0 {
		t.Errorf("in flight %d, room %d", p.Inflight(), p.Room(now))
	}
}

// Nothing recorded is outstanding: the path is not suspect for want of an acknowledgement.
func TestRidesMakeNobodySuspect(t *testing.T) {
	p, now := carrying()
	p.Heard(now)
	p.Ride(now, testMTU)
	now = now.Add(time.Second)
	if p.Suspect(now) {
		t.Error("suspect because of datagrams alone")
	}
	p.Sent(now, testMTU)
	if p.Suspect(now.Add(50 * time.Millisecond)) {
		t.Error("suspect before an acknowledgement could come")
	}
}

// What left before something that has arrived is delivered, as far as such packets arrive.
func TestRidesLand(t *testing.T) {
	p, now := carrying()
	delivered := func() int {
		n, _ := p.Totals()
		return int(n)
	}
	ride := func() {
		p.Ride(now, 1000)
		st := p.Sent(now.Add(time.Millisecond), 500)
		p.Ride(now.Add(2*time.Millisecond), 3000)
		now = now.Add(50 * time.Millisecond)
		p.Acked(now, st, 500, false)
		p.Done(now)
	}
	ride()
	if n := delivered(); n != 1500 || p.Inflight() != 3000 {
		t.Errorf("%d delivered, %d in flight", n, p.Inflight())
	}
	p.Fared(10000, 6000)
	ride()
	if n := delivered(); n != 1500+600*4+500 {
		t.Errorf("%d delivered with three in five", n)
	}
}

// Datagrams are paced with the rest, and put nobody off for long.
func TestRidesArePaced(t *testing.T) {
	p, now := carrying()
	st := p.Sent(now, testMTU)
	now = now.Add(50 * time.Millisecond)
	p.Acked(now, st, testMTU, false)
	p.Done(now)
	now = now.Add(time.Second)
	if !p.MayRide(now) {
		t.Fatal("an idle path takes nothing")
	}
	for range 1000 {
		p.Ride(now, testMTU)
	}
	if p.MayRide(now) || p.NextSend() > now.Add(rideDebt) {
		t.Errorf("the next in %v", p.NextSend().Sub(now))
	}
	if !p.MayRide(now.Add(rideDebt)) {
		t.Error("put off for longer")
	}
	if n := len(p.rides.list); n > ridesMax {
		t.Errorf("%d rides", n)
	}
	for range 1000 {
		now = now.Add(rideStep)
		p.Ride(now, testMTU)
	}
	if n := len(p.rides.list); n > ridesMax {
		t.Errorf("%d rides", n)
	}
	if n := testing.AllocsPerRun(100, func() { now = now.Add(rideStep); p.Ride(now, testMTU); p.Room(now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
