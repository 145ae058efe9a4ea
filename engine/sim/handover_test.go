package sim

import (
	"fmt"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// A pace is an Application that watches how steadily the streams of a user are read.
type pace struct {
	user  *User
	read  int64
	at    clock.Time    // of the last progress
	from  clock.Time    // when it begins to measure
	gap   time.Duration // the longest since
	gapAt clock.Time
}

// Turn: see Application.
func (p *pace) Turn(now clock.Time) bool {
	read := int64(0)
	for _, s := range p.user.Streams {
		read += s.Read
	}
	if read == p.read {
		return false
	}
	if gap := now.Sub(p.at); p.at >= p.from && gap > p.gap {
		p.gap, p.gapAt = gap, p.at
	}
	p.read, p.at = read, now
	return false
}

// Next: see Application.
func (p *pace) Next() clock.Time { return clock.Never }

// leaver looks at what the client sends when an address ends.
type leaver struct {
	client *Host
	paths  []*Path
	ends   [4]int        // FIN and RST, by path
	last   [4]clock.Time // when the last TCP packet left
	data   [4]clock.Time // and the last with data, whoever sent it
	gone   [4]int        // REMOVE_ADDR
	prio   [4]int        // MP_PRIO with B
	seg    wire.Segment
}

// See: see Tap.
func (l *leaver) See(s *Sight) error {
	seg := &l.seg
	if !s.Sent || seg.Parse(s.Packet) != nil {
		return nil
	}
	for i, p := range l.paths {
		if p != s.Path {
			continue
		}
		if len(seg.Payload) > 0 {
			l.data[i] = s.At
		}
		if s.Host != l.client {
			continue
		}
		l.last[i] = s.At
		if seg.Flags&(wire.FIN|wire.RST) != 0 {
			l.ends[i]++
		}
		if seg.Options.Has&wire.HasRemoveAddr != 0 {
			l.gone[i]++
		}
		if seg.Options.Has&wire.HasPrio != 0 && seg.Options.Backup {
			l.prio[i]++
		}
	}
	return nil
}

// session is a client with two paths of 10 Mbit/s, of which the second may come later, that reads from a server all
// the time.
func session(t *testing.T, cfg mptcp.Config, late bool) (*meeting, *leaver, *pace, *Stream) {
	t.Helper()
	m := newMeeting(t, cfg, cfg, near, far)
	l := &leaver{client: m.client.host, paths: m.paths}
	m.Tap(l)
	for i, delay := range []time.Duration{near, far} {
		c := Conditions{Delay: delay, Rate: 10_000_000, QueueTime: 100 * time.Millisecond}
		if late {
			c.QueueTime = 2 * time.Second // what slow start loses would be a pause of its own
		}
		m.paths[i].Set(c, c)
	}
	if late {
		m.client.bond.Detach(0, 1)
	}
	p := &pace{user: m.client, from: clock.Time(leaves)}
	m.client.host.Use(p)
	s, _ := m.dial(Plan{Down: 8 << 20})
	m.play(t, leaves)
	return m, l, p, s
}

const leaves = 2 * time.Second // when an address is announced to end

// play plays on until that time.
func (m *meeting) play(t *testing.T, until time.Duration) {
	t.Helper()
	if err := m.Run(clock.Time(until)); err != nil {
		t.Fatal(err)
	}
}

// attach has the client use a path, again or for the first time.
func (m *meeting) attach(path, moves int) {
	near := mptcp.PathConfig{Local4: clientAddr(path, moves, false)}
	if m.paired {
		near.Peer4 = serverAddr(path, false)
	}
	m.paths[path].Names = append(m.paths[path].Names, near.Local4)
	m.client.bond.Attach(m.Now(), mptcp.PathID(path), near)
	m.client.host.Wake()
}

// Make before break (draft-defoy-mptcp-considerations-for-5g-01): the address of a path ends in 3 s. Another is there
// already, or comes at that moment. Nobody reading notices; what was told to leave is silent before its end.
func TestMakeBeforeBreak(t *testing.T) {
	const lasts = 3 * time.Second
	eachPairing(t, func(t *testing.T, cfg mptcp.Config) {
		for _, x := range []struct {
			path int
			late bool
			gap  time.Duration
		}{
			{1, false, 5 * time.Millisecond},
			{0, false, 5*time.Millisecond + far - near},
			{0, true, 2*far + 5*time.Millisecond},
		} {
			t.Run(fmt.Sprintf("path %d, late=%v", x.path, x.late), func(t *testing.T) {
				m, l, p, s := session(t, cfg, x.late)
				m.client.bond.SetLifetime(m.Now(), mptcp.PathID(x.path), mptcp.Lifetime{Valid: lasts})
				m.client.host.Wake()
				if x.late {
					m.attach(1, 0)
				}
				m.play(t, leaves+lasts)
				m.silence(x.path)
				m.client.bond.Detach(m.Now(), mptcp.PathID(x.path))
				m.client.host.Wake()
				m.finish(s)
				t.Logf("%v without data, all after %v", p.gap, time.Duration(s.Done))
				if p.gap > x.gap {
					t.Errorf("%v without data at %v, at most %v", p.gap, p.gapAt, x.gap)
				}
				other := 1 - x.path
				if l.ends[x.path] == 0 || l.gone[other] == 0 || l.gone[x.path] > 0 || (l.prio[x.path] == 0) != m.paired {
					t.Errorf("FIN %v, REMOVE_ADDR %v, MP_PRIO %v", l.ends, l.gone, l.prio)
				}
				end := clock.Time(leaves + lasts)
				if l.last[x.path] >= end || l.data[x.path] > clock.Time(leaves+lasts/2) {
					t.Errorf("the last packet left at %v, the last data at %v", l.last[x.path], l.data[x.path])
				}
			})
		}
	})
}

// Break before make: the address is gone without a word, and so is every path. The connection lives on in silence,
// joins in the moment in which another address comes, and says there that the old one is gone.
func TestBreakBeforeMake(t *testing.T) {
	eachPairing(t, func(t *testing.T, cfg mptcp.Config) {
		cfg.Inactivity.Time = 100 * time.Second
		m, l, p, s := session(t, cfg, true)
		m.silence(0)
		m.client.bond.Detach(m.Now(), 0)
		m.client.host.Wake()
		const away = 90 * time.Second
		m.play(t, leaves+away)
		if l.last[0] > clock.Time(leaves) || l.ends != [4]int{} {
			t.Errorf("the last packet left at %v; FIN %v", l.last[0], l.ends)
		}
		m.attach(1, 0)
		m.play(t, leaves+away+5*far)
		if l.last[1] < clock.Time(leaves+away) || l.gone[1] != 1 {
			t.Errorf("joined at %v, REMOVE_ADDR %v\n%v", l.last[1], l.gone, s)
		}
		m.finish(s)
		if p.gap > away+10*far || s.Err != nil {
			t.Errorf("%v without data\n%v", p.gap, s)
		}
	})
}

// It ends when it was idle for as long as it may be, in silence.
func TestBreakBeforeMakeForTooLong(t *testing.T) {
	eachPairing(t, func(t *testing.T, cfg mptcp.Config) {
		cfg.Inactivity.Time = 100 * time.Second
		m, l, p, s := session(t, cfg, true)
		m.silence(0)
		m.client.bond.Detach(m.Now(), 0)
		m.client.host.Wake()
		m.play(t, time.Duration(p.at)+100*time.Second-time.Nanosecond)
		if s.Over {
			t.Errorf("over too early\n%v", s)
		}
		m.play(t, time.Duration(p.at)+100*time.Second)
		if s.Err != mptcp.ErrTimeout {
			t.Errorf("%v\n%v", s.Err, s)
		}
		if l.last[0] > clock.Time(leaves) || l.ends != [4]int{} {
			t.Errorf("the last packet left at %v; FIN %v", l.last[0], l.ends)
		}
	})
}
