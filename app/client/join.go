package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"tandem/app/config"
	"tandem/app/control"
	"tandem/app/invite"
	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/platform"
	"tandem/tunnel/carrier"
)

// How long joining tries.
const (
	reportTime = 3 * time.Second // for the host to say which links there are
	enrolTime  = 5 * time.Second // for a hub to answer at one endpoint over one link
	answerTime = 15 * time.Second
)

// Join enrols this device with a code. It works while Run runs, and without. When it fails nothing has
// changed; a code whose answer was lost may be tried again.
func (c *Client) Join(ctx context.Context, text string) (control.Joined, error) {
	if c.cfg.Upstream != nil {
		return control.Joined{}, errUpstream
	}
	code, err := invite.Parse(text)
	if err == nil {
		err = code.Check(time.Now())
	}
	if err != nil {
		return control.Joined{}, err
	}
	c.joining.Lock()
	defer c.joining.Unlock()
	switch m, err := c.cfg.State.Membership(); {
	case err == nil:
		return control.Joined{}, fmt.Errorf("this device belongs to the hub %s already: run tandem leave first", m.HubName)
	case !errors.Is(err, config.ErrNotJoined):
		return control.Joined{}, err
	}
	keys, err := c.cfg.State.Pending(code.Key.Public().String())
	if err != nil {
		return control.Joined{}, err
	}
	answer, err := c.enrol(ctx, code, keys)
	if err != nil {
		return control.Joined{}, err
	}
	m := membership(code, keys, answer)
	if err := m.Validate(); err != nil {
		return control.Joined{}, fmt.Errorf("the hub's answer makes no sense (%w): is it of the same version?", err)
	}
	if err := errors.Join(c.cfg.State.SaveMembership(m), c.cfg.State.DropPending()); err != nil {
		return control.Joined{}, fmt.Errorf("the hub has enrolled this device, but it cannot be kept: %w", err)
	}
	return control.Joined{Hub: m.HubName, Device: m.Name}, c.adopt(ctx, m)
}

func membership(code invite.Code, keys config.Pending, a invite.Answer) config.Membership {
	m := config.Membership{Hub: code.Hub, HubName: a.Hub, Endpoints: a.Endpoints, Name: a.Name, Device: a.Device}
	if len(m.Endpoints) == 0 {
		m.Endpoints = code.Endpoints
	}
	for i, k := range keys.Keys {
		m.Slots[i].Key = k
	}
	return m
}

// adopt has the loop, if it runs, begin with a membership.
func (c *Client) adopt(ctx context.Context, m config.Membership) error {
	select {
	case <-c.running:
	default:
		return nil
	}
	return c.change(ctx, func() error {
		c.member = &m
		if c.settings.Down {
			return nil
		}
		if err := c.start(time.Now()); err != nil {
			return fmt.Errorf("this device has joined, but is not up: %w", err)
		}
		return nil
	})
}

// enrol tries every way and every endpoint, one after the other: a one-time key is in one place at a time.
func (c *Client) enrol(ctx context.Context, code invite.Code, keys config.Pending) (invite.Answer, error) {
	endpoints, _ := resolve(ctx, code.Endpoints, asSystem, nil)
	if len(endpoints) == 0 {
		return invite.Answer{}, fmt.Errorf("the hub's address %s is not known to the name servers of this machine", strings.Join(code.Endpoints, ", "))
	}
	var tried []string
	for _, w := range c.ways(ctx) {
		for try := range endpoints {
			e := pick(w.link, endpoints, try)
			if !e.IsValid() || ctx.Err() != nil {
				break
			}
			a, reached, err := c.enrolOver(ctx, w, e, code, keys)
			if reached {
				return a, err
			}
			c.log.Info("no answer", "link", w.link.Name, "endpoint", e, "err", err)
		}
		tried = append(tried, w.name())
	}
	if err := ctx.Err(); err != nil {
		return invite.Answer{}, err
	}
	return invite.Answer{}, fmt.Errorf("the hub at %s does not answer over %s: is it running, is its UDP port open, and has this code not been used by another device?",
		strings.Join(code.Endpoints, ", "), strings.Join(tried, ", "))
}

// A way is a link to try, or, without a name, what the system chooses.
type way struct {
	link platform.Link
	bind conn.Bind
}

func (w way) name() string {
	if w.link.Name == "" {
		return "the system's own route"
	}
	return w.link.Name
}

// ways returns the system's own route, unless links have sockets of another kind, and then the usable links.
// That they are not known, as on systems whose links tandem cannot see, is no obstacle.
func (c *Client) ways(ctx context.Context) (all []way) {
	if !c.otherBind {
		all = append(all, way{bind: carrier.UDP(carrier.UDPConfig{})})
	}
	ctx, cancel := context.WithTimeout(ctx, reportTime)
	defer cancel()
	var links []platform.Link
	c.cfg.Host.Links(ctx, func(l []platform.Link) {
		if len(links) == 0 {
			links = l
		}
		cancel()
	})
	for _, l := range links {
		if l.Usable {
			all = append(all, way{l, c.cfg.Bind(l.Name)})
		}
	}
	return all
}

// enrolOver asks over one link. reached says that the hub's enrolment was there: its answer is final.
func (c *Client) enrolOver(ctx context.Context, w way, endpoint netip.AddrPort, code invite.Code, keys config.Pending) (a invite.Answer, reached bool, err error) {
	var l link
	k, err := carrier.Open(carrier.Config{
		Private: code.Key, Peer: code.Hub, Endpoint: endpoint, Bind: w.bind, MTU: enrolMTU, Receive: l.pipe.receive, Log: c.log,
	})
	if err != nil {
		return a, false, err
	}
	defer k.Close()
	l.pipe.carrier.Store(k)
	e := engine.New(engine.Config{Log: c.log})
	defer e.Close()
	b := e.Bond(engine.BondConfig{Config: mptcp.Config{Paired: true}, Name: "enrolment"})
	local4, local6 := invite.InviteAddrs(code.Hub, code.Number)
	hub4, hub6 := invite.HubAddrs(code.Hub)
	k.Renew()
	if err := session(ctx, k); err != nil {
		return a, false, err
	}
	l.pipe.attachment.Store(b.AttachAs(0, &l.pipe, mptcp.PathConfig{
		Local4: local4, Local6: local6, Peer4: hub4, Peer6: hub6, MTU: enrolMTU,
	}))
	dialling, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	s, err := b.Dial(dialling, netip.AddrPortFrom(hub4, invite.EnrolPort))
	if err != nil {
		return a, true, fmt.Errorf("the hub's enrolment does not answer: %w", err)
	}
	defer s.Close()
	if err := c.cfg.State.SavePending(keys); err != nil {
		return a, true, err
	}
	a, err = ask(ctx, s, keys)
	var refused invite.Refusal
	if errors.As(err, &refused) {
		err = errors.Join(err, c.cfg.State.DropPending())
	}
	return a, true, err
}

// enrolMTU is of packets that pass everywhere.
const enrolMTU = 1200

// session waits until a carrier has a session, which it tries to get once a second.
func session(ctx context.Context, k *carrier.Carrier) error {
	ctx, cancel := context.WithTimeout(ctx, enrolTime)
	defer cancel()
	look, again := time.NewTicker(tickBusy), time.NewTicker(retryOften)
	defer look.Stop()
	defer again.Stop()
	for k.Stats().Handshake.IsZero() {
		select {
		case <-look.C:
		case <-again.C:
			k.Renew()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func ask(ctx context.Context, s net.Conn, keys config.Pending) (invite.Answer, error) {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "device"
	}
	q := invite.Request{Version: invite.Version, Name: name}
	for i, k := range keys.Keys {
		q.Keys[i] = k.Public()
	}
	stop := context.AfterFunc(ctx, func() { s.SetDeadline(time.Now()) })
	defer stop()
	s.SetDeadline(time.Now().Add(answerTime))
	return invite.Ask(s, q)
}
