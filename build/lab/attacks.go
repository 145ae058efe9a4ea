package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/engine/wire"
)

// An attack is one of RFC 6181 and RFC 7430, mounted while a connection of two subflows lives, which must carry every octet
// all the same.
type attack struct {
	name, limit string
	near        mptcp.Config
	idle        bool // nothing flows meanwhile
	first       bool // another connection was before
	luring      bool // the second link leads to strangers alone, so that it is free to follow them
	mount       func(ctx context.Context, r *rig, s *spy, c *engine.Conn) error
	judge       func(r *rig, s *spy, all []sight) (figure string, w wrong)
}

const (
	forged    = 200
	forgedFew = 20
	ransom    = 4e6 // octets that the far end sends meanwhile
)

func attacks() (all []seed) {
	passive := mptcp.Config{Passive: true}
	for _, a := range []attack{
		{name: "ADD_ADDR hijack", limit: "BadAddAddrMAC, no SYN there", luring: true, idle: true, mount: addsForged, judge: addedNothing},
		{name: "state by MP_JOIN, token known", limit: "LimitHalfOpen; an honest join passes", near: passive, mount: joinsFlood, judge: joinsLimited},
		{name: "state by MP_JOIN, tokens guessed", limit: "BadJoinToken", mount: joinsGuess, judge: joinsUnknown},
		{name: "half-open joins of one's own connection", limit: "≤ 3 at a time, SYN/ACKs few", near: passive, mount: joinsFlood, judge: joinsAnswered},
		{name: "basic hijack: join without the keys", limit: "BadJoinMAC, 2 subflows as before", mount: joinsUnproved(false), judge: joinsRefused},
		{name: "basic hijack: answer in the peer's place", limit: "BadJoinMAC", near: passive, mount: answersInPlace, judge: answerRefused},
		{name: "time-shifted: keys of an earlier connection", limit: "BadJoinMAC, 2 subflows as before", first: true, mount: joinsUnproved(true), judge: joinsRefused},
		{name: "bombing: join in a victim's name", limit: "no octet to the victim", mount: joinsFew, judge: bombsNobody},
		{name: "long list of addresses", limit: "LimitAddresses, SYNs to ≤ 8", luring: true, idle: true, mount: addsMany, judge: addedFew},
		{name: "MP_PRIO that names another path", limit: "no subflow is spared", mount: prefers, judge: prefersNothing},
		{name: "bid-down: version 0, other algorithms", limit: "SYN/ACKs without MP_CAPABLE", mount: bidsDown, judge: stoopsNot},
		{name: "REMOVE_ADDR forged", limit: "keepalive probes, 2 subflows as before", idle: true, mount: removes, judge: removesNothing},
		{name: "MP_FASTCLOSE forged", limit: "the connection lives", idle: true, mount: closesFast, judge: closesNothing},
	} {
		all = append(all, seed{"12 " + a.name, a.limit, a.run})
	}
	return all
}

func (a attack) run(ctx context.Context, dir string) (string, error) {
	s := &spy{}
	a.near.Establish = engine.Classic
	g := rigging{near: a.near, far: &mptcp.Config{}, tap: s.hear}
	for range 2 {
		g.links = append(g.links, symmetric(40e6, 10*time.Millisecond))
	}
	subflows := 2
	if a.luring {
		subflows = 1
		g.path = func(link int, p *engine.PathConfig) {
			if link == 1 {
				p.Reaches = []netip.Prefix{netip.PrefixFrom(stranger(0).Addr(), 24)}
			}
		}
	}
	return onRig(func() rigging { return g }, func(ctx context.Context, r *rig) (string, error) {
		if a.first {
			if _, _, err := r.talkOnce(ctx, engine.DialOptions{}, 1000, 1000); err != nil {
				return "", err
			}
		}
		down := int64(ransom)
		if a.idle {
			down = 0
		}
		c, _, err := r.dial(ctx, engine.DialOptions{}, down)
		if err == nil && !a.near.Passive {
			err = until(ctx, "all its subflows", func() bool { return ready(c) == subflows })
		}
		if err == nil {
			err = sleep(ctx, 100*time.Millisecond)
		}
		if err == nil {
			err = a.mount(ctx, r, s, c)
		}
		if err == nil {
			err = sleep(ctx, 300*time.Millisecond)
		}
		if err != nil {
			return "", err
		}
		left := ready(c)
		if err := exchange(c, 300_000, down); err != nil {
			return "", fmt.Errorf("it does harm: %w", err)
		}
		all, err := r.sights(ctx, "tcp", "tcp.analysis.keep_alive")
		if err != nil {
			return "", err
		}
		figure, w := a.judge(r, s, all)
		w.unless(a.near.Passive || a.luring || left == subflows, "%d subflows", left)
		return figure, w.err()
	})(ctx, dir)
}

// put has forged packets come to an end over a link: to the near one at once, for behind what is on its way there they would be old.
func (r *rig) put(link int, toNear bool, pkts ...[]byte) {
	if toNear {
		r.record(link, true, pkts)
		r.near.deliver(link, pkts)
		return
	}
	r.lines[link].up.Put(pkts)
}

func (r *rig) counters() (here, there engine.Counters) {
	return r.near.bond.Counters(), r.far.bond.Counters()
}

// to returns the packets to strangers.
func toStrangers(all []sight) []sight {
	return those(all, func(s sight) bool { return s.to.Is4() && s.to.As4()[0] == 203 })
}

func addsForged(_ context.Context, r *rig, s *spy, _ *engine.Conn) error {
	for i := range forgedFew {
		r.put(0, true, s.forge(0, true, func(seg *wire.Segment) {
			seg.Options.Has = wire.HasAddAddr
			seg.Options.AddAddr = wire.AddAddr{ID: byte(100 + i), Addr: stranger(i).Addr(), MAC: 0x0123456789abcdef + uint64(i)}
		}))
	}
	return nil
}

func addedNothing(r *rig, _ *spy, all []sight) (string, wrong) {
	here, _ := r.counters()
	led := toStrangers(all)
	var w wrong
	w.unless(here.BadAddAddrMAC == forgedFew && len(led) == 0, "led there")
	return fmt.Sprintf("BadAddAddrMAC %d, %d packets there", here.BadAddAddrMAC, len(led)), w
}

// token is the far end's, of the latest connection.
func (s *spy) token() uint32 {
	_, peer := s.known(false)
	token, _ := wire.KeyToken(peer)
	return token
}

func joinsFlood(ctx context.Context, r *rig, s *spy, c *engine.Conn) error {
	for i := range forged {
		r.put(1, false, s.asks(i, s.token(), uint32(i)))
	}
	if err := sleep(ctx, 200*time.Millisecond); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return until(limited, "an honest join", func() bool {
		c.OpenSubflow(engine.SubflowOptions{Path: 1}) // one that was refused may ask again
		return sleep(limited, 100*time.Millisecond) == nil && ready(c) == 2
	})
}

func joinsLimited(r *rig, _ *spy, _ []sight) (string, wrong) {
	_, there := r.counters()
	var w wrong
	w.unless(there.LimitHalfOpen+there.Recycled >= forged-10, "not limited")
	return fmt.Sprintf("LimitHalfOpen %d, Recycled %d of %d; joined then", there.LimitHalfOpen, there.Recycled, forged), w
}

// joinsAnswered: what is kept half open costs a few answers, not one for each SYN.
func joinsAnswered(_ *rig, _ *spy, all []sight) (string, wrong) {
	answers := those(toStrangers(all), func(s sight) bool { return s.flags.Has(wire.SYN) })
	asked := map[netip.Addr]bool{}
	for _, s := range answers {
		asked[s.to] = true
	}
	var w wrong
	w.unless(len(asked) > 0 && len(asked) <= 3 && len(answers) <= 4*len(asked), "too many")
	return fmt.Sprintf("%d SYN/ACKs to %d of %d", len(answers), len(asked), forged), w
}

func joinsGuess(_ context.Context, r *rig, s *spy, _ *engine.Conn) error {
	for i := range forged {
		r.put(1, false, s.asks(i, s.token()^(uint32(i+1)*0x9e3779b1), uint32(i)))
	}
	return nil
}

func joinsUnknown(r *rig, _ *spy, _ []sight) (string, wrong) {
	_, there := r.counters()
	var w wrong
	w.unless(there.BadJoinToken == forged, "not all are refused")
	return fmt.Sprintf("BadJoinToken %d of %d", there.BadJoinToken, forged), w
}

// joinsUnproved has the third ACK of a join carry a code that was made up, or made of the keys of an earlier connection.
func joinsUnproved(old bool) func(ctx context.Context, r *rig, s *spy, c *engine.Conn) error {
	return func(ctx context.Context, r *rig, s *spy, _ *engine.Conn) error {
		const nonce = 7
		r.put(1, false, s.asks(1, s.token(), nonce))
		if err := until(ctx, "a SYN/ACK", func() bool { return len(s.answers(stranger(1))) > 0 }); err != nil {
			return err
		}
		answer := s.answers(stranger(1))[0]
		own, peer := s.known(true)
		if old && own == 0 {
			return errors.New("no earlier keys are known")
		}
		third := wire.Segment{Source: answer.Target, Target: answer.Source, Seq: answer.Ack, Ack: answer.Seq + 1, Flags: wire.ACK, Window: 65535}
		third.Options = wire.Options{Has: wire.HasJoin, Join: wire.Join{Length: 24, MAC: wire.JoinMAC(own, peer, nonce, answer.Options.Join.Nonce)}}
		r.put(1, false, third.Append(nil))
		return nil
	}
}

func joinsRefused(r *rig, _ *spy, all []sight) (string, wrong) {
	_, there := r.counters()
	sent := those(toStrangers(all), func(s sight) bool { return s.octets > 0 })
	var w wrong
	w.unless(there.BadJoinMAC == 1, "BadJoinMAC is %d", there.BadJoinMAC)
	w.unless(len(sent) == 0, "octets go there")
	return fmt.Sprintf("BadJoinMAC %d, %d segments of data there", there.BadJoinMAC, len(sent)), w
}

// answersInPlace answers a join before the peer does.
func answersInPlace(ctx context.Context, r *rig, s *spy, c *engine.Conn) error {
	r.lines[1].change(300 * time.Millisecond)
	if _, err := c.OpenSubflow(engine.SubflowOptions{Path: 1}); err != nil {
		return err
	}
	heard := func() (wire.Segment, bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		seg := s.last[1][direction(false)].segment
		return seg, seg.Flags.Has(wire.SYN)
	}
	if err := until(ctx, "a join", func() bool { _, ok := heard(); return ok }); err != nil {
		return err
	}
	syn, _ := heard()
	answer := wire.Segment{Source: syn.Target, Target: syn.Source, Seq: 99, Ack: syn.Seq + 1, Flags: wire.SYN | wire.ACK, Window: 65535}
	answer.Options = wire.Options{Has: wire.HasJoin, Join: wire.Join{Length: 16, AddressID: 1, Nonce: 5}}
	r.near.deliver(1, [][]byte{answer.Append(nil)})
	return nil
}

func answerRefused(r *rig, _ *spy, all []sight) (string, wrong) {
	here, _ := r.counters()
	resets := those(via(all, 1, false), func(s sight) bool { return s.flags.Has(wire.RST) })
	var w wrong
	w.unless(here.BadJoinMAC > 0 && len(resets) > 0, "taken")
	return fmt.Sprintf("BadJoinMAC %d, RST %d", here.BadJoinMAC, len(resets)), w
}

func joinsFew(_ context.Context, r *rig, s *spy, _ *engine.Conn) error {
	for i := range 3 {
		r.put(1, false, s.asks(i, s.token(), uint32(i)))
	}
	return nil
}

// bombsNobody: whoever did not prove that it hears gets no more than answers to its SYNs.
func bombsNobody(_ *rig, _ *spy, all []sight) (string, wrong) {
	victim := toStrangers(all)
	heavy := those(victim, func(s sight) bool { return s.octets > 0 || s.flags&(wire.SYN|wire.RST) == 0 })
	var w wrong
	w.unless(len(victim) > 0 && len(victim) <= 15 && len(heavy) == 0, "bombed")
	return fmt.Sprintf("%d SYN/ACKs, %d others to the victim", len(victim)-len(heavy), len(heavy)), w
}

// addsMany is what a peer can do that means harm: its codes are right, and it is followed.
func addsMany(_ context.Context, r *rig, s *spy, _ *engine.Conn) error {
	near, peer := s.known(false)
	for i := range forged {
		r.put(0, true, s.forge(0, true, func(seg *wire.Segment) {
			id, addr := byte(20+i), stranger(i).Addr()
			seg.Options.Has = wire.HasAddAddr
			seg.Options.AddAddr = wire.AddAddr{ID: id, Addr: addr, MAC: wire.AddAddrMAC(peer, near, id, addr, 0)}
		}))
	}
	return nil
}

func addedFew(r *rig, _ *spy, all []sight) (string, wrong) {
	here, _ := r.counters()
	asked := map[netip.Addr]bool{}
	for _, s := range toStrangers(all) {
		asked[s.to] = true
	}
	var w wrong
	w.unless(here.LimitAddresses > forged/2, "not limited")
	w.unless(len(asked) > 0 && len(asked) <= 8, "%d are asked", len(asked))
	return fmt.Sprintf("LimitAddresses %d, SYNs to %d of %d", here.LimitAddresses, len(asked), forged), w
}

// prefers sends MP_PRIO as version 0 had it, with the number of an address.
func prefers(_ context.Context, r *rig, s *spy, _ *engine.Conn) error {
	for id := range 256 {
		pkt := s.forge(1, true, func(seg *wire.Segment) { seg.Options.Has, seg.Options.Prototype = wire.HasPrototype, 7 })
		r.put(1, true, replace(pkt, []byte{30, 4, 0xf0, 7}, []byte{30, 4, 0x51, byte(id)}))
	}
	return nil
}

func prefersNothing(r *rig, _ *spy, all []sight) (string, wrong) {
	named := those(via(all, 1, true), func(s sight) bool { return len(s.option(subPrio)) == 2 })
	parts, _ := sharesOf(all, span{0, time.Hour}, true, 2)
	here, _ := r.counters()
	var w wrong
	w.unless(here.OutOfWindow < 128, "OutOfWindow is %d: few of them fit", here.OutOfWindow)
	w.unless(len(named) == 256, "%d came", len(named))
	w.unless(parts[0] > 0.2 && parts[1] > 0.2, "a link is spared")
	return fmt.Sprintf("%d came; data %.0f + %.0f %%", len(named), 100*parts[0], 100*parts[1]), w
}

var lower = []wire.Capable{{Length: 4, Version: 0, Flags: wire.HMACSHA256}, {Length: 4, Version: 1}, {Length: 4, Version: 1, Flags: 2}}

func bidsDown(ctx context.Context, r *rig, s *spy, _ *engine.Conn) error {
	for i, asked := range lower {
		seg := wire.Segment{Source: stranger(i), Target: target, Seq: 1, Flags: wire.SYN, Window: 65535}
		seg.Options = wire.Options{Has: wire.HasMSS | wire.HasCapable, MSS: 1460, Capable: asked}
		r.put(0, false, seg.Append(nil))
		if err := until(ctx, "a SYN/ACK", func() bool { return len(s.answers(stranger(i))) > 0 }); err != nil {
			return err
		}
	}
	return nil
}

func stoopsNot(_ *rig, _ *spy, all []sight) (string, wrong) {
	answers := those(toStrangers(all), func(s sight) bool { return s.flags.Has(wire.SYN | wire.ACK) })
	stooped := those(answers, func(s sight) bool { return s.has(subCapable) })
	var w wrong
	w.unless(len(answers) >= len(lower) && len(stooped) == 0, "it stoops")
	return fmt.Sprintf("%d SYN/ACKs, %d with MP_CAPABLE", len(answers), len(stooped)), w
}

func removes(ctx context.Context, r *rig, s *spy, _ *engine.Conn) error {
	for id := 0; id < 256; id += 8 {
		for _, toNear := range []bool{false, true} {
			r.put(1, toNear, s.forge(1, toNear, func(seg *wire.Segment) {
				seg.Options.Has, seg.Options.RemoveAddr.N = wire.HasRemoveAddr, 8
				for i := range 8 {
					seg.Options.RemoveAddr.IDs[i] = byte(id + i)
				}
			}))
		}
	}
	return sleep(ctx, time.Second)
}

func removesNothing(_ *rig, _ *spy, all []sight) (string, wrong) {
	probes := those(all, func(s sight) bool { return s.extra[0] != "" })
	came := those(via(all, 1, true), func(s sight) bool { return s.has(subRemove) })
	var w wrong
	w.unless(len(came) == 32, "%d came", len(came))
	w.unless(len(probes) > 0 && len(probes) < 20, "%d probes", len(probes))
	return fmt.Sprintf("%d came each way, %d probes", len(came), len(probes)), w
}

func closesFast(_ context.Context, r *rig, s *spy, _ *engine.Conn) error {
	for i := range forgedFew {
		for _, toNear := range []bool{false, true} {
			r.put(i%2, toNear, s.forge(i%2, toNear, func(seg *wire.Segment) {
				seg.Options.Has, seg.Options.CloseKey = wire.HasFastClose, 0x0123456789abcdef+uint64(i)
			}))
		}
	}
	return nil
}

func closesNothing(r *rig, _ *spy, all []sight) (string, wrong) {
	here, there := r.counters()
	came := those(all, func(s sight) bool { return isNear(s.to) && s.has(subFastClose) })
	var w wrong
	w.unless(len(came) == forgedFew && max(here.OutOfWindow, there.OutOfWindow) < forgedFew/2, "%d came, OutOfWindow %d, %d", len(came), here.OutOfWindow, there.OutOfWindow)
	w.unless(here.Resets+there.Resets == 0, "Resets %d, %d", here.Resets, there.Resets)
	return fmt.Sprintf("%d came each way, Resets %d", len(came), here.Resets+there.Resets), w
}
