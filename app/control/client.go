package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
)

// Client calls a daemon. Its methods return what the daemon says as an error of one sentence.
type Client struct {
	path string
	http http.Client
}

// ErrNoDaemon is wrapped by the error of every call while no daemon listens.
var ErrNoDaemon = errors.New("no tandem daemon is running")

// NewClient returns a client of the daemon that listens at a socket. It does not connect yet.
func NewClient(path string) *Client {
	c := &Client{path: path}
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}
	return c
}

// State returns how things are.
func (c *Client) State(ctx context.Context) (s State, err error) {
	return s, c.call(ctx, "GET", "/state", nil, &s)
}

// Up has the daemon capture and connect.
func (c *Client) Up(ctx context.Context) error { return c.call(ctx, "POST", "/up", nil, nil) }

// Down has it stop that, and undo what it changed in the system.
func (c *Client) Down(ctx context.Context) error { return c.call(ctx, "POST", "/down", nil, nil) }

// Set changes how connections are carried, and keeps that over restarts.
func (c *Client) Set(ctx context.Context, change Change) error {
	return c.call(ctx, "POST", "/settings", change, nil)
}

// SetLink changes how a link is used, at once and after a restart too.
func (c *Client) SetLink(ctx context.Context, name string, change LinkChange) error {
	return c.call(ctx, "POST", "/links/"+url.PathEscape(name), change, nil)
}

// Join enrols this device with a code.
func (c *Client) Join(ctx context.Context, code string) (j Joined, err error) {
	return j, c.call(ctx, "POST", "/join", code, &j)
}

// Leave forgets the hub.
func (c *Client) Leave(ctx context.Context) error { return c.call(ctx, "POST", "/leave", nil, nil) }

// Flows returns the flows of datagrams.
func (c *Client) Flows(ctx context.Context) (all []Flow, err error) {
	return all, c.call(ctx, "GET", "/flows", nil, &all)
}

func (c *Client) call(ctx context.Context, method, path string, send, receive any) error {
	r, err := c.ask(ctx, method, path, send)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if receive == nil {
		return nil
	}
	return json.NewDecoder(r.Body).Decode(receive)
}

// ask returns the answer when it is 200, and else the sentence that came instead.
func (c *Client) ask(ctx context.Context, method, path string, send any) (*http.Response, error) {
	text, err := json.Marshal(send)
	if err != nil {
		return nil, err
	}
	q, err := http.NewRequestWithContext(ctx, method, "http://tandem"+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	r, err := c.http.Do(q)
	if err != nil {
		return nil, c.unheard(err)
	}
	if r.StatusCode == http.StatusOK {
		return r, nil
	}
	defer r.Body.Close()
	var f failure
	if json.NewDecoder(r.Body).Decode(&f) != nil || f.Error == "" {
		return nil, fmt.Errorf("the daemon answers %s", r.Status)
	}
	return nil, errors.New(f.Error)
}

// unheard says why the daemon was not reached.
func (c *Client) unheard(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w (nothing listens at %s): start it with tandem run", ErrNoDaemon, c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may not be opened by this user", c.path)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("the daemon at %s: %w", c.path, err)
}
