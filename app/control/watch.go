package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"reflect"
	"time"
)

// WatchPeriod is how often a watched state is looked at.
const WatchPeriod = 500 * time.Millisecond

// Event is what happened to a subflow of a connection, or to all that there is of it.
type Event struct {
	Time       time.Time      `json:"time"`
	Kind       string         `json:"kind"` // added, established, priority, removed, or fallback: TCP from now on
	Subflow    int            `json:"subflow"`
	Link       string         `json:"link"`
	Local      netip.AddrPort `json:"local"`
	Remote     netip.AddrPort `json:"remote"`
	Backup     bool           `json:"backup"` // this end wishes it spared
	PeerBackup bool           `json:"peer_backup"`
	Reason     string         `json:"reason"` // why it was removed; "": it ended in order
	Missed     uint64         `json:"missed"` // events that were lost right before this one
}

// Watch shows how things are, now and whenever they change, until ctx ends or the daemon does.
func (c *Client) Watch(ctx context.Context, show func(State)) error {
	err := follow(ctx, c, "/watch", show)
	if err == nil {
		err = errCut
	}
	return err
}

var errCut = errors.New("the daemon has ended")

// Events shows the subflows that a connection has, as if they had just come, and what happens to them, until ctx or the
// connection ends, which gives nil.
func (c *Client) Events(ctx context.Context, number int, show func(Event)) error {
	return follow(ctx, c, of(number)+"/events", show)
}

// follow shows what the daemon sends, a line each, until there is no more.
func follow[T any](ctx context.Context, c *Client, path string, show func(T)) error {
	r, err := c.ask(ctx, "GET", path, nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	for in := json.NewDecoder(r.Body); ; {
		var next T
		switch err := in.Decode(&next); {
		case err == nil:
			show(next)
		case ctx.Err() == nil && errors.Is(err, io.EOF):
			return nil
		case ctx.Err() == nil && errors.Is(err, io.ErrUnexpectedEOF):
			return errCut
		default:
			return errors.Join(ctx.Err(), err)
		}
	}
}

// A source sends one value after the other, until there are no more, sending fails or the request's context ends.
type source func(r *http.Request, send func(any) error) error

// stream sends what comes from a source, a line each, until the caller goes or does not read.
func stream(from source) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told, err := hear(w, r) // to the end: who has not been heard is not noticed when it goes
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		w.Header().Set("Content-Type", "application/jsonl")
		out, flush, begun := json.NewEncoder(w), http.NewResponseController(w), false
		err = from(told, func(value any) error {
			begun = true
			flush.SetWriteDeadline(time.Now().Add(patience))
			if err := out.Encode(value); err != nil {
				return err
			}
			return flush.Flush()
		})
		switch {
		case err != nil && !begun:
			refuse(w, err)
		case err != nil:
			panic(http.ErrAbortHandler) // or it would look like an end in order
		}
	})
}

// watch is the state, now and whenever it has changed.
func watch(b Backend) source {
	return func(r *http.Request, send func(any) error) error {
		tick := time.NewTicker(WatchPeriod)
		defer tick.Stop()
		var last State
		for first := true; ; first = false {
			if now := b.State(); first || !reflect.DeepEqual(now, last) {
				if err := send(now); err != nil {
					return err
				}
				last = now
			}
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return nil
			}
		}
	}
}

// events are those of a connection.
func events(b Backend) source {
	return func(r *http.Request, send func(any) error) error {
		n, err := number(r, "connection")
		if err != nil {
			return err
		}
		return b.Events(r.Context(), n, func(e Event) error { return send(e) })
	}
}
