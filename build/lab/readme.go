package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// readmeSteps runs what README.md says of a hub at home and a laptop, word by word, with the folders that
// people have: those of the hub's user, and root's on the laptop.
func readmeSteps(ctx context.Context, h *household) (string, error) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		return "", err
	}
	if err := errors.Join(h.clientJob.stop(), h.hubJob.stop()); err != nil {
		return "", err
	}
	r := &reader{household: h}
	if err := r.prepare(); err != nil {
		return "", err
	}
	defer r.leave(ctx)
	ran := 0
	for _, line := range steps(string(text)) {
		if err := r.follow(ctx, line); err != nil {
			return "", fmt.Errorf("%s: %w", line, err)
		}
		ran++
	}
	if ran < 6 {
		return "", fmt.Errorf("README.md has %d commands only", ran)
	}
	return fmt.Sprintf("%d commands", ran), nil
}

// steps are the command lines of README.md that run hub and client.
func steps(text string) (lines []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "./tandem-hub ") || strings.HasPrefix(line, "sudo ./tandem ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// A reader of README.md sits at both machines.
type reader struct {
	*household
	code string
	jobs []*job
}

// prepare makes the folders that the machines of people have, and lets the laptop know the hub's name.
func (r *reader) prepare() error {
	for _, dir := range []string{"varlib", "run"} {
		if err := os.Mkdir(r.path(dir), 0o755); err != nil {
			return err
		}
	}
	home := r.path("home")
	hosts := []byte(hubHost + " home.example.net\n")
	return errors.Join(os.Mkdir(home, 0o700), os.Chown(home, 65534, 65534),
		os.WriteFile(filepath.Join(r.laptop.etc(), "hosts"), hosts, 0o644))
}

// follow runs a command line and waits for its end or, if it stays, until it works.
func (r *reader) follow(ctx context.Context, line string) error {
	words := strings.Fields(strings.Replace(line, "CODE", r.code, 1))
	if words[0] != "sudo" {
		return r.atHub(ctx, words[1:])
	}
	words = words[2:]
	if words[0] == "run" {
		j, err := r.start(r.laptop, "reader", r.asRoot(append(words, "--links", "wlan0,wwan0"))...)
		if err != nil {
			return err
		}
		r.jobs = append(r.jobs, j)
		return r.until(ctx, func() error {
			out, err := r.must(ctx, r.laptop, r.asRoot([]string{"status", "--json"})...)
			if err == nil && strings.Count(out, `"state":"connected"`) != 2 {
				err = errors.New("not connected over both links")
			}
			return err
		})
	}
	_, err := r.must(ctx, r.laptop, r.asRoot(words)...)
	return err
}

func (r *reader) atHub(ctx context.Context, words []string) error {
	args := append([]string{"env", "XDG_STATE_HOME=" + r.path("home")}, r.asNobody("tandem-hub", words...)...)
	if words[0] == "run" {
		j, err := r.start(r.hub, "reader-hub", args...)
		if err != nil {
			return err
		}
		r.jobs = append(r.jobs, j)
		return j.await(ctx, hubIsUp)
	}
	out, err := r.must(ctx, r.hub, args...)
	if said := strings.Fields(out); words[0] == "invite" && len(said) > 0 {
		r.code = said[len(said)-1]
	}
	return err
}

// asRoot is the command line of the client as root runs it, on a machine with folders of its own.
func (r *reader) asRoot(words []string) []string {
	script := `mount --bind "$1" /var/lib && mount --bind "$2" /run && shift 2 && exec "$@"`
	return append([]string{"sh", "-c", script, "sh", r.path("varlib"), r.path("run"), r.path("tandem")}, words...)
}

// leave stops what was started and has the household's own hub back.
func (r *reader) leave(ctx context.Context) error {
	var err error
	for _, j := range r.jobs {
		err = errors.Join(err, j.stop())
	}
	return errors.Join(err, r.startHub(ctx))
}
