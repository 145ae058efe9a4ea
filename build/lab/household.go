package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A household is a world with a hub, a web host and a laptop that has joined.
type household struct {
	*world
	hubJob, clientJob, webJob *job
	routes                    string // of the laptop's daemon; "": default
	keep                      bool
}

const (
	startTime = 20 * time.Second
	nobody    = "65534"
)

// build makes the world, and the programs from the source at hand.
func (h *household) build(ctx context.Context) (err error) {
	if h.world, err = newWorld(ctx); err != nil {
		return err
	}
	for program, source := range map[string]string{"tandem": "./app/tandem", "tandem-hub": "./app/hub"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", h.path(program), source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w: %s", source, err, out)
		}
	}
	if err := os.Mkdir(h.path("hub"), 0o700); err != nil {
		return err
	}
	if err := os.Chown(h.path("hub"), 65534, 65534); err != nil {
		return err
	}
	h.webJob, err = h.helper(h.web, "web", task{Kind: "serve"})
	if err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := h.webJob.await(starting, "ready"); err != nil {
		return err
	}
	if _, err := h.start(h.web, "iperf3", "iperf3", "-s"); err != nil {
		return err
	}
	return h.startHub(starting)
}

// ready has the laptop joined and its daemon connected over both links.
func (h *household) ready(ctx context.Context) error {
	if h.clientJob != nil && !h.clientJob.over() {
		return h.connected(ctx, "wlan0", "wwan0")
	}
	if _, err := os.Stat(h.path("laptop")); err != nil {
		if err := h.join(ctx, h.laptop, "laptop"); err != nil {
			return err
		}
	}
	if err := h.startClient(); err != nil {
		return err
	}
	return h.connected(ctx, "wlan0", "wwan0")
}

func (h *household) startHub(ctx context.Context) (err error) {
	h.hubJob, err = h.start(h.hub, "hub", h.asNobody("tandem-hub", "run", "--state", h.path("hub"), "--listen", ":"+hubPort,
		"--endpoint", hubHost+":"+hubPort, "--endpoint", "["+hub6+"2]:"+hubPort)...)
	if err != nil {
		return err
	}
	return h.hubJob.await(ctx, hubIsUp)
}

// hubIsUp is what a hub says that answers. Its verbs work before, too: then they open its store themselves.
const hubIsUp = "hub is up"

// asNobody is the command line that runs one of our programs as an ordinary user.
func (h *household) asNobody(program string, args ...string) []string {
	return append([]string{"setpriv", "--reuid=" + nobody, "--regid=" + nobody, "--clear-groups", h.path(program)}, args...)
}

func (h *household) hubVerb(ctx context.Context, verb string, args ...string) (string, error) {
	return h.must(ctx, h.hub, h.asNobody("tandem-hub", append([]string{verb, "--state", h.path("hub")}, args...)...)...)
}

// invite returns a code for a device of that name.
func (h *household) invite(ctx context.Context, name string) (string, error) {
	out, err := h.hubVerb(ctx, "invite", "--name", name)
	words := strings.Fields(out)
	if err == nil && len(words) == 0 {
		err = errors.New("no code")
	}
	if err != nil {
		return "", err
	}
	return words[len(words)-1], nil
}

func (h *household) join(ctx context.Context, s *space, name string) error {
	code, err := h.invite(ctx, name)
	if err != nil {
		return err
	}
	_, err = h.must(ctx, s, h.path("tandem"), "join", "--state", h.path(name), code)
	return err
}

func (h *household) startClient() (err error) {
	args := []string{h.path("tandem"), "run", "--state", h.path("laptop"), "--socket", h.socket(), "--links", "wlan0,wwan0"}
	if h.routes != "" {
		args = append(args, "--routes", h.routes)
	}
	h.clientJob, err = h.start(h.laptop, "client", args...)
	return err
}

func (h *household) socket() string { return h.path("client.sock") }

func (h *household) clientVerb(ctx context.Context, verb string, args ...string) (string, error) {
	return h.must(ctx, h.laptop, append([]string{h.path("tandem"), verb, "--socket", h.socket()}, args...)...)
}

// A status is what tandem status --json says, as far as the lab looks.
type status struct {
	Phase string
	Hub   struct{ Name, Endpoint string }
	Links []struct {
		Name, Kind, Role, State, Reason string
		Received                        uint64 `json:"rx_bytes"`
		Sent                            uint64 `json:"tx_bytes"`
	}
	Connections int
	Switches    uint64
}

func (h *household) status(ctx context.Context) (s status, err error) {
	out, err := h.clientVerb(ctx, "status", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	return s, err
}

// connected waits until exactly those links are.
func (h *household) connected(ctx context.Context, links ...string) error {
	return h.until(ctx, func() error {
		if h.clientJob.over() {
			return fmt.Errorf("the client ended: %s", h.clientJob.tail())
		}
		s, err := h.status(ctx)
		if err != nil {
			return err
		}
		up := []string{}
		for _, l := range s.Links {
			if l.State == "connected" {
				up = append(up, l.Name)
			}
		}
		if strings.Join(up, " ") != strings.Join(links, " ") {
			return fmt.Errorf("connected are %q, want %q", up, links)
		}
		return nil
	})
}

// until tries again and again until f succeeds, and returns its last error if ctx ends before.
func (h *household) until(ctx context.Context, f func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

func (j *job) over() bool {
	select {
	case <-j.done:
		return true
	default:
		return false
	}
}

// helper starts this program in a namespace with a task.
func (w *world) helper(s *space, name string, t task) (*job, error) {
	arg, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return w.start(s, name, self, "lab", "task", string(arg))
}

// perform runs a task to its end.
func (h *household) perform(ctx context.Context, s *space, t task) (a account, err error) {
	j, err := h.helper(s, t.Kind, t)
	if err != nil {
		return a, err
	}
	select {
	case <-j.done:
	case <-ctx.Done():
		j.kill()
		return a, ctx.Err()
	}
	return j.account()
}

// account is what a helper said last.
func (j *job) account() (a account, err error) {
	j.log.mu.Lock()
	defer j.log.mu.Unlock()
	said := strings.Split(strings.TrimSpace(j.log.text.String()), "\n")
	if err := json.Unmarshal([]byte(said[len(said)-1]), &a); err != nil {
		return a, fmt.Errorf("%s said %q", j.name, said[len(said)-1])
	}
	if a.Err != "" {
		return a, errors.New(a.Err)
	}
	return a, nil
}

func (h *household) close() {
	if h.world == nil {
		return
	}
	h.world.close()
	if !h.keep {
		os.RemoveAll(h.dir)
	}
}

// url is a page of the web host.
func url(host, format string, args ...any) string {
	return "http://" + net.JoinHostPort(host, "80") + fmt.Sprintf(format, args...)
}

// workFolder is where a trial keeps a file.
func (h *household) file(name string) string { return filepath.Join(h.dir, name) }
