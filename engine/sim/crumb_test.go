package sim

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// crumbs plays one connection over two paths on which little is written now and then, and returns how many octets that
// were, and how many went twice.
func crumbs(t *testing.T, paired bool, plan Plan, delays ...time.Duration) (sent, again uint64) {
	t.Helper()
	m := newMeeting(t, mptcp.Config{Paired: paired}, mptcp.Config{Paired: paired}, delays...)
	plan.Target = netip.AddrPortFrom(hub4, 80)
	if !paired {
		plan.Target = netip.AddrPortFrom(serverAddr(0, false), 80)
	}
	m.client.Dial(&plan)
	m.server.Answer(&plan)
	done := func() bool {
		return len(m.server.Streams) > 0 && m.client.Streams[0].finished() && m.server.Streams[0].finished()
	}
	if err := m.RunUntil(clock.Time(10*time.Minute), done); err != nil || !done() {
		t.Fatalf("%v\n%v", err, m.client.Streams)
	}
	there, back := m.client.Streams[0].Conn.Info(m.Now()), m.server.Streams[0].Conn.Info(m.Now())
	return there.Sent + back.Sent, there.Reinjected + back.Reinjected
}

// What little is written with pauses goes once, over one path: that its acknowledgements are delayed is no sign that it
// is late.
func TestCrumbsGoOnce(t *testing.T) {
	const pause = 100 * time.Millisecond
	for _, paired := range []bool{true, false} {
		for _, delays := range [][2]time.Duration{{10, 30}, {20, 25}, {40, 60}, {50, 50}, {5, 100}} {
			for name, plan := range map[string]Plan{
				"keys":             {Up: 600 * 40, Crumb: 40, Pause: pause, Moody: true},
				"keys on the beat": {Up: 600 * 40, Crumb: 40, Pause: pause},
				"keys echoed":      {Up: 600 * 40, Down: 600 * 40, Crumb: 40, Pause: pause, Moody: true},
				"requests":         {Up: 600 * 700, Crumb: 700, Pause: pause, Moody: true},
				"many requests":    {Up: 2000 * 700, Crumb: 700, Pause: pause / 10, Moody: true},
				"large requests":   {Up: 300 * 5000, Crumb: 5000, Pause: pause, Moody: true},
				"news":             {Down: 1000 * 300, Crumb: 300, Pause: pause / 5, Moody: true},
				"many keys":        {Up: 1000 * 40, Crumb: 40, Pause: pause / 20, Moody: true},
			} {
				t.Run(fmt.Sprintf("paired=%v/%d and %d ms/%s", paired, delays[0], delays[1], name), func(t *testing.T) {
					t.Parallel()
					sent, again := crumbs(t, paired, plan, delays[0]*time.Millisecond, delays[1]*time.Millisecond)
					t.Logf("%.1f %% of %d octets twice", 100*float64(again)/float64(sent), sent)
					if 50*again > sent {
						t.Error("more than 2 %")
					}
				})
			}
		}
	}
}

// That a rescue waits for such an acknowledgement makes no lost packet much dearer, whichever it is.
func TestLostPacketsAreMendedSoon(t *testing.T) {
	for _, paired := range []bool{true, false} {
		for _, size := range []int64{400, 3000, 30_000} {
			t.Run(fmt.Sprintf("paired=%v/%d", paired, size), func(t *testing.T) {
				t.Parallel()
				clean, _ := mended(t, paired, size, 0)
				var sum, most time.Duration
				n := 0
				for took, hit := mended(t, paired, size, 1); hit; took, hit = mended(t, paired, size, n+1) {
					n++
					sum, most = sum+took, max(most, took)
				}
				mean := sum / time.Duration(n)
				t.Logf("%v without a loss; with one of %d packets lost %v on average, %v at most", clean, n, mean, most)
				if mean > clean+20*time.Millisecond || most > clean+120*time.Millisecond {
					t.Error("too late")
				}
			})
		}
	}
}

// mended plays an upload of which the n-th packet from the client is lost, and returns when the server has all, and whether
// there was that packet.
func mended(t *testing.T, paired bool, size int64, n int) (took time.Duration, hit bool) {
	c := shortScenario(paired, EachWhenDone)
	c.Plans[0].Up, c.Plans[0].Down = size, 100
	s, count := NewStage(c), 0
	for _, p := range s.Paths {
		p.Boxes = append(p.Boxes, &upLoss{count: &count, n: n})
	}
	if err := s.Play(); err != nil {
		t.Fatal(err)
	}
	return time.Duration(s.Server.Streams[0].Done), count >= n
}

// upLoss is a Middlebox that loses one packet of the client's, counted over all paths.
type upLoss struct {
	count *int
	n     int
}

func (b *upLoss) Pass(pkt []byte, back bool, emit func([]byte)) {
	if !back {
		if *b.count++; *b.count == b.n {
			return
		}
	}
	emit(pkt)
}
