package lab

import (
	"context"
	"errors"
	"fmt"
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
	made      rigging
	near, far *station // far: nil, if the kernel is there
	host      *space   // of the kernel
	lines     []*duct
	seen      *capture
	ended     bool                      // the recording
	server    *job                      // of the kernel
	first     atomic.Pointer[time.Time] // when the first packet was recorded

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
	tap   func(link int, toNear bool, pkt []byte) // sees what is recorded; nil: nobody does
	later bool                                    // nothing but the first link is attached
	fast  bool                                    // the kernel takes and gives cookies for TCP Fast Open

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
	r = &rig{world: &world{dir: dir}, made: g}
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
		if err := r.lay(i, c); err != nil {
			return r, err
		}
	}
	for i := range g.links {
		if i == 0 || !g.later {
			r.attach(i)
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
func (r *rig) lay(i int, c sim.Conditions) error {
	g, now := r.made, clock.System()
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
	if r.made.tap != nil {
		for _, pkt := range pkts {
			r.made.tap(link, toNear, pkt)
		}
	}
}

// now is the time as sights have it.
func (r *rig) now() time.Duration { return r.since(time.Now()) }

func (r *rig) since(t time.Time) time.Duration {
	if first := r.first.Load(); first != nil {
		return t.Sub(*first)
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
func (r *rig) attach(i int) *engine.Attachment {
	g := r.made
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

// onRig is a seed's run on a rig of its own.
func onRig(g func() rigging, run func(ctx context.Context, r *rig) (string, error)) func(context.Context, string) (string, error) {
	return func(ctx context.Context, dir string) (string, error) {
		r, err := raise(ctx, dir, g())
		defer r.close()
		if err != nil {
			return "", err
		}
		return run(ctx, r)
	}
}

// begins is a rig whose near end begins its connections in that way, over links with these delays each way.
func begins(e engine.Establish, peer *mptcp.Config, delays ...time.Duration) func() rigging {
	return func() rigging {
		g := rigging{near: mptcp.Config{Establish: e}, far: peer}
		for _, d := range delays {
			g.links = append(g.links, symmetric(40e6, d))
		}
		return g
	}
}

// counted waits until a counter of the kernel has reached n.
func (r *rig) counted(ctx context.Context, name string, n int64) (counters, error) {
	for {
		all, err := readCounters(ctx, r.host)
		if err != nil || all[name] >= n {
			return all, err
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return all, fmt.Errorf("%s is %d, not %d", name, all[name], n)
		}
	}
}

// until waits until f holds, and fails with what when ctx ends before.
func until(ctx context.Context, what string, f func() bool) error {
	for !f() {
		if sleep(ctx, 5*time.Millisecond) != nil {
			return errors.New("in vain: " + what)
		}
	}
	return nil
}
