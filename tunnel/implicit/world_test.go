package implicit

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
	"tandem/tunnel/relay"
	"tandem/tunnel/relay/relaytest"
)

var (
	client = netip.MustParseAddrPort("192.168.1.2:40000")
	shop   = netip.MustParseAddrPort("192.0.2.80:443") // speaks TCP
	modern = netip.MustParseAddrPort("192.0.2.81:443") // speaks Multipath TCP
	ours   = netip.MustParseAddr("203.0.113.2")
	shop6  = netip.MustParseAddrPort("[2001:db8::80]:443")
	guest6 = netip.MustParseAddrPort("[2001:db8:1::2]:40000")
)

// A yard is a proxy with what it stands between.
type yard struct {
	t                    *testing.T
	p                    *Proxy
	now                  clock.Time
	delivered, forwarded [][]byte
	dialled              []netip.AddrPort
	probe                *relaytest.End // the far end of what was dialled last
}

var errNobody = errors.New("nobody there")

func newYard(t *testing.T, cfg Config) *yard {
	y := &yard{t: t, now: clock.Time(time.Hour)}
	keep := func(to *[][]byte) func([][]byte) {
		return func(pkts [][]byte) {
			for _, pkt := range pkts {
				*to = append(*to, bytes.Clone(pkt))
			}
		}
	}
	cfg.Own, cfg.Deliver, cfg.Forward = []netip.Addr{ours}, keep(&y.delivered), keep(&y.forwarded)
	cfg.Now = func() clock.Time { return y.now }
	cfg.Dial = func(_ context.Context, target netip.AddrPort) (relay.Stream, bool, error) {
		y.dialled = append(y.dialled, target)
		if target != shop && target != modern {
			return nil, false, errNobody
		}
		near, far := relaytest.Pipe(client, target)
		y.probe = far
		return near, target == modern, nil
	}
	y.p = New(cfg)
	return y
}

// comes has packets come, and wants them to be delivered, forwarded, or neither.
func (y *yard) comes(want verdict, pkts ...[]byte) {
	y.t.Helper()
	d, f := len(y.delivered), len(y.forwarded)
	y.p.Receive(pkts)
	for _, x := range []struct {
		what string
		v    verdict
		got  [][]byte
	}{{"delivered", deliver, y.delivered[d:]}, {"forwarded", forward, y.forwarded[f:]}} {
		var expected [][]byte
		if x.v == want {
			expected = pkts
		}
		if !equal(x.got, expected) {
			y.t.Errorf("%s %x, want %x", x.what, x.got, expected)
		}
	}
}

func equal(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// A packet of TCP, with a SYN that asks for Multipath TCP where it has one without ACK.
func segment(from, to netip.AddrPort, flags wire.Flags, change ...func(*wire.Segment)) []byte {
	s := wire.Segment{Source: from, Target: to, Seq: 1000, Flags: flags, Window: 65535}
	if flags&wire.ACK != 0 {
		s.Ack = 2000
	}
	if flags == wire.SYN {
		s.Options.Has = wire.HasMSS | wire.HasCapable
		s.Options.MSS = 1460
		s.Options.Capable = wire.Capable{Length: 4, Version: 1, Flags: wire.HMACSHA256}
	}
	for _, f := range change {
		f(&s)
	}
	return s.Append(nil)
}

func payload(text string) func(*wire.Segment) {
	return func(s *wire.Segment) { s.Payload = []byte(text) }
}

// An asking is what a bond makes of a SYN.
type asking struct {
	source, target    netip.AddrPort
	gone              chan struct{}
	left              error // what Ignore fails with
	ignored, accepted int
}

func newAsking(from, to netip.AddrPort) *asking {
	return &asking{source: from, target: to, gone: make(chan struct{})}
}

func (a *asking) Source() netip.AddrPort { return a.source }
func (a *asking) Target() netip.AddrPort { return a.target }
func (a *asking) Gone() <-chan struct{}  { return a.gone }

func (a *asking) Accept() (relay.Stream, error) {
	a.accepted++
	near, _ := relaytest.Pipe(a.source, a.target)
	return near, nil
}

func (a *asking) Ignore() error {
	a.ignored++
	return a.left
}

// relays does what a relay does with an offer, and returns what accepting it gave.
func (y *yard) relays(o relay.Offer) error {
	y.t.Helper()
	s, err := y.p.Dial(y.t.Context(), o.Target())
	if err != nil {
		o.Refuse(err)
		return err
	}
	if _, err := o.Accept(); err != nil {
		s.Abort(err)
		return err
	}
	return nil
}
