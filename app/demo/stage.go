package demo

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"syscall"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"tandem/app/client"
	"tandem/app/config"
	"tandem/app/control"
	"tandem/app/server"
	"tandem/platform"
	"tandem/tunnel/carrier/carriertest"
)

// A link is an emulated one. Its rate is of whole packets, WireGuard's included.
type link struct {
	name, kind string
	conditions carriertest.Conditions
}

// mbps is what the link can carry.
func (l link) mbps() float64 { return float64(l.conditions.Rate) / 1e6 }

var usualLinks = [2]link{
	{"wifi", "wifi", carriertest.Conditions{Rate: 50e6, Delay: 10 * time.Millisecond, QueueTime: 60 * time.Millisecond}},
	{"cellular", "cellular", carriertest.Conditions{Rate: 30e6, Delay: 30 * time.Millisecond, QueueTime: 100 * time.Millisecond}},
}

// silence makes a link lose everything without a word.
func silence(up, down *carriertest.Conditions) { up.Down, down.Down = true, true }

// A stage is a hub and a client that has joined it, over the links.
type stage struct {
	links   [2]link
	network *carriertest.Network
	client  *client.Client
	stop    context.CancelFunc
	ended   []chan error
}

func newStage(ctx context.Context, links [2]link, hubState, clientState string, log *slog.Logger) (s *stage, err error) {
	s = &stage{links: links}
	var ways []carriertest.Link
	for _, l := range links {
		ways = append(ways, carriertest.Link{Up: l.conditions, Down: l.conditions})
	}
	s.network = carriertest.New(ways...)
	running, stop := context.WithCancel(ctx)
	s.stop = stop
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	hub, err := server.New(server.Config{
		State: hubState, Endpoints: []string{s.network.Endpoint().String()}, Bind: s.network.Hub(), Dialer: internet{}, Log: log,
	})
	if err != nil {
		return s, err
	}
	s.run(func() error { return hub.Run(running) })
	code, err := hub.Invite(server.InviteOptions{Name: "laptop"})
	if err != nil {
		return s, err
	}
	s.client, err = client.New(client.Config{State: config.Folder(clientState), Host: host{links}, Bind: s.bind, Log: log})
	if err != nil {
		return s, err
	}
	if _, err := s.client.Join(ctx, code.String()); err != nil {
		return s, err
	}
	s.run(func() error { return s.client.Run(running) })
	return s, nil
}

func (s *stage) run(f func() error) {
	ended := make(chan error, 1)
	s.ended = append(s.ended, ended)
	go func() { ended <- f() }()
}

// close ends the client, then the hub, and reports why one of them failed.
func (s *stage) close() (err error) {
	s.stop()
	for _, ended := range slices.Backward(s.ended) {
		if failed := <-ended; !errors.Is(failed, context.Canceled) {
			err = errors.Join(err, failed)
		}
	}
	s.network.Close()
	return err
}

// bind is the socket of a link.
func (s *stage) bind(link string) conn.Bind {
	for i, l := range s.links {
		if l.name == link {
			return s.network.Client(i)
		}
	}
	return nil
}

// use has the client use those links alone, and waits until it does.
func (s *stage) use(ctx context.Context, wanted ...int) error {
	for i, l := range s.links {
		on := slices.Contains(wanted, i)
		if err := s.client.SetLink(ctx, l.name, control.LinkChange{On: &on}); err != nil {
			return err
		}
	}
	return s.client.Wait(ctx, func(state control.State) bool {
		if len(state.Links) < len(s.links) {
			return false
		}
		for i, l := range s.links {
			for _, have := range state.Links {
				if have.Name == l.name && (have.State == control.LinkConnected) != slices.Contains(wanted, i) {
					return false
				}
			}
		}
		return true
	})
}

// carried is how many octets of packets link i has carried, both ways.
func (s *stage) carried(i int) int64 {
	up, down := s.network.Counts(i)
	return up.Forwarded.Octets + down.Forwarded.Octets
}

// down is how many octets of packets link i has carried towards the client.
func (s *stage) down(i int) int64 {
	_, down := s.network.Counts(i)
	return down.Forwarded.Octets
}

// host is a system that has the links and nothing else.
type host struct{ links [2]link }

// Links is part of platform.Host.
func (h host) Links(ctx context.Context, report func([]platform.Link)) error {
	var all []platform.Link
	for i, l := range h.links {
		all = append(all, platform.Link{Name: l.name, Kind: l.kind, ID: l.name, Index: i + 1, MTU: 1500, Usable: true})
	}
	report(all)
	<-ctx.Done()
	return nil
}

// Pin is part of platform.Host.
func (host) Pin(string) func(network, address string, c syscall.RawConn) error { return nil }

// Tun is part of platform.Host.
func (host) Tun(string, int) (platform.Tun, error) { return nil, errors.ErrUnsupported }

// Route is part of platform.Host.
func (host) Route(platform.Routing) error { return nil }
