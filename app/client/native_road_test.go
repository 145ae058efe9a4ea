package client

import (
	"errors"
	"sync"
	"testing"

	"tandem/engine"
	"tandem/engine/convert"
	"tandem/engine/wire"
	"tandem/tunnel/upstream"
)

// answer answers a SYN for whoever is asked, with the octets that rode in it or, over links that strip them, without.
func (s *street) answer(l *nativeLink, pkt []byte) {
	var seg wire.Segment
	if seg.Parse(pkt) != nil || seg.Flags&(wire.SYN|wire.ACK|wire.RST) != wire.SYN || seg.Options.Has&wire.HasCapable == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.syns[l.cfg.Link]++
	ack := seg.Seq.Add(1)
	if s.takes[l.cfg.Link] {
		ack = ack.Add(len(seg.Payload))
	}
	reply := wire.Segment{Source: seg.Target, Target: seg.Source, Ack: ack, Flags: wire.SYN | wire.ACK, Window: 65535}
	reply.Options.Has = wire.HasCapable
	reply.Options.Capable = wire.Capable{Length: 12, Version: 1, Flags: seg.Options.Capable.Flags, Sender: 1}
	go l.cfg.Deliver([][]byte{reply.Append(nil)}) // who sends may not be delivered to meanwhile
}

// A bench asks for connections over links of which some take octets out of SYNs.
type bench struct {
	*street
	native *nativeMode
}

func newBench(t *testing.T) *bench {
	s := newStreet(t)
	s.run("convert://"+proxyAt.String(), nil)
	s.connected("wlan0", "wwan0")
	return &bench{s, s.client.now().native}
}

// links are those that take octets of SYNs from now on. None was asked yet.
func (b *bench) takeOver(links ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.takes, b.syns = map[string]bool{}, map[string]int{}
	for _, l := range links {
		b.takes[l] = true
	}
}

// open asks for a connection, and returns how it began.
func (b *bench) open(haste upstream.Haste, over string) (engine.Info, error) {
	b.t.Helper()
	path := convert.Path(0)
	b.client.do(b.ctx(), func() error {
		for _, l := range b.native.live.carried {
			if l.seen.Name == over {
				path = convert.Path(l.slot) + 1
			}
		}
		return nil
	})
	s, err := b.native.openOver(b.ctx(), proxyAt, []byte("request"), haste, path)
	if err != nil {
		return engine.Info{}, err
	}
	c := s.(*engine.Conn)
	b.t.Cleanup(func() { c.Abort(nil) })
	return c.Info(), nil
}

// asked returns how many SYNs a link has carried.
func (b *bench) asked(link string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.syns[link]
}

// TestUpstreamStripsOctets: a link on which something takes octets out of SYNs does not keep others from the converter: what
// insists on them begins there, at once and from then on.
func TestUpstreamStripsOctets(t *testing.T) {
	for strips, takes := range map[string]string{"wlan0": "wwan0", "wwan0": "wlan0"} {
		b := newBench(t)
		b.takeOver(takes)
		begins := func(over string) {
			if info, err := b.open(upstream.HastyOnly, over); err != nil || info.FastOpen != len("request") {
				t.Errorf("%s strips, over %q: %v, %d octets", strips, over, err, info.FastOpen)
			}
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { begins(strips) })
		}
		all.Wait()
		before := b.asked(strips)
		for _, over := range []string{"", "", "", strips} {
			begins(over)
		}
		if n := b.asked(strips); before == 0 || n != before {
			t.Errorf("%s strips: asked %d times, then %d", strips, before, n)
		}
	}
}

// TestUpstreamStripsEverywhere: when octets arrive over no link, who insists on them is told; on another chance they may.
func TestUpstreamStripsEverywhere(t *testing.T) {
	b := newBench(t)
	b.takeOver()
	if _, err := b.open(upstream.HastyOnly, ""); !errors.Is(err, convert.ErrStripped) || b.asked("wlan0") != 1 || b.asked("wwan0") != 1 {
		t.Errorf("%v, asked %d and %d times", err, b.asked("wlan0"), b.asked("wwan0"))
	}
	b.takeOver("wlan0", "wwan0")
	if info, err := b.open(upstream.HastyOnly, ""); err != nil || info.FastOpen == 0 {
		t.Errorf("another chance: %v, %d octets", err, info.FastOpen)
	}
}

// TestUpstreamTakesNothingEarly: who does not insist on octets in SYNs tries them once over each link, where they arrive nowhere.
func TestUpstreamTakesNothingEarly(t *testing.T) {
	b := newBench(t)
	b.takeOver()
	for i, stripped := range []bool{true, true, false, false} {
		if info, err := b.open(upstream.Hasty, ""); err != nil || info.FastOpen != 0 || info.Stripped != stripped {
			t.Errorf("connection %d: %v, %d octets, stripped %v", i, err, info.FastOpen, info.Stripped)
		}
	}
}
