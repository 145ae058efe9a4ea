package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"tandem/engine"
	"tandem/engine/clock"
	"tandem/engine/convert"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
	"tandem/tunnel/implicit"
	"tandem/tunnel/relay"
	multipath "tandem/tunnel/upstream"
)

// A splice is a proxy between a client with two links, which speaks Multipath TCP, and a server, all of them engines, in a
// bubble of synctest: what any of them puts on a wire is seen.
//
//	client ═ two links ═ front │ relay │ back ── wire ── server
type splice struct {
	t                           *testing.T
	engine                      *engine.Engine
	client, front, back, server *engine.Bond
	links                       [2]*tapped
	down                        *tapped
	proxy                       *implicit.Proxy // nil: it is a converter
	ended                       chan struct{}   // closed when the relay is over
	stop                        context.CancelFunc
}

var (
	spliceShop  = netip.MustParseAddrPort("198.51.100.80:443")
	spliceProxy = netip.MustParseAddr("203.0.113.2")
	spliceBack  = netip.MustParseAddr("203.0.113.3")
	spliceLinks = [2]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.129")}
)

// A tapped is a wire, of whose both directions is known what went over it.
type tapped struct {
	up, down tap // towards the server, and back
}

// A tap is one direction of a wire.
type tap struct {
	deliver func(pkts [][]byte)
	queue   chan func()
	done    chan struct{}

	mu   sync.Mutex
	cut  bool
	seen []wire.Segment
	raw  [][]byte
}

func newTapped(delay time.Duration) *tapped {
	w := &tapped{}
	for _, one := range []*tap{&w.up, &w.down} {
		one.queue, one.done = make(chan func(), 4096), make(chan struct{})
		go one.run(delay)
	}
	return w
}

// run delivers, in order, what was sent.
func (w *tap) run(delay time.Duration) {
	defer close(w.done)
	for deliver := range w.queue {
		time.Sleep(delay)
		deliver()
	}
}

// Send is part of engine.Path.
func (w *tap) Send(pkts [][]byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var batch [][]byte
	for _, pkt := range pkts {
		pkt = bytes.Clone(pkt)
		var seg wire.Segment
		if seg.Parse(pkt) == nil {
			seg.Payload = bytes.Clone(seg.Payload)
			w.seen, w.raw = append(w.seen, seg), append(w.raw, pkt)
		}
		batch = append(batch, pkt)
	}
	if w.cut {
		return nil
	}
	w.queue <- func() { w.deliver(batch) }
	return nil
}

func (w *tap) silence() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
}

// any reports whether a segment was seen that is so.
func (w *tap) any(is func(seg *wire.Segment, raw []byte) bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.seen {
		if is(&w.seen[i], w.raw[i]) {
			return true
		}
	}
	return false
}

// last is the latest segment seen that is so.
func (w *tap) last(is func(seg *wire.Segment) bool) (found wire.Segment) {
	w.any(func(seg *wire.Segment, _ []byte) bool {
		if is(seg) {
			found = *seg
		}
		return false
	})
	return found
}

func newSplice(t *testing.T, converter, multipath bool) *splice {
	s := &splice{t: t, engine: engine.New(engine.Config{}), ended: make(chan struct{})}
	bond := func(cfg mptcp.Config) *engine.Bond { return s.engine.Bond(engine.BondConfig{Config: cfg}) }
	s.client = bond(mptcp.Config{})
	front := mptcp.Config{AnyTarget: true, NoJoinsHere: true, Announce: true, Keepalive: time.Minute}
	if converter {
		front = mptcp.Config{Keepalive: time.Minute}
	}
	s.front, s.back, s.server = bond(front), bond(mptcp.Config{Plain: !multipath}), bond(mptcp.Config{Plain: !multipath})
	s.wires(converter)
	s.front.Listen(ConvertPort)
	s.server.Listen(spliceShop.Port())
	s.serve(converter)
	return s
}

// wires joins all of them.
func (s *splice) wires(converter bool) {
	s.down = newTapped(time.Millisecond)
	shop := s.server.Attach(&s.down.down, spliceShop.Addr(), netip.Addr{}, 1500)
	back := s.back.Attach(&s.down.up, spliceBack, netip.Addr{}, 1500)
	s.down.up.deliver, s.down.down.deliver = shop.Deliver, back.Deliver

	apart := &apart{}
	front := s.front.Attach(apart, spliceProxy, netip.Addr{}, 1500)
	deliver := front.Deliver
	if !converter {
		s.proxy = implicit.New(implicit.Config{
			Own: []netip.Addr{spliceProxy}, Deliver: front.Deliver, Dial: s.dial,
			Forward: func(pkts [][]byte) { s.t.Errorf("%d packets went past the proxy", len(pkts)) },
		})
		var one sync.Mutex
		deliver = func(pkts [][]byte) {
			one.Lock()
			defer one.Unlock()
			s.proxy.Receive(pkts)
		}
	}
	for i := range s.links {
		w := newTapped(time.Duration(1+i) * time.Millisecond)
		w.up.deliver = deliver
		w.down.deliver = s.client.Attach(&w.up, spliceLinks[i], netip.Addr{}, 1500).Deliver
		s.links[i], apart.ways[i] = w, &w.down
	}
}

// An apart sends each packet over the link whose address it is for.
type apart struct{ ways [2]*tap }

// Send is part of engine.Path.
func (a *apart) Send(pkts [][]byte) error {
	for _, pkt := range pkts {
		_, target, _, _ := wire.Addresses(pkt)
		for i, at := range spliceLinks {
			if at == target.Addr() {
				a.ways[i].Send([][]byte{pkt})
			}
		}
	}
	return nil
}

func (s *splice) dial(ctx context.Context, target netip.AddrPort) (relay.Stream, bool, error) {
	c, err := s.back.Dial(ctx, target)
	if err != nil {
		return nil, false, err
	}
	return c, false, nil
}

// serve relays until the splice is closed.
func (s *splice) serve(converter bool) {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	gate := &spliceGate{gate: convert.NewGate(convert.GateConfig{Supported: []uint8{convert.MPTCP}}), now: clock.System()}
	accept := func(ctx context.Context) (relay.Offer, error) {
		o, err := s.front.Accept(ctx)
		if err != nil {
			return nil, err
		}
		if converter {
			return gate.hear(o)
		}
		return s.proxy.Offer(passing{o}), nil
	}
	go func() {
		defer close(s.ended)
		relay.Serve(ctx, accept, spliceDialer{s}, relay.Config{})
	}()
}

type spliceDialer struct{ s *splice }

// Dial is part of relay.Dialer.
func (d spliceDialer) Dial(ctx context.Context, target netip.AddrPort) (relay.Stream, error) {
	if d.s.proxy != nil {
		return d.s.proxy.Dial(ctx, target)
	}
	c, _, err := d.s.dial(ctx, target)
	return c, err
}

// A spliceGate is a converter on an engine's connections.
type spliceGate struct {
	gate *convert.Gate
	now  func() clock.Time
}

type spliceOffer struct {
	*engine.Conn
	machine *convert.Converter
	now     func() clock.Time
}

// hear accepts a connection and reads what it asks for.
func (g *spliceGate) hear(o *engine.Offer) (relay.Offer, error) {
	c, err := o.Accept()
	if err != nil {
		return nil, err
	}
	m := g.gate.Open(o.Source().Addr())
	octet, verdict := make([]byte, 1), convert.More
	for verdict == convert.More {
		if _, err := c.Read(octet); err != nil {
			return nil, err
		}
		verdict, _ = m.Receive(g.now(), octet)
	}
	if verdict != convert.Dial {
		return nil, errors.New("no question")
	}
	return &spliceOffer{c, m, g.now}, nil
}

func (o *spliceOffer) Source() netip.AddrPort { return netip.AddrPort{} }
func (o *spliceOffer) Target() netip.AddrPort { return o.machine.Request().Target }

func (o *spliceOffer) Accept() (relay.Stream, error) {
	_, err := o.Conn.Write(o.machine.Connected(nil))
	return o.Conn, err
}

func (o *spliceOffer) Refuse(why error) {
	o.Conn.Write(o.machine.Failed(o.now(), convert.FailureOf(why, o.Target().Addr())))
	o.Conn.Close()
}

// connect returns the two far ends of a connection that goes over both links.
func (s *splice) connect(converter bool) (client, server *engine.Conn) {
	s.t.Helper()
	got := make(chan *engine.Conn, 1)
	go func() {
		defer close(got)
		if o, err := s.server.Accept(context.Background()); err == nil {
			if c, err := o.Accept(); err == nil {
				got <- c
			}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var err error
	if converter {
		client, err = s.ask(ctx)
	} else {
		client, err = s.client.Open(spliceShop, engine.DialOptions{DialOptions: mptcp.DialOptions{Establish: mptcp.Classic}})
		if err == nil {
			err = client.Established(ctx)
		}
	}
	server = <-got
	if err != nil || server == nil {
		s.t.Fatalf("no connection: %v", err)
	}
	client.Write([]byte("hello"))
	server.Write([]byte("welcome"))
	s.reads(server, "hello")
	s.reads(client, "welcome")
	for end := time.Now().Add(time.Minute); s.joined(client) < 2; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%d subflows\n%s", s.joined(client), client.Trace())
		}
	}
	return client, server
}

// ask is the client of a converter.
func (s *splice) ask(ctx context.Context) (*engine.Conn, error) {
	at := netip.AddrPortFrom(spliceProxy, ConvertPort)
	d := multipath.NewConvert(multipath.ConvertConfig{
		Converter: func() netip.AddrPort { return at },
		Open: func(ctx context.Context, to netip.AddrPort, first []byte, haste multipath.Haste, _ convert.Path) (relay.Stream, error) {
			c, err := s.client.Open(to, engine.DialOptions{First: first, DialOptions: mptcp.DialOptions{
				Establish: mptcp.Classic, Early: haste != multipath.Patient, EarlyOnly: haste == multipath.HastyOnly,
			}})
			if err != nil {
				return nil, err
			}
			return c, c.Established(ctx)
		},
		Path:      func(relay.Stream) convert.Path { return 0 },
		Multipath: func(relay.Stream) bool { return true },
		Rode: func(c relay.Stream) bool {
			info := c.(*engine.Conn).Info()
			return info.FastOpen > 0 && !info.Stripped
		},
	})
	c, err := d.Dial(ctx, spliceShop)
	if err != nil {
		return nil, err
	}
	return c.(*engine.Conn), nil
}

func (s *splice) joined(c *engine.Conn) (n int) {
	for _, f := range c.Subflows() {
		if f.Established {
			n++
		}
	}
	return n
}

// reads wants just that to be read next.
func (s *splice) reads(c *engine.Conn, want string) {
	s.t.Helper()
	got := make([]byte, len(want))
	c.SetReadDeadline(time.Now().Add(time.Hour))
	for n := 0; n < len(got); {
		k, err := c.Read(got[n:])
		if n += k; err != nil {
			s.t.Fatalf("read %q, %v; want %q", got[:n], err, want)
		}
	}
	if string(got) != want {
		s.t.Fatalf("read %q, want %q", got, want)
	}
}

// ends wants reading to end so, within an hour.
func (s *splice) ends(c *engine.Conn, want error) {
	s.t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Hour))
	if n, err := c.Read(make([]byte, 10)); n > 0 || !errors.Is(err, want) {
		s.t.Errorf("read %d octets, %v; want %v", n, err, want)
	}
}

// forges a reset of the client's own over a link, as a middlebox does.
func (s *splice) forge(link int) {
	seg := s.links[link].up.last(func(seg *wire.Segment) bool { return seg.Flags&wire.RST == 0 })
	reset := wire.Segment{Source: seg.Source, Target: seg.Target, Flags: wire.RST, Seq: seg.Seq.Add(len(seg.Payload))}
	s.links[link].up.deliver([][]byte{reset.Append(nil)})
}

func (s *splice) close() {
	s.stop()
	s.engine.Close()
	<-s.ended
	for _, w := range []*tapped{s.links[0], s.links[1], s.down} {
		for _, one := range []*tap{&w.up, &w.down} {
			close(one.queue)
			<-one.done
		}
	}
}

// clientKey is the key that the client has told in its third ACK.
func (s *splice) clientKey() (key uint64) {
	for _, w := range s.links {
		w.up.any(func(seg *wire.Segment, _ []byte) bool {
			if o := &seg.Options; o.Has&wire.HasCapable != 0 && o.Capable.Length >= 20 {
				key = o.Capable.Sender
			}
			return false
		})
	}
	return key
}

// fastclose is MP_FASTCLOSE as it stands on the wire (RFC 8684 3.5).
func fastclose(key uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{30, 12, 0x70, 0}, key)
}

func isReset(seg *wire.Segment, _ []byte) bool { return seg.Flags&wire.RST != 0 }

func isFin(seg *wire.Segment, _ []byte) bool { return seg.Flags&wire.FIN != 0 }

func isDataFin(seg *wire.Segment, _ []byte) bool {
	return seg.Options.Has&wire.HasDSS != 0 && seg.Options.DSS.Fin
}
