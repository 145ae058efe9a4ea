package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"tandem/app/control"
	"tandem/engine"
)

// Events tells what happens to the subflows of a connection, beginning with those that there are. One at a time watches:
// the engine tells of each event once.
func (c *Client) Events(ctx context.Context, number int, tell func(control.Event) error) error {
	s, err := c.stream(number)
	if err != nil {
		return err
	}
	if !s.watched.TryLock() {
		return fmt.Errorf("connection %d is watched by somebody else already", number)
	}
	defer s.watched.Unlock()
	s.catchUp()
	for _, e := range present(s.Info()) {
		if err := c.tell(ctx, e, tell); err != nil {
			return err
		}
	}
	for {
		e, err := s.NextEvent(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return s.plainly(0, err)
		}
		if err := c.tell(ctx, e, tell); err != nil {
			return err
		}
	}
}

// catchUp forgets what has happened since somebody watched last: present tells what came of it.
func (s *stream) catchUp() {
	ended, end := context.WithCancel(context.Background())
	end()
	for {
		if _, err := s.NextEvent(ended); err != nil {
			return
		}
	}
}

// present are the subflows that a connection has as if they had just come.
func present(info engine.Info) (all []engine.SubflowEvent) {
	for _, f := range info.Subflows {
		if f.State == "CLOSED" || f.State == "TIME-WAIT" {
			continue // its end has been told
		}
		e := engine.SubflowEvent{Kind: engine.SubflowAdded, Subflow: f.ID, Path: f.Path, Local: f.Local, Remote: f.Remote, Backup: f.Backup, PeerBackup: f.PeerBackup}
		all = append(all, e)
		if info.Fallback {
			e.Kind = engine.FellBack
			all = append(all, e)
		}
		if f.Established {
			e.Kind = engine.SubflowEstablished
			all = append(all, e)
		}
	}
	return all
}

// tell adds the link's name to an event.
func (c *Client) tell(ctx context.Context, e engine.SubflowEvent, to func(control.Event) error) error {
	g, err := c.legend(ctx)
	if err != nil {
		return err
	}
	told := control.Event{
		Time: time.Now(), Kind: e.Kind.String(), Subflow: int(e.Subflow), Link: g.links[e.Path], Local: e.Local, Remote: e.Remote,
		Backup: e.Backup, PeerBackup: e.PeerBackup, Missed: e.Missed,
	}
	if e.Err != nil {
		told.Reason = e.Err.Error()
	}
	return to(told)
}
