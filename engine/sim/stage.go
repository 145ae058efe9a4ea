package sim

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// Whom a client asks for when both ends are tandem: an address that is neither end's.
var (
	hub4 = netip.AddrFrom4([4]byte{192, 0, 2, 1})
	hub6 = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1})
)

// clientAddr is the client's address on a path after it moved so often, serverAddr the server's.
func clientAddr(path, moves int, six bool) netip.Addr { return address(path, byte(2+moves), six) }
func serverAddr(path int, six bool) netip.Addr        { return address(path, 1, six) }

func address(path int, last byte, six bool) netip.Addr {
	if six {
		return netip.AddrFrom16([16]byte{0: 0xfd, 5: byte(path), 15: last})
	}
	return netip.AddrFrom4([4]byte{10, byte(path), 0, last})
}

// A Stage is a world in which a scenario plays: a client and a server with a bond each.
type Stage struct {
	*World
	Scenario       *Scenario
	Client, Server *User
	Trace          *Trace
	Paths          []*Path

	looked clock.Time // when finished last looked
}

// NewStage builds the world of a scenario. A scenario can be played once, for middleboxes remember.
func NewStage(c *Scenario) *Stage {
	w := NewWorld(c.Seed)
	s := &Stage{World: w, Scenario: c, Trace: NewTrace()}
	w.Tap(s.Trace)
	w.Tap(NewJudge())
	client, server := c.Client, c.Server
	client.Strict, server.Strict = true, true
	client.Datagrams = mptcp.DatagramConfig{Near: true, Host4: chatHost}
	server.Datagrams = mptcp.DatagramConfig{Host4: chatHost}
	client.Entropy, server.Entropy = Entropy(c.Seed<<1, c.NearWrap), Entropy(c.Seed<<1|1, c.NearWrap)
	s.Client, s.Server = newEnd(w, "client", client), newEnd(w, "server", server)
	s.Server.Strict = c.Paired
	s.Server.bond.Listen(0)
	for i := range c.Routes {
		s.lay(i)
		s.limit(i)
		s.end(i)
	}
	var forecasts []Forecast
	for i, p := range s.Paths {
		r := &c.Routes[i]
		r.Forecast.Begin(p)
		forecasts = append(forecasts, r.Forecast)
		if r.Forecast.Faults&HandsOver != 0 {
			s.moves(i, r.Forecast.between(w.Dice))
		}
		if r.Toggles != 0 {
			w.At(r.Toggles, func(now clock.Time) {
				r.Backup = !r.Backup
				s.Client.bond.SetRole(now, mptcp.PathID(i), r.role())
				s.Client.host.Wake()
			})
		}
	}
	if c.Swizzle {
		swizzle(w, s.Paths, forecasts)
	}
	for _, a := range c.Attackers {
		if a.Knows == Peer {
			s.evilPeer(a)
		} else {
			a.Begin(s.Paths[a.Route])
		}
	}
	for _, o := range c.Operations {
		s.operate(o)
	}
	for _, p := range c.Plans {
		s.Client.Dial(p)
		s.Server.Answer(p)
	}
	if c.Paired {
		newChats(s.Client, s.Server, Chat{Flows: 3, Every: 200 * time.Millisecond, Size: 100, Until: c.Heals.Add(chatAfter)})
	}
	return s
}

func newEnd(w *World, name string, cfg mptcp.Config) *User {
	bond := mptcp.NewBond(cfg)
	u := NewUser(w.NewHost(name, bond), bond)
	u.host.Use(&Warden{User: u, Limits: cfg.Limits})
	return u
}

// lay makes the i-th path and tells both bonds of it.
func (s *Stage) lay(i int) {
	c, r := s.Scenario, &s.Scenario.Routes[i]
	far := c.far(i)
	p := s.NewPath(fmt.Sprintf("path%d", i), s.Client.host, mptcp.PathID(i), s.Server.host, far, Conditions{}, Conditions{})
	p.Boxes = r.Boxes
	if r.NAT {
		p.Boxes = append(p.Boxes, &NAT{Outside: address(i, 200, false)}, &NAT{Outside: address(i, 200, true)})
		p.Names = append(p.Names, address(i, 200, false), address(i, 200, true))
	}
	s.Paths = append(s.Paths, p)
	s.Client.bond.Attach(s.Now(), mptcp.PathID(i), s.attachment(i, 0))
	if i == 0 || far != 0 {
		s.Server.bond.Attach(s.Now(), far, mptcp.PathConfig{
			Local4: serverAddr(i, false), Local6: serverAddr(i, true), Peer4: clientAddr(i, 0, false), Peer6: clientAddr(i, 0, true),
		})
	}
}

// far is the number that the i-th route has at the server.
func (c *Scenario) far(i int) mptcp.PathID {
	if c.Paired || c.ManyHomed {
		return mptcp.PathID(i)
	}
	return 0
}

// role is what the client uses the path for.
func (r *Route) role() mptcp.Role {
	switch {
	case r.Backup:
		return mptcp.Backup
	case r.Second:
		return mptcp.Secondary
	}
	return mptcp.Primary
}

// attachment is what the client's bond is told of a path after it moved so often.
func (s *Stage) attachment(i, moves int) mptcp.PathConfig {
	c, r, p := s.Scenario, &s.Scenario.Routes[i], s.Paths[i]
	cfg := mptcp.PathConfig{Role: r.role(), Price: r.Price, Private: r.Private, Address: r.Address}
	if len(r.Ends) > 0 && r.Ends[0].At == 0 && s.Now() == 0 {
		cfg.Lifetime = r.Ends[0].Lifetime
	}
	if c.Paired {
		cfg.Peer4, cfg.Peer6 = serverAddr(i, false), serverAddr(i, true)
	}
	if r.V4 {
		cfg.Local4 = clientAddr(i, moves, false)
	}
	if r.V6 {
		cfg.Local6 = clientAddr(i, moves, true)
	}
	p.Names = append(p.Names, clientAddr(i, moves, false), clientAddr(i, moves, true))
	if c.ManyHomed {
		cfg.Reaches = []netip.Prefix{netip.PrefixFrom(serverAddr(i, false), 24), netip.PrefixFrom(serverAddr(i, true), 64)}
	}
	return cfg
}

// moves has the client lose the address of a path, and get another one a little later. When the
// bonds are paired a path is its addresses, so that they stay. Behind a NAT it is the NAT that forgets.
func (s *Stage) moves(i int, at clock.Time) {
	id, gone := mptcp.PathID(i), time.Duration(s.Dice.IntN(1500))*time.Millisecond
	s.At(at, func(now clock.Time) {
		if !s.Scenario.Paired {
			s.excuse(now)
		}
		if s.Scenario.Routes[i].NAT {
			for _, box := range s.Paths[i].Boxes {
				if nat, ok := box.(*NAT); ok {
					nat.Forget()
				}
			}
			return
		}
		s.Client.bond.Detach(now, id)
		s.Client.host.Wake()
	})
	if s.Scenario.Routes[i].NAT {
		return
	}
	s.At(at.Add(gone), func(now clock.Time) {
		moves := 1
		if s.Scenario.Paired {
			moves = 0
		}
		s.Client.bond.Attach(now, id, s.attachment(i, moves))
		s.Client.host.Wake()
	})
}

// excuse demands nothing more of connections that cannot be moved yet: until an octet or its
// acknowledgement has come, an end does not know whether the other one speaks MPTCP (RFC 8684 3.1).
func (s *Stage) excuse(now clock.Time) {
	for _, t := range s.Client.Streams {
		if t.Conn == nil || t.Over {
			continue
		}
		if info := t.Conn.Info(now); info.Sent == 0 && info.Received == 0 || info.Fallback {
			t.Plan.excused = true
		}
	}
}

// patience is how long after healing everything must be over.
const patience = 120 * time.Second

// Play runs the scenario: first with faults, when only safety counts, then without, when all that was
// planned must happen within a bound.
func (s *Stage) Play() error {
	if err := s.Run(s.Scenario.Heals); err != nil {
		return err
	}
	until := s.Scenario.Heals.Add(patience + s.work())
	if err := s.RunUntil(until, s.looksFinished); err != nil {
		return err
	}
	if !s.Scenario.MayFail && !s.finished() {
		return fmt.Errorf("not done at %v:%v", time.Duration(s.Now()), s.unfinished())
	}
	return s.reasons()
}

// reasons fails if somebody whom a Paired server refused was not told why, whatever was lost.
func (s *Stage) reasons() error {
	for _, t := range s.Client.Streams {
		if s.Scenario.Paired && t.Plan.Manner == Refused && t.Err == mptcp.ErrRefused {
			return fmt.Errorf("refused without a reason:%v", t)
		}
	}
	return nil
}

// work is how long the plans take on the slowest path in the smallest window.
func (s *Stage) work() time.Duration {
	octets, rate, delay := int64(0), int64(1)<<40, time.Duration(0)
	var rests time.Duration
	for _, p := range s.Scenario.Plans {
		octets += p.Up + p.Down
		if p.Sip > 0 {
			rests += time.Duration((p.Up+p.Down)/int64(p.Sip)+2) * p.Rest
		}
		if p.Crumb > 0 {
			rests += time.Duration((p.Up+p.Down)/int64(p.Crumb)+2) * 2 * p.Pause
		}
	}
	for i := range s.Scenario.Routes {
		fair := &s.Scenario.Routes[i].Forecast.Fair
		rate, delay = min(rate, fair.Rate), max(delay, fair.Delay)
		if len(s.Scenario.Attackers) > 0 {
			rate = min(rate, throttledLeast*1000)
		}
		for _, l := range s.Scenario.Routes[i].Limits {
			for _, limit := range []int{l.Down, l.Up} {
				if limit > 0 {
					rate = min(rate, 8*int64(limit))
				}
			}
		}
	}
	turns := octets/int64(min(s.Scenario.least(), 1<<20)) + 1
	return time.Duration(octets*10/rate)*time.Second + time.Duration(turns)*2*(2*delay+250*time.Millisecond) + rests
}

// looksFinished is finished, asked seldom enough to cost nothing.
func (s *Stage) looksFinished() bool {
	if s.Now() < s.looked.Add(10*time.Millisecond) {
		return false
	}
	s.looked = s.Now()
	return s.finished()
}

// finished reports whether every plan was carried out at both ends.
func (s *Stage) finished() bool { return len(s.Client.dials) == 0 && len(s.unfinished()) == 0 }

// unfinished returns the client's streams that lack something here or there, each with the server's.
func (s *Stage) unfinished() (all []*Stream) {
	served := map[netip.AddrPort]*Stream{}
	for _, t := range s.Server.Streams {
		if old := served[t.Plan.Target]; old == nil || !old.finished() {
			served[t.Plan.Target] = t
		}
	}
	for _, t := range s.Client.Streams {
		there := served[t.Plan.Target]
		here, over := t.finished(), there != nil && there.finished()
		if t.Plan.excused || here && over || t.Plan.violent() && (here || over) {
			continue
		}
		all = append(all, t)
		if there != nil {
			all = append(all, there)
		}
	}
	return all
}

// Tell writes a story and a capture of the run to come.
func (s *Stage) Tell(story, capture io.Writer) error {
	fmt.Fprintln(story, s.Scenario)
	s.Tap(NewStory(story))
	c, err := NewCapture(capture, s.Client.host)
	s.Tap(c)
	return err
}
