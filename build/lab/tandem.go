package lab

import (
	"context"
	"io"
	"net/netip"
	"os"
	"sync/atomic"

	"tandem/engine"
	"tandem/engine/clock"
	"tandem/engine/mptcp"
	"tandem/engine/sim"
)

// tandemEnd is the engine in this process, at the near end of the links.
type tandemEnd struct {
	engine   *engine.Engine
	bond     *engine.Bond
	ipv6     bool
	fast     bool
	ducts    []*duct
	mtus     []int
	attached []atomic.Pointer[engine.Attachment] // by link
	conn     atomic.Pointer[engine.Conn]
}

// joinEngine puts the engine at the near end.
func (s *scene) joinEngine(links []sim.Conditions, farSpace *space, ipv6 bool) (end, error) {
	e := &tandemEnd{engine: engine.New(engine.Config{}), ipv6: ipv6, attached: make([]atomic.Pointer[engine.Attachment], len(links))}
	now := clock.System()
	for i, conditions := range links {
		dev, err := plug(farSpace, i, far, conditions.MTU)
		if err != nil {
			return e, err
		}
		d := newDuct(conditions, now, dev, s.capture, func(pkts [][]byte) {
			if a := e.attached[i].Load(); a != nil {
				a.Deliver(pkts)
			}
		})
		s.ducts = append(s.ducts, d)
		e.mtus = append(e.mtus, conditions.MTU)
	}
	e.ducts = s.ducts
	return e, nil
}

func (e *tandemEnd) prepare(k knobs) error {
	e.fast = k.FastOpen
	e.bond = e.engine.Bond(engine.BondConfig{Config: mptcp.Config{
		Checksum:      k.Checksum,
		Plain:         k.Plain,
		FastOpen:      k.FastOpen,
		Announce:      k.Announce,
		JoinAnnounced: k.Take,
		Passive:       !k.Join && !k.Take,
	}})
	for i, d := range e.ducts {
		e.attached[i].Store(e.bond.AttachWith(wayOf{d.up, nil}, e.path(i, k)))
	}
	return nil
}

// path describes a link. What goes to an address of the second link takes the second link, as at
// the other end; who joins announced addresses alone reaches nothing else over it.
func (e *tandemEnd) path(link int, k knobs) engine.PathConfig {
	cfg := engine.PathConfig{MTU: e.mtus[link]}
	if k.Backup && link == 1 {
		cfg.Role = engine.Backup
	}
	bits := 24
	if e.ipv6 {
		cfg.Local6, bits = address(link, near, true), 64
	} else {
		cfg.Local4 = address(link, near, false)
	}
	first := 0
	if k.Take && !k.Join {
		first = link
	}
	for i := first; i <= link; i++ {
		cfg.Reaches = append(cfg.Reaches, netip.PrefixFrom(address(i, far, e.ipv6), bits).Masked())
	}
	return cfg
}

func (e *tandemEnd) listen(ctx context.Context, at netip.AddrPort, t talk) (*party, error) {
	e.bond.Listen(at.Port())
	return e.start(ctx, t, func() (*engine.Conn, error) {
		offer, err := e.bond.Accept(ctx)
		if err != nil {
			return nil, err
		}
		return offer.Accept()
	}), nil
}

func (e *tandemEnd) dial(ctx context.Context, target netip.AddrPort, t talk) (*party, error) {
	if !e.fast {
		return e.start(ctx, t, func() (*engine.Conn, error) { return e.bond.Dial(ctx, target) }), nil
	}
	t.early = min(t.Send, earlyOctets)
	first, err := io.ReadAll(io.LimitReader(octets(t.Seed), t.early))
	return e.start(ctx, t, func() (*engine.Conn, error) { return e.bond.Open(target, engine.DialOptions{First: first}) }), err
}

// earlyOctets are written with the wish for a connection where they may ride in the SYN.
const earlyOctets = 1000

// start carries out a talk over the connection that connect gives.
func (e *tandemEnd) start(ctx context.Context, t talk, connect func() (*engine.Conn, error)) *party {
	p := &party{done: make(chan report, 1)}
	go func() {
		c, err := connect()
		if err == nil && !e.fast {
			err = c.Established(ctx)
		}
		if err != nil {
			p.done <- report{Err: err.Error()}
			return
		}
		e.conn.Store(c)
		multipath := make(chan bool, 1)
		go func() {
			c.Established(ctx)
			multipath <- !c.Info().Fallback
		}()
		r := converse(ctx, c, t, &p.progress)
		r.Multipath = <-multipath
		p.done <- r
	}()
	return p
}

func (e *tandemEnd) setBackup(link int, backup bool) error {
	role := engine.Primary
	if backup {
		role = engine.Backup
	}
	e.attached[link].Load().SetRole(role)
	return nil
}

func (e *tandemEnd) withdraw(link int) error {
	e.attached[link].Load().Detach()
	return nil
}

func (e *tandemEnd) counters(context.Context) (counters, error) { return nil, nil }

// story writes the connection's trace to a file.
func (e *tandemEnd) story(file string) {
	if c := e.conn.Load(); c != nil {
		os.WriteFile(file, []byte(c.Trace()), 0o600)
	}
}

func (e *tandemEnd) close() { e.engine.Close() }
