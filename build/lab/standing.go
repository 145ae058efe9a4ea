package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// up makes two namespaces joined by the ordinary links and keeps them until ctx ends.
func up(ctx context.Context, out io.Writer) error {
	s := &scene{}
	defer s.close()
	farSpace, err := newSpace("far")
	if err != nil {
		return err
	}
	s.spaces = append(s.spaces, farSpace)
	if _, err := s.joinKernels(ordinary, farSpace, false); err != nil {
		return err
	}
	for i, c := range ordinary {
		fmt.Fprintf(out, "link %d: %d Mbit/s, %v each way; near %s %s, far %s %s\n", i, c.Rate/1e6, c.Delay,
			address(i, near, false), address(i, near, true), address(i, far, false), address(i, far, true))
	}
	fmt.Fprintln(out, "enter with lab shell near, lab shell far; interrupt to remove")
	<-ctx.Done()
	return nil
}

// shell runs a shell in a namespace that up keeps.
func shell(ctx context.Context, role string) error {
	names, err := spaceNames()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(names, func(name string) bool {
		pid, ok := spaceOwner(name)
		return ok && alive(pid) && strings.HasSuffix(name, "-"+role)
	})
	if i < 0 {
		return fmt.Errorf("nothing is up that has a %q: start lab up", role)
	}
	program := os.Getenv("SHELL")
	if program == "" {
		program = "sh"
	}
	s := &space{names[i]}
	cmd := s.command(ctx, program)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
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
