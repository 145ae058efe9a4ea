package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"tandem/app/config"
	"tandem/platform/caller"
)

// Group is the group whose members may look, and switch links and the whole on and off.
const Group = "tandem"

// bodyMax bounds what a caller sends, in octets.
const bodyMax = 64 << 10

// patience is how long a caller may take to say what it wants, or to read what it is told.
const patience = 5 * time.Second

// ErrUnknown is wrapped by a Backend's error when what it was asked about does not exist.
var ErrUnknown = errors.New("not found")

// Socket returns where the daemon that keeps its state in a folder listens, unless told otherwise: for
// the system's daemon where everybody may knock, else within the folder.
func Socket(folder config.Folder) string {
	if folder == "/var/lib/tandem" {
		return "/run/tandem/tandem.sock"
	}
	return filepath.Join(string(folder), "tandem.sock")
}

// Listen takes a socket. Everybody may connect; who may do what is decided at each call. When a daemon
// answers there already, the error says so; a socket that nobody answers at is taken over.
func Listen(path string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("another tandem daemon is running: it answers at %s", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket == 0 {
		return nil, fmt.Errorf("%s is in the way: it is not a socket", path)
	}
	mode := fs.FileMode(0o700)
	if path == Socket("/var/lib/tandem") {
		mode = 0o755
	}
	if err := os.MkdirAll(filepath.Dir(path), mode); err != nil {
		return nil, fmt.Errorf("the folder of the control socket cannot be made: %w: name another with --state or --socket", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Serve answers calls until ctx ends.
func Serve(ctx context.Context, l net.Listener, b Backend) error {
	return serve(ctx, &crowd{Listener: l, rightOf: rightOf}, b)
}

func serve(ctx context.Context, l *crowd, b Backend) error {
	server := &http.Server{
		Handler:           handler(b),
		ReadHeaderTimeout: patience,
		IdleTimeout:       patience,
		MaxHeaderBytes:    bodyMax,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, rightKey{}, c.(*call).right)
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	farewell, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if server.Shutdown(farewell) != nil {
		server.Close()
	}
	<-ended
	return nil
}

// A right is what a caller may do; each includes those before.
type right int

const (
	nothing right = iota
	toggle        // look, and switch on and off
	own           // everything
)

type rightKey struct{}

// rightOf says what the process at the other end may do.
func rightOf(c net.Conn) right {
	who, err := caller.Of(c)
	switch {
	case errors.Is(err, caller.ErrUnknown):
		return own // where callers are not known, the mode of the socket's folder decides
	case err != nil:
		return nothing
	}
	return rightOfCaller(who, os.Geteuid(), who.Member(Group))
}

func rightOfCaller(who caller.Caller, daemon int, member bool) right {
	switch {
	case who.UID == 0 || who.UID == daemon:
		return own
	case member:
		return toggle
	}
	return nothing
}

// An action is what a call does; what it returns is sent as JSON.
type action func(r *http.Request) (any, error)

func handler(b Backend) http.Handler {
	mux := http.NewServeMux()
	add := func(pattern string, needs right, do action) { mux.Handle(pattern, guard(needs, reply(do))) }
	add("GET /state", toggle, func(*http.Request) (any, error) { return b.State(), nil })
	add("POST /up", toggle, func(r *http.Request) (any, error) { return nil, b.Up(r.Context()) })
	add("POST /down", toggle, func(r *http.Request) (any, error) { return nil, b.Down(r.Context()) })
	add("POST /settings", own, func(r *http.Request) (any, error) {
		var change Change
		if err := body(r, &change); err != nil {
			return nil, err
		}
		if err := change.Validate(); err != nil {
			return nil, err
		}
		return nil, b.Set(r.Context(), change)
	})
	add("POST /links/{name}", toggle, func(r *http.Request) (any, error) {
		var change LinkChange
		if err := body(r, &change); err != nil {
			return nil, err
		}
		return nil, b.SetLink(r.Context(), r.PathValue("name"), change)
	})
	add("POST /join", own, func(r *http.Request) (any, error) {
		var code string
		if err := body(r, &code); err != nil {
			return nil, err
		}
		return b.Join(r.Context(), code)
	})
	add("POST /leave", own, func(r *http.Request) (any, error) { return nil, b.Leave(r.Context()) })
	serveConnections(add, b)
	add("GET /flows", own, func(r *http.Request) (any, error) { return b.Flows(r.Context()) })
	mux.Handle("GET /watch", guard(toggle, stream(watch(b))))
	mux.Handle("GET /connections/{connection}/events", guard(own, stream(events(b))))
	return mux
}

// guard lets through who has the right.
func guard(needs right, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch has, _ := r.Context().Value(rightKey{}).(right); {
		case has >= needs:
			next.ServeHTTP(w, r)
		case needs == toggle:
			fail(w, http.StatusForbidden, "only root, the user that runs the daemon and members of the group "+Group+" may do this")
		default:
			fail(w, http.StatusForbidden, "only root and the user that runs the daemon may do this")
		}
	})
}

func reply(do action) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told, err := hear(w, r)
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		answer, err := do(told)
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience))
		if err != nil {
			refuse(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(answer)
	})
}

// hear takes all of a request's body, while its sender is patient and brief.
func hear(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(patience))
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyMax))
	if err != nil {
		return nil, fmt.Errorf("the call cannot be read: %w", err)
	}
	control.SetReadDeadline(time.Time{})
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(text))
	return r, nil
}

// failure is the body of an answer that is not 200.
type failure struct {
	Error string `json:"error"`
}

// refuse says why something was not done.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusConflict
	if errors.Is(err, ErrUnknown) {
		status = http.StatusNotFound
	}
	fail(w, status, err.Error())
}

func fail(w http.ResponseWriter, status int, sentence string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(failure{sentence})
}

func body(r *http.Request, value any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(value); err != nil {
		return fmt.Errorf("the call is not understood: %w", err)
	}
	return nil
}
