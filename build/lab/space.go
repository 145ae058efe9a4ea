package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// A space is a network namespace. Its name says which process made it.
type space struct{ name string }

const spacePrefix = "tandem-"

// newSpace makes a namespace called tandem-PID-ROLE with its loopback device up.
func newSpace(role string) (*space, error) {
	s := &space{fmt.Sprintf("%s%d-%s", spacePrefix, os.Getpid(), role)}
	if err := run("ip", "netns", "add", s.name); err != nil {
		return nil, err
	}
	return s, s.ip("link set lo up")
}

func (s *space) remove() error { return run("ip", "netns", "delete", s.name) }

// ip runs ip(8) commands within the namespace, one a line.
func (s *space) ip(lines ...string) error { return s.batch("-4", lines) }

func (s *space) ip6(lines ...string) error { return s.batch("-6", lines) }

func (s *space) batch(family string, lines []string) error {
	cmd := exec.Command("ip", family, "-n", s.name, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s -n %s: %w: %s", family, s.name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// command prepares a program to run within the namespace.
func (s *space) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", s.name, name}, args...)...)
}

func (s *space) sysctl(setting string) error {
	return run("ip", "netns", "exec", s.name, "sysctl", "-qw", setting)
}

// strip has a middlebox before the namespace remove MPTCP options, both ways, of packets that match.
func (s *space) strip(match string) error {
	return s.nft(fmt.Sprintf(`table inet middlebox {
		chain out { type filter hook output priority 0; %[1]s reset tcp option mptcp; }
		chain in { type filter hook prerouting priority -300; %[1]s reset tcp option mptcp; }
	}`, match))
}

// nft adds rules to the namespace's.
func (s *space) nft(rules string) error {
	cmd := s.command(context.Background(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// removeStale removes the namespaces of labs whose process is gone.
func removeStale() error {
	names, err := spaceNames()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if pid, ok := spaceOwner(name); ok && !alive(pid) {
			errs = append(errs, (&space{name}).remove())
		}
	}
	return errors.Join(errs...)
}

// spaceOwner returns the process that made the namespace of that name, if a lab did.
func spaceOwner(name string) (pid int, ok bool) {
	rest, ok := strings.CutPrefix(name, spacePrefix)
	if !ok {
		return 0, false
	}
	number, _, ok := strings.Cut(rest, "-")
	pid, err := strconv.Atoi(number)
	return pid, ok && err == nil
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// spaceNames lists all namespaces.
func spaceNames() (names []string, err error) {
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		return nil, fmt.Errorf("ip netns list: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		names = append(names, name)
	}
	return names, nil
}

// alive reports whether a process runs: one that has ended and waits to be asked for has no program.
func alive(pid int) bool {
	_, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	return err == nil
}
