package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"tandem/app/config"
	"tandem/app/control"
	"tandem/engine"
)

// errClosedByHand is why a connection ends that somebody closes through the local API.
var errClosedByHand = errors.New("closed with tandem connections")

// A legend is what is told of connections beside what the engine knows of each.
type legend struct {
	links     map[engine.PathID]string // their names
	scheduler config.Scheduler
}

func (c *Client) legend(ctx context.Context) (g legend, err error) {
	g.links = map[engine.PathID]string{}
	return g, c.change(ctx, func() error {
		if c.live != nil {
			g.scheduler = c.live.manner.made.schedulerName()
			for _, l := range c.live.carried {
				g.links[engine.PathID(l.slot)] = l.seen.Name
			}
		}
		return nil
	})
}

// Connections lists the connections that are carried.
func (c *Client) Connections(ctx context.Context) ([]control.Connection, error) {
	g, err := c.legend(ctx)
	all := []control.Connection{}
	if v := c.now(); v != nil && err == nil {
		for _, s := range v.dialer.book.streams() {
			all = append(all, s.picture(g))
		}
	}
	return all, err
}

// Connection describes one of them, with its trace.
func (c *Client) Connection(ctx context.Context, number int) (control.Connection, error) {
	g, err := c.legend(ctx)
	if err != nil {
		return control.Connection{}, err
	}
	s, err := c.stream(number)
	if err != nil {
		return control.Connection{}, err
	}
	one := s.picture(g)
	one.Trace = s.Trace()
	return one, nil
}

// CloseConnection resets one of them.
func (c *Client) CloseConnection(_ context.Context, number int) error {
	s, err := c.stream(number)
	if err == nil {
		s.Abort(errClosedByHand)
	}
	return err
}

// OpenSubflow has one of them use a link that it does not use.
func (c *Client) OpenSubflow(ctx context.Context, number int, o control.SubflowOpen) (id int, err error) {
	s, err := c.stream(number)
	if err != nil {
		return 0, err
	}
	opt := engine.SubflowOptions{Local: o.Local, Remote: o.Remote, Backup: o.Backup}
	if o.Link != "" {
		if opt.Path, err = c.pathOf(ctx, o.Link); err != nil {
			return 0, err
		}
	} else if !o.Local.IsValid() {
		return 0, errors.New("over which link, or from which address?")
	}
	opened, err := s.OpenSubflow(opt)
	return int(opened), s.plainly(0, err)
}

// ChangeSubflow closes a subflow, or has it spared or not.
func (c *Client) ChangeSubflow(_ context.Context, number, id int, change control.SubflowChange) error {
	s, err := c.stream(number)
	if err != nil {
		return err
	}
	if change.Backup != nil {
		err = s.SetSubflowPriority(engine.SubflowID(id), *change.Backup)
	}
	how := map[string]engine.Ending{control.CloseFIN: engine.ByFIN, control.CloseReset: engine.ByReset}[change.Close]
	if err == nil && how != 0 {
		err = s.CloseSubflow(engine.SubflowID(id), how)
	}
	return s.plainly(id, err)
}

// UseLink has one of them use a link, or not.
func (c *Client) UseLink(ctx context.Context, number int, link string, use bool) error {
	s, err := c.stream(number)
	if err != nil {
		return err
	}
	path, err := c.pathOf(ctx, link)
	switch {
	case err != nil:
	case use:
		err = s.plainly(0, s.AddPath(path))
	default:
		err = s.plainly(0, s.RemovePath(path))
	}
	return err
}

// stream finds a connection.
func (c *Client) stream(number int) (*stream, error) {
	if v := c.now(); v != nil {
		if s := v.dialer.book.find(number); s != nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("connection %d: %w: tandem connections lists them", number, control.ErrUnknown)
}

// pathOf returns the path of a link that is in use.
func (c *Client) pathOf(ctx context.Context, link string) (id engine.PathID, err error) {
	return id, c.change(ctx, func() error {
		if c.live != nil {
			for _, l := range c.live.carried {
				if l.seen.Name == link {
					id = engine.PathID(l.slot)
					return nil
				}
			}
		}
		if _, known := c.linkID(link); !known {
			return c.unknown(link)
		}
		return fmt.Errorf("link %q is not used: tandem links says why", link)
	})
}

// plainly says in a sentence why something was not done with a subflow; 0: one that is to be opened.
func (s *stream) plainly(id int, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, engine.ErrNoSubflow) {
		return fmt.Errorf("subflow %d of connection %d: %w: tandem connections %d lists them", id, s.number, control.ErrUnknown, s.number)
	}
	var e *net.OpError
	if errors.As(err, &e) {
		err = e.Err
	}
	return fmt.Errorf("connection %d: %w", s.number, err)
}

// picture describes a connection.
func (s *stream) picture(g legend) control.Connection {
	info := s.Info()
	c := control.Connection{
		Number: s.number, Target: s.target, State: info.State, Opened: s.since, Sent: info.Sent, Received: info.Received,
		Subflows: []control.Subflow{}, Multipath: info.Multipath, Via: s.via, Token: info.Token, Resent: info.Reinjected,
		SendQueue: info.SendQueue, RecvQueue: info.RecvQueue,
		FastOpen: info.FastOpen, Establish: info.Establish.String(), Scheduler: g.scheduler, Inactivity: pictureInactivity(info.Inactivity),
	}
	for _, f := range info.Subflows {
		c.Subflows = append(c.Subflows, control.Subflow{
			ID: int(f.ID), Link: g.links[f.Path], Local: f.Local, Remote: f.Remote, State: f.State,
			RTT: milliseconds(f.RTT), Sent: f.Sent, Received: f.Received,
			Established: f.Established, Leaving: f.Leaving, Silent: f.Suspect, Backup: f.Backup, PeerBackup: f.PeerBackup,
			RTTVar: milliseconds(f.RTTVar), RTTMin: milliseconds(f.RTTMin), RTO: milliseconds(f.RTO),
			Window: f.Window, Threshold: f.Threshold, Outstanding: f.Outstanding, MSS: f.MSS,
			Retransmits: f.Retransmits, Timeouts: f.Timeouts, Rate: 8 * float64(f.Rate), Pace: 8 * float64(f.Pace),
			AskedLimit: config.RateOf(f.LimitDown), PeerLimit: config.RateOf(f.PeerLimit), Limit: config.RateOf(f.Limit), Muted: f.Muted,
			Forward: milliseconds(f.Forward), Backward: milliseconds(f.Backward),
		})
	}
	return c
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
