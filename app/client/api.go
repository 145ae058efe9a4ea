package client

import (
	"context"
	"fmt"
	"strings"
	"time"

	"tandem/app/config"
	"tandem/app/control"
	"tandem/platform"
)

var _ control.Backend = (*Client)(nil)

// started waits until the loop takes calls.
func (c *Client) started(ctx context.Context) error {
	select {
	case <-c.running:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// change runs f in the loop, once that has begun. By its return the state shows what came of it.
func (c *Client) change(ctx context.Context, f func() error) error {
	if err := c.started(ctx); err != nil {
		return err
	}
	return c.do(ctx, func() error {
		err := f()
		c.show(time.Now())
		return err
	})
}

// Up captures and connects, now and after a restart.
func (c *Client) Up(ctx context.Context) error {
	return c.change(ctx, func() error {
		if c.member == nil {
			return c.cfg.State.NotJoined()
		}
		if err := c.decide(func(s *config.Settings) { s.Down = false }); err != nil || c.live != nil {
			return err
		}
		return c.start(time.Now())
	})
}

// Down stops capturing and closes all carriers, now and after a restart.
func (c *Client) Down(ctx context.Context) error {
	return c.change(ctx, func() error {
		c.broken = ""
		if err := c.decide(func(s *config.Settings) { s.Down = true }); err != nil {
			return err
		}
		return c.stop()
	})
}

// decide changes the settings, in their file first.
func (c *Client) decide(f func(*config.Settings)) error {
	s := c.settings
	s.Links = map[string]config.Link{}
	for id, l := range c.settings.Links {
		s.Links[id] = l
	}
	f(&s)
	if err := c.cfg.State.SaveSettings(s); err != nil {
		return err
	}
	c.settings = s
	return nil
}

// SetLink changes how a link is used, now and after a restart.
func (c *Client) SetLink(ctx context.Context, name string, change control.LinkChange) error {
	return c.change(ctx, func() error {
		id, ok := c.linkID(name)
		if !ok {
			return c.unknown(name)
		}
		set := change.Apply(c.settings.Link(id))
		set.Name = name
		if err := set.Role.Validate(); err != nil {
			return err
		}
		if err := set.Validate(); err != nil {
			return err
		}
		if err := c.decide(func(s *config.Settings) { s.Links[id] = set }); err != nil {
			return err
		}
		if c.live != nil {
			c.live.reconcile(c.links, time.Now())
		}
		return nil
	})
}

// unknown says that there is no such link, and which there are.
func (c *Client) unknown(name string) error {
	return fmt.Errorf("link %q: %w: there are %s", name, control.ErrUnknown, c.there())
}

// there names the links that people know.
func (c *Client) there() string {
	var names []string
	for _, l := range c.links {
		if l.Usable || l.Kind != platform.Other {
			names = append(names, l.Name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// linkID finds a link that is there, or one that was when somebody decided about it.
func (c *Client) linkID(name string) (id string, ok bool) {
	for _, l := range c.links {
		if l.Name == name {
			return l.ID, true
		}
	}
	for id, l := range c.settings.Links {
		if l.Name == name {
			return id, true
		}
	}
	return "", false
}

// Leave forgets the hub.
func (c *Client) Leave(ctx context.Context) error {
	return c.change(ctx, func() error {
		switch {
		case c.cfg.Upstream != nil:
			return errUpstream
		case c.member == nil:
			return c.cfg.State.NotJoined()
		}
		if err := c.stop(); err != nil {
			c.log.Error("stopping", "err", err)
		}
		if err := c.cfg.State.Leave(); err != nil {
			return err
		}
		c.member = nil
		return nil
	})
}

// Flows lists the flows of datagrams of the last minute.
func (c *Client) Flows(context.Context) ([]control.Flow, error) {
	if v := c.now(); v != nil {
		return v.lane.flows.list(time.Now()), nil
	}
	return []control.Flow{}, nil
}
