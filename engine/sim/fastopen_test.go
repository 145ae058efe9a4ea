package sim

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

var fastOpen = mptcp.Config{FastOpen: true}

// A counter is a meeting around one service, which is what cookies are for.
type counter struct {
	*meeting
	asked time.Duration // after which the server had what the latest client wrote
}

// call dials the service, and returns the client's stream and how
// long it took until the first octet of the answer came.
func (m *counter) call(plan Plan) (*Stream, time.Duration) {
	m.t.Helper()
	plan.Dialled, plan.Target = m.Now(), netip.AddrPortFrom(serverAddr(0, false), 999)
	m.client.Dial(&plan)
	m.server.Answer(&plan)
	n := len(m.client.Streams)
	known := len(m.server.Streams)
	m.asked = 0
	answered := func() bool {
		if m.asked == 0 && len(m.server.Streams) > known && m.server.Streams[known].Read > 0 {
			m.asked = m.Now().Sub(plan.Dialled)
		}
		return len(m.client.Streams) > n && m.client.Streams[n].Read > 0
	}
	if err := m.RunUntil(plan.Dialled.Add(2*time.Minute), answered); err != nil {
		m.t.Fatal(err)
	}
	if !answered() {
		m.t.Fatalf("no answer: %v\n%v", m.client.Streams[n:], m.server.Streams)
	}
	took := m.Now().Sub(plan.Dialled)
	m.finish(m.client.Streams[n])
	return m.client.Streams[n], took
}

// With a cookie what is asked arrives with the SYN, and the connection is one of MPTCP with all paths. The answer of a
// peer without MPTCP comes after one round trip instead of two.
func TestFastOpenSavesARoundTrip(t *testing.T) {
	for _, plain := range []bool{false, true} {
		client, server := fastOpen, fastOpen
		client.Establish, server.Plain = mptcp.Classic, plain
		m := &counter{meeting: newMeeting(t, client, server, near, far)}
		for i, down := range []int64{500, 200_000, 500, 200_000} {
			asked, want := near, 4*near
			if i == 0 {
				asked = 3 * near
			} else if plain {
				want = 2 * near
			}
			s, took := m.call(Plan{Up: 500, Down: down})
			if took != want || m.asked != asked {
				t.Errorf("plain %v, connection %d: asked after %v, want %v; answered after %v, want %v\n%v", plain, i, m.asked, asked, took, want, s)
			}
		}
		if c, s := m.client.bond.Counters(), m.server.bond.Counters(); c.FastOpens != 3 || s.FastOpens != 3 || c.FastOpensRefused+s.BadCookies != 0 {
			t.Errorf("client %+v\nserver %+v", c, s)
		}
		if !plain && m.joins[1] == 0 {
			t.Error("the second path never joins")
		}
	}
}

// A doorkeeper is a middlebox to whom SYNs are suspicious that carry more than SYNs used to (RFC 7413 7.1).
type doorkeeper struct {
	dice *rand.Rand
	drop float64 // chance that a SYN with octets is dropped
	cut  float64 // chance that the option vanishes from a SYN or a SYN/ACK
	bare float64 // chance that the octets of a SYN vanish
	out  []byte
}

// Pass: see Middlebox.
func (k *doorkeeper) Pass(pkt []byte, back bool, emit func([]byte)) {
	var s wire.Segment
	if s.Parse(pkt) != nil || !s.Flags.Has(wire.SYN) {
		emit(pkt)
		return
	}
	if len(s.Payload) > 0 && k.dice.Float64() < k.drop {
		return
	}
	if k.dice.Float64() < k.cut {
		s.Options.Has &^= wire.HasFastOpen
	}
	if k.dice.Float64() < k.bare {
		s.Payload = nil
	}
	k.out = s.Append(k.out[:0])
	emit(k.out)
}

// Whatever becomes of cookies, SYNs and their octets, every connection is established and brings what was written,
// once and in order; two runs of a seed are the same.
func TestFastOpenThroughSuspiciousBoxes(t *testing.T) {
	taken, refused := uint64(0), uint64(0)
	for seed := range uint64(40) {
		c := playSuspicion(t, seed)
		if again := playSuspicion(t, seed); again != c {
			t.Errorf("seed %d: the second run differs: %+v, %+v", seed, c, again)
		}
		taken += c.FastOpens
		refused += c.FastOpensRefused
	}
	if taken == 0 || refused == 0 {
		t.Errorf("octets of %d SYNs were taken, of %d not", taken, refused)
	}
}

func playSuspicion(t *testing.T, seed uint64) mptcp.Counters {
	dice := rand.New(rand.NewPCG(seed, 7413))
	client, server := fastOpen, fastOpen
	client.Establish = mptcp.Establish(dice.IntN(int(mptcp.IPSSIM) + 1))
	client.Checksum, server.Checksum = dice.IntN(4) == 0, dice.IntN(4) == 0
	client.Timestamps, server.Timestamps = dice.IntN(2) == 0, dice.IntN(2) == 0
	client.Plain, server.Plain = dice.IntN(8) == 0, dice.IntN(8) == 0
	server.Limits.FastOpens = []int{0, 1}[dice.IntN(2)]
	m := &counter{meeting: newMeeting(t, client, server, near, far)}
	m.server.bond.Listen(0)
	for _, p := range m.paths {
		p.Boxes = append(p.Boxes, &doorkeeper{dice: dice, drop: dice.Float64() / 2, cut: dice.Float64() / 2, bare: dice.Float64() / 2})
		loss := Conditions{Delay: near, Loss: dice.Float64() / 8}
		p.Set(loss, loss)
	}
	for range 6 {
		plan := Plan{Up: int64(1 + dice.IntN(5000)), Down: int64(1 + dice.IntN(20_000)), AnswerAfter: time.Duration(dice.IntN(50)) * time.Millisecond}
		if dice.IntN(2) == 0 {
			plan.Manner = ServerLast
		}
		m.call(plan)
		if dice.IntN(3) == 0 {
			if err := m.Run(m.Now().Add(time.Duration(dice.IntN(180)) * time.Second)); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	}
	return m.client.bond.Counters()
}

// Who has cookies and sends SYNs in others' names makes a server keep no more than its limit, and everybody is served
// as without them.
func TestSpoofedFastOpensAreBounded(t *testing.T) {
	server := fastOpen
	m := &counter{meeting: newMeeting(t, mptcp.Config{FastOpen: true, Establish: mptcp.Classic}, server, near)}
	m.call(Plan{Up: 500, Down: 500})
	thief := &cookieThief{t: t}
	m.paths[0].Boxes = append(m.paths[0].Boxes, thief)
	m.call(Plan{Up: 500, Down: 500})
	n := m.server.bond.Counters()
	if n.FastOpens > 256+1 || n.LimitFastOpens == 0 {
		t.Errorf("%d taken, %d refused", n.FastOpens, n.LimitFastOpens)
	}
	if _, took := m.call(Plan{Up: 500, Down: 500}); took > 4*near {
		t.Errorf("answered after %v", took)
	}
}

// A cookieThief repeats a SYN with a cookie from many ports.
type cookieThief struct {
	t    *testing.T
	done bool
	out  []byte
}

// Pass: see Middlebox.
func (k *cookieThief) Pass(pkt []byte, back bool, emit func([]byte)) {
	emit(pkt)
	var s wire.Segment
	if k.done || s.Parse(pkt) != nil || len(s.Payload) == 0 || s.Options.Cookie.Len == 0 {
		return
	}
	k.done = true
	source := s.Source
	for port := range uint16(1000) {
		s.Source = netip.AddrPortFrom(source.Addr(), 1000+port)
		k.out = s.Append(k.out[:0])
		emit(k.out)
	}
}
