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

// meeting is a client and a server with perfect links of some delays between them, each way.
type meeting struct {
	*World
	t              *testing.T
	paired         bool
	client, server *User
	paths          []*Path
	syns, joins    [4]int // SYNs that left the client, by path, and those of them that join
	caps, resets   int    // MP_JOIN_CAP and RST that left it
	segment        wire.Segment
	plans          int
}

func newMeeting(t *testing.T, client, server mptcp.Config, delays ...time.Duration) *meeting {
	t.Helper()
	m := &meeting{World: NewWorld(1), t: t, paired: client.Paired}
	client.Entropy, server.Entropy = Entropy(1, false), Entropy(2, false)
	client.Strict, server.Strict = true, true
	client.Limits, server.Limits = Defaults(), Defaults()
	if client.Paired {
		client.Datagrams = mptcp.DatagramConfig{Near: true, Host4: chatHost}
		server.Datagrams = mptcp.DatagramConfig{Host4: chatHost}
	}
	m.client, m.server = newEnd(m.World, "client", client), newEnd(m.World, "server", server)
	m.server.Strict = client.Paired
	m.server.bond.Listen(0)
	m.Tap(NewJudge())
	m.Tap(m)
	for i, delay := range delays {
		id, far := mptcp.PathID(i), mptcp.PathID(0)
		near, there := mptcp.PathConfig{Local4: clientAddr(i, 0, false)}, mptcp.PathConfig{Local4: serverAddr(i, false)}
		if m.paired {
			far = id
			near.Peer4, there.Peer4 = there.Local4, near.Local4
		}
		c := Conditions{Delay: delay}
		p := m.NewPath(fmt.Sprintf("path%d", i), m.client.host, id, m.server.host, far, c, c)
		p.Names = append(p.Names, near.Local4)
		m.paths = append(m.paths, p)
		m.client.bond.Attach(0, id, near)
		if i == 0 || m.paired {
			m.server.bond.Attach(0, far, there)
		}
	}
	return m
}

// See: see Tap.
func (m *meeting) See(s *Sight) error {
	seg := &m.segment
	if !s.Sent || s.Host != m.client.host || seg.Parse(s.Packet) != nil {
		return nil
	}
	for i, p := range m.paths {
		if p == s.Path && seg.Flags.Has(wire.SYN) && !seg.Flags.Has(wire.ACK) {
			m.syns[i]++
			if seg.Options.Has&wire.HasJoin != 0 {
				m.joins[i]++
			}
		}
	}
	if seg.Options.Has&wire.HasJoinCap != 0 {
		m.caps++
	}
	if seg.Flags.Has(wire.RST) {
		m.resets++
	}
	return nil
}

// silence has nothing pass over a path any more.
func (m *meeting) silence(path int) {
	p := m.paths[path]
	p.Set(Conditions{Down: true}, Conditions{Down: true})
}

// dial dials at the present, and returns how long that took.
func (m *meeting) dial(plan Plan) (*Stream, time.Duration) {
	m.t.Helper()
	host := serverAddr(0, false)
	if m.paired {
		host = hub4
	}
	m.plans++
	plan.Dialled, plan.Target = m.Now(), netip.AddrPortFrom(host, uint16(999+m.plans))
	m.client.Dial(&plan)
	m.server.Answer(&plan)
	n := len(m.client.Streams)
	open := func() bool {
		return len(m.client.Streams) > n && m.client.Streams[n].Conn.Info(m.Now()).State == "open"
	}
	if err := m.RunUntil(plan.Dialled.Add(time.Minute), open); err != nil {
		m.t.Fatal(err)
	}
	if !open() {
		m.t.Fatalf("not established: %v", m.client.Streams[n])
	}
	s := m.client.Streams[n]
	return s, m.Now().Sub(plan.Dialled)
}

// finish plays on until all that was planned is done.
func (m *meeting) finish(streams ...*Stream) {
	m.t.Helper()
	done := func() bool {
		for _, s := range streams {
			if !s.finished() {
				return false
			}
		}
		return true
	}
	if err := m.RunUntil(m.Now().Add(time.Minute), done); err != nil {
		m.t.Fatal(err)
	}
	if !done() {
		m.t.Fatalf("not done: %v\n%v", streams, m.server.Streams)
	}
	if err := m.Run(m.Now().Add(100 * time.Millisecond)); err != nil {
		m.t.Fatal(err)
	}
}

// established counts what the server's application got: connections in which it could read to the end.
func (m *meeting) established() (n int) {
	for _, s := range m.server.Streams {
		if s.end {
			n++
		}
	}
	return n
}

// eachPairing calls test with ends that know each other and with ends that do not.
func eachPairing(t *testing.T, test func(t *testing.T, cfg mptcp.Config)) {
	for _, paired := range []bool{true, false} {
		t.Run(fmt.Sprintf("paired=%v", paired), func(t *testing.T) { test(t, mptcp.Config{Paired: paired}) })
	}
}

const near, far = 10 * time.Millisecond, 25 * time.Millisecond // one way

// With all paths up a connection is established when the fastest could have done it, in whatever order they stand;
// with the default one black-holed before the first SYN when the other could have.
func TestAutoTakesTheTimeOfTheFaster(t *testing.T) {
	eachPairing(t, func(t *testing.T, cfg mptcp.Config) {
		for _, x := range []struct {
			name   string
			delays []time.Duration
			silent int // -1: none
			want   time.Duration
		}{
			{"the first is faster", []time.Duration{near, far}, -1, 2 * near},
			{"the second is faster", []time.Duration{far, near}, -1, 2 * near},
			{"the third is", []time.Duration{far, far, near}, -1, 2 * near},
			{"the first is silent", []time.Duration{near, far}, 0, 2 * far},
			{"the second is silent", []time.Duration{far, near}, 1, 2 * far},
		} {
			t.Run(x.name, func(t *testing.T) {
				m := newMeeting(t, cfg, cfg, x.delays...)
				if x.silent >= 0 {
					m.silence(x.silent)
				}
				s, took := m.dial(Plan{Up: 5000, Down: 5000})
				if took != x.want {
					t.Errorf("took %v, want %v\n%v", took, x.want, s)
				}
				m.finish(s)
				if n := m.established(); n != 1 {
					t.Errorf("the server has %d connections", n)
				}
			})
		}
	})
}

// The same when traffic has told which path is the best. While that is fresh there is one SYN; a path that became
// silent a moment ago costs its round trip and 50 ms.
func TestAutoKnowsItsPaths(t *testing.T) {
	eachPairing(t, func(t *testing.T, cfg mptcp.Config) {
		for _, delays := range [][]time.Duration{{near, far}, {far, near}} {
			best := 0
			if delays[1] == near {
				best = 1
			}
			m := newMeeting(t, cfg, cfg, delays...)
			s, _ := m.dial(Plan{Up: 50_000, Down: 50_000})
			m.finish(s)
			m.syns = [4]int{}
			s, took := m.dial(Plan{Up: 5000, Down: 5000})
			if took != 2*near || m.syns[best] != 1 || m.syns[1-best] != 0 {
				t.Errorf("%v: took %v, want %v; SYNs %v\n%v", delays, took, 2*near, m.syns, s)
			}
			m.finish(s)
			m.silence(best)
			m.syns = [4]int{}
			s, took = m.dial(Plan{Up: 5000, Down: 5000})
			if most := 2*(2*far) + 50*time.Millisecond; took > most || m.syns[1-best] != 1 {
				t.Errorf("%v: took %v, at most %v; SYNs %v\n%v", delays, took, most, m.syns, s)
			}
			m.finish(s)
		}
	})
}

// A target that takes its time is no dead path: the peer says that it holds the offer, nothing is asked again.
func TestSlowTargetIsNoDeadPath(t *testing.T) {
	for e := mptcp.Auto; e <= mptcp.IPSSIM; e++ {
		cfg := mptcp.Config{Paired: true, Establish: e}
		m := newMeeting(t, cfg, cfg, near, far)
		s, _ := m.dial(Plan{Up: 50_000, Down: 50_000})
		m.finish(s)
		m.syns = [4]int{}
		s, took := m.dial(Plan{Up: 100, AnswerAfter: 3 * time.Second})
		if want := 3*time.Second + 2*near; took != want {
			t.Errorf("%v: took %v, want %v", e, took, want)
		}
		race := e == mptcp.SIM || e == mptcp.ESIM
		if m.syns[0] != 1 || m.syns[1]-m.joins[1] > 1 || !race && m.syns[1] != 0 {
			t.Errorf("%v: SYNs %v", e, m.syns)
		}
		m.finish(s)
		if n := m.established(); n != 2 {
			t.Errorf("%v: the server has %d connections", e, n)
		}
	}
}

// RobE_TIMER: the other path is asked after one timeout of the SYN; the first joins when it is repaired.
func TestTimerAfterOneTimeout(t *testing.T) {
	cfg := mptcp.Config{Establish: mptcp.Timer}
	m := newMeeting(t, cfg, mptcp.Config{}, near, far)
	m.silence(0)
	s, took := m.dial(Plan{Up: 200_000, Down: 200_000})
	if want := time.Second + 2*far; took != want {
		t.Errorf("took %v, want %v", took, want)
	}
	m.paths[0].Set(Conditions{Delay: near}, Conditions{Delay: near})
	if err := m.Run(m.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if m.joins[0] == 0 {
		t.Errorf("the first path does not join\n%v", s)
	}
	m.finish(s)
}

// RobE_SIM: what lost is reset before it carries data, and joins; RobE_eSIM: it joins with its third ACK, no MP_JOIN
// is ever sent, and both paths work when the slower handshake is over. The application sees one connection.
func TestRaces(t *testing.T) {
	eachPairing(t, func(t *testing.T, cfg mptcp.Config) {
		for _, x := range []struct {
			mode     mptcp.Establish
			noRobE   bool
			implicit bool
			caps     bool
		}{
			{mptcp.SIM, false, false, false}, {mptcp.ESIM, false, false, true},
			{mptcp.ESIM, true, false, false}, {mptcp.ESIM, false, true, true},
		} {
			client, server := cfg, cfg
			client.Establish, client.ImplicitESIM, server.NoRobE = x.mode, x.implicit, x.noRobE
			m := newMeeting(t, client, server, near, far)
			s, took := m.dial(Plan{Up: 300_000, Down: 300_000})
			if err := m.RunUntil(clock.Time(3*far), func() bool { return false }); err != nil {
				t.Fatal(err)
			}
			both := len(s.Conn.Info(m.Now()).Subflows) == 2
			m.finish(s)
			if took != 2*near || m.established() != 1 {
				t.Errorf("%+v: took %v, %d connections\n%v", x, took, m.established(), s)
			}
			if x.caps && (m.caps != 1 || m.joins != [4]int{} || m.resets != 0 || !both) {
				t.Errorf("%+v: %d MP_JOIN_CAP, joins %v, %d resets, both paths %v\n%v", x, m.caps, m.joins, m.resets, both, s)
			}
			if !x.caps && (m.caps != 0 || m.joins[1] != 1 || m.resets == 0) {
				t.Errorf("%+v: %d MP_JOIN_CAP, joins %v, %d resets\n%v", x, m.caps, m.joins, m.resets, s)
			}
		}
	})
}

// An unaware server takes the third ACK of the implicit variant for one of TCP; the client puts an end to that
// before it sent anything.
func TestImplicitESIMWithAnUnawareServer(t *testing.T) {
	m := newMeeting(t, mptcp.Config{Establish: mptcp.ESIM, ImplicitESIM: true}, mptcp.Config{NoRobE: true}, near, far)
	s, _ := m.dial(Plan{Up: 300_000, Down: 300_000})
	m.finish(s)
	if m.caps != 1 || m.resets == 0 || m.joins[1] == 0 || m.established() != 1 {
		t.Errorf("%d MP_JOIN_CAP, %d resets, joins %v, %d connections\n%v", m.caps, m.resets, m.joins, m.established(), s)
	}
	for _, s := range m.server.Streams {
		if !s.end && s.Read > 0 {
			t.Errorf("%d octets came in what is no connection", s.Read)
		}
	}
}

// RobE_IPS: the first connection is a race, the next take the path with the lower round trip, which the end that
// only receives is told.
func TestIPSLearns(t *testing.T) {
	m := newMeeting(t, mptcp.Config{Establish: mptcp.IPS}, mptcp.Config{}, far, near)
	for i := range 4 {
		m.syns, m.joins = [4]int{}, [4]int{}
		s, took := m.dial(Plan{Down: 100_000})
		m.finish(s)
		if took != 2*near {
			t.Errorf("connection %d took %v", i, took)
		}
		if i > 0 && (m.syns[0]-m.joins[0] != 0 || m.syns[1] != 1) {
			t.Errorf("connection %d: SYNs %v", i, m.syns)
		}
	}
	if m.client.bond.Counters().RTTReports == 0 {
		t.Error("the server never tells its round trip")
	}
}
