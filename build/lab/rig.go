package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem/engine"
	"tandem/engine/clock"
	"tandem/engine/mptcp"
	"tandem/engine/sim"
	"tandem/engine/wire"
	"tandem/tunnel/carrier/carriertest"
)

// A rig is a few links with the engine at the near end, and at the far one the kernel or the engine once more. What leaves
// and reaches the near end is recorded.
type rig struct {
	*world
	near, far *station // far: nil, if the kernel is there
	host      *space   // of the kernel
	lines     []*duct
	seen      *capture
	ended     bool                                    // the recording
	tap       func(link int, toNear bool, pkt []byte) // sees what is recorded; nil: nobody does
	server    *job                                    // of the kernel
	first     atomic.Pointer[time.Time]               // when the first packet was recorded

	mu    sync.Mutex
	taken []*engine.Conn // that the far engine has accepted and heard of
}

// A rigging says what a rig is made of.
type rigging struct {
	links []sim.Conditions
	near  mptcp.Config
	far   *mptcp.Config // nil: the kernel
	plain bool          // the kernel speaks TCP only
	path  func(link int, p *engine.PathConfig)
	tap   func(link int, toNear bool, pkt []byte)
	later bool // nothing but the first link is attached
	fast  bool // the kernel takes and gives cookies for TCP Fast Open

	// cut is a middlebox between the ends: it returns what it makes of a packet; nil: nothing is there.
	cut func(toNear bool, pkt []byte) []byte
}

// A station is the engine at one end of a rig.
type station struct {
	engine *engine.Engine
	bond   *engine.Bond
	links  []atomic.Pointer[engine.Attachment]
}

func newStation(cfg mptcp.Config, links int) *station {
	e := engine.New(engine.Config{})
	return &station{engine: e, bond: e.Bond(engine.BondConfig{Config: cfg}), links: make([]atomic.Pointer[engine.Attachment], links)}
}

func (s *station) deliver(link int, pkts [][]byte) {
	if a := s.links[link].Load(); a != nil {
		a.Deliver(pkts)
	}
}

// symmetric is a link of so many bits a second and so much delay each way.
func symmetric(rate int64, delay time.Duration) sim.Conditions {
	return sim.Conditions{Rate: rate, Delay: delay, QueueTime: 80 * time.Millisecond, MTU: 1500}
}

// raise makes a rig. It must be closed also after an error.
func raise(ctx context.Context, dir string, g rigging) (r *rig, err error) {
	r = &rig{world: &world{dir: dir}, tap: g.tap}
	if r.seen, err = newCapture(r.path("near.pcap"), 256, 1<<18); err != nil {
		return r, err
	}
	r.near = newStation(g.near, len(g.links))
	if g.far != nil {
		r.far = newStation(*g.far, len(g.links))
		r.far.bond.Listen(port)
		go r.serve()
	} else if r.host, err = newSpace("far"); err != nil {
		return r, err
	} else {
		r.spaces = append(r.spaces, r.host)
	}
	for i, c := range g.links {
		if err := r.lay(i, c, g); err != nil {
			return r, err
		}
	}
	for i := range g.links {
		if i == 0 || !g.later {
			r.attach(i, g)
		}
		if r.far != nil {
			r.far.attach(i, wayOf{r.lines[i].down, nil}, g.farPath(i))
		}
	}
	if r.host == nil {
		return r, nil
	}
	if err = r.host.ip("mptcp limits set subflows 8 add_addr_accepted 0"); err == nil && g.fast {
		err = r.host.sysctl("net.ipv4.tcp_fastopen=" + allFastOpens)
	}
	if err == nil {
		r.server, err = r.helper(r.host, "host", task{Kind: "host", Address: fmt.Sprintf(":%d", port), Plain: g.plain})
	}
	if err != nil {
		return r, err
	}
	return r, r.server.await(ctx, "ready")
}

// lay makes a link, of which both ways are alike.
func (r *rig) lay(i int, c sim.Conditions, g rigging) error {
	now := clock.System()
	arrive := func(pkts [][]byte) {
		r.record(i, true, pkts)
		r.near.deliver(i, g.routed(g.passed(true, pkts)))
	}
	if r.far != nil {
		r.lines = append(r.lines, &duct{
			up:   carriertest.NewWay(c, now, nap, func(pkts [][]byte) { r.far.deliver(i, pkts) }),
			down: carriertest.NewWay(c, now, nap, arrive),
		})
		return nil
	}
	dev, err := plug(r.host, i, far, c.MTU)
	if err == nil {
		r.lines = append(r.lines, newDuct(c, now, dev, nil, arrive))
	}
	return err
}

func (r *rig) record(link int, toNear bool, pkts [][]byte) {
	if now := time.Now(); r.first.Load() == nil {
		r.first.CompareAndSwap(nil, &now)
	}
	r.seen.record(pkts)
	if r.tap != nil {
		for _, pkt := range pkts {
			r.tap(link, toNear, pkt)
		}
	}
}

// now is the time as sights have it.
func (r *rig) now() time.Duration {
	if first := r.first.Load(); first != nil {
		return time.Since(*first)
	}
	return 0
}

// peer is the far engine's end of the only connection.
func (r *rig) peer(ctx context.Context) (*engine.Conn, error) {
	if err := until(ctx, "a connection at the far end", func() bool { return r.accepted() > 0 }); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken[0], nil
}

// wayOf is one direction of a link as the engine's path.
type wayOf struct {
	way  *carriertest.Way
	sent func(pkts [][]byte) [][]byte // returns what is put on the way; nil: all
}

func (w wayOf) Send(pkts [][]byte) error {
	if w.sent != nil {
		pkts = w.sent(pkts)
	}
	w.way.Put(pkts)
	return nil
}

// passed is what a middlebox makes of packets.
func (g rigging) passed(toNear bool, pkts [][]byte) [][]byte {
	if g.cut == nil {
		return pkts
	}
	all := make([][]byte, len(pkts))
	for i, pkt := range pkts {
		all[i] = g.cut(toNear, pkt)
	}
	return all
}

// routed leaves out what is for nobody at the near end.
func (g rigging) routed(pkts [][]byte) [][]byte {
	if g.near.AnyTarget {
		return pkts
	}
	return slices.DeleteFunc(slices.Clone(pkts), func(pkt []byte) bool {
		_, to, _, err := wire.Addresses(pkt)
		return err != nil || !isNear(to.Addr())
	})
}

// attach gives the near end a link.
func (r *rig) attach(i int, g rigging) *engine.Attachment {
	cfg := engine.PathConfig{MTU: g.links[i].MTU, Local4: address(i, near, false)}
	if g.near.Paired {
		cfg.Peer4 = address(0, far, false)
	}
	if g.path != nil {
		g.path(i, &cfg)
	}
	return r.near.attach(i, wayOf{r.lines[i].up, func(pkts [][]byte) [][]byte {
		r.record(i, false, pkts)
		return g.passed(false, pkts)
	}}, cfg)
}

func (s *station) attach(i int, w wayOf, cfg engine.PathConfig) *engine.Attachment {
	a := s.bond.AttachAs(engine.PathID(i), w, cfg)
	s.links[i].Store(a)
	return a
}

// farPath describes a link to the far engine, which has one address for all if it is Paired.
func (g rigging) farPath(i int) engine.PathConfig {
	cfg := engine.PathConfig{MTU: g.links[i].MTU, Local4: address(i, far, false)}
	if g.far.Paired {
		cfg.Local4, cfg.Peer4 = address(0, far, false), address(i, near, false)
	}
	return cfg
}

func (r *rig) serve() {
	for {
		offer, err := r.far.bond.Accept(context.Background())
		if err != nil {
			return
		}
		if c, err := offer.Accept(); err == nil {
			go oblige(c, func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.taken = append(r.taken, c)
			})
		}
	}
}

// accepted is how many connections the far end has taken.
func (r *rig) accepted() int {
	if r.server == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.taken)
	}
	r.server.log.mu.Lock()
	defer r.server.log.mu.Unlock()
	return strings.Count(r.server.log.text.String(), "accepted")
}

func (r *rig) close() {
	for _, s := range []*station{r.near, r.far} {
		if s != nil {
			s.engine.Close()
		}
	}
	for _, d := range r.lines {
		d.close()
	}
	r.world.close()
	r.recorded()
}

// target is where the far end serves.
var target = netip.AddrPortFrom(address(0, far, false), port)

// dial asks the far end for a connection, and for so many octets, and says how long it took to be established.
func (r *rig) dial(ctx context.Context, opt engine.DialOptions, down int64) (*engine.Conn, time.Duration, error) {
	begun := time.Now()
	c, err := r.near.bond.Open(target, opt)
	if err != nil {
		return nil, 0, err
	}
	context.AfterFunc(ctx, func() { c.Abort(ctx.Err()) })
	err = c.Established(ctx)
	took := time.Since(begun)
	if err == nil {
		_, err = c.Write(binary.BigEndian.AppendUint64(nil, uint64(down)))
	}
	return c, took, err
}

// talkOnce dials, moves octets both ways and sees the connection to its end.
func (r *rig) talkOnce(ctx context.Context, opt engine.DialOptions, up, down int64) (*engine.Conn, time.Duration, error) {
	c, took, err := r.dial(ctx, opt, down)
	if err == nil {
		err = exchange(c, up, down)
	}
	return c, took, err
}

// talkEarly is talkOnce whose first octets are there before the SYN leaves.
func (r *rig) talkEarly(ctx context.Context, up, down int64) (*engine.Conn, error) {
	first := binary.BigEndian.AppendUint64(nil, uint64(down))
	first, err := io.ReadAll(io.MultiReader(bytes.NewReader(first), io.LimitReader(octets(1), earlyOctets)))
	if err != nil {
		return nil, err
	}
	c, err := r.near.bond.Open(target, engine.DialOptions{First: first})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { c.Abort(ctx.Err()) })
	return c, exchangeFrom(c, earlyOctets, up, down)
}

const servedSeed = 2

// exchange is the near end's part of what oblige does.
func exchange(c stream, up, down int64) error { return exchangeFrom(c, 0, up, down) }

// exchangeFrom is exchange when so many octets were written before.
func exchangeFrom(c stream, early, up, down int64) error {
	wrote := make(chan error, 1)
	sent := sha256.New()
	go func() {
		all := io.TeeReader(octets(1), sent)
		io.CopyN(io.Discard, all, early)
		_, err := io.CopyN(onlyWriter{c}, all, up-early)
		wrote <- err
	}()
	h := sha256.New()
	if n, err := io.CopyN(h, c, down); err != nil {
		return fmt.Errorf("%d octets of %d came: %w", n, down, err)
	}
	if want := digest(servedSeed, down); fmt.Sprintf("%x", h.Sum(nil)) != want {
		return errors.New("wrong octets came")
	}
	// The kernel takes no join of a peer that has ended its stream.
	if err := errors.Join(<-wrote, c.CloseWrite()); err != nil {
		return err
	}
	told, err := io.ReadAll(c)
	if err == nil && !bytes.Equal(told, sent.Sum(nil)) {
		err = fmt.Errorf("of %d octets sent others arrived", up)
	}
	return err
}

// oblige serves who connects: eight octets say how many to send. What comes after them is drunk, and its digest told when it
// ends. heard is called when the first octets are there: an offer that was one more SYN of another connection brings none.
func oblige(s stream, heard func()) error {
	defer s.Close()
	var ask [8]byte
	if _, err := io.ReadFull(s, ask[:]); err != nil {
		return err
	}
	heard()
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyN(onlyWriter{s}, octets(servedSeed), int64(binary.BigEndian.Uint64(ask[:])))
		sent <- err
	}()
	h := sha256.New()
	_, err := io.Copy(h, onlyReader{s})
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	_, err = s.Write(h.Sum(nil))
	return err
}

// runHost is oblige for all that come to the kernel.
func runHost(ctx context.Context, t task, out io.Writer) (a account, err error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(!t.Plain)
	l, err := lc.Listen(ctx, "tcp4", t.Address)
	if err != nil {
		return a, err
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	fmt.Fprintln(out, "ready")
	attend(l, func(c *net.TCPConn) {
		fmt.Fprintln(out, "accepted")
		oblige(c, func() {})
	})
	return a, nil
}
