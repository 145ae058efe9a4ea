package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"tandem/app/config"
	"tandem/app/control"
	"tandem/platform"
)

// How often the loop looks around when nobody wakes it.
const (
	tickIdle = time.Second
	tickUsed = 250 * time.Millisecond // while links are in use, which may fall quiet
	tickBusy = 50 * time.Millisecond  // while a handshake is awaited
)

// Run is the daemon. It returns an error when it cannot begin, and nil after ctx has ended; by then
// everything that it changed in the system is undone.
func (c *Client) Run(ctx context.Context) error {
	defer close(c.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var api net.Listener
	if c.cfg.Socket != "" {
		l, err := control.Listen(c.cfg.Socket)
		if err != nil {
			return err
		}
		defer l.Close()
		api = l
	}
	lock, err := c.cfg.State.Lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := c.load(); err != nil {
		return err
	}
	if c.cfg.Routes != "" {
		if err := c.cfg.Host.Route(platform.Routing{}); err != nil { // what a killed predecessor left
			return err
		}
	}
	var beside sync.WaitGroup
	defer beside.Wait()
	reports := make(chan []platform.Link, 1)
	lost := make(chan error, 2)
	beside.Go(func() {
		if err := c.cfg.Host.Links(ctx, func(l []platform.Link) { latest(reports, l) }); err != nil && ctx.Err() == nil {
			lost <- fmt.Errorf("links: %w", err)
		}
	})
	if err := c.first(ctx, reports, lost); err != nil {
		cancel()
		return err
	}
	if api != nil {
		beside.Go(func() {
			if err := control.Serve(ctx, api, c); err != nil && ctx.Err() == nil {
				lost <- fmt.Errorf("the local API: %w", err)
			}
		})
	}
	defer cancel()
	return c.loop(ctx, reports, lost)
}

// load reads what was decided before, and takes calls from now on.
func (c *Client) load() (err error) {
	c.joining.Lock()
	defer c.joining.Unlock()
	if c.settings, err = c.cfg.State.Settings(); err != nil {
		return err
	}
	if c.usage, err = c.cfg.State.Usage(); err != nil {
		return err
	}
	m, err := c.cfg.State.Membership()
	switch {
	case c.cfg.Upstream != nil:
		c.member = c.cfg.Upstream.membership()
	case err == nil:
		c.member = &m
	case !errors.Is(err, config.ErrNotJoined):
		return err
	}
	close(c.running)
	return nil
}

// latest puts a report where the loop finds it, in place of an older one.
func latest(reports chan []platform.Link, l []platform.Link) {
	select {
	case <-reports:
	default:
	}
	reports <- l
}

// first waits for the first report and starts what is to run: what fails now fails Run.
func (c *Client) first(ctx context.Context, reports chan []platform.Link, lost chan error) error {
	select {
	case l := <-reports:
		c.report(l)
	case err := <-lost:
		return err
	case <-ctx.Done():
		return nil
	}
	c.warnOfMissing()
	if c.member == nil {
		c.log.Warn("waiting for tandem join: " + c.cfg.State.NotJoined().Error())
		return nil
	}
	if why := c.idle(); why != "" {
		c.log.Warn(why)
	}
	if c.settings.Down {
		return nil
	}
	return c.start(time.Now())
}

// warnOfMissing says which links were asked for by name, and are not there: a name may be mistyped.
func (c *Client) warnOfMissing() {
	for _, l := range c.links {
		if l.Index == 0 {
			c.log.Warn("there is no link " + l.Name + ": there are " + c.there())
		}
	}
}

// idleNamed is of how many links that are not usable a sentence says why.
const idleNamed = 2

// idle says that no link is used, and why; "" if one is.
func (c *Client) idle() string {
	var why []string
	off := 0
	for _, l := range c.links {
		ok, state, reason := c.wanted(l, c.settings.Link(l.ID))
		switch {
		case ok:
			return ""
		case state == control.LinkOff:
			off++
		case l.Kind != platform.Other || len(c.links) == 1:
			why = append(why, l.Name+": "+strings.TrimSuffix(reason, "."))
		}
	}
	switch {
	case len(c.links) == 0:
		return "there is no link: connect one, tandem takes it when it appears"
	case off > 0:
		return "every link that could be used is switched off: tandem link NAME on uses one again"
	case len(why) == 0 || len(why) > idleNamed:
		return "no link is usable, tandem links says why: connect one, tandem takes it when it appears"
	}
	return "no link is usable (" + strings.Join(why, "; ") + "): connect one, tandem takes it when it appears"
}

// loop owns everything until ctx ends. Then it stops what runs.
func (c *Client) loop(ctx context.Context, reports chan []platform.Link, lost chan error) (err error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	began, nap := time.Now(), napWatch{}
	for err == nil && ctx.Err() == nil {
		select {
		case l := <-reports:
			c.report(l)
		case f := <-c.calls:
			f()
		case <-c.news.wake:
		case <-timer.C:
		case err = <-lost:
		case <-ctx.Done():
		}
		if ctx.Err() == nil && err == nil {
			now := time.Now()
			if nap.slept(now.Round(0), now.Sub(began)) && c.live != nil {
				c.log.Info("the machine has slept: all links shake hands anew")
				c.live.renewAll(now)
			}
			timer.Reset(c.turn(now))
		}
	}
	stopped := c.stop()
	c.measure(time.Now())
	c.keepUsage()
	c.publish(control.State{Phase: control.Off, Links: []control.Link{}}, nil)
	return errors.Join(err, stopped)
}

// turn does what is due, and returns when to look again at the latest.
func (c *Client) turn(now time.Time) time.Duration {
	again := tickIdle
	if v := c.live; v != nil {
		for _, n := range c.news.take() {
			v.heard(n, now)
		}
		v.reconcile(c.links, now)
		switch awaited := v.advance(now); {
		case awaited:
			again = tickBusy
		case v.inUse():
			again = tickUsed
		}
		v.route(now)
	}
	c.measure(now)
	if now.Sub(c.used) > usagePeriod {
		c.used = now
		c.keepUsage()
	}
	c.show(now)
	return again
}

// report takes what the host says of its links. Two that look the same to the host are told apart by name.
func (c *Client) report(links []platform.Link) {
	seen := map[string]bool{}
	for i := range links {
		if seen[links[i].ID] || links[i].ID == "" {
			links[i].ID += "/" + links[i].Name
		}
		seen[links[i].ID] = true
	}
	slices.SortStableFunc(links, func(a, b platform.Link) int { return strings.Compare(a.Name, b.Name) })
	c.links = links
}

// do runs f in the loop and waits for it.
func (c *Client) do(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	if err := c.post(ctx, func() { done <- f() }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-c.ended:
		return ErrNotRunning
	}
}

// post has f run in the loop, and returns when the loop has it.
func (c *Client) post(ctx context.Context, f func()) error {
	select {
	case c.calls <- f:
		return nil
	case <-c.ended:
		return ErrNotRunning
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start builds what is to run.
func (c *Client) start(now time.Time) error {
	v, err := c.newLive()
	if err != nil {
		c.broken = err.Error()
		return err
	}
	c.broken = ""
	c.mu.Lock()
	c.live = v
	c.mu.Unlock()
	v.reconcile(c.links, now)
	v.askLookup()
	return nil
}

// stop ends what runs and undoes what it changed.
func (c *Client) stop() error {
	v := c.live
	if v == nil {
		return nil
	}
	c.mu.Lock()
	c.live = nil
	c.mu.Unlock()
	return v.close()
}

// napWatch notices that the machine was asleep: the wall clock went on while the other stood still. Setting the wall
// clock looks the same and costs a handshake.
type napWatch struct {
	wall  time.Time     // when last looked at; zero: never
	awake time.Duration // by the clock that stands still
}

const napMin = 2 * time.Second

// slept takes both clocks, the wall's without the other's reading, and reports whether the machine slept since they
// were looked at last.
func (n *napWatch) slept(wall time.Time, awake time.Duration) bool {
	last := *n
	*n = napWatch{wall, awake}
	return !last.wall.IsZero() && wall.Sub(last.wall)-(awake-last.awake) > napMin
}
