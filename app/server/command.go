package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/net/netutil"

	"tandem/app/invite"
)

// SocketName is the name of the command socket in the state directory, which is the owner's alone.
const SocketName = "hub.sock"

const (
	commandWait = 10 * time.Second
	commandMax  = 64 << 10 // octets of a command

	// listenersMax is how many connections a listener has: whoever opens more waits.
	listenersMax = 16
)

// A failure is what a command that failed is answered.
type failure struct {
	Error string `json:"error"`
}

type revocation struct {
	Name string `json:"name"`
}

type invitation struct {
	Code string `json:"code"`
}

// A listener serves HTTP until it is closed.
type listener struct {
	server *http.Server
	done   chan struct{}
}

func serveHTTP(l net.Listener, h http.Handler) *listener {
	s := &listener{
		server: &http.Server{Handler: h, ReadTimeout: commandWait, WriteTimeout: 2 * commandWait},
		done:   make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		s.server.Serve(netutil.LimitListener(l, listenersMax))
	}()
	return s
}

// Close lets commands under way finish.
func (s *listener) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = s.server.Close()
	}
	<-s.done
	return err
}

// listenCommands takes the owner's commands. The store's lock says that a socket found there is a
// leftover.
func (s *Server) listenCommands() (*listener, error) {
	path := filepath.Join(s.cfg.State, SocketName)
	os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("the command socket %s cannot be made (a shorter --state may help): %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /invite", answerTo(func(o InviteOptions) (invitation, error) {
		c, err := s.Invite(o)
		if err != nil {
			return invitation{}, err
		}
		return invitation{c.String()}, nil
	}))
	mux.HandleFunc("POST /devices", answerTo(func(struct{}) (Listing, error) { return s.Devices() }))
	mux.HandleFunc("POST /revoke", answerTo(func(r revocation) (struct{}, error) { return struct{}{}, s.Revoke(r.Name) }))
	return serveHTTP(l, mux), nil
}

// answerTo makes a handler of a command.
func answerTo[Q, A any](do func(Q) (A, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q Q
		err := json.NewDecoder(io.LimitReader(r.Body, commandMax)).Decode(&q)
		var a any
		if err == nil {
			a, err = do(q)
		}
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(http.StatusUnprocessableEntity)
			a = failure{err.Error()}
		}
		json.NewEncoder(w).Encode(a)
	}
}

// A socketHub is a hub that runs in another process.
type socketHub struct{ client *http.Client }

// dialCommands fails when nobody listens.
func dialCommands(path string) (*socketHub, error) {
	c, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	c.Close()
	return &socketHub{&http.Client{
		Timeout: commandWait,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}},
	}}, nil
}

func (h *socketHub) ask(command string, q, a any) error {
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	r, err := h.client.Post("http://hub/"+command, "application/json", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the hub runs but does not answer: %w", err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		var f failure
		if json.NewDecoder(r.Body).Decode(&f) != nil || f.Error == "" {
			return fmt.Errorf("the hub that runs does not know the command %q: it is of another version", command)
		}
		return errors.New(f.Error)
	}
	return json.NewDecoder(r.Body).Decode(a)
}

// Invite asks the hub for an invite.
func (h *socketHub) Invite(o InviteOptions) (invite.Code, error) {
	var a invitation
	if err := h.ask("invite", o, &a); err != nil {
		return invite.Code{}, err
	}
	return invite.Parse(a.Code)
}

// Devices asks the hub for its devices.
func (h *socketHub) Devices() (l Listing, err error) {
	err = h.ask("devices", struct{}{}, &l)
	return l, err
}

// Revoke has the hub revoke a device, or withdraw an invite.
func (h *socketHub) Revoke(name string) error { return h.ask("revoke", revocation{name}, &struct{}{}) }

// Running is true.
func (h *socketHub) Running() bool { return true }

// Close closes the connections to the hub.
func (h *socketHub) Close() error {
	h.client.CloseIdleConnections()
	return nil
}
