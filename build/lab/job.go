package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A job is a program that runs in a namespace while others do.
type job struct {
	name string
	cmd  *exec.Cmd
	log  *lines
	done chan struct{} // closed when it has ended
	err  error         // how it ended
}

// start runs a program until it ends or is stopped. What it says goes to a file of the world's folder.
func (w *world) start(s *space, name string, args ...string) (*job, error) {
	j := &job{name: name, log: &lines{}, done: make(chan struct{})}
	j.cmd = exec.Command("ip", append([]string{"netns", "exec", s.name}, args...)...)
	file, err := os.OpenFile(w.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	j.log.copy = file
	j.cmd.Stdout, j.cmd.Stderr = j.log, j.log
	if err := j.cmd.Start(); err != nil {
		return nil, err
	}
	w.jobs = append(w.jobs, j)
	go func() {
		j.err = j.cmd.Wait()
		file.Close()
		close(j.done)
	}()
	return j, nil
}

const stopTime = 5 * time.Second

// stop asks the program to end, as an interrupt does, and insists after a while.
func (j *job) stop() error {
	j.cmd.Process.Signal(os.Interrupt)
	select {
	case <-j.done:
		return nil
	case <-time.After(stopTime):
		j.kill()
		return fmt.Errorf("%s did not stop within %v", j.name, stopTime)
	}
}

// kill ends the program at once.
func (j *job) kill() {
	j.cmd.Process.Kill()
	<-j.done
}

// memory returns the octets of memory that the program holds.
func (j *job) memory() (int64, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(j.cmd.Process.Pid), "status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no VmRSS")
}

// lines keeps what a program says, and wakes who waits for a word of it.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	copy *os.File
	news chan struct{} // closed and replaced with every write
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.news != nil {
		close(l.news)
		l.news = nil
	}
	l.copy.Write(p)
	return l.text.Write(p)
}

// await waits until the program has said those words.
func (j *job) await(ctx context.Context, words string) error {
	for {
		j.log.mu.Lock()
		said := strings.Contains(j.log.text.String(), words)
		if j.log.news == nil {
			j.log.news = make(chan struct{})
		}
		news := j.log.news
		j.log.mu.Unlock()
		if said {
			return nil
		}
		select {
		case <-news:
		case <-j.done:
			return fmt.Errorf("%s ended (%v) before it said %q: %s", j.name, j.err, words, j.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s did not say %q: %s", j.name, words, j.tail())
		}
	}
}

// tail is the end of what the program said.
func (j *job) tail() string {
	j.log.mu.Lock()
	defer j.log.mu.Unlock()
	text := strings.TrimSpace(j.log.text.String())
	return strings.ReplaceAll(text[max(0, len(text)-400):], "\n", "; ")
}

// A saying is what a program said and how it ended.
type saying struct {
	out, err string
	code     int
	took     time.Duration
}

// ask runs a program in a namespace to its end. A code other than 0 is no error.
func (w *world) ask(ctx context.Context, s *space, args ...string) (saying, error) {
	var out, errs bytes.Buffer
	cmd := s.command(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err := cmd.Run()
	said := saying{out: out.String(), err: strings.TrimSpace(errs.String()), took: time.Since(start)}
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		said.code, err = exit.ExitCode(), nil
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", args[0], err)
	}
	return said, err
}

// must is ask for programs that have to succeed.
func (w *world) must(ctx context.Context, s *space, args ...string) (string, error) {
	said, err := w.ask(ctx, s, args...)
	if err == nil && said.code != 0 {
		err = fmt.Errorf("%s ended with %d: %s", strings.Join(args, " "), said.code, said.err)
	}
	return said.out, err
}
