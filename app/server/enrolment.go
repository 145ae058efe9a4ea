package server

import (
	"context"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tandem/app/invite"
	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/tunnel/carrier"
)

const (
	// enrolTime is how long a device that enrols may take, and deskIdle how long its bond waits for it.
	enrolTime = 10 * time.Second
	deskIdle  = 30 * time.Second

	// Connections to a desk a second in the long run, and at once: whoever has a code may not keep the hub
	// busy, or fill its log, with it.
	deskRate, deskBurst = 10, 8

	// mtuOfDesk passes over every link: messages of enrolment are short.
	mtuOfDesk = 1280
)

// A desk is where a device with an invite enrols, and reaches nothing else.
type desk struct {
	entrance
	server *Server
	number int
	key    carrier.Key // public, of the invite
	v4, v6 netip.Addr
	peer   *carrier.Peer
	ready  chan struct{} // closed when peer is set
	ctx    context.Context
	close  context.CancelFunc
}

// openDesk lets devices enrol with an invite. The carrier is known from now on.
func (s *Server) openDesk(i inviteRecord) (*desk, error) {
	d := &desk{server: s, number: i.Number, key: i.Key, ready: make(chan struct{})}
	d.v4, d.v6 = invite.InviteAddrs(s.public, i.Number)
	d.ctx, d.close = context.WithCancel(s.ctx)
	d.entrance.start, d.open = s.start, d.serve
	peer, err := s.hub.Add(carrier.PeerConfig{Key: i.Key, Addrs: []netip.Addr{d.v4, d.v6}, Receive: d.receive})
	if err != nil {
		return nil, err
	}
	d.peer = peer
	close(d.ready)
	return d, nil
}

// remove makes the hub forget the invite's key.
func (d *desk) remove() {
	d.close()
	d.server.hub.Remove(d.key)
}

// serve answers whoever enrols, until nobody has for a while.
func (d *desk) serve() {
	<-d.ready
	var enrolling sync.WaitGroup
	defer enrolling.Wait()
	limits := engine.Limits{Limits: mptcp.Limits{Connections: 8, Offers: 8, Buffered: bufferedMin}}
	bond := d.server.engine.Bond(engine.BondConfig{Config: mptcp.Config{Paired: true}, Name: "enrolment", Limits: &limits})
	defer bond.Close()
	d.admit(bond.AttachAs(0, d.peer, engine.PathConfig{
		Local4: d.server.inner4, Local6: d.server.inner6, Peer4: d.v4, Peer6: d.v6, MTU: mtuOfDesk,
	}))
	defer d.shut()
	pace := rate.NewLimiter(deskRate, deskBurst)
	for {
		ctx, cancel := context.WithTimeout(d.ctx, deskIdle)
		if pace.Wait(ctx) != nil {
			cancel()
			return
		}
		o, err := bond.Accept(ctx)
		cancel()
		if err != nil {
			return
		}
		if !d.server.inside(o.Target(), invite.EnrolPort) {
			o.Refuse(os.ErrPermission)
			continue
		}
		enrolling.Go(func() { d.enrol(o) })
	}
}

// enrol has one device join, or tells it why not.
func (d *desk) enrol(o *engine.Offer) {
	c, err := o.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	defer context.AfterFunc(d.ctx, func() { c.Abort(context.Canceled) })()
	c.SetDeadline(time.Now().Add(enrolTime))
	q, err := invite.ReadRequest(c)
	if err != nil {
		d.server.log.Warn("enrolment is not understood", "invite", d.number, "err", err)
		c.Abort(err)
		return
	}
	if invite.WriteAnswer(c, d.server.enrol(d.number, q)) != nil || c.CloseWrite() != nil {
		return
	}
	select {
	case <-c.Done():
	case <-time.After(enrolTime):
	case <-d.ctx.Done():
	}
}

// enrol adds the device that comes of a request.
func (s *Server) enrol(number int, q invite.Request) invite.Answer {
	s.changing.Lock()
	defer s.changing.Unlock()
	e, err := s.registry.enrol(number, q, time.Now())
	switch {
	case err != nil:
		s.log.Error("a device could not be written down", "err", err)
	case e.answer.Error != "":
		s.log.Warn("a device was refused", "invite", number, "name", plainName(q.Name), "why", e.answer.Error)
	}
	if e.replaced != nil {
		s.log.Info("device replaced", "device", e.replaced.Name)
		s.device(e.replaced.Number).revoke()
	}
	if e.joined != nil {
		s.log.Info("device joined", "device", e.joined.Name, "number", e.joined.Number)
		s.insert(s.add(*e.joined, [invite.Slots]netip.AddrPort{}))
	}
	return e.answer
}
