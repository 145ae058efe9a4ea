package sim

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// A meter counts the octets that leave a host on a path, in steps of a tenth of a second.
type meter struct {
	host  *Host
	path  *Path
	steps []int
}

const meterStep = 100 * time.Millisecond

func (m *meter) See(s *Sight) error {
	if s.Sent && s.Host == m.host && s.Path == m.path {
		for int(time.Duration(s.At)/meterStep) >= len(m.steps) {
			m.steps = append(m.steps, 0)
		}
		m.steps[int(time.Duration(s.At)/meterStep)] += len(s.Packet)
	}
	return nil
}

// rate returns the lowest and the highest rate of any second between two instants, in octets a second.
func (m *meter) rate(from, to time.Duration) (low, high int) {
	low = 1 << 62
	for at := int(from / meterStep); at+10 <= int(to/meterStep); at++ {
		sum := 0
		for i := at; i < min(at+10, len(m.steps)); i++ {
			sum += m.steps[i]
		}
		low, high = min(low, sum), max(high, sum)
	}
	return low, high
}

func (m *meter) keeps(t *testing.T, what string, limit int, from, to time.Duration) {
	t.Helper()
	low, high := m.rate(from, to)
	t.Logf("%s: %.3f to %.3f of the limit in any second", what, float64(low)/float64(limit), float64(high)/float64(limit))
	if float64(low) < 0.95*float64(limit) || float64(high) > 1.05*float64(limit) {
		t.Errorf("%s: %d to %d octets a second, not %d", what, low, high, limit)
	}
}

// limited is a pair whose paths have limits, with a meter for each direction of each.
type limited struct {
	*pair
	up, down []*meter
}

func newLimited(links ...Conditions) *limited {
	l := &limited{pair: newPair(1, links, links)}
	for _, path := range l.paths {
		l.up = append(l.up, &meter{host: l.client, path: path})
		l.down = append(l.down, &meter{host: l.server, path: path})
		l.Tap(l.up[len(l.up)-1])
		l.Tap(l.down[len(l.down)-1])
	}
	return l
}

// limit changes the limits of a path at some instant.
func (l *limited) limit(at time.Duration, path, down, up int) {
	l.At(clock.Time(at), func(now clock.Time) {
		l.clientBond.SetLimit(now, mptcp.PathID(path), down, up)
		l.client.Wake()
	})
}

// load begins connections that never have enough.
func (l *limited) load(n int, up, down int64) {
	for i := range n {
		l.plan(&Plan{Target: netip.AddrPortFrom(hub4, uint16(1000+i)), Up: up / int64(n), Down: down / int64(n)})
	}
}

var wideLink = Conditions{Rate: 50e6, Delay: 15 * time.Millisecond, QueueTime: 60 * time.Millisecond}

// The limit of a path bounds the sum of all that is on it, within 5 % in any second, whether one connection fills it or
// twenty, in either direction and in both.
func TestLimitIsKept(t *testing.T) {
	const down, up = 5e6 / 8, 2e6 / 8
	for _, n := range some(1, []int{1, 20}) {
		for _, c := range []struct {
			name     string
			down, up int64
		}{{"down", 100 << 20, 0}, {"up", 0, 100 << 20}, {"both", 100 << 20, 100 << 20}} {
			t.Run(fmt.Sprintf("%d connections, %s", n, c.name), func(t *testing.T) {
				t.Parallel()
				l := newLimited(wideLink)
				l.limit(0, 0, down, up)
				l.load(n, c.up, c.down)
				if err := l.Run(12 * s); err != nil {
					t.Fatal(err)
				}
				if c.down > 0 {
					l.down[0].keeps(t, "down", down, time.Second, 12*time.Second)
				}
				if c.up > 0 {
					l.up[0].keeps(t, "up", up, time.Second, 12*time.Second)
				}
			})
		}
	}
}

// A limit that comes, changes and goes while octets flow: each is kept soon, and without one the path is as
// fast as before within a second.
func TestLimitChanges(t *testing.T) {
	for _, n := range some(1, []int{1, 20}) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			l := newLimited(wideLink)
			l.limit(4*time.Second, 0, 1e6, 0)
			l.limit(8*time.Second, 0, 3e5, 0)
			l.limit(12*time.Second, 0, 0, 0)
			l.load(n, 0, 200<<20)
			if err := l.Run(16 * s); err != nil {
				t.Fatal(err)
			}
			free := func(from, to time.Duration) {
				low, _ := l.down[0].rate(from, to)
				t.Logf("%v to %v: %.3f of the link", from, to, float64(low)*8/float64(wideLink.Rate))
				if float64(low)*8 < 0.9*float64(wideLink.Rate) {
					t.Errorf("%v to %v: %d octets a second", from, to, low)
				}
			}
			free(time.Second, 4*time.Second)
			l.down[0].keeps(t, "first", 1e6, 4200*time.Millisecond, 8*time.Second)
			l.down[0].keeps(t, "second", 3e5, 8200*time.Millisecond, 12*time.Second)
			free(13*time.Second, 16*time.Second)
		})
	}
}

// A bond that began under a limit is as fast as the path within two seconds after it has gone.
func TestLimitFromTheStart(t *testing.T) {
	for _, n := range some(1, []int{1, 20}) {
		l := newLimited(wideLink)
		l.limit(0, 0, 3e5, 0)
		l.limit(6*time.Second, 0, 0, 0)
		l.load(n, 0, 200<<20)
		if err := l.Run(10 * s); err != nil {
			t.Fatal(err)
		}
		l.down[0].keeps(t, "limited", 3e5, time.Second, 6*time.Second)
		if low, _ := l.down[0].rate(7*time.Second, 10*time.Second); float64(low)*8 < 0.9*float64(wideLink.Rate) {
			t.Errorf("%d connections: %d octets a second", n, low)
		}
	}
}

// The path without a limit beside it is as full as ever.
func TestLimitLeavesTheOtherAlone(t *testing.T) {
	for _, n := range some(1, []int{1, 20}) {
		l := newLimited(chatA, chatB)
		l.limit(0, 1, 1e6, 0)
		l.load(n, 0, 200<<20)
		if err := l.Run(8 * s); err != nil {
			t.Fatal(err)
		}
		l.down[1].keeps(t, "limited", 1e6, time.Second, 8*time.Second)
		if low, _ := l.down[0].rate(time.Second, 8*time.Second); float64(low)*8 < 0.93*float64(chatA.Rate) {
			t.Errorf("%d connections: the other path carries %d octets a second", n, low)
		}
	}
}

// Retransmissions, datagrams and the control lane count as well.
func TestLimitOfAllThatLeaves(t *testing.T) {
	const limit = 400_000
	lossy := wideLink
	lossy.Loss = 0.02
	for name, link := range map[string]Conditions{"clean": wideLink, "lossy": lossy} {
		for _, n := range some(1, []int{0, 1, 20}) {
			l := newLimited(link)
			l.limit(0, 0, 0, limit)
			newChats(l.clientUser, l.serverUser, Chat{Flows: 4, Every: 5 * time.Millisecond, Size: 1000, Until: 6 * s})
			if n > 0 {
				l.load(n, 100<<20, 0)
			}
			if err := l.Run(6 * s); err != nil {
				t.Fatal(err)
			}
			l.up[0].keeps(t, fmt.Sprintf("%s, %d connections", name, n), limit, time.Second, 6*time.Second)
		}
	}
}

// Who downloads under a limit on what leaves keeps to it: acknowledgements leave at once, and data leaves what they
// do not need.
func TestLimitCountsAcknowledgements(t *testing.T) {
	const limit = 250_000
	l := newLimited(wideLink)
	l.limit(0, 0, 0, limit)
	l.load(2, 100<<20, 200<<20)
	if err := l.Run(6 * s); err != nil {
		t.Fatal(err)
	}
	l.up[0].keeps(t, "up", limit, time.Second, 6*time.Second)
	if low, _ := l.down[0].rate(time.Second, 6*time.Second); float64(low)*8 < 0.85*float64(wideLink.Rate) {
		t.Errorf("down: %d octets a second", low)
	}
}

// Small limits are kept as well as packets let them.
func TestLimitIsSmall(t *testing.T) {
	const limit = 16_000
	for _, n := range some(1, []int{1, 20}) {
		l := newLimited(wideLink)
		l.limit(0, 0, limit, 0)
		l.load(n, 0, 10<<20)
		if err := l.Run(30 * s); err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, octets := range l.down[0].steps[50:300] {
			sum += octets
		}
		if got := float64(sum) / 25 / limit; got < 0.95 || got > 1.05 {
			t.Errorf("%d connections: %.3f of the limit", n, got)
		}
	}
}

// A limit a little below what the path carries is as good as any, and so is one above it.
func TestLimitNearTheRate(t *testing.T) {
	for _, share := range []float64{0.7, 0.9, 0.97} {
		limit := int(share * float64(wideLink.Rate) / 8)
		l := newLimited(wideLink)
		l.limit(3*time.Second, 0, limit, 0)
		l.limit(8*time.Second, 0, 2*limit, 0)
		l.load(1, 0, 200<<20)
		if err := l.Run(11 * s); err != nil {
			t.Fatal(err)
		}
		low, high := l.down[0].rate(4*time.Second, 8*time.Second)
		t.Logf("%.2f: %.3f to %.3f of the limit", share, float64(low)/float64(limit), float64(high)/float64(limit))
		if float64(low) < 0.95*float64(limit) || float64(high) > 1.05*float64(limit) {
			t.Errorf("%v of the rate: %d to %d octets a second, not %d", share, low, high, limit)
		}
		if low, _ := l.down[0].rate(9*time.Second, 11*time.Second); float64(low)*8 < 0.9*float64(wideLink.Rate) {
			t.Errorf("after %v of the rate: %d octets a second", share, low)
		}
	}
}

// Both ends know what was asked and what is kept, and who looks at the subflows sees it too.
func TestLimitIsShown(t *testing.T) {
	l := newLimited(wideLink)
	seen := map[uint32]int{}
	l.Tap(tapFunc(func(at *Sight) error {
		var seg wire.Segment
		if at.Sent && at.Host == l.client && seg.Parse(at.Packet) == nil && seg.Options.Has&wire.HasRateLimit != 0 {
			seen[seg.Options.RateLimit]++
		}
		return nil
	}))
	l.limit(0, 0, 500_000, 100_000)
	l.limit(3*time.Second, 0, 0, 100_000)
	l.load(3, 0, 10<<20)
	if err := l.Run(2 * s); err != nil {
		t.Fatal(err)
	}
	near, far := l.clientBond.Paths(l.Now())[0], l.serverBond.Paths(l.Now())[0]
	if near.LimitDown != 500_000 || near.LimitUp != 100_000 || near.Limit != 100_000 || !near.Granted || near.PeerDown != 0 {
		t.Errorf("near: %+v", near)
	}
	if far.PeerDown != 500_000 || far.PeerUp != 100_000 || far.Limit != 500_000 || far.LimitDown != 0 {
		t.Errorf("far: %+v", far)
	}
	for _, stream := range l.serverUser.Streams {
		if f := stream.Conn.Info(l.Now()).Subflows[0]; f.PeerLimit != 500_000 {
			t.Errorf("%+v", f)
		}
	}
	if err := l.Run(5 * s); err != nil {
		t.Fatal(err)
	}
	if far = l.serverBond.Paths(l.Now())[0]; far.PeerDown != 0 || far.PeerUp != 100_000 || far.Limit != 0 {
		t.Errorf("far, afterwards: %+v", far)
	}
	if seen[4000] != 6 || seen[wire.Unlimited] != 6 || len(seen) != 2 {
		t.Errorf("options: %v", seen)
	}
}

// tapFunc is a Tap.
type tapFunc func(*Sight) error

func (f tapFunc) See(s *Sight) error { return f(s) }
